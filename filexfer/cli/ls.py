"""``filexfer ls``: list what is on a server.

This module must not know how a listing travels.
"""

from __future__ import annotations

import time

from filexfer.cli import options, output
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from filexfer import Entry

EPILOG = """\
examples:
  filexfer ls fx://127.0.0.1/              the names in the folder that is served
  filexfer ls -l fx://127.0.0.1/inbox      with permissions, size and time
  filexfer ls -R fx://127.0.0.1/inbox      with all that is below

A folder's name ends in a slash. Characters that could confuse a terminal are escaped.
"""

_ENTRY_BYTES = 300  # of memory, about, besides its texts
_SORTED_BYTES = 128 << 20  # of memory: some 400,000 entries
_LETTERS = {"folder": "d", "link": "l", "special": "?"}


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remote", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument(
        "-l", "--long", action="store_true", help="with permissions, size in bytes and time"
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="with all that is below")
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Print the listing, and return the exit code."""
    remote = options.place(arguments.remote)
    with options.client_for(remote, arguments) as client:
        entries = client.list(remote.path, recursive=arguments.recursive)
        if not arguments.recursive:
            entries = sorted_as_far_as_may_be(entries)
        if arguments.json:
            for entry in entries:
                arguments.json.entry(entry)
        else:
            output.print_data(map(_line if arguments.long else _name, entries))
    return 0


def sorted_as_far_as_may_be(entries: Iterator[Entry]) -> Iterator[Entry]:
    """Yield the entries by their names; of a listing too long for memory, piece by piece."""
    is_more = True
    while is_more:
        piece: list[Entry] = []
        size = 0
        is_more = False
        for entry in entries:
            piece.append(entry)
            size += _ENTRY_BYTES + len(entry.name) + len(entry.extra)
            if size >= _SORTED_BYTES:
                is_more = True
                break
        yield from sorted(piece, key=lambda entry: entry.name)


def _name(entry: Entry) -> str:
    return shown(entry.name) + ("/" if entry.type == "folder" else "")


def _line(entry: Entry) -> str:
    bits = "".join(
        letter if entry.mode >> shift & 1 else "-"
        for shift, letter in zip(range(8, -1, -1), "rwxrwxrwx", strict=True)
    )
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry.mtime // 1_000_000_000))
    target = f" -> {shown(entry.extra)}" if entry.type == "link" else ""
    letter = _LETTERS.get(entry.type, "-")
    return f"{letter}{bits} {entry.size:>14} {moment} {_name(entry)}{target}"
