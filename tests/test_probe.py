"""Measuring the way to a server: both halves over real sockets, and peers that do it wrong."""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, both, framed, tcp_pair, tree_state

from filexfer import ConnectionLost, ProtocolError
from filexfer.errors import Code
from filexfer.measure import probe
from filexfer.measure.probe import Span
from filexfer.security.access import Anybody
from filexfer.serving.admission import Admission
from filexfer.serving.limits import Limits
from filexfer.serving.session import Session
from filexfer.storage.folder import Folder
from filexfer.wire import requests
from filexfer.wire.connection import Connection
from filexfer.wire.dial import Door
from filexfer.wire.protocol import HOLE, PART_MAX, PROBE_MAX, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer import Server

SIZES = [0, 1, probe.PART - 1, probe.PART, probe.PART + 1, 2 * probe.PART + 5]
END = bytes(4)


def body(*sizes: int) -> bytes:
    """Return the body of a probe: parts of these sizes, and the end."""
    return b"".join(struct.pack("!I", size) + bytes(size) for size in sizes) + END


def body_read(peer: Raw) -> list[int]:
    """Read the body of a probe, and return the sizes of its parts."""
    sizes = []
    while size := struct.unpack("!I", peer.read(4))[0]:
        assert size <= PART_MAX
        assert len(peer.read(size)) == size
        sizes.append(size)
    return sizes


@pytest.fixture
def guest(served: Served, raw: Callable[[Server], Raw]) -> Iterator[Raw]:
    """Connect a greeted peer; afterwards nothing was stored, and the server is as good as new."""
    peer = raw(served.server)
    peer.greet()
    yield peer
    assert tree_state(served.folder) == {}
    assert list(served.client().list()) == []


def refused(peer: Raw) -> tuple[str, str]:
    """Return code and text of the error with which a connection ends."""
    reply = peer.reply() or {}
    assert (reply["kind"], reply.get("fatal", True)) == ("error", True)
    peer.finish()
    assert peer.reply() is None
    return reply["code"], reply["text"]


# The server


@pytest.mark.parametrize("sizes", [(), (1,), (5, 7), (PART_MAX, 3), (1,) * 100])
def test_up(guest: Raw, sizes: tuple[int, ...]) -> None:
    """A body of the size that was announced, in parts of any size, is answered when it is in."""
    guest.frame({"kind": "probe_up", "size": sum(sizes)})
    guest.send(body(*sizes))
    assert guest.reply() == {"kind": "ok"}


@pytest.mark.parametrize("size", SIZES)
def test_down(guest: Raw, size: int) -> None:
    """What was asked for comes, exactly, and nothing behind it."""
    guest.frame({"kind": "probe_down", "size": size})
    assert guest.reply() == {"kind": "ok"}
    assert sum(body_read(guest)) == size
    guest.finish()
    assert guest.reply() is None


def test_no_answer_need_be_waited_for(guest: Raw) -> None:
    """Probes and other requests follow one another, and are answered in turn."""
    one = framed({"kind": "probe_up", "size": 3}) + body(1, 2)
    other = framed({"kind": "probe_down", "size": 3})
    stat = framed({"kind": "stat", "name": ""})
    guest.send(one + other + stat + one + framed({"kind": "end"}))
    assert guest.reply() == {"kind": "ok"}
    assert guest.reply() == {"kind": "ok"}
    assert body_read(guest) == [3]
    assert (guest.reply() or {})["kind"] == "entries"
    assert guest.reply() == {"kind": "ok"}


@pytest.mark.parametrize("kind", ["probe_up", "probe_down"])
@pytest.mark.parametrize("size", [-1, PROBE_MAX + 1, 2**63 - 1, 2**63, 1.5, True, "5", None])
def test_sizes_that_are_not_allowed(guest: Raw, kind: str, size: Any) -> None:
    """A size out of range ends the connection, before a byte of it has moved."""
    guest.frame({"kind": kind, "size": size})
    assert refused(guest)[0] == Code.BAD_HEADER


@pytest.mark.parametrize(
    ("size", "sent", "code"),
    [
        (5, body(6), Code.SIZE_MISMATCH),
        (5, body(5, 1), Code.SIZE_MISMATCH),
        (0, body(1), Code.SIZE_MISMATCH),
        (5, body(4), Code.SIZE_MISMATCH),
        (5, END, Code.SIZE_MISMATCH),
        (PROBE_MAX, struct.pack("!I", PART_MAX + 1), Code.BAD_HEADER),
        (5, struct.pack("!I", HOLE | 5) + END, Code.BAD_HEADER),
        (5, struct.pack("!I", HOLE), Code.BAD_HEADER),
    ],
)
def test_bodies_that_are_not_allowed(guest: Raw, size: int, sent: bytes, code: str) -> None:
    """A body that is longer, shorter or other than announced ends the connection."""
    guest.frame({"kind": "probe_up", "size": size})
    guest.send(sent)
    assert refused(guest)[0] == code


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
@pytest.mark.parametrize("sent", [b"", b"\0", body(9)[:7], body(9)[:13], body(9)[:-1]])
def test_cut_in_the_middle(guest: Raw, ending: str, sent: bytes) -> None:
    """A connection that ends inside a probe is over, and that is all."""
    guest.frame({"kind": "probe_up", "size": 9})
    guest.send(sent)
    getattr(guest, ending)()
    if ending == "finish":
        assert refused(guest)[0] == Code.SIZE_MISMATCH


def test_nobody_takes_what_was_asked_for(guest: Raw) -> None:
    """A peer that leaves while much is on its way to it is missed by nobody."""
    for _ in range(100):
        guest.frame({"kind": "probe_down", "size": PROBE_MAX})
    guest.read(1)
    guest.reset()


def test_the_right_to_create_is_needed(serve: Callable[..., Served], raw: Any) -> None:
    """A read-only server takes nothing up, but gives."""
    served = serve(read_only=True)
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "probe_down", "size": 3})
    assert peer.reply() == {"kind": "ok"}
    assert body_read(peer) == [3]
    peer.frame({"kind": "probe_up", "size": 3})
    peer.send(body(3))
    assert refused(peer) == (Code.DENIED, "this server does not let you upload files")


def test_the_right_to_read_is_needed(tmp_path: Path) -> None:
    """Who may only create is given nothing, and can go on."""
    ours, theirs = tcp_pair()
    peer = Raw(ours)
    with Folder(tmp_path) as folder, ours:
        ticket = Admission(Limits()).enter(0)
        session = Session(
            Connection(theirs), Anybody(folder, frozenset({"create"})), "none", ticket
        )
        thread = threading.Thread(target=session.run)
        thread.start()
        peer.greet()
        peer.frame({"kind": "probe_down", "size": 3})
        reply = peer.reply() or {}
        assert (reply["code"], reply["fatal"]) == (Code.DENIED, False)
        peer.frame({"kind": "probe_up", "size": 3})
        peer.send(body(3))
        assert peer.reply() == {"kind": "ok"}
        peer.finish()
        thread.join(SECONDS)


# The client


@pytest.fixture
def connection(served: Served) -> Iterator[Connection]:
    """Open a connection to a server."""
    opened = Door(served.server.host, served.server.port, timeout=SECONDS).open()
    yield opened
    opened.close()


@pytest.mark.parametrize("measure", [probe.up, probe.down])
def test_measuring(connection: Connection, served: Served, measure: Any) -> None:
    """Bytes move for the time that was given; afterwards the connection can be used."""
    span = measure(connection, 0.05, 1 << 32, 0.0)
    assert span.moved > 0
    assert 0 < span.ended - span.began < SECONDS
    assert requests.stat(connection, [""])[""]
    assert tree_state(served.folder) == {}


@pytest.mark.parametrize("measure", [probe.up, probe.down])
@pytest.mark.parametrize("most", [0, 1, probe.FIRST, 10 * probe.FIRST, 1 << 20])
def test_bytes_are_bounded(connection: Connection, measure: Any, most: int) -> None:
    """No more moves than was allowed, besides the first request; however much time there is."""
    before = connection.moved
    span = measure(connection, SECONDS, most, 0.0)
    assert 0 < span.moved <= max(most, probe.FIRST)
    assert connection.moved - before <= max(most, probe.FIRST) + 10_000


def test_no_time(connection: Connection) -> None:
    """Also in no time at all something is measured."""
    assert probe.up(connection, 1e-9, 1 << 30, 0.0).moved > 0


def test_round_trip(connection: Connection) -> None:
    """A round trip takes some time, and not long."""
    assert 0 < probe.round_trip(connection) < SECONDS


def test_round_trip_without_rights(tmp_path: Path) -> None:
    """A refusal is an answer too."""
    ours, theirs = tcp_pair()
    with Folder(tmp_path) as folder:
        ticket = Admission(Limits()).enter(0)
        session = Session(Connection(theirs), Anybody(folder, frozenset()), "none", ticket)
        client = Connection(ours)
        client.post(framed({"kind": "hello", "version": 1}))

        def talk() -> None:
            client.read(State.GREETING)
            assert probe.round_trip(client) > 0
            client.close()

        both(talk, session.run)


def test_rate() -> None:
    """Connections at the same time count from the first beginning to the last end."""
    assert probe.rate([Span(1.0, 3.0, 100)]) == 50
    assert probe.rate([Span(1.0, 3.0, 100), Span(2.0, 5.0, 300)]) == 100
    assert probe.rate([Span(1.0, 1.0, 1)]) > 0


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (framed({"kind": "ok"}) + body(probe.FIRST + 1), "longer than announced"),
        (framed({"kind": "ok"}) + body(probe.FIRST, 1), "longer than announced"),
        (framed({"kind": "ok"}) + body(1), "shorter than announced"),
        (framed({"kind": "ok"}) + struct.pack("!I", HOLE | probe.FIRST), "must not have holes"),
        (framed({"kind": "ok"}) + struct.pack("!I", PART_MAX + 1), "at most"),
        (framed({"kind": "entries", "entries": []}), "the answer is a entries"),
        (framed({"kind": "put"}), "a put message came"),
        (b"\xff" * 100, "a frame's length must be"),
    ],
)
def test_a_server_that_answers_wrongly(answer: bytes, text: str) -> None:
    """What a server sends is checked as what a client sends is."""
    near, far = tcp_pair()
    client, peer = Connection(near, timeout=SECONDS), Raw(far)
    peer.send(answer)
    with pytest.raises(ProtocolError, match=text):
        probe.down(client, 1.0, 1 << 30, 0.0)
    client.close()
    peer.close()


@pytest.mark.parametrize(
    "sent", [b"", framed({"kind": "ok"}), framed({"kind": "ok"}) + body(9)[:7]]
)
def test_a_server_that_hangs_up(sent: bytes) -> None:
    """A connection that ends in the middle is told as that."""
    near, far = tcp_pair()
    client, peer = Connection(near, timeout=SECONDS), Raw(far)
    peer.send(sent)
    peer.finish()
    with pytest.raises(ConnectionLost):
        probe.down(client, 1.0, 1 << 30, 0.0)
    client.close()
    peer.close()
