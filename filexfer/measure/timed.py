"""Stand-ins that measure: each does what the thing in whose place it stands does, and times it.

They stand between an exchange and what it takes from outside (connection, storage, hashes), and
only where somebody asked for figures. So nobody else pays for a clock.

This module must not know what an exchange does with them.
"""

from __future__ import annotations

from contextlib import contextmanager

from filexfer import hashing
from filexfer.measure.stats import (
    FLUSHING,
    HASHING,
    READING,
    RECEIVING,
    REST,
    SENDING,
    WAITING,
    WALKING,
    WRITING,
)
from filexfer.storage.delegating import Delegating, DelegatingTarget
from filexfer.storage.publishing import Publisher
from filexfer.storage.staging import Staging
from filexfer.wire.waiting import Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized
    from typing import ParamSpec, TypeVar

    from filexfer.entry import Entry
    from filexfer.hashing import Data, Hash
    from filexfer.measure.stats import Stats
    from filexfer.storage.contract import Item, OpenFile, Readable, Reader, Target, Writer
    from filexfer.storage.folder import Folder
    from filexfer.storage.policy import Policy
    from filexfer.storage.staged import Result
    from filexfer.wire.connection import Connection
    from filexfer.wire.transport import Transport

    D = TypeVar("D", bound=Sized)
    P = ParamSpec("P")
    R = TypeVar("R")
    T = TypeVar("T")


class Tools:
    """What one exchange works with, all of it measured.

    Args:
        stats: Takes the figures.

    """

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def new(self, algorithm: str) -> TimedHash:
        """Return a fresh hash, as ``hashing.new`` does."""
        return TimedHash(self._stats, hashing.new(algorithm))

    def digest_of(self, algorithm: str) -> Callable[[Data], str]:
        """Return a function from bytes to their digest, as ``hashing.digest_of`` does."""
        return _taking(self._stats, HASHING, hashing.digest_of(algorithm))

    def reading(self, storage: Readable) -> TimedReader:
        """Return access to a storage."""
        return TimedReader(self._stats, storage.reading(), self.new)

    def walking(self, found: Iterator[T]) -> Iterator[T]:
        """Yield what a walk finds."""
        find = _timed(self._stats, WALKING, lambda: next(found, None))
        while (each := find()) is not None:
            yield each

    def staging(self, folder: Folder, policy: Policy, durability: str) -> TimedStaging:
        """Return the receiving end of an exchange; what it is told to do is not measured yet."""
        return TimedStaging(self._stats, folder, policy, durability, self.new)

    def target(self, target: Target) -> TimedTarget:
        """Return the place that files are put into."""
        return TimedTarget(self._stats, target)

    def publisher(
        self,
        staging: Target,
        settle: Callable[[list[tuple[Item, Result]]], object],
        tick: Callable[[], object],
    ) -> TimedPublisher:
        """Return what makes the files appear."""
        return TimedPublisher(self._stats, staging, settle, tick)


@contextmanager
def exchange(connection: Connection, stats: Stats) -> Iterator[Tools]:
    """Measure what is done on a connection meanwhile, with the tools that are lent."""
    parts: list[tuple[Transport, Waiting]] = []

    def stand_in(transport: Transport, waiting: Waiting) -> tuple[Transport, Waiting]:
        parts.append((transport, waiting))
        return TimedTransport(stats, transport), TimedWaiting(stats, waiting)

    connection.change_parts(stand_in)
    before = stats.switch(REST)
    try:
        yield Tools(stats)
    finally:
        stats.switch(before)
        connection.change_parts(lambda *_: parts[0])


# Connections


class TimedTransport:
    """Moves bytes."""

    def __init__(self, stats: Stats, transport: Transport) -> None:
        self._transport = transport
        self.receive_into = _giving(stats, RECEIVING, transport.receive_into)
        self.send = _giving(stats, SENDING, transport.send)
        self.push = _timed(stats, SENDING, transport.push)
        self.shake_hands = transport.shake_hands

    @property
    def unsent(self) -> bool:
        """Whether bytes taken by ``send`` still wait for room in the socket."""
        return self._transport.unsent


class TimedWaiting(Waiting):
    """Waits for the other side."""

    def __init__(self, stats: Stats, waiting: Waiting) -> None:
        self.__dict__.update(waiting.__dict__)  # whatever is watched stays watched
        self._wait = _timed(stats, WAITING, waiting.wait)

    def wait(self, *, reading: bool, writing: bool, seconds: float) -> bool:
        """Wait until the socket can be read or written; False when *seconds* have passed."""
        return self._wait(reading=reading, writing=writing, seconds=seconds)


# Hashes


class TimedHash:
    """An incremental hash."""

    def __init__(self, stats: Stats, made: Hash) -> None:
        self.update = _taking(stats, HASHING, made.update)
        self.hexdigest = _timed(stats, HASHING, made.hexdigest)


# Storages that are read


class TimedReader(Delegating):
    """Access to the files of a storage; the walk is measured where it is used."""

    def __init__(self, stats: Stats, reader: Reader, new: Callable[[str], Hash]) -> None:
        super().__init__(reader)
        self._stats = stats
        self._new = new
        self._read = _timed(stats, READING, reader.read)
        self._large = _timed(stats, READING, reader.large)
        self._digest = reader.digest
        self.stat = _timed(stats, WALKING, reader.stat)

    def read(self, entry: Entry, limit: int) -> bytes | None:
        """Return a small file's bytes, all of one moment, or None if it is larger than *limit*."""
        data = self._read(entry, limit)
        if data:
            self._stats.bytes[READING] += len(data)
        return data

    def large(self, entry: Entry) -> TimedFile:
        """Open a file to be read in pieces."""
        return TimedFile(self._stats, self._large(entry))

    def digest(
        self,
        name: str,
        algorithm: str,
        tick: Callable[[], object],
        new: Callable[[str], Hash] | None = None,
    ) -> str:
        """Return a file's digest; what is hashed for it was read for it."""
        sizes = self._stats.bytes
        hashed = sizes[HASHING]
        before = self._stats.switch(READING)
        try:
            return self._digest(name, algorithm, tick, new or self._new)
        finally:
            self._stats.switch(before)
            sizes[READING] += sizes[HASHING] - hashed


class TimedFile(Delegating):
    """An open file that is read in pieces."""

    def __init__(self, stats: Stats, file: OpenFile) -> None:
        super().__init__(file)
        self.entry = file.entry
        self.sparse = file.sparse
        self.read_into = _giving(stats, READING, file.read_into)
        self.hole = _timed(stats, READING, file.hole)
        self.read_at = _timed(stats, READING, file.read_at)
        self.close = _timed(stats, READING, file.close)


# Storages that are written


class TimedStaging(Staging):
    """A staging that measures what it does inside of what it is told to do."""

    def __init__(
        self,
        stats: Stats,
        folder: Folder,
        policy: Policy,
        durability: str,
        new: Callable[[str], Hash],
    ) -> None:
        super().__init__(folder, policy, durability)
        self._reading = TimedReader(stats, self._reading, new)
        self._flush = _timed(stats, FLUSHING, super().flush)
        self._flush_folder = _timed(stats, FLUSHING, super().flush_folder)

    def flush(self, descriptor: int) -> None:
        """Make one file durable."""
        self._flush(descriptor)

    def flush_folder(self, descriptor: int) -> None:
        """Make the names in a folder durable."""
        self._flush_folder(descriptor)


class TimedTarget(DelegatingTarget):
    """Where files are put."""

    def __init__(self, stats: Stats, target: Target) -> None:
        super().__init__(target)
        self._stats = stats
        self._small = _timed(stats, WRITING, target.small)
        self._begin = _timed(stats, WRITING, target.begin)
        self.find = _timed(stats, WALKING, target.find)
        self.judge = _timed(stats, WALKING, target.judge)
        self.link = _timed(stats, WRITING, target.link)
        self.make_folder = _timed(stats, WRITING, target.make_folder)

    def small(self, entry: Entry, data: memoryview) -> Item:
        """Write a file whose bytes are at hand and verified."""
        item = self._small(entry, data)
        self._stats.bytes[WRITING] += len(data)
        return item

    def begin(self, entry: Entry) -> TimedWriter:
        """Begin a file."""
        return TimedWriter(self._stats, self._begin(entry))


class TimedWriter:
    """A file being written."""

    def __init__(self, stats: Stats, writer: Writer) -> None:
        self.write = _taking(stats, WRITING, writer.write)
        self.skip = _timed(stats, WRITING, writer.skip)
        self.finish = _timed(stats, WRITING, writer.finish)
        self.discard = _timed(stats, WRITING, writer.discard)


class TimedPublisher(Publisher):
    """Makes staged items appear; what is told of them meanwhile is no writing."""

    def __init__(
        self,
        stats: Stats,
        staging: Target,
        settle: Callable[[list[tuple[Item, Result]]], object],
        tick: Callable[[], object],
    ) -> None:
        super().__init__(staging, _timed(stats, REST, settle), tick)
        self._add = _timed(stats, WRITING, super().add)
        self._advance = _timed(stats, WRITING, super().advance)
        self._wait = _timed(stats, FLUSHING, super().wait_for_flush)

    def add(self, item: Item) -> None:
        """Take an item; it may be settled before this returns."""
        self._add(item)

    def advance(self, *, close_group: bool = False, wait: bool = False) -> None:
        """Go on with whatever is possible now."""
        self._advance(close_group=close_group, wait=wait)

    def wait_for_flush(self) -> None:
        """Wait until the flush under way is over."""
        self._wait()


# Calls


def _timed(stats: Stats, phase: str, call: Callable[P, R]) -> Callable[P, R]:
    """Return *call*, measured."""
    switch = stats.switch

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        before = switch(phase)
        try:
            return call(*args, **kwargs)
        finally:
            switch(before)

    return run


def _giving(stats: Stats, phase: str, call: Callable[[T], int]) -> Callable[[T], int]:
    """Return *call*, measured; it returns how many bytes it moved, if that is above 0."""
    switch, sizes = stats.switch, stats.bytes

    def run(what: T) -> int:
        before = switch(phase)
        try:
            moved = call(what)
        finally:
            switch(before)
        if moved > 0:
            sizes[phase] += moved
        return moved

    return run


def _taking(stats: Stats, phase: str, call: Callable[[D], R]) -> Callable[[D], R]:
    """Return *call*, measured; it uses up all the bytes it is given."""
    switch, sizes = stats.switch, stats.bytes

    def run(data: D) -> R:
        before = switch(phase)
        try:
            result = call(data)
        finally:
            switch(before)
        sizes[phase] += len(data)
        return result

    return run
