"""Connections: frames and bodies both ways, however they are cut, and every way to end."""

from __future__ import annotations

import fcntl
import os
import random
import select
import socket
import struct
import sys
import termios
import threading
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, Raw, both, framed, tcp_pair, wait_noticed

from filexfer import Options, errors
from filexfer.errors import (
    Code,
    ConnectionLost,
    CutShort,
    ProtocolError,
    RefusedError,
    TimedOut,
    TrustError,
)
from filexfer.serving.limits import Limits
from filexfer.transfer import buffers
from filexfer.wire import codec, dial, intake, protocol
from filexfer.wire import connection as connection_module
from filexfer.wire.codec import part_length
from filexfer.wire.connection import JOIN, QUEUE_MAX, Connection
from filexfer.wire.intake import BUFFER
from filexfer.wire.protocol import FRAME_MAX, HOLE, PART_MAX, PLAIN_MAX, State
from filexfer.wire.transport import BLOCKED, NotTls, Plain, Tls, peer_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextlib import ExitStack
    from pathlib import Path

    from conftest import LinkPair, Served

    from filexfer import Server
    from filexfer.wire.schema import Message
    from filexfer.wire.waiting import Waiting

    Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


NARROW = 1 << 16  # bytes; with less, the system waits for a timer before each segment


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def pair(request: pytest.FixtureRequest, link_pair: Callable[..., LinkPair]) -> LinkPair:
    """Connect two connections, once in the clear and once with TLS."""
    return link_pair(request.param)


@pytest.fixture
def scripted(cleanup: ExitStack) -> Callable[..., tuple[Raw, Connection]]:
    """Return a function that connects a scripted peer to a connection."""

    def connect(timeout: float = SECONDS) -> tuple[Raw, Connection]:
        near, far = tcp_pair()
        peer, connection = Raw(near), Connection(far, timeout=timeout)
        cleanup.callback(connection.close)
        cleanup.callback(peer.close)
        return peer, connection

    return connect


def narrow(*connections: Connection) -> None:
    """Make the system's buffers so small that every write soon waits."""
    for each in connections:
        each._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, NARROW)
        each._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)


def wait_for(sock: socket.socket, events: int) -> None:
    """Wait until the system reports one of *events* for a socket."""
    poll = select.poll()
    poll.register(sock, events)
    assert poll.poll(SECONDS * 1000)


def counts(number: int) -> list[Message]:
    return [protocol.Done(count=count) for count in range(number)]


def take_all(connection: Connection, into: list[Message], state: State = State.GIVING) -> None:
    while (message := connection.message(state)) is not None:
        into.append(message)


def read_all(connection: Connection, number: int, into: list[Message]) -> None:
    while len(into) < number:
        take_all(connection, into)
        if len(into) < number:
            connection.fill(inside=connection.has_input)


# Both directions


def test_a_message_each_way(pair: LinkPair) -> None:
    """What is sent is read, in either direction, and empties the buffer."""
    client, server = pair
    client.send(protocol.Hello(version=1, program="é" * 500))
    client.flush()
    assert server.read(State.OPENING) == protocol.Hello(version=1, program="é" * 500)
    server.send(protocol.Welcome(version=1, rights=["read"]))
    server.flush()
    assert client.read(State.GREETING) == protocol.Welcome(version=1, rights=["read"])
    assert not client.has_input
    assert not server.has_input
    assert client.message(State.ANSWERING) is None


def test_both_directions_full(pair: LinkPair) -> None:
    """Both sides send much more than any buffer holds before they read: nobody waits for ever."""
    number = 50_000
    narrow(*pair)
    frames = [codec.encode(message) for message in counts(number)]
    assert sum(map(len, frames)) > 3 * BUFFER
    longest = [0, 0]
    came: list[list[Message]] = [[], []]

    def talk(side: int) -> None:
        connection, mine = pair[side], came[side]
        connection.on_input = lambda: take_all(connection, mine)
        for frame in frames:
            connection.post(frame)
            longest[side] = max(longest[side], connection._queued)
            if connection.is_full:
                connection.flush()
        connection.flush()
        connection.on_input = None
        read_all(connection, number, mine)

    both(lambda: talk(0), lambda: talk(1))
    for side in (0, 1):
        assert came[side] == counts(number)
        assert longest[side] < JOIN + 100
        assert len(pair[side]._buffer) == BUFFER


def test_replies_while_a_write_waits(pair: LinkPair) -> None:
    """One side only sends, the other answers each frame: the answers are taken in meanwhile."""
    number = 20_000
    client, server = pair
    narrow(client, server)
    longest = 0

    def answer() -> None:
        nonlocal longest
        seen: list[Message] = []
        while len(seen) < number:
            before = len(seen)
            take_all(server, seen, State.TAKING)
            for message in seen[before:]:
                assert isinstance(message, protocol.Folder)
                server.send(protocol.Outcome(item=message.mtime, result="failed", text="x" * 60))
            longest = max(longest, server._queued)
            if len(seen) < number:
                server.fill(inside=server.has_input)
        server.flush()

    came: list[Message] = []

    def ask() -> None:
        client.on_input = lambda: take_all(client, came)
        for index in range(number):
            client.send(protocol.Folder(name="a", mtime=index))
            if client.is_full:
                client.flush()
        client.flush()
        read_all(client, number, came)

    both(ask, answer)
    assert [message.item for message in came if isinstance(message, protocol.Outcome)] == list(
        range(number)
    )
    assert longest <= QUEUE_MAX + 6 * BUFFER


@pytest.mark.case("A27")
def test_back_pressure(scripted: Callable[..., tuple[Raw, Connection]]) -> None:
    """A27: whose replies are not read is not read either, until they are."""
    peer, connection = scripted()
    narrow(connection)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    peer.frame({"kind": "stat", "name": "a"})
    wait_for(connection._sock, select.POLLIN)
    connection.post(bytes(4 * QUEUE_MAX))
    assert not connection.fill(patience=0.05)
    assert not connection.has_input
    drained = threading.Thread(target=peer.read, args=(4 * QUEUE_MAX,))
    drained.start()
    assert connection.fill()
    assert connection.message(State.IDLE) == protocol.Stat(name="a")
    connection.flush()
    drained.join()


# However the bytes are cut


def a_talk() -> tuple[bytes, Callable[[Connection], None]]:
    """Return the bytes of one of everything, and what reads and checks them."""
    plain, large, tail = (
        random.Random(seed).randbytes(size) for seed, size in enumerate((300, 700, 5))
    )
    data = b"".join(
        (
            framed({"kind": "file", "name": "a", "size": 300, "hash": "md5:" + "0" * 32}),
            plain,
            framed({"kind": "file", "name": "b", "size": 0, "hash": "md5:" + "0" * 32}),
            framed({"kind": "file", "name": "c"}),
            struct.pack("!I", 700) + large,
            struct.pack("!I", HOLE | 12345),
            struct.pack("!I", 5) + tail,
            struct.pack("!I", 0),
            framed({"kind": "trailer", "code": "changed"}),
            framed({"kind": "alive"}),
            framed({"kind": "end"}),
        )
    )

    def check(connection: Connection) -> None:
        first = connection.read(State.TAKING)
        assert isinstance(first, protocol.File)
        assert connection.body(300) == plain
        assert connection.read(State.TAKING) != first
        assert not connection.body(0)
        assert connection.read(State.TAKING) == protocol.File(name="c")
        assert part_length(connection.body(4)) == (700, False)
        into = bytearray(700)
        connection.body_into(memoryview(into))
        assert into == large
        assert part_length(connection.body(4)) == (12345, True)
        assert part_length(connection.body(4)) == (5, False)
        assert connection.body(5) == tail
        assert part_length(connection.body(4)) == (0, False)
        assert connection.read(State.BODY) == protocol.Trailer(code="changed")
        assert connection.read(State.TAKING) == protocol.End()

    return data, check


@pytest.mark.case("A5")
def test_one_byte_at_a_time(pair: LinkPair) -> None:
    """A5: where the segments are cut makes no difference."""
    client, server = pair
    data, check = a_talk()

    def send() -> None:
        for byte in data:
            client.post(bytes([byte]))
            client.flush()

    both(send, lambda: check(server))


@pytest.mark.case("A5", "A6")
@pytest.mark.parametrize("size", [2, 3, 5, 64, 299, 1000, 100_000])
def test_other_cuts(scripted: Callable[..., tuple[Raw, Connection]], size: int) -> None:
    """A5, A6: nor does how many frames and bodies come glued together."""
    peer, connection = scripted()
    data, check = a_talk()

    def send() -> None:
        for at in range(0, len(data), size):
            peer.send(data[at : at + size])

    both(send, lambda: check(connection))
    assert not connection.has_input


@pytest.mark.case("A6")
def test_glued(pair: LinkPair) -> None:
    """A6: a hundred talks in one go, and no byte of one is taken for another's."""
    client, server = pair
    data, check = a_talk()
    client.post(data * 100)

    def read() -> None:
        for _ in range(100):
            check(server)

    both(client.flush, read)
    assert not server.has_input


@pytest.mark.case("A29")
@pytest.mark.parametrize("before", [0, 1, FRAME_MAX, 200_000])
@pytest.mark.parametrize("size", [0, 1, FRAME_MAX + 1, PLAIN_MAX - 1, PLAIN_MAX])
def test_plain_bodies(pair: LinkPair, before: int, size: int) -> None:
    """A29: a body of any size up to the limit lies in one piece, whatever came before it."""
    client, server = pair
    body = random.Random(size).randbytes(before + size)

    def read() -> None:
        assert server.body(before) == body[:before]
        assert server.body(size) == body[before:]
        assert server.read(State.TAKING) == protocol.End()

    client.post(body)
    client.send(protocol.End())
    both(client.flush, read)


@pytest.mark.case("A29")
@pytest.mark.parametrize("size", [0, 1, BUFFER - 1, BUFFER, BUFFER + 1, 3 << 20])
def test_large_bodies(pair: LinkPair, size: int) -> None:
    """A29: a large body goes into the caller's memory, and not a byte more."""
    client, server = pair
    body = random.Random(size).randbytes(size)
    into = bytearray(size)

    def read() -> None:
        assert server.read(State.TAKING) == protocol.Folder(name="a")
        server.body_into(memoryview(into))
        assert server.read(State.TAKING) == protocol.End()

    client.send(protocol.Folder(name="a"))
    client.post(body)
    client.send(protocol.End())
    both(client.flush, read)
    assert into == body
    assert server.moved >= size


@pytest.mark.parametrize(
    ("length", "part"),
    [
        (0, (0, False)),
        (1, (1, False)),
        (PART_MAX, (PART_MAX, False)),
        (HOLE | 1, (1, True)),
        (0xFFFFFFFF, (2**31 - 1, True)),
    ],
)
def test_parts(
    scripted: Callable[..., tuple[Raw, Connection]], length: int, part: tuple[int, bool]
) -> None:
    """A part has its length, a hole has the highest bit, and 0 is the end."""
    peer, connection = scripted()
    peer.send(struct.pack("!I", length))
    assert part_length(connection.body(4)) == part


@pytest.mark.parametrize("length", [PART_MAX + 1, HOLE - 1, HOLE])
def test_bad_parts(scripted: Callable[..., tuple[Raw, Connection]], length: int) -> None:
    """A part is never longer than its limit, a hole never empty."""
    peer, connection = scripted()
    peer.send(struct.pack("!I", length))
    with pytest.raises(ProtocolError):
        part_length(connection.body(4))


@pytest.mark.case("A1", "A2")
@pytest.mark.parametrize("length", [0, FRAME_MAX + 1, 2**31, 0x7B226E61, 0xFFFFFFFF])
def test_bad_lengths(scripted: Callable[..., tuple[Raw, Connection]], length: int) -> None:
    """A1, A2: a length outside its range is refused before anything is allocated for it."""
    peer, connection = scripted()
    peer.send(struct.pack("!I", length))
    wait_for(connection._sock, select.POLLIN)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=str(length)):
            connection.read(State.OPENING)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_the_longest_frame(pair: LinkPair) -> None:
    """A frame of exactly the limit passes, also behind an unaligned remainder."""
    client, server = pair
    room = FRAME_MAX - len(codec.encode(protocol.Stat(name=""))) + 4
    longest = protocol.Stat(name="x" * room)

    def read() -> None:
        for _ in range(20):
            assert server.read(State.IDLE) == protocol.Stat(name="a")
            assert server.read(State.IDLE) == longest

    for _ in range(20):
        client.send(protocol.Stat(name="a"))
        client.send(longest)
    both(client.flush, read)


# Alive


def test_alive_is_passed_over(scripted: Callable[..., tuple[Raw, Connection]]) -> None:
    """A side that says that it is busy has not answered yet."""
    peer, connection = scripted()
    for _ in range(3):
        peer.frame({"kind": "alive"})
    peer.frame({"kind": "ok"})
    assert connection.read(State.ANSWERING) == protocol.Ok()


def test_keep_alive(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said when nothing else was for long enough, and not before."""
    peer, connection = scripted()
    clock = Clock(monkeypatch)
    connection.flush()
    clock.now += protocol.ALIVE_EVERY - 0.1
    connection.keep_alive()
    connection.send(protocol.Ok())
    connection.flush()
    clock.now += protocol.ALIVE_EVERY - 0.1
    connection.keep_alive()
    clock.now += 0.2
    connection.keep_alive()
    connection.keep_alive()
    connection.send(protocol.End())
    connection.flush()
    expected = framed(b'{"kind":"ok"}') + framed(b'{"kind":"alive"}') + framed(b'{"kind":"end"}')
    assert peer.read(len(expected)) == expected


def test_alive_never_comes_inside_a_body(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long a sender hashes a hole, nothing but the body comes before its trailer."""
    monkeypatch.setattr(protocol, "ALIVE_EVERY", 0.0)
    with open(tmp_path / "sparse", "wb") as file:
        file.write(b"begin")
        file.truncate(5 << 20)
        file.seek(5 << 20)
        file.write(b"end")
    client = served.client()
    report = client.put([tmp_path / "sparse"])
    assert report.failures == []
    assert (served.folder / "sparse").read_bytes() == (tmp_path / "sparse").read_bytes()
    report = client.get(["sparse"], tmp_path / "back", Options(durability="none"))
    assert report.failures == []
    assert (tmp_path / "back").read_bytes() == (tmp_path / "sparse").read_bytes()


@pytest.mark.case("D15")
def test_holes_go_out_one_by_one(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D15: while a sender hashes the next hole, the receiver has seen the one before."""
    waiting: list[int] = []
    post = Connection.post

    def posting(self: Connection, data: bytes | memoryview) -> None:
        if len(data) == 4 and data[0] & 0x80:
            waiting.append(sum(len(each) == 4 for each in self._queue))
        post(self, data)

    monkeypatch.setattr(Connection, "post", posting)
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(7 << 30)
    report = served.client().put([tmp_path / "sparse"])
    assert report.failures == []
    assert (served.folder / "sparse").stat().st_size == 7 << 30
    assert waiting == [0, 0, 0, 0]


# Time


class Clock:
    """A clock that only the test moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(connection_module, "monotonic", lambda: self.now)

    def script(self, connection: Connection, seconds: float, act: Callable[[], object]) -> None:
        """Let *act* happen so many seconds into each wait of *connection*, if it waits as long."""
        real = getattr(connection.waiting, "real", connection.waiting)
        connection.waiting = Script(real, self, seconds, act)  # type: ignore[assignment] # has what is used of one


class Script:
    """In the place of the waits of a connection: says what happens during one."""

    def __init__(
        self, real: Waiting, clock: Clock, seconds: float, act: Callable[[], object]
    ) -> None:
        self.real = real
        self._clock = clock
        self._seconds = seconds
        self._act = act

    def wait(self, *, reading: bool, writing: bool, seconds: float) -> bool:
        if seconds < self._seconds:
            self._clock.now += seconds
            return False
        self._clock.now += self._seconds
        self._act()
        return self.real.wait(reading=reading, writing=writing, seconds=SECONDS)


def test_nothing_moves(pair: LinkPair) -> None:
    """A wait without a byte ends with the time-out, for reading ..."""
    client, _ = pair
    client.timeout = 0.02
    with pytest.raises(TimedOut, match=r"nothing moved for 0\.02 seconds"):
        client.read(State.GREETING)


@pytest.mark.case("E10")
def test_nothing_is_taken(pair: LinkPair) -> None:
    """E10: ... and for writing to a side that never reads."""
    client, server = pair
    narrow(client, server)
    client.timeout = 0.05
    client.post(bytes(32 << 20))
    with pytest.raises(TimedOut):
        client.flush()


def test_the_handshake_has_a_limit(cleanup: ExitStack, tls_contexts: Contexts) -> None:
    """H3: a handshake that stalls ends with the time-out, on either side."""
    for context, server_side in zip(tls_contexts, (False, True), strict=True):
        near, far = tcp_pair()
        cleanup.callback(near.close)
        connection = Connection(
            far, timeout=0.02, tls=context, server_side=server_side, hostname="127.0.0.1"
        )
        cleanup.callback(connection.close)
        with pytest.raises(TimedOut):
            connection.handshake()


def test_the_deadline(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """H2: what must end by some time ends then, though a byte comes every few seconds."""
    peer, connection = scripted()
    clock = Clock(monkeypatch)
    came = iter(framed({"kind": "hello", "version": 1, "program": "x" * 100}))
    connection.deadline = clock.now + 10
    clock.script(connection, 3.0, lambda: peer.send(bytes([next(came)])))
    with pytest.raises(TimedOut, match="too long"):
        connection.read(State.OPENING)
    assert clock.now == 1010


@pytest.mark.case("B18")
@pytest.mark.parametrize("inside_a_body", [False, True])
def test_the_least_rate(
    scripted: Callable[..., tuple[Raw, Connection]],
    monkeypatch: pytest.MonkeyPatch,
    inside_a_body: bool,
) -> None:
    """B18: who keeps a frame or body alive with a byte now and then is given up."""
    peer, connection = scripted()
    clock = Clock(monkeypatch)
    data = framed({"kind": "hello", "version": 1, "program": "x" * 1000})
    came = iter(data)
    clock.script(connection, 7.0, lambda: peer.send(bytes([next(came)])))
    into = memoryview(bytearray(1000))
    with pytest.raises(TimedOut, match="less than 1024 bytes per second"):
        connection.body_into(into) if inside_a_body else connection.read(State.OPENING)
    assert 1030 <= clock.now < 1060


def taken(peer: Raw, most: int) -> None:
    """Read what has come, up to so many bytes."""
    peer.sock.setblocking(False)
    try:
        while most and (data := peer.sock.recv(min(most, 1 << 16))):
            most -= len(data)
    except BlockingIOError:
        pass  # that is all
    peer.sock.setblocking(True)


@pytest.mark.case("E10")
@pytest.mark.parametrize("talks", [False, True])
def test_the_least_rate_of_what_is_sent(
    scripted: Callable[..., tuple[Raw, Connection]],
    monkeypatch: pytest.MonkeyPatch,
    talks: bool,
) -> None:
    """Who takes a few bytes now and then is given up; who says meanwhile that it lives, later."""
    monkeypatch.setattr(connection_module, "LEAST_RATE", 1 << 20)  # buffers empty in steps
    peer, connection = scripted()
    narrow(connection)
    connection.on_input = lambda: take_all(connection, [])
    clock = Clock(monkeypatch)

    def trickle() -> None:
        taken(peer, 1 << 20)
        if talks:
            peer.frame({"kind": "alive"})

    clock.script(connection, 7.0, trickle)
    connection.post(bytes(1 << 30))
    with pytest.raises(TimedOut, match="takes less than 1048576 bytes per second"):
        connection.flush()
    if talks:
        assert 1600 <= clock.now < 1610
    else:
        assert 1030 <= clock.now < 1040


@pytest.mark.case("E10")
def test_it_does_not_matter_how_many_writes_are_taken_slowly(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each may be over before the time is up; what they take is added up."""
    monkeypatch.setattr(connection_module, "LEAST_RATE", 1 << 20)
    peer, connection = scripted()
    narrow(connection)
    clock = Clock(monkeypatch)
    clock.script(connection, 7.0, lambda: taken(peer, 1 << 20))

    def write() -> None:
        for _ in range(10_000):
            connection.post(bytes(10_000))
            connection.flush()

    with pytest.raises(TimedOut, match="takes less than"):
        write()
    assert 1030 <= clock.now < 1040


@pytest.mark.case("E8")
def test_an_honest_slow_reader(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E8: a little more than the least rate is enough, and waits of other kinds do not count."""
    monkeypatch.setattr(connection_module, "LEAST_RATE", 3000)
    peer, connection = scripted(100.0)
    narrow(connection)
    clock = Clock(monkeypatch)
    clock.script(connection, 99.0, lambda: None)
    assert not connection.fill(90.0)  # nothing was to be sent
    clock.script(connection, 20.0, lambda: taken(peer, 1 << 20))
    connection.post(bytes(4 << 20))
    connection.flush()
    assert clock.now > 1000 + 90 + connection_module.LEAST_SPAN * 4


@pytest.mark.case("E8")
def test_an_honest_slow_link(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E8: a little more than the least rate is enough."""
    peer, connection = scripted()
    clock = Clock(monkeypatch)
    clock.script(connection, 10.0, lambda: peer.send(bytes(12_000)))
    connection.body_into(memoryview(bytearray(200_000)))
    assert clock.now > 1000 + connection_module.LEAST_SPAN * 4


def test_idle_time_is_no_slowness(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was idle for long may bring its next frame in two pieces."""
    peer, connection = scripted(60.0)
    clock = Clock(monkeypatch)
    frame = framed({"kind": "stat", "name": "a"})
    clock.script(connection, 50.0, lambda: peer.send(frame[:10]))
    connection.fill()
    clock.script(connection, 1.0, lambda: peer.send(frame[10:]))
    assert connection.read(State.IDLE) == protocol.Stat(name="a")
    clock.script(connection, 50.0, lambda: peer.send(frame + b"body"))
    assert connection.read(State.IDLE) == protocol.Stat(name="a")
    clock.script(connection, 1.0, lambda: peer.send(b" of it"))
    assert bytes(connection.body(10)) == b"body of it"


def test_patience(scripted: Callable[..., tuple[Raw, Connection]]) -> None:
    """A wait can also end without a fault, when there is something else to do."""
    _, connection = scripted()
    assert connection.fill(patience=0.01) is False
    assert connection.fill(patience=0.0) is False


# The last words


@pytest.mark.case("E13")
@pytest.mark.parametrize(
    ("code", "cls"),
    [
        ("denied", RefusedError),
        ("no_space", RefusedError),
        ("bad_header", ProtocolError),
        ("internal", ProtocolError),
        ("timeout", TimedOut),
        ("busy", errors.Busy),
        ("shutting_down", ConnectionLost),
    ],
)
@pytest.mark.parametrize("listens", [False, True])
@pytest.mark.parametrize("by", ["flush", "fill"])
def test_last_words(
    scripted: Callable[..., tuple[Raw, Connection]],
    code: str,
    cls: type[errors.FilexferError],
    listens: bool,
    by: str,
) -> None:
    """E13: whose write fails because the other side has gone learns why it went."""
    peer, connection = scripted()
    if listens:
        connection.on_input = lambda: take_all(connection, [], State.GIVING)
    peer.frame({"kind": "alive"})
    peer.frame({"kind": "error", "code": code, "text": "because I say so"})
    peer.reset()
    wait_for(connection._sock, select.POLLHUP)
    connection.post(b"x" * 1000)
    with pytest.raises(cls, match="because I say so") as caught:
        connection.flush() if by == "flush" else connection.fill()
    assert type(caught.value) is cls


@pytest.mark.case("E13")
def test_last_words_behind_many_others(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E13: the reason is found also behind more replies than the buffer holds."""
    monkeypatch.setattr(intake, "_large", buffers.Pool(2 * FRAME_MAX, keep=0))
    peer, connection = scripted()
    connection._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    came: list[Message] = []
    connection.on_input = lambda: take_all(connection, came)
    data = framed({"kind": "alive", "more": "x" * 1000}) * 150
    data += framed({"kind": "error", "code": "denied", "text": "because I say so"})
    peer.send(data)
    while arrived(connection._sock) < len(data):
        wait_for(connection._sock, select.POLLIN)
    peer.reset()
    wait_for(connection._sock, select.POLLHUP)
    connection.post(b"x")
    with pytest.raises(RefusedError, match="because I say so"):
        connection.flush()
    assert len(came) == 150


def arrived(sock: socket.socket) -> int:
    """Return how many bytes the system holds for a socket."""
    count = bytearray(4)
    fcntl.ioctl(sock, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


@pytest.mark.case("E1")
def test_no_last_words(scripted: Callable[..., tuple[Raw, Connection]]) -> None:
    """E1: whose write fails without any reason learns that the connection was lost."""
    peer, connection = scripted()
    peer.send(framed({"kind": "done", "count": 1}) + b"\0\0")
    peer.reset()
    wait_for(connection._sock, select.POLLHUP)
    connection.post(b"x")
    with pytest.raises(ConnectionLost, match="lost"):
        connection.flush()


def test_the_answer_to_a_request_is_no_last_word(
    scripted: Callable[..., tuple[Raw, Connection]],
) -> None:
    """That one piece was refused is not why the connection ended; it may be worth another try."""
    peer, connection = scripted()
    peer.frame({"kind": "error", "code": "not_found", "text": "not awaited", "fatal": False})
    peer.reset()
    wait_for(connection._sock, select.POLLHUP)
    connection.post(b"x")
    with pytest.raises(ConnectionLost, match="lost"):
        connection.flush()


def test_an_error_is_raised_where_it_is_read(pair: LinkPair) -> None:
    """A fatal error is raised by whoever reads it; one that is not fatal is an answer."""
    client, server = pair
    server.send(protocol.Error(code="not_found", text="nothing there", fatal=False))
    server.send(protocol.Error(code="denied", text="no\x1b", fatal=True))
    server.flush()
    answer = client.read(State.ANSWERING)
    assert isinstance(answer, protocol.Error)
    assert answer.code == "not_found"
    with pytest.raises(RefusedError, match=r"no\\x1b") as caught:
        client.read(State.ANSWERING)
    assert caught.value.code == "denied"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProtocolError("odd", Code.OUT_OF_ORDER), "out_of_order"),
        (RefusedError(Code.DENIED, "odd"), "denied"),
        (TimedOut("odd"), "timeout"),
    ],
)
def test_fail_tells_why(
    pair: LinkPair, error: ProtocolError | RefusedError | TimedOut, code: str
) -> None:
    """E13: the reason arrives although the other side is in the middle of sending megabytes."""
    client, server = pair
    narrow(client, server)

    def send() -> None:
        client.post(bytes(20 << 20))
        with pytest.raises((ProtocolError, RefusedError, TimedOut), match="odd") as caught:
            client.read(State.GIVING)
        assert getattr(caught.value, "code", "timeout") == code
        client.close()

    both(send, lambda: server.fail(error))
    assert server._sock.fileno() == -1


def test_fail_says_that_it_is_over(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side sees the end behind the reason, and need not wait for the moment to pass."""
    monkeypatch.setattr(connection_module, "DRAIN_SECONDS", SECONDS)
    peer, connection = scripted()

    def listen() -> None:
        error = peer.reply()
        assert error
        assert error["text"] == "odd"
        assert peer.reply() is None
        assert connection._sock.fileno() != -1
        peer.close()

    both(listen, lambda: connection.fail(ProtocolError("odd")))


def test_fail_behind_much_else(
    scripted: Callable[..., tuple[Raw, Connection]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason comes behind what was queued, though the other side sends before it reads."""
    monkeypatch.setattr(connection_module, "DRAIN_SECONDS", SECONDS)
    peer, connection = scripted()
    narrow(connection)
    connection.post(bytes(8 << 20))

    def listen() -> None:
        peer.send(bytes(8 << 20))
        peer.read(8 << 20)
        error = peer.reply()
        assert error
        assert error["text"] == "odd"
        peer.close()

    both(listen, lambda: connection.fail(ProtocolError("odd")))


def test_fail_does_not_wait_for_ever(
    link_pair: Callable[..., LinkPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side that neither reads nor goes is left after a moment, with its error unread."""
    monkeypatch.setattr(connection_module, "DRAIN_SECONDS", 0.05)
    client, server = link_pair()
    narrow(client, server)
    server.post(bytes(8 << 20))
    server.fail(ProtocolError("odd"))
    assert server._sock.fileno() == -1


def test_fail_drops_no_more_than_its_share(
    link_pair: Callable[..., LinkPair], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A side that never stops sending is not listened to for ever either."""
    monkeypatch.setattr(connection_module, "DRAIN_BYTES", 1 << 20)
    client, server = link_pair()

    def send() -> None:
        while True:
            client.post(bytes(1 << 16))
            client.flush()

    with pytest.raises((ProtocolError, ConnectionLost)):
        both(lambda: server.fail(ProtocolError("odd")), send)
    assert server.moved < 8 << 20


# Ends


def test_half_close(scripted: Callable[..., tuple[Raw, Connection]]) -> None:
    """Between frames the end is told from a cut inside one; what is queued still goes out."""
    peer, connection = scripted()
    peer.frame({"kind": "stat", "name": "a"})
    peer.finish()
    assert connection.read(State.IDLE) == protocol.Stat(name="a")
    connection.send(protocol.Ok())
    connection.flush()
    with pytest.raises(ConnectionLost) as caught:
        connection.read(State.IDLE)
    assert type(caught.value) is ConnectionLost
    assert peer.reply() == {"kind": "ok"}


def test_half_close_before_a_long_answer(scripted: Callable[..., tuple[Raw, Connection]]) -> None:
    """A peer that sends no more can still be sent more than the system's buffers hold."""
    peer, connection = scripted()
    narrow(connection)
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, NARROW)
    peer.finish()
    connection.post(bytes(4 << 20))
    came: list[bytes] = []
    both(connection.flush, lambda: came.append(peer.read(4 << 20)))
    assert len(came[0]) == 4 << 20


@pytest.mark.case("A3", "A4")
@pytest.mark.parametrize("cut", [1, 3, 4, 5, -1])
@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_cut_inside_a_frame(
    scripted: Callable[..., tuple[Raw, Connection]], cut: int, ending: str
) -> None:
    """A3, A4: a frame that ends too early is a lost connection, in whichever way it ends."""
    peer, connection = scripted()
    peer.send(framed({"kind": "stat", "name": "a"})[:cut])
    getattr(peer, ending)()
    with pytest.raises(ConnectionLost) as caught:
        connection.read(State.IDLE)
    assert isinstance(caught.value, CutShort) or ending == "reset"


@pytest.mark.case("A19")
@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
@pytest.mark.parametrize("into", [False, True])
@pytest.mark.parametrize("size", [0, 1, 99])
def test_cut_inside_a_body(
    scripted: Callable[..., tuple[Raw, Connection]], size: int, into: bool, ending: str
) -> None:
    """A19: so is a body."""
    peer, connection = scripted()
    peer.send(bytes(size))
    getattr(peer, ending)()
    with pytest.raises(ConnectionLost) as caught:
        connection.body_into(memoryview(bytearray(100))) if into else connection.body(100)
    assert isinstance(caught.value, CutShort) or ending == "reset"


def test_cut_without_goodbye(pair: LinkPair) -> None:
    """K10: a TLS connection that is cut, with no word from TLS, is caught by the framing."""
    client, server = pair
    client.post(framed({"kind": "stat", "name": "a"}) + bytes(50))
    client.flush()
    client._sock.shutdown(socket.SHUT_WR)
    assert server.read(State.IDLE) == protocol.Stat(name="a")
    with pytest.raises(CutShort):
        server.body(100)


def test_goodbye_of_tls(link_pair: Callable[..., LinkPair]) -> None:
    """A proper end of TLS is an end like any other."""
    client, server = link_pair(True)
    transport = client._transport
    assert isinstance(transport, Tls)
    with pytest.raises(transport._ssl.SSLWantReadError):
        transport._object.unwrap()
    transport.push()
    client.close()
    with pytest.raises(ConnectionLost, match="was closed"):
        server.read(State.IDLE)


@pytest.mark.parametrize("waiting", ["read", "write"])
def test_interrupt(pair: LinkPair, waiting: str) -> None:
    """Another thread can end a connection that waits; harmless also when it is closed."""
    client, server = pair
    began = wait_noticed(client)

    def stay() -> None:
        if waiting == "write":
            narrow(client, server)
            client.post(bytes(32 << 20))
        with pytest.raises(ConnectionLost):
            client.read(State.ANSWERING)

    def end() -> None:
        assert began.wait(SECONDS)
        client.interrupt()

    both(stay, end)
    client.close()
    client.interrupt()
    client.close()


def test_a_server_that_goes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: a reset right behind the accept is a lost connection, and its socket is closed."""
    connect = dial.connect
    made: list[socket.socket] = []

    def connecting(host: str, port: int, timeout: float) -> socket.socket:
        made.append(connect(host, port, timeout))
        far, _ = listener.accept()
        Raw(far).reset()
        wait_for(made[0], select.POLLHUP)
        return made[0]

    monkeypatch.setattr(dial, "connect", connecting)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        door = dial.Door(*listener.getsockname()[:2], timeout=SECONDS)
        try:
            with pytest.raises(ConnectionLost):
                door.open()
            assert made[0].fileno() == -1
        finally:
            made[0].close()


# TLS with whoever calls


@pytest.mark.case("A23")
@pytest.mark.parametrize(
    "words",
    [
        framed({"kind": "hello", "version": 1}),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        bytes(100),
        b"\x16\x03\x01\x00\x05hello",
    ],
)
@pytest.mark.parametrize("server_side", [False, True])
def test_plain_text_to_tls(
    cleanup: ExitStack, tls_contexts: Contexts, words: bytes, server_side: bool
) -> None:
    """A23, K1: a side that talks no TLS ends the handshake with an error that says TLS."""
    near, far = tcp_pair()
    cleanup.callback(near.close)
    connection = Connection(
        far, tls=tls_contexts[server_side], server_side=server_side, hostname="127.0.0.1"
    )
    cleanup.callback(connection.close)
    near.sendall(words)
    with pytest.raises((TrustError, NotTls), match=r"no TLS|TLS failed: [A-Z]"):
        connection.handshake()


@pytest.mark.parametrize("sent", [0, 1, 5, 30])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_port_probe(cleanup: ExitStack, tls_contexts: Contexts, sent: int, ending: str) -> None:
    """A probe that connects and goes ends the handshake, and no loop spins."""
    near, far = tcp_pair()
    peer = Raw(near)
    cleanup.callback(peer.close)
    connection = Connection(far, tls=tls_contexts[1], server_side=True)
    cleanup.callback(connection.close)
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20)
    peer.send(hello[:sent])
    getattr(peer, ending)()
    with pytest.raises(ConnectionLost):
        connection.handshake()


def test_an_unknown_certificate(cleanup: ExitStack, tls_contexts: Contexts) -> None:
    """K3: a certificate that nobody vouches for ends the handshake on both sides."""
    import ssl  # noqa: PLC0415 - only here

    near, far = tcp_pair()
    client = Connection(near, tls=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), hostname="127.0.0.1")
    server = Connection(far, tls=tls_contexts[1], server_side=True)
    cleanup.callback(client.close)
    cleanup.callback(server.close)

    def refuse() -> None:
        with pytest.raises(TrustError, match="certificate"):
            client.handshake()

    def be_refused() -> None:
        server.handshake()
        server.read(State.OPENING)

    with pytest.raises((TrustError, ConnectionLost)):
        both(refuse, be_refused)


def test_a_flipped_bit_in_tls(cleanup: ExitStack, tls_contexts: Contexts) -> None:
    """E7: what was changed on the way never gets through TLS."""
    near, far = tcp_pair()
    client = Connection(near, tls=tls_contexts[0], hostname="127.0.0.1")
    server = Connection(far, tls=tls_contexts[1], server_side=True)
    cleanup.callback(client.close)
    cleanup.callback(server.close)
    both(client.handshake, server.handshake)
    transport = client._transport
    assert isinstance(transport, Tls)
    transport._object.write(framed({"kind": "stat", "name": "a"}))
    record = bytearray(transport._outgoing.read())
    record[-1] ^= 1
    client._sock.send(record)
    with pytest.raises(TrustError, match=r"(?i)mac"):
        server.read(State.IDLE)


# A server with TLS


def test_a_server_with_tls(
    serve: Callable[..., Served], tls_contexts: Contexts, tmp_path: Path
) -> None:
    """Put and get work over TLS as they do in the clear."""
    served = serve(tls=tls_contexts[1])
    data = random.Random(3).randbytes(5 << 20)
    (tmp_path / "a").write_bytes(data)
    with served.client(tls=tls_contexts[0]) as client:
        assert client.put([tmp_path / "a"]).files == 1
        assert client.get(["a"], tmp_path / "back", Options(durability="none")).files == 1
    assert (tmp_path / "back").read_bytes() == data


@pytest.mark.parametrize("says", ["", "hello"])
@pytest.mark.parametrize("goodbye", [False, True])
def test_a_session_with_tls_ends(
    serve: Callable[..., Served],
    tls_contexts: Contexts,
    cleanup: ExitStack,
    says: str,
    goodbye: bool,
) -> None:
    """K10: a client that goes, with a word of TLS or without, leaves no session that spins."""
    served = serve(tls=tls_contexts[1])
    sock = socket.create_connection((served.server.host, served.server.port), SECONDS)
    wrapped = tls_contexts[0].wrap_socket(sock, server_hostname="127.0.0.1")
    peer = Raw(wrapped)
    cleanup.callback(peer.close)
    if says:
        peer.greet()
    until = time.monotonic() + SECONDS
    while not served.server._sessions and time.monotonic() < until:
        time.sleep(0.01)
    (session,) = served.server._sessions.values()
    if goodbye:
        with pytest.raises(OSError, match="EOF"):  # the server's goodbye is a frame
            wrapped.unwrap()
    else:
        peer.finish()
    session.join(SECONDS)
    assert not session.is_alive()


@pytest.mark.case("A23")
def test_a_probe_of_a_server_with_tls(
    serve: Callable[..., Served],
    tls_contexts: Contexts,
    raw: Callable[[Server], Raw],
) -> None:
    """A23, H3: plain text ends the handshake at once, silence when its time is over."""
    served = serve(tls=tls_contexts[1], limits=Limits(opening_timeout=0.1))
    for says in (framed({"kind": "hello", "version": 1}), b"GET / HTTP/1.1\r\n\r\n", b"", b"\x16"):
        peer = raw(served.server)
        peer.send(says)
        while peer.read(1000):
            pass
    peer = raw(served.server)
    peer.close()


# The transports


def test_plain_transport() -> None:
    """Neither call waits: no bytes and no room are told apart from the end."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        transport = Plain(near)
        view = memoryview(bytearray(10))
        assert transport.receive_into(view) == BLOCKED
        far.send(b"abc")
        assert transport.receive_into(view) == 3
        while transport.send([b"a", memoryview(bytes(1 << 16)), b"b"]):
            pass
        assert transport.push()
        far.shutdown(socket.SHUT_WR)
        assert transport.receive_into(view) == 0
        far.close()
        with pytest.raises(ConnectionLost):
            transport.send([b"x"])


def test_tls_transport(link_pair: Callable[..., LinkPair]) -> None:
    """TLS hands over more than a record at a time, and says when it holds bytes back."""
    client, server = link_pair(True)
    narrow(client, server)
    one, other = client._transport, server._transport
    assert not one.unsent
    view = memoryview(bytearray(1 << 20))
    assert other.receive_into(view) == BLOCKED
    sent = one.send([b"ab", memoryview(bytes(1 << 20)), b"c"])
    assert 16_384 < sent <= 1 << 19
    assert one.unsent
    assert one.send([b"x"]) == 0
    got = pieces = 0
    while got < sent:
        one.push()
        if (count := other.receive_into(view)) > 0:
            pieces += 1
            got += count
    assert not one.unsent
    assert got == sent
    assert other.receive_into(view) == BLOCKED


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_peer(family: socket.AddressFamily) -> None:
    """Logs show who is at the other end, also when nobody is any more."""
    host = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.create_server((host, 0), family=family) as listener:
        with socket.create_connection(listener.getsockname()[:2]) as near:
            port = listener.getsockname()[1]
            assert peer_of(near) == (
                f"127.0.0.1:{port}" if host == "127.0.0.1" else f"[::1]:{port}"
            )
        assert peer_of(near) == "unknown"
    one, other = socket.socketpair()
    with one, other:
        assert peer_of(one) == "local"


def test_a_socketpair_will_do() -> None:
    """A connection needs no TCP."""
    one, other = (Connection(sock) for sock in socket.socketpair())
    one.send(protocol.End())
    one.flush()
    assert other.read(State.IDLE) == protocol.End()
    one.close()
    other.close()


# Idle


def test_a_connection_without_bytes_has_no_buffer(pair: LinkPair) -> None:
    """A connection on which nothing has come yet, or nothing for a while, holds no buffer."""
    client, server = pair
    assert not server._buffer
    for word in (b"first", b"second"):
        waited = threading.Thread(target=server.rest)
        waited.start()
        while server._buffer or not waited.is_alive():
            time.sleep(0.001)
        client.post(word)
        client.flush()
        waited.join(SECONDS)
        assert bytes(server.body(len(word))) == word
        assert len(server._buffer) == BUFFER


def test_a_request_that_is_there_needs_no_rest(pair: LinkPair) -> None:
    """Bytes that came before the wait are taken in at once, also those that TLS holds."""
    client, server = pair
    client.post(b"x" * 1000)
    client.flush()
    wait_for(server._sock, select.POLLIN)
    server.rest()
    assert bytes(server.body(1000)) == b"x" * 1000
    client.close()
    with pytest.raises(ConnectionLost):
        server.rest()


def test_a_peer_that_vanishes_is_noticed(pair: LinkPair) -> None:
    """Both ends probe an idle connection after 30 seconds, and give it up after 30 more."""
    for each in pair:
        assert each._sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            values = [each._sock.getsockopt(socket.IPPROTO_TCP, option) for option in options]
            assert values == [30, 10, 3]


def test_a_small_buffer_grows(pair: LinkPair) -> None:
    """What came into a small buffer is there in the large one, and large bodies fit again."""
    client, server = pair
    server.begin_small()
    data = os.urandom(PLAIN_MAX)
    client.post(data)
    sender = threading.Thread(target=client.flush)
    sender.start()
    server.fill()
    assert len(server._buffer) < 2 * FRAME_MAX
    assert bytes(server.body(3)) == data[:3]
    server.grow()
    server.grow()
    assert bytes(server.body(PLAIN_MAX - 3)) == data[3:]
    assert len(server._buffer) == BUFFER
    sender.join(SECONDS)
    client.begin_small()
    client.grow()
    assert not client._buffer
