"""Large files in pieces between real processes: the command forks, the server has workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from conftest import leftovers, tree_state
from test_cli_process import SECONDS, Service, environment
from test_transfer import TIME, lay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """
import sys
from filexfer import cli; from filexfer.shared import jobs; from filexfer.shared import pieces
pieces.LEAST, pieces.PIECE_MOST, pieces.PIECE_LEAST, jobs.LONG = 65536, 16384, 4096, 0.0
sys.exit(cli.main())
"""
DATA = random.Random(4).randbytes(1 << 20)
HUGE = DATA * 64


@contextmanager
def client(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command that moves nearly everything in pieces."""
    command = [sys.executable, "-c", SCRIPT, *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def run(*words: object) -> str:
    """Run such a command to its good end; return what it said."""
    with client(*words) as process:
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    return said.decode()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(
        tmp_path / "served", "--workers", "2", "--allow", "overwrite", "--durability", "none"
    ) as running:
        yield running


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as found:
        return [int(word) for word in found.read().split()]


def wait_for(folder: Path, least: int) -> None:
    """Wait until so many bytes of a temporary file in *folder* are there."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if any(os.stat(name).st_blocks * 512 >= least for name in leftovers(folder)):
            return
        time.sleep(0.002)
    raise AssertionError("nothing came")


def test_up_and_down(service: Service, tmp_path: Path) -> None:
    """What arrives is what was sent, both ways, and a second run moves nothing."""
    tree = tmp_path / "tree"
    lay(tree / "large", DATA, TIME, 0o640)
    lay(tree / "d" / "other", DATA[::-1], TIME, 0o400)
    lay(tree / "d" / "small", b"small")
    for folder in ("d", ""):
        os.utime(tree / folder, ns=(TIME, TIME))
    for jobs in (2, 5):
        address = f"{service.address}{jobs}/"
        back = tmp_path / f"back{jobs}"
        assert run("put", "-j", jobs, tree, address).startswith("3 files, 2.1 MB")
        assert run("get", "-j", jobs, f"{address}tree", f"{back}/").startswith("3 files, 2.1 MB")
        assert tree_state(service.folder / f"{jobs}" / "tree") == tree_state(tree)
        assert tree_state(back / "tree") == tree_state(tree)
        assert ", 3 skipped" in run("put", "-j", jobs, tree, address)
        assert ", 3 skipped" in run("get", "-j", jobs, f"{address}tree", f"{back}/")
    assert leftovers(tmp_path) == []


linux = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="looks into /proc")


@linux
@pytest.mark.parametrize("way", ["put", "get"])
def test_a_killed_process_of_the_client(service: Service, tmp_path: Path, way: str) -> None:
    """The command is tried again, and nothing is left of the first try."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    if way == "put":
        target = service.folder
        lay(source / "huge", HUGE)
        words = ["put", "-j", "3", source / "huge", service.address]
    else:
        target.mkdir()
        lay(service.folder / "huge", HUGE)
        words = ["get", "-j", "3", f"{service.address}huge", f"{target}/"]
    with client(*words) as process:
        wait_for(target, 1 << 20)
        os.kill(children(process.pid)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert (target / "huge").read_bytes() == HUGE
    assert leftovers(target) == []


def moving_huge(service: Service, tmp_path: Path, way: str) -> tuple[Path, list[object]]:
    """Lay a large file; return the folder it is to go to, and the words of the command."""
    if way == "put":
        lay(tmp_path / "huge", HUGE)
        return service.folder, ["put", "-j", "3", tmp_path / "huge", service.address]
    lay(service.folder / "huge", HUGE)
    target = tmp_path / "target"
    target.mkdir()
    return target, ["get", "-j", "3", f"{service.address}huge", f"{target}/"]


@linux
@pytest.mark.parametrize("way", ["put", "get"])
def test_a_killed_worker_of_the_server(service: Service, tmp_path: Path, way: str) -> None:
    """The command is tried again with the others, and the file arrives."""
    target, words = moving_huge(service, tmp_path, way)
    with client(*words) as process:
        wait_for(target, 1 << 20)
        os.kill(children(service.process.pid)[0], signal.SIGKILL)
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert (target / "huge").read_bytes() == HUGE


@linux
@pytest.mark.parametrize("way", ["put", "get"])
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_a_command_that_is_ended(
    service: Service, tmp_path: Path, way: str, number: signal.Signals
) -> None:
    """Its processes end with it; what was begun is discarded, or swept by the next command."""
    target, words = moving_huge(service, tmp_path, way)
    with client(*words) as process:
        wait_for(target, 1 << 20)
        others = children(process.pid)
        process.send_signal(number)
        process.communicate(timeout=SECONDS)
    assert process.returncode in {128 + number, -number}
    until = time.monotonic() + SECONDS
    while any(os.path.exists(f"/proc/{pid}") for pid in others):
        assert time.monotonic() < until, "a process of the command goes on"
        time.sleep(0.01)
    run(*words)
    assert (target / "huge").read_bytes() == HUGE
    assert leftovers(target) == []
