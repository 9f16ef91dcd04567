"""Measures what a transfer needs: the network, the local disk, and the hashes.

Several connections run as those of a transfer do, each in a process of its own where that can be:
``-j 4`` brings what is measured here. The server takes part in a process of its own in any case.

This module must not know what the figures are compared with, or how they are shown.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from time import monotonic

from filexfer import hashing
from filexfer.errors import Code, LocalError, ProtocolError
from filexfer.measure import probe
from filexfer.names import shown
from filexfer.report import Report
from filexfer.shared.parallel import at_once
from filexfer.storage.system import flush_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

NETWORK_MOST = 4_000_000_000  # bytes of one measurement
ROUND_TRIPS = 8  # that a measurement takes longer ...
ROUND_TRIPS_MOST = 5.0  # ... within so many seconds
DISK_MOST = 1_000_000_000  # bytes of one file; it is gone before there is another
DISK_LEAST = 16_000_000  # with less to write nothing is measured
PIECE = 2 << 20  # bytes; as large as those of a transfer

# The network


class Line:
    """The way to a server.

    Args:
        door: To the server.
        seconds: How long each measurement takes, about; on a long way some round trips more, for
            a connection needs them to come up to its speed.

    Attributes:
        round_trip: Seconds between a small request and its answer.

    Raises:
        NetworkError, TrustError: if there is no connection to be had.

    """

    def __init__(self, door: Door, seconds: float) -> None:
        self._door = door
        self._seconds = seconds
        self._first = door.open()
        try:
            self.round_trip = probe.round_trip(self._first)
        except BaseException:
            self._first.close()
            raise
        self._seconds += min(ROUND_TRIPS * self.round_trip, ROUND_TRIPS_MOST)

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *exc: object) -> None:
        self._first.close()

    def up(self, connections: int) -> tuple[float, int]:
        """Return the bytes per second to the server, and over how many connections.

        They are fewer than wanted if the server has no more.

        Raises:
            ProtocolError: if the server is too old to take part.

        """
        return self._measure(probe.up, connections)

    def down(self, connections: int) -> tuple[float, int]:
        """Return the same of the other direction."""
        return self._measure(probe.down, connections)

    def _measure(
        self, measure: Callable[[Connection, float, int, float], probe.Span], connections: int
    ) -> tuple[float, int]:
        def work(connection: Connection, _: int, shares: int, __: Report) -> tuple[float, ...]:
            span = measure(connection, self._seconds, NETWORK_MOST // shares, self.round_trip)
            return span.began, span.ended, span.moved

        try:
            done = at_once(self._door, self._first, Report(), connections, work)
        except ProtocolError as error:
            if error.code != Code.UNSUPPORTED:
                raise
            text = f"the server is too old to take part: update filexfer there ({error})"
            raise ProtocolError(text, error.code) from error
        spans = [probe.Span(*parts) for parts in done.values()]
        return probe.rate(spans), len(spans)


# The disk


class Disk:
    """Speeds of a folder's disk, in bytes per second.

    Attributes:
        write: Into the system's memory, as the system takes it.
        flush: Down to the disk.
        read: Of what was flushed.
        dropped: Whether the system was asked to forget it before; else it came from memory.

    """

    def __init__(self, write: float, flush: float, read: float, *, dropped: bool) -> None:
        self.write = write
        self.flush = flush
        self.read = read
        self.dropped = dropped


def room(folder: str) -> int:
    """Return how many bytes may be written to measure: 0 if too little space is free.

    Raises:
        LocalError: if the folder cannot be used.

    """
    with _told(folder):
        tempfile.TemporaryFile(dir=folder).close()
        state = os.statvfs(folder)
        most = min(DISK_MOST, state.f_bavail * state.f_frsize // 4)
    return most if most >= DISK_LEAST else 0


def disk(folder: str, seconds: float, most: int) -> Disk:
    """Measure with files that have no name, so that nothing is left of them whatever happens.

    Args:
        folder: Where.
        seconds: How long for each speed, about.
        most: Bytes of each file, from ``room``.

    Raises:
        LocalError: if the folder cannot be used, or the disk fails.

    """
    with _told(folder):
        data = memoryview(os.urandom(PIECE))
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            flush = _write_and_flush(file.fileno(), data, seconds, most)
            dropped = _drop(file.fileno())
            read = _read(file.fileno(), seconds)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            write = _write(file.fileno(), data, seconds, most)
    return Disk(write, flush, read, dropped=dropped)


@contextmanager
def _told(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # a ValueError: no name has a zero in it
        reason = error.strerror if isinstance(error, OSError) else error
        text = f"cannot measure in the folder {shown(folder)}: {reason}; --dir names another"
        raise LocalError(text) from error


def _write(fd: int, data: memoryview, seconds: float, most: int) -> float:
    moved = 0
    began = now = monotonic()
    while now - began < seconds and moved + PIECE <= most:
        moved += os.write(fd, data)
        now = monotonic()
    return moved / max(now - began, 1e-9)


def _write_and_flush(fd: int, data: memoryview, seconds: float, most: int) -> float:
    """Write pieces that double as long as one is flushed soon, as several files are together."""
    moved, size = 0, PIECE
    began = now = monotonic()
    while now - began < seconds and moved + size <= most:
        before = now
        for _ in range(size // PIECE):
            moved += os.write(fd, data)
        flush_descriptor(fd)
        now = monotonic()
        if now - before < seconds / 8:
            size *= 2
    return moved / max(now - began, 1e-9)


def _drop(fd: int) -> bool:
    """Ask the system to forget what it holds of a file in memory; False if it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):  # as on macOS
        return False
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def _read(fd: int, seconds: float) -> float:
    buffer = bytearray(PIECE)
    moved = 0
    began = now = monotonic()
    os.lseek(fd, 0, os.SEEK_SET)
    while now - began < seconds and (got := os.readv(fd, [buffer])):
        moved += got
        now = monotonic()
    return moved / max(now - began, 1e-9)


# The hashes


def hash_speed(algorithm: str, seconds: float) -> float:
    """Return the bytes per second that one core hashes."""
    made = hashing.new(algorithm)
    data = os.urandom(PIECE)
    moved = 0
    began = now = monotonic()
    while now - began < seconds:
        made.update(data)
        moved += PIECE
        now = monotonic()
    return moved / max(now - began, 1e-9)
