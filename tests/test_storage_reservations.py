"""Space that is promised to files under way."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from filexfer.storage import reservations
from filexfer.storage.reservations import Reservations

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_promises_add_up_and_are_given_back() -> None:
    ledger = Reservations()
    assert ledger.total() == 0
    ledger.add(1000)
    ledger.add(2**40)
    assert ledger.total() == 2**40 + 1000
    ledger.add(-(2**40))
    ledger.add(-1000)
    assert ledger.total() == 0


def test_no_more_is_given_back_than_was_promised() -> None:
    ledger = Reservations()
    ledger.add(10)
    ledger.add(-11)
    assert ledger.total() == 0


def test_many_threads_lose_no_count() -> None:
    ledger = Reservations()

    def work() -> None:
        for _ in range(500):
            ledger.add(3)
            ledger.add(-2)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.total() == 8 * 500


def in_a_child(ledger: Reservations, slot: int, *sizes: int) -> int:
    """Promise space in a forked process, which ends then; return its exit code."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            ledger.use_slot(slot)
            for size in sizes:
                ledger.add(size)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_workers_count_together() -> None:
    ledger = Reservations()
    ledger.share()
    assert in_a_child(ledger, 0, 100, -30) == 0
    assert in_a_child(ledger, 1, 5) == 0
    assert ledger.total() == 75


def test_what_a_dead_worker_promised_is_dropped_by_its_successor() -> None:
    ledger = Reservations()
    ledger.share()
    assert in_a_child(ledger, 3, 100) == 0
    assert ledger.total() == 100
    assert in_a_child(ledger, 3) == 0
    assert ledger.total() == 0


def test_without_sharing_a_child_counts_for_itself() -> None:
    ledger = Reservations()
    assert in_a_child(ledger, 0, 100) == 0
    assert ledger.total() == 0


def test_the_free_bytes_are_those_an_ordinary_user_may_have(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    found = os.fstatvfs(fd)
    free = reservations.free_bytes(fd)
    os.close(fd)
    assert 0 <= free <= found.f_blocks * found.f_frsize


def test_a_file_system_that_says_nothing_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network and user-space file systems answer with zeros; none is at hand."""
    fd = os.open("/proc/self", os.O_RDONLY) if os.path.isdir("/proc/self") else -1
    if fd >= 0:
        assert reservations.free_bytes(fd) == 2**63
        os.close(fd)
    assert reservations.free_bytes(-1) == 2**63
