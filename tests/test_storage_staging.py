"""Files under temporary names: how they begin, and how each ends whole or not at all."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import tree_state

from filexfer.entry import FILE, FOLDER, LINK, Entry, entry_of_file, entry_of_link
from filexfer.errors import Code, FileError
from filexfer.storage import reservations, staging, system
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Choice, Policy
from filexfer.storage.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MEBIBYTE = 1 << 20
TIME = 1_700_000_000_123_456_789
LEFT = ".fx-" + "0" * 32 + ".part"


def file(name: str, size: int = 0, mtime: int = TIME, mode: int = 0o644) -> Entry:
    return entry_of_file(name, size, mtime, mode)


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(FileError) as caught:
        call(*arguments)
    return caught.value.code


# Whole or not at all


@pytest.mark.parametrize("durability", ["none", "batch", "file"])
def test_a_file_is_hidden_until_it_is_published(
    stage: Callable[..., Staging], folder: Folder, top: Path, native: bool, durability: str
) -> None:
    draft = stage(durability=durability).begin(file("a/name", 10))
    draft.write(b"hello")
    draft.write(memoryview(b"world"))
    (hidden,) = os.listdir(top / "a")
    assert re.fullmatch(r"\.fx-[0-9a-f]{32}\.part", hidden)  # as long for a name of 255 bytes
    assert list(folder.list("a")) == []
    staged = draft.finish(file("a/name", 10))
    assert os.listdir(top / "a") == [hidden]
    assert staged.publish().choice is Choice.TAKE
    assert os.listdir(top / "a") == ["name"]
    assert (top / "a" / "name").read_bytes() == b"helloworld"
    assert (top / "a" / "name").stat().st_nlink == 1


def test_a_discarded_draft_leaves_nothing(stage: Callable[..., Staging], top: Path) -> None:
    draft = stage().begin(file("name"))
    draft.write(b"half")
    draft.discard()
    draft.discard()
    assert os.listdir(top) == []


def test_a_finished_file_that_is_not_wanted_leaves_nothing(
    stage: Callable[..., Staging], top: Path
) -> None:
    stage().small(file("name"), b"whole").discard()
    assert os.listdir(top) == []


def test_a_file_already_there_is_untouched_by_a_draft(
    stage: Callable[..., Staging], top: Path
) -> None:
    (top / "name").write_bytes(b"precious")
    before = (top / "name").stat()
    draft = stage("overwrite").begin(file("name"))
    draft.write(b"other")
    assert (top / "name").stat() == before
    draft.discard()
    assert (top / "name").stat() == before


def test_several_drafts_of_one_name_do_not_meet(stage: Callable[..., Staging], top: Path) -> None:
    one, other = stage(), stage()
    first, second, third = (each.begin(file("name")) for each in (one, one, other))
    assert len(os.listdir(top)) == 3
    for draft in (first, second, third):
        draft.discard()
    assert os.listdir(top) == []


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_small_file_is_written_at_once(
    stage: Callable[..., Staging], top: Path, size: int
) -> None:
    data = os.urandom(size)
    stage().small(file("name", size), data).publish()
    assert (top / "name").read_bytes() == data


# Mode and time


@pytest.mark.parametrize("mode", [0o777, 0o644, 0o400, 0o000, 0o7777, 0o4755, 0o2070, 0o1666])
def test_permissions_are_as_sent_less_the_umask_and_nothing_more(
    stage: Callable[..., Staging], top: Path, mode: int
) -> None:
    """Never setuid, setgid or the sticky bit, whoever asks for it."""
    stage().small(file("name", mode=mode), b"data").publish()
    assert stat.S_IMODE((top / "name").stat().st_mode) == mode & 0o777 & ~system.umask()


@pytest.mark.parametrize("mtime", [TIME, 0, 1, -1, -1_500_000_000, 4_000_000_000_000_000_001])
def test_times_are_kept_to_the_nanosecond(
    stage: Callable[..., Staging], top: Path, mtime: int
) -> None:
    entry = file("name", 4, mtime)
    stage().small(entry, b"data").publish()
    assert (top / "name").stat().st_mtime_ns == mtime


@pytest.mark.parametrize("mtime", [-(2**63), 2**63 - 1])
def test_a_time_out_of_all_range_does_no_harm(
    stage: Callable[..., Staging], top: Path, mtime: int
) -> None:
    """File systems keep the nearest they can."""
    stage().small(file("name", 4, mtime), b"data").publish()
    assert (top / "name").read_bytes() == b"data"


# Holes


def test_holes_stay_holes(stage: Callable[..., Staging], top: Path) -> None:
    draft = stage().begin(file("name"))
    draft.skip(4 * MEBIBYTE)
    draft.write(b"x" * 4096)
    draft.skip(8 * MEBIBYTE)
    draft.finish(file("name")).publish()
    found = (top / "name").stat()
    assert found.st_size == 12 * MEBIBYTE + 4096
    assert (top / "name").read_bytes() == bytes(4 * MEBIBYTE) + b"x" * 4096 + bytes(8 * MEBIBYTE)
    with open(top / "plain", "wb") as plain:
        plain.truncate(MEBIBYTE)
    if (top / "plain").stat().st_blocks:
        pytest.skip("this file system keeps no holes")
    assert found.st_blocks * 512 < MEBIBYTE


def test_a_hole_beyond_what_the_disk_can_count_is_an_error(
    stage: Callable[..., Staging], top: Path
) -> None:
    draft = stage().begin(file("name"))
    assert refusal(draft.skip, 2**62) == Code.IO_ERROR
    draft.discard()
    assert os.listdir(top) == []


# Names


@pytest.mark.parametrize(
    "name",
    [
        "-rf",
        "你好.txt",
        "a\nb\x1b[31m",
        os.fsdecode(b"\xff\xfe"),
        "x" * 255,
        "ü" * 127,
        " x. ",
        "C:\\x",
        "/".join(["d"] * 64),
        "/".join(["d" * 250] * 4),
    ],
)
def test_odd_names_are_kept_as_they_are(
    stage: Callable[..., Staging], top: Path, name: str
) -> None:
    stage().small(file(name), b"data").publish()
    assert (top / name).read_bytes() == b"data"


@pytest.mark.parametrize(
    "name",
    [
        *("", "..", "a/../..", "/x", "a//b", "a/.", ".fx-x", ".FX-", "a/.fx-/b", "a\0", "\ud800"),
        *("x" * 256, "/".join(["d"] * 65), "/".join(["d" * 250] * 5)),
    ],
)
def test_bad_names_begin_nothing(stage: Callable[..., Staging], top: Path, name: str) -> None:
    """One with a good folder part may leave that folder."""
    begun = stage()
    assert refusal(begun.begin, file(name)) == Code.BAD_NAME
    assert refusal(begun.small, file(name), b"data") == Code.BAD_NAME
    assert refusal(begun.link, entry_of_link(name, "target", TIME)) == Code.BAD_NAME
    assert all(path.is_dir() for path in top.rglob("*"))


def test_nothing_is_written_through_a_link_above(
    stage: Callable[..., Staging], top: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (top / "link").symlink_to(tmp_path / "outside")
    begun = stage("overwrite")
    for name in ("link/file", "link/new/file"):
        assert refusal(begun.begin, file(name)) == Code.NOT_A_FOLDER
        assert refusal(begun.link, entry_of_link(name, "x", 0)) == Code.NOT_A_FOLDER
        assert refusal(begun.make_folder, Entry(name, FOLDER)) == Code.NOT_A_FOLDER
    assert os.listdir(tmp_path / "outside") == []


# Links


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a", "b"),
        ("d/a", "../b"),
        ("d/e/a", "../../b/c"),
        ("a", "./b/./c"),
        ("a", "b\n\x1b"),
        ("d/a", ".."),
    ],
)
def test_a_link_that_stays_inside_is_made(
    stage: Callable[..., Staging], top: Path, name: str, target: str
) -> None:
    staged = stage().link(entry_of_link(name, target, TIME))
    assert not os.path.lexists(top / name)
    assert staged.publish().choice is Choice.TAKE
    assert os.readlink(top / name) == target
    assert (top / name).lstat().st_mtime_ns == TIME


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("a", "/etc/passwd"),
        ("a", ".."),
        ("a", "../x"),
        ("d/a", "../../x"),
        ("a", "b/../.."),
        ("a", "b/../../x"),
        ("d/a", "../b/.."),
        ("a", ""),
        ("a", "b\0c"),
    ],
)
def test_a_link_that_may_lead_out_is_not_made(
    stage: Callable[..., Staging], top: Path, name: str, target: str
) -> None:
    begun = stage()
    assert refusal(begun.link, entry_of_link(name, target, TIME)) == Code.DENIED
    assert os.listdir(top) == []


# Folders


def test_a_folder_gets_mode_and_time_after_its_files(
    stage: Callable[..., Staging], top: Path
) -> None:
    begun = stage()
    finish = begun.make_folder(Entry("a", FOLDER, 0, TIME, 0o555))
    begun.small(file("a/file"), b"data").publish()
    begun.make_folder(Entry("a/empty", FOLDER, 0, TIME + 1, 0o700)).publish()
    assert finish.publish().choice is Choice.TAKE
    found = (top / "a").stat()
    assert (found.st_mtime_ns, stat.S_IMODE(found.st_mode)) == (TIME, 0o555)
    assert (top / "a" / "empty").stat().st_mtime_ns == TIME + 1


def test_a_folder_cannot_be_made_over_a_file(stage: Callable[..., Staging], top: Path) -> None:
    (top / "a").write_bytes(b"")
    begun = stage("overwrite")
    assert refusal(begun.make_folder, Entry("a", FOLDER)) == Code.NOT_A_FOLDER
    assert refusal(begun.begin, file("a/b")) == Code.NOT_A_FOLDER


# Judging


def test_a_judgement_tells_what_would_happen_and_does_nothing(
    stage: Callable[..., Staging], top: Path
) -> None:
    (top / "a").mkdir()
    (top / "a" / "file").write_bytes(b"hi")
    os.utime(top / "a" / "file", ns=(TIME, TIME))
    begun = stage("overwrite")
    right, wrong = "md5:49f68a5c8493ec2c0bf489821c21fc3b", "md5:" + "0" * 32

    def judged(name: str, size: int, mtime: int = TIME, digest: str = "") -> Choice:
        return begun.judge(Entry(name, FILE, size, mtime, 0o644, digest), lambda: None).choice

    before = tree_state(top)
    assert judged("new", 2) is Choice.TAKE
    assert judged("a/file", 2) is Choice.IDENTICAL
    assert judged("a/file", 3) is Choice.REPLACE
    assert judged("a/file", 2, 0) is Choice.WANT_DIGEST
    assert judged("a/file", 2, 0, right) is Choice.IDENTICAL
    assert judged("a/file", 2, 0, wrong) is Choice.REPLACE
    assert judged("a", 2) is Choice.REFUSE
    assert judged("a/file/below", 2) is Choice.REFUSE
    assert begun.judge(Entry("../x", FILE), lambda: None).code == Code.BAD_NAME
    assert begun.judge(Entry(".fx-x", FILE), lambda: None).code == Code.BAD_NAME
    assert tree_state(top) == before


def test_a_folder_with_another_mode_or_time_is_brought_up_to_date(
    stage: Callable[..., Staging], top: Path
) -> None:
    (top / "a").mkdir()
    os.chmod(top / "a", 0o755 & ~system.umask())
    os.utime(top / "a", ns=(TIME, TIME))
    begun = stage()

    def judged(mtime: int, mode: int) -> Choice:
        return begun.judge(Entry("a", FOLDER, 0, mtime, mode), lambda: None).choice

    assert judged(TIME, 0o755) is Choice.IDENTICAL
    assert judged(TIME, 0o700) is Choice.TAKE
    assert judged(TIME + 1, 0o755) is Choice.TAKE


# Space


def test_a_file_larger_than_the_disk_is_refused_before_its_first_byte(
    stage: Callable[..., Staging], folder: Folder, top: Path
) -> None:
    begun = stage()
    assert refusal(begun.begin, file("name", 1 << 50)) == Code.NO_SPACE
    assert refusal(begun.begin, file("name", 2**63 - 1)) == Code.NO_SPACE
    assert os.listdir(top) == []
    assert folder.reservations.total() == 0


def test_space_is_not_promised_twice(
    stage: Callable[..., Staging], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor withheld once a file is written or given up; the disk is made small for that."""
    free = 100 * MEBIBYTE
    monkeypatch.setattr(reservations, "free_bytes", lambda _: free)
    begun = stage()
    first = begun.begin(file("a", 60 * MEBIBYTE))
    assert refusal(lambda: stage().begin(file("b", 60 * MEBIBYTE))) == Code.NO_SPACE
    second = stage().begin(file("b", 40 * MEBIBYTE))
    assert refusal(begun.begin, file("c", staging.LARGE)) == Code.NO_SPACE
    piece = bytes(4 * MEBIBYTE)
    for _ in range(4):
        first.write(piece)
    begun.begin(file("c", staging.LARGE)).discard()
    first.discard()
    second.finish(file("b"))
    assert folder.reservations.total() == 0


def test_a_file_longer_than_announced_gives_back_only_what_it_took(
    stage: Callable[..., Staging], folder: Folder
) -> None:
    folder.reservations.add(1000)
    draft = stage().begin(file("a", staging.LARGE))
    draft.write(bytes(staging.LARGE + 1))
    assert folder.reservations.total() == 1000
    draft.discard()
    assert folder.reservations.total() == 1000


def test_a_name_that_is_refused_gives_its_space_back(
    stage: Callable[..., Staging], folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two exchanges that make up the same temporary names cannot be had otherwise."""
    monkeypatch.setattr(os, "urandom", bytes)
    stage().begin(file("a"))
    begun = stage()
    assert refusal(begun.begin, file("b", staging.LARGE)) == Code.EXISTS
    assert folder.reservations.total() == 0


LIMITED = """
import os, resource, sys
from filexfer.entry import Entry, FILE
from filexfer.errors import FileError
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with Folder(sys.argv[1]) as folder, Staging(folder, Policy(), "none") as staging:
    draft = staging.begin(Entry("large", FILE))
    draft.write(bytes(9_000))
    try:
        draft.write(bytes(9_000))
    except FileError as error:
        print(error.code)
        draft.discard()
    try:
        staging.small(Entry("large", FILE), bytes(10_001))
    except FileError as error:
        print(error.code)
    draft = staging.begin(Entry("hole", FILE))
    draft.skip(20_000)
    try:
        draft.finish(Entry("hole", FILE))
    except FileError as error:
        print(error.code)
    staging.small(Entry("fits", FILE), bytes(10_000)).publish()
"""


def test_a_disk_that_takes_no_more_is_an_error_and_leaves_nothing(top: Path) -> None:
    """A limit of the process stands for a full disk: the write comes short, the next one fails."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, top], capture_output=True, text=True, check=True
    )
    large, small, hole = done.stdout.split()
    assert (large, hole) == (Code.TOO_LARGE, Code.TOO_LARGE)
    assert small in (Code.TOO_LARGE, Code.NO_SPACE)  # a small file is not tried on for the reason
    assert os.listdir(top) == ["fits"]
    assert (top / "fits").stat().st_size == 10_000


def test_a_disk_that_fails_at_the_end_leaves_nothing(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk here fails by itself."""

    def failing(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(system, "flush_descriptor", failing)
    begun = stage(durability="file")
    assert refusal(begun.small, file("name"), b"data") == Code.IO_ERROR
    assert os.listdir(top) == []


# Leftovers


def leftover(top: Path) -> Path:
    (top / LEFT).write_bytes(b"of a dead process")
    return top / LEFT


def test_leftovers_are_swept_where_something_is_written(
    stage: Callable[..., Staging], top: Path
) -> None:
    (top / "a").mkdir()
    (top / "other").mkdir()
    swept, kept = leftover(top / "a"), leftover(top / "other")
    stage().begin(file("a/name")).discard()
    assert not swept.exists()
    assert kept.exists()


def test_leftovers_beside_a_new_link_are_swept(stage: Callable[..., Staging], top: Path) -> None:
    swept = leftover(top)
    stage().link(entry_of_link("a", "b", 0)).publish()
    assert not swept.exists()


def test_a_folder_is_looked_at_once_in_the_life_of_a_process(
    stage: Callable[..., Staging], top: Path
) -> None:
    """Its living files are its own; looking each time would cost as much as writing."""
    stage().small(file("first"), b"").publish()
    kept = leftover(top)
    stage().small(file("second"), b"").publish()
    assert kept.exists()
    with Folder(top) as another, Staging(another, Policy(), "none") as begun:
        assert kept.exists()
        del begun


def test_a_staging_keeps_its_folders_claimed(
    stage: Callable[..., Staging], folder: Folder, top: Path
) -> None:
    """As another process sees it."""
    begun = stage()
    draft = begun.begin(file("a/b/name"))
    program = (
        "import os, sys\n"
        "from filexfer.storage.directories import Directories\n"
        "with Directories(os.open(sys.argv[1], os.O_RDONLY)) as folders:\n"
        "    print(folders.get('a/b').sweep())\n"
    )
    for expected in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program, top], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == expected
        begun.__exit__()  # the draft is abandoned, as by a kill
    assert os.listdir(top / "a" / "b") == []
    draft.discard()


def test_a_living_file_is_not_swept_by_another_exchange(
    stage: Callable[..., Staging], folder: Folder, top: Path
) -> None:
    draft = stage().begin(file("name"))
    with Folder(top) as another, Staging(another, Policy(), "none") as other:
        other.small(file("other"), b"").publish()
    draft.write(b"data")
    draft.finish(file("name")).publish()
    assert sorted(os.listdir(top)) == ["name", "other"]


# New folders are hidden until all that came with them appears


def test_a_new_folder_is_hidden_until_it_or_what_is_in_it_is_published(
    stage: Callable[..., Staging], folder: Folder, top: Path
) -> None:
    begun = stage(durability="batch")
    finish = begun.make_folder(Entry("d", FOLDER, 0, TIME, 0o750))
    inner = begun.make_folder(Entry("d/e", FOLDER, 0, TIME, 0o700))
    staged = [begun.small(file(f"d/{name}", 4), b"data") for name in ("a", "e/b", "new/c")]
    draft = begun.begin(file("d/e/large"))
    draft.write(b"large")
    staged.append(draft.finish(file("d/e/large")))
    staged.append(begun.link(entry_of_link("d/link", "a", TIME)))
    assert list(folder.list("")) == []
    assert folder.find("d") is None
    begun.seal()
    assert [each.publish().choice for each in staged] == [Choice.TAKE] * 5
    assert [each.publish().choice for each in (inner, finish)] == [Choice.TAKE] * 2
    begun.__exit__()
    found = {name: entry[3] for name, entry in tree_state(top).items()}
    assert found == {
        **dict.fromkeys(("d", "d/e", "d/new"), None),
        **dict.fromkeys(("d/a", "d/e/b", "d/new/c"), b"data"),
        "d/e/large": b"large",
        "d/link": "a",
    }
    assert tree_state(top)["d"][1:3] == (0o750 & ~system.umask(), TIME)
    assert tree_state(top)["d/e"][1:3] == (0o700, TIME)


def test_what_comes_after_a_group_is_closed_does_not_appear_with_it(
    stage: Callable[..., Staging], top: Path
) -> None:
    """Its contents are not covered by the flush that came before."""
    begun = stage(durability="batch")
    begun.make_folder(Entry("d", FOLDER, 0, TIME, 0o755))
    first = begun.small(file("d/first", 4), b"data")
    begun.seal()
    second = begun.small(file("d/second", 4), b"data")
    first.publish()
    assert sorted(each for each in os.listdir(top / "d") if each[0] != ".") == ["first"]
    second.publish()
    assert sorted(os.listdir(top / "d")) == ["first", "second"]


def test_the_same_name_twice_in_a_new_folder(stage: Callable[..., Staging], top: Path) -> None:
    begun = stage(durability="batch")
    begun.make_folder(Entry("d", FOLDER, 0, TIME, 0o755))
    first = begun.small(entry_of_file("d/a", 4, TIME, 0o644, "md5:1"), b"data")
    second = begun.small(entry_of_file("d/a", 5, TIME, 0o644, "md5:2"), b"other")
    begun.seal()
    assert first.publish().choice is Choice.TAKE
    assert second.publish().choice is Choice.REFUSE
    assert os.listdir(top / "d") == ["a"]
    assert (top / "d" / "a").read_bytes() == b"data"


@pytest.mark.parametrize("if_exists", ["error", "overwrite"])
def test_folders_that_two_exchanges_make_are_merged(
    stage: Callable[..., Staging], top: Path, if_exists: str
) -> None:
    """As if the slower one had found the other's there; nothing hidden is left."""
    one, other = stage(durability="batch"), stage(if_exists, durability="batch")
    for begun, mode in ((one, 0o750), (other, 0o700)):
        begun.make_folder(Entry("d", FOLDER, 0, TIME, mode))
        begun.make_folder(Entry("d/e", FOLDER, 0, TIME, mode))
    items = {
        begun: [
            begun.small(entry_of_file(f"d/{name}", len(data), TIME, 0o644, data.hex()), data)
            for name, data in files.items()
        ]
        for begun, files in {
            one: {"a": b"one", "both": b"one's", "e/c": b"one"},
            other: {"b": b"other", "both": b"the other's", "e/d": b"other"},
        }.items()
    }
    results = []
    for begun in (one, other):
        begun.seal()
        results.append([each.publish().choice for each in items[begun]])
        begun.__exit__()
    took = Choice.REPLACE if if_exists == "overwrite" else Choice.REFUSE
    assert results == [[Choice.TAKE] * 3, [Choice.TAKE, took, Choice.TAKE]]
    found = {name: entry[3] for name, entry in tree_state(top).items()}
    assert found == {
        **dict.fromkeys(("d", "d/e"), None),
        "d/a": b"one",
        "d/b": b"other",
        "d/e/c": b"one",
        "d/e/d": b"other",
        "d/both": b"the other's" if if_exists == "overwrite" else b"one's",
    }


def test_a_folder_that_was_merged_keeps_the_mode_it_had(
    stage: Callable[..., Staging], top: Path
) -> None:
    """It is somebody else's, whom we may not overwrite."""
    begun = stage(durability="batch", may_overwrite=False)
    finish = begun.make_folder(Entry("d", FOLDER, 0, TIME, 0o777))
    (top / "d").mkdir()
    os.chmod(top / "d", 0o700)
    assert finish.publish().choice is Choice.TAKE
    begun.__exit__()
    assert stat.S_IMODE((top / "d").stat().st_mode) == 0o700
    assert os.listdir(top) == ["d"]


@pytest.mark.parametrize("what", ["file", "link"])
def test_a_new_folder_whose_name_was_taken_by_something_else(
    stage: Callable[..., Staging], top: Path, canary: Path, what: str
) -> None:
    """What came for it is refused, and nothing goes where a link leads."""
    begun = stage("overwrite", durability="batch")
    finish = begun.make_folder(Entry("d", FOLDER, 0, TIME, 0o777))
    small = begun.small(file("d/precious", 4), b"data")
    draft = begun.begin(file("d/large"))
    large = draft.finish(file("d/large"))
    if what == "file":
        (top / "d").write_bytes(b"taken")
    else:
        (top / "d").symlink_to(canary)
    begun.seal()
    for item in (small, large, finish):
        result = item.publish()
        assert result.choice is Choice.REFUSE
        assert result.error
        assert result.error.code == Code.NOT_A_FOLDER
    begun.__exit__()
    assert os.listdir(top) == ["d"]


def test_new_folders_that_are_given_up_leave_nothing(
    stage: Callable[..., Staging], top: Path
) -> None:
    begun = stage(durability="batch")
    finishes = [begun.make_folder(Entry(name, FOLDER)) for name in ("d", "d/e", "d/e/f")]
    staged = [begun.small(file(f"{name}/a", 4), b"data") for name in ("d", "d/e", "d/e/f")]
    for file_item in staged:
        file_item.discard()
    for finish in finishes:
        finish.discard()
    begun.__exit__()
    assert os.listdir(top) == []


def test_a_hidden_folder_of_the_living_is_not_swept(
    stage: Callable[..., Staging], top: Path
) -> None:
    begun = stage(durability="batch")
    begun.make_folder(Entry("d", FOLDER, 0, TIME, 0o755))
    staged = begun.small(file("d/a", 4), b"data")
    with Folder(top) as another, Staging(another, Policy(), "none") as other:
        other.small(file("other"), b"").publish()
    assert staged.publish().choice is Choice.TAKE
    assert (top / "d" / "a").read_bytes() == b"data"


# What stays open


def test_nothing_stays_open(folder: Folder) -> None:
    before = len(os.listdir("/dev/fd"))
    with Staging(folder, Policy(), "none") as begun:
        for number in range(200):
            begun.small(file(f"{number}/file"), b"").publish()
            begun.make_folder(Entry(f"{number}", FOLDER, mode=0o755)).publish()
            begun.begin(file(f"{number}/other")).discard()
        begun.find("1/file")
        begun.judge(file("1/file"), lambda: None)
    assert len(os.listdir("/dev/fd")) == before


def test_folders_that_wait_for_their_files_stay_open(
    stage: Callable[..., Staging], top: Path
) -> None:
    begun = stage()
    staged = [begun.small(file(f"{number}/file"), b"data") for number in range(150)]
    for each in staged:
        assert each.publish().choice is Choice.TAKE
    assert len(list(top.glob("*/file"))) == 150


@pytest.mark.parametrize("native", [False], indirect=True)
def test_without_a_flush_of_the_file_system_new_folders_are_flushed_one_by_one(
    stage: Callable[..., Staging], native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(system, "flush_descriptor", flushed.append)
    stage(durability="none").begin(file("a/name")).discard()
    assert flushed == []
    stage(durability="batch").begin(file("b/c/name")).discard()
    assert len(flushed) == 2


def test_entries_of_files_and_links() -> None:
    assert entry_of_file("a", 1, 2, 3, "md5:x") == Entry("a", FILE, 1, 2, 3, "md5:x")
    assert entry_of_link("a", "to", 2) == Entry("a", LINK, 0, 2, 0o777, "to")
