"""Downloads a folder with the library, after a look at what is in it.

Every file appears under its name only when it is there whole and its hash is right.

    python samples/download_folder.py NAME PORT INTO
"""

import sys

from filexfer import Client, FilexferError


def download(name: str, port: int, into: str) -> int:
    """Download a folder from a server on this machine; return the exit code."""
    with Client(port=port) as client:
        sizes = [entry.size for entry in client.list(name, recursive=True) if entry.type == "file"]
        print(f"{name}: {len(sizes)} files, {sum(sizes)} bytes")
        report = client.get([name], into + "/")
    for failure in report.failures:
        print(failure, file=sys.stderr)
    print(f"{report.files} files came, {report.skipped} were here already")
    return 3 if report.failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 4 or not sys.argv[2].isdecimal():
        sys.exit("usage: download_folder.py NAME PORT INTO")
    try:
        sys.exit(download(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
    except FilexferError as error:
        sys.exit(f"error: {error}")
