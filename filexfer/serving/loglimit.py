"""Keeps a flood of lines about one address out of a log, and says how many were left out.

A line is about whoever its first argument names, as ``HOST:PORT``; others are about the server
itself, and count together.

This module must not know what is logged, or where to.
"""

from __future__ import annotations

import logging
import threading
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SECONDS = 1.0
_SOURCES_MAX = 1000  # whose lines are counted; all further ones count as one


class LogLimit(logging.Filter):
    """Lets so many lines a second about each address through.

    What it left out is told within a second after.

    Args:
        lines: How many.
        clock: Tells the seconds.

    """

    def __init__(self, lines: int, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._lines = lines
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows
        self._since = clock()
        self._counts: dict[str, int] = {}
        self._timer: threading.Timer | None = None

    @classmethod
    def install(cls, lines: int) -> None:
        """Limit what this process logs, and what its children will."""
        logging.getLogger("filexfer").addFilter(cls(lines))

    @staticmethod
    def finish() -> None:
        """At the end of this process: say what it has left out."""
        for each in logging.getLogger("filexfer").filters:
            if isinstance(each, LogLimit):
                each.tell()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line is to be logged."""
        if record.levelno >= logging.ERROR:
            return True
        source = _source(record)
        late = self._take_late()
        with self._lock:
            if source not in self._counts and len(self._counts) >= _SOURCES_MAX:
                source = "others"
            count = self._counts[source] = self._counts.get(source, 0) + 1
            if count > self._lines and self._timer is None:
                self._timer = threading.Timer(_SECONDS, self.tell)
                self._timer.daemon = True
                self._timer.start()
        _log(late)
        return count <= self._lines

    def tell(self) -> None:
        """Say now how many lines were left out."""
        with self._lock:
            self._since = -_SECONDS
            self._timer = None
        _log(self._take_late())

    def _take_late(self) -> list[tuple[str, int]]:
        """Begin another second, if it is time; return how many lines were left out in the last."""
        now = self._clock()
        with self._lock:
            if now - self._since < _SECONDS:
                return []
            self._since = now
            late = [
                (source, count - self._lines)
                for source, count in self._counts.items()
                if count > self._lines
            ]
            self._counts.clear()
            return late


def _source(record: logging.LogRecord) -> str:
    first = record.args[0] if isinstance(record.args, tuple) and record.args else None
    if not isinstance(first, str):
        return "the server"
    return first.rpartition(":")[0] or first


def _log(late: list[tuple[str, int]]) -> None:
    """Log how many lines were left out, past the limit."""
    logger = logging.getLogger("filexfer")
    for source, count in late:
        text = "%s: %d more lines in a second were left out"
        record = logger.makeRecord(logger.name, logging.WARNING, "", 0, text, (source, count), None)
        logger.callHandlers(record)
