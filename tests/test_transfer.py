"""Uploads and downloads through a real client and a real server."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, dig, leftovers, tree_state
from test_storage_reading import powerless

from filexfer import (
    Client,
    FileError,
    IntegrityError,
    LocalError,
    Options,
    RefusedError,
    Report,
    Server,
    UsageError,
)
from filexfer.errors import Code
from filexfer.hashing import ALGORITHMS
from filexfer.names import derived, shown
from filexfer.storage import system
from filexfer.storage.reading import LargeFile, Reading
from filexfer.transfer import questions, window
from filexfer.transfer.buffers import LARGE, SMALL
from filexfer.wire.intake import BUFFER
from filexfer.wire.protocol import PART_MAX, PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer.entry import Entry

    Serve = Callable[..., Served]
    Change = Callable[[Path], object]

pytestmark = pytest.mark.usefixtures("no_leftovers")

KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20
TIME = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
LEFT = ".fx-" + "0" * 32 + ".part"
ONCE = Options(durability="none", retries=0)


class Route:
    """One way for files to go: up to a server or down from one."""

    def __init__(self, way: str, served: Served, local: Path) -> None:
        self.is_up = way == "up"
        self.served = served
        self.client = served.client()
        local.mkdir()
        self.source = local if self.is_up else served.folder
        self.target = served.folder if self.is_up else local

    def send(self, *names: str, to: str = "", report: Report | None = None, **how: Any) -> Report:
        """Transfer what has these names in the source to the target."""
        options = Options(**{"durability": "none", **how})
        if self.is_up:
            # A plain join: a slash at a name's end must stay.
            paths = [f"{self.source}/{name}" for name in names]
            return self.client.put(paths, to, options, report)
        return self.client.get(names, f"{self.target}/{to}", options, report)


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Route:
    return Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")


def lay(path: Path, data: bytes = b"data", mtime: int = TIME, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.chmod(path, mode)
    os.utime(path, ns=(mtime, mtime))
    return path


def failures(report: Report) -> dict[str, str]:
    """Return the codes of what failed; each is told once, and the count agrees."""
    told = [(error.name, str(error.code)) for error in report.failures]
    assert sorted(told) == sorted(set(told))
    assert report.failed == len(told)
    return dict(told)


def counts(report: Report) -> dict[str, int]:
    words = ("files", "bytes", "skipped", "skipped_bytes", "failed")
    return {word: getattr(report, word) for word in words if getattr(report, word)}


ODD = [
    *("-rf", "~", "a\nb\x1b[31m\x7f", "你好.txt", "e\u0301", "\u00e9", " x. ", "C:\\x"),
    *("\u202egpj", "👩\u200d💻", os.fsdecode(b"\xff\x1b[31m"), "x" * 255, "test%46.txt", "%00"),
]


def lay_tree(top: Path) -> dict[str, int]:
    """Lay a tree of all that there may be; return how many files, with links, and bytes it has."""
    files = size = 0
    for number, name in enumerate(ODD):
        lay(top / "odd" / name / name, os.fsencode(name), TIME + number)
    for number, mode in enumerate((0o644, 0o755, 0o600, 0o400, 0o500)):
        lay(top / "modes" / f"{mode:o}", b"%o" % mode, TIME - number * SECOND, mode)
    for number in range(40):
        lay(top / "many" / f"{number % 7}" / f"{number}", b"%d" % number * number)
    lay(top / "large" / "file", os.urandom(3 * MEBIBYTE))
    lay(top / "old", b"", -1_500_000_000)
    (top / "empty" / "within" / "empty").mkdir(parents=True)
    (top / "links").mkdir()
    for name, target in {
        "here": "there",
        "up": "../old",
        "folder": "../many",
        os.fsdecode(b"raw\xff"): os.fsdecode(b"to\xff"),
    }.items():
        os.symlink(target, top / "links" / name)
        os.utime(top / "links" / name, ns=(TIME, TIME), follow_symlinks=False)
    for folder, folders, names in os.walk(top, topdown=False):
        for name in (*names, *folders):
            status = os.lstat(os.path.join(folder, name))
            files += not stat.S_ISDIR(status.st_mode)
            size += status.st_size if stat.S_ISREG(status.st_mode) else 0
        depth = os.path.relpath(folder, top).count("/")
        os.chmod(folder, 0o755 if depth % 2 else 0o750)
        os.utime(folder, ns=(TIME, TIME + depth))
    return {"files": files, "bytes": size}


def whole_state(top: Path) -> object:
    """Return the state of a tree with its own folder's mode and time."""
    status = top.stat()
    return stat.S_IMODE(status.st_mode), status.st_mtime_ns, tree_state(top)


# Trees


@pytest.mark.case("D13", "D14")
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_tree_arrives_as_it_is(route: Route, jobs: int) -> None:
    """Bytes, modes, times, links, empty folders and odd names."""
    expected = lay_tree(route.source / "tree")
    report = route.send("tree", jobs=jobs)
    assert failures(report) == {}
    assert report.warnings == []
    assert counts(report) == expected
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_second_run_sends_nothing(route: Route, jobs: int) -> None:
    expected = lay_tree(route.source / "tree")
    route.send("tree", jobs=jobs)
    before = whole_state(route.target / "tree")
    report = route.send("tree", jobs=jobs)
    assert counts(report) == {
        "skipped": expected["files"],
        "skipped_bytes": expected["bytes"],
    }
    assert report.moved == 0
    assert report.folders == 0
    assert whole_state(route.target / "tree") == before


@pytest.mark.parametrize("jobs", [1, 3])
def test_only_what_is_missing_or_changed_is_sent(route: Route, jobs: int) -> None:
    """And the folders have the times of their sources again."""
    expected = lay_tree(route.source / "tree")
    route.send("tree", jobs=jobs)
    os.unlink(route.target / "tree" / "many" / "1" / "1")
    shutil.rmtree(route.target / "tree" / "many" / "2")
    os.unlink(route.target / "tree" / "links" / "here")
    lay(route.source / "tree" / "many" / "3" / "3", b"something else")
    lay(route.target / "tree" / "modes" / "644", b"xxx", 5)  # same size, other time and bytes
    report = route.send("tree", jobs=jobs, if_exists="overwrite")
    gone = 1 + 6 + 1
    assert report.files == gone + 2
    assert report.skipped == expected["files"] - gone - 2
    assert tree_state(route.target / "tree") == tree_state(route.source / "tree")


def test_a_tree_of_thousands_of_small_files(route: Route) -> None:
    """More than one question, one window of replies, or one write holds."""
    for number in range(2000):
        path = route.source / "tree" / f"{number % 20}" / f"a rather long name {number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
    assert route.send("tree").files == 2000
    assert tree_state(route.target / "tree") == tree_state(route.source / "tree")
    os.unlink(route.target / "tree" / "7" / "a rather long name 7")
    again = route.send("tree")
    assert (again.files, again.skipped) == (1, 1999)


def test_with_the_smallest_windows_it_is_the_same(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "ITEMS_MAX", 2)
    monkeypatch.setattr(window, "BYTES_MAX", 10)
    monkeypatch.setattr(questions, "_ENTRIES_MAX", 3)
    monkeypatch.setattr(questions, "OPEN_MAX", 1)
    (route.target / "tree").mkdir()
    expected = lay_tree(route.source / "tree")
    assert counts(route.send("tree")) == expected
    assert tree_state(route.target / "tree") == tree_state(route.source / "tree")


UMASKED = """
import os, sys
from filexfer import Client, Options, Server
os.umask(int(sys.argv[2], 8))
os.chdir(sys.argv[1])
os.mkdir("served")
with Server("served", durability="none") as server, Client(server.host, server.port) as client:
    client.put(["tree"], "")
    client.get(["tree"], "got", Options(durability="none"))
"""


@pytest.mark.case("D27")
@pytest.mark.parametrize("mask", [0o000, 0o027, 0o077])
def test_permissions_are_those_sent_less_the_umask(tmp_path: Path, mask: int) -> None:
    """Never setuid, setgid or the sticky bit; a folder that nobody may write to gets its files."""
    bits = [0o777, 0o666, 0o755, 0o440, 0o4755, 0o2755, 0o1777, 0o000]
    for mode in bits:
        lay(tmp_path / "tree" / f"file{mode:o}")
        lay(tmp_path / "tree" / f"folder{mode:o}" / "file")
    for mode in bits:
        os.chmod(tmp_path / "tree" / f"file{mode:o}", mode)
        readable = 0o500 if os.geteuid() else 0  # as root it is readable anyway
        os.chmod(tmp_path / "tree" / f"folder{mode:o}", mode | readable)
        if os.geteuid() and not mode & 0o400:
            (tmp_path / "tree" / f"file{mode:o}").unlink()
    subprocess.run([sys.executable, "-c", UMASKED, tmp_path, f"{mask:o}"], check=True)
    for copy in (tmp_path / "served" / "tree", tmp_path / "got" / "tree"):
        for path in (tmp_path / "tree").iterdir():
            expected = stat.S_IMODE(path.stat().st_mode) & 0o777 & ~mask
            assert stat.S_IMODE((copy / path.name).stat().st_mode) == expected
            if path.is_dir() and (not os.geteuid() or expected & 0o500 == 0o500):
                assert (copy / path.name / "file").read_bytes() == b"data"


# Sizes, algorithms, holes

SIZES = sorted(
    {
        *(0, 1, PLAIN_MAX - 1, PLAIN_MAX, PLAIN_MAX + 1),
        *(
            size + more
            for size in (SMALL, LARGE, BUFFER, PART_MAX, 2 * LARGE)
            for more in (-1, 0, 1)
        ),
    }
)


@pytest.mark.case("A29")
@pytest.mark.parametrize("jobs", [1, 2])
def test_files_of_every_size_arrive_whole(route: Route, jobs: int) -> None:
    """Around the limits of plain bodies, parts and buffers."""
    data = os.urandom(max(SIZES))
    for size in SIZES:
        lay(route.source / "tree" / f"{size}", data[:size])
    assert counts(route.send("tree", jobs=jobs)) == {"files": len(SIZES), "bytes": sum(SIZES)}
    assert tree_state(route.target / "tree") == tree_state(route.source / "tree")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_hash_algorithm_serves(route: Route, algorithm: str) -> None:
    """For small and large files, and where a file is compared by its digest."""
    lay(route.source / "small", b"small")
    lay(route.source / "large", os.urandom(PLAIN_MAX + 1))
    assert route.send("small", "large", algorithm=algorithm).files == 2
    assert tree_state(route.target) == tree_state(route.source)
    again = route.send("small", "large", algorithm=algorithm, checksum=True)
    assert (again.files, again.skipped, again.failed) == (0, 2, 0)
    lay(route.target / "small", b"SMALL")
    assert failures(route.send("small", algorithm=algorithm, checksum=True)) == {
        "small": Code.EXISTS
    }


def test_holes_stay_holes(route: Route) -> None:
    size = 256 * MEBIBYTE
    with open(route.source / "sparse", "wb") as file:
        file.truncate(size)
        for place in (100 * MEBIBYTE, 200 * MEBIBYTE):
            file.seek(place)
            file.write(b"x" * 4096)
    if (route.source / "sparse").stat().st_blocks * 512 > MEBIBYTE:
        pytest.skip("this file system keeps no holes")
    report = route.send("sparse")
    assert counts(report) == {"files": 1, "bytes": size}
    found = (route.target / "sparse").stat()
    assert found.st_size == size
    assert found.st_blocks * 512 < 2 * MEBIBYTE
    with open(route.target / "sparse", "rb") as file:
        for place, data in ((100 * MEBIBYTE, b"x"), (200 * MEBIBYTE, b"x"), (size - 4096, b"\0")):
            file.seek(place - 4096)
            assert file.read(8192) == (
                bytes(4096) + data * 4096 if place < size - 4096 else bytes(8192)
            )


# Where things land


@pytest.mark.parametrize(
    ("names", "to", "landed"),
    [
        (["file"], "", ["file"]),
        (["file"], "new", ["new"]),
        (["file"], "new/", ["new/file"]),
        (["file"], "there", ["there/file"]),
        (["file"], "a/b/new", ["a/b/new"]),
        (["tree"], "", ["tree/x"]),
        (["tree"], "new", ["new/tree/x"]),
        (["tree"], "there", ["there/tree/x"]),
        (["tree/"], "", ["x"]),
        (["tree/"], "new", ["new/x"]),
        (["tree/x"], "new", ["new"]),
        (["file", "tree"], "new", ["new/file", "new/tree/x"]),
        (["file", "tree/"], "there", ["there/file", "there/x"]),
    ],
)
def test_where_things_land(route: Route, names: list[str], to: str, landed: list[str]) -> None:
    lay(route.source / "file")
    lay(route.source / "tree" / "x")
    (route.target / "there").mkdir()
    report = route.send(*names, to=to)
    assert failures(report) == {}
    found = [name for name, entry in tree_state(route.target).items() if entry[0] == "file"]
    assert sorted(found) == landed


def test_a_whole_server_can_be_had(served: Served, tmp_path: Path) -> None:
    lay_tree(served.folder)
    served.client().get([""], tmp_path / "got", Options(durability="none"))
    assert tree_state(tmp_path / "got") == tree_state(served.folder)


def test_links_in_the_path_of_a_source_and_a_target_are_followed(
    served: Served, tmp_path: Path
) -> None:
    """Whoever types the command means them; links below are never followed."""
    lay(tmp_path / "real" / "x")
    (tmp_path / "link").symlink_to("real")
    lay(tmp_path / "file")
    (tmp_path / "to-file").symlink_to("file")
    client = served.client()
    client.put([tmp_path / "link", tmp_path / "to-file"], "")
    assert {name: entry[0] for name, entry in tree_state(served.folder).items()} == {
        "link": "folder",
        "link/x": "file",
        "to-file": "file",
    }
    (tmp_path / "got").mkdir()
    (tmp_path / "to-got").symlink_to("got")
    client.get(["link/x"], tmp_path / "to-got", Options(durability="none"))
    assert os.listdir(tmp_path / "got") == ["x"]


def test_the_report_names_what_landed_and_where(served: Served, tmp_path: Path) -> None:
    told: list[tuple[str, str, int]] = []
    lay(tmp_path / "tree" / "a", b"12345")
    lay(tmp_path / "tree" / "b" / "c", b"")
    report = served.client().put(
        [tmp_path / "tree"],
        "to",
        report=Report(on_file=lambda file: told.append((file.name, file.result, file.size))),
    )
    assert sorted(told) == [("to/tree/a", "stored", 5), ("to/tree/b/c", "stored", 0)]
    assert report.destination == f"{served.server.address}to/tree/"
    assert (report.found, report.found_bytes, report.moved, report.folders) == (2, 5, 5, 2)
    assert not report.is_walking


# What is passed over, and what fails while the rest goes on


@pytest.mark.case("D1")
def test_links_that_lead_out_are_not_sent(route: Route, canary: Path) -> None:
    tree = route.source / "tree"
    lay(tree / "file")
    for name, target in {
        "absolute": str(canary / "precious"),
        "climbs": "../../canary/precious",
        "turns": "sub/../../x",
        "inside": "file",
    }.items():
        os.symlink(target, tree / name)
    report = route.send("tree")
    assert failures(report) == {}
    assert sorted(error.name for error in report.warnings) == [
        "tree/absolute",
        "tree/climbs",
        "tree/turns",
    ]
    assert sorted(tree_state(route.target / "tree")) == ["file", "inside"]


@pytest.mark.parametrize("target", ["file", "../up", "/absolute", "none", "a\x1b[31m"])
def test_a_link_that_is_asked_for_by_name_fails(
    served: Served, tmp_path: Path, target: str
) -> None:
    """It does not come without what it leads to, and that is said; the rest comes."""
    lay(served.folder / "file")
    (served.folder / "link").symlink_to(target)
    report = served.client().get(["link", "file"], tmp_path / "got", ONCE)
    assert failures(report) == {"link": Code.NOT_REGULAR}
    assert report.warnings == []
    assert shown(target) in str(report.failures[0])
    assert str(report.failures[0]).isprintable()
    assert os.listdir(tmp_path / "got") == ["file"]


def test_a_link_on_the_command_line_of_an_upload_is_followed(
    served: Served, tmp_path: Path
) -> None:
    """Whoever types the name means what it leads to."""
    lay(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    assert served.client().put([tmp_path / "link"], "", ONCE).files == 1
    assert (served.folder / "link").read_bytes() == b"data"
    assert not (served.folder / "link").is_symlink()


@pytest.mark.case("D5")
def test_pipes_are_passed_over(route: Route) -> None:
    """In a tree; one that is named by itself fails. Nobody waits for their other end."""
    lay(route.source / "tree" / "file")
    os.mkfifo(route.source / "tree" / "pipe")
    os.mkfifo(route.source / "pipe")
    report = route.send("tree", "pipe")
    assert counts(report) == {"files": 1, "bytes": 4, "failed": 1}
    assert failures(report) == {"pipe": Code.NOT_REGULAR}
    assert [error.name for error in report.warnings] == ["tree/pipe"]
    assert sorted(tree_state(route.target)) == ["tree", "tree/file"]


@pytest.mark.case("D5")
def test_a_pipe_at_the_target_is_not_waited_for(route: Route) -> None:
    lay(route.source / "name")
    os.mkfifo(route.target / "name")
    assert failures(route.send("name")) == {"name": Code.EXISTS}
    assert stat.S_ISFIFO((route.target / "name").stat().st_mode)
    assert route.send("name", if_exists="overwrite").files == 1
    assert (route.target / "name").read_bytes() == b"data"


def test_a_source_that_is_missing_fails_alone(route: Route) -> None:
    lay(route.source / "a")
    lay(route.source / "c" / "d")
    report = route.send("a", "b", "c", "c/none")
    assert counts(report) == {"files": 2, "bytes": 8, "failed": 2}
    assert [error.code for error in report.failures] == [Code.NOT_FOUND] * 2
    assert sorted(tree_state(route.target)) == ["a", "c", "c/d"]


def test_with_every_source_missing_nothing_is_made(served: Served, tmp_path: Path) -> None:
    client = served.client()
    assert client.put([tmp_path / "none"], "new/").failed == 1
    assert client.get(["none"], tmp_path / "new" / "").failed == 1
    assert os.listdir(served.folder) == []
    assert not (tmp_path / "new").exists()


def test_nothing_at_all_is_a_usage_error(served: Served, tmp_path: Path) -> None:
    client = served.client()
    with pytest.raises(UsageError):
        client.put([])
    with pytest.raises(UsageError):
        client.get([])


@pytest.mark.case("D12")
@pytest.mark.parametrize("way", ["up", "down"])
def test_what_may_not_be_read_fails_alone(serve: Serve, tmp_path: Path, way: str) -> None:
    with powerless():
        route = Route(way, serve(), tmp_path / "local")
        tree = route.source / "tree"
        lay(tree / "file")
        lay(tree / "secret")
        lay(tree / "shut" / "file")
        os.chmod(tree / "secret", 0o000)
        os.chmod(tree / "shut", 0o000)
        report = route.send("tree")
        os.chmod(tree / "shut", 0o700)
        assert failures(report) == {"tree/secret": Code.DENIED, "tree/shut": Code.DENIED}
        assert report.files == 1
        os.chmod(route.target / "tree" / "shut", 0o700)
        assert sorted(tree_state(route.target / "tree")) == ["file", "shut"]
        assert route.client.stat("") is not None


@pytest.mark.case("B4", "D23")
def test_a_tree_deeper_than_names_may_be_arrives_as_far_as_that(route: Route) -> None:
    """Names on the wire have at most 64 components."""
    path = route.source / "tree"
    path.mkdir()
    dig(path)
    lay(path / "file")
    report = route.send("tree")
    assert {error.code for error in report.failures} == {Code.BAD_NAME}
    assert report.files == 1
    assert (route.target / "tree" / "/".join(["d"] * 63)).is_dir()


@pytest.mark.case("B4")
def test_a_name_too_long_for_the_other_side_fails_alone(route: Route) -> None:
    """Names on the wire have at most 1,024 bytes."""
    part = "x" * 250
    lay(route.source / "tree" / part / part / part / part / ("y" * 30))
    lay(route.source / "tree" / part / part / part / part / "y")
    report = route.send("tree")
    assert [error.code for error in report.failures] == [Code.BAD_NAME]
    assert report.files == 1
    assert route.client.stat("") is not None


# Sources that change while they are sent


def _shrink(path: Path) -> None:
    os.truncate(path, MEBIBYTE)


def _grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more" * MEBIBYTE)


def _rewrite(path: Path) -> None:
    """Other bytes, the same size."""
    with open(path, "r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"x" * 100)


def _replace(path: Path) -> None:
    lay(path.with_name("other"), b"another file")
    path.with_name("other").rename(path)


class Changing:
    """Changes a large file for real, after its first piece was read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, change: Change) -> None:
        self.changed = False
        read = LargeFile.read_into

        def read_into(file: LargeFile, view: memoryview) -> int:
            got = read(file, view)
            if not self.changed:
                self.changed = True
                change(path)
            return got

        monkeypatch.setattr(LargeFile, "read_into", read_into)


@pytest.mark.case("D9", "D10", "D11")
@pytest.mark.parametrize("change", [_shrink, _grow, _rewrite])
@pytest.mark.parametrize("is_known", [False, True], ids=["new", "old"])
def test_d9_d10_d11_a_large_file_that_changes_fails_alone(
    route: Route, monkeypatch: pytest.MonkeyPatch, change: Change, is_known: bool
) -> None:
    """What the target had of that name stays, and the connection stays in step."""
    lay(route.source / "tree" / "large", os.urandom(5 * MEBIBYTE))
    for name in ("a", "z"):
        lay(route.source / "tree" / name)
    if is_known:
        lay(route.target / "tree" / "large", b"old version")
    changing = Changing(monkeypatch, route.source / "tree" / "large", change)
    report = route.send("tree", if_exists="overwrite")
    assert changing.changed
    assert failures(report) == {"tree/large": Code.CHANGED}
    assert counts(report) == {"files": 2, "bytes": 8, "failed": 1}
    expected = {"a": b"data", "z": b"data", **({"large": b"old version"} if is_known else {})}
    found = tree_state(route.target / "tree")
    assert {name: entry[3] for name, entry in found.items()} == expected
    assert route.send("tree", if_exists="overwrite").files == 1
    assert tree_state(route.target / "tree") == tree_state(route.source / "tree")


@pytest.mark.case("D12")
@pytest.mark.parametrize("change", [os.unlink, _replace])
def test_d12_a_file_that_is_removed_or_replaced_while_it_is_read_is_sent_as_it_was(
    route: Route, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    data = os.urandom(5 * MEBIBYTE)
    path = lay(route.source / "large", data)
    changing = Changing(monkeypatch, path, change)
    assert route.send("large").files == 1
    assert changing.changed
    assert (route.target / "large").read_bytes() == data


def _to_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("first")


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _to_large(path: Path) -> None:
    path.write_bytes(bytes(PLAIN_MAX + 1))


def _to_small(path: Path) -> None:
    path.write_bytes(b"small")


@pytest.mark.case("D12")
@pytest.mark.parametrize(
    ("change", "codes"),
    [
        (os.unlink, {Code.NOT_FOUND}),
        (_to_link, {Code.NOT_REGULAR}),
        (_to_folder, {Code.NOT_REGULAR, Code.IS_A_FOLDER}),
        (_to_pipe, {Code.NOT_REGULAR, Code.UNREADABLE}),
        (_to_large, set()),
        (_to_small, set()),
    ],
)
@pytest.mark.parametrize("size", [100, PLAIN_MAX + 100], ids=["small", "large"])
def test_d12_what_changes_between_the_question_and_its_sending(
    route: Route, monkeypatch: pytest.MonkeyPatch, change: Change, codes: set[str], size: int
) -> None:
    """It fails alone, or is sent as it is by then."""
    lay(route.source / "tree" / "first")
    lay(route.source / "tree" / "second", bytes(size))
    (route.target / "tree").mkdir()  # so that there is a question
    read = Reading.read
    large = Reading.large
    left = [route.source / "tree" / "second"]

    def changed() -> None:
        if left:
            change(left.pop())

    def reading(self: Reading, entry: Entry, limit: int) -> bytes | None:
        changed()
        return read(self, entry, limit)

    def opening(self: Reading, entry: Entry) -> LargeFile:
        changed()
        return large(self, entry)

    monkeypatch.setattr(Reading, "read", reading)
    monkeypatch.setattr(Reading, "large", opening)
    report = route.send("tree")
    assert left == []
    assert set(failures(report)) == ({"tree/second"} if codes else set())
    assert set(failures(report).values()) <= codes
    assert report.files == (1 if codes else 2)
    if not codes:
        second = (route.source / "tree" / "second").read_bytes()
        assert (route.target / "tree" / "second").read_bytes() == second
    assert route.client.stat("") is not None


def test_a_disk_that_cannot_be_read_fails_one_file(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk here fails by itself; the second piece cannot be read."""

    def fail(path: Path) -> None:
        def failing(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "preadv", failing)

    path = lay(route.source / "tree" / "large", os.urandom(5 * MEBIBYTE))
    lay(route.source / "tree" / "small")
    Changing(monkeypatch, path, fail)
    report = route.send("tree")
    assert failures(report) == {"tree/large": Code.UNREADABLE}
    assert report.files == 1
    assert sorted(tree_state(route.target / "tree")) == ["small"]


# Targets that cannot take a file


def test_a_folder_where_a_file_should_go_fails_one_file(route: Route) -> None:
    for name, size in (("small", 4), ("large", PLAIN_MAX + 1), ("other", 4)):
        lay(route.source / "tree" / name, bytes(size))
    for name in ("small", "large"):
        (route.target / "tree" / name).mkdir(parents=True)
    report = route.send("tree", if_exists="overwrite")
    assert failures(report) == dict.fromkeys(("tree/small", "tree/large"), Code.IS_A_FOLDER)
    assert report.files == 1
    assert route.send("tree/other").skipped == 0


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_file_where_a_folder_should_go_fails_what_is_in_it(route: Route, jobs: int) -> None:
    lay(route.source / "tree" / "a" / "small")
    lay(route.source / "tree" / "a" / "large", bytes(PLAIN_MAX + 1))
    lay(route.source / "tree" / "b")
    lay(route.target / "tree" / "a", b"precious")
    report = route.send("tree", if_exists="overwrite", jobs=jobs)
    names = ("tree/a", "tree/a/small", "tree/a/large")
    assert failures(report) == dict.fromkeys(names, Code.NOT_A_FOLDER)
    assert report.files == 1
    assert (route.target / "tree" / "a").read_bytes() == b"precious"


@pytest.mark.parametrize("jobs", [1, 3])
def test_after_a_folder_that_failed_the_connection_is_in_step(route: Route, jobs: int) -> None:
    lay(route.source / "tree" / "a" / "b" / "file")
    lay(route.target / "tree" / "a")
    assert route.send("tree", jobs=jobs).failed >= 3
    assert route.client.stat("") is not None
    assert route.client.stat("none") is None


@pytest.mark.case("D2")
def test_d2_nothing_is_written_through_a_link(route: Route, canary: Path) -> None:
    for name in ("new", "precious", "sub/secret"):
        lay(route.source / "tree" / "dir" / name, b"overwritten")
    (route.target / "tree").mkdir()
    (route.target / "tree" / "dir").symlink_to(canary)
    report = route.send("tree", if_exists="overwrite")
    assert set(failures(report).values()) == {Code.NOT_A_FOLDER}
    assert report.files == 0
    assert (route.target / "tree" / "dir").is_symlink()


@pytest.mark.case("D1")
def test_d1_a_link_of_the_name_is_replaced_or_kept_but_not_followed(
    route: Route, canary: Path
) -> None:
    lay(route.source / "name")
    (route.target / "name").symlink_to(canary / "precious")
    assert failures(route.send("name")) == {"name": Code.EXISTS}
    assert (route.target / "name").is_symlink()
    assert route.send("name", if_exists="overwrite").files == 1
    assert not (route.target / "name").is_symlink()
    assert (route.target / "name").read_bytes() == b"data"


@pytest.mark.case("D21")
@pytest.mark.parametrize("way", ["up", "down"])
def test_d21_a_folder_that_may_not_be_written_fails_its_files(
    serve: Serve, tmp_path: Path, way: str
) -> None:
    with powerless():
        route = Route(way, serve(), tmp_path / "local")
        lay(route.source / "tree" / "shut" / "small")
        lay(route.source / "tree" / "shut" / "large", bytes(PLAIN_MAX + 1))
        lay(route.source / "tree" / "shut" / "sub" / "file")
        lay(route.source / "tree" / "open" / "file")
        (route.target / "tree" / "shut").mkdir(parents=True)
        os.chmod(route.target / "tree" / "shut", 0o500)
        report = route.send("tree")
        os.chmod(route.target / "tree" / "shut", 0o700)
        names = ("small", "large", "sub", "sub/file")
        assert failures(report) == {f"tree/shut/{name}": Code.DENIED for name in names}
        assert report.files == 1
        assert os.listdir(route.target / "tree" / "shut") == []
        assert route.send("tree").files == 3


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of four mebibytes."""
    path = tmp_path / "tiny"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=60", "tmpfs", str(path)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    assert os.path.ismount(path)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.case("F1", "F2", "F13")
def test_f1_a_full_disk_fails_the_files_that_do_not_fit(
    serve: Serve, tmp_path: Path, tiny_disk: Path, way: str
) -> None:
    """Nothing of them is left, so that smaller ones still fit."""
    if way == "up":
        route = Route(way, serve(tiny_disk / "served"), tmp_path / "local")
    else:
        (tiny_disk / "into").mkdir()
        route = Route(way, serve(), tmp_path / "local")
        route.target = tiny_disk / "into"
    lay(route.source / "huge", bytes(20 * MEBIBYTE))  # refused by its size
    lay(route.source / "large", os.urandom(6 * MEBIBYTE))  # found out on the way
    lay(route.source / "fits", os.urandom(3 * MEBIBYTE))
    for number in range(6):
        lay(route.source / "tree" / f"{number}", os.urandom(200 * KIBIBYTE))
    report = route.send("huge", "large", "fits")
    assert failures(report) == dict.fromkeys(("huge", "large"), Code.NO_SPACE)
    assert counts(report) == {"files": 1, "bytes": 3 * MEBIBYTE, "failed": 2}
    report = route.send("tree")
    assert set(failures(report).values()) == {Code.NO_SPACE}
    assert 0 < report.failed < 6
    assert report.failed + report.files == 6
    assert len(os.listdir(route.target / "tree")) == report.files
    assert leftovers(tiny_disk) == []
    os.unlink(route.target / "fits")
    again = route.send("tree")
    assert (again.files, again.skipped) == (report.failed, report.files)


@pytest.mark.case("F5")
def test_f5_a_disk_without_room_for_more_names(
    serve: Serve, tmp_path: Path, tiny_disk: Path
) -> None:
    route = Route("up", serve(tiny_disk / "served"), tmp_path / "local")
    for number in range(100):
        lay(route.source / "tree" / f"{number}")
    report = route.send("tree")
    assert set(failures(report).values()) == {Code.NO_SPACE}
    assert report.failed + report.files == 100
    assert len(os.listdir(route.target / "tree")) == report.files
    assert route.client.stat("") is not None


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.case("F6")
def test_f6_a_disk_that_cannot_make_files_durable_fails_them(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Nobody is told that they are there, each is named, and nothing of them is left."""
    route = Route(way, serve(durability="batch"), tmp_path / "local")
    names = ("small", "d/small", "d/e/large")
    for name in names:
        lay(route.source / "tree" / name, bytes(PLAIN_MAX + 1 if name.endswith("large") else 4))
    flushes: list[int] = []

    def failing(_: int) -> bool:
        flushes.append(1)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(system, "has_file_system_flush", lambda: True)
        patch.setattr(system, "flush_file_system", failing)
        report = route.send("tree", durability="batch")
    assert flushes == [1]
    assert report.files == 0
    told = {error.name: error.code for error in report.failures if error.code == Code.IO_ERROR}
    assert set(told) >= {f"tree/{name}" for name in names}
    until = time.monotonic() + SECONDS
    while leftovers(route.target):  # the server clears away after it has told
        assert time.monotonic() < until
        time.sleep(0.01)
    assert {entry[0] for entry in tree_state(route.target).values()} <= {"folder"}
    if way == "up":  # a server does not trust that disk any more
        with pytest.raises(RefusedError, match="nothing is stored until the server is started"):
            route.send("tree")
        with pytest.raises(RefusedError, match=r"the disk failed.*Input/output error"):
            route.client.make_folder("new")
        assert route.client.stat("") is not None
        assert route.client.get([""], tmp_path / "got", Options(durability="none")).failed == 0
        route.client = serve(durability="batch").client()
    assert route.send("tree", durability="batch").files == 3
    assert tree_state(route.target) == tree_state(route.source)


LIMITED = """
import resource, sys
from filexfer import Client, Options
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
with Client("127.0.0.1", int(sys.argv[1])) as client:
    report = client.get(["large", "middle", "small"], sys.argv[2], Options(durability="none"))
    print(report.files, *(f"{error.name} {error.code}" for error in report.failures))
    print(client.get(["small"], sys.argv[2], Options(durability="none")).skipped)
"""


@pytest.mark.case("F4")
def test_f4_a_limit_of_the_process_fails_the_files_beyond_it(
    served: Served, tmp_path: Path
) -> None:
    for name, size in (("large", 5_000_000), ("middle", 1_000_001), ("small", 1_000_000)):
        lay(served.folder / name, bytes(size))
    (tmp_path / "got").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, f"{served.server.port}", f"{tmp_path}/got"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["1 large too_large middle too_large", "1"]
    assert os.listdir(tmp_path / "got") == ["small"]


# A name that is taken


@pytest.mark.parametrize("size", [6, PLAIN_MAX + 6], ids=["small", "large"])
@pytest.mark.parametrize(
    ("if_exists", "same", "newer", "older"),
    [
        ("error", "skipped", Code.EXISTS, Code.EXISTS),
        ("overwrite", "skipped", "files", "files"),
        ("update", "skipped", "files", "skipped"),
        ("skip", "skipped", "skipped", "skipped"),
        ("keep-both", "skipped", "files", "files"),
    ],
)
def test_what_happens_where_a_file_is(
    route: Route, size: int, if_exists: str, same: str, newer: str, older: str
) -> None:
    """Of the same size all three, so that times and digests decide."""
    tree = {
        "same": (b"s", 0, same),
        "newer": (b"n", SECOND, newer),
        "older": (b"o", -SECOND, older),
    }
    for name, (letter, later, _) in tree.items():
        lay(route.source / "tree" / name, letter * size, TIME + later)
        lay(route.target / "tree" / name, b"s" * size, TIME)
    lay(route.source / "tree" / "touched", b"t" * size, TIME + 5 * SECOND)
    lay(route.target / "tree" / "touched", b"t" * size, TIME)
    report = route.send("tree", if_exists=if_exists)
    results = [result for _, _, result in tree.values()]
    assert failures(report) == {
        f"tree/{name}": result for name, (_, _, result) in tree.items() if result == Code.EXISTS
    }
    assert report.files == results.count("files")
    assert report.skipped == results.count("skipped") + 1
    for name, (letter, _, result) in tree.items():
        replaced = result == "files" and if_exists != "keep-both"
        expected = letter if replaced else b"s"
        assert (route.target / "tree" / name).read_bytes() == expected * size
    assert (route.target / "tree" / "touched").stat().st_mtime_ns == TIME
    assert len(os.listdir(route.target / "tree")) == (6 if if_exists == "keep-both" else 4)


def test_files_kept_beside_are_found_again(route: Route) -> None:
    lay(route.source / "photo.jpg", b"new")
    lay(route.target / "photo.jpg", b"old one")
    first = route.send("photo.jpg", if_exists="keep-both", algorithm="md5")
    second = route.send("photo.jpg", if_exists="keep-both", algorithm="md5")
    assert (first.files, second.files, second.skipped) == (1, 0, 1)
    beside = derived("photo.jpg", "md5:" + hashlib.md5(b"new").hexdigest())
    assert sorted(os.listdir(route.target)) == sorted(["photo.jpg", beside])
    assert (route.target / beside).read_bytes() == b"new"


def test_a_checksum_finds_what_size_and_time_do_not(route: Route) -> None:
    """And does not send what is the same."""
    lay(route.source / "tree" / "a", b"right")
    lay(route.source / "tree" / "b", b"same")
    lay(route.target / "tree" / "a", b"wrong")
    lay(route.target / "tree" / "b", b"same")
    assert route.send("tree", if_exists="overwrite").skipped == 2
    report = route.send("tree", if_exists="overwrite", checksum=True)
    assert (report.files, report.skipped, report.moved) == (1, 1, 5)
    assert (route.target / "tree" / "a").read_bytes() == b"right"


def test_links_and_files_of_one_name(route: Route) -> None:
    """A link is replaced by what is sent as anything else is."""
    tree, other = route.source / "tree", route.target / "tree"
    lay(tree / "was-link")
    lay(tree / "target")
    (tree / "was-file").symlink_to("target")
    (tree / "was-other-link").symlink_to("target")
    lay(other / "was-file", b"precious")
    (other / "was-link").symlink_to("was-file")
    (other / "was-other-link").symlink_to("was-file")
    report = route.send("tree")
    assert set(failures(report).values()) == {Code.EXISTS}
    assert (report.failed, report.files) == (3, 1)
    assert (other / "was-file").read_bytes() == b"precious"
    assert route.send("tree", if_exists="overwrite").files == 3
    assert tree_state(other)["was-file"][3] == "target"
    assert tree_state(other)["was-link"][3] == b"data"
    assert tree_state(other)["was-other-link"][3] == "target"


# Rights


def test_a_server_enforces_its_rights(serve: Serve, tmp_path: Path) -> None:
    """Whatever the client asks for."""
    served = serve()
    lay(served.folder / "name", b"precious")
    path = lay(tmp_path / "name", b"other bytes", TIME + SECOND)
    client = served.client()
    for if_exists in ("overwrite", "update"):
        report = client.put([path], "", Options(if_exists=if_exists))
        assert failures(report) == {"name": Code.DENIED}
    with pytest.raises(FileError) as caught:
        client.remove("name")
    assert caught.value.code == Code.DENIED
    assert (served.folder / "name").read_bytes() == b"precious"
    assert client.put([path], "", Options(if_exists="keep-both")).files == 1


def test_a_read_only_server_takes_nothing(serve: Serve, tmp_path: Path) -> None:
    served = serve(read_only=True)
    lay(served.folder / "name", b"precious")
    path = lay(tmp_path / "new")
    with pytest.raises(RefusedError) as refused:
        served.client().put([path], "")
    assert refused.value.code == Code.DENIED
    client = served.client()
    with pytest.raises(FileError) as caught:
        client.make_folder("new")
    assert caught.value.code == Code.DENIED
    assert client.get(["name"], tmp_path / "got", Options(durability="none")).files == 1
    assert os.listdir(served.folder) == ["name"]


def test_without_the_right_the_mode_of_a_folder_stays(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    (served.folder / "tree").mkdir()
    os.chmod(served.folder / "tree", 0o750)
    lay(tmp_path / "tree" / "file")
    os.chmod(tmp_path / "tree", 0o700)
    served.client().put([tmp_path / "tree"], "")
    assert stat.S_IMODE((served.folder / "tree").stat().st_mode) == 0o750


# Temporary files and the root


@pytest.mark.case("B5")
def test_b5_temporary_files_are_nobodys_to_see_or_touch(serve: Serve, tmp_path: Path) -> None:
    served = serve(allow=["overwrite", "delete"])
    lay(served.folder / "d" / LEFT, b"half a file")
    path = lay(tmp_path / "local" / LEFT, b"mine")
    client = served.client()
    assert [entry.name for entry in client.list(recursive=True)] == ["d"]
    for call in (
        lambda: client.stat(f"d/{LEFT}"),
        lambda: list(client.list(f"d/{LEFT}")),
        lambda: client.remove(f"d/{LEFT}"),
        lambda: client.make_folder(f"d/{LEFT}x"),
        lambda: client.get([f"d/{LEFT}"], tmp_path / "got"),
    ):
        with pytest.raises(FileError) as caught:
            call()
        assert caught.value.code == Code.BAD_NAME
    assert client.get(["d"], tmp_path / "got", Options(durability="none")).files == 0
    assert failures(client.put([path], "d/", Options(if_exists="overwrite"))) == {
        f"d/{LEFT}": Code.BAD_NAME
    }
    assert client.put([path.parent], "").files == 0
    assert (served.folder / "d" / LEFT).read_bytes() == b"half a file"
    for left in (path, served.folder / "d" / LEFT):
        left.unlink()


def test_leftovers_are_swept_by_the_next_upload_beside_them(served: Served, tmp_path: Path) -> None:
    lay(served.folder / "d" / LEFT, b"half a file")
    lay(tmp_path / "file")
    client = served.client()
    client.get(["d"], tmp_path / "got", Options(durability="none"))
    assert leftovers(served.folder)
    client.put([tmp_path / "file"], "d/")
    assert leftovers(served.folder) == []


@pytest.mark.case("D26")
def test_d26_the_root_is_pinned_when_the_server_starts(served: Served, tmp_path: Path) -> None:
    lay(tmp_path / "file")
    lay(tmp_path / "other" / "wrong")
    served.folder.rename(tmp_path / "moved")
    served.folder.symlink_to(tmp_path / "other")
    client = served.client()
    client.put([tmp_path / "file"], "")
    assert [entry.name for entry in client.list()] == ["file"]
    assert os.listdir(tmp_path / "moved") == ["file"]
    assert os.listdir(tmp_path / "other") == ["wrong"]


# Streams


@contextmanager
def feed(data: bytes) -> Iterator[int]:
    """Give a descriptor that *data* can be read from, like standard input."""
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb", buffering=0) as file:
            try:
                file.writelines(data[at : at + 100_000] for at in range(0, len(data), 100_000))
            except BrokenPipeError:
                pass  # nobody wants it

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield reading
    finally:
        os.close(reading)
        thread.join()


@contextmanager
def drain() -> Iterator[tuple[int, list[bytes]]]:
    """Give a descriptor to write to, like standard output, and what came out when it is over."""
    reading, writing = os.pipe()
    got: list[bytes] = []

    def read() -> None:
        with open(reading, "rb") as file:
            got.append(file.read())

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield writing, got
    finally:
        os.close(writing)
        thread.join()


STREAMED = [0, 1, PLAIN_MAX, PLAIN_MAX + 1, 5 * MEBIBYTE + 3]


@pytest.mark.parametrize("size", STREAMED)
@pytest.mark.parametrize("algorithm", ["xxh3_128", "sha256"])
def test_standard_input_becomes_a_file(served: Served, size: int, algorithm: str) -> None:
    data = os.urandom(size)
    with feed(data) as fd:
        report = served.client().put_stream(fd, "a/name", Options(algorithm=algorithm))
    assert counts(report) == {"files": 1, **({"bytes": size} if size else {})}
    assert (served.folder / "a" / "name").read_bytes() == data
    assert report.destination == f"{served.server.address}a/name"


@pytest.mark.parametrize("size", STREAMED)
def test_a_file_becomes_standard_output(served: Served, size: int) -> None:
    data = os.urandom(size)
    lay(served.folder / "a" / "name", data)
    with drain() as (fd, got):
        report = served.client().get_stream("a/name", fd, Options(algorithm="md5"))
    assert got == [data]
    assert counts(report) == {"files": 1, **({"bytes": size} if size else {})}


def test_a_sparse_file_becomes_all_its_zeros(served: Served) -> None:
    with open(served.folder / "sparse", "wb") as file:
        file.truncate(3 * MEBIBYTE)
        file.seek(MEBIBYTE)
        file.write(b"x" * 4096)
    with drain() as (fd, got):
        served.client().get_stream("sparse", fd)
    assert got == [(served.folder / "sparse").read_bytes()]


def test_standard_input_does_not_replace_what_is_there(serve: Serve) -> None:
    served = serve(allow=["overwrite"])
    lay(served.folder / "name", b"precious")
    client = served.client()
    with feed(b"new") as fd:
        assert failures(client.put_stream(fd, "name")) == {"name": Code.EXISTS}
    assert (served.folder / "name").read_bytes() == b"precious"
    with feed(b"new") as fd:
        assert client.put_stream(fd, "name", Options(if_exists="overwrite")).files == 1
    assert (served.folder / "name").read_bytes() == b"new"


def test_standard_input_that_fails_stores_nothing(served: Served) -> None:
    with drain() as (fd, _):  # it can be written to, not read
        report = served.client().put_stream(fd, "name")
    assert failures(report) == {"name": Code.UNREADABLE}
    assert os.listdir(served.folder) == []


def test_standard_input_needs_a_name(served: Served) -> None:
    for name in ("", "folder/"):
        with pytest.raises(UsageError):
            served.client().put_stream(0, name)


def test_what_is_no_file_does_not_become_standard_output(served: Served) -> None:
    """The files in a folder least of all, one after the other."""
    lay(served.folder / "folder" / "file")
    lay(served.folder / "target")
    (served.folder / "link").symlink_to("target")
    os.mkfifo(served.folder / "pipe")
    client = served.client()
    with drain() as (fd, got):
        assert failures(client.get_stream("none", fd)) == {"none": Code.NOT_FOUND}
        assert client.get_stream("folder", fd).failed
        assert failures(client.get_stream("link", fd)) == {"link": Code.NOT_REGULAR}
        assert failures(client.get_stream("pipe", fd)) == {"pipe": Code.NOT_REGULAR}
    assert got == [b""]


@pytest.mark.parametrize("size", [100, 5 * MEBIBYTE])
def test_standard_output_that_takes_no_more_ends_it(served: Served, size: int) -> None:
    lay(served.folder / "name", bytes(size))
    reading, writing = os.pipe()
    os.close(reading)
    client = served.client()
    with pytest.raises(LocalError):
        client.get_stream("name", writing)
    os.close(writing)
    assert client.stat("name") is not None


@pytest.mark.case("D9", "D10", "D11")
@pytest.mark.parametrize("change", [_shrink, _grow, _rewrite])
def test_a_file_that_changes_on_its_way_to_standard_output_is_no_success(
    served: Served, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    """What was written cannot be taken back, so it must be said aloud."""
    path = lay(served.folder / "name", os.urandom(5 * MEBIBYTE))
    Changing(monkeypatch, path, change)
    with drain() as (fd, _), pytest.raises(IntegrityError, match="must not be used"):
        served.client().get_stream("name", fd)


# Many clients at once

CLIENTS = 20


def at_once(served: list[Served], work: Callable[[Client, int], Report]) -> list[Report]:
    """Let many clients work at once, shared out over the servers; return their reports."""
    reports: list[Report] = []
    faults: list[BaseException] = []
    begin = threading.Barrier(CLIENTS)

    def run(number: int) -> None:
        server = served[number % len(served)].server
        try:
            with Client(server.host, server.port, timeout=SECONDS) as client:
                client.stat("")  # connected
                begin.wait()
                reports.append(work(client, number))
        except BaseException as error:  # noqa: BLE001 - raised again below
            faults.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
    return reports


@pytest.fixture
def two(serve: Serve) -> list[Served]:
    """Start two servers of one folder: as two processes, they know nothing of each other."""
    return [serve(allow=["overwrite"]), serve(allow=["overwrite"])]


@pytest.mark.case("I1", "I8")
@pytest.mark.parametrize("size", [1000, PLAIN_MAX + 1000], ids=["small", "large"])
def test_i1_i8_of_many_that_want_a_new_name_one_gets_it(
    two: list[Served], tmp_path: Path, size: int
) -> None:
    for number in range(CLIENTS):
        lay(tmp_path / f"{number}", b"%d" % (100 + number) * (size // 3), TIME + number)
    reports = at_once(two, lambda client, n: client.put([tmp_path / f"{n}"], "new/name"))
    assert sum(report.files for report in reports) == 1
    others = [report for report in reports if not report.files]
    assert all(failures(report) == {"new/name": Code.EXISTS} for report in others)
    (winner,) = (number for number in range(CLIENTS) if reports[number].files)
    assert winner >= 0
    assert os.listdir(two[0].folder / "new") == ["name"]


@pytest.mark.case("I7", "I8")
def test_i7_of_many_that_bring_the_same_all_succeed(two: list[Served], tmp_path: Path) -> None:
    path = lay(tmp_path / "file", os.urandom(1000))
    reports = at_once(two, lambda client, _: client.put([path], "new/name"))
    assert sum(report.files for report in reports) == 1
    assert sum(report.skipped for report in reports) == CLIENTS - 1
    assert os.listdir(two[0].folder / "new") == ["name"]


@pytest.mark.case("I12", "I8")
@pytest.mark.parametrize("durability", ["none", "batch"])
def test_i12_many_may_fill_the_same_new_folders(
    serve: Serve, tmp_path: Path, durability: str
) -> None:
    """Each brings files of its own and one that all bring; nothing is lost or left."""
    two = [serve(durability=durability), serve(durability=durability)]
    for number in range(CLIENTS):
        tree = tmp_path / f"{number}" / "tree"
        for name in (f"{number}", f"a/{number}", f"a/b/{number}", f"{number}.d/x", "a/common"):
            lay(tree / name, b"common" if name == "a/common" else name.encode())

    reports = at_once(two, lambda client, n: client.put([tmp_path / f"{n}" / "tree"], ""))
    assert [failures(report) for report in reports] == [{}] * CLIENTS
    assert sum(report.files for report in reports) == 4 * CLIENTS + 1
    assert sum(report.skipped for report in reports) == CLIENTS - 1
    found = {
        name: entry[3]
        for name, entry in tree_state(two[0].folder / "tree").items()
        if entry[0] == "file"
    }
    expected = {"a/common": b"common"}
    for number in range(CLIENTS):
        for name in (f"{number}", f"a/{number}", f"a/b/{number}", f"{number}.d/x"):
            expected[name] = name.encode()
    assert found == expected


@pytest.mark.case("I12")
def test_i12_many_may_make_the_same_folders(two: list[Served]) -> None:
    def make(client: Client, number: int) -> Report:
        for name in range(5):
            client.make_folder(f"a/{name}/b")
        return Report()

    at_once(two, make)
    assert len(os.listdir(two[0].folder / "a")) == 5


@pytest.mark.case("I2", "I6", "I8")
@pytest.mark.parametrize("size", [1000, PLAIN_MAX + 1000], ids=["small", "large"])
def test_i2_i6_every_read_is_one_whole_version(
    two: list[Served], tmp_path: Path, size: int
) -> None:
    """Half of them overwrite, half read; a reader sees changes, but no mixture."""
    versions = {}
    for number in range(CLIENTS):
        versions[number] = b"%d" % (100 + number) * (size // 3)
        lay(tmp_path / f"{number}", versions[number], TIME + number * 3 * SECOND)
    lay(two[0].folder / "name", versions[0], TIME)
    overwrite = Options(if_exists="overwrite", durability="none")

    def work(client: Client, number: int) -> Report:
        report = Report()
        for turn in range(3):
            if number % 2:
                client.put([tmp_path / f"{number}"], "name", overwrite, report)
            else:
                client.get(["name"], tmp_path / f"got-{number}-{turn}", overwrite, report)
        return report

    reports = at_once(two, work)
    assert [failures(report) for report in reports if report.failed] == []
    got = list(tmp_path.glob("got-*"))
    assert len(got) == CLIENTS // 2 * 3
    whole = set(versions.values())
    assert all(path.read_bytes() in whole for path in got)
    assert (two[0].folder / "name").read_bytes() in whole


@pytest.mark.case("I3", "I4")
def test_i3_i4_uploads_and_removals_meet(serve: Serve, tmp_path: Path) -> None:
    """Each upload is stored or fails; nothing of it is left elsewhere."""
    served = serve(allow=["overwrite", "delete"])
    path = lay(tmp_path / "file")

    def work(client: Client, number: int) -> Report:
        report = Report()
        for _ in range(5):
            if number % 2:
                client.put([path], f"d/{number}", report=report)
            else:
                try:
                    client.remove("d", recursive=True)
                except FileError as error:
                    if error.code not in (Code.NOT_FOUND, Code.NOT_EMPTY):
                        raise
        return report

    for report in at_once([served], work):
        assert set(failures(report).values()) <= {Code.NOT_FOUND}
    assert set(os.listdir(served.folder)) <= {"d"}


# As durable as was promised, and cut in the middle


@pytest.mark.parametrize("durability", ["none", "batch", "file"])
def test_every_durability_stores_the_same(serve: Serve, tmp_path: Path, durability: str) -> None:
    served = serve(durability=durability)
    expected = lay_tree(tmp_path / "tree")
    client = served.client()
    assert counts(client.put([tmp_path / "tree"], "")) == expected
    report = client.get(["tree"], tmp_path / "got", Options(durability=durability))
    assert counts(report) == expected
    assert whole_state(served.folder / "tree") == whole_state(tmp_path / "tree")
    assert whole_state(tmp_path / "got" / "tree") == whole_state(tmp_path / "tree")


@pytest.mark.parametrize("durability", ["none", "batch", "file"])
def test_an_upload_that_is_cut_keeps_what_was_whole(
    serve: Serve, raw: Callable[[Server], Raw], durability: str
) -> None:
    served = serve(durability=durability)
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "put"})
    peer.frame({"kind": "folder", "name": "d", "mtime": TIME, "mode": 0o750})
    data = b"whole"
    digest = "md5:" + hashlib.md5(data).hexdigest()
    for name in ("d/a", "b"):
        peer.frame({"kind": "file", "name": name, "size": 5, "hash": digest})
        peer.send(data)
    while (peer.reply() or {"count": 3}).get("count") != 3:
        pass  # until folder and files are known to have come
    peer.frame({"kind": "file", "name": "half", "size": 5, "hash": digest})
    peer.send(data[:3])
    peer.finish()
    peer.replies("error")
    served.server.stop()
    served.server.close(SECONDS)
    assert {name: entry[3] for name, entry in tree_state(served.folder).items()} == {
        "d": None,
        "d/a": data,
        "b": data,
    }
    assert (served.folder / "d").stat().st_mtime_ns == TIME


# What stays behind


def test_i6_nothing_stays_open_or_running(tmp_path: Path, raw: Callable[[Server], Raw]) -> None:
    """After transfers that worked, that failed, and that broke off."""
    lay_tree(tmp_path / "tree")
    lay(tmp_path / "served" / "taken", b"taken")
    os.symlink("taken", tmp_path / "served" / "link")
    force = Options(if_exists="overwrite", durability="none", jobs=2)

    def work() -> None:
        with Server(tmp_path / "served", durability="none") as server:
            with Client(server.host, server.port, timeout=SECONDS) as client:
                client.put([tmp_path / "tree"], "", force)
                client.put([tmp_path / "tree"], "taken/")
                client.put([tmp_path / "tree"], "link/")
                client.get(["tree", "none"], tmp_path / "got", force)
                client.get(["taken"], tmp_path / "got" / "tree" / "many", force)
                client.put([tmp_path / "tree" / "old"], "..")
                client.list("tree")
            peer = raw(server)
            peer.greet()
            peer.frame({"kind": "put"})
            peer.frame({"kind": "file", "name": "half", "size": 5, "algorithm": "md5"})
            peer.send(bytes(5))
            peer.close()

    work()
    before, threads = len(os.listdir("/dev/fd")), threading.active_count()
    work()
    assert len(os.listdir("/dev/fd")) == before
    assert threading.active_count() == threads
