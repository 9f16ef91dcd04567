"""Decides about the names of one source whether they are taken, and says why not.

This module must not know where files are, or on which side of a transfer it is used.
"""

from __future__ import annotations

from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from filexfer.choice.filter import Filter
    from filexfer.choice.patterns import Rule

    Ignored = Callable[[str], bytes | None]

_FOLDERS_MAX = 4096  # whose verdicts and rules are remembered
IGNORE_MAX = 1 << 20  # bytes of an ignore file


class Verdict:
    """What becomes of a name.

    Args:
        reason: Why it is left out; empty where that is told of a folder above, or goes without
            saying.
        is_taken: Whether it is taken.
        is_entered: Of a folder: whether something in it may be taken. One that is entered and
            not taken is made only for what is in it.
        by_rules: Of a folder: whether the rules take what they do not name in it.
        by_list: Of a folder: whether the list has it whole.

    """

    __slots__ = ("by_list", "by_rules", "is_entered", "is_taken", "reason")

    def __init__(
        self,
        reason: str = "",
        *,
        is_taken: bool = False,
        is_entered: bool = False,
        by_rules: bool = True,
        by_list: bool = True,
    ) -> None:
        self.reason = reason
        self.is_taken = is_taken
        self.is_entered = is_entered
        self.by_rules = by_rules
        self.by_list = by_list

    @property
    def is_left(self) -> bool:
        """Whether it is left out."""
        return not (self.is_taken or self.is_entered)


_TAKEN = Verdict(is_taken=True, is_entered=True)
_LEFT = Verdict()  # with the folder it lies in, or it is not in the list


class Judge:
    """Decides about the names below one source.

    Args:
        chosen: What the user has said.
        ignored: Returns the contents of an ignore file by its name below the source, or None if
            there is none of that name; may raise FileError.

    """

    def __init__(self, chosen: Filter, ignored: Ignored | None = None) -> None:
        self._chosen = chosen
        self._read = ignored if chosen.ignore_files else None
        names = chosen.names
        self._listed = None if names is None else frozenset(names)
        self._above = frozenset(_folders_above(names or ()))
        by_list = names is None or "" in names
        by_rules = not chosen.only_includes
        self.top = Verdict(
            is_taken=by_list and by_rules, is_entered=True, by_rules=by_rules, by_list=by_list
        )
        self._folders: dict[str, Verdict] = {}
        self._ignore_rules: dict[str, list[tuple[str, Sequence[Rule]]]] = {}

    @property
    def may_make_folders_late(self) -> bool:
        """Whether there are folders that are made only for what is in them."""
        return not self.top.is_taken

    def folder(self, name: str) -> Verdict:
        """Return what becomes of the folder *name*; ``""`` is the source itself."""
        if not name:
            return self.top
        known = self._folders.get(name)
        if known is None:
            above = self.folder(name.rpartition("/")[0])
            known = self._verdict(name, above, is_folder=True) if above.is_entered else _LEFT
            if len(self._folders) >= _FOLDERS_MAX:
                self._folders.clear()
            self._folders[name] = known
        return known

    def other(self, name: str) -> Verdict:
        """Return what becomes of something that is no folder, its size and time aside."""
        above = self.folder(name.rpartition("/")[0])
        return self._verdict(name, above, is_folder=False) if above.is_entered else _LEFT

    def file(self, name: str, size: int, mtime: int) -> Verdict:
        """Return what becomes of a file.

        Args:
            name: Below the source.
            size: Bytes.
            mtime: Modification time, nanoseconds since 1970.

        """
        found = self.other(name)
        if found.is_taken and (reason := self._measured(size, mtime)):
            return Verdict(reason)
        return found

    def load(self, folder: str) -> None:
        """Read the ignore files of a folder, if there are any.

        Raises:
            FileError: if one cannot be read.

        """
        if self._read:
            self._rules_in(folder, self._read)

    def _measured(self, size: int, mtime: int) -> str:
        chosen = self._chosen
        if size < chosen.min_size:
            return f"smaller than {_bytes(chosen.min_size)}"
        if chosen.max_size is not None and size > chosen.max_size:
            return f"larger than {_bytes(chosen.max_size)}"
        if chosen.newer_than is not None and mtime <= chosen.newer_than * 1e9:
            return "not new enough"
        return ""

    def _verdict(self, name: str, above: Verdict, *, is_folder: bool) -> Verdict:
        by_list = above.by_list or (self._listed is not None and name in self._listed)
        if not by_list and not (is_folder and name in self._above):
            return _LEFT
        by_rules = above.by_rules
        if rules := self._chosen.rules:
            from filexfer.choice.patterns import last_match  # noqa: PLC0415 - loaded with the rules

            rule = last_match(rules, name, is_folder=is_folder)
            if rule and not rule.is_include:
                return Verdict(f"excluded by '{shown(rule.text)}'")
            by_rules = by_rules or rule is not None
        if not by_rules and not is_folder:
            return Verdict("not included")
        if self._read and (reason := self._ignored_by(name, self._read, is_folder=is_folder)):
            return Verdict(reason)
        if by_rules and by_list:
            return _TAKEN
        return Verdict(is_entered=True, by_rules=by_rules, by_list=by_list)

    def _ignored_by(self, name: str, read: Ignored, *, is_folder: bool) -> str:
        """Return which line of an ignore file leaves it out; the nearest file that says it."""
        from filexfer.choice.patterns import last_match  # noqa: PLC0415 - only for who wants it

        folder = name
        while folder:
            folder = folder.rpartition("/")[0]
            rest = name[len(folder) + 1 :] if folder else name
            for file, rules in reversed(self._rules_in(folder, read)):
                if rule := last_match(rules, rest, is_folder=is_folder):
                    where = f" in {shown(folder)}" if folder else ""
                    return "" if rule.is_include else f"{shown(file)}{where}, line {rule.line}"
        return ""

    def _rules_in(self, folder: str, read: Ignored) -> list[tuple[str, Sequence[Rule]]]:
        known = self._ignore_rules.get(folder)
        if known is None:
            from filexfer.choice.patterns import rules_of_file  # noqa: PLC0415 - as above

            known = []
            for file in self._chosen.ignore_files:
                data = read(f"{folder}/{file}" if folder else file)
                if data and (rules := rules_of_file(data)):
                    known.append((file, rules))
            if len(self._ignore_rules) >= _FOLDERS_MAX:
                self._ignore_rules.clear()
            self._ignore_rules[folder] = known
        return known


def _folders_above(names: Sequence[str]) -> set[str]:
    """Return the folders that the names lie in."""
    above: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in above:
            above.add(folder)
            folder = folder.rpartition("/")[0]
    return above


def _bytes(number: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number and number % size == 0:
            return f"{number // size} {unit}"
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number and number % size == 0:
            return f"{number // size} {unit}"
    return f"{number:,} bytes"
