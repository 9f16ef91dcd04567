"""The configuration file: TOML, a table for each command.

It is used only if nobody else may change it, for it can switch encryption off.

This module must not know what options there are.
"""

from __future__ import annotations

import os
import re
import tomllib

from filexfer.cli import suggest
from filexfer.errors import LocalError, TrustError, UsageError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any


class File:
    """A configuration file, in TOML.

    Raises:
        UsageError: if it is no TOML.
        LocalError: if it cannot be read.
        TrustError: if others may change it: it can switch encryption off.

    """

    def __init__(self, path: str) -> None:
        self._path = shown(path)
        try:
            with open(path, "rb") as file:
                self._check_owner(os.fstat(file.fileno()))
                data = file.read()
        except OSError as error:
            raise LocalError(
                f"cannot read the configuration {self._path}: {error.strerror} "
                "(FILEXFER_CONFIG names another file, or, empty, none)"
            ) from error
        try:
            self._text = data.decode()
            self._tables = tomllib.loads(self._text)
        except UnicodeDecodeError as error:
            raise UsageError(f"{self._path} is not UTF-8") from error
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{self._path} is no TOML: {shown(str(error))}") from error

    def _check_owner(self, status: os.stat_result) -> None:
        hint = "it is not used; FILEXFER_CONFIG= leaves it out"
        if status.st_uid not in (os.geteuid(), 0):
            raise TrustError(f"the configuration {self._path} belongs to another user; {hint}")
        if status.st_mode & 0o022:
            raise TrustError(
                f"others may change the configuration {self._path}; {hint}, "
                f"chmod go-w {self._path} mends it"
            )

    def check(self, commands: Collection[str]) -> None:
        """Look whether every table is that of a command.

        Raises:
            UsageError: if one is not.

        """
        for name, table in self._tables.items():
            if not isinstance(table, dict):
                raise self.wrong("stands in no table, such as [put]", "", name)
            if name not in commands:
                meant = suggest.instead(suggest.command(name, commands))
                where = self.where(name, "")
                raise UsageError(f"{where}: no command '{shown(name)}'{meant}")

    def table(self, name: str) -> dict[str, Any]:
        """Return what stands under ``[name]``."""
        found: dict[str, Any] = self._tables.get(name, {})
        return found

    def wrong(self, reason: str, table: str, key: str) -> UsageError:
        """Return an error about a key."""
        return UsageError(f"{self.where(table, key)}: {reason}")

    def where(self, table: str, key: str) -> str:
        """Return where a key stands, for people; without a key, its table."""
        line = self._line(table, key)
        what = f"'{shown(key)}'" if key else f"[{shown(table)}]"
        if key and table:
            what += f" in [{shown(table)}]"
        return f"{self._path}, {f'line {line}, ' if line else ''}{what}"

    def _line(self, table: str, key: str) -> int:
        """Return the number of the line that has the key; 0 if it is written in another way."""
        here = ""
        for number, line in enumerate(self._text.splitlines(), 1):
            if found := re.match(r"\s*\[([^\[\]]+)\]", line):
                here = re.sub(r"[\s\"']", "", found[1])
                if not key and here.split(".")[0] == table:
                    return number
            elif key and here == table and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return number
        return 0
