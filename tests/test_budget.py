"""The budget of a rate: its arithmetic, and that processes and threads share it."""

from __future__ import annotations

import heapq
import math
import subprocess
import sys
import threading

import pytest
from test_cli_process import SECONDS, environment

from filexfer import UsageError
from filexfer.wire.budget import CREDIT, LEAST, PIECE_LEAST, PIECE_MOST, Budget, Limit
from filexfer.wire.connection import LEAST_RATE


class Clock:
    """A clock that only the test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Arithmetic


def test_each_piece_is_waited_for() -> None:
    """After the credit of a tenth of a second, every byte costs its share of a second."""
    clock = Clock()
    budget = Budget(1000, clock)
    assert budget.spend(100) == pytest.approx(1000.1 - CREDIT)
    assert budget.spend(100) == pytest.approx(1000.2 - CREDIT)
    clock.now = 1000.15
    assert budget.spend(1) == pytest.approx(1000.201 - CREDIT)


def test_idle_time_is_not_saved_up() -> None:
    """After an hour of silence there is no more credit than at the beginning."""
    clock = Clock()
    budget = Budget(1000, clock)
    budget.spend(100)
    clock.now += 3600
    assert budget.spend(100) == pytest.approx(clock.now + 0.1 - CREDIT)


@pytest.mark.parametrize("late", [0.0, 0.001, 0.05])
@pytest.mark.parametrize("movers", [1, 3, 20])
@pytest.mark.parametrize("rate", [10_000, 1e6, 20e6, 200e6])
def test_many_movers(rate: float, movers: int, late: float) -> None:
    """However many move, and however late each wakes up: the sum is exact, and smooth."""
    clock = Clock()
    budget, piece = Budget(rate, clock), Limit(rate).piece
    due = [(clock.now, number) for number in range(movers)]
    moved = [(clock.now, 0.0)]
    while clock.now < 1010:
        at, number = heapq.heappop(due)
        clock.now = max(clock.now, at)
        moved.append((clock.now, moved[-1][1] + piece))
        free = budget.spend(piece)
        heapq.heappush(due, (free + late if free > clock.now else clock.now, number))
    burst = rate * CREDIT + movers * piece
    for at, size in moved:
        assert size <= rate * (at - 1000) + burst + 1
    assert moved[-1][1] >= rate * (clock.now - 1000) * 0.99


@pytest.mark.parametrize(
    ("rate", "piece"),
    [
        (LEAST, PIECE_LEAST),
        (10_240, PIECE_LEAST),
        (1_000_000, 20_000),
        (20_000_000, 400_000),
        (1_000_000_000, PIECE_MOST),
        (1e30, PIECE_MOST),
    ],
)
def test_pieces(rate: float, piece: int) -> None:
    """What moves at once is a fiftieth of a second, but neither a few bytes nor many megabytes."""
    assert Limit(rate).piece == piece


@pytest.mark.parametrize("rate", [0, -1, LEAST - 1, math.nan, math.inf])
def test_wrong_limits(rate: float) -> None:
    """A rate that is no number, or on which no connection could live, is refused."""
    with pytest.raises(UsageError, match="at least 2048 bytes per second, not"):
        Limit(rate)
    assert LEAST == 2 * LEAST_RATE


def test_a_limit_for_several_connections() -> None:
    """Several connections need as much each."""
    Limit(LEAST * 3).check(3)
    with pytest.raises(UsageError, match="at least 8192 bytes per second for 4 connections"):
        Limit(LEAST * 3).check(4)


# Sharing


def test_threads_share_it() -> None:
    """No byte that a thread has moved is lost when others move some at the same time."""
    budget = Budget(1.0, Clock())

    def spend() -> None:
        for _ in range(2000):
            budget.spend(1)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert budget.spend(0) == pytest.approx(1000 - CREDIT + 8000)


def script(text: str) -> str:
    """Run a program, which may fork as no test may, and return what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", text],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return result.stdout


def test_processes_share_it() -> None:
    """No byte that a process has moved is lost either."""
    printed = script("""
import os
from filexfer.wire.budget import Budget

budget = Budget(1.0, lambda: 1000.0)
children = []
for _ in range(4):
    pid = os.fork()
    if not pid:
        for _ in range(2000):
            budget.spend(1)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
print(budget.spend(0))
""")
    assert float(printed) == pytest.approx(1000 - CREDIT + 8000)


def test_a_killed_process_holds_up_nobody() -> None:
    """The lock of a process that is killed is free at once, also for who waits for it already."""
    printed = script("""
import fcntl, os, signal, threading
from filexfer.wire.budget import Budget

budget = Budget(1000)
ready, told = os.pipe()
pid = os.fork()
if not pid:
    fcntl.lockf(budget._file, fcntl.LOCK_EX)
    os.write(told, b"x")
    signal.pause()
os.read(ready, 1)
thread = threading.Thread(target=budget.spend, args=(1,))
thread.start()
thread.join(0.1)
print(thread.is_alive())
os.kill(pid, signal.SIGKILL)
thread.join()
print(thread.is_alive())
""")
    assert printed.split() == ["True", "False"]


def test_a_fork_holds_no_lock() -> None:
    """A process that is forked while its parent holds the lock waits for it as others do."""
    printed = script("""
import fcntl, os
from filexfer.wire.budget import Budget

budget = Budget(1000)
fcntl.lockf(budget._file, fcntl.LOCK_EX)
ready, told = os.pipe()
pid = os.fork()
if not pid:
    try:
        fcntl.lockf(budget._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.write(told, b"locked")
    os._exit(0)
print(os.read(ready, 10))
os.waitpid(pid, 0)
""")
    assert printed == "b'locked'\n"


def test_without_memory_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has no files in memory, one without a name does."""
    monkeypatch.delattr("os.memfd_create", raising=False)
    budget = Budget(1000, Clock())
    assert budget.spend(100) == pytest.approx(1000.1 - CREDIT)
