"""``filexfer stat``: tell what something on a server is.

This module must not know how a question travels.
"""

from __future__ import annotations

import time

from filexfer import ExitCode, FileError
from filexfer.cli import listing, options, output
from filexfer.entry import FILE, FOLDER, LINK
from filexfer.errors import Code
from filexfer.hashing import ALGORITHMS, DEFAULT
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator
    from typing import Any

    from filexfer import Client, Entry
    from filexfer.address import Remote

EPILOG = """\
examples:
  filexfer stat nas:photos           a folder, and how many files are below it
  filexfer stat -c nas:photos/1.jpg  a file, with its digest, made by the server

A link is told as what it is, and not followed. Files are counted up to 1,000.
"""
_COUNT_MAX = 1000  # a server counts no further


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument(
        "-c", "--checksum", action="store_true", help="with the digests of files, by the server"
    )
    parser.add_argument(
        "--hash", choices=ALGORITHMS, default=DEFAULT, help=f"for that (default: {DEFAULT})"
    )
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Tell, and return the exit code."""
    code = ExitCode.OK
    is_first = True
    for remote in [options.place(text) for text in arguments.remotes]:
        with options.client_for(remote, arguments) as client:
            try:
                if arguments.json:
                    arguments.json.emit("stat", **_fields(client, remote, arguments))
                    continue
                lines = list(_lines(client, remote, arguments))
            except FileError as error:
                output.say(f"filexfer: {error}")
                if arguments.json:
                    arguments.json.blame(str(error))
                code = ExitCode.SOME_FAILED
                continue
        output.print_data(lines if is_first else ["", *lines])
        is_first = False
    return code


def _fields(client: Client, remote: Remote, arguments: Namespace) -> dict[str, Any]:
    from filexfer.cli.json_form import moment  # noqa: PLC0415 - with --json only

    entry = _found(client, remote)
    wants_digest = arguments.checksum and entry.type == FILE
    return {
        "name": remote.path,
        "file_type": entry.type,
        "size": entry.size,
        "mtime": moment(entry.mtime),
        "mode": f"{entry.mode:04o}",
        "target": entry.extra if entry.type == LINK else None,
        "files": client.count_files(remote.path) if entry.type == FOLDER else None,
        "digest": client.digest(remote.path, arguments.hash) if wants_digest else None,
    }


def _found(client: Client, remote: Remote) -> Entry:
    entry = client.stat(remote.path)
    if entry is None:
        raise FileError(Code.NOT_FOUND, remote.path, "no such file or folder")
    return entry


def _lines(client: Client, remote: Remote, arguments: Namespace) -> Iterator[str]:
    entry = _found(client, remote)
    for what, text in _facts(client, remote, entry):
        yield f"{what:10}{text}"
    if arguments.checksum and entry.type == FILE:
        yield f"{'digest':10}{client.digest(remote.path, arguments.hash)}"


def _facts(client: Client, remote: Remote, entry: Entry) -> Iterator[tuple[str, str]]:
    yield "name", shown(str(remote))
    yield "type", entry.type
    if entry.type == FILE:
        yield "size", f"{output.size(entry.size)} ({entry.size:,} bytes)"
    if entry.type == LINK:
        yield "target", shown(entry.extra)
    if entry.type == FOLDER:
        try:
            yield "files", _counted(client.count_files(remote.path))
        except FileError as error:
            if error.code != Code.DENIED:
                raise
            yield "files", "not told: they may not be listed"
    yield "mode", f"{listing.permissions(entry)} ({entry.mode:o})"
    yield "modified", _exact(entry.mtime)


def _counted(number: int) -> str:
    return f"{number:,}" if number < _COUNT_MAX else f"{number:,} or more"


def _exact(nanoseconds: int) -> str:
    """Return a time with all its digits, and the zone that it is told in."""
    zone = time.strftime("%z", time.localtime(nanoseconds // 1_000_000_000))
    return f"{listing.moment(nanoseconds)}.{nanoseconds % 1_000_000_000:09} {zone}"
