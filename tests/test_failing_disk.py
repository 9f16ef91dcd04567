"""Disks that fail for real: a medium that takes no more, a journal that is given up.

The disk is an ext4 that believes to have more room than its medium. What does not fit is lost
when it is written out, long after the program has handed it over.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from conftest import leftovers
from disks import MIB, ext4, run, why_no_disks

from filexfer.entry import entry_of_file
from filexfer.errors import Code
from filexfer.storage import system
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.storage.publishing import Publisher
from filexfer.storage.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filexfer.storage.contract import Item
    from filexfer.storage.staged import Result

pytestmark = pytest.mark.skipif(bool(why_no_disks()), reason=why_no_disks() or "-")


class Exchange:
    """Files that are stored in a folder, and what became of each."""

    def __init__(self, top: Path, durability: str, stack: ExitStack) -> None:
        folder = stack.enter_context(Folder(top))
        self.staging = stack.enter_context(Staging(folder, Policy(), durability))
        self.publisher = Publisher(self.staging, self._settle, lambda: None)
        self.settled: dict[str, str] = {}

    def _settle(self, settled: list[tuple[Item, Result]]) -> None:
        for item, result in settled:
            self.settled[item.entry.name] = result.error.code if result.error else result.choice

    def add(self, name: str, data: bytes = b"data") -> None:
        entry = entry_of_file(name, len(data), 1_700_000_000_000_000_000, 0o644)
        item = self.staging.small(entry, data)
        item.number = 1
        self.publisher.add(item)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def fails(fd: int) -> None:
    """Let somebody else meet the failure of a disk."""
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        os.fsync(fd)


@pytest.mark.case("F6")
def test_names_are_not_confirmed_when_the_journal_failed_for_others(
    tmp_path: Path, stack: ExitStack
) -> None:
    """When somebody else has met the failure, a flush of ours finds nothing to do, and succeeds."""
    disk = stack.enter_context(ext4(tmp_path, 200 * MIB, 24 * MIB))
    exchange = Exchange(disk.path, "batch", stack)
    exchange.add("name")
    exchange.publisher.advance(close_group=True)
    exchange.publisher.advance(wait=True)
    assert "name" in os.listdir(disk.path)
    disk.fill_medium()
    others = os.open(disk.path, os.O_RDONLY)
    stack.callback(os.close, others)
    fails(others)
    exchange.publisher.finish()
    assert exchange.settled == {"name": Code.DENIED}


@pytest.mark.case("F6")
def test_contents_are_not_confirmed_that_were_lost_before_others(
    tmp_path: Path, stack: ExitStack
) -> None:
    """A folder that is opened after the failure knows nothing of it, but an earlier one does."""
    disk = stack.enter_context(ext4(tmp_path, 200 * MIB, 24 * MIB, has_journal=False))
    for name in ("a", "b"):
        (disk.path / name).mkdir()
    run("sync", "-f", disk.path)
    exchange = Exchange(disk.path, "batch", stack)
    exchange.add("a/name", os.urandom(MIB))
    disk.fill_medium()
    others = os.open(disk.path / "a", os.O_RDONLY)
    stack.callback(os.close, others)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        system.flush_file_system(others)
    disk.free_medium()
    exchange.add("b/name")
    exchange.publisher.finish()
    assert exchange.settled == dict.fromkeys(("a/name", "b/name"), Code.NO_SPACE)
    assert leftovers(disk.path) == []
