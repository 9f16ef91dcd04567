"""How items take their places: a free name, a taken one, and many at once."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from test_storage_reading import powerless

from filexfer.entry import FOLDER, Entry, entry_of_file, entry_of_link
from filexfer.errors import Code, FileError
from filexfer.hashing import digest_of
from filexfer.names import derived
from filexfer.storage import staged, system
from filexfer.storage.policy import Choice, Decision, Policy
from filexfer.storage.reading import Reading
from filexfer.storage.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from filexfer.storage.folder import Folder
    from filexfer.storage.staged import Result, Staged

TIME = 1_700_000_000_123_456_789
SECOND = 1_000_000_000
digest = digest_of("xxh3_128")


def small(begun: Staging, name: str, data: bytes, mtime: int = TIME) -> Staged:
    return begun.small(entry_of_file(name, len(data), mtime, 0o644, digest(data)), data)


def put(begun: Staging, name: str, data: bytes, mtime: int = TIME) -> str:
    """Store a file and return what became of it: the choice, or the code of its failure."""
    return word(small(begun, name, data, mtime).publish())


def word(result: Result) -> str:
    if result.error:
        assert result.choice is Choice.REFUSE
        assert result.error.text
        return result.error.code
    return str(result.choice.value)


def there(path: Path, data: bytes, mtime: int = TIME) -> int:
    """Lay a file and return its inode."""
    path.write_bytes(data)
    os.utime(path, ns=(mtime, mtime))
    return path.stat().st_ino


# A name that is taken


@pytest.mark.parametrize(
    "case",
    [
        ("error", b"same", 0, "identical"),
        ("error", b"same", SECOND, "identical"),
        ("error", b"else", SECOND, "exists"),
        ("error", b"longer", 0, "exists"),
        ("overwrite", b"same", SECOND, "identical"),
        ("overwrite", b"else", -SECOND, "replace"),
        ("overwrite", b"longer", 0, "replace"),
        ("update", b"else", SECOND, "replace"),
        ("update", b"else", -SECOND, "skip"),
        ("update", b"longer", 0, "skip"),
        ("update", b"same", SECOND, "identical"),
        ("skip", b"else", SECOND, "skip"),
        ("skip", b"longer", -SECOND, "skip"),
        ("keep-both", b"same", SECOND, "identical"),
        ("keep-both", b"else", SECOND, "keep both"),
    ],
)
def test_what_happens_where_a_file_is(
    stage: Callable[..., Staging], top: Path, native: bool, case: tuple[str, bytes, int, str]
) -> None:
    """The file that is there is replaced by a rename or not touched at all."""
    if_exists, data, later, expected = case
    inode = there(top / "name", b"same")
    assert put(stage(if_exists), "name", data, TIME + later) == expected
    replaced = expected == "replace"
    assert (top / "name").read_bytes() == (data if replaced else b"same")
    assert ((top / "name").stat().st_ino != inode) == replaced
    assert (top / "name").stat().st_mtime_ns == TIME + (later if replaced else 0)
    assert len(os.listdir(top)) == (2 if expected == "keep both" else 1)


def test_without_the_right_nothing_is_replaced(stage: Callable[..., Staging], top: Path) -> None:
    inode = there(top / "name", b"same")
    for if_exists in ("overwrite", "update"):
        begun = stage(if_exists, may_overwrite=False)
        assert put(begun, "name", b"else", TIME + SECOND) == Code.DENIED
    assert (top / "name").stat().st_ino == inode
    assert os.listdir(top) == ["name"]


def test_bytes_decide_where_size_and_time_are_the_same(
    stage: Callable[..., Staging], top: Path
) -> None:
    """The bytes have come, so nothing less than their digest counts."""
    there(top / "name", b"same")
    assert put(stage(), "name", b"else") == Code.EXISTS
    assert put(stage(), "name", b"same") == "identical"
    assert put(stage("keep-both"), "name", b"else") == "keep both"
    assert put(stage("update"), "name", b"else") == "skip"
    assert put(stage("overwrite"), "name", b"else") == "replace"
    assert (top / "name").read_bytes() == b"else"


def test_whoever_reads_the_old_file_reads_it_to_its_end(
    stage: Callable[..., Staging], top: Path
) -> None:
    there(top / "name", b"old bytes")
    with open(top / "name", "rb") as reader:
        assert reader.read(3) == b"old"
        assert put(stage("overwrite"), "name", b"new") == "replace"
        assert reader.read() == b" bytes"


# Kept beside


def test_a_file_kept_beside_is_named_after_its_bytes(
    stage: Callable[..., Staging], top: Path, native: bool
) -> None:
    """So a repeated try finds itself again, and nothing doubles."""
    (top / "a").mkdir()
    there(top / "a" / "name.txt", b"old")
    result = small(stage("keep-both"), "a/name.txt", b"other").publish()
    beside = derived("name.txt", digest(b"other"))
    assert (word(result), result.name) == ("keep both", f"a/{beside}")
    assert put(stage("keep-both"), "a/name.txt", b"other", 0) == "identical"
    assert put(stage("keep-both"), "a/name.txt", b"third") == "keep both"
    assert sorted(os.listdir(top / "a")) == sorted(
        ["name.txt", beside, derived("name.txt", digest(b"third"))]
    )
    assert (top / "a" / "name.txt").read_bytes() == b"old"
    assert (top / "a" / beside).read_bytes() == b"other"


def test_what_has_the_derived_name_already_is_not_touched(
    stage: Callable[..., Staging], top: Path
) -> None:
    there(top / "name", b"old")
    beside = top / derived("name", digest(b"other"))
    there(beside, b"by chance")
    assert put(stage("keep-both"), "name", b"other") == Code.EXISTS
    assert beside.read_bytes() == b"by chance"
    beside.unlink()
    beside.mkdir()
    assert put(stage("keep-both"), "name", b"other") == Code.NOT_REGULAR
    assert sorted(os.listdir(top)) == sorted(["name", beside.name])


# Other things that have the name


def test_a_link_is_replaced_itself(
    stage: Callable[..., Staging], top: Path, tmp_path: Path, native: bool
) -> None:
    """What it leads to is neither looked at nor touched."""
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    (top / "name").symlink_to(outside)
    assert put(stage(), "name", b"precious") == Code.EXISTS
    assert put(stage("keep-both"), "name", b"precious") == "keep both"
    assert (top / "name").is_symlink()
    assert put(stage("overwrite"), "name", b"new") == "replace"
    assert not (top / "name").is_symlink()
    assert outside.read_bytes() == b"precious"


def test_a_link_meets_a_link(stage: Callable[..., Staging], top: Path) -> None:
    (top / "name").symlink_to("target")

    def link(if_exists: str, target: str) -> str:
        return word(stage(if_exists).link(entry_of_link("name", target, TIME)).publish())

    assert link("error", "target") == "identical"
    assert link("error", "other") == Code.EXISTS
    assert link("keep-both", "other") == Code.EXISTS  # no bytes to name it after
    assert link("overwrite", "other") == "replace"
    assert os.readlink(top / "name") == "other"
    assert os.listdir(top) == ["name"]


@pytest.mark.case("D5")
@pytest.mark.parametrize("if_exists", ["error", "overwrite", "keep-both"])
def test_a_pipe_does_not_hold_us_up(
    stage: Callable[..., Staging], top: Path, if_exists: str
) -> None:
    os.mkfifo(top / "name")
    expected = {"error": "exists", "overwrite": "replace", "keep-both": "keep both"}[if_exists]
    assert put(stage(if_exists), "name", b"") == expected
    assert stat.S_ISFIFO((top / "name").stat().st_mode) == (if_exists != "overwrite")


@pytest.mark.parametrize("if_exists", ["error", "overwrite", "keep-both"])
def test_a_folder_is_not_replaced(
    stage: Callable[..., Staging], top: Path, native: bool, if_exists: str
) -> None:
    (top / "name").mkdir()
    assert put(stage(if_exists), "name", b"data") == Code.IS_A_FOLDER
    assert word(stage(if_exists).link(entry_of_link("name", "x", 0)).publish()) == Code.IS_A_FOLDER
    assert os.listdir(top) == ["name"]


@pytest.mark.case("C10")
@pytest.mark.parametrize("if_exists", ["error", "overwrite"])
def test_c10_a_name_and_one_below_it_in_one_exchange(
    stage: Callable[..., Staging], top: Path, if_exists: str
) -> None:
    """The folder is claimed by the exchange itself, which must not wait for its own claim."""
    begun = stage(if_exists)
    below, above = small(begun, "p/c", b"below"), small(begun, "p", b"above")
    link = begun.link(entry_of_link("p", "x", 0))
    assert word(below.publish()) == "take"
    assert word(above.publish()) == Code.IS_A_FOLDER
    assert word(link.publish()) == Code.IS_A_FOLDER
    assert os.listdir(top) == ["p"]
    assert os.listdir(top / "p") == ["c"]


def test_a_file_that_may_not_be_read_is_compared_by_size_only(
    stage: Callable[..., Staging], top: Path
) -> None:
    inode = there(top / "name", b"secret")
    os.chmod(top / "name", 0o000)
    with powerless():
        assert put(stage(), "name", b"longer one") == Code.EXISTS
        assert put(stage(), "name", b"secret", 0) == Code.DENIED
        assert (top / "name").stat().st_ino == inode
        assert put(stage("overwrite"), "name", b"longer one") == "replace"
    assert os.listdir(top) == ["name"]


# Failures


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def test_a_rename_that_fails_leaves_nothing(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk here fails by itself."""
    staged = small(stage(), "name", b"data")
    monkeypatch.setattr(system, "rename_exclusive", failing(errno.EIO))
    assert word(staged.publish()) == Code.IO_ERROR
    assert os.listdir(top) == []


def test_a_replacing_rename_that_fails_leaves_the_old_file(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above."""
    there(top / "name", b"old")
    staged = small(stage("overwrite"), "name", b"new one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", failing(errno.EIO))
        assert word(staged.publish()) == Code.IO_ERROR
    assert os.listdir(top) == ["name"]
    assert (top / "name").read_bytes() == b"old"


@pytest.mark.case("D20")
def test_a_folder_removed_before_its_file_is_published_takes_nothing(
    stage: Callable[..., Staging], folder: Folder, top: Path
) -> None:
    begun = stage()
    staged = small(begun, "a/name", b"data")
    folder.remove("a", recursive=True)
    assert word(staged.publish()) == Code.NOT_FOUND
    assert os.listdir(top) == []
    with pytest.raises(FileError):
        small(begun, "a/other", b"data")
    assert os.listdir(top) == []


@pytest.mark.case("D20")
def test_a_folder_moved_away_takes_its_file_along(
    stage: Callable[..., Staging], top: Path, tmp_path: Path
) -> None:
    """Never is one made elsewhere under the old name."""
    staged = small(stage(), "a/name", b"data")
    (top / "a").rename(tmp_path / "moved")
    assert word(staged.publish()) == "take"
    assert os.listdir(top) == []
    assert os.listdir(tmp_path / "moved") == ["name"]


def test_a_file_removed_while_it_is_looked_at_makes_room(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must vanish between two system calls, which only a stand-in can arrange."""
    there(top / "name", b"old")
    begun = stage()
    find = begun.find

    def removing(name: str) -> Entry | None:
        (top / "name").unlink(missing_ok=True)
        return find(name)

    monkeypatch.setattr(begun, "find", removing)
    assert put(begun, "name", b"new") == "take"
    assert (top / "name").read_bytes() == b"new"


def test_a_file_replaced_while_it_is_looked_at_is_looked_at_again(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above; the lock must be on the file that is there now."""
    there(top / "name", b"old")
    there(top / "other", b"newer", TIME + 10 * SECOND)
    flock = fcntl.flock

    def replacing(fd: int, operation: int) -> None:
        flock(fd, operation)
        if (top / "other").exists():
            (top / "other").rename(top / "name")

    begun = stage("update")
    staged = small(begun, "name", b"between", TIME + SECOND)
    monkeypatch.setattr(fcntl, "flock", replacing)
    assert word(staged.publish()) == "skip"
    assert (top / "name").read_bytes() == b"newer"
    assert os.listdir(top) == ["name"]


def test_a_file_that_keeps_being_replaced_is_given_up(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above."""
    there(top / "name", b"old")
    flock = fcntl.flock

    def replacing(fd: int, operation: int) -> None:
        flock(fd, operation)
        there(top / "other", b"older")
        (top / "other").rename(top / "name")

    staged = small(stage("overwrite"), "name", b"new one")
    monkeypatch.setattr(fcntl, "flock", replacing)
    assert word(staged.publish()) == Code.IO_ERROR
    assert os.listdir(top) == ["name"]


def test_a_lock_of_another_program_is_not_waited_for_for_ever(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody who may read the file can hold one."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    there(top / "name", b"old")
    with open(top / "name", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert put(stage("overwrite"), "name", b"new one") == Code.IO_ERROR
    assert len(pauses) == staged._LOCK_TRIES
    assert os.listdir(top) == ["name"]
    assert put(stage("overwrite"), "name", b"new one") == "replace"


def test_the_decision_is_made_under_a_lock(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another exchange waits until the first has acted, and then sees what came of it."""
    there(top / "name", b"old", TIME)
    first, second = stage("update"), stage("update")
    newest = small(first, "name", b"newest", TIME + 2 * SECOND)
    newer = small(second, "name", b"newer", TIME + SECOND)
    deciding, acted = threading.Event(), threading.Event()
    decide = Policy.decide

    def slow(self: Policy, offered: Entry, existing: Entry, ask: Callable[[], str]) -> Decision:
        decision = decide(self, offered, existing, ask)
        if self is first.policy:
            deciding.set()
            assert not acted.wait(0.2)  # the other one must not get this far meanwhile
        else:
            acted.set()
        return decision

    monkeypatch.setattr(Policy, "decide", slow)
    results: list[str] = []
    thread = threading.Thread(target=lambda: results.append(word(newest.publish())))
    thread.start()
    assert deciding.wait(10)
    assert word(newer.publish()) == "skip"
    thread.join()
    assert results == ["replace"]
    assert (top / "name").read_bytes() == b"newest"


# As durable as promised


def test_file_by_file_contents_then_name_then_folder(
    stage: Callable[..., Staging], top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is durable before the next step; the name only ever leads to durable bytes."""
    steps: list[str] = []
    rename = system.rename_exclusive

    def flush(fd: int) -> None:
        steps.append("flush folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "flush file")

    def renaming(fd: int, old: str, new: str, *to: int) -> None:
        steps.append("rename")
        rename(fd, old, new, *to)

    monkeypatch.setattr(system, "flush_descriptor", flush)
    monkeypatch.setattr(system, "rename_exclusive", renaming)
    assert put(stage(durability="file"), "name", b"data") == "take"
    assert steps == ["flush file", "rename", "flush folder"]
    steps.clear()
    assert put(stage("overwrite", "file"), "name", b"longer") == "replace"
    assert steps == ["flush file", "rename", "flush folder"]
    steps.clear()
    for durability in ("none", "batch"):  # the publisher flushes for these
        assert put(stage(durability=durability), durability, b"data") == "take"
    assert steps == ["rename", "rename"]


def test_a_folder_that_cannot_be_made_durable_is_told(
    stage: Callable[..., Staging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk here fails by itself."""
    staged = small(stage(durability="file"), "name", b"data")
    monkeypatch.setattr(system, "flush_descriptor", failing(errno.EIO))
    assert word(staged.publish()) == Code.IO_ERROR


@pytest.mark.parametrize("mode", [0o000, 0o200, 0o333])
@pytest.mark.parametrize("durability", ["batch", "file"])
def test_a_file_that_its_owner_may_not_read_is_made_durable(
    stage: Callable[..., Staging], native: bool, mode: int, durability: str
) -> None:
    """File by file too; nobody opens it again for that."""
    with powerless():
        staged = stage(durability=durability).small(entry_of_file("name", 4, TIME, mode), b"data")
        assert word(staged.publish()) == "take"


# Folders


def test_the_mode_of_a_folder_of_others_is_theirs(stage: Callable[..., Staging], top: Path) -> None:
    """Unless replacing is allowed and wished; its time is brought up to date in any case."""
    (top / "a").mkdir()
    os.chmod(top / "a", 0o750)
    entry = Entry("a", FOLDER, 0, TIME, 0o700)
    for if_exists, may_overwrite in (("overwrite", False), ("error", True), ("skip", True)):
        stage(if_exists, may_overwrite=may_overwrite).make_folder(entry).publish()
        assert stat.S_IMODE((top / "a").stat().st_mode) == 0o750
        assert (top / "a").stat().st_mtime_ns == TIME
    stage("update").make_folder(entry).publish()
    assert stat.S_IMODE((top / "a").stat().st_mode) == 0o700


def test_a_new_folder_gets_the_mode_sent_without_that_right(
    stage: Callable[..., Staging], top: Path
) -> None:
    stage(may_overwrite=False).make_folder(Entry("a", FOLDER, 0, TIME, 0o7500)).publish()
    assert stat.S_IMODE((top / "a").stat().st_mode) == 0o500


@pytest.mark.parametrize("special", [stat.S_ISGID, stat.S_ISVTX, stat.S_ISGID | stat.S_ISVTX])
def test_a_folder_that_is_there_keeps_its_special_bits(
    stage: Callable[..., Staging], top: Path, special: int
) -> None:
    """A folder shared like /tmp, or by a group, must not lose what makes it safe to share."""
    (top / "a").mkdir()
    os.chmod(top / "a", special | 0o777)
    stage("overwrite").make_folder(Entry("a", FOLDER, 0, TIME, 0o755)).publish()
    assert stat.S_IMODE((top / "a").stat().st_mode) == special | 0o755


def test_a_folder_that_is_not_finished_is_left_as_it_is(
    stage: Callable[..., Staging], top: Path
) -> None:
    (top / "a").mkdir()
    before = (top / "a").stat()
    finish = stage().make_folder(Entry("a", FOLDER, 0, TIME, 0o700))
    assert finish.place()[1] == finish.folder.fd
    finish.discard()
    assert (top / "a").stat() == before


@pytest.mark.parametrize("if_fails", ["fchmod", "utime"])
def test_a_folder_that_cannot_be_finished_is_told(
    stage: Callable[..., Staging], monkeypatch: pytest.MonkeyPatch, if_fails: str
) -> None:
    """As one that belongs to somebody else; here everything is ours."""
    finish = stage("overwrite").make_folder(Entry("a", FOLDER, 0, TIME, 0o700))
    os.fchmod(finish.folder.fd, 0o755)
    with monkeypatch.context() as patch:
        patch.setattr(os, if_fails, failing(errno.EPERM))
        assert word(finish.publish()) == Code.DENIED
    finish.release()
    assert finish.folder.users == 0


# Many at once

THREADS = 20


def at_once(work: Callable[[int], str]) -> list[str]:
    """Do *work* in many threads that begin together; return what each returned, sorted."""
    begin = threading.Barrier(THREADS)
    results: list[str] = []

    def run(number: int) -> None:
        begin.wait()
        results.append(work(number))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == THREADS
    return sorted(results)


def one_put(folder: Folder, if_exists: str, data: bytes, mtime: int = TIME) -> str:
    with Staging(folder, Policy(if_exists), "none") as begun:
        return put(begun, "name", data, mtime)


@pytest.mark.case("I1")
@pytest.mark.parametrize("repeat", range(3))
def test_i1_of_many_that_want_a_new_name_one_gets_it(
    folder: Folder, top: Path, native: bool, repeat: int
) -> None:
    results = at_once(lambda n: one_put(folder, "error", b"%d" % (100 + n), TIME + n))
    assert results == [*["exists"] * (THREADS - 1), "take"]
    assert os.listdir(top) == ["name"]


@pytest.mark.case("I7")
def test_i7_of_many_that_bring_the_same_all_succeed(
    folder: Folder, top: Path, native: bool
) -> None:
    results = at_once(lambda _: one_put(folder, "error", b"the same"))
    assert results == [*["identical"] * (THREADS - 1), "take"]
    assert os.listdir(top) == ["name"]


@pytest.mark.case("I2")
def test_i2_overwriters_leave_one_whole_version(folder: Folder, top: Path, native: bool) -> None:
    there(top / "name", b"first")
    versions = {number: b"%d" % number * 5000 for number in range(THREADS)}
    results = at_once(lambda n: one_put(folder, "overwrite", versions[n], TIME + SECOND + n))
    assert set(results) <= {"replace", "identical"}
    assert (top / "name").read_bytes() in versions.values()
    assert os.listdir(top) == ["name"]


def test_an_update_never_goes_back(folder: Folder, top: Path, native: bool) -> None:
    """Whatever the order in which they come, the newest stays."""
    there(top / "name", b"first", TIME)
    results = at_once(
        lambda number: one_put(folder, "update", b"%d" % (100 + number), TIME + number * SECOND)
    )
    assert set(results) <= {"replace", "skip"}
    assert (top / "name").read_bytes() == b"%d" % (100 + THREADS - 1)
    assert (top / "name").stat().st_mtime_ns == TIME + (THREADS - 1) * SECOND


def test_of_many_kept_beside_none_is_lost(folder: Folder, top: Path, native: bool) -> None:
    there(top / "name", b"first")
    results = at_once(lambda number: one_put(folder, "keep-both", b"version %d" % (number // 2)))
    assert results == sorted(["keep both", "identical"] * (THREADS // 2))
    found = {path.read_bytes() for path in top.iterdir()}
    assert found == {b"first", *(b"version %d" % number for number in range(THREADS // 2))}


def vanishing(folder: Folder, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a file be removed, once, just when it is to be compared."""
    digest = Reading.digest

    def removed(self: Reading, *words: Any) -> str:
        monkeypatch.setattr(Reading, "digest", digest)
        os.unlink(os.path.join(folder.path, name))
        return digest(self, *words)

    monkeypatch.setattr(Reading, "digest", removed)


def test_what_is_removed_while_it_is_compared_was_not_there(
    folder: Folder, stage: Callable[..., Staging], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who removes the old file in the middle lets the new one take its name."""
    begun = stage("overwrite")
    for _ in range(2):
        with open(os.path.join(folder.path, "name"), "wb") as file:
            file.write(b"old!")
        os.utime(os.path.join(folder.path, "name"), ns=(5, 5))
        vanishing(folder, "name", monkeypatch)
        offered = entry_of_file("name", 4, TIME, 0o644, digest(b"new!"))
        assert begun.judge(offered, lambda: None).choice is Choice.TAKE
        with open(os.path.join(folder.path, "name"), "wb") as file:
            file.write(b"old!")
        vanishing(folder, "name", monkeypatch)
        staged = begun.small(offered, b"new!")
        assert staged.publish().choice is Choice.TAKE
        with open(os.path.join(folder.path, "name"), "rb") as file:
            assert file.read() == b"new!"
