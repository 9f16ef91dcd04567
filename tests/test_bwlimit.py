"""``--bwlimit``: real transfers take the time that the limit gives them, however they are shared.

No transfer may be faster than its limit. How much slower it may be depends on the machine, so only
something far too slow fails here.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from conftest import leftovers, tree_state
from test_cli_process import SECONDS, Service, fx, running, wait_gone

from filexfer import Options, Report, UsageError
from filexfer.wire.budget import CREDIT, PIECE_SECONDS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Served

RATE = 4_000_000
SIZE = 2_000_000
FILES = 6


def least(size: int, connections: int = 1) -> float:
    """Return the seconds that so many bytes take at least, as the limit is meant."""
    return size / RATE - CREDIT - connections * PIECE_SECONDS


def make_tree(folder: Path) -> Path:
    """Make a folder of some folders with a file each, of SIZE bytes in all."""
    for number in range(FILES):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "file").write_bytes(os.urandom(SIZE // FILES + 1))
    return folder


# The library


@pytest.mark.parametrize("jobs", [1, 3])
def test_put_and_get(served: Served, tmp_path: Path, jobs: int) -> None:
    """A client's limit holds for what it puts and for what it gets, over all connections."""
    tree = make_tree(tmp_path / "tree")
    client = served.client(bwlimit=RATE)
    options = Options(jobs=jobs, durability="none")
    began = monotonic()
    report = client.put([tree], "", options)
    taken = monotonic() - began
    assert (report.files, report.failures) == (FILES, [])
    assert least(SIZE, jobs) <= taken < SECONDS
    began = monotonic()
    report = client.get(["tree/"], tmp_path / "back", options)
    taken = monotonic() - began
    assert (report.files, report.failures) == (FILES, [])
    assert least(SIZE, jobs) <= taken < SECONDS
    assert tree_state(tmp_path / "back") == tree_state(tree) == tree_state(served.folder / "tree")


def test_over_tls(
    serve: Callable[..., Served],
    tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext],
    tmp_path: Path,
) -> None:
    """The limit holds below TLS, at either side."""
    served = serve(tls=tls_contexts[1], bwlimit=RATE)
    (tmp_path / "a").write_bytes(os.urandom(SIZE))
    with served.client(tls=tls_contexts[0], bwlimit=2 * RATE) as client:
        began = monotonic()
        assert client.put([tmp_path / "a"]).files == 1
        assert least(SIZE) <= monotonic() - began < SECONDS
        began = monotonic()
        assert client.get(["a"], tmp_path / "back", Options(durability="none")).files == 1
        assert least(SIZE) <= monotonic() - began < SECONDS
    assert (tmp_path / "back").read_bytes() == (tmp_path / "a").read_bytes()


def test_progress_of_a_slow_transfer(served: Served, tmp_path: Path) -> None:
    """A slow transfer shows in smaller steps how far it is."""
    (tmp_path / "a").write_bytes(os.urandom(SIZE))
    client = served.client(bwlimit=RATE)
    seen: set[int] = set()
    client.put([tmp_path / "a"], report=Report(lambda report: seen.add(report.moved)))
    assert any(0 < moved < SIZE for moved in seen)
    seen.clear()
    client.get(["a"], tmp_path / "back", report=Report(lambda report: seen.add(report.moved)))
    assert any(0 < moved < SIZE for moved in seen)


def test_too_slow_for_so_many(served: Served, tmp_path: Path) -> None:
    """A limit on which the connections could not live is refused before anything is done."""
    (tmp_path / "a").write_bytes(b"x")
    client = served.client(bwlimit=5000)
    with pytest.raises(UsageError, match="at least 6144 bytes per second for 3 connections"):
        client.put([tmp_path / "a"], "", Options(jobs=3))
    with pytest.raises(UsageError, match="for 3 connections"):
        client.get(["a"], tmp_path, Options(jobs=3))
    assert os.listdir(served.folder) == []
    assert client.put([tmp_path / "a"], "", Options(jobs=2)).files == 1


# The commands


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a server without a limit; each test uses names of its own."""
    folder = tmp_path_factory.mktemp("served")
    with Service(folder, "--workers", "2", "--durability", "none") as running_service:
        yield running_service


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_commands(service: Service, tmp_path: Path, jobs: int) -> None:
    """The limit of a command holds over all its processes."""
    tree = make_tree(tmp_path / "tree")
    shape = ("-j", str(jobs), "--bwlimit", "4MB")
    began = monotonic()
    result = fx("put", *shape, tree, f"{service.address}commands{jobs}/")
    assert least(SIZE, jobs) <= monotonic() - began < SECONDS
    assert result.returncode == 0, result.stderr
    assert result.stderr.startswith(f"{FILES} files, 2.0 MB in ")
    began = monotonic()
    result = fx("get", *shape, f"{service.address}commands{jobs}/tree/", tmp_path / "back")
    assert least(SIZE, jobs) <= monotonic() - began < SECONDS
    assert result.returncode == 0, result.stderr
    assert tree_state(tmp_path / "back") == tree_state(tree)


@pytest.mark.parametrize("way", ["put", "get"])
def test_a_server_with_two_clients(tmp_path: Path, way: str) -> None:
    """The limit of a server holds over all clients and all workers."""
    with (
        Service(tmp_path / "in", "--workers", "2", "--bwlimit", "4MB") as service,
        ExitStack() as stack,
    ):
        for number in range(2):
            (tmp_path / f"here{number}").write_bytes(os.urandom(SIZE // 2))
            (tmp_path / "in" / f"there{number}").write_bytes(os.urandom(SIZE // 2))
        began = monotonic()
        processes = []
        for number in range(2):
            words = (
                ("put", tmp_path / f"here{number}", service.address)
                if way == "put"
                else ("get", f"{service.address}there{number}", tmp_path)
            )
            processes.append(stack.enter_context(running(*words)))
        assert [process.wait(SECONDS) for process in processes] == [0, 0]
        assert least(SIZE, 2) <= monotonic() - began < SECONDS
    for number in range(2):
        for name in (f"here{number}", f"there{number}"):
            one, other = tmp_path / name, tmp_path / "in" / name
            if one.exists() and other.exists():
                assert one.read_bytes() == other.read_bytes()
        assert (tmp_path / "in" / f"here{number}").exists() == (way == "put")
        assert (tmp_path / f"there{number}").exists() == (way == "get")


@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("way", ["put", "get"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_ends_a_wait(
    service: Service, tmp_path: Path, way: str, jobs: str, number: int, code: int
) -> None:
    """A command that waits for its limit, for minutes, ends at once when it is told to."""
    folder = f"interrupt{way}{jobs}{number}"
    source = tmp_path / "here" if way == "put" else service.folder / folder
    for name in "ab":
        (source / name).mkdir(parents=True)
        (source / name / "file").write_bytes(os.urandom(SIZE))
    words = (source, service.address) if way == "put" else (service.address + folder, tmp_path)
    with running(way, "-j", jobs, "--bwlimit", "6K", *words) as process:
        target = service.folder if way == "put" else tmp_path
        while not leftovers(target):
            assert process.poll() is None
        process.send_signal(number)
        began = monotonic()
        assert process.wait(SECONDS) in (code, -number)
        assert monotonic() - began < SECONDS / 2
    if way == "get":
        assert leftovers(tmp_path) == []


def test_a_server_ends_at_once_when_told_twice(tmp_path: Path) -> None:
    """A second signal ends a server whose connections wait for its limit."""
    (tmp_path / "here").write_bytes(os.urandom(SIZE))
    with (
        Service(tmp_path / "in", "--workers", "2", "--bwlimit", "6K") as service,
        running("put", "--retries", "0", tmp_path / "here", service.address) as process,
    ):
        while not leftovers(tmp_path / "in"):
            assert process.poll() is None
        began = monotonic()
        service.process.terminate()
        wait_gone(service.port)
        assert service.end() == 0
        assert monotonic() - began < SECONDS / 2
        assert process.wait(SECONDS) == 6
