"""Files that never stand still while they are sent: what arrives is of one moment, or is told.

Somebody replaces, shortens, lengthens, removes and hides files, and puts pipes and links in their
places, for a budget of time, ``FILEXFER_RACE_SECONDS``. Each file of the source consists of one
block again and again, and each new file has another block, so a file put together from two shows.
"""

from __future__ import annotations

import os
import random
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Served, leftovers, tree_state
from test_transfer import Route

from filexfer import FilexferError, Report
from filexfer.errors import Code
from filexfer.shared import pieces
from filexfer.wire.protocol import PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Served]

SECONDS = float(os.environ.get("FILEXFER_RACE_SECONDS", "0.2"))
LONG = float(os.environ.get("FILEXFER_RACE_SECONDS", "2"))
BLOCK = 16
LARGE = 64 << 10  # from here on files move in pieces, where they may
SIZES = [1, 100, 4096, LARGE - 1, LARGE, 3 * LARGE + 5, PLAIN_MAX + 1, 3 * PLAIN_MAX]
HOWS: dict[str, dict[str, Any]] = {
    "one connection": {"jobs": 1},
    "several connections": {"jobs": 3, "pieces": False},
    "pieces": {"jobs": 3, "pieces": True},
}
HARD: dict[str, Any] = {"if_exists": "overwrite", "retries": 0}
REASONS = {
    *(Code.CHANGED, Code.NOT_FOUND, Code.NOT_REGULAR, Code.UNREADABLE, Code.HASH_MISMATCH),
    *(Code.NOT_A_FOLDER, Code.ABORTED, Code.SIZE_MISMATCH),
}


class Restless:
    """A tree, and a thread that changes it; like every hand, it can be stopped."""

    def __init__(self, top: Path, secret: Path) -> None:
        self._secret = secret
        self._random = random.Random(1)
        self._aside = top.with_name(top.name + "-aside")
        self._aside.mkdir()
        self._versions = iter(range(1, 1 << 60))
        self.paths = [
            top / f"{number % 3}" / f"{number}-{size}"
            for number, size in enumerate(SIZES + SIZES[4:])
        ]
        self.changes = 0
        for path in self.paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._replace(path)

    def _replace(self, path: Path) -> None:
        size = int(path.name.partition("-")[2])
        other = self._aside / path.name
        other.write_bytes(
            (next(self._versions).to_bytes(BLOCK, "big") * (size // BLOCK + 1))[:size]
        )
        other.rename(path)

    def _shorten(self, path: Path) -> None:
        os.truncate(path, path.stat().st_size // 2)

    def _lengthen(self, path: Path) -> None:
        with open(path, "r+b") as file:
            block = file.read(BLOCK)
            end = file.seek(0, os.SEEK_END)
            if len(block) == BLOCK:
                file.write((block * 300)[end % BLOCK :])

    def _remove(self, path: Path) -> None:
        path.unlink()

    def _hide(self, path: Path) -> None:
        path.rename(self._aside / "hidden")

    def _pipe(self, path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def _link(self, path: Path) -> None:
        path.unlink()
        path.symlink_to(self._secret)

    def change(self) -> None:
        """Change one file, and now and then mend what is gone."""
        path = self._random.choice(self.paths)
        plain = [*[self._replace] * 6, self._shorten, self._lengthen]
        gone = [self._remove, self._hide, self._pipe, self._link]
        try:
            self._random.choice(plain + gone)(path)
        except OSError:
            self.mend(path)
        if path.is_fifo() or path.is_symlink() or self._random.random() < 0.5:
            self.mend(path)
        self.changes += 1

    def mend(self, path: Path) -> None:
        """Let there be a file of that name."""
        self._replace(path)

    @contextmanager
    def restless(self) -> Iterator[None]:
        """Change something all the time, and leave a whole tree in the end."""
        over = threading.Event()

        def run() -> None:
            while not over.is_set():
                self.change()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            for path in self.paths:
                self.mend(path)


def are_of_one_moment(top: Path) -> None:
    """Check that no file is put together from two, and that nothing else became a file."""
    for name, (kind, _, _, data) in tree_state(top).items():
        assert kind in ("file", "folder"), name
        if kind == "file":
            assert isinstance(data, bytes)
            whole = (data[:BLOCK] * (len(data) // BLOCK + 1))[: len(data)]
            assert data == whole, f"{name} is of two moments"


def storm(route: Route, canary: Path, seconds: float, how: dict[str, Any]) -> None:
    tree = Restless(route.source / "tree", canary / "precious")
    until = monotonic() + seconds
    turns = moved = 0
    with tree.restless():
        while monotonic() < until or not (moved and tree.changes):
            report = Report()
            try:
                route.send("tree", to=f"{turns % 2}/", report=report, **HARD, **how)
            except FilexferError as error:  # of a whole command nothing here is a reason
                raise AssertionError(f"{error!r} ended it") from error
            assert {error.code for error in report.failures} <= REASONS, report.failures
            moved += report.files
            turns += 1
    are_of_one_moment(route.target)
    assert route.send("tree", to="0/", **HARD, **how).failed == 0
    mine = {name: entry[3] for name, entry in tree_state(route.source / "tree").items()}
    found = {name: entry[3] for name, entry in tree_state(route.target / "0" / "tree").items()}
    assert {name: found[name] for name in mine} == mine
    assert leftovers(route.target) == []


@pytest.fixture(params=["up", "down"])
def route(
    request: pytest.FixtureRequest,
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_leftovers: None,
) -> Route:
    del no_leftovers
    monkeypatch.setattr(pieces, "LEAST", LARGE)
    monkeypatch.setattr(pieces, "PIECE_MOST", LARGE // 4)
    monkeypatch.setattr(pieces, "PIECE_LEAST", LARGE // 16)
    return Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")


@pytest.mark.case("D5", "D9", "D10", "D11", "D12")
@pytest.mark.parametrize("how", HOWS)
def test_files_that_never_stand_still(route: Route, canary: Path, how: str) -> None:
    """Each file that arrives is of one moment, each other is told, and in the end all is there."""
    storm(route, canary, SECONDS, HOWS[how])


@pytest.mark.slow
@pytest.mark.case("D5", "D9", "D10", "D11", "D12")
@pytest.mark.parametrize("how", HOWS)
def test_files_that_do_not_stand_still_for_long(route: Route, canary: Path, how: str) -> None:
    """The same for longer."""
    storm(route, canary, LONG, HOWS[how])
