"""How names and sizes are laid out for people: lines, columns, colours, by the terminal's width.

This module must not know servers, or how a listing travels.
"""

from __future__ import annotations

import os
import sys
import time

from filexfer.cli import output
from filexfer.entry import FILE
from filexfer.errors import UsageError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filexfer.entry import Entry

    Key = Callable[[Entry], tuple[int, str]]

SORTS = ("name", "size", "time", "none")
COLORS = ("auto", "always", "never")
WIDTH = 80  # columns of a terminal that does not tell
_GAP = 2  # columns between two names
_EXACT_MAX = 2000  # names whose columns are each as narrow as they can be; more make equal ones

_ENTRY_BYTES = 300  # of memory, about, besides its texts
_SORTED_BYTES = 128 << 20  # of memory: some 400,000 entries
_LETTERS = {"folder": "d", "link": "l", "special": "?"}
_PAINTS = {"folder": "1;34", "link": "1;36", "special": "33"}  # SGR parameters of ECMA-48
_EXECUTABLE = "1;32"


def is_terminal() -> bool:
    """Tell whether people see standard output directly."""
    return sys.stdout is not None and sys.stdout.isatty()


def has_colours(wish: str) -> bool:
    """Tell whether to colour standard output.

    Args:
        wish: ``always``, ``never``, or ``auto``: on a terminal, unless ``NO_COLOR`` is set or
            ``TERM`` says that it cannot.

    """
    if wish != "auto":
        return wish == "always"
    is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return is_wanted and is_terminal()


def terminal_width() -> int:
    """Return how many columns the terminal has; ``COLUMNS`` overrides what it says."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given):
        return int(given)
    try:
        return os.get_terminal_size(1).columns or WIDTH
    except OSError:  # standard output is no terminal
        return WIDTH


def width(text: str) -> int:
    """Return how many columns of a terminal *text* takes; it is fit for one already."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width  # noqa: PLC0415 - only for such names

    columns = 0
    for character in text:
        if category(character) not in ("Mn", "Me", "Cf"):  # these go onto the one before
            columns += 2 if east_asian_width(character) in ("W", "F") else 1
    return columns


def name(entry: Entry, *, colours: bool = False) -> str:
    """Return the name of an entry as it is shown: escaped, a folder's with a slash."""
    text = shown(entry.name)
    if colours and (paint := _paint(entry)):
        text = f"\x1b[{paint}m{text}\x1b[0m"
    return text + ("/" if entry.type == "folder" else "")


def _paint(entry: Entry) -> str:
    is_executable = entry.type == "file" and entry.mode & 0o111
    return _EXECUTABLE if is_executable else _PAINTS.get(entry.type, "")


def permissions(entry: Entry) -> str:
    """Return type and permission bits in ten letters."""
    bits = "".join(
        letter if entry.mode >> shift & 1 else "-"
        for shift, letter in zip(range(8, -1, -1), "rwxrwxrwx", strict=True)
    )
    return _LETTERS.get(entry.type, "-") + bits


def moment(nanoseconds: int) -> str:
    """Return a time since 1970 as date and time of day here, in full seconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(nanoseconds // 1_000_000_000))


def line(entry: Entry, *, exact: bool = False, colours: bool = False) -> str:
    """Return an entry with all that is known of it.

    Args:
        entry: What it is.
        exact: Whether its size is told in bytes, and not with a unit.
        colours: Whether its name is coloured.

    """
    text = output.size(entry.size) if entry.type == FILE else "-"
    size = f"{entry.size:>14}" if exact else f"{text:>8}"
    target = f" -> {shown(entry.extra)}" if entry.type == "link" else ""
    named = name(entry, colours=colours)
    return f"{permissions(entry)} {size} {moment(entry.mtime)} {named}{target}"


def columns(entries: Iterable[Entry], *, most: int, colours: bool = False) -> Iterator[str]:
    """Yield the names in columns, read downwards, of lines that have *most* columns at most."""
    names = list(entries)
    widths = [width(name(entry)) for entry in names]
    rows, sizes = _fit(widths, most)
    for row in range(rows):
        text, missing = "", 0
        for at, column in zip(range(row, len(names), rows), sizes, strict=False):
            text += " " * missing + name(names[at], colours=colours)
            missing = column + _GAP - widths[at]
        yield text


def _fit(widths: list[int], most: int) -> tuple[int, list[int]]:
    """Return the least number of rows that fit, and how wide each column is."""
    count = len(widths)
    if not count:
        return 0, []
    if count > _EXACT_MAX:
        widest = max(widths)
        across = max(1, (most + _GAP) // (widest + _GAP))
        return -(-count // across), [widest] * across
    for across in range(min(count, (most + _GAP) // (1 + _GAP)), 1, -1):
        rows = -(-count // across)
        sizes = [max(widths[at : at + rows]) for at in range(0, count, rows)]
        if sum(sizes) + _GAP * (len(sizes) - 1) <= most:
            return rows, sizes
    return count, [0]


def pieces(
    entries: Iterator[Entry], key: Key | None, *, reverse: bool = False
) -> Iterator[list[Entry]]:
    """Yield the entries, sorted; those of a listing too long for memory by pieces.

    Args:
        entries: What there is.
        key: By what they are sorted; None leaves them as they are.
        reverse: The other way round.

    """
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
        if key:
            piece.sort(key=key, reverse=reverse)
        yield piece


def by_name(entry: Entry) -> tuple[int, str]:
    """Return what sorts by name."""
    return 0, entry.name


def order(sort: str, *, reverse: bool) -> Key | None:
    """Return by what entries are sorted: name, the largest first, or the newest first.

    Args:
        sort: One of ``SORTS``.
        reverse: Whether that will be turned round.

    Raises:
        UsageError: if there is no order to turn round.

    """
    if sort == "none":
        if reverse:
            raise UsageError("--reverse needs an order: leave out --sort none")
        return None
    if sort == "size":
        return lambda entry: (-entry.size, entry.name)
    if sort == "time":
        return lambda entry: (-entry.mtime, entry.name)
    return by_name
