"""Measures the way between two programs from memory to memory, without a disk; both halves.

Rates come from many requests, some of them always under way, so that neither the answers nor the
start of a connection are waited for. They begin small and double as long as each is answered
soon: a slow line is not held up for long by what was asked of it, and a fast or long one is full
after a moment. What came in the first half of the time is not counted.

This module must not know how many connections there are, or what the figures are for.
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache
from time import monotonic

from filexfer.errors import Code, FileError, ProtocolError
from filexfer.transfer.buffers import ROOM, borrowed
from filexfer.wire import protocol, requests
from filexfer.wire.codec import part_length
from filexfer.wire.framing import LENGTH
from filexfer.wire.protocol import PROBE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.wire.connection import Connection

PART = 2 << 20  # bytes; as large as the parts of our own bodies
FIRST = 32 << 10  # bytes of the first requests
UNDER_WAY = 4  # requests that wait for their answers
ROUND_TRIPS = 11

# Bodies, at either side


def check(size: int) -> None:
    """Refuse a size that is not allowed.

    Raises:
        ProtocolError: if it is too large.

    """
    if size > PROBE_MAX:
        raise ProtocolError(f"a probe must have at most {PROBE_MAX} bytes, not {size}")


def give(connection: Connection, size: int) -> None:
    """Send the body of a probe."""
    part = _part()
    while size >= PART:
        connection.post(part)
        connection.flush()
        size -= PART
    if size:
        connection.post(LENGTH.pack(size))
        connection.post(part[ROOM : ROOM + size])
    connection.post(LENGTH.pack(0))
    connection.flush()


def take(connection: Connection, size: int) -> None:
    """Take in the body of a probe and drop it.

    Raises:
        ProtocolError: if it is not of this size, has a hole in it, or would be too large.

    """
    check(size)
    left = size
    with borrowed() as buffer:
        length, is_hole = part_length(connection.body(LENGTH.size))
        while length:
            if is_hole:
                raise ProtocolError("a probe must not have holes")
            left -= length
            if left < 0:
                raise ProtocolError("a probe is longer than announced", Code.SIZE_MISMATCH)
            length, is_hole = part_length(_drop(connection, buffer, length))
    if left:
        raise ProtocolError("a probe is shorter than announced", Code.SIZE_MISMATCH)


def _drop(connection: Connection, buffer: memoryview, size: int) -> memoryview:
    """Take in a part; return the length of the next one, which comes in the same call."""
    while size > len(buffer) - ROOM:
        connection.body_into(buffer[: len(buffer) - ROOM])
        size -= len(buffer) - ROOM
    connection.body_into(buffer[: size + ROOM])
    return buffer[size : size + ROOM]


@cache
def _part() -> memoryview:
    """Return a part with its length: random, so that no line can make it smaller."""
    return memoryview(LENGTH.pack(PART) + os.urandom(PART))


# Measuring, at the client


class Span:
    """How many bytes moved between two moments, in seconds of the monotonic clock."""

    def __init__(self, began: float, ended: float, moved: int) -> None:
        self.began = began
        self.ended = ended
        self.moved = moved


def rate(spans: list[Span]) -> float:
    """Return the bytes per second that moved in all, on connections at the same time."""
    seconds = max(span.ended for span in spans) - min(span.began for span in spans)
    return sum(span.moved for span in spans) / max(seconds, 1e-9)


def round_trip(connection: Connection) -> float:
    """Return the seconds between a small request and its answer: the median of some."""
    taken = []
    for _ in range(ROUND_TRIPS):
        began = monotonic()
        try:
            requests.stat(connection, [""])
        except FileError:
            pass  # to be refused takes as long
        taken.append(monotonic() - began)
    return sorted(taken)[ROUND_TRIPS // 2]


def up(connection: Connection, seconds: float, most: int, far: float) -> Span:
    """Measure how fast bytes reach the server.

    Args:
        connection: Greeted.
        seconds: How long, about.
        most: Bytes after which it ends sooner.
        far: Seconds of a round trip.

    Raises:
        ProtocolError: if the server cannot or does not do its part.

    """

    def ask(size: int) -> None:
        connection.send(protocol.ProbeUp(size=size))
        give(connection, size)

    def settle(_: int) -> None:
        requests.read(connection, protocol.Ok, "")

    return _measure(ask, settle, seconds, most, far)


def down(connection: Connection, seconds: float, most: int, far: float) -> Span:
    """Measure how fast bytes come from the server; the same as ``up`` besides."""

    def ask(size: int) -> None:
        connection.send(protocol.ProbeDown(size=size))
        connection.flush()

    def settle(size: int) -> None:
        requests.read(connection, protocol.Ok, "")
        take(connection, size)

    return _measure(ask, settle, seconds, most, far)


def _measure(
    ask: Callable[[int], None],
    settle: Callable[[int], None],
    seconds: float,
    most: int,
    far: float,
) -> Span:
    """Make requests until the time or the bytes are used up, and return what was settled."""
    soon = seconds / 4 + 2 * far
    under_way: deque[tuple[int, float]] = deque()
    size, asked, moved = FIRST, 0, 0
    now = began = monotonic()
    half: Span | None = None  # what moved in the first half
    while True:
        if (now - began < seconds and asked + size <= most) or not asked:
            under_way.append((size, now))
            ask(size)
            asked += size
            if len(under_way) < UNDER_WAY:
                now = monotonic()
                continue
        if not under_way:
            break
        size, since = under_way.popleft()
        settle(size)
        now = monotonic()
        moved += size
        if now - since < soon:
            size = min(2 * size, PROBE_MAX)
        if half is None and (now - began >= seconds / 2 or moved >= most / 2):
            half = Span(began, now, moved)
    if half and half.moved < moved and half.ended < now:
        return Span(half.ended, now, moved - half.moved)
    return Span(began, now, moved)
