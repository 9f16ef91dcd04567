"""New folders are hidden until what was written in them may be seen."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from filexfer.entry import FILE, FOLDER, Entry
from filexfer.storage import system
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Choice, Policy
from filexfer.storage.publishing import Publisher
from filexfer.storage.staging import Staging

if TYPE_CHECKING:
    from pathlib import Path

    from filexfer.storage.contract import Item
    from filexfer.storage.staged import Result

pytestmark = pytest.mark.skipif(
    not system.has_file_system_flush(), reason="only where a whole file system can be flushed"
)


class Exchange:
    """A staging and its publisher, with what was settled."""

    def __init__(self, folder: Folder) -> None:
        self.staging = Staging(folder, Policy(), "batch")
        self.settled: dict[str, Result] = {}
        self.publisher = Publisher(self.staging, self._settle, lambda: None)

    def _settle(self, settled: list[tuple[Item, Result]]) -> None:
        self.settled.update((item.entry.name, result) for item, result in settled)

    def folder(self, name: str) -> None:
        item = self.staging.make_folder(Entry(name, FOLDER, 0, 1_000_000_000, 0o750))
        self.publisher.add(item)

    def file(self, name: str, data: bytes = b"data") -> None:
        entry = Entry(name, FILE, len(data), 2_000_000_000, 0o644, "xxh3_128:" + 32 * "0")
        self.publisher.add(self.staging.small(entry, memoryview(data)))

    def finish(self) -> None:
        self.publisher.finish()
        self.staging.__exit__()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


def visible(root: Path) -> list[str]:
    return sorted(name for name in os.listdir(root) if not name.startswith(".fx-"))


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(".fx-")]


def test_a_new_folder_appears_with_its_files(root: Path) -> None:
    """Nobody sees the folder before its group is flushed; then all of it is there."""
    with Folder(root) as folder:
        one = Exchange(folder)
        one.folder("d")
        for number in range(5):
            one.file(f"d/{number}")
        one.folder("d/e")
        one.file("d/e/f")
        assert visible(root) == []
        one.finish()
    assert visible(root) == ["d"]
    assert sorted(os.listdir(root / "d")) == ["0", "1", "2", "3", "4", "e"]
    assert (root / "d" / "e" / "f").read_bytes() == b"data"
    assert (root / "d").stat().st_mtime_ns == 1_000_000_000
    assert leftovers(root) == []


def test_names_wait_for_the_flush(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a group is being flushed its folder is hidden, and so is what comes meanwhile."""
    may_end, began = threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def flush(_: int) -> bool:
        seen.append(visible(root))
        began.set()
        assert may_end.wait(20)
        return True

    monkeypatch.setattr(system, "flush_file_system", flush)
    with Folder(root) as folder:
        one = Exchange(folder)
        one.folder("d")
        one.file("d/first")
        one.publisher.advance(close_group=True)
        assert began.wait(20)
        one.file("d/second")  # of the next group: must not appear with the first
        assert "second" not in {path.name for path in root.rglob("*")}
        may_end.set()
        one.publisher.advance(wait=True)
        assert [path.name for path in (root / "d").iterdir() if path.name[0] != "."] == ["first"]
        one.finish()
    assert sorted(os.listdir(root / "d")) == ["first", "second"]
    assert seen[0] == []
    assert leftovers(root) == []


def test_two_that_make_the_same_folder_are_merged(root: Path) -> None:
    """Each file of both is there once, and a name that both have goes to the first."""
    with Folder(root) as folder:
        one, other = Exchange(folder), Exchange(folder)
        for exchange, text in ((one, b"one"), (other, b"two")):
            exchange.folder("d")
            exchange.file("d/both", text)
            exchange.file(f"d/{text.decode()}", text)
            exchange.folder("d/e")
            exchange.file(f"d/e/{text.decode()}", text)
        one.finish()
        other.finish()
    assert sorted(os.listdir(root / "d")) == ["both", "e", "one", "two"]
    assert sorted(os.listdir(root / "d" / "e")) == ["one", "two"]
    assert (root / "d" / "both").read_bytes() == b"one"
    assert other.settled["d/both"].choice is Choice.REFUSE
    assert other.settled["d/two"].choice is Choice.TAKE
    assert leftovers(root) == []


def test_a_file_took_the_name(root: Path) -> None:
    """What was to lie in the folder fails, and nothing of it is left."""
    with Folder(root) as folder:
        one = Exchange(folder)
        one.folder("d")
        one.file("d/f")
        (root / "d").write_bytes(b"mine")
        one.finish()
    assert one.settled["d/f"].choice is Choice.REFUSE
    assert (root / "d").read_bytes() == b"mine"
    assert leftovers(root) == []


def test_a_dead_exchange_leaves_nothing_for_long(root: Path) -> None:
    """A hidden folder that nobody has a claim on is removed by the next who writes there."""
    dead = root / ".fx-0123456789abcdef0123456789abcdef.part"
    (dead / "e").mkdir(parents=True)
    (dead / "e" / "f").write_bytes(b"half")
    with Folder(root) as folder:
        one = Exchange(folder)
        one.file("g")
        one.finish()
    assert os.listdir(root) == ["g"]


def test_the_same_name_twice(root: Path) -> None:
    """The second of two in a hidden folder is held against the first when both are published."""
    with Folder(root) as folder:
        one = Exchange(folder)
        one.folder("d")
        one.file("d/f", b"first")
        one.file("d/f", b"other")
        one.finish()
    assert (root / "d" / "f").read_bytes() == b"first"
    assert one.settled["d/f"].choice is Choice.REFUSE
    assert leftovers(root) == []
