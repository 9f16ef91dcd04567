"""Where the time of a transfer goes: a clock that is always in exactly one phase.

What is done inside something else is taken off it, so the seconds of all phases make up the whole
time, and nothing is counted twice.

This module must not know what is done in a phase, or how the figures are shown.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

WALKING = "walking"
READING = "reading"
HASHING = "hashing"
SENDING = "sending"
RECEIVING = "receiving"
WRITING = "writing"
FLUSHING = "flushing"
WAITING = "waiting"
REST = "rest"
PHASES = (WALKING, READING, HASHING, SENDING, RECEIVING, WRITING, FLUSHING, WAITING, REST)
_PAUSED = ""  # as nobody else names one


class Stats:
    """The seconds and bytes of each phase of one command; for one thread, as its report is.

    It begins in the phase of waiting: a command connects first, and asks.

    Attributes:
        bytes: By phase, what was read, hashed, sent, received and written, in bytes; 0 for the
            phases that move none. What is sent and received includes all that is said besides.
        connections: Over how many connections at once it went; the seconds of all are added up.

    """

    def __init__(self) -> None:
        self.bytes = dict.fromkeys(PHASES, 0)
        self.connections = 1
        self._seconds = dict.fromkeys((*PHASES, _PAUSED), 0.0)
        self._phase = WAITING
        self._since = monotonic()

    @property
    def seconds(self) -> dict[str, float]:
        """By phase, how long it took; whole when the command is over."""
        return {phase: self._seconds[phase] for phase in PHASES}

    def switch(self, phase: str) -> str:
        """Be in another phase from now on; return the one before, to be switched back to."""
        now = monotonic()
        before = self._phase
        self._seconds[before] += now - self._since
        self._phase, self._since = phase, now
        return before

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the clock stand still: what is done meanwhile has clocks of its own."""
        before = self.switch(_PAUSED)
        try:
            yield
        finally:
            self.switch(before)

    def stop(self) -> None:
        """Let the clock stand still from now on."""
        self.switch(_PAUSED)

    def take(self) -> tuple[list[float], list[int]]:
        """Return what was measured since the last time, as plain values, and begin at 0 again."""
        self.switch(self._phase)
        taken = ([self._seconds[phase] for phase in PHASES], [self.bytes[each] for each in PHASES])
        for phase in PHASES:
            self._seconds[phase], self.bytes[phase] = 0.0, 0
        return taken

    def add(self, taken: tuple[list[float], list[int]]) -> None:
        """Add what a part of the work has measured."""
        for phase, seconds, size in zip(PHASES, *taken, strict=True):
            self._seconds[phase] += seconds
            self.bytes[phase] += size
