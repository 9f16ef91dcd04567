"""Length-prefixed frames on a byte stream: a 4-byte big-endian length, then that many bytes.

TCP keeps the order of bytes and nothing else, so a receiver cannot see where one message ends
and the next begins unless the sender says so. Here each message is preceded by its length.

This module must not know what a frame holds, which frames the protocol has, or anything else
of filexfer. It works on blocking sockets and imports only `struct`.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

LENGTH = struct.Struct("!I")
MAX_FRAME = 65_536


class Closed(ConnectionError, EOFError):  # noqa: N818 - read with its module: framing.Closed
    """The other side closed the connection in the middle of what was being read."""


class TooLong(ValueError):  # noqa: N818 - read with its module: framing.TooLong
    """A frame's length is outside 1 to the limit."""


def pack(payload: bytes) -> bytes:
    """Return `payload` as one frame. TooLong if it is empty or longer than MAX_FRAME."""
    size = len(payload)
    _check(size, MAX_FRAME)
    return LENGTH.pack(size) + payload


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Return the next `size` bytes. Closed if the stream ends before them.

    `size` bytes are allocated at once: check a size that came from the other side first.
    """
    buffer = bytearray(size)
    got = _fill(sock, buffer)
    if got < size:
        raise Closed(f"the connection was closed after {got} of {size} bytes")
    return bytes(buffer)


def read_frame(sock: socket.socket, *, limit: int = MAX_FRAME) -> bytes | None:
    """Return the next frame's bytes, or None if the stream ended before a length.

    Closed if the stream ends inside a frame. TooLong if the length is 0 or above `limit`; the
    stream is then of no more use, for nothing tells where the next frame begins.
    """
    head = bytearray(LENGTH.size)
    got = _fill(sock, head)
    if not got:
        return None
    if got < LENGTH.size:
        raise Closed(f"the connection was closed after {got} of {LENGTH.size} bytes of a length")
    (size,) = LENGTH.unpack(head)
    _check(size, limit)
    return read_exactly(sock, size)


def _check(size: int, limit: int) -> None:
    if not 1 <= size <= limit:
        raise TooLong(f"a frame of {size} bytes is outside 1 to {limit}")


def _fill(sock: socket.socket, buffer: bytearray) -> int:
    """Read until `buffer` is full or the stream ends; return how many bytes were read."""
    view = memoryview(buffer)
    got = 0
    while got < len(buffer) and (count := sock.recv_into(view[got:])):
        got += count
    return got
