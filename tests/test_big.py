"""Large things: a file of gigabytes with holes, and a folder of thousands of files, both ways."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
from conftest import leftovers, tree_state
from test_cli_process import COMMAND, SECONDS, Service, environment, fx

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
MEMORY_MAX = 80_000_000  # bytes of a process
# Runs a command, and prints the most memory that it had, in the system's unit.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
UNIT = 1 if sys.platform == "darwin" else 1024  # bytes


def measured(*words: object) -> int:
    """Run a command, which must succeed, and return the most memory that it had, in bytes."""
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, *COMMAND, *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout) * UNIT


def most_memory(pid: int) -> int:
    """Return the most memory that a running process had so far, in bytes; Linux only."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        (line,) = (line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def place_for_holes(tmp_path: Path) -> Path:
    """Return a folder on a file system that keeps holes, or skip the test."""
    probe = tmp_path / "probe"
    with open(probe, "wb") as file:
        file.seek(GIB)
        file.write(b"x")
    if probe.stat().st_blocks * 512 > GIB // 2:
        pytest.skip("the file system here keeps no holes")
    probe.unlink()
    return tmp_path


@pytest.mark.case("A29", "D15", "J4")
@pytest.mark.parametrize(
    "gib", [5, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
def test_sparse_file(tmp_path: Path, gib: int) -> None:
    """A sparse file stays sparse, up and down, and no process needs memory for its size."""
    folder = place_for_holes(tmp_path)
    pieces = {0: b"begin", 2 * GIB + 12_345: os.urandom(100_000), gib * GIB - 3: b"end"}
    with open(folder / "sparse", "wb") as file:
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
    with Service(folder / "in", "--workers", "1", "--durability", "none") as service:
        up = measured("put", folder / "sparse", service.address)
        down = measured("get", "--durability", "none", service.address + "sparse", folder / "back")
        again = fx("put", folder / "sparse", service.address)
        if sys.platform == "linux":
            assert most_memory(service.process.pid) < MEMORY_MAX
    assert max(up, down) < MEMORY_MAX
    assert ", 1 skipped -> " in again.stderr
    original = os.stat(folder / "sparse")
    for copy in (folder / "in" / "sparse", folder / "back"):
        status = os.stat(copy)
        assert status.st_size == original.st_size == gib * GIB
        assert status.st_mtime_ns == original.st_mtime_ns
        assert status.st_blocks * 512 < 20_000_000
        with open(copy, "rb") as file:
            for offset, data in pieces.items():
                file.seek(offset)
                assert file.read(len(data)) == data
            for offset in (GIB, 3 * GIB, 4 * GIB):
                file.seek(offset)
                assert file.read(1000) == bytes(1000)


def test_large_file_needs_no_memory(tmp_path: Path) -> None:
    """A file of 200 MiB without holes needs no memory for its size either."""
    block = random.Random(1).randbytes(1 << 20)
    with open(tmp_path / "large", "wb") as file:
        file.writelines(block for _ in range(200))
    with Service(tmp_path / "in", "--workers", "1", "--durability", "none") as service:
        up = measured("put", tmp_path / "large", service.address)
        down = measured("get", "--durability", "none", service.address + "large", tmp_path / "back")
        if sys.platform == "linux":
            assert most_memory(service.process.pid) < MEMORY_MAX
    assert max(up, down) < MEMORY_MAX
    assert (tmp_path / "back").stat().st_size == 200 << 20
    with open(tmp_path / "back", "rb") as file:
        while data := file.read(1 << 20):
            assert data == block


def make_odd_things(folder: Path) -> None:
    """Make what no standard library has: odd names, modes and times, links, empty folders."""
    names = [b"two\nlines", "你好".encode(), b"\x1b[31m", b" ", b"~", b"x" * 255, b"-rf", b"a\\b"]
    if sys.platform != "darwin":
        names.append(bytes(range(0x80, 0x100)))
    for name in names:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    deep = folder.joinpath(*["deep"] * 40)
    deep.mkdir(parents=True)
    (deep / "down").write_text("down")
    for mode in (0o600, 0o666, 0o755, 0o777, 0o444):
        (folder / f"mode {mode:o}").touch()
        (folder / f"mode {mode:o}").chmod(mode)
        (folder / f"folder {mode:o}").mkdir()
        (folder / f"folder {mode:o}").chmod(mode | 0o700)
    for number, mtime in enumerate((0, 1, 10**9, 2**31 * 10**9, 1_700_000_000_123_456_789)):
        (folder / f"time {number}").write_text("t")
        os.utime(folder / f"time {number}", ns=(mtime, mtime))
    (folder / "link").symlink_to("time 0")
    (folder / "dangling").symlink_to("nowhere")
    (folder / "deep" / "up").symlink_to("../mode 600")
    (folder / "to a folder").symlink_to("deep/deep")


@pytest.mark.slow  # thousands of files
def test_standard_library_both_ways(tmp_path: Path) -> None:
    """A large tree of everything comes back the same in bytes, modes, times and links."""
    tree = tmp_path / "tree"
    left_out = shutil.ignore_patterns("site-packages", "test", "idlelib")
    shutil.copytree(sysconfig.get_path("stdlib"), tree, symlinks=True, ignore=left_out)
    make_odd_things(tree)
    before = tree_state(tree)
    files = sum(entry[0] != "folder" for entry in before.values())
    assert files > 500
    with Service(tmp_path / "in", umask=0) as service:
        words = ("put", tree, service.address)
        up = fx(*words, umask=0)
        assert (up.returncode, up.stderr.count("\n")) == (0, 1), up.stderr
        assert up.stderr.startswith(f"{files} files, ")
        again = fx(*words, umask=0)
        assert again.returncode == 0
        assert again.stderr.startswith("0 files, 0 B in ")
        assert f", {files} skipped -> " in again.stderr
        down = fx("get", service.address + "tree", tmp_path / "back", umask=0)
        assert (down.returncode, down.stderr.count("\n")) == (0, 1), down.stderr
        assert down.stderr.startswith(f"{files} files, ")
        assert service.end() == 0
        assert service.rest() == ""
    for copy in (tmp_path / "in" / "tree", tmp_path / "back" / "tree"):
        assert leftovers(copy) == []
        after = tree_state(copy)
        assert after.keys() == before.keys()
        assert [name for name in before if after[name] != before[name]] == []
