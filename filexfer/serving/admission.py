"""Counts the connections of a server, over all its processes, and says who may come in.

The counts lie in memory that the worker processes share. Each writes only rows of its own, and
enters a connection before it counts, so no lock is needed between them and no limit is overrun;
at worst two that come at the same moment are both refused the last place. What a dead worker has
left is dropped by its successor, which has the same slot.

This module must not know sockets that are open, or what clients say.
"""

from __future__ import annotations

import socket
import threading
from math import ceil
from mmap import mmap
from random import random
from time import monotonic  # all processes of a machine see the same

from filexfer.errors import Code, RefusedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.security.access import Access, Grant
    from filexfer.serving.limits import Limits

_WORD = 8  # bytes
_WORD_MAX = (1 << 64) - 1
_HEAD = 4  # words of a worker before its rows:
_ALL, _NEW, _HIGH, _MARKED = range(_HEAD)  # connections, new ones, rows in use, any wrong tokens
_COLUMNS = 3  # of the rows, one for each connection:
_SOURCE, _FRESH, _TOKEN = range(_COLUMNS)  # where it is from; the same while it is new; its token
_MARKS = 256  # sources of wrong tokens, which follow
_MARK = 3  # words of each: source, how many wrong tokens, end of the penalty in milliseconds
_MAPPED = bytes(10) + b"\xff\xff"  # begins an IPv6 address that means one of IPv4
_RARE = 1 << 32  # above the numbers of all IPv4 addresses
_TOO_MANY = "the server has too many connections; try again later"


def source_of(address: object) -> int:
    """Return a number for those who count as one, from what a socket says of its other end.

    That is an address of IPv4, or 64 bits of one of IPv6, of which providers give everybody that
    many or more. 0 stands for this machine, whose users share an address.
    """
    if not isinstance(address, tuple):
        return 0
    text = str(address[0]).partition("%")[0]
    if ":" not in text:
        packed = socket.inet_pton(socket.AF_INET, text)
    else:
        packed = socket.inet_pton(socket.AF_INET6, text)
        if packed == bytes(15) + b"\x01":
            return 0
        if not packed.startswith(_MAPPED):
            return max(int.from_bytes(packed[:8], "big"), _RARE)
        packed = packed[len(_MAPPED) :]
    return 0 if packed[0] == socket.INADDR_LOOPBACK >> 24 else int.from_bytes(packed, "big")


class Ticket:
    """One connection that is counted; for several threads.

    Attributes:
        source: Where it comes from, as ``source_of`` says.
        deadline: By when it must have said who it is, on the monotonic clock.
        is_new: Whether it has not said yet who it is.
        row: Of its count; -1 when it is counted no more.

    """

    __slots__ = ("_admission", "deadline", "is_new", "row", "source")

    def __init__(self, admission: Admission, source: int, row: int, deadline: float) -> None:
        self._admission = admission
        self.source = source
        self.row = row
        self.deadline = deadline
        self.is_new = True

    @property
    def is_waiting(self) -> bool:
        """Whether it is new, and still counted."""
        return self.is_new and self.row >= 0

    def admit(self, access: Access, token: str) -> Grant:
        """Return what the bearer of *token* may do, and count it as one of that bearer's.

        Raises:
            RefusedError: if that is nobody known, which is noted; if the bearer has too many
                connections; or if this one was dropped meanwhile.

        """
        try:
            grant = access.admit(token)
        except RefusedError as error:
            if error.code == Code.AUTH_FAILED:
                self._admission.punish(self.source)
            raise
        self._admission.admit(self, grant.name)
        return grant

    def leave(self) -> None:
        """Count it no more; harmless when that was done."""
        self._admission.leave(self)


class Admission:
    """Who may come in.

    Args:
        limits: Say how many.

    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._rows = limits.connections + 1  # with one that is refused
        self._size = _HEAD + _COLUMNS * self._rows + _MARK * _MARKS
        self._lock = threading.Lock()  # guards the own rows
        self.share(1)

    def share(self, workers: int) -> None:
        """Before the workers are made: count for so many processes."""
        self._bases = [self._size * slot for slot in range(workers)]
        self._words = memoryview(mmap(-1, _WORD * self._size * workers)).cast("Q")
        self.use_slot(0)

    def use_slot(self, slot: int) -> None:
        """In a worker: count in this slot, from 0 on; what a dead predecessor left is dropped."""
        self._lock = threading.Lock()
        self._base = base = self._bases[slot]
        words = self._words
        high = words[base + _HIGH]
        words[base + _ALL] = words[base + _NEW] = words[base + _HIGH] = 0
        for column in (_SOURCE, _FRESH, _TOKEN):
            for at in range(self._at(column, base), self._at(column, base) + high):
                words[at] = 0
        self._free = list(range(self._rows - 1, -1, -1))

    # Connections

    @property
    def mine(self) -> int:
        """How many connections this process has."""
        return int(self._words[self._base + _ALL])

    @property
    def all(self) -> int:
        """How many connections all processes have."""
        return self._sum(_ALL)

    @property
    def new(self) -> int:
        """How many of them have not said yet who they are."""
        return self._sum(_NEW)

    def enter(self, source: int) -> Ticket:
        """Count a connection that has come.

        Raises:
            RefusedError: if it is one too many.

        """
        words, base = self._words, self._base
        with self._lock:
            row = self._free.pop()
            ticket = Ticket(self, source, row, monotonic() + self._limits.opening_timeout)
            words[self._at(_SOURCE, base) + row] = words[self._at(_FRESH, base) + row] = source
            words[base + _HIGH] = max(words[base + _HIGH], row + 1)
            words[base + _ALL] += 1
            words[base + _NEW] += 1
        try:
            self._check(source)
        except RefusedError:
            ticket.leave()
            raise
        return ticket

    def wants_room(self) -> bool:
        """Tell whether so many are new that the oldest one of this process, if any, has to go.

        A process may have none but the one that came last; then there is one too many. Places for
        these are kept free, and so the limit holds.
        """
        new, limits = self.new, self._limits
        most = max(1, limits.unauthenticated - len(self._bases) + 1)
        early = min(limits.early_drop, most)
        return new > most or (new > early and random() * (most - early) < new - early)  # noqa: S311 - no secret

    def admit(self, ticket: Ticket, name: str) -> None:
        """Count a connection as one of those by the token that has the name.

        Args:
            ticket: Of the connection.
            name: ``""`` stands for no token.

        Raises:
            RefusedError: if they are too many, or it was dropped meanwhile.

        """
        token = (hash(name) & _WORD_MAX or 1) if name else 0
        words, base = self._words, self._base
        with self._lock:
            if ticket.row < 0:
                raise RefusedError(Code.BUSY, _TOO_MANY)
            words[self._at(_TOKEN, base) + ticket.row] = token
            if ticket.is_new:
                ticket.is_new = False
                words[self._at(_FRESH, base) + ticket.row] = 0
                words[base + _NEW] -= 1
        most = self._limits.per_token
        if token and self.all > most and self._count(_TOKEN, token) > most:
            text = f"this token has {most} connections already; try again later"
            raise RefusedError(Code.BUSY, text)

    def leave(self, ticket: Ticket) -> None:
        """Count a connection no more; harmless when that was done."""
        words, base = self._words, self._base
        with self._lock:
            if ticket.row < 0:
                return
            for column in (_SOURCE, _FRESH, _TOKEN):
                words[self._at(column, base) + ticket.row] = 0
            words[base + _ALL] -= 1
            words[base + _NEW] -= ticket.is_new
            self._free.append(ticket.row)
            ticket.row = -1

    def _check(self, source: int) -> None:
        limits = self._limits
        if self.all > limits.connections:
            raise RefusedError(Code.BUSY, _TOO_MANY)
        if not source:
            return
        if seconds := self.penalty(source):
            text = f"wrong tokens came from your address; try again in {ceil(seconds)} seconds"
            raise RefusedError(Code.BUSY, text)
        for count, most, column in (
            (self.all, limits.per_address, _SOURCE),
            (self.new, limits.unauthenticated_per_address, _FRESH),
        ):
            if count > most and self._count(column, source) > most:
                text = "the server has too many connections from your address; try again later"
                raise RefusedError(Code.BUSY, text)

    def _at(self, column: int, base: int) -> int:
        return base + _HEAD + column * self._rows

    def _sum(self, what: int) -> int:
        words = self._words
        return sum(words[base + what] for base in self._bases)

    def _count(self, column: int, value: int) -> int:
        """Return how many connections of all processes have the value in the column."""
        words = self._words
        count = 0
        for base in self._bases:
            at = self._at(column, base)
            count += words[at : at + words[base + _HIGH]].tolist().count(value)
        return count

    # Penalties

    def penalty(self, source: int) -> float:
        """Return for how many seconds nobody is let in from there."""
        now = monotonic()
        ends = [self._words[at + 2] / 1000 for at in self._marks(source, now)]
        return max(0.0, max(ends, default=now) - now)

    def punish(self, source: int) -> None:
        """Note a wrong token: let nobody in from there for a while, longer each time."""
        limits, words = self._limits, self._words
        if not source or not limits.penalty:
            return
        now = monotonic()
        with self._lock:
            wrong = sum(words[at + 1] for at in self._marks(source, now))
            seconds = min(limits.penalty * 2.0 ** min(wrong, 60), limits.penalty_most)
            start = self._at(_COLUMNS, self._base)
            places = range(start, start + _MARK * _MARKS, _MARK)
            at = next((at for at in places if words[at] == source), 0)
            at = at or min(places, key=lambda at: words[at + 2])  # a free one, or the first to end
            if words[at] != source or words[at + 2] / 1000 + limits.penalty_most < now:
                words[at + 1] = 0
            words[at] = source
            words[at + 1] += 1
            words[at + 2] = int((now + seconds) * 1000)
            words[self._base + _MARKED] = 1

    def _marks(self, source: int, now: float) -> list[int]:
        """Return where wrong tokens from there are noted, if they are not too long ago."""
        words, found = self._words, []
        for base in self._bases:
            if words[base + _MARKED]:
                start = self._at(_COLUMNS, base)
                sources = words[start : start + _MARK * _MARKS : _MARK].tolist()
                if source in sources:
                    at = start + _MARK * sources.index(source)
                    if words[at + 2] / 1000 + self._limits.penalty_most >= now:
                        found.append(at)
        return found
