"""A network that fails as it is told to: a proxy with real sockets, and what passes through it.

Each direction of each connection has a thread of its own, which moves bytes and lets one fault
after another happen to them, each at an exact byte. ``marks`` finds the bytes that are worth it.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from conftest import SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

UP, DOWN = 0, 1  # towards the server, towards the client
_PIECE = 1 << 16
_BIT = 3  # that is flipped in a byte


@dataclass(frozen=True)
class Fault:
    """What happens to a connection, once so many bytes have passed in one direction.

    Attributes:
        what: One of
            ``finish``: both sides see the end, by FIN; ``reset``: by RST;
            ``half``: the side that the bytes go to sees the end, and may still talk;
            ``hole``: nothing more passes, either way, and no end;
            ``stall``: this direction waits for *much* seconds;
            ``flip``: one bit of the next byte changes;
            ``twice``: the last *much* bytes come again;
            ``drop``: the next *much* bytes are missing;
            ``single``: every byte travels alone; ``trickle``: and after *much* seconds;
            ``late``: every piece comes *much* seconds later;
            ``slow``: so many bytes per second pass;
            ``call``: *act* is called.
        way: The direction.
        at: How many bytes pass before.
        much: How much of it.
        act: What is called.

    """

    what: str
    way: int
    at: int = 0
    much: float = 0
    act: Callable[[], object] | None = None


class Chaos:
    """Stands between clients and a server.

    Args:
        port: The server's.
        host: Where that is.

    Attributes:
        port: For the clients.
        passed: What each connection sent, up and down, as it came in here.
        fired: Is set when a fault has happened.

    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed: list[tuple[bytearray, bytearray]] = []
        self.fired = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._plans: dict[int, list[Fault]] = {}
        self._lines: list[_Line] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """How many have come so far."""
        return len(self.passed)

    def aim(self, port: int) -> None:
        """Connect further clients to another port."""
        self._target = (self._target[0], port)

    def plan(self, *faults: Fault, skip: int = 0) -> None:
        """Let this happen to the next connection, or to one after it."""
        with self._lock:
            self.fired.clear()
            self._plans[len(self.passed) + skip] = list(faults)

    def close(self) -> None:
        """End everything, and wait for it."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for line in self._lines:
            line.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            try:
                far = socket.create_connection(self._target, SECONDS)
            except OSError:
                _reset(near)
                continue
            for sock in (near, far):
                sock.settimeout(None)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                faults = self._plans.pop(len(self.passed), [])
                self.passed.append((bytearray(), bytearray()))
                line = _Line(near, far, faults, self.passed[-1], self.fired)
                self._lines.append(line)
            line.start()


class _Line:
    """One connection: two sockets, and a thread for each direction."""

    def __init__(
        self,
        near: socket.socket,
        far: socket.socket,
        faults: list[Fault],
        passed: tuple[bytearray, bytearray],
        fired: threading.Event,
    ) -> None:
        self._sides = (near, far)
        self._fired = fired
        self._is_hole = False
        self._alarm, self._alarmed = socket.socketpair()
        self._over = threading.Event()
        self._lock = threading.Lock()  # guards what follows
        self._how = ""  # it was ended
        self._running = 2
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(way, _Way([each for each in faults if each.way == way], passed[way])),
                daemon=True,
            )
            for way in (UP, DOWN)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End it in any case, and wait for that."""
        self._end("reset")
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    def _end(self, how: str) -> None:
        """Let both sides see the end."""
        with self._lock:
            if not self._how:
                self._how = how
                self._over.set()
                self._alarm.close()
            if self._running:
                for sock in self._sides:
                    _shut(sock, socket.SHUT_WR if how == "finish" else socket.SHUT_RD)

    def _run(self, number: int, way: _Way) -> None:
        source, target = self._sides[number], self._sides[1 - number]
        try:
            if how := self._pump(source, target, way):
                self._end(how)
        except OSError:
            self._end("reset")  # one side has gone
        try:
            while self._how == "finish" and source.recv(_PIECE):
                pass  # so that closing is no reset
        except OSError:
            pass  # it was one
        with self._lock:
            self._running -= 1
            if not self._running:
                for sock in self._sides:
                    _reset(sock) if self._how == "reset" else sock.close()
                self._alarm.close()
                self._alarmed.close()

    def _pump(self, source: socket.socket, target: socket.socket, way: _Way) -> str:
        """Move bytes; return how the connection is to be ended, if it is."""
        while True:
            self._pass_on(target, way)
            if way.event in ("finish", "reset"):
                return way.event
            if way.event == "half":
                target.shutdown(socket.SHUT_WR)
            self._is_hole = self._is_hole or way.event == "hole"
            data = self._receive(source)
            if not data:
                if not self._is_hole and not self._how:
                    _shut(target, socket.SHUT_WR)
                elif not self._how:
                    self._over.wait()
                return ""
            way.take(data)

    def _pass_on(self, target: socket.socket, way: _Way) -> None:
        for piece, pause in way.ready():
            if way.has_fired:  # before anybody can have noticed
                self._fired.set()
            if pause:
                self._over.wait(pause)
            self._send(target, piece)
        if way.has_fired:
            self._fired.set()

    def _send(self, sock: socket.socket, data: bytes) -> None:
        view = memoryview(data)
        while view and not self._is_hole and self._wait(sock, select.POLLOUT):
            view = view[sock.send(view, socket.MSG_DONTWAIT) :]

    def _receive(self, sock: socket.socket) -> bytes:
        return sock.recv(_PIECE) if self._wait(sock, select.POLLIN) else b""

    def _wait(self, sock: socket.socket, event: int) -> bool:
        """Wait for a socket; False if the connection was ended meanwhile."""
        poll = select.poll()
        poll.register(sock, event)
        poll.register(self._alarmed, select.POLLIN)
        poll.poll()
        return not self._how


def _shut(sock: socket.socket, which: int) -> None:
    try:
        sock.shutdown(which)
    except OSError:
        pass  # it has gone


class _Way:
    """One direction: what has come, and what is to happen to it."""

    def __init__(self, faults: list[Fault], passed: bytearray) -> None:
        self._faults = sorted(faults, key=lambda each: each.at)
        self._passed = passed
        self._sent = 0  # bytes of those that have passed that were handed on
        self._single = False
        self._pause = 0.0
        self._rate = 0.0
        self.has_fired = False
        self.event = ""  # what is to happen to the whole connection

    def take(self, data: bytes) -> None:
        self._passed += data

    def ready(self) -> Iterator[tuple[bytes, float]]:
        """Yield what is to be sent now, each with a pause before it; may leave an event."""
        while True:
            have = len(self._passed)
            fault = self._faults[0] if self._faults else None
            stop = min(have, fault.at) if fault else have
            if not self.event:
                yield from self._shaped(bytes(self._passed[self._sent : stop]))
            self._sent = max(self._sent, stop)
            if self.event or fault is None or have < fault.at:
                return
            if fault.what in ("flip", "drop") and have <= fault.at:
                return  # there must be something that it happens to
            self._faults.pop(0)
            self.has_fired = True
            if fault.what in ("finish", "reset", "half", "hole"):
                self.event = fault.what
                return
            yield from self._changed(fault)

    def _changed(self, fault: Fault) -> Iterator[tuple[bytes, float]]:
        at = fault.at
        if fault.what == "stall":
            yield b"", fault.much
        elif fault.what == "flip":
            yield from self._shaped(bytes([self._passed[at] ^ 1 << _BIT]))
            self._sent += 1
        elif fault.what == "twice":
            yield from self._shaped(bytes(self._passed[max(0, at - int(fault.much)) : at]))
        elif fault.what == "drop":
            self._sent = min(len(self._passed), at + int(fault.much))
        elif fault.what == "call" and fault.act:
            fault.act()
        elif fault.what in ("single", "trickle"):
            self._single, self._pause = True, fault.much
        elif fault.what == "late":
            self._pause = fault.much
        elif fault.what == "slow":
            self._rate = fault.much
        else:
            raise ValueError(fault.what)

    def _shaped(self, data: bytes) -> Iterator[tuple[bytes, float]]:
        if self._single:
            for byte in data:
                yield bytes([byte]), self._pause
        elif self._rate:
            step = max(1, int(self._rate / 20))
            for start in range(0, len(data), step):
                piece = data[start : start + step]
                yield piece, len(piece) / self._rate
        elif data:
            yield data, self._pause


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# What passes


@dataclass(frozen=True)
class Frame:
    """A frame, and the body behind it.

    Attributes:
        start: Where its length begins.
        body: Where its body begins.
        stop: Where the next frame begins.
        message: Its header.

    """

    start: int
    body: int
    stop: int
    message: dict[str, object]


def frames(passed: tuple[bytes, bytes]) -> tuple[list[Frame], list[Frame]]:
    """Return what was said up and down on one connection."""
    up = list(_frames(bytes(passed[UP]), iter(())))
    slices = [each.message for each in up if each.message.get("kind") in ("slice", "digest")]
    sizes = (int(str(each.get("size", 0))) for each in slices)
    return up, list(_frames(bytes(passed[DOWN]), sizes))


def _frames(data: bytes, slices: Iterator[int]) -> Iterator[Frame]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("!I", data, at)
        body = at + 4 + length
        message = json.loads(data[at + 4 : body])
        kind = message.get("kind")
        stop = body
        if kind == "range" or (kind == "file" and message.get("hash")):
            stop += message["size"]
        elif kind == "file":
            while part := struct.unpack_from("!I", data, stop)[0]:
                stop += 4 + (part if part < 1 << 31 else 0)
            stop += 4
        elif kind == "hashed":
            stop += next(slices)
        yield Frame(at, body, stop, message)
        at = stop


def marks(found: list[Frame]) -> list[int]:
    """Return the bytes at and about which something may go wrong, in order."""
    places = {0}
    for each in found:
        last = each.stop - each.start
        header = each.body - each.start
        near = (0, 1, 3, 4, header - 1, header, header + 1, (header + last) // 2, last - 1, last)
        places.update(each.start + place for place in near if 0 <= place <= last)
    return sorted(places)
