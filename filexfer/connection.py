"""Frames and bodies over one connection, both directions moved from one place.

Nothing here ever blocks on one direction alone. While a write waits for room, what arrives is
taken in (and handed to ``on_input``); while a read waits for bytes, queued replies go out. So two
programs that both have much to say cannot lock each other up. Both queues are bounded.

This module must not know what messages mean, or files; time only as the limit of a wait.
"""

from __future__ import annotations

import contextlib
import socket
from time import monotonic

from filexfer import codec, protocol
from filexfer.errors import (
    Code,
    ConnectionLost,
    CutShort,
    FilexferError,
    ProtocolError,
    RefusedError,
    TimedOut,
    said,
)
from filexfer.framing import LENGTH
from filexfer.protocol import FRAME_MAX, PLAIN_MAX
from filexfer.transport import BLOCKED, Plain, Tls, peer_of
from filexfer.waiting import Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from filexfer.protocol import State
    from filexfer.schema import Message
    from filexfer.transport import Transport

BUFFER = PLAIN_MAX + 2 * FRAME_MAX  # bytes taken in at a time
JOIN = 128 << 10  # queued bytes that are worth a write
QUEUE_MAX = 1 << 20  # queued bytes above which nothing more is taken in
LEAST_RATE = 1024  # bytes per second inside a frame or body ...
LEAST_SPAN = 30.0  # ... over this many seconds
DRAIN_SECONDS = 1.0
DRAIN_BYTES = 64 << 20


class Connection:
    """One connected socket.

    Args:
        sock: Connected; the connection owns it from here on.
        timeout: Seconds without any byte moving after which a wait fails.
        tls: A context, to talk TLS; call ``handshake`` first.
        server_side: With *tls*, which of the two this is.
        hostname: With *tls*, at the client, the name the certificate must have.
        plain: What moves the bytes of the socket, if not the socket by itself.

    """

    part = protocol.PART_MAX  # bytes of a large body between two looks at how far it is
    may_say_alive = False  # at any time, as the receiver of an exchange may

    def __init__(
        self,
        sock: socket.socket,
        *,
        timeout: float = 60.0,
        tls: ssl.SSLContext | None = None,
        server_side: bool = False,
        hostname: str = "",
        plain: Plain | None = None,
    ) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.peer = peer_of(sock)
        self.timeout = timeout
        self.deadline: float | None = None  # absolute, monotonic; for what must end by then
        self.on_input: Callable[[], object] | None = None
        self.greeting: Callable[[], bool] | None = None  # takes the first frame; if it was there
        self.moved = 0  # bytes, both directions; tells progress
        self._sock = sock
        plain = plain or Plain(sock)
        self._transport: Transport = (
            Tls(plain, tls, server_side=server_side, hostname=hostname) if tls else plain
        )
        self.waiting = Waiting(sock)
        self._buffer = memoryview(bytearray(BUFFER))
        self._start = self._stop = 0
        self._ended = False  # whether the peer sends no more
        self._queue: list[bytes | memoryview] = []
        self._queued = 0
        self._last_post = monotonic()
        self._waited = 0.0  # seconds spent waiting for the peer, inside a frame or body
        self._waited_from = 0  # bytes moved when that began

    # Sending

    def post(self, data: bytes | memoryview) -> None:
        """Queue *data*; it goes out when enough is queued, with ``flush``, or during a wait."""
        if data:
            self._queue.append(data)
            self._queued += len(data)

    def send(self, message: Message) -> None:
        """Queue *message*."""
        self.post(codec.encode(message))

    @property
    def is_full(self) -> bool:
        """Whether enough is queued to be worth a write."""
        return self._queued >= JOIN

    def flush(self) -> None:
        """Send all that is queued; meanwhile take in what comes.

        Raises:
            ConnectionLost: if the connection breaks; RefusedError and others if the peer said why.

        """
        self._last_post = monotonic()
        try:
            while self._has_output:
                if not self._push():
                    self._wait(reading=not self._ended and self._has_room(), writing=True)
                    if self._take_in() and self.on_input:
                        self.on_input()
        except ConnectionLost as error:
            raise self._last_words(error) from None

    def keep_alive(self) -> None:
        """Tell the peer that this side is busy, if nothing was said for a while."""
        if monotonic() - self._last_post >= protocol.ALIVE_EVERY:
            self.send(protocol.Alive())
            self.flush()

    @property
    def _has_output(self) -> bool:
        return bool(self._queue) or self._transport.unsent

    def _push(self) -> bool:
        """Hand queued bytes to the socket without waiting; False if it has no room."""
        queue = self._queue
        while queue:
            sent = self._transport.send(queue)
            if not sent:
                return False
            self.moved += sent
            self._queued -= sent
            whole = 0
            while whole < len(queue) and sent >= len(queue[whole]):
                sent -= len(queue[whole])
                whole += 1
            del queue[:whole]
            if sent:
                queue[0] = memoryview(queue[0])[sent:]
        return self._transport.push()

    # Receiving

    def message(self, state: State) -> Message | None:
        """Return the next message if it is there whole; never waits.

        Raises:
            ProtocolError: if it is malformed or not legal in *state*.
            NetworkError, RefusedError: if it is the peer's ``error``.

        """
        if self.greeting and not self.greeting():
            return None
        header = self._header()
        if header is None:
            return None
        found = codec.decode(header, state)
        if type(found) is protocol.Error and (found.fatal or state is not protocol.State.ANSWERING):
            raise said(found.code, found.text)
        return found

    def _header(self) -> memoryview | None:
        """Return the next frame's header if it is there whole."""
        start = self._start + LENGTH.size
        if self._stop < start:
            return None
        (size,) = LENGTH.unpack_from(self._buffer, self._start)
        if not 1 <= size <= FRAME_MAX:
            raise codec.bad_length(self._buffer[self._start : start])
        if self._stop - start < size:
            return None
        self._start = start + size
        return self._buffer[start : start + size]

    def read(self, state: State) -> Message:
        """Return the next message, waiting for it; ``alive`` is passed over."""
        self.flush()
        while True:
            message = self.message(state)
            if message is None:
                self.fill(inside=self.has_input)
            elif type(message) is not protocol.Alive:
                return message

    @property
    def has_input(self) -> bool:
        """Whether bytes were taken in that nobody has used yet."""
        return self._stop > self._start

    def fill(self, patience: float | None = None, *, inside: bool = False) -> bool:
        """Wait for more bytes; meanwhile send what is queued.

        Args:
            patience: Seconds after which to return False; None waits for the time-out.
            inside: A frame or body is incomplete, so the least rate applies.

        Raises:
            TimedOut: if nothing moves for the time-out, or too little does for long.
            ConnectionLost: if the connection ends or breaks.

        """
        self._make_room()
        until = None if patience is None else monotonic() + patience
        while True:
            try:
                if self._has_output:
                    self._push()
            except ConnectionLost as error:
                raise self._last_words(error) from None
            if self._queued <= QUEUE_MAX and self._take_in():
                if inside:
                    self._check_pace()
                else:
                    self._waited, self._waited_from = 0.0, self.moved
                return True
            if self._ended and (inside or self.has_input):
                raise CutShort("the connection was closed in the middle of a frame or body")
            if self._ended:
                raise ConnectionLost("the connection was closed")
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                return False
            reading = self._queued <= QUEUE_MAX
            if not self._wait(reading=reading, writing=self._has_output, seconds=left):
                return False

    def body(self, size: int) -> memoryview:
        """Return the next *size* bytes, at most PLAIN_MAX, in one piece.

        They lie in the connection's own buffer and are good until the next call.
        """
        if self._stop - self._start < size:
            self._make_room(size)
            while self._stop - self._start < size:
                self.fill(inside=True)
        start = self._start
        self._start = start + size
        return self._buffer[start : start + size]

    def body_into(self, view: memoryview) -> None:
        """Fill *view* with the next bytes, without another copy where possible."""
        size = len(view)
        have = min(self._stop - self._start, size)
        view[:have] = self._buffer[self._start : self._start + have]
        self._start += have
        while have < size:
            got = self._transport.receive_into(view[have:])
            if got > 0:
                have += got
                self.moved += got
                self._check_pace()
            elif got == BLOCKED:
                if self._has_output:
                    self._push()
                self._wait(reading=True, writing=self._has_output)
            else:
                raise CutShort("the connection was closed in the middle of a body")

    def _take_in(self) -> bool:
        """Take in what is there; True if anything came. The end is noted."""
        if self._ended or not self._has_room():
            return False
        got = self._transport.receive_into(self._buffer[self._stop :])
        if got > 0:
            self._stop += got
            self.moved += got
            return True
        self._ended = got == 0
        return False

    def _has_room(self) -> bool:
        if self._stop == len(self._buffer):
            self._make_room()
        return self._stop < len(self._buffer)

    def _make_room(self, size: int = FRAME_MAX + LENGTH.size) -> None:
        """Make sure that *size* bytes from the first unused one fit into the buffer."""
        have = self._stop - self._start
        if not have:
            self._start = self._stop = 0
        elif len(self._buffer) - self._start < size:
            self._buffer[:have] = self._buffer[self._start : self._stop]
            self._start, self._stop = 0, have

    # Waiting

    def handshake(self) -> None:
        """Agree on TLS, where it is used."""
        while not self._transport.shake_hands():
            self._wait(reading=True, writing=self._transport.unsent)

    def _wait(self, *, reading: bool, writing: bool, seconds: float | None = None) -> bool:
        """Wait until the socket can be read or written; False when *seconds* have passed."""
        limit = self.timeout
        if self.deadline is not None:
            limit = min(limit, max(0.0, self.deadline - monotonic()))
        short = seconds is not None and seconds < limit
        began = monotonic()
        ready = self.waiting.wait(
            reading=reading,
            writing=writing,
            seconds=seconds if short and seconds is not None else limit,
        )
        self._waited += monotonic() - began
        if not ready and not short:
            late = limit < self.timeout
            raise TimedOut("it takes too long" if late else f"nothing moved for {limit:g} seconds")
        return ready

    def _check_pace(self) -> None:
        """Fail a peer that keeps a frame or body alive with a trickle."""
        if self._waited >= LEAST_SPAN:
            if self.moved - self._waited_from < LEAST_RATE * LEAST_SPAN:
                raise TimedOut(f"the other side sends less than {LEAST_RATE} bytes per second")
            self._waited, self._waited_from = 0.0, self.moved

    # Ending

    def fail(self, error: ProtocolError | RefusedError | TimedOut) -> None:
        """Tell the peer why, drop what it is still sending for a moment, and close."""
        code = Code.TIMEOUT if isinstance(error, TimedOut) else error.code
        self.deadline = monotonic() + DRAIN_SECONDS
        with contextlib.suppress(FilexferError, OSError):  # it is a courtesy
            self.send(protocol.Error(code=code, text=str(error)))
            self.on_input = self._drop
            self.flush()
            self._sock.shutdown(socket.SHUT_WR)
            dropped = 0
            while dropped < DRAIN_BYTES:
                dropped += self._stop - self._start
                self._drop()
                self.fill()
        self.close()

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._sock.fileno()

    def change_parts(
        self, change: Callable[[Transport, Waiting], tuple[Transport, Waiting]]
    ) -> None:
        """Let others take the places of what moves the bytes, and of what is waited with."""
        self._transport, self.waiting = change(self._transport, self.waiting)

    def interrupt(self) -> None:
        """End the connection from another thread; the waiting one sees it closed."""
        with contextlib.suppress(OSError):  # closed already
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; harmless when closed."""
        self._sock.close()

    def _drop(self) -> None:
        self._start = self._stop = 0

    def _last_words(self, error: ConnectionLost) -> FilexferError:
        """Return what the peer said before it went, or *error*; a cycle, if it were raised here."""
        self.deadline = monotonic() + DRAIN_SECONDS
        while self._has_room():
            try:
                if not self._take_in():
                    if self._ended:
                        break
                    self._wait(reading=True, writing=False)
                    continue
            except ConnectionLost:
                break
            if self.on_input:
                self.on_input()
        message = None
        with contextlib.suppress(ProtocolError):  # not at a frame: the bytes of a body
            while message is None and (header := self._header()) is not None:
                with contextlib.suppress(ProtocolError):  # a frame of another kind
                    message = codec.decode(header, protocol.State.CLOSED)
        if type(message) is protocol.Error:
            return said(message.code, message.text)
        return error
