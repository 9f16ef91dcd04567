"""What clients put, get and change, for a log: an entry for each file, handed on by the batch.

A batch is one record of the logger ``filexfer.transfers``, at the level INFO; where nobody wants
that, nothing is gathered. Its message has one line for each entry.

This module must not know where the log goes, or how files travel.
"""

from __future__ import annotations

import logging
from time import monotonic

from filexfer.names import shown

CUT = "cut"  # the connection ended before the file was settled
FAILED = "failed"
_SHOWN_MAX = 8192  # characters: no name has more, with every byte of it escaped
_BATCH = 1000  # entries, so that a record stays small

logger = logging.getLogger("filexfer.transfers")


def is_wanted() -> bool:
    """Tell whether anybody takes the entries."""
    return logger.isEnabledFor(logging.INFO)


class Batch:
    """Entries of one client, all of the same kind.

    Attributes:
        peer: The client's address.
        who: The name of its token; ``""`` for anybody.
        verb: What it did: ``put``, ``get``, ``remove``, ``mkdir`` or ``move``.
        entries: Of each file: name, size in bytes, digest, result, seconds, and the reason of a
            failure, or the name that it has after a move.

    """

    def __init__(self, peer: str, who: str, verb: str) -> None:
        self.peer = peer
        self.who = who
        self.verb = verb
        self.entries: list[tuple[str, int, str, str, float, str]] = []

    def lines(self) -> list[str]:
        """Return a line for each entry, for people; a peer's text in it is quoted and escaped."""
        head = f"{self.peer} {quoted(self.who) if self.who else '-'} {self.verb} "
        return [
            f"{head}{quoted(name)} {result}, {size} bytes, {digest or '-'}, {seconds:.3f} s"
            + (f", {quoted(reason)}" if reason else "")
            for name, size, digest, result, seconds, reason in self.entries
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


class Record:
    """Gathers what one client does; for one thread.

    Args:
        peer: The client's address.
        who: The name of its token; ``""`` for anybody.
        verb: What it does.

    """

    def __init__(self, peer: str, who: str, verb: str) -> None:
        self._batch = Batch(peer, who, verb)
        self._begun: dict[str, list[float]] = {}  # lists: the same name can be there twice

    def begin(self, name: str) -> None:
        """Note that a file begins to move."""
        self._begun.setdefault(name, []).append(monotonic())

    def is_open(self, name: str) -> bool:
        """Tell whether a file of this name has begun and is not settled."""
        return name in self._begun

    def forget(self, name: str) -> float:
        """Take back the earliest ``begin`` of a name; return its time, or 0 without one."""
        times = self._begun.get(name)
        if times is None:
            return 0.0
        began = times.pop(0)
        if not times:
            del self._begun[name]
        return began

    def add(
        self, name: str, size: int, digest: str, result: str, reason: str = "", *, as_name: str = ""
    ) -> None:
        """Note what became of a file.

        Args:
            name: As it was begun, if it was.
            size: Its bytes.
            digest: As ``algorithm:hex``, or ``""`` if it is not known.
            result: A word.
            reason: Of a failure.
            as_name: What it is called now, if that is something else.

        """
        began = self.forget(name)
        seconds = monotonic() - began if began else 0.0
        entries = self._batch.entries
        entries.append((as_name or name, size, digest, result, seconds, reason))
        if len(entries) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Hand on what was gathered."""
        batch = self._batch
        if batch.entries:
            self._batch = Batch(batch.peer, batch.who, batch.verb)
            logger.info(batch)

    def end(self, result: str) -> None:
        """Hand on everything; what was begun and not settled ends with *result*."""
        for name in [name for name, times in self._begun.items() for _ in times]:
            self.add(name, 0, "", result)
        self.flush()


def quoted(text: str) -> str:
    r"""Return *text* in quotes and fit for a line; ``\\`` and ``\"`` in it are escaped too."""
    return '"' + escaped(text).replace('"', '\\"') + '"'


def escaped(text: str) -> str:
    r"""Return *text* fit for a line, so that the text can be had back: a backslash is doubled."""
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return shown(text, _SHOWN_MAX)
