"""Clocks that jump: only the wall clock may, and nothing that matters asks it.

The commands run with a small library before the C library, which adds to the wall clock what a
file says; the test changes that while they work.
"""

from __future__ import annotations

import itertools
import mmap
import os
import shutil
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from conftest import leftovers, tree_state
from test_cli_process import SECONDS, Service, environment, fx, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile long long *offset;

__attribute__((constructor)) static void begin(void)
{
    int fd = open(getenv("TEST_CLOCK"), O_RDONLY);
    if (fd >= 0)
        offset = mmap(0, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    if (result == 0 && id == CLOCK_REALTIME && offset)
        now->tv_sec += *offset;
    return result;
}
"""
TEN_YEARS = 10 * 365 * 86400
TIME = 1_700_000_000_123_456_789


class Jumping:
    """A wall clock for processes that are started with *env*."""

    def __init__(self, top: Path) -> None:
        library, source, page = top / "clock.so", top / "clock.c", top / "clock"
        source.write_text(SOURCE)
        command = ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"the C compiler says: {made.stderr}")
        page.write_bytes(bytes(8))
        self.env = environment(LD_PRELOAD=str(library), TEST_CLOCK=str(page))
        self._file = open(page, "r+b")  # noqa: SIM115 - closed by close
        self._page = mmap.mmap(self._file.fileno(), 8)

    def set(self, seconds: int) -> None:
        """Add so many seconds to what the clock says."""
        self._page[:] = struct.pack("q", seconds)

    def close(self) -> None:
        self._page.close()
        self._file.close()


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[Jumping]:
    """Make such a clock, where that can be done, and check that it is heeded."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("needs Linux and a C compiler")
    made = Jumping(tmp_path)
    try:
        made.set(TEN_YEARS)
        command = [sys.executable, "-c", "import time; print(time.time())"]
        said = subprocess.run(command, env=made.env, capture_output=True, text=True, check=True)
        if not abs(float(said.stdout) - time.time() - TEN_YEARS) < SECONDS:
            pytest.skip("this Python does not ask the C library for the time")
        made.set(0)
        yield made
    finally:
        made.close()


def lay(top: Path) -> None:
    for number in range(30):
        path = top / f"{number % 3}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(30_000))
        os.utime(path, ns=(TIME, TIME))
    for folder, _, _ in os.walk(top, topdown=False):
        os.utime(folder, ns=(TIME, TIME))


@pytest.mark.case("G19")
def test_a_transfer_while_the_clock_jumps(clock: Jumping, tmp_path: Path) -> None:
    """Ten years there and back, and to 1970: no wait ends early or late, and times are kept."""
    lay(tmp_path / "tree")
    jumps = itertools.cycle([TEN_YEARS, -TEN_YEARS, -int(time.time()), 0])
    with Service(tmp_path / "served", "--workers", "1", env=clock.env) as service:
        for words in (
            ("put", tmp_path / "tree", service.address),
            ("get", f"{service.address}tree", tmp_path / "back/"),
        ):
            command = (*words, "--bwlimit", "2M", "--timeout", "5", "--retries", "0")
            with running(*command, env=clock.env) as process:
                while process.poll() is None:
                    clock.set(next(jumps))
                    time.sleep(0.02)
                assert process.stderr
                assert process.returncode == 0, process.stderr.read()
        assert service.end() == 0
    assert tree_state(tmp_path / "served" / "tree") == tree_state(tmp_path / "tree")
    assert tree_state(tmp_path / "back" / "tree") == tree_state(tmp_path / "tree")


@pytest.mark.case("G19")
def test_what_is_left_over_is_known_by_its_locks(clock: Jumping, tmp_path: Path) -> None:
    """However old it seems, what somebody writes stays, and what nobody writes goes."""
    folder = tmp_path / "served"
    folder.mkdir()
    dead = folder / f".fx-{'0' * 32}.part"
    dead.write_bytes(b"dead")
    (tmp_path / "small").write_bytes(b"small")
    with (
        Service(folder, "--workers", "1", "--durability", "none") as service,
        running("put", "-", f"{service.address}large", stdin=subprocess.PIPE) as process,
    ):
        assert process.stdin
        process.stdin.write(bytes(8 << 20))
        process.stdin.flush()
        until = time.monotonic() + SECONDS
        while not [name for name in leftovers(folder) if name != str(dead)]:
            assert time.monotonic() < until
        clock.set(TEN_YEARS)
        dead.write_bytes(b"dead")  # before the last sweep or after it
        with Service(folder, "--workers", "1", "--durability", "none", env=clock.env) as other:
            assert fx("put", tmp_path / "small", other.address, env=clock.env).returncode == 0
        process.stdin.close()
        assert process.wait(SECONDS) == 0
    assert (folder / "large").stat().st_size == 8 << 20
    with Service(folder, "--workers", "1", "--durability", "none", env=clock.env) as other:
        assert fx("put", tmp_path / "small", f"{other.address}again", env=clock.env).returncode == 0
    assert leftovers(folder) == []
