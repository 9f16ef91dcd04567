"""Which files of a transfer are taken, as a user says it.

This module must not know how patterns match, or where files are.
"""

from __future__ import annotations

from filexfer.errors import UsageError
from filexfer.names import BadName, shown, split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from filexfer.choice.patterns import Rule

_AGES = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}  # seconds
_IDLE = ("", "*", "**", "/*", "/**", "**/*")


class Filter:
    """Chooses what is taken of each source; whatever any part of it leaves out is left out.

    Names are those below the source that is named, so that ``/build`` is what is called so right
    in it. A folder that is left out is not entered. Of a file that is named by itself, its last
    component counts.

    Args:
        rules: Patterns as in git's ignore files, comments and empty lines included. The last one
            that matches a name decides: one with a ``!`` before it takes the name back, any other
            leaves it out. A name that none matches goes with the folder it lies in; right in the
            source it is taken, unless all rules have a ``!``. Then only what they match is taken,
            folders with all that is in them, and other folders only if something in them is.
        ignore_files: Names of files such as ``.gitignore``; each is a list of rules for what lies
            in its folder and below, of which the nearest that has a matching rule decides.
        min_size: Bytes that a file must have at least.
        max_size: Bytes that it may have at most; None for any number.
        newer_than: A file must have been modified after this, in seconds since 1970.
        names: Only these, relative to the one source, which is a folder; of folders, all in them.

    Raises:
        UsageError: if something makes no sense.

    """

    def __init__(
        self,
        rules: Iterable[str] = (),
        *,
        ignore_files: Iterable[str] = (),
        min_size: int = 0,
        max_size: int | None = None,
        newer_than: float | None = None,
        names: Iterable[str] | None = None,
    ) -> None:
        self.rules = _rules(rules)
        self.ignore_files = tuple(ignore_files)
        self.min_size = min_size
        self.max_size = max_size
        self.newer_than = newer_than
        self.names = None if names is None else tuple(dict.fromkeys(map(_checked, names)))
        for name in self.ignore_files:
            if "/" in name or name in ("", ".", ".."):
                raise UsageError(f"an ignore file is a name without slashes, not '{shown(name)}'")
        if min_size < 0 or (max_size is not None and max_size < min_size):
            raise UsageError("no file can be as large as the filter wants")
        includes = [rule.is_include for rule in self.rules]
        if any(includes) and self.rules[-1].text in _IDLE:
            last = shown(self.rules[-1].text)
            raise UsageError(
                f"'{last}' leaves everything out: it comes last, and the last pattern that "
                "matches decides"
            )
        self.only_includes = bool(includes) and all(includes)  # what none matches is left out


def read_names(data: bytes, source: str, *, nul: bool = False) -> list[str]:
    """Return the names of a list, one a line, or separated by NUL.

    Args:
        data: The list.
        source: What it is called, for people.
        nul: Whether NUL ends a name in place of a line's end.

    Raises:
        UsageError: if one is absolute or leads out of the folder; its line is told.

    """
    names = []
    for number, piece in enumerate(data.split(b"\0" if nul else b"\n"), 1):
        text = piece.decode("utf-8", "surrogateescape")
        if not nul:
            text = text.removesuffix("\r")
        if text:
            try:
                names.append(_checked(text))
            except UsageError as error:
                what = "name" if nul else "line"
                if "\0" in text:
                    error = UsageError(f"{error}; for names that end with NUL: -0")
                raise UsageError(f"{shown(source)}, {what} {number}: {error}") from error
    return names


def parse_moment(text: str, now: float) -> float:
    """Return the moment that *text* means, in seconds since 1970.

    Args:
        text: An age such as ``2d`` or ``12h`` (s, m, h, d, w), or a date, perhaps with a time, in
            the form of ISO 8601; without a zone it is local time.
        now: The present, in seconds since 1970.

    Raises:
        UsageError: if it is neither.

    """
    count = text[:-1]
    if text[-1:] in _AGES and count.isascii() and count.isdecimal() and len(count) < 10:
        return now - int(count) * _AGES[text[-1]]
    from datetime import datetime  # noqa: PLC0415 - seldom needed

    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"'{shown(text)}' is neither a date, such as 2026-01-31 or 2026-01-31T12:00, nor an "
            "age, such as 2d or 12h"
        ) from None


def _rules(lines: Iterable[str]) -> Sequence[Rule]:
    texts = list(lines)
    if not texts:
        return ()
    from filexfer.choice.patterns import rules  # noqa: PLC0415 - 40 ms, only for who has some

    return rules(texts)


def _checked(text: str) -> str:
    """Return a name of a list as names are written here.

    Raises:
        UsageError: if it is absolute, leads out, or cannot be a file's name.

    """
    if text.startswith("/"):
        raise UsageError(f"'{shown(text)}' is absolute; names are relative to the source")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UsageError(f"'{shown(text)}' leads out of the source")
    name = "/".join(parts)
    try:
        split(name)
    except BadName as error:
        raise UsageError(f"'{shown(text)}': {error}") from error
    return name
