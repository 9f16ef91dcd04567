"""What may follow on a command line, as a shell wants to know it: found out from all parsers.

This module must not know any shell.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from filexfer.cli import COMMANDS, parser_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filexfer.cli.parsing import Parser

# What a value is, by its name in the help. Any other is a text that nobody can guess.
FILE, FOLDER, REMOTE, SERVER, COMMAND, TEXT = "file", "folder", "remote", "server", "command", ""
_KINDS = {
    **dict.fromkeys(("FILE", "PATH", "SRC", "DST"), FILE),
    **dict.fromkeys(("DIR", "FOLDER"), FOLDER),
    **dict.fromkeys(("REMOTE",), REMOTE),
    **dict.fromkeys(("COMMAND",), COMMAND),
}
_SERVERS = ("login", "logout")  # whose NAME is that of a stored server


@dataclass
class Option:
    """An option.

    Attributes:
        flags: All its forms, with dashes.
        text: What it does, in short.
        label: The name of its value in the help; ``""`` if it takes none.
        kind: What its value is.
        words: All that its value may be; empty if that is not limited.
        without: The options that exclude it.
        repeats: Whether it may be given several times.

    """

    flags: list[str]
    text: str
    label: str
    kind: str
    words: list[str]
    without: list[str]
    repeats: bool


@dataclass
class Command:
    """A command.

    Attributes:
        name: What it is called.
        text: What it does.
        choices: What its first argument may be; empty if that is not limited.
        kinds: What its arguments may be; behind the first one if there are choices.
        options: Its options.

    """

    name: str
    text: str
    choices: list[str]
    kinds: list[str]
    options: list[Option]


def commands() -> list[Command]:
    """Return all commands."""
    return [_command(name, text) for name, text in COMMANDS.items()]


def _command(name: str, text: str) -> Command:
    parser = parser_of(name)
    arguments = parser.arguments()[1 if parser.choices() else 0 :]
    kinds = [_kind(name, each) for each in arguments]
    return Command(
        name,
        text,
        parser.choices(),
        list(dict.fromkeys(kind for kind in kinds if kind)),
        [*_options(name, parser), Option(["-h", "--help"], "tell more", "", TEXT, [], [], False)],
    )


def _options(name: str, parser: Parser) -> Iterator[Option]:
    for each in parser.options():
        if parser.is_shown(each):
            takes = each.nargs != 0
            yield Option(
                flags=list(each.option_strings),
                text=_short(each),
                label=_label(each) if takes else "",
                kind=_kind(name, each) if takes else TEXT,
                words=[str(word) for word in each.choices or ()],
                without=sorted(
                    flag for other in parser.partners(each) for flag in other.option_strings
                ),
                repeats=takes and not isinstance(each, argparse._StoreAction),  # noqa: SLF001 - no public name has it
            )


def _label(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _kind(command: str, action: argparse.Action) -> str:
    label = _label(action)
    if label == "NAME" and command in _SERVERS:
        return SERVER
    return _KINDS.get(label, TEXT)


def _short(action: argparse.Action) -> str:
    """Return the first words of the help, up to where it goes into details."""
    text = (action.help or "").replace("%%", "%")
    for sign in (";", ":", "(", ", "):
        text = text.partition(sign)[0]
    return text.strip() or _label(action)
