"""``filexfer ls``: list what is on a server.

This module must not know how a listing travels.
"""

from __future__ import annotations

from filexfer import UsageError
from filexfer.cli import listing, options, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from filexfer import Entry
    from filexfer.cli.listing import Key

EPILOG = """\
examples:
  filexfer ls fx://127.0.0.1/              what is in the folder that is served
  filexfer ls -l fx://127.0.0.1/inbox      with permissions, size and time
  filexfer ls -l --sort size nas:photos    the largest first
  filexfer ls -R fx://127.0.0.1/inbox      with all that is below

On a terminal the names stand in columns, in colours: folders, links, programs. Elsewhere each has
a line. A folder's name ends in a slash. Characters that could confuse a terminal are escaped. With
-R names come as the server finds them, unless --sort is given.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remote", metavar="REMOTE", help=options.REMOTE)
    parser.add_argument("-l", "--long", action="store_true", help="with permissions, size and time")
    parser.add_argument(
        "--bytes", action="store_true", help="with -l: sizes in bytes, in place of kB, MB and GB"
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="with all that is below")
    parser.add_argument(
        "--sort",
        choices=listing.SORTS,
        help="by name (default), the largest or the newest first, or as the server finds them",
    )
    parser.add_argument("-r", "--reverse", action="store_true", help="the other way round")
    parser.add_argument(
        "--color",
        choices=listing.COLORS,
        default="auto",
        help="colour names; 'auto' (default): on a terminal, unless NO_COLOR is set",
    )
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Print the listing, and return the exit code."""
    if arguments.bytes and not arguments.long:
        raise UsageError("--bytes goes with --long only")
    reverse = arguments.reverse
    sort = arguments.sort or ("none" if arguments.recursive and not reverse else "name")
    key = listing.order(sort, reverse=reverse)
    remote = options.place(arguments.remote)
    with options.client_for(remote, arguments) as client:
        entries = client.list(remote.path, recursive=arguments.recursive)
        if arguments.json:
            if key:
                entries = sorted_as_far_as_may_be(entries, key, reverse=arguments.reverse)
            for entry in entries:
                arguments.json.entry(entry)
        else:
            output.print_data(_lines(entries, arguments, key))
    return 0


def _lines(entries: Iterator[Entry], arguments: Namespace, key: Key | None) -> Iterator[str]:
    colours = listing.has_colours(arguments.color)
    if not (arguments.long or arguments.recursive) and listing.is_terminal():
        most = listing.terminal_width()
        for piece in listing.pieces(entries, key, reverse=arguments.reverse):
            yield from listing.columns(piece, most=most, colours=colours)
        return
    if key:
        entries = sorted_as_far_as_may_be(entries, key, reverse=arguments.reverse)
    for entry in entries:
        if arguments.long:
            yield listing.line(entry, exact=arguments.bytes, colours=colours)
        else:
            yield listing.name(entry, colours=colours)


def sorted_as_far_as_may_be(
    entries: Iterator[Entry], key: Key = listing.by_name, *, reverse: bool = False
) -> Iterator[Entry]:
    """Yield the entries, sorted; of a listing too long for memory, piece by piece."""
    for piece in listing.pieces(entries, key, reverse=reverse):
        yield from piece
