"""Who may come in: connections counted over several processes, and addresses that count as one."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS

from filexfer import Limits, RefusedError
from filexfer.errors import Code
from filexfer.security.access import Grant
from filexfer.serving import admission as module
from filexfer.serving.admission import Admission, Ticket, source_of

if TYPE_CHECKING:
    from collections.abc import Callable


NOWHERE: Any = None  # nothing is stored


class Guests:
    """Knows tokens that begin with a known name."""

    def admit(self, token: str) -> Grant:
        """Return a grant in the name of the token."""
        if token.startswith("wrong"):
            raise RefusedError(Code.AUTH_FAILED, "nobody known")
        return Grant(NOWHERE, frozenset(), token)


guests: Any = Guests()


def refused(call: Callable[[], object]) -> str:
    """Check that it is refused for want of room, and return why."""
    with pytest.raises(RefusedError) as caught:
        call()
    assert caught.value.code == Code.BUSY
    return str(caught.value)


# Addresses


@pytest.mark.case("H4")
def test_what_counts_as_one_address() -> None:
    """An IPv4 address in either spelling, or 64 bits of an IPv6 address; and nothing else."""

    def source(address: str) -> int:
        return source_of((address, 50_000))

    assert source("192.0.2.1") == source("::ffff:192.0.2.1") != source("192.0.2.2")
    assert source("2001:db8:0:1::1") == source("2001:db8:0:1:ffff::7")
    assert source("2001:db8:0:1::1") != source("2001:db8:0:2::1")
    assert source("fe80::1%lo") == source("fe80::2") != 0
    assert source("::192.0.2.1") != source("192.0.2.1")
    assert source("ffff:ffff:ffff:ffff::") < 2**64
    assert len({source(f"10.{n >> 8}.{n & 255}.1") for n in range(1000)}) == 1000
    assert 0 < source("255.255.255.255") < source("::2")


@pytest.mark.parametrize(
    "address", [("127.0.0.1", 1), ("127.9.9.9", 1), ("::1", 1, 0, 0), ("::ffff:127.0.0.1", 1), ""]
)
def test_this_machine_has_no_address(address: object) -> None:
    """Its users share the addresses, so nothing is limited for one."""
    assert source_of(address) == 0
    admission = Admission(Limits(per_address=1, unauthenticated_per_address=1))
    assert len([admission.enter(source_of(address)) for _ in range(50)]) == 50


# Counts


def test_connections_in_all() -> None:
    """So many come in and no more, until one leaves; leaving twice is once."""
    admission = Admission(Limits(connections=3))
    tickets = [admission.enter(number) for number in range(3)]
    assert (admission.all, admission.mine, admission.new) == (3, 3, 3)
    assert "too many connections" in refused(lambda: admission.enter(9))
    assert admission.all == 3
    tickets[1].admit(guests, "")
    assert (admission.all, admission.new) == (3, 2)
    tickets[1].leave()
    tickets[1].leave()
    assert (admission.all, admission.new) == (2, 2)
    admission.enter(9).leave()
    for ticket in tickets:
        ticket.leave()
    assert (admission.all, admission.new) == (0, 0)
    assert set(admission._words.tolist()[module._HEAD :]) == {0}


@pytest.mark.case("H4")
def test_connections_of_one_address() -> None:
    """Others come in when one address has as many as it may."""
    admission = Admission(Limits(per_address=2, unauthenticated_per_address=2))
    for _ in range(2):
        admission.enter(7).admit(guests, "")
    assert "from your address" in refused(lambda: admission.enter(7))
    admission.enter(8)


@pytest.mark.case("H4")
def test_new_connections_of_one_address() -> None:
    """They are fewer, and who has said who it is, is none of them any more."""
    admission = Admission(Limits(unauthenticated_per_address=2))
    first = admission.enter(7)
    admission.enter(7)
    refused(lambda: admission.enter(7))
    admission.enter(8)
    first.admit(guests, "")
    admission.enter(7)
    refused(lambda: admission.enter(7))


@pytest.mark.case("H5")
def test_connections_by_one_token() -> None:
    """One too many is told so, and others are not affected; no token is no token."""
    admission = Admission(Limits(per_token=2))
    tickets = [admission.enter(0) for _ in range(6)]
    tickets[0].admit(guests, "a")
    tickets[1].admit(guests, "a")
    tickets[1].admit(guests, "a")  # as plain clients do, with each file
    assert "this token has 2 connections" in refused(lambda: tickets[2].admit(guests, "a"))
    tickets[2].leave()
    tickets[3].admit(guests, "b")
    tickets[4].admit(guests, "")
    tickets[5].admit(guests, "")
    tickets[0].leave()
    admission.enter(0).admit(guests, "a")


def test_who_was_dropped_is_not_admitted() -> None:
    """A connection that had to make room gets no place by speaking too late."""
    admission = Admission(Limits())
    ticket = admission.enter(0)
    assert ticket.is_waiting
    ticket.leave()
    assert not ticket.is_waiting
    refused(lambda: ticket.admit(guests, ""))
    assert (admission.all, admission.new) == (0, 0)


def test_many_threads_lose_no_count() -> None:
    """Connections that come, say who they are and go at the same time add up to nothing."""
    admission = Admission(Limits())

    def work() -> None:
        for number in range(300):
            ticket = admission.enter(number)
            if number % 3:
                ticket.admit(guests, "a")
            ticket.leave()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert (admission.all, admission.new) == (0, 0)
    assert len(admission._free) == len(set(admission._free)) == admission._rows


# Room


def test_room_is_made_at_random_and_then_always(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first number on the oldest has to go more and more often, above the second always."""

    def wanted(chance: float) -> list[bool]:
        monkeypatch.setattr(module, "random", lambda: chance)
        admission = Admission(Limits(unauthenticated=10, early_drop=4))
        found = []
        for _ in range(11):
            admission.enter(0)
            found.append(admission.wants_room())
        return found

    assert wanted(0.0) == [False] * 4 + [True] * 7
    assert wanted(0.5) == [False] * 7 + [True] * 4
    assert wanted(0.999) == [False] * 9 + [True] * 2


def in_a_child(work: Callable[[], object]) -> int:
    """Do it in a forked process; return how that ended."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_processes_count_together() -> None:
    """What one has counts for all; what a dead one leaves is there until its successor comes."""
    admission = Admission(Limits(connections=4, per_address=2, per_token=1, early_drop=1))
    admission.share(3)

    def first() -> None:
        admission.use_slot(0)
        admission.enter(7).admit(guests, "a")
        admission.enter(7)

    def second() -> None:
        admission.use_slot(1)
        assert (admission.all, admission.mine, admission.new) == (2, 0, 1)
        assert "your address" in refused(lambda: admission.enter(7))
        ticket = admission.enter(8)
        assert "token" in refused(lambda: ticket.admit(guests, "a"))
        admission.enter(9)
        assert "too many" in refused(lambda: admission.enter(10))

    assert in_a_child(first) == 0
    assert in_a_child(second) == 0
    assert (admission.all, admission.new) == (4, 2)
    assert in_a_child(lambda: admission.use_slot(0)) == 0
    assert (admission.all, admission.new) == (2, 1)
    admission.use_slot(1)
    assert admission.all == 0
    assert set(admission._words.tolist()) == {0}


def test_the_places_for_new_ones_hold_over_all_processes() -> None:
    """A process that has none but the last comer lets it stay, and the limit is kept all the same."""
    admission = Admission(Limits(unauthenticated=6, early_drop=6))
    admission.share(3)
    admission.use_slot(0)
    mine: list[Ticket] = []
    for _ in range(20):
        mine.append(admission.enter(0))
        if admission.wants_room():
            mine.pop(0).leave()
    assert len(mine) == 4
    for slot in (1, 2):
        admission.use_slot(slot)
        admission.enter(0)
        assert admission.wants_room()  # but there is nobody else here
    assert admission.new == 6


# Penalties


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let time stand still; the one number is it."""
    now = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def fail(admission: Admission, source: int) -> None:
    """Come, show a wrong token and go."""
    ticket = admission.enter(source)
    with pytest.raises(RefusedError, match="nobody known"):
        ticket.admit(guests, "wrong")
    ticket.leave()


def test_wrong_tokens_shut_an_address_out(clock: list[float]) -> None:
    """For 5 seconds, then twice as long each time, up to 10 minutes; nobody else is affected."""
    admission = Admission(Limits())
    expected = [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0]
    for seconds in expected:
        fail(admission, 7)
        assert admission.penalty(7) == pytest.approx(seconds, abs=0.01)
        assert "try again in" in refused(lambda: admission.enter(7))
        admission.enter(8).leave()
        clock[0] += seconds - 0.1
        refused(lambda: admission.enter(7))
        clock[0] += 0.2
        admission.enter(7).leave()
    clock[0] += 700
    fail(admission, 7)
    assert admission.penalty(7) == pytest.approx(5.0, abs=0.01)


def test_penalties_hold_for_all_processes(clock: list[float]) -> None:
    """Wrong tokens count wherever they were shown, also when that process has died."""
    admission = Admission(Limits())
    admission.share(2)

    def first() -> None:
        admission.use_slot(0)
        fail(admission, 7)

    assert in_a_child(first) == 0
    admission.use_slot(1)
    refused(lambda: admission.enter(7))
    clock[0] += 6
    fail(admission, 7)
    assert admission.penalty(7) == pytest.approx(10.0, abs=0.01)
    admission.use_slot(0)
    assert admission.penalty(7) == pytest.approx(10.0, abs=0.01)


def test_no_penalty_on_this_machine() -> None:
    """Nor where it is switched off."""
    admission = Admission(Limits())
    fail(admission, 0)
    admission.enter(0)
    admission = Admission(Limits(penalty=0.0))
    fail(admission, 7)
    admission.enter(7)


def test_more_addresses_than_are_remembered(clock: list[float]) -> None:
    """The memory for wrong tokens is bounded; the one that ends first makes place."""
    admission = Admission(Limits())
    for source in range(1, module._MARKS + 11):
        fail(admission, source)
        clock[0] += 0.001
    assert admission.penalty(5) == 0
    assert admission.penalty(module._MARKS) > 0
    assert admission.penalty(module._MARKS + 10) > 0
