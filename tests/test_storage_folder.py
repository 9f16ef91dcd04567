"""A local folder as storage: its root, and what is done with one name at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL, Entry
from filexfer.errors import Code, FileError, LocalError
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BAD_NAMES = [
    "..",
    "a/../..",
    "/etc",
    "a//b",
    "./a",
    "a/",
    ".fx-left",
    "a/.fx-x/b",
    "a\0b",
    "\ud800",
]


def refusal(call: Callable[..., object], *arguments: object, **options: bool) -> str:
    with pytest.raises(FileError) as caught:
        call(*arguments, **options)
    return caught.value.code


# The root


@pytest.mark.case("D26")
def test_the_root_is_pinned(tmp_path: Path, top: Path, folder: Folder) -> None:
    """What its path means later makes no difference."""
    (top / "file").write_bytes(b"the right one")
    top.rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"the wrong one, and longer")
    top.symlink_to(tmp_path / "other")
    found = folder.find("file")
    assert found
    assert found.size == len(b"the right one")
    folder.make_folder("new")
    folder.remove("file")
    assert os.listdir(tmp_path / "moved") == ["new"]
    assert os.listdir(tmp_path / "other") == ["file"]


def test_a_link_to_the_root_is_followed(tmp_path: Path, top: Path) -> None:
    (top / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("top")
    with Folder(tmp_path / "link") as folder:
        assert [entry.name for entry in folder.list("")] == ["file"]


def test_a_missing_root_is_made_only_if_asked_for(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="No such file"):
        Folder(tmp_path / "a" / "b")
    with Folder(tmp_path / "a" / "b", make=True) as folder:
        assert list(folder.list("")) == []


@pytest.mark.parametrize("make", [False, True])
def test_a_root_that_is_no_folder_is_refused(tmp_path: Path, make: bool) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file" / "below", "a\0b"):
        with pytest.raises(LocalError, match="cannot use the folder"):
            Folder(path, make=make)


def test_a_root_that_is_removed_takes_nothing_and_is_not_made_again(
    folder: Folder, top: Path
) -> None:
    top.rmdir()
    assert folder.find("file") is None
    assert refusal(folder.make_folder, "new") == Code.NOT_FOUND
    with Staging(folder, Policy(), "none") as staging:
        assert refusal(staging.begin, Entry("file", FILE)) == Code.NOT_FOUND
    assert not top.exists()


def test_closing_twice_is_harmless(folder: Folder) -> None:
    folder.close()
    folder.close()


# Finding and listing


def test_what_is_there_is_found(folder: Folder, top: Path) -> None:
    (top / "a").mkdir()
    (top / "a" / "file").write_bytes(b"hello")
    found = folder.find("a/file")
    assert found
    assert (found.name, found.type, found.size) == ("a/file", FILE, 5)
    root = folder.find("")
    assert root
    assert (root.name, root.type) == ("", FOLDER)
    for name in ("b", "a/b", "b/c"):
        assert folder.find(name) is None


def test_a_file_above_a_name_is_an_error(folder: Folder, top: Path) -> None:
    (top / "file").write_bytes(b"")
    assert refusal(folder.find, "file/below") == Code.NOT_A_FOLDER


@pytest.mark.case("B1")
@pytest.mark.parametrize("name", BAD_NAMES)
def test_every_operation_refuses_a_bad_name(folder: Folder, top: Path, name: str) -> None:
    """Also where something of that name is there."""
    (top / "a").mkdir()
    (top / ".fx-left").write_bytes(b"")
    before = sorted(os.listdir(top))
    for call in (
        lambda: folder.find(name),
        lambda: list(folder.list(name)),
        lambda: folder.digest(name, "md5", lambda: None),
        lambda: folder.make_folder(name),
        lambda: folder.remove(name),
        lambda: folder.remove(name, recursive=True),
    ):
        assert refusal(call) == Code.BAD_NAME
    assert sorted(os.listdir(top)) == before


def test_a_listing_names_one_level_or_all(folder: Folder, top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_bytes(b"12345")
    (top / "a" / "link").symlink_to("b")
    os.mkfifo(top / "a" / "pipe")
    (top / "a" / ".fx-left").write_bytes(b"")
    flat = {entry.name: entry.type for entry in folder.list("a")}
    assert flat == {"b": FOLDER, "link": LINK, "pipe": SPECIAL}
    deep = {entry.name: entry.size for entry in folder.list("a", recursive=True)}
    assert deep == {"b": 0, "b/file": 5, "link": 0, "pipe": 0}
    assert {entry.name for entry in folder.list("")} == {"a"}
    assert len(list(folder.list("", recursive=True))) == 5


def test_a_file_is_its_own_listing(folder: Folder, top: Path) -> None:
    (top / "a").mkdir()
    (top / "a" / "file").write_bytes(b"")
    assert [entry.name for entry in folder.list("a/file")] == ["file"]


def test_a_listing_of_nothing_is_an_error(folder: Folder) -> None:
    assert refusal(lambda: list(folder.list("missing"))) == Code.NOT_FOUND


def test_a_digest_is_of_a_file_only(folder: Folder, top: Path) -> None:
    (top / "file").write_bytes(b"hi")
    (top / "a").mkdir()
    (top / "link").symlink_to("file")
    digest = folder.digest("file", "md5", lambda: None)
    assert digest == "md5:49f68a5c8493ec2c0bf489821c21fc3b"
    for name in ("a", "link"):
        assert refusal(folder.digest, name, "md5", lambda: None) == Code.NOT_REGULAR


# Making folders


def test_folders_are_made_with_their_parents(folder: Folder, top: Path) -> None:
    folder.make_folder("a/b/c")
    folder.make_folder("a/b")
    assert (top / "a" / "b" / "c").is_dir()


def test_a_folder_is_not_made_over_something_else(folder: Folder, top: Path) -> None:
    (top / "file").write_bytes(b"")
    (top / "link").symlink_to("..")
    for name in ("file", "file/below", "link", "link/below"):
        assert refusal(folder.make_folder, name) == Code.NOT_A_FOLDER


def test_many_may_make_the_same_folders_at_once(folder: Folder, top: Path) -> None:
    failures: list[BaseException] = []
    begin = threading.Barrier(8)

    def make() -> None:
        begin.wait()
        try:
            for number in range(20):
                folder.make_folder(f"a/{number}/b/c")
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(os.listdir(top / "a")) == 20


# Removing


def test_files_links_and_empty_folders_are_removed(folder: Folder, top: Path) -> None:
    (top / "target").write_bytes(b"kept")
    (top / "file").write_bytes(b"")
    (top / "folder").mkdir()
    (top / "link").symlink_to("target")
    (top / "to-folder").symlink_to(".")
    os.mkfifo(top / "pipe")
    for name in ("file", "folder", "link", "to-folder", "pipe"):
        folder.remove(name)
    assert os.listdir(top) == ["target"]


def test_a_folder_with_something_in_it_is_removed_only_if_asked_for(
    folder: Folder, top: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_bytes(b"")
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_bytes(b"")
    (top / "a" / "b" / "out").symlink_to(tmp_path / "outside")
    assert refusal(folder.remove, "a") == Code.NOT_EMPTY
    assert (top / "a" / "b" / "file").exists()
    folder.remove("a", recursive=True)
    assert os.listdir(top) == []
    assert os.listdir(tmp_path / "outside") == ["precious"]


LEFT = ".fx-" + "0" * 32 + ".part"


def test_a_folder_that_holds_only_what_a_dead_process_left_is_empty(
    folder: Folder, top: Path
) -> None:
    """Nobody can see it, so nobody can be told to remove it first."""
    (top / "a").mkdir()
    (top / "a" / LEFT).write_bytes(b"half a file")
    (top / "a" / ".fx-hidden").mkdir()
    (top / "a" / ".fx-hidden" / "file").write_bytes(b"")
    folder.remove("a")
    assert os.listdir(top) == []


def test_a_folder_into_which_something_arrives_is_not_empty(folder: Folder, top: Path) -> None:
    with Staging(folder, Policy(), "none") as staging:
        draft = staging.begin(Entry("a/name", FILE, 0, 0, 0o600))
        assert refusal(folder.remove, "a") == Code.NOT_EMPTY
        draft.write(b"whole")
        draft.finish(Entry("a/name", FILE, 5, 0, 0o600)).publish()
    assert (top / "a" / "name").read_bytes() == b"whole"
    assert refusal(folder.remove, "a") == Code.NOT_EMPTY


def test_a_folder_with_a_leftover_and_a_file_stays(folder: Folder, top: Path) -> None:
    (top / "a").mkdir()
    (top / "a" / LEFT).write_bytes(b"half a file")
    (top / "a" / "file").write_bytes(b"precious")
    assert refusal(folder.remove, "a") == Code.NOT_EMPTY
    assert (top / "a" / "file").read_bytes() == b"precious"


def test_what_cannot_be_removed_is_told(folder: Folder, top: Path) -> None:
    (top / "file").write_bytes(b"")
    assert refusal(folder.remove, "missing") == Code.NOT_FOUND
    assert refusal(folder.remove, "file/below") == Code.NOT_A_FOLDER
    assert refusal(folder.remove, "") == Code.DENIED
    assert refusal(folder.remove, "", recursive=True) == Code.DENIED
    assert os.listdir(top) == ["file"]


@pytest.mark.case("D2")
def test_nothing_is_removed_through_a_link(folder: Folder, top: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_bytes(b"")
    (top / "link").symlink_to(tmp_path / "outside")
    assert refusal(folder.remove, "link/precious") == Code.NOT_A_FOLDER
    folder.remove("link", recursive=True)
    assert os.listdir(tmp_path / "outside") == ["precious"]


@pytest.mark.case("D3")
def test_d3_a_folder_that_becomes_a_link_while_it_is_removed_is_not_followed(
    folder: Folder, top: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must change between two system calls, which only a stand-in can arrange."""
    (top / "sub").mkdir()
    status_of = os.stat

    def changing(path: str | int, **how: int | bool) -> os.stat_result:
        status = status_of(path, **how)  # type: ignore[arg-type] # it passes on what it got
        if path == "sub":
            (top / "sub").rename(top / "away")
            (top / "sub").symlink_to(canary)
        return status

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", changing)
        assert refusal(folder.remove, "sub", recursive=True) == Code.NOT_A_FOLDER
    assert sorted(os.listdir(top)) == ["away", "sub"]


def deep(top: Path, depth: int) -> None:
    """Make folders in folders."""
    fd = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def test_a_very_deep_tree_is_removed(folder: Folder, top: Path) -> None:
    deep(top, 300)
    folder.remove("d", recursive=True)
    assert os.listdir(top) == []


def test_a_tree_that_is_too_deep_to_be_removed_is_no_fault(folder: Folder, top: Path) -> None:
    """No peer can make one, but a local user can."""
    deep(top, sys.getrecursionlimit() + 100)
    before = len(os.listdir("/dev/fd"))
    try:
        assert refusal(folder.remove, "d", recursive=True) == Code.IO_ERROR
        assert len(os.listdir("/dev/fd")) == before
    finally:  # it is too deep for pytest as well
        subprocess.run(["rm", "-rf", top / "d"], check=True)
