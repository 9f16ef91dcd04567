"""Folders below a root, reached component by component, claimed and swept."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from filexfer.errors import Code, FileError
from filexfer.storage import directories, directory, system
from filexfer.storage.directories import Directories
from filexfer.storage.directory import Directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEFT = ".fx-" + "0" * 32 + ".part"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def top(root: int, tmp_path: Path) -> Path:
    return tmp_path / "root"


def code_of(folders: Directories, name: str) -> str:
    with pytest.raises(FileError) as caught:
        folders.get(name)
    assert caught.value.name
    return caught.value.code


# Reaching folders


def test_a_folder_is_opened_once_and_kept(root: int, top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    with Directories(root) as folders:
        found = folders.get("a/b")
        assert os.path.samestat(os.fstat(found.fd), (top / "a" / "b").stat())
        assert folders.get("a/b") is found
        assert len(folders) == 3  # with the root and a
        assert not found.made


def test_the_root_itself_can_be_had(root: int, top: Path) -> None:
    with Directories(root) as folders:
        found = folders.get("")
        assert os.path.samestat(os.fstat(found.fd), top.stat())
        assert found.fd != root


def test_a_missing_folder_is_an_error_where_none_are_made(root: int, top: Path) -> None:
    with Directories(root) as folders:
        assert code_of(folders, "a/b") == Code.NOT_FOUND
    assert os.listdir(top) == []


def test_missing_folders_are_made_where_they_may_be(root: int, top: Path) -> None:
    (top / "a").mkdir()
    with Directories(root, making=True) as folders:
        assert folders.get("a/b/c").made
        assert folders.get("a/b").made
        assert not folders.get("a").made
    assert (top / "a" / "b" / "c").is_dir()


@pytest.mark.parametrize(
    "name", ["..", "a/../..", "/etc", "a//b", "./a", "a/.", "a/..", ".fx-x", "a/.FX-x", "a\0b"]
)
def test_a_name_that_may_not_be_used_is_refused(root: int, top: Path, name: str) -> None:
    (top / "a" / "b").mkdir(parents=True)
    with Directories(root, making=True) as folders:
        assert code_of(folders, name) == Code.BAD_NAME
    assert os.listdir(top) == ["a"]
    assert os.listdir(top / "a") == ["b"]


def test_a_name_that_no_system_can_write_is_refused(root: int, top: Path) -> None:
    with Directories(root, making=True) as folders:
        assert code_of(folders, "\ud800") == Code.BAD_NAME
        with pytest.raises(FileError):
            folders.make("\ud800", 0o755)
    assert os.listdir(top) == []


@pytest.mark.case("D2")
def test_a_link_to_a_folder_is_no_folder(root: int, top: Path, tmp_path: Path) -> None:
    """Neither as the last component nor above it, inside or outside the root."""
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    (top / "inside" / "sub").mkdir(parents=True)
    (top / "out").symlink_to(tmp_path / "outside")
    (top / "in").symlink_to("inside")
    with Directories(root, making=True) as folders:
        for name in ("out", "out/sub", "out/new", "in", "in/sub", "in/new"):
            assert code_of(folders, name) == Code.NOT_A_FOLDER
            with pytest.raises(FileError, match="is not a folder"):
                folders.make(name, 0o755)
    assert os.listdir(tmp_path / "outside") == ["sub"]
    assert os.listdir(top / "inside") == ["sub"]


def test_a_file_is_no_folder(root: int, top: Path) -> None:
    (top / "file").write_bytes(b"")
    with Directories(root, making=True) as folders:
        assert code_of(folders, "file") == Code.NOT_A_FOLDER
        assert code_of(folders, "file/below") == Code.NOT_A_FOLDER


def test_a_folder_moved_away_after_it_was_opened_is_still_the_one_used(
    root: int, top: Path, tmp_path: Path
) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (tmp_path / "outside" / "b").mkdir(parents=True)
    with Directories(root, making=True) as folders:
        folders.get("a")
        (top / "a").rename(tmp_path / "moved")
        (top / "a").symlink_to(tmp_path / "outside")
        found = folders.get("a/b")
        assert os.path.samestat(os.fstat(found.fd), (tmp_path / "moved" / "b").stat())


# Making folders


def test_a_new_folder_gets_its_mode_less_the_umask(root: int, top: Path) -> None:
    with Directories(root, making=True) as folders:
        assert folders.make("a", 0o777).made
    assert (top / "a").stat().st_mode & 0o777 == 0o777 & ~system.umask()


def test_a_folder_that_is_there_keeps_its_mode(root: int, top: Path) -> None:
    (top / "a").mkdir(mode=0o700)
    with Directories(root, making=True) as folders:
        assert not folders.make("a", 0o755).made
    assert (top / "a").stat().st_mode & 0o777 == 0o700


def test_new_folders_are_flushed_where_that_is_asked_for(
    root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[int] = []
    monkeypatch.setattr(system, "flush_descriptor", lambda fd: flushed.append(os.fstat(fd).st_ino))
    with Directories(root, making=True) as folders:
        folders.get("quick/quick")
    assert flushed == []
    with Directories(root, making=True, flush=system.flush_folder) as folders:
        inner = folders.get("a/b")
        above = folders.get("a")
        assert flushed == [os.fstat(root).st_ino, os.fstat(above.fd).st_ino]
        assert inner.made


# Keeping few of them open


def test_no_more_are_kept_open_than_agreed(root: int) -> None:
    before = len(os.listdir("/dev/fd"))
    with Directories(root, making=True) as folders:
        for number in range(5 * directories.OPEN_MAX):
            folders.get(f"{number}")
            assert len(folders) <= directories.OPEN_MAX + 1
    assert len(os.listdir("/dev/fd")) == before


def test_no_more_are_kept_open_that_were_made(root: int) -> None:
    """A tree may have more folders than a process may have open."""
    with Directories(root, making=True) as folders:
        for number in range(5 * directories.OPEN_MAX):
            folders.make(f"{number}", 0o755)
            assert len(folders) <= directories.OPEN_MAX + 1


def test_one_in_use_stays_open(root: int, top: Path) -> None:
    with Directories(root, making=True) as folders:
        used = folders.get("used")
        used.users += 1
        for number in range(2 * directories.OPEN_MAX):
            folders.get(f"{number}")
        assert folders.get("used") is used
        assert os.path.samestat(os.fstat(used.fd), (top / "used").stat())


def test_the_deepest_name_is_reached_with_all_closed(root: int) -> None:
    """Each folder above it must be opened again, and is needed while the next one is."""
    deepest = "/".join("d" for _ in range(64))
    with Directories(root, making=True) as folders:
        for _ in range(3):
            assert folders.get(deepest).name == deepest
            for number in range(2 * directories.OPEN_MAX):
                folders.get(f"{number}")
        assert code_of(folders, f"{deepest}/d") == Code.BAD_NAME


# Claims and leftovers


def claimed_elsewhere(path: Path) -> subprocess.Popen[bytes]:
    """Start a process that has a claim on a folder, and wait until it has."""
    program = (
        "import os, sys\n"
        "from filexfer.storage.directories import Directories\n"
        "with Directories(os.open(sys.argv[1], os.O_RDONLY)) as folders:\n"
        "    folders.get('').claim()\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
    )
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", program, path], stdin=pipe, stdout=pipe)
    assert process.stdout
    assert process.stdout.readline() == b"\n"
    return process


@pytest.mark.case("D24")
def test_a_leftover_of_a_dead_process_is_removed(root: int, top: Path) -> None:
    process = claimed_elsewhere(top)
    process.kill()
    process.communicate()
    (top / LEFT).write_bytes(b"half a file")
    (top / LEFT.replace(".fx-0", ".fx-1")).symlink_to("nowhere")
    (top / "kept").write_bytes(b"")
    with Directories(root) as folders:
        assert folders.get("").sweep() == 2
    assert os.listdir(top) == ["kept"]


def test_the_leftovers_of_a_living_process_are_not(root: int, top: Path) -> None:
    (top / LEFT).write_bytes(b"half a file")
    with claimed_elsewhere(top) as process, Directories(root) as folders:
        assert folders.get("").sweep() == 0
        assert os.listdir(top) == [LEFT]
        process.communicate()
        assert folders.get("").sweep() == 1
    assert os.listdir(top) == []


def test_a_claim_of_another_exchange_in_this_process_counts_too(root: int, top: Path) -> None:
    (top / LEFT).write_bytes(b"half a file")
    with Directories(root) as living, Directories(root) as folders:
        living.get("").claim()
        assert folders.get("").sweep() == 0
        living.close()
        assert folders.get("").sweep() == 1


def test_a_claim_survives_a_sweep_of_its_own(root: int, top: Path) -> None:
    (top / LEFT).write_bytes(b"half a file")
    with Directories(root) as living, Directories(root) as folders:
        own = living.get("")
        own.claim()
        assert own.sweep() == 1
        (top / LEFT).write_bytes(b"of the living one")
        assert folders.get("").sweep() == 0


def test_a_claim_waits_for_a_sweep_but_not_for_ever(
    root: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with Directories(root) as sweeping, Directories(root) as folders:
        fcntl.flock(sweeping.get("").fd, fcntl.LOCK_EX)
        folders.get("").claim()
        assert len(pauses) == directory._CLAIM_TRIES
        assert folders.get("").claimed


def test_where_there_are_no_locks_nothing_is_swept(
    root: int, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some network file systems have none; a claim is not needed there."""

    def flock(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    (top / LEFT).write_bytes(b"half a file")
    with Directories(root) as folders:
        folders.get("").claim()
        assert folders.get("").sweep() == 0
    assert os.listdir(top) == [LEFT]


@pytest.mark.case("D24")
def test_a_hidden_folder_of_a_dead_process_is_removed_with_all_in_it(
    root: int, top: Path, tmp_path: Path
) -> None:
    """Nothing that links in it lead to is touched."""
    (tmp_path / "precious").write_bytes(b"precious")
    (top / LEFT / "sub").mkdir(parents=True)
    (top / LEFT / "sub" / "file").write_bytes(b"")
    (top / LEFT / "link").symlink_to(tmp_path)
    os.link(tmp_path / "precious", top / LEFT / "hard")
    with Directories(root) as folders:
        assert folders.get("").sweep() == 1
    assert os.listdir(top) == []
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.case("D24", "D25")
def test_what_is_not_surely_a_leftover_is_left(root: int, top: Path, tmp_path: Path) -> None:
    """A hard link may be all that is left of a precious file; we make no pipes."""
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    os.link(precious, top / LEFT)
    os.mkfifo(top / ".fx-pipe")
    with Directories(root) as folders:
        assert folders.get("").sweep() == 0
    assert sorted(os.listdir(top)) == [LEFT, ".fx-pipe"]
    assert precious.read_bytes() == b"precious"


KILLED = """
import os, sys
from filexfer.storage import system

system.native = False
os.unlink = lambda *_, **__: os._exit(9)
system.rename_exclusive(os.open(sys.argv[1], os.O_RDONLY), sys.argv[2], sys.argv[3])
"""


@pytest.mark.parametrize("kind", ["file", "link"])
def test_a_rename_in_two_steps_that_was_killed_between_them_is_completed(
    root: int, top: Path, kind: str
) -> None:
    """The file has its name; the temporary one goes with the next sweep."""
    if kind == "file":
        (top / LEFT).write_bytes(b"whole")
    else:
        (top / LEFT).symlink_to("whole")
    done = subprocess.run([sys.executable, "-c", KILLED, top, LEFT, "name"], check=False)
    assert done.returncode == 9
    assert sorted(os.listdir(top)) == [LEFT, "name"]
    with Directories(root) as folders:
        assert folders.get("").sweep() == 1
    assert os.listdir(top) == ["name"]
    if kind == "file":
        assert (top / "name").read_bytes() == b"whole"


@pytest.mark.case("D25")
def test_a_temporary_name_of_a_file_with_its_own_name_elsewhere_is_left(
    root: int, top: Path
) -> None:
    """Or with three names; those were not made by us. Nor are two temporary ones of one file."""
    (top / "sub").mkdir()
    (top / "sub" / "one").write_bytes(b"1")
    os.link(top / "sub" / "one", top / ".fx-1")
    (top / "three").write_bytes(b"3")
    os.link(top / "three", top / ".fx-3")
    os.link(top / "three", top / "other")
    (top / ".fx-2").write_bytes(b"2")
    os.link(top / ".fx-2", top / ".fx-22")
    with Directories(root) as folders:
        assert folders.get("").sweep() == 0
    assert {".fx-1", ".fx-2", ".fx-22", ".fx-3"} < set(os.listdir(top))


@pytest.mark.case("D24")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_the_leftovers_of_other_users_are_left(root: int, top: Path) -> None:
    (top / LEFT).write_bytes(b"")
    (top / ".fx-folder").mkdir()
    for name in (LEFT, ".fx-folder"):
        os.chown(top / name, 12345, 12345)
    with Directories(root) as folders:
        assert folders.get("").sweep() == 0
    assert sorted(os.listdir(top)) == [LEFT, ".fx-folder"]


def test_a_leftover_that_vanishes_while_it_is_looked_at_is_no_fault(top: Path) -> None:
    fd = os.open(top, os.O_RDONLY)
    assert not Directory("", fd, made=False)._remove_leftover(LEFT)
    os.close(fd)
