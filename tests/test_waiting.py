"""Waiting for a socket, while other descriptors are watched."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, tcp_pair

from filexfer import Client, Server, workers
from filexfer.wire.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Pipe = tuple[int, int]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = tcp_pair()
    with near, far:
        yield near, far


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass  # the test has closed it


Pair = tuple[socket.socket, socket.socket]


def test_a_wait_ends_with_the_socket_or_the_time(pair: Pair) -> None:
    """It says which, for reading and for writing."""
    waiting = Waiting(pair[0])
    assert not waiting.wait(reading=True, writing=False, seconds=0.01)
    assert not waiting.wait(reading=False, writing=False, seconds=0.0)
    assert waiting.wait(reading=True, writing=True, seconds=SECONDS)
    pair[1].send(b"x")
    assert waiting.wait(reading=True, writing=False, seconds=SECONDS)
    assert not waiting.wait(reading=False, writing=False, seconds=0.0)


def test_what_is_watched_is_noticed_and_the_wait_goes_on(pair: Pair, pipe: Pipe) -> None:
    """However often it happens, the wait is for the socket."""
    waiting = Waiting(pair[0])
    seen: list[bytes] = []

    def look() -> None:
        seen.append(os.read(pipe[0], 1))
        if len(seen) == 3:
            pair[1].send(b"x")

    waiting.watch(pipe[0], look)
    os.write(pipe[1], b"abcd")
    assert waiting.wait(reading=True, writing=False, seconds=SECONDS)
    assert seen[:3] == [b"a", b"b", b"c"]


def test_what_is_watched_does_not_make_a_wait_longer(pair: Pair, pipe: Pipe) -> None:
    """A connection on which nothing moves times out, whatever happens beside it."""
    waiting = Waiting(pair[0])
    waiting.watch(pipe[0], lambda: time.sleep(0.001))  # it can be read for ever
    os.write(pipe[1], b"x")
    assert not waiting.wait(reading=True, writing=False, seconds=0.05)


def test_the_end_of_a_pipe_is_noticed_on_either_side(pair: Pair, pipe: Pipe) -> None:
    """Also by the side that would write."""
    waiting = Waiting(pair[0])
    read, write = pipe

    def noticed(fd: int) -> None:
        waiting.unwatch(fd)
        pair[1].send(b"x")

    waiting.watch(write, lambda: noticed(write))
    os.close(read)
    assert waiting.wait(reading=True, writing=False, seconds=SECONDS)


def test_what_is_not_watched_any_more_is_not_noticed(pair: Pair, pipe: Pipe) -> None:
    waiting = Waiting(pair[0])
    waiting.watch(pipe[0], lambda: pytest.fail("it is not watched"))
    os.write(pipe[1], b"x")
    waiting.unwatch(pipe[0])
    waiting.unwatch(pipe[0])
    assert not waiting.wait(reading=True, writing=False, seconds=0.01)


# Signals that come just before a wait begins, so that the system does not end it. One that comes
# to another thread is the same, but can be had every time.

SOON = 5.0  # seconds; without a look at signals all waits here take longer


@contextmanager
def signalled(on_signal: Callable[[], object], too_late: Callable[[], object]) -> Iterator[None]:
    """Have a handler called that Python can run only when the main thread looks up.

    If that takes long, *too_late* ends what it waits for.
    """
    handled = threading.Event()

    def handle(*_: object) -> None:
        handled.set()
        on_signal()

    def run() -> None:
        time.sleep(0.1)  # the main thread begins to wait; if it is slow, it looks up all the same
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        if not handled.wait(SOON):
            too_late()

    before = signal.signal(signal.SIGUSR2, handle)
    thread = threading.Thread(target=run)
    try:
        began = time.monotonic()
        thread.start()
        yield
        assert time.monotonic() - began < SOON
    finally:
        thread.join()
        signal.signal(signal.SIGUSR2, before)


def test_a_command_that_waits_looks_up_for_signals() -> None:
    """A handler runs soon, whenever its signal came."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client("127.0.0.1", silent.getsockname()[1], timeout=SECONDS) as client,
        signalled(interrupt, client.interrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        client.stat("")


def test_a_server_that_waits_for_clients_looks_up_for_signals(tmp_path: Path) -> None:
    """It ends by a signal, whenever that came, and not only when the next client comes."""
    server = Server(tmp_path)
    with signalled(server.stop, server.stop):
        workers._serve_here(server, {}, None)


def test_a_signal_by_itself_does_not_end_a_server(tmp_path: Path) -> None:
    """Only its handler decides."""
    server = Server(tmp_path)
    address = (server.host, server.port)
    handled: list[bool] = []

    def ask() -> None:
        handled.append(True)
        threading.Thread(target=stop_after_a_client).start()

    def stop_after_a_client() -> None:
        with Client(*address, timeout=SECONDS) as client:
            assert client.stat("")
        server.stop()

    with signalled(ask, server.stop):
        workers._serve_here(server, {}, None)
    assert handled


def test_the_look_at_signals_makes_no_wait_shorter(pair: Pair) -> None:
    """It takes as long as it was told to."""
    waiting = Waiting(pair[0])
    waiting.longest = 0.01
    began = time.monotonic()
    assert not waiting.wait(reading=True, writing=False, seconds=0.05)
    assert time.monotonic() - began >= 0.05
