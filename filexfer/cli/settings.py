"""Options from the environment and from a file: ``FILEXFER_PUT_JOBS=4``, ``[put] jobs = 4``.

What stands on the command line goes before the environment, that before the file, and that before
the defaults; also where options exclude one another. Every option of every command can be set so,
found out from the command's parser; arguments cannot. Loaded only where something is set.

The options of a command whose first argument is a choice, such as ``token add``, have its word in
their names: ``FILEXFER_TOKEN_ADD_RIGHTS``, ``[token.add]``. So none can be taken for one of the
variables in ``OTHERS``, which mean something else.

This module must not know any command, or what an option is good for.
"""

from __future__ import annotations

import argparse
import os
import re

from filexfer.cli import suggest
from filexfer.cli.configuration import File
from filexfer.cli.parsing import without_secrets
from filexfer.errors import UsageError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from filexfer.cli.parsing import Parser

OTHERS = (  # variables that set no option
    *("FILEXFER_CONFIG", "FILEXFER_TOKEN", "FILEXFER_TOKEN_FILE"),
    *("FILEXFER_SKIPS", "FILEXFER_SEED", "FILEXFER_RACE_SECONDS"),  # of the tests
)
_WORDS = {
    **dict.fromkeys(("1", "true", "yes"), True),
    **dict.fromkeys(("0", "false", "no"), False),
}


class Setting:
    """One option that is set.

    Args:
        action: The option.
        name: What it is called, without dashes.
        where: What sets it, for people.
        value: A text of the environment, or whatever the file has.

    Attributes:
        uses: For each time that the option is given so, its values; none if it is switched off.

    Raises:
        UsageError: if the option can have no such value.

    """

    def __init__(self, action: argparse.Action, name: str, where: str, value: object) -> None:
        self.action = action
        self.name = name
        self.where = where
        self._flag = f"--{name}"
        self.uses = self._uses(value)

    def _uses(self, value: object) -> list[list[str]]:
        if self.action.nargs == 0:
            is_on = _WORDS.get(str(value).lower())
            if is_on is None:
                raise self.wrong(f"{value!r} is neither 1, true or yes nor 0, false or no")
            if not is_on and isinstance(self.action, argparse.BooleanOptionalAction):
                self._flag = f"--no-{self.name}"
                return [[]]
            return [[]] if is_on else []
        if isinstance(value, bool) and self.action.nargs == "?":
            return [[]] if value else []
        many = self.action.nargs not in (None, "?")
        if many or not isinstance(self.action, argparse._StoreAction):  # noqa: SLF001 - no public name
            texts = [self._text(each) for each in _lines(value)]
            return [texts] if many else [[text] for text in texts]
        return [[self._text(value)]]

    def _text(self, value: object) -> str:
        if isinstance(value, bool | list | dict):
            raise self.wrong("one text or number is wanted")
        return str(value)

    def wrong(self, reason: str) -> UsageError:
        """Return the error that says where and why."""
        return UsageError(f"{self.where}: {shown(without_secrets(reason))}")

    def apply(self, parser: Parser, into: argparse.Namespace) -> None:
        """Do what the option does on the command line, with the same checks.

        Raises:
            UsageError: if it does not take the value.

        """
        if self.uses and not hasattr(into, self.action.dest):
            setattr(into, self.action.dest, self.action.default)
        for texts in self.uses:
            try:
                values = parser.values(self.action, texts)
                self.action(parser, into, values, self._flag)
            except argparse.ArgumentError as error:
                raise self.wrong(error.message) from error


class Settings:
    """What is set for one command.

    Args:
        parser: The command's.
        command: Its name.
        commands: The names of all.
        file: The configuration file; ``""`` if there is none.

    """

    def __init__(self, parser: Parser, command: str, commands: Collection[str], file: str) -> None:
        self._parser = parser
        self._command = command
        self._commands = commands
        self._file = file
        self._options = {name: each for each in parser.options() for name in parser.names(each)}
        self._used: list[Setting] = []

    def parse(self, words: list[str]) -> argparse.Namespace:
        """Return what the words say, and, where they say nothing, what is set.

        Raises:
            UsageError: if what is set makes no sense.
            LocalError, TrustError: if the file cannot be read, or others may change it.

        """
        decided, choice = self._parser.given(words)
        on = set(decided)
        into = argparse.Namespace()
        for level in (self._in_environment(choice), self._in_file(choice)):
            settings = list(level)
            for setting in self._chosen(settings, decided, on):
                on.add(setting.action)
                setting.apply(self._parser, into)
                self._parser.satisfy(setting.action)
                self._used.append(setting)
            decided.update(setting.action for setting in settings)
        return self._parser.parse_args(words, into)

    def explained(self, error: UsageError) -> UsageError:
        """Return the error, with where the options that it speaks of were set."""
        text = str(error)
        named = [each for each in self._used if re.search(rf"\b{each.name}\b", text)]
        if not named:
            return error
        return UsageError(f"{text} (set by {' and '.join(each.where for each in named)})")

    def _chosen(
        self, level: list[Setting], decided: set[argparse.Action], on: set[argparse.Action]
    ) -> list[Setting]:
        """Return which settings of a level count, after what higher ones decided or switched on."""
        chosen: dict[argparse.Action, Setting] = {}
        for setting in level:
            partners = self._parser.partners(setting.action)
            if not setting.uses or setting.action in decided or partners & on:
                continue
            for partner in partners & set(chosen):
                raise setting.wrong(f"not allowed with {chosen[partner].where}")
            chosen[setting.action] = setting
        return list(chosen.values())

    def _in_environment(self, choice: str) -> Iterator[Setting]:
        names = variables(self._parser, self._command)
        start = f"FILEXFER_{_upper(self._command)}_"
        for variable in os.environ:
            is_ours = variable.startswith(start) and variable not in OTHERS
            if is_ours and variable not in names and os.environ[variable]:
                meant = suggest.instead(self._meant(variable, start, choice))
                raise UsageError(f"no option has the variable {shown(variable)}{meant}")
        for variable, (each, name) in names.items():
            if each == choice and os.environ.get(variable):
                yield Setting(self._options[name], name, variable, os.environ[variable])

    def _meant(self, variable: str, start: str, choice: str) -> str | None:
        """Return the variable that a wrong one most likely means."""
        rest = variable.removeprefix(start)
        for each in self._parser.choices():
            if rest.startswith(_upper(each) + "_"):
                choice, rest = each, rest.removeprefix(_upper(each) + "_")
        name = self._like(rest.lower().replace("_", "-"))
        return name and start + _upper(f"{choice}-{name}" if choice else name)

    def _like(self, name: str) -> str | None:
        seen = [each for each, option in self._options.items() if self._parser.is_shown(option)]
        meant = suggest.option(f"--{name}", [f"--{each}" for each in seen])
        return meant and meant.removeprefix("--")

    def _in_file(self, choice: str) -> Iterator[Setting]:
        if not self._file:
            return
        file = File(self._file)
        file.check(self._commands)
        name, table = self._command, file.table(self._command)
        choices = self._parser.choices()
        if choices:
            for key, value in table.items():
                if key not in choices or not isinstance(value, dict):
                    meant = suggest.similar(key, choices) or choice
                    reason = suggest.instead(f"[{name}.{meant}]")
                    raise file.wrong(f"{name} has no such table{reason}", name, key)
            name, table = f"{name}.{choice}", table.get(choice, {})
        for key, value in table.items():
            if key not in self._options:
                reason = f"{self._command} has no such option{suggest.instead(self._like(key))}"
                raise file.wrong(reason, name, key)
            yield Setting(self._options[key], key, file.where(name, key), value)


def variables(parser: Parser, command: str) -> dict[str, tuple[str, str]]:
    """Return the variables of a command: for each, to which choice and option it belongs."""
    choices = parser.choices() or [""]
    start = f"FILEXFER_{_upper(command)}_"
    return {
        start + _upper(f"{choice}-{name}" if choice else name): (choice, name)
        for choice in choices
        for option in parser.options()
        for name in parser.names(option)
    }


def _upper(name: str) -> str:
    return name.replace("-", "_").upper()


def _lines(value: object) -> Iterable[object]:
    """Return the values of an option that is given several times: a list, or lines."""
    if isinstance(value, str):
        return [line for line in value.split("\n") if line]
    return value if isinstance(value, list) else [value]
