"""The data that is moved: makes it, compares what arrived, and warms the memory up.

It must not know who moves it.
"""

from __future__ import annotations

import os
import random
import shutil
import sysconfig
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1 << 20
SEED = 7
FOLDERS = 100  # of the small files
SMALL_MEAN, SMALL_SPREAD = 8.2, 1.2  # of the logarithm: half have less than 4 KB, some 100 KB
SMALL_SIZE = 7_500  # what that comes to on average
WARM_MAX = 2_800_000_000
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
NOT_STANDARD = shutil.ignore_patterns("__pycache__", "site-packages", "dist-packages")


class NoRoom(Exception):  # noqa: N818 - says it without a second word
    """There is not enough room for the data."""


@dataclass(frozen=True)
class Data:
    """A folder to be moved, and how much is in it."""

    folder: Path
    files: int
    size: int


@dataclass(frozen=True)
class Maker:
    """Makes the folders of all workloads, in sizes that can be chosen."""

    big_mib: int
    small_count: int
    tree: Path

    def make(self, workload: str, parent: Path) -> Data:
        """Make the folder of a workload in *parent*."""
        folder = parent / workload
        if workload == "big":
            check_room(parent, self.big_mib << 20)
            _make_big(folder, self.big_mib)
        elif workload == "small":
            check_room(parent, self.small_count * SMALL_SIZE)
            _make_small(folder, self.small_count)
        else:
            check_room(parent, _measure(self.tree).size)
            shutil.copytree(self.tree, folder, symlinks=True, ignore=NOT_STANDARD)
        return _measure(folder)


def check_room(folder: Path, size: int) -> None:
    """Raise NoRoom unless *size* bytes and a copy or a warm-up of them have room in *folder*."""
    needed = size + size * 11 // 10
    free = shutil.disk_usage(folder).free
    if folder.is_relative_to("/dev/shm"):
        free = min(free, _free_memory())
    if free < needed:
        raise NoRoom(f"{folder} has room for {free >> 20} MiB, and {needed >> 20} MiB are needed")


def warm_up(folder: Path, size: int) -> None:
    """Write about as many bytes as the next run will, and delete them.

    A virtual machine gives freed memory back to its host, and takes long to get it again: without
    this the first to write would pay for those after it.
    """
    path = folder / "warm-up"
    zeros = bytes(BLOCK)
    try:
        with open(path, "wb", buffering=0) as file:
            file.writelines(zeros for _ in range(min(size, WARM_MAX) // BLOCK + 1))
    finally:
        path.unlink(missing_ok=True)


def differences(source: Path, copy: Path) -> list[str]:
    """Return what is missing, different or too much in *copy*: path, type, link target, bytes."""
    expected, found = _entries(source), _entries(copy)
    return [
        name
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
        or (expected[name] == "file" and not _same_bytes(source / name, copy / name))
    ]


def _make_big(folder: Path, mib: int) -> None:
    numbers = random.Random(SEED)
    folder.mkdir()
    with open(folder / "big.bin", "wb") as file:
        file.writelines(numbers.randbytes(BLOCK) for _ in range(mib))


def _make_small(folder: Path, count: int) -> None:
    numbers = random.Random(SEED)
    for number in range(count):
        size = min(BLOCK, int(numbers.lognormvariate(SMALL_MEAN, SMALL_SPREAD)))
        path = folder / f"d{number % FOLDERS:02}" / f"f{number:06}.dat"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(numbers.randbytes(size))


def _measure(folder: Path) -> Data:
    sizes = [(folder / name).lstat().st_size for name in _files(folder)]
    return Data(folder, len(sizes), sum(sizes))


def _files(folder: Path) -> list[str]:
    return [name for name, kind in _entries(folder).items() if kind == "file"]


def _entries(top: Path) -> dict[str, str]:
    """Return the type of everything below a folder, a link's with its target."""
    found: dict[str, str] = {}
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            path = Path(folder, name)
            kind = "folder" if path.is_dir() else "file" if path.is_file() else "special"
            if path.is_symlink():
                kind = f"link to {os.readlink(path)}"
            found[str(path.relative_to(top))] = kind
    return found


def _same_bytes(one: Path, other: Path) -> bool:
    with open(one, "rb", buffering=0) as first, open(other, "rb", buffering=0) as second:
        while block := first.read(BLOCK):
            if block != second.read(BLOCK):
                return False
        return not second.read(1)


def _free_memory() -> int:
    """Return how many bytes can be had without pushing others out."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = dict(line.split(":") for line in file)
    return int(fields["MemAvailable"].split()[0]) * 1024
