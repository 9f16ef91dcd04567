"""Small disks of a test's own: in memory, or an ext4 in a file, whose power can be cut.

Each is mounted below the folder that a test gives, is at most ``MOST`` bytes large, and is gone
when its block ends. Only root can mount; ``why_no_disks`` tells what is missing.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
MOST = 256 * MIB
PATIENCE = 20.0  # seconds
SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN
FLUSH_ALL, FLUSH_LOG, FLUSH_NOTHING = 0, 1, 2  # what gets out before the power is gone


def run(*words: object) -> None:
    """Run a command that must succeed."""
    command = [str(word) for word in words]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, (command, done.stderr)


class Disk:
    """An ext4 in a file, mounted.

    Attributes:
        path: Where it is mounted.

    """

    def __init__(self, image: Path, path: Path) -> None:
        self._image = image
        self.path = path

    def mount(self, *options: str) -> None:
        """Mount it; after a cut, its journal is replayed."""
        self.path.mkdir(exist_ok=True)
        run("mount", "-o", ",".join(("loop", *options)), self._image, self.path)
        assert os.path.ismount(self.path)

    def remount(self, how: str) -> None:
        """Mount it in another way, read-only (``ro``) or not (``rw``)."""
        run("mount", "-o", f"remount,{how}", self.path)

    def unmount(self) -> None:
        """Unmount it, and wait until no other namespace has it any more.

        One that was made meanwhile has a mount of its own, as long as it lives; till then whoever
        mounted the disk again would get it as it is, also without its power.
        """
        if os.path.ismount(self.path):
            run("umount", self.path)
        until = time.monotonic() + PATIENCE
        while self._is_in_use():
            assert time.monotonic() < until, "another namespace still has the disk"
            time.sleep(0.001)

    def _is_in_use(self) -> bool:
        for each in Path("/sys/block").glob("loop*/loop/backing_file"):
            try:
                if each.read_text(encoding="utf-8").rstrip("\n") == str(self._image):
                    return True
            except OSError:
                pass  # it has just been given back
        return False

    def cut(self, mode: int) -> None:
        """Cut the power: nothing reaches the disk any more, but what *mode* still lets out."""
        import fcntl  # noqa: PLC0415 - there is none on every system

        assert os.path.ismount(self.path)
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", mode))
        finally:
            os.close(fd)

    def fill_medium(self) -> None:
        """Let the medium take nothing more that it has no room for yet."""
        assert os.path.ismount(self._image.parent)
        fd = os.open(self._image.parent / "rest", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            free = os.fstatvfs(fd)
            os.posix_fallocate(fd, 0, free.f_bfree * free.f_frsize)
        finally:
            os.close(fd)

    def free_medium(self) -> None:
        """Let the medium take more again; what it did not take is lost."""
        os.unlink(self._image.parent / "rest")

    def restart(self) -> None:
        """Bring it back after a cut; nobody may use it."""
        self.unmount()
        self.mount()


@contextmanager
def ext4(
    top: Path, size: int = 48 * MIB, room: int = 0, *, has_journal: bool = True
) -> Iterator[Disk]:
    """Make and mount an ext4.

    Args:
        top: Where it goes.
        size: Bytes it believes to have.
        room: If given, bytes that its medium has in truth; what goes beyond cannot be written.
        has_journal: Without one, the disk goes on after such a failure.

    """
    assert max(size, room) <= MOST
    with tempfile.TemporaryDirectory(prefix="filexfer-disk-", dir=_memory(top)) as held:
        place = Path(held)
        if room:
            run("mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", place)
        try:
            image = place / "image"
            with open(image, "wb") as file:
                file.truncate(size)
            journal = "has_journal" if has_journal else "^has_journal"
            extra = "lazy_itable_init=1,nodiscard"
            run("mkfs.ext4", "-qF", "-m", "0", "-O", journal, "-E", extra, image)
            disk = Disk(image, top / "disk")
            disk.mount()
            try:
                yield disk
            finally:
                if os.path.ismount(disk.path):
                    run("umount", "--lazy", disk.path)
        finally:
            if room:
                run("umount", "--lazy", place)


@contextmanager
def memory(top: Path, size: int, inodes: int = 0) -> Iterator[Path]:
    """Mount a disk in memory that has room for *size* bytes and, if given, so many names."""
    assert size <= MOST
    path = top / "memory"
    path.mkdir()
    more = f",nr_inodes={inodes}" if inodes else ""
    run("mount", "-t", "tmpfs", "-o", f"size={size}{more}", "tmpfs", path)
    try:
        assert os.path.ismount(path)
        yield path
    finally:
        run("umount", "--lazy", path)


@cache
def why_no_disks() -> str:
    """Return why no disk can be mounted here; empty if all of them can, with their faults."""
    if sys.platform != "linux" or os.geteuid():
        return "only root can mount a disk, on Linux"
    for name in ("mount", "mkfs.ext4"):
        if not shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"):
            return f"needs {name}"
    with tempfile.TemporaryDirectory() as held:
        try:
            with ext4(Path(held), 16 * MIB) as disk:
                disk.cut(FLUSH_NOTHING)
        except (AssertionError, OSError, subprocess.SubprocessError):
            return "no ext4 can be mounted here, or its power cannot be cut"
    return ""


def _memory(other: Path) -> Path:
    """Return a place in memory, where flushes take no time; else *other*."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else other
