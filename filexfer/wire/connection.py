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
from filexfer.wire import codec, header, protocol
from filexfer.wire.framing import LENGTH
from filexfer.wire.intake import Intake
from filexfer.wire.transport import BLOCKED, Plain, Tls, peer_of, prepare
from filexfer.wire.waiting import Pace, Waiting

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from filexfer.wire.header import SmallFile
    from filexfer.wire.protocol import State
    from filexfer.wire.schema import Message
    from filexfer.wire.transport import Transport

JOIN = 128 << 10  # queued bytes that are worth a write
QUEUE_MAX = 1 << 20  # queued bytes above which nothing more is taken in
LEAST_RATE = 1024  # bytes per second inside a frame or body, and of what is sent, ...
LEAST_SPAN = 30.0  # ... over this many seconds of waiting
DRAIN_SECONDS = 1.0
DRAIN_BYTES = 64 << 20
REST_AFTER = 0.1  # seconds without a request after which the buffer is given back


class Connection(Intake):
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
    file_max: int | None = None  # bytes of a file that the server takes, if it has told so
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
        super().__init__()
        prepare(sock)
        self.peer = peer_of(sock)
        self.timeout = timeout
        self.deadline: float | None = None  # absolute, monotonic; for what must end by then
        self.on_input: Callable[[], object] | None = None
        self.greeting: Callable[[], bool] | None = None  # takes the first frame; if it was there
        self.moved = 0  # bytes, both directions; tells progress
        self._sent = 0  # of these, those that went out
        self._sock = sock
        plain = plain or Plain(sock)
        self._transport: Transport = (
            Tls(plain, tls, server_side=server_side, hostname=hostname) if tls else plain
        )
        self.waiting = Waiting(sock)
        self._ended = False  # whether the peer sends no more
        self._queue: list[bytes | memoryview] = []
        self._queued = 0
        self._last_post = monotonic()
        self.least_rate, self.least_span = LEAST_RATE, LEAST_SPAN
        self._pace = Pace("sends")
        self._taking = Pace("takes")

    # Sending

    def post(self, *pieces: bytes | memoryview) -> None:
        """Queue bytes; they go out when enough is queued, with ``flush``, or during a wait."""
        for data in filter(len, pieces):
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
            TimedOut: if nothing moves for the time-out, or too little is taken for long.

        """
        self._last_post = monotonic()
        try:
            while self._has_output:
                if not self._push():
                    self._wait_for_room()
        except ConnectionLost as error:
            raise self._last_words(error) from None

    def _wait_for_room(self) -> None:
        """Wait until more can be sent or something comes, which is taken in."""
        taking, waited = self._taking, self._pace.waited
        taking.check(self._sent, self.least_span, self.least_rate)
        self._wait(reading=not self._ended and self._has_room(), writing=True)
        taking.waited += self._pace.waited - waited
        if self._take_in():
            taking.was_heard = True
            if self.on_input:
                self.on_input()

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
            self._sent += sent
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

    def small_file(self) -> tuple[SmallFile, memoryview] | None:
        """Return the next item, header and body, if it is a small file that is there whole.

        The quick way for nearly all that comes; all else is left to ``message`` and ``body``.
        """
        if self.greeting or (data := self._header()) is None:
            return None
        found = header.read(data)
        if found is None or (end := self._start + found[1]) > self._stop:
            self._start -= LENGTH.size + len(data)
            return None
        start, self._start = self._start, end
        return found, self._buffer[start:end]

    def message(self, state: State) -> Message | None:
        """Return the next message if it is there whole; never waits.

        Raises:
            ProtocolError: if it is malformed or not legal in *state*.
            NetworkError, RefusedError: if it is the peer's ``error``.

        """
        if self.greeting and not self.greeting():
            return None
        data = self._header()
        if data is None:
            return None
        found = codec.decode(data, state)
        if type(found) is protocol.Error and (found.fatal or state is not protocol.State.ANSWERING):
            raise said(found.code, found.text)
        return found

    def read(self, state: State) -> Message:
        """Return the next message, waiting for it; ``alive`` is passed over."""
        self.flush()
        while True:
            message = self.message(state)
            if message is None:
                self.fill(inside=self.has_input)
            elif type(message) is not protocol.Alive:
                return message

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
                    self._pace.check(self.moved, self.least_span, self.least_rate)
                else:
                    self._pace.restart(self.moved)
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
                self._pace.check(self.moved, self.least_span, self.least_rate)
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

    def rest(self) -> None:
        """Wait for the next request; if that takes long, without a buffer.

        What was taken in must be used up by then.

        Raises:
            ConnectionLost, TimedOut: as by ``fill``.

        """
        if self._take_in():
            self._pace.restart(self.moved)
            return
        if not self._ended and not self._wait(reading=True, writing=False, seconds=REST_AFTER):
            self._give_back()
            self._wait(reading=True, writing=False)
        self.fill()

    # Waiting

    def handshake(self) -> bytes:
        """Agree on TLS, where it is used, and return the certificate that the peer has shown."""
        while (certificate := self._transport.shake_hands()) is None:
            self._wait(reading=True, writing=self._transport.unsent)
        return certificate

    def _wait(self, *, reading: bool, writing: bool, seconds: float | None = None) -> bool:
        """Wait until the socket can be read or written; False when *seconds* have passed."""
        limit = self.timeout
        if self.deadline is not None:
            limit = min(limit, max(0.0, self.deadline - monotonic()))
        most = limit if seconds is None else min(limit, seconds)
        began = monotonic()
        ready = self.waiting.wait(reading=reading, writing=writing, seconds=most)
        self._pace.waited += monotonic() - began
        if not ready and most == limit:
            late = limit < self.timeout
            raise TimedOut("it takes too long" if late else f"nothing moved for {limit:g} seconds")
        return ready

    # Ending

    def fail(self, error: ProtocolError | RefusedError | TimedOut) -> None:
        """Tell the peer why, drop what it is still sending for a moment, and close."""
        code = Code.TIMEOUT if isinstance(error, TimedOut) else error.code
        self.deadline = monotonic() + DRAIN_SECONDS
        enough = self.moved + DRAIN_BYTES

        def drop() -> None:
            self._drop()
            if self.moved > enough:
                raise ProtocolError("too much is still sent")

        with contextlib.suppress(FilexferError, OSError):  # it is a courtesy
            self.send(protocol.Error(code=code, text=str(error)))
            self.on_input = drop
            self.flush()
            self._sock.shutdown(socket.SHUT_WR)
            while True:
                drop()
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

    def _last_words(self, error: ConnectionLost) -> FilexferError:
        """Return what the peer said before it went, or *error* (raising it here makes a cycle)."""
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
        with contextlib.suppress(ProtocolError):  # not at a frame: the bytes of a body
            while (data := self._header()) is not None:
                with contextlib.suppress(ProtocolError):  # a frame of another kind
                    found = codec.decode(data, protocol.State.CLOSED)
                    if type(found) is protocol.Error and found.fatal:
                        return said(found.code, found.text)
        return error
