"""The largest file, and the space that is kept free: what is refused, and when."""

from __future__ import annotations

import os
from math import inf
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Served, framed

from filexfer import FileError, Limits
from filexfer.entry import FILE, FOLDER, Entry
from filexfer.errors import Code
from filexfer.storage import reservations
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Choice, Policy
from filexfer.storage.room import Bounds
from filexfer.storage.staging import LARGE, Staging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MEBIBYTE = 1 << 20


class Disk:
    """A folder on a disk whose free space is what the test says, and how often it was asked."""

    def __init__(self, path: Path) -> None:
        self.folder = Folder(path)
        self.free = 100 * MEBIBYTE
        self.looks = 0

    def free_bytes(self, _: int) -> int:
        """Stand in for what asks the system."""
        self.looks += 1
        return self.free

    def staging(self, max_file_size: int | None = None, min_free: int | None = 0) -> Staging:
        """Return a new exchange with these bounds."""
        self.folder.bounds.max_file_size = max_file_size
        self.folder.bounds.min_free = min_free
        return Staging(self.folder, Policy(), "none")


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    made = Disk(tmp_path)
    monkeypatch.setattr(reservations, "free_bytes", made.free_bytes)
    yield made
    made.folder.close()


def file(name: str, size: int = 0) -> Entry:
    return Entry(name, FILE, size, 0, 0o644)


def code_of(call: Callable[..., object], *args: Any) -> str:
    """Return why it is refused."""
    with pytest.raises(FileError) as caught:
        call(*args)
    return str(caught.value.code)


def verdict(staging: Staging, offered: Entry) -> tuple[Choice, str, str]:
    """Return the answer to a question."""
    decision = staging.judge(offered, lambda: None)
    return decision.choice, decision.code, decision.text


def test_the_largest_file(disk: Disk) -> None:
    """One byte more is refused: when it is asked about, begun, written, or skipped as a hole."""
    staging = disk.staging(max_file_size=1000)
    assert verdict(staging, file("a", 1000))[0] is Choice.TAKE
    assert verdict(staging, file("a", 1001)) == (
        *(Choice.REFUSE, Code.TOO_LARGE),
        "over the limit of 1,000 bytes",
    )
    assert verdict(staging, Entry("d", FOLDER, 5000, 0, 0o755))[0] is Choice.TAKE
    staging.small(file("small"), bytes(1000)).discard()
    assert code_of(staging.small, file("small"), bytes(1001)) == Code.TOO_LARGE
    assert code_of(staging.begin, file("a", 1001)) == Code.TOO_LARGE
    draft = staging.begin(file("a"))
    draft.write(bytes(600))
    assert code_of(draft.write, bytes(401)) == Code.TOO_LARGE
    assert code_of(draft.skip, 401) == Code.TOO_LARGE
    draft.write(bytes(400))
    draft.discard()
    assert os.listdir(disk.folder.path) == []


def test_space_is_kept_free(disk: Disk) -> None:
    """What would take of it is refused, in whatever way it comes, and nothing is left of it."""
    staging = disk.staging(min_free=90 * MEBIBYTE)
    assert verdict(staging, file("a", 10 * MEBIBYTE))[0] is Choice.TAKE
    assert verdict(staging, file("a", 10 * MEBIBYTE + 1))[:2] == (Choice.REFUSE, Code.NO_SPACE)
    assert code_of(staging.begin, file("a", 11 * MEBIBYTE)) == Code.NO_SPACE
    assert code_of(staging.begin, file("a", LARGE)) == Code.NO_SPACE
    draft = staging.begin(file("a", 10 * MEBIBYTE))
    draft.write(bytes(4 * MEBIBYTE))
    disk.free = 90 * MEBIBYTE + 1000
    assert code_of(draft.write, bytes(4 * MEBIBYTE)) == Code.NO_SPACE
    draft.discard()
    assert code_of(disk.staging(min_free=90 * MEBIBYTE).small, file("b"), bytes(1001)) == "no_space"
    disk.staging(min_free=90 * MEBIBYTE).small(file("b"), bytes(1000)).discard()
    assert os.listdir(disk.folder.path) == []
    assert disk.folder.reservations.total() == 0


def test_the_reason_fits_an_answer(disk: Disk) -> None:
    """It is a sentence of at most 60 characters, and says how much is kept."""
    disk.free = 0
    _, code, text = verdict(disk.staging(min_free=1 << 30), file("a", 1))
    assert (code, text) == ("no_space", "no space: 1,073,741,824 bytes of the disk are kept free")
    _, _, text = verdict(disk.staging(max_file_size=2**62), file("a", 2**63 - 1))
    assert len(text) <= 60


def test_what_is_promised_is_not_there(disk: Disk) -> None:
    """A small file is refused too when others will need the rest; the promised bytes go on."""
    first = disk.staging(min_free=10 * MEBIBYTE)
    draft = first.begin(file("large", 90 * MEBIBYTE))
    assert code_of(disk.staging(min_free=10 * MEBIBYTE).small, file("b"), b"x") == Code.NO_SPACE
    disk.free = 60 * MEBIBYTE
    draft.write(bytes(40 * MEBIBYTE))
    disk.free = 10 * MEBIBYTE
    assert code_of(draft.write, bytes(5 * MEBIBYTE)) == Code.NO_SPACE
    draft.discard()


def test_small_files_ask_seldom(disk: Disk) -> None:
    """The system is asked once for some megabytes, and for each file when it gets tight."""
    staging = disk.staging(min_free=1)
    disk.free = 10**12
    for number in range(1500):
        staging.small(file(f"{number}"), bytes(100)).discard()
    assert disk.looks == 2
    disk.looks, disk.free = 0, 10_000
    tight = disk.staging(min_free=1)
    for number in range(5):
        tight.small(file(f"{number}"), bytes(100)).discard()
    assert disk.looks == 5


def test_without_bounds_nobody_asks(disk: Disk) -> None:
    """A client's own folder has no bounds, and costs nothing."""
    staging = disk.staging()
    assert staging.room.left == staging.room.largest == inf
    staging.small(file("a"), bytes(100)).discard()
    staging.begin(file("b", 1000)).discard()
    verdict(staging, file("c", 5))
    assert disk.looks == 0


def test_what_is_kept_by_default(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of the disk, 1 GiB at most; nothing where the system does not tell."""

    class Found:
        f_frsize = 4096
        f_blocks = 10_000

    bounds = Bounds()
    bounds.min_free = None
    monkeypatch.setattr(os, "fstatvfs", lambda _: Found)
    assert bounds.kept(disk.folder.fd) == 10_000 * 4096 // 20
    Found.f_blocks = 10**9
    assert bounds.kept(disk.folder.fd) == 1 << 30
    Found.f_blocks = 0
    assert bounds.kept(disk.folder.fd) == 0

    def fail(_: int) -> None:
        raise OSError

    monkeypatch.setattr(os, "fstatvfs", fail)
    assert bounds.kept(disk.folder.fd) == 0


def test_a_server_with_bounds(
    serve: Callable[..., Served], raw: Callable[..., Any], tmp_path: Path
) -> None:
    """Files that are too large fail alone, and are not sent where the client asks; others arrive."""
    served = serve(limits=Limits(max_file_size=600_000, min_free=0))
    (tmp_path / "tree").mkdir()
    for name, size in (("small", 10), ("limit", 600_000), ("over", 600_001), ("large", 5_000_000)):
        (tmp_path / "tree" / name).write_bytes(bytes(size))
    with served.client() as client:
        for number in range(2):
            report = client.put([tmp_path / "tree"])
            assert report.files == (0 if number else 2)
            assert report.moved == (0 if number else 600_010)  # nothing of those that fail
            assert sorted((each.name, each.code) for each in report.failures) == [
                ("tree/large", "too_large"),
                ("tree/over", "too_large"),
            ]
        with (tmp_path / "tree" / "large").open("rb") as stream:
            report = client.put_stream(stream.fileno(), "stream")
        assert [each.code for each in report.failures] == ["too_large"]
    peer = raw(served.server)
    peer.frame({"name": "plain", "size": 600_001, "md5": "0" * 32})
    peer.send(bytes(600_001))
    assert peer.reply()["code"] == "too_large"
    peer = raw(served.server)
    peer.greet()
    peer.send(framed({"kind": "begin", "name": "pieces", "size": 600_001}))
    reply = peer.reply()
    assert (reply["kind"], reply["code"]) == ("error", "too_large")
    assert os.listdir(served.folder) == ["tree"]
    assert sorted(os.listdir(served.folder / "tree")) == ["limit", "small"]


def test_a_server_that_keeps_space_free(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Small files into a new folder, which are not asked about, are refused one by one."""
    served = serve(limits=Limits(min_free=MEBIBYTE))
    monkeypatch.setattr(reservations, "free_bytes", lambda _: MEBIBYTE + 10)
    (tmp_path / "tree").mkdir()
    for name, size in (("a", 5), ("b", 11), ("c", 10)):
        (tmp_path / "tree" / name).write_bytes(bytes(size))
    with served.client() as client:
        report = client.put([tmp_path / "tree"])
    assert [(each.name, each.code) for each in report.failures] == [("tree/b", "no_space")]
    assert sorted(os.listdir(served.folder / "tree")) == ["a", "c"]


def test_a_refused_file_takes_nothing_with_it(disk: Disk) -> None:
    """In a folder that is not seen yet, where files have their own names at once, too."""
    with disk.staging(max_file_size=10) as staging:
        staging.durability, staging._hides = "batch", True
        folder = staging.make_folder(Entry("d", FOLDER, 0, 0, 0o755))
        staging.small(file("d/a"), b"first")
        assert code_of(staging.small, file("d/a"), bytes(11)) == Code.TOO_LARGE
        (hidden,) = os.listdir(disk.folder.path)
        assert os.listdir(os.path.join(disk.folder.path, hidden)) == ["a"]
        folder.discard()
