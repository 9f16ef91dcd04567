"""Many clients, many files, long ones, and slow ones beside fast ones, at a server of processes.

By default in small numbers, which is enough to see a count that is off by one; the real numbers
are marked slow.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Raw, leftovers, tree_state
from test_big import MEMORY_MAX, most_memory
from test_cli_process import Service, fx
from test_workers import children

from filexfer import Client, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TIME = 1_700_000_000_123_456_789
ROOM = 4 << 30  # bytes that the largest of these tests may take
PATIENCE = 120.0  # seconds; no wait in a passing test comes near it

linux_only = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


def slow(*values: object, alone: bool = False) -> object:
    """Return the parameters of a test in its real size."""
    marks = [pytest.mark.slow, pytest.mark.timeout(300)]
    return pytest.param(*values, marks=[*marks, pytest.mark.alone] if alone else marks)


def at_once(count: int, work: Callable[[int], None]) -> list[float]:
    """Do *work* in so many threads that begin together; return how long each took, in order."""
    begin = threading.Barrier(count)
    taken: list[float] = []
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            begin.wait()
            began = time.monotonic()
            work(number)
            taken.append(time.monotonic() - began)
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sorted(taken)


def held(service: Service) -> dict[int, tuple[int, int]]:
    """Return how many descriptors and threads each process of a server has; Linux only."""
    return {
        pid: (len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")))
        for pid in children(service.process.pid) | {service.process.pid}
    }


def wait_until_it_holds(service: Service, before: dict[int, tuple[int, int]]) -> None:
    """Wait until a server has no more open, and runs no more, than it did before."""
    until = time.monotonic() + PATIENCE
    while any(
        now > then
        for pid, counts in held(service).items()
        for now, then in zip(counts, before[pid], strict=True)
    ):
        assert time.monotonic() < until, (held(service), before)
        time.sleep(0.05)


def look(port: int, count: int) -> None:
    """Look at a server over several connections at once."""
    clients = [Client("127.0.0.1", port, timeout=PATIENCE) for _ in range(count)]
    for client in clients:
        assert client.stat("")
    for client in clients:
        client.close()


def slow_one(address: tuple[str, int], number: int) -> Raw:
    """Begin a transfer, up or down in turn, that takes for ever."""
    peer = Raw(socket.create_connection(address, PATIENCE))
    peer.greet()
    if number % 2:
        digest = "md5:" + hashlib.md5(b"").hexdigest()
        file = {"kind": "file", "name": f"slow{number}", "size": 1 << 20, "hash": digest}
        peer.frame({"kind": "put"})
        peer.frame(file)
    else:
        peer.frame({"kind": "get", "names": ["large"], "fresh": True})
    return peer


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """Make a folder in memory, if there is room: a disk wears out, and may stall for seconds."""
    place = "/dev/shm"
    if not os.access(place, os.W_OK) or shutil.disk_usage(place).free < ROOM:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=place) as name:
        yield Path(name)


@linux_only
@pytest.mark.case("J1", "J7")
@pytest.mark.parametrize(("count", "size"), [(60, 1 << 16), slow(1000, 1 << 20, alone=True)])
def test_many_clients(
    in_memory: Path, record_property: Callable[[str, object], None], count: int, size: int
) -> None:
    """All come at once, up and down; every byte is right, and then nothing is held."""
    data = random.Random(count).randbytes(size + count)
    timeout = PATIENCE
    for folder in ("local", "back"):
        (in_memory / folder).mkdir()

    def of(number: int) -> bytes:
        return data[number : number + size]

    def go(number: int) -> None:
        with Client("127.0.0.1", service.port, timeout=timeout) as client:
            source = in_memory / "local" / f"{number}"
            source.write_bytes(of(number))
            options = Options(durability="none", jobs=1, retries=10)
            report = client.put([source], "", options)
            assert (report.files, report.failed) == (1, 0), report.failures
            source.unlink()
            report = client.get([f"{number}"], in_memory / "back/", options)
            assert (report.files, report.failed) == (1, 0), report.failures

    with Service(in_memory / "served", "--workers", "2", "--durability", "none") as service:
        look(service.port, 8)  # so that both workers have loaded what they need
        before = held(service)
        taken = at_once(count, go)
        wait_until_it_holds(service, before)
        most = max(most_memory(pid) for pid in before)
        assert service.end() == 0
        assert service.rest() == ""
    record_property("seconds, 99 of 100", taken[len(taken) * 99 // 100])
    record_property("bytes of memory, most of a worker", most)
    assert most < MEMORY_MAX + count * (3 << 20)
    for top in ("served", "back"):
        assert leftovers(in_memory / top) == []
        for number in range(count):
            assert (in_memory / top / f"{number}").read_bytes() == of(number)


@pytest.mark.case("J3")
@pytest.mark.parametrize(
    ("count", "jobs", "durability"),
    [(1000, 4, "batch"), slow(100_000, 8, "none"), slow(100_000, 8, "batch")],
)
def test_many_files(in_memory: Path, count: int, jobs: int, durability: str) -> None:
    """Small files over several connections arrive as they are, up and down."""
    tmp_path = in_memory
    for number in range(count):
        folder = tmp_path / "tree" / f"{number % 5}" / f"{number % 37}"
        if number < 5 * 37:
            folder.mkdir(parents=True, exist_ok=True)
        data = b"%d" % number * (number % 200)
        fd = os.open(folder / f"{number}", os.O_WRONLY | os.O_CREAT)
        os.write(fd, data)
        os.utime(fd, ns=(TIME + number, TIME + number))
        os.close(fd)
    for path, _, _ in os.walk(tmp_path / "tree", topdown=False):
        os.utime(path, ns=(TIME, TIME))
    with Service(tmp_path / "served", "--workers", "2", "--durability", durability) as service:
        how = ("--jobs", jobs)
        up = fx("put", *how, tmp_path / "tree", service.address, timeout=PATIENCE)
        assert (up.returncode, up.stderr.split(" ")[0]) == (0, str(count)), up.stderr
        words = (f"{service.address}tree", tmp_path / "back/", "--durability", durability)
        down = fx("get", *how, *words, timeout=PATIENCE)
        assert (down.returncode, down.stderr.split(" ")[0]) == (0, str(count)), down.stderr
        again = fx("put", *how, tmp_path / "tree", service.address, timeout=PATIENCE)
        assert f", {count} skipped -> " in again.stderr
    before = tree_state(tmp_path / "tree")
    assert tree_state(tmp_path / "served" / "tree") == before
    assert tree_state(tmp_path / "back" / "tree") == before


@pytest.mark.case("J9")
@pytest.mark.parametrize(("slowly", "fast"), [(60, 8), slow(500, 50, alone=True)])
def test_slow_clients_beside_fast_ones(tmp_path: Path, slowly: int, fast: int) -> None:
    """Who sends or reads a little now and then holds up nobody."""
    served = tmp_path / "served"
    data = os.urandom(1 << 20)
    (tmp_path / "local").mkdir()
    for number in range(fast):
        (tmp_path / "local" / f"{number}").write_bytes(data)
    over = threading.Event()
    peers: list[Raw] = []

    def trickle() -> None:
        while not over.wait(0.02):
            for number, peer in enumerate(peers):
                if number % 2:
                    peer.send(b"x")
                else:
                    peer.sock.recv(1000)

    with Service(served, "--workers", "2", "--durability", "none") as service:
        (served / "large").write_bytes(bytes(32 << 20))
        address = ("127.0.0.1", service.port)
        peers += [slow_one(address, number) for number in range(slowly)]
        thread = threading.Thread(target=trickle)
        thread.start()

        def go(number: int) -> None:
            with Client(*address, timeout=PATIENCE) as client:
                options = Options(durability="none", jobs=1)
                source = tmp_path / "local" / f"{number}"
                assert client.put([source], f"fast{number}", options).files == 1
                assert client.get([f"fast{number}"], tmp_path / f"{number}", options).files == 1

        taken = at_once(fast, go)
        over.set()
        thread.join()
        for peer in peers:
            peer.reset()
        assert service.end() == 0
    assert taken[-1] < PATIENCE  # they move megabytes; a slow one would have taken hours
    for number in range(fast):
        assert (tmp_path / f"{number}").read_bytes() == data
        assert (served / f"fast{number}").read_bytes() == data
    assert leftovers(served) == []
