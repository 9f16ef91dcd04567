"""How the words of a command are read, and its help is laid out: examples first, options in groups.

There are two helps: that of ``--help`` fits on a screen, and leaves out what is ``Further``; the
whole one, of ``filexfer help COMMAND``, has everything.

This module must not know any command.
"""

from __future__ import annotations

import sys
from types import ModuleType

# A trick for the start-up: argparse imports gettext to translate its few words, for which there are
# no translations, and cannot be told not to. Loading it takes 0.6 ms and looking for translations
# another 1.0 ms, together a 25th of a short command. So while argparse is loaded, and only then, a
# module of two functions that translate nothing stands in for it; whoever imports gettext later
# gets the real one, and where it is loaded already nothing is done. To give argparse such functions
# once it is loaded would look better, and save the second part only.
_is_loaded = "gettext" in sys.modules
if not _is_loaded:
    _untranslated = ModuleType("gettext")
    vars(_untranslated).update(gettext=str, ngettext=lambda one, more, n: one if n == 1 else more)
    sys.modules["gettext"] = _untranslated
import argparse  # noqa: E402 - see above

if not _is_loaded:
    del sys.modules["gettext"]

from filexfer.errors import UsageError  # noqa: E402 - see above

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

# The groups of options, in the order of every help; others follow. 'what' has the arguments too.
WHAT = "what"
CHOICE = "which files (patterns as in .gitignore)"
EXISTS = "if a file exists (identical ones are always skipped)"
PLAN = "before the first byte"
SAFETY = "safety"
CONNECTION = "connection"
TRUST = "trust (a NAME of 'filexfer login' needs none of it)"
RECEIPT = "receipt"
SPEED = "speed"
MESSAGES = "messages"
_FIRST = (WHAT, "options", CHOICE)
_LAST = (EXISTS, PLAN, SAFETY, RECEIPT, SPEED, CONNECTION, TRUST, MESSAGES)

_MESSAGE_MAX = 1000  # characters about words that make no sense


class Further(str):
    """What an option does, ``help=Further("...")``, if only the whole help shall have the option.

    It is for options that few users need; they are known everywhere else as all others are.
    """

    __slots__ = ()


class Parser(argparse.ArgumentParser):
    """One whose help begins with the examples, and whose errors say what to do."""

    def __init__(self, name: str, sentence: str, more: str = "", further: str = "") -> None:
        """Make one without arguments.

        Args:
            name: Of the command.
            sentence: What it does.
            more: The examples, and, behind an empty line, what else is to be said.
            further: What only the whole help says.

        """
        super().__init__(
            prog=f"filexfer {name}",
            description=sentence,
            epilog=more,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self.further = further
        self._whole = f"filexfer help {name}"  # which shows all
        self._positionals.title = WHAT
        self._noted: set[argparse.Action] | None = None  # options, while they are only looked for
        self.blame: Callable[[str], object] | None = None  # is called with the message of an error

    def format_usage(self) -> str:
        """Return how to call the command, in a line."""
        formatter = self._get_formatter()
        self._add_usage(formatter)
        return formatter.format_help()

    def format_help(self) -> str:
        """Return what most users need, the examples first, and where all the rest is."""
        return self._help(is_whole=False)

    def format_whole_help(self) -> str:
        """Return all that is to be known, the examples first."""
        return self._help(is_whole=True)

    def _help(self, *, is_whole: bool) -> str:
        formatter = self._get_formatter()
        self._add_usage(formatter)
        examples, _, rest = (self.epilog or "").partition("\n\n")
        formatter.add_text(self.description)
        formatter.add_text(examples)
        left_out = [] if is_whole else self._further_options()
        absent = []  # groups of which nothing is shown
        for group in sorted(self._action_groups, key=_place):
            known = [each for each in group._group_actions if each.dest != "help"]  # noqa: SLF001 - no public name has it
            actions = [each for each in known if each not in left_out]
            if actions:
                formatter.start_section(group.title)
                formatter.add_arguments(actions)
                formatter.end_section()
            elif known:
                absent.append(f"{group.title}".partition(" (")[0])
        for text in (rest, self.further) if is_whole else (rest,):
            for paragraph in text.strip("\n").split("\n\n"):
                formatter.add_text(_filled(paragraph, _terminal_width()))
        if left_out or (self.further and not is_whole):
            hint = f"All options{_also(absent)}: {self._whole}"
            formatter.add_text(_filled(hint, _terminal_width()))
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        """End with the message, shown escaped: what it does not understand may be a file's name."""
        from filexfer.names import shown  # noqa: PLC0415 - only then

        _, joined, letter = message.partition(": ignored explicit argument ")
        if joined:  # as of ``ls -la``
            message = f"no option '-{letter[1:2]}'"
        text = shown(without_secrets(message), _MESSAGE_MAX)
        where = self._whole if self._is_on_further(text) else f"{self.prog} --help"
        hint = f"see '{where}'"
        text += f" {hint}" if text.endswith("?") else f"; {hint}"
        if self.blame:
            self.blame(text)
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {text}\n")

    def parse_args(  # type: ignore[override] # one form of those that argparse knows
        self, args: Sequence[str], namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Return what the words say; end if they make no sense."""
        found, left = self.parse_known_args(args, namespace)
        if left:
            self.error(self._not_known(left))
        if args and "" in args:
            self._refuse_empty(found)
        return found

    def options(self) -> list[argparse.Action]:
        """Return the options, without that for help."""
        return [each for each in self._get_optional_actions() if each.dest != "help"]

    def arguments(self) -> list[argparse.Action]:
        """Return the arguments, which have no dashes."""
        return self._get_positional_actions()

    def names(self, option: argparse.Action) -> list[str]:
        """Return what an option is called, without dashes; one letter is no name."""
        names = [each[2:] for each in option.option_strings if each.startswith("--")]
        if isinstance(option, argparse.BooleanOptionalAction):
            names = [each for each in names if not each.startswith("no-")]
        return names

    def is_shown(self, option: argparse.Action) -> bool:
        """Tell whether the whole help has the option."""
        return option.help != argparse.SUPPRESS

    def choices(self) -> list[str]:
        """Return what the first argument may be, if that is a choice, as of ``token add``."""
        first = self.arguments()[:1]
        return [str(each) for each in first[0].choices or ()] if first else []

    def given(self, words: Sequence[str]) -> tuple[set[argparse.Action], str]:
        """Return the options that the words give, and which of ``choices`` they take.

        What is missing may still be set elsewhere, and values are not looked at, which may mean to
        read them from standard input. The process ends if the words make no sense otherwise.
        """
        needed = [each for each in self._demands() if each.required]
        for each in needed:
            each.required = False
        given: set[argparse.Action] = set()
        self._noted = given
        try:
            found = self.parse_args(words)
        finally:
            self._noted = None
        for each in needed:
            each.required = True
        choice = getattr(found, self.arguments()[0].dest) if self.choices() else ""
        return given, str(choice)

    def satisfy(self, option: argparse.Action) -> None:
        """Take the option as given."""
        for each in self._demands():
            if each is option or option in getattr(each, "_group_actions", ()):
                each.required = False

    def _is_on_further(self, text: str) -> bool:
        """Tell whether the text names an option that only the whole help has."""
        import re  # noqa: PLC0415 - only for what has gone wrong

        named = set(re.findall(r"--[\w-]+", text))
        return any(named & set(each.option_strings) for each in self._further_options())

    def _further_options(self) -> list[argparse.Action]:
        return [each for each in self.options() if isinstance(each.help, Further)]

    def _demands(self) -> list[argparse.Action | argparse._MutuallyExclusiveGroup]:
        return [*self.options(), *self._mutually_exclusive_groups]

    def partners(self, option: argparse.Action) -> set[argparse.Action]:
        """Return the options that may not be given together with this one."""
        groups = [each._group_actions for each in self._mutually_exclusive_groups]  # noqa: SLF001 - no public name has it
        return {other for group in groups if option in group for other in group} - {option}

    def values(self, option: argparse.Action, texts: list[str]) -> Any:
        """Return what the texts mean to the option.

        Raises:
            argparse.ArgumentError: if it does not take them.

        """
        if option.nargs == "?" and not texts:
            return option.const
        values = [self._get_value(option, text) for text in texts]
        for value in values:
            self._check_value(option, value)
        return values[0] if option.nargs in (None, "?") else values

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        if self._noted is None or not action.option_strings or action.dest == "help":
            return super()._get_values(action, arg_strings)
        self._noted.add(action)
        return argparse.SUPPRESS  # which means that nothing is to be done

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError as error:
            if action.type is int:
                error.message = f"{arg_string!r} is no whole number"
            raise
        except UsageError as error:
            raise argparse.ArgumentError(action, str(error)) from error

    def _refuse_empty(self, found: argparse.Namespace) -> None:
        """End if an argument is empty, as of a shell's variable that is not set."""
        for each in self.arguments():
            value = getattr(found, each.dest, None)
            if value == "" or (isinstance(value, list) and "" in value):
                self.error(f"{each.metavar or each.dest} is empty")

    def _not_known(self, words: list[str]) -> str:
        """Return what is wrong with words that are too many."""
        option = next((word for word in words if word[:1] == "-" and word.strip("-")), None)
        if option is None:
            return f"unrecognized arguments: {' '.join(words)}"
        from filexfer.cli import suggest  # noqa: PLC0415 - only then

        option = option.partition("=")[0]
        known = [
            name for each in self.options() if self.is_shown(each) for name in each.option_strings
        ]
        if option[1] != "-":
            option = option[:2]
        if meant := suggest.option(option, known):
            return f"no option '{option}'{suggest.instead(meant)}"
        reason = suggest.note(option)
        return f"no option '{option}'{reason and ': '}{reason}"

    def _check_value(self, action: argparse.Action, value: object) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            from filexfer.cli import suggest  # noqa: PLC0415 - only then

            meant = suggest.similar(str(value), list(map(str, action.choices or ())))
            error.message += suggest.instead(meant)
            raise

    def _add_usage(self, formatter: argparse.HelpFormatter) -> None:
        words = [formatter._format_args(each, each.dest) for each in self.arguments()]  # noqa: SLF001 - no public name has it
        optional = ["[OPTIONS]"] if self.options() else []
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


def without_secrets(text: str) -> str:
    """Return the text with the token of each connect string in it left out."""
    if "@" not in text:
        return text
    import re  # noqa: PLC0415 - only for what has gone wrong

    return re.sub(r"(?i)(fx://)[^@/\s]+@", r"\1...@", text)


def _place(group: argparse._ArgumentGroup) -> int:
    if group.title in _FIRST:
        return _FIRST.index(group.title)
    return len(_FIRST) + (1 + _LAST.index(group.title) if group.title in _LAST else 0)


def _also(titles: list[str]) -> str:
    """Return that the whole help has these groups too, in words that go on a sentence."""
    *most, last = titles or [""]
    return last and f", also on {', '.join(most)}{' and ' * bool(most)}{last}"


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
