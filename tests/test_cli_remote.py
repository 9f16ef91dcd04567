"""The commands that look at a server and tidy it (ls, mkdir, rm), and the demonstration."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

import pytest
from conftest import tree_state
from test_cli_process import Service, environment, fx, is_one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOMENT = 1_700_000_000
WRITTEN = "2023-11-14 22:13:20"  # the same in UTC


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server, which allows deleting, for the tests of this module."""
    words = ("--workers", "1", "--durability", "none", "--allow", "delete")
    with Service(tmp_path_factory.mktemp("served"), *words) as running_service:
        yield running_service


@pytest.fixture
def tree(service: Service, request: pytest.FixtureRequest) -> Path:
    """Make a tree on the server, under a name of its own."""
    folder = service.folder / re.sub(r"\W+", "_", request.node.name)
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / "hollow").mkdir()
    for name, text in (("a", "12345"), ("b/two", "22"), ("b/deep/three", "333")):
        (folder / name).write_text(text)
    (folder / "a").chmod(0o640)
    (folder / "link").symlink_to("b/two")
    os.mkfifo(folder / "pipe")
    for each in [*folder.rglob("*")]:
        os.utime(each, (MOMENT, MOMENT), follow_symlinks=False)
    return folder


def place(service: Service, folder: Path) -> str:
    """Return the address of a folder."""
    return f"{service.address}{folder.name}/"


# ls


def test_ls(service: Service, tree: Path) -> None:
    """A listing is the names in order, one to a line, folders with a slash; nothing else."""
    result = fx("ls", place(service, tree))
    assert result.stdout.splitlines() == ["a", "b/", "hollow/", "link", "pipe"]
    assert (result.returncode, result.stderr) == (0, "")


def test_ls_long(service: Service, tree: Path) -> None:
    """``-l`` adds type, permissions, size and time, and shows where links point."""
    result = fx("ls", "-l", "--bytes", place(service, tree), env=environment(TZ="UTC"))
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"-rw-r-----              5 {WRITTEN} a"
    assert re.fullmatch(rf"d[rwx-]{{9}} +0 {WRITTEN} b/", lines[1])
    assert re.fullmatch(rf"l[rwx-]{{9}} +0 {WRITTEN} link -> b/two", lines[3])
    assert re.fullmatch(rf"\?[rwx-]{{9}} +0 {WRITTEN} pipe", lines[4])
    local = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(MOMENT))
    assert f"-rw-r-----      5 B {local} a\n" in fx("ls", "-l", place(service, tree)).stdout


def test_ls_recursive(service: Service, tree: Path) -> None:
    """``-R`` lists all that is below, with names relative to the folder that was asked for."""
    result = fx("ls", "-R", place(service, tree))
    assert result.returncode == 0
    lines = result.stdout.splitlines()
    assert sorted(lines) == [
        *("a", "b/", "b/deep/", "b/deep/three", "b/two", "hollow/", "link", "pipe"),
    ]
    assert sorted(fx("ls", "-R", "-l", place(service, tree)).stdout.splitlines())


def test_ls_of_a_file(service: Service, tree: Path) -> None:
    """A file is its own listing."""
    result = fx("ls", place(service, tree) + "b/two")
    assert (result.returncode, result.stdout, result.stderr) == (0, "two\n", "")


def test_ls_of_nothing(service: Service, tree: Path) -> None:
    """An empty folder has an empty listing; a missing one is an error."""
    hollow = fx("ls", place(service, tree) + "hollow")
    assert (hollow.returncode, hollow.stdout, hollow.stderr) == (0, "", "")
    missing = fx("ls", place(service, tree) + "missing")
    assert (missing.returncode, missing.stdout) == (3, "")
    assert missing.stderr.endswith("/missing: no such file or folder\n")
    assert is_one_line(missing.stderr)


def test_ls_of_many(tmp_path: Path) -> None:
    """A listing too long for one frame is complete."""
    names = [f"{number:05}" for number in range(2500)]
    for name in names:
        (tmp_path / name).touch()
    with Service(tmp_path, "--workers", "1") as service:
        assert fx("ls", service.address).stdout.splitlines() == names


# mkdir


def test_mkdir(service: Service, tree: Path) -> None:
    """Folders are made with their missing parents; one that is there is fine."""
    there = place(service, tree)
    result = fx("mkdir", there + "new/deeper", there + "hollow", there + "with%20space/")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tree / "new" / "deeper").is_dir()
    assert (tree / "with space").is_dir()


def test_mkdir_onto_a_file(service: Service, tree: Path) -> None:
    """A folder that cannot be made is told, and the others are made."""
    there = place(service, tree)
    result = fx("mkdir", there + "a", there + "a/b", there + "good")
    assert result.returncode == 3
    first, second = result.stderr.splitlines()
    assert first.startswith(f"filexfer: {tree.name}/a: ")
    assert second.startswith(f"filexfer: {tree.name}/a")
    assert "not a folder" in first
    assert "not a folder" in second
    assert (tree / "good").is_dir()
    assert (tree / "a").read_text() == "12345"


# rm


def test_rm(service: Service, tree: Path) -> None:
    """Files, links (never what they point to), pipes and empty folders are removed."""
    there = place(service, tree)
    result = fx("rm", there + "a", there + "link", there + "hollow", there + "pipe")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert sorted(os.listdir(tree)) == ["b"]
    assert (tree / "b" / "two").read_text() == "22"


def test_rm_of_a_folder(service: Service, tree: Path) -> None:
    """A folder with something in it is removed only with ``-r``."""
    there = place(service, tree)
    before = tree_state(tree)
    refused = fx("rm", there + "b")
    assert refused.returncode == 3
    assert refused.stderr == f"filexfer: {tree.name}/b: the folder is not empty\n"
    assert tree_state(tree) == before
    assert fx("rm", "-r", there + "b").returncode == 0
    assert sorted(os.listdir(tree)) == ["a", "hollow", "link", "pipe"]


def test_rm_of_what_is_missing(service: Service, tree: Path) -> None:
    """What is not there is told, and the others are removed."""
    there = place(service, tree)
    result = fx("rm", there + "missing", there + "a")
    assert result.returncode == 3
    assert result.stderr == f"filexfer: {tree.name}/missing: no such file or folder\n"
    assert not (tree / "a").exists()


def test_rights(tmp_path: Path) -> None:
    """Without the right, mkdir and rm change nothing and say why; listing goes on."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", "1", "--read-only") as service:
        made = fx("mkdir", service.address + "new")
        removed = fx("rm", service.address + "file")
        listed = fx("ls", service.address)
    assert (made.returncode, removed.returncode) == (3, 3)
    assert made.stderr == "filexfer: new: this server does not let you upload files\n"
    assert removed.stderr == "filexfer: file: this server does not let you delete files\n"
    assert listed.stdout == "file\n"


# demo


def test_demo(tmp_path: Path) -> None:
    """The demonstration needs nothing, moves sample files there and back, and tidies up."""
    result = fx("demo", env=environment(TMPDIR=str(tmp_path)), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    server, put, get, compare = result.stderr.splitlines()
    assert re.fullmatch(r"server   started, folder \S+, address fx://127\.0\.0\.1:\d+/", server)
    for line, word in ((put, "put "), (get, "get ")):
        assert re.match(rf"{word}     +4 files, \d+ B in ", line)
    assert compare == "compare  4 files, 0 different"
    assert os.listdir(tmp_path) == []


def test_demo_with_own_files(tmp_path: Path) -> None:
    """With paths it takes those, of any kind, and only reads them."""
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    (mine / "sub" / "file").write_text("x")
    (mine / "link").symlink_to("sub/file")
    (tmp_path / "alone").write_text("y")
    (tmp_path / "work").mkdir()
    before = tree_state(mine)
    env = environment(TMPDIR=str(tmp_path / "work"))
    result = fx("demo", "mine/", "alone", env=env, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.endswith("\ncompare  2 files, 0 different\n")
    assert tree_state(mine) == before
    assert os.listdir(tmp_path / "work") == []
