"""Spellings of names: which count as one, and how few of them are kept."""

from __future__ import annotations

import os
import random
import sys
from typing import TYPE_CHECKING

import pytest

from filexfer.storage.spelling import Spellings, folded, folds

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("README", "readme"),
        ("caf\u00e9", "cafe\u0301"),
        ("CAF\u00c9", "cafe\u0301"),
        ("stra\u00dfe", "STRASSE"),
        ("\u212b", "\u00e5"),
    ],
)
def test_one_name(one: str, other: str) -> None:
    """Case and the form of accents make no difference."""
    assert folded(one) == folded(other)
    names = Spellings()
    assert [names.add(name) for name in (one, other, one, one + "x")] == ["", "other", "same", ""]


def test_names_that_are_no_text() -> None:
    """Bytes that are not UTF-8 are themselves only."""
    one, other = os.fsdecode(b"a\xff"), os.fsdecode(b"a\xfe")
    assert folded(one) != folded(other)
    assert folded(os.fsdecode(b"A\xff")) == folded(one)


def test_only_the_same_folder_counts() -> None:
    """Names collide with those of their own folder, also after other folders were entered."""
    names = Spellings()
    for name in ("x/a", "x/b", "x/b/A", "x/b/c", "x/b/c/A", "x/d", "y", "y/a"):
        assert names.add(name) == ""
    assert names.add("y/A") == "other"
    assert names.add("Y") == "other"
    assert names.add("X/e") == ""


def test_only_open_folders_are_kept() -> None:
    """Of a walk, what lies in folders that were left is forgotten."""
    names = Spellings()
    for number in range(1000):
        for name in (f"{number}", f"{number}/a", f"{number}/a/b"):
            assert names.add(name) == ""
    assert len(names._open) == 3


def test_many_names_in_a_folder() -> None:
    """Each of very many is found again, and none that was not there."""
    names, numbers = Spellings(), random.Random(1).sample(range(1 << 40), 5000)
    assert {names.add(f"n{number}") for number in numbers} == {""}
    assert {names.add(f"n{number}") for number in numbers} == {"same"}
    assert {names.add(f"N{number}") for number in numbers} == {"other"}


def test_a_file_system_that_tells_names_apart(tmp_path: Path) -> None:
    """It is known by what is there, or else by the folder's own name."""
    (tmp_path / "Abc").write_bytes(b"")
    if (tmp_path / "aBC").exists():
        pytest.skip("this file system takes the names for one")
    for name in ("empty", "with", "0"):
        (tmp_path / name).mkdir()
    (tmp_path / "with" / "0").write_bytes(b"")
    (tmp_path / "with" / "a").write_bytes(b"")
    for name, is_known in {"empty": True, "with": True, "0": sys.platform != "darwin"}.items():
        fd = os.open(tmp_path / name, os.O_RDONLY)
        try:
            assert folds(fd, str(tmp_path / name)) is not is_known
        finally:
            os.close(fd)
    assert folds(-1, str(tmp_path)) is (sys.platform == "darwin")
