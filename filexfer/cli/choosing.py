"""The options that choose what is taken of the sources, and what is removed at the target.

This module must not know how anything is chosen or removed.
"""

from __future__ import annotations

import sys

from filexfer import LocalError, UsageError
from filexfer.cli.parsing import CHOICE, Further, group
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from filexfer import Filter, Mirror
    from filexfer.cli.parsing import Parser

FURTHER = """\
Patterns are those of git's ignore files, relative to {0}: '*.o' is anywhere, '/build' right in it,
'tmp/' a folder. Of the rules, in the order given, the last one that matches a name decides; what
none matches goes with its folder. With --include alone, all else is left out. What any option
leaves out is left out: a folder is not entered then, and what it is at the target is not deleted.
"""


def add(parser: Parser, source: str) -> None:
    """Add the options; *source* is what the help calls it."""
    parser.further = FURTHER.format(source)
    add = group(parser, CHOICE).add_argument
    rules: dict[str, Any] = {"dest": "rules", "metavar": "PATTERN", "action": "append"}
    add("--exclude", **rules, type=_exclude, help="leave out what matches")
    add("--include", **rules, type=_include, help="take it, though an earlier rule leaves it out")
    add(
        "--exclude-from",
        dest="rules",
        metavar="FILE",
        action="extend",
        type=_lines,
        help=Further("rules, one a line; a ! before one includes"),
    )
    add(
        "--ignore-files",
        metavar="NAME",
        action="append",
        help=Further(
            "heed the rules in files of this name, such as .gitignore, each for its folder"
        ),
    )
    add("--min-size", type=_size, metavar="SIZE", help=Further("no smaller files: 500K, 20MB, 2G"))
    add("--max-size", type=_size, metavar="SIZE", help=Further("no larger files"))
    add(
        "--newer-than",
        type=_moment,
        metavar="TIME",
        help=Further("no older files: 2026-01-31, 2026-01-31T12:00, or an age: 90m, 12h, 2d, 8w"),
    )
    add(
        "--files-from",
        metavar="FILE",
        help=Further(
            f"only the names in FILE (-: standard input), one a line, relative to the one {source}"
        ),
    )
    add(
        "-0",
        "--null",
        action="store_true",
        help=Further("with --files-from: NUL ends a name, not a line"),
    )
    _add_mirroring(parser, source)


def _add_mirroring(parser: Parser, source: str) -> None:
    add = group(parser, "what else is at the target").add_argument
    add(
        "--delete",
        action="store_true",
        help=f"remove what the folder {source} lacks, when all is well",
    )
    add(
        "--max-delete",
        type=int,
        metavar="N",
        help=Further("remove nothing if it would be more than N"),
    )
    add(
        "--allow-empty-source",
        action="store_true",
        help=Further("with --delete: also if nothing is there at all"),
    )


def filter_from(arguments: Namespace) -> Filter | None:
    """Return what is taken; None if that is everything.

    Raises:
        UsageError: if something makes no sense.

    """
    if arguments.null and arguments.files_from is None:
        raise UsageError("-0 says how the names of --files-from end, which is missing")
    if (
        arguments.rules is arguments.ignore_files is arguments.min_size is None
        and arguments.max_size is arguments.newer_than is arguments.files_from is None
    ):
        return None
    from filexfer import Filter  # noqa: PLC0415 - seldom needed

    names = None
    if arguments.files_from is not None:
        from filexfer.choice.filter import read_names  # noqa: PLC0415 - as above

        source = "standard input" if arguments.files_from == "-" else arguments.files_from
        names = read_names(_read(arguments.files_from), source, nul=arguments.null)
    return Filter(
        arguments.rules or (),
        ignore_files=arguments.ignore_files or (),
        min_size=arguments.min_size or 0,
        max_size=arguments.max_size,
        newer_than=arguments.newer_than,
        names=names,
    )


def mirror_from(arguments: Namespace) -> Mirror | None:
    """Return how the target is mirrored; None if it is not.

    Raises:
        UsageError: if something makes no sense.

    """
    if not arguments.delete:
        if arguments.max_delete is not None or arguments.allow_empty_source:
            raise UsageError("nothing is deleted without --delete")
        return None
    from filexfer import Mirror  # noqa: PLC0415 - seldom needed

    return Mirror(most=arguments.max_delete, allow_empty_source=arguments.allow_empty_source)


def _read(path: str) -> bytes:
    try:
        if path != "-":
            with open(path, "rb") as file:
                return file.read()
        if sys.stdin is None:
            raise LocalError("standard input is closed")
        return sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LocalError(f"cannot read {shown(path)}: {reason}") from error


def _lines(path: str) -> list[str]:
    from filexfer.choice.patterns import lines_of  # noqa: PLC0415 - seldom needed

    return lines_of(_read(path))


def _exclude(text: str) -> str:
    if not text.strip() or text.startswith("#"):
        raise UsageError(f"'{shown(text)}' is no pattern; a # at its beginning is \\#")
    return text


def _include(text: str) -> str:
    if text.startswith("!"):
        raise UsageError(f"'{shown(text)}' has a ! already; as a part of a name it is \\!")
    return "!" + _exclude(text)


def _size(text: str) -> int:
    from filexfer.rates import parse_size  # noqa: PLC0415 - seldom needed

    return parse_size(text)


def _moment(text: str) -> float:
    from time import time  # noqa: PLC0415 - seldom needed

    from filexfer.choice.filter import parse_moment  # noqa: PLC0415 - seldom needed

    return parse_moment(text, time())
