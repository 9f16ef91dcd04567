"""Lets ``python -m filexfer`` do what the command ``filexfer`` does."""

from filexfer.cli import console

if __name__ == "__main__":
    console()
