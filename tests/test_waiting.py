"""Waiting for a socket, while other descriptors are watched."""

from __future__ import annotations

import os
import socket
import time
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, tcp_pair

from filexfer.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

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
