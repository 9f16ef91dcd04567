"""Connections with a limit: what waits, what does not, and how such a wait ends."""

from __future__ import annotations

import random
import socket
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, Raw, both, framed, tcp_pair, wait_noticed

from filexfer.errors import ConnectionLost, RefusedError, TimedOut
from filexfer.wire import protocol
from filexfer.wire.budget import CREDIT, LEAST, PIECE_LEAST, Limit
from filexfer.wire.connection import Connection
from filexfer.wire.paced import PacedConnection
from filexfer.wire.protocol import State

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from contextlib import ExitStack

    Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
    Pair = Callable[..., tuple[PacedConnection, Connection]]

LONG = 100_000  # bytes that take longer than any test at the least rate


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def pair(
    request: pytest.FixtureRequest, cleanup: ExitStack, tls_contexts: Contexts
) -> Callable[..., tuple[PacedConnection, Connection]]:
    """Return a function that connects a limited client to a server that is not."""

    def connect(rate: float, timeout: float = SECONDS) -> tuple[PacedConnection, Connection]:
        near, far = tcp_pair()
        contexts = tls_contexts if request.param else (None, None)
        client = PacedConnection(
            near, Limit(1e9), timeout=timeout, tls=contexts[0], hostname="127.0.0.1"
        )
        server = Connection(far, timeout=timeout, tls=contexts[1], server_side=True)
        cleanup.callback(client.close)
        cleanup.callback(server.close)
        both(client.handshake, server.handshake)
        client._paced._limit = Limit(rate)  # not for the handshake, which is no small matter
        return client, server

    return connect


@pytest.mark.parametrize("way", ["send", "receive"])
def test_the_rate(pair: Pair, way: str) -> None:
    """Either direction takes its time, and every byte arrives as it was."""
    client, server = pair(2_000_000)
    data = random.Random(1).randbytes(600_000)
    sender, receiver = (client, server) if way == "send" else (server, client)
    into = memoryview(bytearray(len(data)))
    began = monotonic()
    sender.post(data)
    both(sender.flush, lambda: receiver.body_into(into))
    assert into == data
    assert monotonic() - began >= (0.3 - CREDIT) * 0.9


def test_frames_and_bodies(pair: Pair) -> None:
    """Through the connection's own buffer it is the same."""
    client, server = pair(200_000)
    body = random.Random(2).randbytes(30_000)
    for sender in (client, server):
        sender.send(protocol.Folder(name="a"))
        sender.post(body)
        sender.send(protocol.End())

    def read(connection: Connection) -> None:
        assert connection.read(State.TAKING) == protocol.Folder(name="a")
        assert connection.body(len(body)) == body
        assert connection.read(State.TAKING) == protocol.End()

    both(lambda: read(client), lambda: read(server))


class CameError(Exception):
    """Something came in."""


def test_the_other_direction_goes_on(pair: Pair) -> None:
    """While nothing may be sent, what comes is taken in."""
    client, server = pair(LEAST)

    def take() -> None:
        raise CameError

    client.on_input = take
    client.post(bytes(LONG))
    server.send(protocol.Ok())
    server.flush()
    with pytest.raises(CameError):
        client.flush()
    assert client.message(State.ANSWERING) == protocol.Ok()


def test_answers_go_out_while_nothing_may_come_in(pair: Pair) -> None:
    """While nothing may be received, what is queued is sent."""
    client, server = pair(LEAST)
    for _ in range(6):
        server.post(bytes(PIECE_LEAST))
        server.flush()
    assert len(client.body(1)) == 1  # more than the credit has come in
    client.send(protocol.Ok())
    came: list[object] = []
    both(lambda: client.body(4 * PIECE_LEAST), lambda: came.append(server.read(State.ANSWERING)))
    assert came == [protocol.Ok()]


def test_own_waits_are_nobodys_fault(pair: Pair) -> None:
    """A wait for the own limit may be longer than the time-out, and is no slowness of others."""
    client, server = pair(PIECE_LEAST * 10, timeout=0.08)
    server.post(bytes(5 * PIECE_LEAST))
    server.flush()
    before = client._pace.waited  # in the handshake
    client.body_into(memoryview(bytearray(5 * PIECE_LEAST)))  # takes half a second, less the credit
    assert client._pace.waited - before < 0.2
    with pytest.raises(TimedOut, match="nothing moved"):
        client.body_into(memoryview(bytearray(5 * PIECE_LEAST)))


def test_a_wait_has_its_patience(pair: Pair) -> None:
    """A wait that shall be short is no longer because of the limit."""
    client, server = pair(LEAST)
    server.post(bytes(2 * PIECE_LEAST))
    server.flush()
    assert client.fill()
    began = monotonic()
    while client.fill(patience=0.01):
        pass
    assert monotonic() - began < SECONDS / 2


@pytest.mark.parametrize("may", [True, False])
def test_a_slow_receiver_says_that_it_is_there(
    pair: Pair, may: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other side, whose bytes are not taken for long, hears that somebody is there."""
    monkeypatch.setattr(protocol, "ALIVE_EVERY", 0.05)
    client, server = pair(8 * LEAST)
    client.may_say_alive = may
    server.timeout = SECONDS / 4 if may else 0.5
    server.post(bytes(32 << 20))  # more than any buffer on the way holds
    alive: list[object] = []

    def take() -> None:
        while message := server.message(State.GIVING):
            alive.append(message)
        if len(alive) > 12:
            raise CameError

    server.on_input = take

    def receive() -> None:
        with pytest.raises(ConnectionLost):
            client.body_into(memoryview(bytearray(32 << 20)))

    def send() -> None:
        with pytest.raises(CameError if may else TimedOut):
            server.flush()
        client.interrupt()

    both(receive, send)
    assert all(type(each) is protocol.Alive for each in alive)
    assert bool(alive) == may


@pytest.mark.parametrize("waiting", ["send", "receive"])
@pytest.mark.parametrize("by", ["own", "other"])
def test_the_end_ends_a_wait(pair: Pair, waiting: str, by: str) -> None:
    """Whoever ends the connection: a wait for the limit ends at once."""
    client, server = pair(LEAST)
    began = wait_noticed(client)

    def stay() -> None:
        into = memoryview(bytearray(LONG))
        if waiting == "send":
            client.post(into)
        with pytest.raises(ConnectionLost):
            client.flush() if waiting == "send" else client.body_into(into)

    def end() -> None:
        if waiting == "receive":
            server.post(bytes(LONG // 2))
            server.flush()
        assert began.wait(SECONDS)
        if by == "own":
            client.interrupt()
        else:
            Raw(server._sock).reset()

    both(stay, end)


def test_last_words(cleanup: ExitStack) -> None:
    """Why the other side went is learned although nothing may be received for a while."""
    near, far = tcp_pair()
    peer, client = Raw(near), PacedConnection(far, Limit(LEAST), timeout=SECONDS)
    cleanup.callback(client.close)
    error = framed({"kind": "error", "code": "denied", "text": "because I say so"})
    peer.send(framed({"kind": "alive"}) * 500 + error)
    assert client.fill()
    peer.reset()
    client.post(bytes(LONG))
    with pytest.raises(RefusedError, match="because I say so"):
        client.flush()


def test_a_socket_of_any_kind_will_do() -> None:
    """A limit needs no TCP, and one of a gigabyte is no hindrance."""
    one, other = (PacedConnection(sock, Limit(1e9)) for sock in socket.socketpair())
    one.send(protocol.End())
    one.flush()
    assert other.read(State.IDLE) == protocol.End()
    one.close()
    other.close()
