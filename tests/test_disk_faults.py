"""Disks that refuse: full, out of names, read-only, failing, slow to take; and limits of a process.

The faults are real where a disk or a limit can be made for them, else strace makes a system call
fail. Whatever fails, each file is told with its reason, a name holds a whole file, and the other
side and the other files go on.
"""

from __future__ import annotations

import os
import resource
import socket
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import leftovers
from disks import MIB, ext4, memory, why_no_disks
from nursery import PATIENCE, Nursery, traced, wait_for, why_no_tracing

from filexfer import Client, Options, RefusedError
from filexfer.errors import Code
from filexfer.wire.protocol import PLAIN_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from filexfer import Report

KIB = 1 << 10
TREE = {
    "a small": b"small" * 100,
    "large": b"large" * ((PLAIN_MAX + 300_000) // 5),
    "n/a/deep": b"deep" * 1000,
    "z last": b"last" * 10,
}

tracing = pytest.mark.skipif(bool(why_no_tracing()), reason=why_no_tracing() or "-")
disks = pytest.mark.skipif(bool(why_no_disks()), reason=why_no_disks() or "-")
linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks into /proc")


def lay(top: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return top


def told(report: Report) -> dict[str, str]:
    """Return the codes of what failed."""
    return {error.name: str(error.code) for error in report.failures}


class Put:
    """A server in a process of its own, and a client that puts a tree to it."""

    def __init__(self, top: Path, target: Path, nursery: Nursery, **options: Any) -> None:
        target.mkdir(parents=True, exist_ok=True)
        self.target = target
        self.server = nursery.serve(target, **options)
        self.client = Client("127.0.0.1", self.server.port, timeout=PATIENCE)
        self.source = lay(top / "source" / "tree", TREE)

    def __enter__(self) -> Put:
        self.client.stat("")  # who is traced from now on is in the middle of a session
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.close()
        self.server.kill()

    def send(self, **how: Any) -> Report:
        return self.client.put([self.source], "", Options(jobs=1, retries=0, **how))

    def check(self, report: Report) -> None:
        """What did not fail is there, whole, and nothing else is."""
        failed = told(report)
        there = {
            str(path.relative_to(self.target)): path.read_bytes()
            for path in self.target.rglob("*")
            if path.is_file()
        }
        expected = {f"tree/{name}": data for name, data in TREE.items()}
        assert there == {name: data for name, data in expected.items() if name not in failed}
        assert report.files + report.skipped == len(there)


# What fails, the durability, and the codes of the files that fail with it.
REFUSALS = [
    ("openat:error=ENOSPC:when=1+", "none", {Code.NO_SPACE}),
    ("openat:error=EIO:when=1+", "none", {Code.IO_ERROR}),
    ("openat:error=EMFILE:when=1+", "batch", {Code.IO_ERROR}),
    ("write:error=ENOSPC:when=1+", "none", {Code.NO_SPACE}),
    ("write:error=ENOSPC:when=2", "batch", {Code.NO_SPACE}),
    ("write:error=EIO:when=2", "none", {Code.IO_ERROR}),
    ("write:error=EDQUOT:when=2", "none", {Code.NO_SPACE}),
    ("close:error=EIO:when=1+", "none", {Code.IO_ERROR}),
    ("utimensat:error=EIO:when=2", "none", {Code.IO_ERROR}),
    ("?mkdir,mkdirat:error=ENOSPC:when=1+", "none", {Code.NO_SPACE}),
    ("?mkdir,mkdirat:error=ENOSPC:when=1", "batch", {Code.NO_SPACE}),
    ("renameat2:error=ENOSPC:when=2", "none", {Code.NO_SPACE}),
    ("renameat2:error=EIO:when=1", "batch", {Code.IO_ERROR}),
]


@tracing
@pytest.mark.parametrize(("injection", "durability", "codes"), REFUSALS)
@pytest.mark.case("F1", "F3", "F6", "F17")
def test_a_call_that_fails_fails_its_files(
    injection: str, durability: str, codes: set[str], quick: Path, nursery: Nursery
) -> None:
    """Nothing of them is left, and the next try finds a server that works."""
    with Put(quick, quick / "served", nursery, durability=durability) as put:
        with traced(put.server.pid, injection):
            report = put.send()
        assert report.failed
        assert set(told(report).values()) <= codes
        put.check(report)
        assert leftovers(put.target) == []
        again = put.send()
        assert not again.failed
        put.check(again)


@tracing
@pytest.mark.parametrize(
    ("injection", "durability"),
    [
        ("syncfs:error=EIO:when=1+", "batch"),
        ("fsync:error=EIO:when=1", "file"),
        ("fsync:error=EIO:when=2", "file"),
        ("fsync:error=EIO:when=1+", "file"),
    ],
)
@pytest.mark.case("F6")
def test_a_flush_that_fails_is_the_last(
    injection: str, durability: str, quick: Path, nursery: Nursery
) -> None:
    """What it was for is not confirmed, and the server stores no more, but it serves on."""
    target = quick / "served"
    (target / "there").mkdir(parents=True)
    with Put(quick, target, nursery, durability=durability) as put:
        with traced(put.server.pid, injection):
            report = put.send()
        assert set(told(report).values()) == {Code.IO_ERROR}
        assert leftovers(target) == []
        for name, data in TREE.items():
            path = target / "tree" / name
            assert not path.exists() or path.read_bytes() == data
        with pytest.raises(RefusedError, match="until the server is started anew"):
            put.send()
        assert put.client.stat("there")
    with Put(quick, target, nursery, durability=durability) as put:
        again = put.send()
        put.check(again)
        assert not again.failed


@tracing
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.case("F6")
def test_what_is_there_already_is_no_success_if_the_disk_fails(
    way: str, quick: Path, nursery: Nursery
) -> None:
    """Nothing is sent, and yet the command promises that all is durable."""
    with Put(quick, quick / "served", nursery, durability="batch") as put:
        assert not put.send().failed
        if way == "up":
            with (
                traced(put.server.pid, "syncfs:error=EIO:when=1+"),
                pytest.raises(RefusedError, match=r"failed to keep it .*Input/output error"),
            ):
                put.send()
            return
        how: dict[str, Any] = {"durability": "batch", "jobs": 1}
        places = (put.server.port, ["tree"], quick / "got", quick / "log")
        for injection, code in (("", 0), ("syncfs:error=EIO:when=1+", 1)):
            client = nursery.get(*places, **how)
            with traced(client.pid, injection or "syncfs:delay_exit=1"):
                client.go()
                assert client.wait() == code


@tracing
@pytest.mark.case("F6")
def test_one_flush_that_fails_is_not_tried_again(quick: Path, nursery: Nursery) -> None:
    """The next one would succeed, and what was lost would be confirmed."""
    with Put(quick, quick / "served", nursery, durability="batch", group=1) as put:
        with traced(put.server.pid, "syncfs:error=EIO:when=1"):
            report = put.send()
        assert set(told(report).values()) == {Code.IO_ERROR}
        assert report.files == 0


@tracing
@pytest.mark.parametrize(
    "injection",
    [
        "openat,fsync:error=EINTR:when=1+2",
        "write:error=EINTR:when=2+3",
    ],
)
@pytest.mark.case("F7")
def test_a_call_that_is_interrupted_is_made_again(
    injection: str, quick: Path, nursery: Nursery
) -> None:
    """A signal harms nothing."""
    with Put(quick, quick / "served", nursery, durability="file") as put:
        with traced(put.server.pid, injection):
            report = put.send()
        assert not report.failed
        put.check(report)


@tracing
@disks
@pytest.mark.parametrize("size", [PLAIN_MAX, 3 * PLAIN_MAX])
@pytest.mark.case("F7")
def test_a_write_that_takes_less_is_gone_on_with(
    size: int, tmp_path: Path, nursery: Nursery
) -> None:
    """A disk that is nearly full takes a part; when room is made, it takes the rest."""
    data = os.urandom(size)
    (tmp_path / "file").write_bytes(data)
    with (
        memory(tmp_path, 4 * MIB) as disk,
        Put(tmp_path, disk / "served", nursery, durability="none") as put,
    ):
        fill(disk / "filler", 100 * KIB)
        with traced(put.server.pid, "write:delay_exit=1000000:when=1"):
            paths, log = [str(tmp_path / "file")], tmp_path / "log"
            client = nursery.put(put.server.port, paths, log, jobs=1)
            client.go()
            wait_for(lambda: not free(disk))
            (disk / "filler").unlink()
            assert client.wait() == 0
        assert (put.target / "file").read_bytes() == data


def free(path: Path) -> int:
    """Return the free bytes of a disk."""
    found = os.statvfs(path)
    return found.f_bfree * found.f_frsize


def fill(path: Path, left: int) -> None:
    """Make a file that leaves so many bytes free."""
    path.write_bytes(bytes(free(path.parent) - left))


@tracing
@pytest.mark.case("F11")
def test_a_disk_that_cannot_be_read_fails_its_files(
    quick: Path, tmp_path: Path, nursery: Nursery
) -> None:
    """The client is told, and gets the others."""
    with Put(quick, quick / "served", nursery, durability="none") as put:
        lay(put.target / "tree", TREE)
        with traced(put.server.pid, "pread64,preadv,?preadv2,readv:error=EIO:when=2"):
            options = Options(jobs=1, durability="none")
            report = put.client.get(["tree"], tmp_path / "got", options)
        assert set(told(report).values()) == {Code.UNREADABLE}
        assert report.files + report.failed == len(TREE)
        for name, data in TREE.items():
            path = tmp_path / "got" / "tree" / name
            assert path.exists() == (f"tree/{name}" not in told(report))
            assert not path.exists() or path.read_bytes() == data


@tracing
@pytest.mark.case("F18")
def test_what_cannot_be_removed_is_hidden_until_the_next_process(
    quick: Path, nursery: Nursery
) -> None:
    """The file fails for its own reason, and its remains go when somebody else writes there."""
    target = quick / "served"
    (target / "tree").mkdir(parents=True)
    with Put(quick, target, nursery, durability="none") as put:
        with traced(
            put.server.pid, "write:error=ENOSPC:when=1", "?unlink,unlinkat:error=EIO:when=1+"
        ):
            report = put.send()
        assert list(told(report).values()) == [Code.NO_SPACE]
        assert len(leftovers(target)) == 1
        listed = {f"tree/{entry.name}" for entry in put.client.list("tree", recursive=True)}
        assert {f"tree/{name}" for name in TREE} - set(told(report)) <= listed
        assert not any(".fx-" in name for name in listed)
    with Put(quick, target, nursery, durability="none") as put:
        assert put.send().files == 1
        assert leftovers(target) == []


# Disks that refuse for real


@disks
@pytest.mark.case("F1", "F2")
def test_a_full_ext4_fails_what_does_not_fit(tmp_path: Path, nursery: Nursery) -> None:
    """Its room is given back, so that smaller files still fit."""
    with ext4(tmp_path, 16 * MIB) as disk, Put(tmp_path, disk.path / "in", nursery) as put:
        big = lay(tmp_path / "big", {"first": os.urandom(30 * MIB), "second": os.urandom(3 * MIB)})
        report = put.client.put([big], "", Options(jobs=1))
        assert told(report) == {"big/first": Code.NO_SPACE}
        assert report.files == 1
        report = put.client.put([f"{big}/first"], "again", Options(jobs=1))
        assert told(report) == {"again": Code.NO_SPACE}
        assert leftovers(put.target) == []
        put.client.put([put.source], "", Options(jobs=1))
        assert (put.target / "tree" / "large").read_bytes() == TREE["large"]


@disks
@pytest.mark.case("F15")
def test_a_disk_that_becomes_read_only_fails_files_until_it_is_not(
    tmp_path: Path, nursery: Nursery
) -> None:
    """Whether it was made so or has failed, reading goes on."""
    with ext4(tmp_path) as disk, Put(tmp_path, disk.path / "in", nursery) as put:
        assert not put.send().failed
        (put.source / "more").mkdir()
        for number in range(3):
            (put.source / "more" / f"{number}").write_bytes(b"data")
        disk.remount("ro")
        report = put.send()
        assert set(told(report).values()) == {Code.DENIED}
        assert all("read-only" in error.text for error in report.failures)
        assert {f"tree/more/{number}" for number in range(3)} <= set(told(report))
        assert report.skipped == len(TREE)
        assert put.client.get(["tree"], tmp_path / "got", Options(durability="none")).failed == 0
        disk.remount("rw")
        again = put.send()
        assert (again.files, again.failed) == (3, 0)


@disks
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.case("F5")
def test_a_disk_without_room_for_names(way: str, tmp_path: Path, nursery: Nursery) -> None:
    """What fits is there, what does not is told, and nothing hidden takes up names."""
    many = {f"{number % 7}/{number}": b"%d" % number for number in range(60)}
    with memory(tmp_path, 4 * MIB, 40) as disk:
        target = disk if way == "up" else tmp_path / "served"
        with Put(tmp_path, target / "in", nursery) as put:
            if way == "up":
                source = lay(tmp_path / "many", many)
                report = put.client.put([source], "", Options(jobs=1))
                there = put.target / "many"
            else:
                lay(put.target / "many", many)
                report = put.client.get(["many"], disk / "got/", Options(jobs=1))
                there = disk / "got" / "many"
            found = [path for path in there.rglob("*") if path.is_file()]
            assert set(told(report).values()) <= {Code.NO_SPACE, Code.NOT_FOUND}
            assert 10 < len(found) == report.files < 60
            assert leftovers(disk) == []


# Limits of a process


@linux
@pytest.mark.case("F4")
def test_a_server_may_write_only_small_files(quick: Path, nursery: Nursery) -> None:
    """A limit of the process fails what goes beyond, and nothing else."""
    with Put(quick, quick / "served", nursery, limits={"FSIZE": 400_000}) as put:
        report = put.send()
        assert told(report) == {"tree/large": Code.TOO_LARGE}
        put.check(report)
        assert leftovers(put.target) == []


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.settimeout(PATIENCE)
    return sock


def ticks(pid: int) -> float:
    """Return the seconds that a process has worked."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@linux
@pytest.mark.case("F8")
def test_a_server_without_descriptors_waits_for_some(quick: Path, nursery: Nursery) -> None:
    """It accepts nobody, hardly works meanwhile, and goes on when there are some again."""
    with Put(quick, quick / "served", nursery, limits={"NOFILE": 24}) as put:
        put.client.close()
        others = [connected(put.server.port) for _ in range(30)]
        wait_for(lambda: len(os.listdir(f"/proc/{put.server.pid}/fd")) >= 24)
        before, began = ticks(put.server.pid), time.monotonic()
        time.sleep(0.5)  # a loop without a pause would work all the time
        worked = ticks(put.server.pid) - before
        assert worked < 0.4 * (time.monotonic() - began)
        for other in others:
            other.close()
        report = put.send()
        assert not report.failed
        put.check(report)


@linux
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.case("F8")
def test_few_descriptors_are_enough_for_many_folders(
    way: str, quick: Path, nursery: Nursery
) -> None:
    """A tree may have more folders than a process may have open."""
    source = lay(quick / "many", {f"{n % 9}/{n}/f": b"%d" % n for n in range(300)})
    limits = {"NOFILE": 64}
    if way == "up":
        (quick / "in").mkdir()
        server = nursery.serve(quick / "in", durability="batch", limits=limits)
        client = nursery.put(server.port, [str(source)], quick / "log", jobs=1)
    else:
        server = nursery.serve(source, limits=limits)
        client = nursery.get(server.port, [""], quick / "in", quick / "log", limits=limits, jobs=1)
    client.go()
    assert client.wait() == 0
    assert len((quick / "log").read_text(encoding="utf-8").split()) == 300


@linux
@pytest.mark.case("F8")
def test_files_for_which_no_descriptor_is_left_are_told(quick: Path, nursery: Nursery) -> None:
    """The session goes on, and stores them when there are some again."""
    with Put(quick, quick / "served", nursery, durability="batch") as put:
        pid, held = put.server.pid, len(os.listdir(f"/proc/{put.server.pid}/fd"))
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (held + 2, before[1]))
        report = put.send()
        assert set(told(report).values()) == {Code.IO_ERROR}
        assert all("too many open files" in error.text for error in report.failures)
        assert leftovers(put.target) == []
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        again = put.send()
        assert not again.failed
        put.check(again)
