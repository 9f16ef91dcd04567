"""Pieces of large files on one connection, given or taken, each with a digest of its own.

This module must not know which side it is on, or how many connections there are.
"""

from __future__ import annotations

import os
import socket

from filexfer import hashing
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.shared import jobs
from filexfer.transfer.buffers import borrowed
from filexfer.transfer.sources import LARGE
from filexfer.wire.ranged import RANGE_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.options import Options
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door
    from filexfer.wire.schema import Message

LEAST = LARGE  # bytes of a file that is worth it
PIECE_MOST = 512 << 10  # bytes
PIECE_LEAST = 128 << 10
_UNSENT_MOST = 128 << 10  # bytes that the kernel holds back; the rest is on its way


def are_worth_it(door: Door, options: Options) -> bool:
    """Tell whether large files shall move in pieces over several connections."""
    if options.jobs == 1 or options.pieces is False:
        return False
    return options.pieces or door.round_trip >= jobs.LONG


def cut(size: int, connections: int) -> Iterator[tuple[int, int]]:
    """Yield offset and size of the pieces of a file; smaller ones to the end, which come in last.

    So no slow connection keeps the others waiting for long.
    """
    offset = 0
    while left := size - offset:
        piece = min(left, max(PIECE_LEAST, min(PIECE_MOST, left // (4 * connections))))
        yield offset, piece
        offset += piece


def check(size: int) -> None:
    """Refuse a size of a piece that is not allowed.

    Raises:
        ProtocolError: if it is none.

    """
    if not 1 <= size <= RANGE_MAX:
        raise ProtocolError(f"a piece must have 1 to {RANGE_MAX} bytes, not {size}")


def give(
    connection: Connection,
    header: Callable[[str], Message],
    read_at: Callable[[memoryview, int], object],
    span: tuple[int, int],
    algorithm: str,
) -> None:
    """Send a piece.

    Args:
        connection: Where it goes.
        header: Makes of its digest the message that stands before it.
        read_at: Fills a view with the file's bytes at an offset.
        span: Offset and size of the piece.
        algorithm: Of the digest.

    Raises:
        FileError: if it cannot be read; nothing was sent then.

    """
    offset, size = span
    made = hashing.new(algorithm)
    with borrowed() as buffer:
        spans = [(at, min(len(buffer), size - at)) for at in range(0, size, len(buffer))]
        for at, count in spans:
            read_at(buffer[:count], offset + at)
            made.update(buffer[:count])
        connection.send(header(hashing.text(algorithm, made)))
        for at, count in spans:
            if len(spans) > 1:
                _read_again(read_at, buffer[:count], offset + at)
            connection.post(buffer[:count])
            connection.flush()  # the buffer is used again


def _read_again(
    read_at: Callable[[memoryview, int], object], view: memoryview, offset: int
) -> None:
    """Fill *view* in any case: the header is out, and the digest will not match."""
    try:
        read_at(view, offset)
    except FileError:
        view[:] = bytes(len(view))


def take(
    connection: Connection, size: int, digest: str, write: Callable[[int, memoryview], object]
) -> None:
    """Take in a piece and hand it on; verified before, as far as a buffer holds it.

    Args:
        connection: Where it comes from.
        size: Bytes.
        digest: What its digest must be.
        write: Is called with bytes and where they stand in the piece.

    Raises:
        FileError: if it is not what its digest says, or *write* raised that; it was taken in.

    """
    made = hashing.new(digest.partition(":")[0])
    failure: FileError | None = None
    at = 0
    with borrowed() as buffer:
        while at < size:
            view = buffer[: min(size - at, len(buffer))]
            connection.body_into(view)
            made.update(view)
            is_last = at + len(view) == size
            if is_last and made.hexdigest() != digest.partition(":")[2]:
                failure = failure or FileError(
                    Code.HASH_MISMATCH, "", "the bytes that came do not match their hash"
                )
            if failure is None:
                try:
                    write(at, view)
                except FileError as error:
                    failure = error
            at += len(view)
    if failure:
        raise failure


# The link


def hold_little(connection: Connection) -> None:
    """Let little wait in the kernel: what is handed to it is nearly on its way."""
    with _socket(connection) as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_MOST)
        except (AttributeError, OSError):
            pass  # another system, or no TCP: more waits there


def _socket(connection: Connection) -> socket.socket:
    return socket.socket(fileno=os.dup(connection.fileno()))
