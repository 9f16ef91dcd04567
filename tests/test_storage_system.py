"""The renames and flushes that Python does not offer, native and by their stand-ins."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from filexfer.storage import system

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="syncfs is a call of Linux")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def test_a_free_name_is_taken(native: bool, folder: int, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"bytes")
    inode = (tmp_path / "old").stat().st_ino
    system.rename_exclusive(folder, "old", "new")
    assert os.listdir(tmp_path) == ["new"]
    assert (tmp_path / "new").stat().st_ino == inode
    assert (tmp_path / "new").stat().st_nlink == 1


def _file(path: Path) -> None:
    path.write_bytes(b"precious")


def _folder(path: Path) -> None:
    path.mkdir()


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.case("D18")
@pytest.mark.parametrize("make", [_file, _folder, _dangling, _pipe])
def test_a_taken_name_is_never_replaced(
    native: bool, folder: int, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    (tmp_path / "old").write_bytes(b"bytes")
    make(tmp_path / "new")
    before = (tmp_path / "new").lstat()
    with pytest.raises(FileExistsError):
        system.rename_exclusive(folder, "old", "new")
    assert (tmp_path / "new").lstat().st_ino == before.st_ino
    assert (tmp_path / "old").read_bytes() == b"bytes"


def test_a_symbolic_link_is_renamed_itself(native: bool, folder: int, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "old").symlink_to("target")
    system.rename_exclusive(folder, "old", "new")
    assert sorted(os.listdir(tmp_path)) == ["new", "target"]
    assert os.readlink(tmp_path / "new") == "target"


def test_names_that_are_not_utf8_are_renamed(native: bool, folder: int, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff\x1b[31m")
    (tmp_path / "old").write_bytes(b"")
    system.rename_exclusive(folder, "old", odd)
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\x1b[31m"]


def test_what_is_missing_cannot_be_renamed(native: bool, folder: int, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        system.rename_exclusive(folder, "missing", "new")
    assert os.listdir(tmp_path) == []


@pytest.mark.case("D18")
@linux_only
def test_the_stand_in_serves_where_the_file_system_has_no_exclusive_rename(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems answer EINVAL; none of them is at hand."""
    monkeypatch.setattr(system, "_exclusive_rename", lambda: lambda *_: errno.EINVAL)
    (tmp_path / "old").write_bytes(b"bytes")
    (tmp_path / "taken").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        system.rename_exclusive(folder, "old", "taken")
    system.rename_exclusive(folder, "old", "new")
    assert sorted(os.listdir(tmp_path)) == ["new", "taken"]
    assert (tmp_path / "taken").read_bytes() == b"precious"


@linux_only
def test_a_whole_file_system_can_be_flushed(folder: int) -> None:
    assert system.has_file_system_flush()
    assert system.flush_file_system(folder)


def test_without_such_a_call_it_says_so(folder: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "native", False)
    assert not system.has_file_system_flush()
    assert not system.flush_file_system(folder)


@linux_only
def test_a_flush_that_fails_raises() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        system.flush_file_system(-1)


def test_files_and_folders_can_be_flushed_one_by_one(folder: int, tmp_path: Path) -> None:
    system.flush_descriptor(folder)
    with open(tmp_path / "file", "wb") as file:
        system.flush_descriptor(file.fileno())
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(OSError, match=os.strerror(errno.EINVAL)):  # a pipe cannot be durable
        system.flush_descriptor(reading)
    os.close(reading)


def test_a_process_with_few_descriptors_holds_few() -> None:
    """One with many holds as many as are of use."""
    program = (
        "import resource; from filexfer.storage import system\n"
        "for limit in (8192, 256, 16):\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))\n"
        "    print(system.share_of_descriptors(64))"
    )
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["64", "32", "4"]


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_umask_is_read_without_changing_it(mask: int) -> None:
    program = "import os; from filexfer.storage import system; print(system.umask(), os.umask(0))"
    done = subprocess.run(
        [sys.executable, "-c", program], umask=mask, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(mask), str(mask)]
