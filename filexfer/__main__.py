"""Lets ``python -m filexfer`` do what the command ``filexfer`` does."""

import sys

from filexfer.cli import main

if __name__ == "__main__":
    sys.exit(main())
