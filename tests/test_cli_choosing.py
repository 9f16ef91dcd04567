"""The options that choose what is taken, and those that remove the rest, as commands."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from conftest import tree_state
from test_cli_process import SUMMARY, Service, fx, is_one_line
from test_filters import lay_tree, taken

from filexfer.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server, which allows deleting, for the tests of this module."""
    words = ("--workers", "1", "--durability", "none", "--allow", "delete,overwrite")
    with Service(tmp_path_factory.mktemp("served"), *words) as running_service:
        yield running_service


@pytest.fixture
def place(service: Service, request: pytest.FixtureRequest) -> str:
    """Return the address of a folder of the test's own."""
    name = re.sub(r"\W+", "_", request.node.name)
    (service.folder / name).mkdir()
    return f"{service.address}{name}/"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    lay_tree(tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Return a function that runs a command in this process, to its exit code and what it said."""

    def run(*words: object) -> tuple[int, str]:
        try:
            code = main([str(word) for word in words])
        except SystemExit as error:
            code = int(error.code or 0)
        return code, capsys.readouterr().err

    return run


def at(service: Service, place: str) -> Path:
    return service.folder / place.removeprefix(service.address)


def test_rules_in_order(service: Service, place: str, tree: Path, tmp_path: Path) -> None:
    """Over several processes, up and down; what was left out is counted, and named with why."""
    (tmp_path / "rules").write_text("# comment\n\n*.o\n!keep.o\r\n/build\n")
    words = ("--exclude", "keep.o", "--exclude-from", tmp_path / "rules", "--exclude", "tmp/")
    expected = taken(
        *("a.o", "sub/b.o", "sub/link.o", "private/deep/e.o", "other/f.o"),
        without=("build", "sub/tmp"),
    )
    for result, top in (
        (fx("put", "-v", "-j3", *words, tree, place), at(service, place)),
        (fx("put", tree, f"{place}all/"), None),
        (fx("get", "-v", "-j3", *words, f"{place}all/tree", tmp_path / "to/"), tmp_path / "to"),
    ):
        assert result.returncode == 0, result.stderr
        *lines, last = result.stderr.splitlines()
        assert SUMMARY.fullmatch(last)
        if top:
            assert set(tree_state(top / "tree")) == expected
            assert ", 7 left out -> " in last
            assert sum(line.startswith("left out ") for line in lines) == 7
            assert re.search(
                r"^left out +\S*tree/build \(excluded by '/build'\)$", result.stderr, re.MULTILINE
            )


def test_an_include_alone(service: Service, place: str, tree: Path) -> None:
    """All else is left out, and no folder is made for nothing."""
    result = fx("put", "--include", "*.py", "--max-size", "10", tree, place)
    assert result.returncode == 0
    assert set(tree_state(at(service, place) / "tree")) == {
        *("a.py", "build", "build/x.py", "sub", "sub/c.py")
    }


def test_names_from_standard_input(
    service: Service, place: str, tree: Path, tmp_path: Path
) -> None:
    """One a line, or ended by NUL; one that is missing fails."""
    result = fx("put", "--files-from", "-", tree, place, input="a.py\nsub/tmp\n\ngone\n")
    assert result.returncode == 3
    assert "tree/gone: no such file or folder" in result.stderr
    assert set(tree_state(at(service, place) / "tree")) == {"a.py", "sub", "sub/tmp", "sub/tmp/g"}
    (tmp_path / "list").write_bytes(b"sub/tmp/g\0a.py\0")
    result = fx("get", "--files-from", tmp_path / "list", "-0", f"{place}tree/", tmp_path / "to")
    assert result.returncode == 0
    assert set(tree_state(tmp_path / "to")) == {"a.py", "sub", "sub/tmp", "sub/tmp/g"}


def test_ignore_files_and_ages(service: Service, place: str, tree: Path) -> None:
    """The rules of each folder, and files of the last two days."""
    (tree / "sub" / ".gitignore").write_text("c.*\n")
    os.utime(tree / "a.py")
    os.utime(tree / "sub" / "c.py")
    words = ("--ignore-files", ".gitignore", "--newer-than", "2d", "--exclude", "hollow")
    assert fx("put", *words, tree, place).returncode == 0
    found = tree_state(at(service, place) / "tree")
    assert {name for name in found if found[name][0] == "file"} == {"a.py", "sub/.gitignore"}


@pytest.mark.parametrize("way", ["up", "down"])
def test_delete(service: Service, place: str, tree: Path, tmp_path: Path, way: str) -> None:
    """What is too many goes and is named; a limit keeps it, with an exit code of its own."""
    words: tuple[object, ...] = ("put", tree, place)
    assert fx(*words).returncode == 0
    target = at(service, place) / "tree"
    if way == "down":
        words = ("get", f"{place}tree", tmp_path / "to/")
        assert fx(*words).returncode == 0
        target = tmp_path / "to" / "tree"
    (target / "old").mkdir()
    (target / "old" / "\x1b[31m").write_text("x")
    result = fx(*words, "--delete", "--max-delete", "1")
    assert result.returncode == 3
    assert "nothing was deleted: it would be 2 files and folders, and 1 may be" in result.stderr
    result = fx(*words, "--delete", "-v", "-j3")
    assert result.returncode == 0, result.stderr
    *lines, last = result.stderr.splitlines()
    assert [line.split()[-1].partition("tree/")[2] for line in lines if "deleted" in line] == [
        *("old/\\x1b[31m", "old")
    ]
    assert SUMMARY.fullmatch(last)
    assert ", 2 deleted -> " in last
    assert tree_state(target) == tree_state(tree)


def test_deleting_is_refused(tmp_path: Path, tree: Path) -> None:
    """By a server without the right to delete, before anything is sent."""
    with Service(tmp_path / "served", "--workers", "1") as without:
        result = fx("put", "--delete", tree, without.address)
    assert result.returncode == 7
    assert "--delete needs the right to delete" in result.stderr
    assert is_one_line(result.stderr)
    assert os.listdir(tmp_path / "served") == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--exclude", "#x"), "is no pattern"),
        (("--exclude", ""), "is no pattern"),
        (("--exclude", "x\\"), "is no pattern"),
        (("--include", "!x"), "has a ! already"),
        (("--include", "*.py", "--exclude", "*"), "comes last"),
        (("--min-size", "80Mbit"), "is no size"),
        (("--newer-than", "soon"), "neither a date"),
        (("--ignore-files", "a/b"), "without slashes"),
        (("-0",), "--files-from"),
        (("--files-from", "/dev/null", "--delete"), "list of names"),
        (("--max-delete", "1"), "without --delete"),
        (("--allow-empty-source",), "without --delete"),
        (("--delete", "--max-delete=-1"), "negative"),
        (("--delete", "--keep-both"), "keep-both"),
    ],
)
def test_what_makes_no_sense(
    words: tuple[str, ...], text: str, tmp_path: Path, said: Callable[..., tuple[int, str]]
) -> None:
    """It is told before anybody is asked, with exit code 2."""
    code, told = said("put", *words, tmp_path, "fx://127.0.0.1:1/")
    assert code == 2
    assert text in told


def test_a_list_names_its_line(tmp_path: Path, said: Callable[..., tuple[int, str]]) -> None:
    """That leads out, or is absolute."""
    (tmp_path / "list").write_text("a.py\n../x\n")
    code, told = said("put", "--files-from", tmp_path / "list", tmp_path, "fx://127.0.0.1:1/")
    assert code == 2
    assert "list, line 2: '../x' leads out of the source" in told


def test_files_that_cannot_be_read(tmp_path: Path, said: Callable[..., tuple[int, str]]) -> None:
    """A list or a file of rules that is not there is a failure of the local disk."""
    for option in ("--files-from", "--exclude-from"):
        code, told = said("put", option, tmp_path / "gone", tmp_path, "fx://127.0.0.1:1/")
        assert code == 8
        assert is_one_line(told)


def test_streams_are_not_chosen(said: Callable[..., tuple[int, str]]) -> None:
    """Where - stands for a file there is nothing to choose or to delete."""
    for words in (("put", "-", "fx://127.0.0.1:1/x"), ("get", "fx://127.0.0.1:1/x", "-")):
        for option in ("--exclude=x", "--delete"):
            code, told = said(words[0], option, *words[1:])
            assert code == 2
            assert "where - stands for a file" in told
