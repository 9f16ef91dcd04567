"""Uploads a folder with the library, and names every file that did not arrive, with the reason.

A second run sends only what is missing. With --overwrite it also replaces what has changed, if
the server allows that (filexfer serve --allow overwrite).

    python samples/upload_folder.py FOLDER PORT [--overwrite]
"""

import sys

from filexfer import Client, FilexferError, Options


def upload(folder: str, port: int, options: Options) -> int:
    """Upload a folder to a server on this machine; return the exit code."""
    with Client(port=port) as client:
        report = client.put([folder], "", options)
    for failure in report.failures:
        print(failure, file=sys.stderr)
    print(f"{report.files} files sent, {report.skipped} there already, {report.failed} failed")
    return 3 if report.failed else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder, port, *rest] if port.isdecimal() and rest in ([], ["--overwrite"]):
            options = Options(if_exists="overwrite" if rest else "error", jobs=2)
        case _:
            sys.exit("usage: upload_folder.py FOLDER PORT [--overwrite]")
    try:
        sys.exit(upload(folder, int(port), options))
    except FilexferError as error:
        sys.exit(f"error: {error}")
