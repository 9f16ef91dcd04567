"""Patterns as git has them in its ignore files, each matched against one name at a time.

The library ``pathspec`` makes regular expressions of them, which also match whatever lies below a
folder that a pattern names. Here a pattern has to match the name itself: folders that are left out
are never entered, so what decides in git decides here too, rules that take something back included.

This module must not know where patterns come from, or what becomes of a name that matches.
"""

from __future__ import annotations

import re
import warnings

from pathspec.patterns.gitignore.base import GitIgnorePatternError
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from filexfer.errors import UsageError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_BRACKETS = re.compile(r"\\.|\[[!^]?\]?(?:\[:[a-z]+:\]|[^]])*\]")
_STARS = re.compile(r"(?:^|(?<=[/!]))\*{3,}(?=/|$)")  # as a whole part of a name; one says it all
_CLASS = re.compile(r"\[:([a-z]+):\]")
_CLASSES = {  # which pathspec does not know
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \t",
    "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@[-`{-~",
    "space": " \t-\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Rule:
    """One pattern.

    Args:
        text: As it was written; with a ``!`` before it, it takes back what others leave out.
        line: The number of its line, from 1.

    Attributes:
        is_include: Whether it takes back.

    Raises:
        ValueError: if it is no pattern.

    """

    __slots__ = ("_any", "_regex", "is_include", "line", "text")

    def __init__(self, text: str, line: int = 0) -> None:
        self.text = text
        self.line = line
        self.is_include = text.startswith("!")
        self._any = False
        self._regex: re.Pattern[str] | None = None
        regex, leaves_out = GitIgnoreSpecPattern.pattern_to_regex(_prepared(text))
        if regex is None or leaves_out is None:
            return
        self._any = not regex.startswith("^")  # of every name, or of every folder's
        with warnings.catch_warnings():  # about what a later Python may take for nested sets
            warnings.simplefilter("ignore", FutureWarning)
            self._regex = re.compile(regex, re.DOTALL)

    @property
    def is_rule(self) -> bool:
        """Whether it can match anything; comments and empty lines cannot."""
        return self._regex is not None

    def matches(self, name: str, *, is_folder: bool) -> bool:
        """Tell whether it matches the name itself, which is relative to where the pattern is."""
        if self._regex is None:
            return False
        if self._any:
            name = name.rpartition("/")[2]
        if is_folder:
            name += "/"
        found = self._regex.search(name)
        return found is not None and (self._any or found.end() == len(name))


def rules(lines: Iterable[str]) -> list[Rule]:
    """Return the rules that the user has given.

    Raises:
        UsageError: if one is no pattern.

    """
    made = []
    for number, line in enumerate(lines, 1):
        try:
            made.append(Rule(line, number))
        except (ValueError, re.error) as error:
            raise UsageError(f"'{shown(line)}' is no pattern: {_reason(error)}") from error
    return [rule for rule in made if rule.is_rule]


def rules_of_file(data: bytes) -> list[Rule]:
    """Return the rules of an ignore file; what is no pattern matches nothing there, as in git."""
    made = []
    for number, line in enumerate(lines_of(data), 1):
        try:
            made.append(Rule(line, number))
        except (ValueError, re.error):
            continue
    return [rule for rule in made if rule.is_rule]


def lines_of(data: bytes) -> list[str]:
    """Return the lines of a file of patterns, without what ends them."""
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return [line.removesuffix("\r") for line in text.split("\n")]


def last_match(made: Sequence[Rule], name: str, *, is_folder: bool) -> Rule | None:
    """Return the rule that decides about a name: the last one that matches it."""
    for rule in reversed(made):
        if rule.matches(name, is_folder=is_folder):
            return rule
    return None


def _prepared(text: str) -> str:
    """Return a pattern that says the same in the words that pathspec understands."""
    bare = text.rstrip(" ")
    if len(bare) < len(text) and (len(bare) - len(bare.rstrip("\\"))) % 2:
        bare += " "  # this one is escaped
    elif bare[-1:].isspace():  # which pathspec strips too
        bare = f"{bare[:-1]}[{bare[-1]}]"
    text = _STARS.sub("*", bare)
    if text.endswith(("/**", "/**/")):  # what lies in the folder, and not the folder
        text = text.removesuffix("/") + "/*" + ("/" if text.endswith("/") else "")
    return _BRACKETS.sub(_with_ranges, text) if "[:" in text else text


def _with_ranges(brackets: re.Match[str]) -> str:
    return _CLASS.sub(lambda found: _CLASSES.get(found[1], found[0]), brackets[0])


def _reason(error: Exception) -> str:
    if isinstance(error, GitIgnorePatternError):
        return "it ends in a backslash, or has nothing between slashes"
    return shown(str(error))
