"""Group commit: what is flushed when, what appears when, and what is settled when."""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, leftovers

from filexfer.entry import FOLDER, Entry, entry_of_file, entry_of_link
from filexfer.errors import Code, LocalError
from filexfer.storage import publishing, system
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Choice, Policy
from filexfer.storage.publishing import Publisher
from filexfer.storage.staged import Result
from filexfer.storage.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer.storage.contract import Item

TIME = 1_700_000_000_123_456_789


class Disk:
    """Stands before the system's flushes and renames; keeps the order, and can fail or be slow."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self.flushes = 0
        self.fails_at = 0  # the flush that fails, from 1
        self.may_flush = threading.Event()
        self.may_flush.set()
        self.began = threading.Semaphore(0)
        self._rename = system.rename_exclusive
        monkeypatch.setattr(system, "has_file_system_flush", lambda: True)
        monkeypatch.setattr(system, "flush_file_system", self.flush)
        monkeypatch.setattr(system, "rename_exclusive", self.rename)

    def flush(self, _: int) -> bool:
        self.flushes += 1
        number = self.flushes
        self.began.release()
        assert self.may_flush.wait(SECONDS)
        self.steps.append(f"flush {number}")
        if number == self.fails_at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return True

    def rename(self, folder: int, old: str, new: str, *to: int) -> None:
        self._rename(folder, old, new, *to)
        self.steps.append(f"name {new}")

    def hold(self) -> None:
        """Let flushes begin and not end."""
        self.may_flush.clear()

    def wait_for_flush(self) -> None:
        """Wait until the next flush has begun."""
        assert self.began.acquire(timeout=SECONDS)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Group:
    """A publisher with its staging, and what it settled."""

    def __init__(self, top: Path, durability: str, cleanup: ExitStack, steps: list[str]) -> None:
        folder = cleanup.enter_context(Folder(top))
        self.staging = cleanup.enter_context(Staging(folder, Policy(), durability))
        self.publisher = Publisher(self.staging, self._settle, self._tick)
        self.settled: dict[str, Result] = {}
        self.on_tick: Callable[[], object] = lambda: None
        self.ticks = 0
        self._steps = steps
        self._number = 0

    def _settle(self, settled: list[tuple[Item, Result]]) -> None:
        for item, result in settled:
            self.settled[item.entry.name] = result
            self._steps.append(f"settle {item.entry.name}")

    def _tick(self) -> None:
        self.ticks += 1
        self.on_tick()

    def staged(self, name: str) -> Item:
        self._number += 1
        item = self.staging.small(entry_of_file(name, 4, TIME, 0o644), b"data")
        item.number = self._number
        return item

    def add(self, *names: str) -> None:
        for name in names:
            self.publisher.add(self.staged(name))

    def refused(self) -> dict[str, str]:
        """Return the codes of what failed, by the names in the failures."""
        return {
            found.error.name: found.error.code for found in self.settled.values() if found.error
        }


@pytest.fixture
def group(top: Path, disk: Disk, cleanup: ExitStack) -> Group:
    return Group(top, "batch", cleanup, disk.steps)


def visible(top: Path) -> list[str]:
    return sorted(name for name in os.listdir(top) if not name.startswith(".fx-"))


# The order of things


def test_contents_are_durable_before_names_and_names_before_anything_is_settled(
    group: Group, disk: Disk, top: Path
) -> None:
    group.add("a", "b")
    assert visible(top) == []
    group.publisher.finish()
    assert disk.steps == ["flush 1", "name a", "name b", "flush 2", "settle a", "settle b"]
    assert {result.choice for result in group.settled.values()} == {Choice.TAKE}
    assert visible(top) == ["a", "b"]


def test_one_flush_serves_the_contents_of_a_group_and_the_names_of_the_one_before(
    group: Group, disk: Disk
) -> None:
    for names in (("a", "b"), ("c",), ("d",)):
        group.add(*names)
        group.publisher.advance(close_group=True, wait=True)
    group.publisher.finish()
    assert disk.steps == [
        *("flush 1", "name a", "name b"),
        *("flush 2", "settle a", "settle b", "name c"),
        *("flush 3", "settle c", "name d"),
        *("flush 4", "settle d"),
    ]


def test_nothing_to_publish_flushes_nothing(group: Group, disk: Disk) -> None:
    group.publisher.advance(close_group=True, wait=True)
    group.publisher.finish()
    assert disk.steps == []
    assert group.publisher.is_idle
    assert group.publisher.patience is None


def test_the_next_group_gathers_while_a_flush_runs(group: Group, disk: Disk, top: Path) -> None:
    disk.hold()
    group.add("a")
    group.publisher.advance(close_group=True)
    disk.wait_for_flush()
    group.add("b", "c")
    group.publisher.advance()
    group.publisher.advance(close_group=True)
    assert disk.steps == []
    assert visible(top) == []
    assert len(leftovers(top)) == 3
    assert disk.flushes == 1
    disk.may_flush.set()
    group.publisher.advance(wait=True)
    assert disk.steps == ["flush 1", "name a"]
    group.publisher.finish()
    assert disk.steps[2:] == [
        *("flush 2", "settle a", "name b", "name c"),
        *("flush 3", "settle b", "settle c"),
    ]


def test_what_is_not_settled_is_known_by_its_number(group: Group, disk: Disk) -> None:
    publisher = group.publisher
    assert publisher.first_unsettled == 0
    group.add("a", "b")
    assert publisher.first_unsettled == 1
    publisher.advance(close_group=True, wait=True)
    group.add("c")
    assert publisher.first_unsettled == 1
    publisher.advance(close_group=True, wait=True)  # names of a and b
    publisher.advance(close_group=True, wait=True)  # settles them
    assert publisher.first_unsettled == 3
    publisher.finish()
    assert publisher.first_unsettled == 0


def test_a_name_that_is_taken_is_settled_in_its_turn(group: Group, disk: Disk, top: Path) -> None:
    (top / "b").write_bytes(b"precious")
    group.add("a", "b", "c")
    group.publisher.finish()
    assert disk.steps[-3:] == ["settle a", "settle b", "settle c"]
    assert group.refused() == {"b": Code.EXISTS}
    assert (top / "b").read_bytes() == b"precious"
    assert leftovers(top) == []


def test_folders_and_links_go_with_their_group(group: Group, disk: Disk, top: Path) -> None:
    """A folder gets its time after its files, though it has no number of its own."""
    finish = group.staging.make_folder(Entry("d", FOLDER, 0, TIME, 0o555))
    group.add("d/a")
    link = group.staging.link(entry_of_link("d/link", "a", TIME))
    link.number = 2
    group.publisher.add(link)
    group.publisher.add(finish)
    assert group.publisher.first_unsettled == 1
    group.publisher.finish()
    assert disk.steps[-3:] == ["settle d/a", "settle d/link", "settle d"]
    found = (top / "d").stat()
    assert (found.st_mtime_ns, stat.S_IMODE(found.st_mode)) == (TIME, 0o555)


def test_what_comes_into_a_new_folder_while_its_group_is_flushed_waits_for_its_own(
    group: Group, disk: Disk, top: Path
) -> None:
    """The folder appears with the first group, and what is not durable yet must not with it."""
    group.staging.make_folder(Entry("d", FOLDER, 0, TIME, 0o755))
    group.add("d/a")
    disk.hold()
    group.publisher.advance(close_group=True)
    disk.wait_for_flush()
    group.add("d/b")
    disk.may_flush.set()
    group.publisher.advance(wait=True)
    assert visible(top / "d") == ["a"]
    group.publisher.finish()
    assert visible(top / "d") == ["a", "b"]


def test_only_a_folder_to_be_finished_leaves_nothing_unsettled(
    group: Group, disk: Disk, top: Path
) -> None:
    group.publisher.add(group.staging.make_folder(Entry("d", FOLDER, 0, TIME, 0o755)))
    assert group.publisher.first_unsettled == 0
    assert not group.publisher.is_idle
    group.publisher.finish()
    assert [step for step in disk.steps if not step.startswith("name")] == [
        *("flush 1", "flush 2", "settle d"),
    ]
    assert visible(top) == ["d"]


def found(group: Group, name: str) -> Choice:
    """Ask about a file that is there."""
    return group.staging.judge(entry_of_file(name, 4, TIME, 0o644), lambda: None).choice


def test_what_was_found_to_be_there_is_flushed_at_the_end(
    group: Group, disk: Disk, top: Path
) -> None:
    """A process that was killed may have left it before it was durable; one flush serves all."""
    for name in ("old", "older"):
        (top / name).write_bytes(b"data")
        os.utime(top / name, ns=(TIME, TIME))
        assert found(group, name) is Choice.IDENTICAL
    group.publisher.finish()
    assert disk.flushes == 0
    group.publisher.settle_identical()
    assert disk.steps == ["flush 1"]
    group.publisher.settle_identical()
    assert disk.flushes == 1


def test_what_was_not_changed_for_long_needs_no_flush(
    group: Group, disk: Disk, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated command costs nothing; no test can wait so long, and nobody can set that time."""
    (top / "old").write_bytes(b"data")
    os.utime(top / "old", ns=(TIME, TIME))
    changed = (top / "old").stat().st_ctime_ns
    monkeypatch.setattr(group.staging, "_settled_by", changed)
    assert found(group, "old") is Choice.IDENTICAL
    group.publisher.settle_identical()
    assert disk.flushes == 0
    monkeypatch.setattr(group.staging, "_settled_by", changed - 1)
    assert found(group, "old") is Choice.IDENTICAL
    group.publisher.settle_identical()
    assert disk.flushes == 1


def test_what_was_found_before_a_group_is_flushed_with_it(
    group: Group, disk: Disk, top: Path
) -> None:
    group.add("a")
    group.publisher.finish()
    assert found(group, "a") is Choice.IDENTICAL
    group.add("b")
    group.publisher.finish()
    flushes = disk.flushes
    group.publisher.settle_identical()
    assert disk.flushes == flushes


def test_a_flush_of_what_was_found_that_fails_ends_the_command(
    group: Group, disk: Disk, top: Path
) -> None:
    (top / "old").write_bytes(b"data")
    os.utime(top / "old", ns=(TIME, TIME))
    found(group, "old")
    disk.fails_at = 1
    with pytest.raises(LocalError, match=os.strerror(errno.EIO)):
        group.publisher.settle_identical()


# What closes a group


def test_so_many_items_close_a_group(
    group: Group, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "GROUP_ITEMS", 3)
    group.add("a", "b")
    assert disk.flushes == 0
    group.add("c")
    disk.wait_for_flush()
    group.add("d", "e")
    group.publisher.advance(wait=True)
    assert disk.flushes == 1
    group.add("f")
    disk.wait_for_flush()
    group.publisher.finish()
    assert disk.flushes == 3
    assert len(group.settled) == 6


def test_so_many_folders_close_a_group(
    group: Group, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay open until their files are published."""
    monkeypatch.setattr(group.publisher, "_folders_max", 1)
    group.add("a/1", "b/1", "b/2")
    assert disk.flushes == 0
    group.add("c/1")
    disk.wait_for_flush()
    group.publisher.finish()
    assert len(group.settled) == 4


def test_a_group_gathers_for_a_second(
    group: Group, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(publishing, "monotonic", lambda: now[0])
    group.add("a")
    assert group.publisher.patience == 1.0
    now[0] += 0.75
    group.add("b")
    assert group.publisher.patience == 0.25
    group.publisher.advance()
    assert disk.flushes == 0
    now[0] += 0.25
    assert group.publisher.patience == 0.0
    group.publisher.advance()
    disk.wait_for_flush()
    assert group.publisher.patience is not None  # for the flush
    group.publisher.advance(wait=True)
    assert disk.steps == ["flush 1", "name a", "name b"]
    group.publisher.finish()


def test_the_last_names_are_not_left_waiting(group: Group, disk: Disk) -> None:
    """With nothing more to gather, what is named is settled by a flush of its own."""
    group.add("a")
    group.publisher.advance(close_group=True)
    group.publisher.advance(wait=True)
    assert disk.steps == ["flush 1", "name a"]
    group.publisher.advance(close_group=True)
    group.publisher.advance(wait=True)
    assert disk.steps == ["flush 1", "name a", "flush 2", "settle a"]
    assert group.publisher.is_idle


def test_a_full_group_waits_for_the_flush_that_runs(
    group: Group, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So memory and open folders stay bounded; the peer hears of us once a second."""
    wait = publishing._Flush.wait
    monkeypatch.setattr(publishing._Flush, "wait", lambda self, seconds: wait(self, seconds / 50))
    monkeypatch.setattr(publishing, "GROUP_ITEMS", 2)
    disk.hold()
    group.add("a", "b")
    disk.wait_for_flush()
    group.add("c")
    group.on_tick = disk.may_flush.set
    group.add("d")
    assert group.ticks >= 1
    assert disk.steps[:3] == ["flush 1", "name a", "name b"]
    group.publisher.finish()
    assert len(group.settled) == 4


# Disks that fail


def test_a_flush_that_fails_is_not_tried_again(group: Group, disk: Disk, top: Path) -> None:
    """The kernel may have dropped the data, and would call the next flush a success."""
    disk.fails_at = 1
    group.add("a", "b")
    group.publisher.advance(close_group=True, wait=True)
    group.add("c")
    group.publisher.finish()
    assert disk.flushes == 1
    assert group.refused() == dict.fromkeys("abc", Code.IO_ERROR)
    assert os.listdir(top) == []
    assert group.publisher.is_idle
    group.add("d")
    assert group.refused()["d"] == Code.IO_ERROR
    assert os.listdir(top) == []


def test_what_gathers_while_a_flush_fails_fails_with_it(
    group: Group, disk: Disk, top: Path
) -> None:
    disk.fails_at = 1
    disk.hold()
    group.add("a")
    group.publisher.advance(close_group=True)
    disk.wait_for_flush()
    group.add("b")
    disk.may_flush.set()
    group.publisher.finish()
    assert group.refused() == dict.fromkeys("ab", Code.IO_ERROR)
    assert os.listdir(top) == []


def test_names_that_could_not_be_made_durable_are_no_success(
    group: Group, disk: Disk, top: Path
) -> None:
    """They are there, whole, but a power cut may take them away."""
    disk.fails_at = 2
    group.add("a")
    group.publisher.advance(close_group=True, wait=True)
    group.add("b")
    group.publisher.finish()
    assert disk.flushes == 2
    assert group.refused() == dict.fromkeys("ab", Code.IO_ERROR)
    assert os.listdir(top) == ["a"]


def test_new_folders_vanish_with_a_flush_that_fails(group: Group, disk: Disk, top: Path) -> None:
    disk.fails_at = 1
    outer = group.staging.make_folder(Entry("d", FOLDER, 0, TIME, 0o755))
    group.add("d/a")
    inner = group.staging.make_folder(Entry("d/e", FOLDER, 0, TIME, 0o755))
    group.add("d/e/b")
    for finish in (inner, outer):
        group.publisher.add(finish)
    group.publisher.finish()
    assert group.refused() == dict.fromkeys(("d", "d/a", "d/e", "d/e/b"), Code.IO_ERROR)
    group.staging.__exit__()
    assert os.listdir(top) == []


def test_folders_stay_open_as_long_as_a_flush_needs_them(
    group: Group, disk: Disk, top: Path
) -> None:
    disk.fails_at = 3
    for number in range(5):
        group.add(f"{number}/a")
        group.publisher.advance(close_group=True, wait=True)
    group.publisher.finish()
    assert [group.staging.folders.get(f"{number}").users for number in range(5)] == [0] * 5


# Other promises


def test_without_durability_nothing_is_flushed(
    top: Path, cleanup: ExitStack, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "flush_descriptor", lambda _: pytest.fail("was flushed"))
    group = Group(top, "none", cleanup, disk.steps)
    group.add("a")
    assert disk.steps == ["name a", "settle a"]
    assert group.publisher.is_idle
    assert group.publisher.patience is None
    finish = group.staging.make_folder(Entry("d", FOLDER, 0, TIME, 0o755))
    group.publisher.add(finish)
    group.publisher.finish()
    assert disk.steps == ["name a", "settle a", "settle d"]


def test_file_by_file_each_is_durable_before_the_next(
    top: Path, cleanup: ExitStack, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flush(fd: int) -> None:
        disk.steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")

    monkeypatch.setattr(system, "flush_descriptor", flush)
    group = Group(top, "file", cleanup, disk.steps)
    group.add("a", "b")
    assert disk.steps == [
        *("file", "name a", "folder", "settle a"),
        *("file", "name b", "folder", "settle b"),
    ]


def test_without_a_flush_of_the_file_system_each_file_and_each_folder_is_flushed(
    top: Path, cleanup: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "native", False)
    steps: list[str] = []
    rename = system.rename_exclusive

    def flush(fd: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")

    def renaming(fd: int, old: str, new: str, *to: int) -> None:
        rename(fd, old, new, *to)
        steps.append(f"name {new}")

    group = Group(top, "batch", cleanup, steps)
    (top / "d").mkdir()
    monkeypatch.setattr(system, "flush_descriptor", flush)
    monkeypatch.setattr(system, "rename_exclusive", renaming)
    group.add("a", "d/b", "d/c")
    group.publisher.finish()
    assert steps == [
        *("file", "file", "file", "folder", "folder"),
        *("name a", "name b", "name c"),
        *("folder", "folder"),
        *("settle a", "settle d/b", "settle d/c"),
    ]


class Placed:
    """An item that is nothing but a place."""

    number = 1
    entry = entry_of_file("a", 0, 0, 0)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def publish(self) -> Result:
        return Result(Choice.TAKE)

    def place(self) -> tuple[object, int]:
        return self, self._fd

    def discard(self) -> None:
        """Do nothing."""

    def hold(self) -> None:
        """Do nothing."""

    def release(self) -> None:
        """Do nothing."""


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs two file systems: Linux's /proc")
def test_every_file_system_of_a_group_is_flushed_once(
    group: Group, disk: Disk, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another disk may be mounted somewhere below the root."""
    flushed: list[int] = []

    def flush(fd: int) -> bool:
        flushed.append(os.fstat(fd).st_dev)
        return True

    monkeypatch.setattr(system, "flush_file_system", flush)
    places = [os.open(path, os.O_RDONLY) for path in (top, "/proc/self", top.parent)]
    for fd in places:
        group.publisher.add(Placed(fd))
    group.publisher.finish()
    for fd in places:
        os.close(fd)
    devices = {os.stat(path).st_dev for path in (top, "/proc/self")}
    assert len(devices) == 2
    assert sorted(flushed) == sorted([*devices, *devices])


@pytest.mark.parametrize("durability", ["none", "batch", "file"])
def test_with_the_real_disk_all_appears(top: Path, cleanup: ExitStack, durability: str) -> None:
    group = Group(top, durability, cleanup, [])
    group.add("a", "d/b")
    group.publisher.finish()
    assert visible(top) == ["a", "d"]
    assert [result.choice for result in group.settled.values()] == [Choice.TAKE] * 2
    assert found(group, "a") is Choice.IDENTICAL
    group.publisher.settle_identical()
    assert leftovers(top) == []
