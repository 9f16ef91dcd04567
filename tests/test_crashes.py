"""Processes that are killed and disks that lose their power, at every moment of a transfer.

Whatever happens: a name holds a whole file, old or new; what was confirmed is there; the next
process finishes the work, and removes what the dead one has left.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import xxhash
from conftest import framed, leftovers
from disks import FLUSH_ALL, FLUSH_LOG, FLUSH_NOTHING, Disk, ext4, run, why_no_disks
from nursery import PATIENCE, Child, Nursery, traced, wait_for, why_no_tracing

from filexfer import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

KIB = 1 << 10
# What a transfer does to files; "?" is for what some machines lack.
FILE_CALLS = (
    *("openat", "write", "pwrite64", "?rename", "?renameat", "renameat2", "?link", "linkat"),
    *("?unlink", "unlinkat", "?rmdir", "?mkdir", "mkdirat", "symlinkat", "fsync", "fdatasync"),
    *("syncfs", "utimensat", "fchmod", "close", "flock", "fcntl", "ftruncate", "fallocate"),
    *("sendto", "?clone3", "?clone"),  # the moments between: replies, and the start of a flush
)
# What changes the disk, or waits for it; a kill at any other finds it as one of these does.
STEPS = (
    *("openat", "write", "pwrite64", "renameat2", "?rename", "unlinkat", "?unlink", "mkdirat"),
    *("symlinkat", "utimensat", "fsync", "syncfs", "?clone3", "?clone", "sendto"),
)
FLUSHES = "fsync,fdatasync,syncfs"

OLD = {
    "old": b"old" * 1000,
    "large": b"large and old" * 100_000,
}
NEW = {
    "old": b"new" * 900,
    "large": b"large and new" * 100_000,
    "first": b"first" * 100,
    "n/a/b/deep": b"deep" * 1000,
    "n/a/large": b"another" * 200_000,
    "n/empty": b"",
}
LINK = "n/link"
TIME = 1_700_000_000_123_456_789


def lay(top: Path, files: dict[str, bytes], age: int = 0) -> None:
    """Lay a tree of files, *age* seconds older than others."""
    for name, data in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(TIME - age * 10**9,) * 2)


def found(top: Path) -> dict[str, bytes]:
    """Return the files under their names; what is hidden is left out."""
    names: dict[str, bytes] = {}
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if not name.startswith(".fx-")]
        for name in files:
            path = Path(folder, name)
            if not name.startswith(".fx-") and not path.is_symlink():
                names[str(path.relative_to(top))] = path.read_bytes()
    return names


class Torn(AssertionError):  # noqa: N818 - what happened
    """A promise was broken."""


def check(top: Path, confirmed: set[str]) -> None:
    """Hold what is there against the promises."""
    there = found(top)
    for name, data in there.items():
        if data not in (OLD.get(name), NEW.get(name)):
            raise Torn(f"{name} has {len(data)} bytes that nobody sent")
    for name in set(OLD) - set(there):
        raise Torn(f"{name} is gone")
    for name in confirmed:
        is_there = (top / name).is_symlink() if name == LINK else there.get(name) == NEW[name]
        if not is_there:
            raise Torn(f"{name} was confirmed, and is not there")


class Store:
    """A transfer of new files to a folder that holds old ones, with a side that gets killed.

    Args:
        way: ``up`` (the server writes) or ``down`` (the client does).
        place: Where the folder is that is written.
        top: Where the rest is.
        nursery: Forks both sides.
        group: Files that are flushed together, at most.

    """

    def __init__(self, way: str, place: Path, top: Path, nursery: Nursery, group: int = 0) -> None:
        self.target = place / "target"
        self._source = top / "source"
        self._log = top / "log"
        self._nursery = nursery
        self._group = group
        lay(self._source / "tree", NEW)
        (self._source / "tree" / LINK).symlink_to("empty")
        self._sender = nursery.serve(self._source) if way == "down" else None

    def prepare(self) -> None:
        """Lay what is there before."""
        if self.target.exists():
            shutil.rmtree(self.target)
        lay(self.target / "tree", OLD, 100)
        if os.path.ismount(self.target.parent):
            run("sync", "-f", self.target)
        self._log.unlink(missing_ok=True)

    @property
    def confirmed(self) -> set[str]:
        """What the client was told to be there."""
        names = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        return {name.removeprefix("tree/") for name in names}

    @contextmanager
    def running(self, durability: str) -> Iterator[None]:
        """Transfer while the block runs, as far as that goes; then end both sides."""
        writer, client = self._begin(durability)
        client.go()
        yield
        client.wait()
        writer.kill()

    def run(self, durability: str, *injections: str) -> int:
        """Transfer with faults, and return how the side that writes has ended."""
        writer, client = self._begin(durability)
        with ExitStack() as stack:
            if injections:
                stack.enter_context(traced(writer.pid, *injections))
            client.go()
            client.wait()
            writer.go()
            return writer.wait()

    def _begin(self, durability: str) -> tuple[Child, Child]:
        """Start both sides; return the one that writes, and the client, which waits for ``go``."""
        how: dict[str, Any] = {"if_exists": "overwrite", "retries": 0, "jobs": 1}
        if self._sender:
            how |= {"durability": durability, "group": self._group}
            places = (["tree"], self.target, self._log)
            writer = client = self._nursery.get(self._sender.port, *places, **how)
        else:
            writer = self._nursery.serve(
                self.target, durability=durability, allow=["overwrite"], group=self._group
            )
            paths = [str(self._source / "tree")]
            client = self._nursery.put(writer.port, paths, self._log, **how)
        return writer, client

    def check(self) -> None:
        """Hold what is there against the promises; raise Torn."""
        check(self.target / "tree", self.confirmed)

    def recover(self, durability: str) -> None:
        """Let the next process do it all again; it comes into every folder."""
        for folder, _, files in os.walk(self.target):
            if not os.path.basename(folder).startswith(".fx-"):
                for name in sorted(files)[-1:]:
                    os.unlink(os.path.join(folder, name))
        assert self.run(durability) == 0
        assert found(self.target / "tree") == NEW
        assert os.readlink(self.target / "tree" / LINK) == "empty"
        assert leftovers(self.target) == []


tracing = pytest.mark.skipif(bool(why_no_tracing()), reason=why_no_tracing() or "-")
disks = pytest.mark.skipif(bool(why_no_disks()), reason=why_no_disks() or "-")


# Kills


def kill_at(store: Store, durability: str, call: str, number: int) -> bool:
    """Kill the side that writes as it enters its call of that number; False if it has no such."""
    store.prepare()
    code = store.run(durability, f"{call}:signal=KILL:when={number}")
    store.check()
    if code == 0:
        assert store.confirmed == {*NEW, LINK}
        assert leftovers(store.target) == []
        return False
    assert code == -9
    store.recover(durability)
    return True


@tracing
@pytest.mark.parametrize(
    ("way", "call", "number"),
    [
        ("up", "renameat2", 3),
        ("up", "mkdirat", 2),
        ("down", "write", 4),
        ("down", "syncfs", 1),
    ],
)
@pytest.mark.case("G1", "G2")
def test_kill_at_some_calls(
    way: str, call: str, number: int, quick: Path, nursery: Nursery
) -> None:
    """A side that is killed while it writes leaves no torn file, and nothing for long."""
    assert kill_at(Store(way, quick, quick, nursery), "batch", call, number)


@tracing
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("durability", ["none", "batch", "file"])
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.case("G1", "G2")
def test_kill_at_every_call(way: str, durability: str, quick: Path, nursery: Nursery) -> None:
    """Whichever call is the last that a process enters, no promise is broken."""
    store = Store(way, quick, quick, nursery)
    rounds = 0
    for call in FILE_CALLS:
        number = 1
        while kill_at(store, durability, call, number):
            number += 1
        rounds += number - 1
    assert rounds > 50


# Power cuts


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    with ext4(tmp_path_factory.mktemp("disk")) as made:
        yield made


def cut_at(
    store: Store, disk: Disk, durability: str, mode: int, *injections: str, again: bool = False
) -> int:
    """Transfer with faults, cut the power when it is over, and check what is there then."""
    if not again:
        store.prepare()
    code = store.run(durability, *injections)
    disk.cut(mode)
    disk.restart()
    store.check()
    return code


@disks
@pytest.mark.parametrize("durability", ["batch", "file"])
@pytest.mark.case("G3", "G6", "G7")
def test_power_cut_after_the_end(
    durability: str, quick: Path, disk: Disk, nursery: Nursery
) -> None:
    """What was confirmed outlives the hardest cut: new files, new folders, replaced files."""
    store = Store("up", disk.path, quick, nursery)
    assert cut_at(store, disk, durability, FLUSH_NOTHING) == 0
    assert store.confirmed == {*NEW, LINK}
    assert found(store.target / "tree") == NEW


@disks
@tracing
@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("how", "mode"),
    [
        (("up", "batch", 0), FLUSH_LOG),
        (("up", "batch", 0), FLUSH_NOTHING),
        (("up", "batch", 2), FLUSH_ALL),
        (("up", "batch", 2), FLUSH_LOG),
        (("up", "batch", 2), FLUSH_NOTHING),
        (("up", "file", 0), FLUSH_LOG),
        (("up", "file", 0), FLUSH_NOTHING),
        (("down", "batch", 2), FLUSH_LOG),
        (("down", "batch", 2), FLUSH_NOTHING),
    ],
)
@pytest.mark.case("G3", "G6", "G7", "G8")
def test_power_cut_at_every_step(
    how: tuple[str, str, int], mode: int, quick: Path, disk: Disk, nursery: Nursery
) -> None:
    """Wherever a transfer is when the power goes, no promise is broken."""
    way, durability, group = how
    store = Store(way, disk.path, quick, nursery, group)
    rounds = 0
    for call in STEPS:
        number = 1
        while cut_at(store, disk, durability, mode, f"{call}:signal=KILL:when={number}"):
            number += 1
        rounds += number
    assert rounds > 50


@disks
@tracing
@pytest.mark.parametrize(
    ("way", "durability", "call"),
    [
        ("up", "batch", "?clone3,?clone:signal=KILL:when=2"),
        ("down", "batch", "?clone3,?clone:signal=KILL:when=2"),
        ("up", "file", "fsync:signal=KILL:when=2"),
    ],
)
@pytest.mark.case("G3")
def test_power_cut_after_finding_what_a_killed_process_had_named(
    way: str, durability: str, call: str, quick: Path, disk: Disk, nursery: Nursery
) -> None:
    """What counts as there already is as durable as what is sent anew."""
    store = Store(way, disk.path, quick, nursery)
    store.prepare()
    assert store.run(durability, call) == -9
    names = set(found(store.target / "tree"))
    assert store.confirmed < names
    assert cut_at(store, disk, durability, FLUSH_NOTHING, again=True) == 0
    assert store.confirmed == {*NEW, LINK}


@disks
@pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare")
def test_power_comes_back_when_no_namespace_has_the_disk_any_more(disk: Disk) -> None:
    """Tests beside this one make namespaces, which have copies of all mounts."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo; read -r _"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == b"\n"
        end = threading.Timer(0.2, other.stdin.close)
        end.start()
        disk.cut(FLUSH_NOTHING)
        disk.restart()
        end.join()
    (disk.path / "file").write_bytes(b"data")
    (disk.path / "file").unlink()


@disks
@tracing
@pytest.mark.parametrize(
    ("durability", "mode", "text"),
    [
        ("batch", FLUSH_LOG, "bytes that nobody sent"),
        ("batch", FLUSH_NOTHING, "was confirmed, and is not there"),
        ("file", FLUSH_LOG, "bytes that nobody sent"),
        ("file", FLUSH_NOTHING, "was confirmed, and is not there"),
    ],
)
@pytest.mark.case("G4", "G5")
def test_a_cut_is_noticed_when_nothing_is_flushed(
    durability: str, mode: int, text: str, quick: Path, disk: Disk, nursery: Nursery
) -> None:
    """These tests can fail: with flushes that do nothing, each kind of harm is found."""
    store = Store("up", disk.path, quick, nursery)
    with pytest.raises(Torn, match=text):
        cut_at(store, disk, durability, mode, f"{FLUSHES}:retval=0")


@disks
@tracing
@pytest.mark.parametrize(
    ("call", "text"),
    [("fsync:retval=0:when=1", "bytes that nobody sent"), ("fsync:retval=0:when=2", "not there")],
    ids=["contents", "names"],
)
@pytest.mark.case("G4", "G5")
def test_a_cut_is_noticed_when_one_flush_is_left_out(
    call: str, text: str, quick: Path, disk: Disk, nursery: Nursery
) -> None:
    """A file of its own is flushed first, then the folder; neither is for nothing."""
    store = Store("up", disk.path, quick, nursery)
    for name in ("n", "old", "large"):
        path = quick / "source" / "tree" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(Torn, match=text):
        cut_at(store, disk, "file", FLUSH_NOTHING, call, "syncfs:retval=0")


@disks
@pytest.mark.parametrize("durability", ["batch", "file"])
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(15, marks=[pytest.mark.slow, pytest.mark.timeout(240)])]
)
@pytest.mark.case("G3", "G8")
def test_power_cut_under_a_server_that_goes_on(
    durability: str, rounds: int, quick: Path, disk: Disk, nursery: Nursery
) -> None:
    """A server that lives on for a while confirms nothing that is not durable."""
    store = Store("up", disk.path, quick, nursery, group=2)
    numbers = random.Random(rounds)
    for _ in range(rounds):
        for mode in (FLUSH_ALL, FLUSH_LOG, FLUSH_NOTHING):
            store.prepare()
            with store.running(durability):
                time.sleep(numbers.uniform(0, 0.03))  # any moment will do
                disk.cut(mode)
            disk.restart()
            store.check()


# Load


class Load:
    """Clients that put a tree each to one server, over and over until all is there."""

    SMALL, CLIENTS = 40, 3

    def __init__(self, top: Path, nursery: Nursery) -> None:
        self.target = top / "target"
        self.target.mkdir()
        self._top = top
        self._nursery = nursery
        self._new: dict[str, bytes] = {}
        for number in range(self.CLIENTS):
            files = {
                f"{number}/{each % 5}/{each}": b"%d" % each * each * 50
                for each in range(self.SMALL)
            }
            files[f"{number}/large"] = b"%d" % number * 3_000_000
            lay(top / "source", files)
            self._new |= files

    def run(self, durability: str, moment: float = 0.0, victim: int | None = None) -> bool:
        """Let all work, kill one after *moment* seconds, and tell whether all is there."""
        server = self._nursery.serve(self.target, durability=durability)
        clients = []
        for number in range(self.CLIENTS):
            path = str(self._top / "source" / f"{number}")
            log = self._top / f"log {number}"
            clients.append(self._nursery.put(server.port, [path], log, retries=0))
        for client in clients:
            client.go()
        time.sleep(moment)  # any moment will do
        if victim == self.CLIENTS:
            server.kill()
        elif victim is not None:
            clients[victim].kill()
        codes = [client.wait() for client in clients]
        server.go()
        server.wait()
        return not any(codes)

    def check(self, *, is_whole: bool) -> None:
        """Hold what is there against the promises."""
        there = found(self.target)
        for name, data in there.items():
            assert data == self._new.get(name), name
        for log in self._top.glob("log *"):
            for name in log.read_text(encoding="utf-8").split():
                assert name in there, name
        if is_whole:
            assert there == self._new
            for log in self._top.glob("log *"):
                log.unlink()

    def remove_files(self) -> None:
        """Remove what the next run has to put again, and nothing else."""
        for name in found(self.target):
            (self.target / name).unlink()

    def clear(self) -> None:
        """Begin anew."""
        for each in self.target.iterdir():
            shutil.rmtree(each)


@pytest.mark.parametrize(
    "rounds", [4, pytest.param(110, marks=[pytest.mark.slow, pytest.mark.timeout(240)])]
)
@pytest.mark.parametrize("durability", ["none", "batch"])
@pytest.mark.case("G1", "G2", "G20", "G21")
def test_kills_at_random_moments_under_load(
    durability: str, rounds: int, quick: Path, nursery: Nursery
) -> None:
    """Server or client: who is killed takes nothing along, and the next try goes on from there."""
    load = Load(quick, nursery)
    numbers = random.Random(rounds)
    for _ in range(rounds):
        victim = numbers.choice((0, load.CLIENTS, load.CLIENTS))
        is_whole = load.run(durability, numbers.uniform(0, 0.08), victim)
        load.check(is_whole=is_whole)
        if is_whole:  # whoever writes in a folder next clears it up
            load.remove_files()
            assert load.run(durability)
            load.check(is_whole=True)
            assert leftovers(load.target) == []
            load.clear()


# Two servers of one folder


@pytest.mark.case("G9")
def test_a_server_cleans_up_after_the_dead_and_never_after_the_living(
    quick: Path, nursery: Nursery
) -> None:
    """A lock tells who lives; age and process do not matter."""
    target = quick / "target"
    target.mkdir()
    first = nursery.serve(target, durability="none")
    slow = socket.create_connection(("127.0.0.1", first.port), PATIENCE)
    slow.settimeout(PATIENCE)
    data = b"slow" * 300_000
    slow.sendall(framed({"kind": "hello", "version": 1}) + framed({"kind": "put"}))
    slow.sendall(framed({"kind": "file", "name": "slow", "size": len(data), "mtime": 5}))
    slow.sendall(struct.pack("!I", len(data)) + data[: len(data) // 2])
    wait_for(lambda: leftovers(target))
    (living,) = leftovers(target)
    os.utime(living, (0, 0))
    lay(quick / "source", {"file": b"data"})
    for number in range(3):  # each is new to the folder, and would clean up
        other = nursery.serve(target, durability="none")
        with Client("127.0.0.1", other.port, timeout=PATIENCE) as client:
            assert client.put([quick / "source" / "file"], f"{number}").files == 1
        other.kill()
        assert leftovers(target) == [living]
    slow.sendall(data[len(data) // 2 :] + struct.pack("!I", 0))
    digest = f"xxh3_128:{xxhash.xxh3_128_hexdigest(data)}"
    slow.sendall(framed({"kind": "trailer", "hash": digest}) + framed({"kind": "end"}))
    wait_for((target / "slow").exists)
    assert (target / "slow").read_bytes() == data
    slow.sendall(
        framed({"kind": "put"}) + framed({"kind": "file", "name": "dead", "size": 9 << 20})
    )
    slow.sendall(struct.pack("!I", 4 << 20) + bytes(2 << 20))
    wait_for(lambda: leftovers(target))
    first.kill()
    slow.close()
    assert len(leftovers(target)) == 1
    other = nursery.serve(target, durability="none")
    with Client("127.0.0.1", other.port, timeout=PATIENCE) as client:
        assert client.put([quick / "source" / "file"], "last").files == 1
    assert leftovers(target) == []
