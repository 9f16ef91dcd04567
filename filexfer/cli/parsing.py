"""How the words of a command are read, and its help is laid out: examples first, options in groups.

This module must not know any command.
"""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# argparse asks gettext for its words, which loads locale and looks for files that nobody has.
argparse._ = str  # type: ignore[attr-defined] # its own name for gettext

# The groups of options, in the order of every help; others follow. 'what' has the arguments too.
WHAT = "what"
EXISTS = "if a file exists (identical ones are always skipped)"
SAFETY = "safety"
CONNECTION = "connection"
TRUST = "trust (a NAME of 'filexfer login' needs none of it)"
SPEED = "speed"
MESSAGES = "messages"
_FIRST = (WHAT, "options")
_LAST = (EXISTS, SAFETY, SPEED, CONNECTION, TRUST, MESSAGES)

_MESSAGE_MAX = 1000  # characters about words that make no sense


class Parser(argparse.ArgumentParser):
    """One whose help begins with the examples, and whose errors say what to do."""

    def __init__(self, name: str, sentence: str, more: str = "") -> None:
        """Make one without arguments.

        Args:
            name: Of the command.
            sentence: What it does.
            more: The examples, and, behind an empty line, what else is to be said.

        """
        super().__init__(
            prog=f"filexfer {name}",
            description=sentence,
            epilog=more,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self._positionals.title = WHAT
        self.blame: Callable[[str], object] | None = None  # is called with the message of an error

    def format_usage(self) -> str:
        """Return how to call the command, in a line."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        return formatter.format_help()

    def format_help(self) -> str:
        """Return all that is to be known, the examples first."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        examples, _, rest = (self.epilog or "").partition("\n\n")
        formatter.add_text(self.description)
        formatter.add_text(examples)
        for group in sorted(self._action_groups, key=_place):
            actions = [each for each in group._group_actions if each.dest != "help"]  # noqa: SLF001 - no public name has it
            if actions:
                formatter.start_section(group.title)
                formatter.add_arguments(actions)
                formatter.end_section()
        for paragraph in rest.split("\n\n"):
            formatter.add_text(_filled(paragraph, _terminal_width()))
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        """End with the message, shown escaped: what it does not understand may be a file's name."""
        from filexfer.names import shown  # noqa: PLC0415 - only then

        text = f"{shown(message, _MESSAGE_MAX)}; see '{self.prog} --help'"
        if self.blame:
            self.blame(text)
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {text}\n")

    def _add_usage(self, formatter: argparse.HelpFormatter) -> None:
        arguments = self._get_positional_actions()
        words = [formatter._format_args(each, each.dest) for each in arguments]  # noqa: SLF001 - no public name has it
        optional = ["[OPTIONS]"] if len(self._get_optional_actions()) > 1 else []
        usage = " ".join(["%(prog)s", *optional, *words])
        formatter.add_usage(usage, [], [])


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Of the terminal's width, which argparse would load shutil, bz2 and lzma to find out."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_terminal_width())


def group(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    """Return the group of the parser with this title, a new one if there is none yet.

    The help shows the groups in its own order, in whichever they were made.
    """
    for each in parser._action_groups:  # noqa: SLF001 - no public name has it
        if each.title == title:
            return each
    return parser.add_argument_group(title)


def _place(group: argparse._ArgumentGroup) -> int:
    if group.title in _FIRST:
        return _FIRST.index(group.title)
    return len(_FIRST) + (1 + _LAST.index(group.title) if group.title in _LAST else 0)


def _filled(paragraph: str, width: int) -> str:
    """Return running text in lines of the width; what has indented lines stays as it is."""
    if "\n " in paragraph:
        return paragraph
    from textwrap import fill  # noqa: PLC0415 - only for a help

    return fill(paragraph, width, break_on_hyphens=False)


def _terminal_width() -> int:
    from os import environ, get_terminal_size  # noqa: PLC0415 - only for a help

    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns) - 2
    try:
        return max(40, get_terminal_size(1).columns - 2)
    except OSError:  # standard output is no terminal
        return 78
