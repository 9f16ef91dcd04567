"""What many clients see of the same names, through cuts: as if one did it after the other."""

from __future__ import annotations

import os
import random
import threading
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from chaos import DOWN, UP, Chaos, Fault
from conftest import SECONDS, Served, leftovers
from history import READ, WRITE, History, Operation, is_linearizable

from filexfer import Client, ConnectionLost, FileError, NetworkError, Options
from filexfer.errors import Code
from filexfer.wire.protocol import PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("no_leftovers")

NAMES = ("a", "b", "d/c")
TIME = 1_700_000_000 * 10**9
SECOND = 10**9
FORCE = Options(if_exists="overwrite", durability="none", retries=0, jobs=1)


# The checker


def operations(*rows: tuple[str, object, float, float]) -> list[Operation]:
    return [Operation(*row) for row in rows]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(READ, None, 0, 1)],
        [(WRITE, 1, 0, 1), (READ, 1, 2, 3)],
        [(WRITE, 1, 0, 9), (READ, 1, 1, 2), (READ, 1, 3, 4)],
        [(WRITE, 1, 0, 9), (READ, None, 1, 2), (READ, 1, 3, 4)],
        [(WRITE, 1, 0, 5), (WRITE, 2, 0, 5), (READ, 1, 6, 7)],
        [(WRITE, 1, 0, inf), (READ, None, 1, 2), (READ, 1, 50, 60)],
        [(WRITE, 1, 0, inf), (WRITE, 2, 1, 2), (READ, 2, 3, 4), (READ, 1, 5, 6)],
        [(WRITE, 1, 0, inf)],
        [(WRITE, 1, 0, 1), (WRITE, None, 2, 3), (READ, None, 4, 5)],
    ],
)
def test_histories_that_can_be(rows: list[tuple[str, object, float, float]]) -> None:
    """An order explains them."""
    assert is_linearizable(operations(*rows))


@pytest.mark.parametrize(
    "rows",
    [
        [(READ, 1, 0, 1)],
        [(WRITE, 1, 0, 1), (READ, None, 2, 3)],
        [(READ, 1, 0, 1), (WRITE, 1, 2, 3)],
        [(WRITE, 1, 0, 1), (WRITE, 2, 2, 3), (READ, 1, 4, 5)],
        [(WRITE, 1, 0, 9), (READ, 1, 1, 2), (READ, None, 3, 4)],
        [(WRITE, 1, 0, 5), (WRITE, 2, 0, 5), (READ, 1, 6, 7), (READ, 2, 8, 9)],
        [(WRITE, 1, 0, inf), (READ, 1, 1, 2), (READ, None, 3, 4)],
        [(WRITE, 1, 0, 1), (WRITE, None, 2, 3), (READ, 1, 4, 5)],
    ],
)
def test_histories_that_cannot_be(rows: list[tuple[str, object, float, float]]) -> None:
    """No order does."""
    assert not is_linearizable(operations(*rows))


# The servers


class Actor:
    """One client, which does one thing after the other, with a connection of its own for each."""

    def __init__(self, seed: int, served: Served, history: History, top: Path) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._history = history
        self._top = top
        self._count = 0
        self.failures: list[BaseException] = []
        self.chaos = Chaos(served.server.port)

    def run(self, turns: int) -> None:
        try:
            for _ in range(turns):
                self._act()
        except BaseException as error:  # noqa: BLE001 - raised by the test
            self.failures.append(error)

    def _act(self) -> None:
        how = self._random.choice(["none", "none", "reset", "finish"])
        if how != "none":
            way, at = self._random.choice((UP, DOWN)), self._random.randint(0, 600)
            self.chaos.plan(Fault(how, way, at))
        name = self._random.choice(NAMES)
        with Client("127.0.0.1", self.chaos.port, timeout=SECONDS) as client:
            self._random.choice([self._put, self._put, self._get, self._get, self._remove])(
                client, name
            )
        self.chaos.plan()

    def _put(self, client: Client, name: str) -> None:
        self._count += 1
        value = (self._seed, self._count)
        source = self._top / f"put-{self._seed}-{self._count}"
        size = 100 if self._random.random() < 0.7 else PLAIN_MAX + 100
        source.write_bytes(repr(value).encode().ljust(size))
        time = TIME + (self._seed * 1000 + self._count) * 3 * SECOND
        os.utime(source, ns=(time, time))
        began = monotonic()
        try:
            report = client.put([source], name, FORCE)
        except NetworkError:
            self._history.note(name, WRITE, value, began, known=False)
        else:
            assert (report.files, report.failed) == (1, 0), [str(e) for e in report.failures]
            self._history.note(name, WRITE, value, began, known=True)

    def _get(self, client: Client, name: str) -> None:
        self._count += 1
        target = self._top / f"got-{self._seed}-{self._count}"
        began = monotonic()
        try:
            report = client.get([name], target, FORCE)
        except NetworkError:
            return  # it has changed nothing
        if report.files:
            value = eval(target.read_bytes())
            self._history.note(name, READ, value, began, known=True)
        else:
            (failure,) = report.failures
            assert failure.code in (Code.NOT_FOUND, Code.CHANGED), failure
            if failure.code == Code.NOT_FOUND:
                self._history.note(name, READ, None, began, known=True)

    def _remove(self, client: Client, name: str) -> None:
        began = monotonic()
        try:
            client.remove(name)
        except ConnectionLost:
            self._history.note(name, WRITE, None, began, known=False)
        except FileError as error:
            if error.code != Code.NOT_FOUND:
                raise
            # An earlier try of the same removal may have done it.
            self._history.note(name, WRITE, None, began, known=False)
        else:
            self._history.note(name, WRITE, None, began, known=True)


@pytest.mark.case("I10", "I3", "I8")
@pytest.mark.parametrize(
    ("seed", "turns"),
    [(1, 10), *(pytest.param(seed, 30, marks=pytest.mark.slow) for seed in range(2, 32))],
)
def test_an_order_explains_what_clients_see(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, turns: int
) -> None:
    """8 clients put, get and remove 3 names at two servers of one folder, and are cut meanwhile."""
    monkeypatch.setattr("filexfer.wire.dial.FIRST_PAUSE", 0.001)
    two = [serve(allow=["overwrite", "delete"]) for _ in range(2)]
    (two[0].folder / "d").mkdir()
    history = History()
    actors = [Actor(100 * seed + n, two[n % 2], history, tmp_path) for n in range(8)]
    threads = [threading.Thread(target=actor.run, args=(turns,)) for actor in actors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for actor in actors:
        actor.chaos.close()
        assert actor.failures == []
    for served in two:
        served.wait()
    with Client("127.0.0.1", two[0].server.port, timeout=SECONDS) as client:
        for name in NAMES:
            began = monotonic()
            report = client.get([name], tmp_path / f"last-{name[-1]}", FORCE)
            value = eval((tmp_path / f"last-{name[-1]}").read_bytes()) if report.files else None
            history.note(name, READ, value, began, known=True)
    for name, done in history.of.items():
        assert is_linearizable(done), (name, sorted(done, key=lambda each: each.began))
    assert leftovers(two[0].folder) == []
