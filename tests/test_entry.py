"""Entries, and when two modification times count as the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filexfer.entry import FIELDS, FILE, FOLDER, TYPES, Entry, same_time

SECOND = 1_000_000_000
NOW = 1_700_000_001 * SECOND + 123_456_789  # an odd second

times = st.integers(-(2**63), 2**63 - 1)


def test_equality() -> None:
    """Two entries are equal when all their fields are, and to nothing else."""
    values: dict[str, Any] = {
        "name": "a",
        "type": FILE,
        "size": 1,
        "mtime": 2,
        "mode": 0o600,
        "extra": "x",
    }
    others = {"name": "b", "type": FOLDER, "size": 9, "mtime": 9, "mode": 0o644, "extra": "y"}
    assert Entry(**values) == Entry(**values)
    for field in FIELDS:
        assert Entry(**values) != Entry(**{**values, field: others[field]})
    assert Entry(**values) != ("a", FILE, 1, 2, 0o600, "x")


def test_no_hash() -> None:
    """An entry changes, so it cannot be a key."""
    with pytest.raises(TypeError):
        hash(Entry("a", FILE))


def test_repr() -> None:
    """What a failing test prints can be read back."""
    entry = Entry("a", FILE, 1, 2, 0o644, "x")
    assert eval(repr(entry), {"Entry": Entry}) == entry


def test_types() -> None:
    """The words of the wire do not change."""
    assert TYPES == ("file", "folder", "link", "special")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (NOW, True),
        (NOW + 1, False),
        (NOW // 1000 * 1000, True),  # a file system that keeps microseconds
        (NOW // 10**6 * 10**6, True),  # milliseconds
        (NOW // SECOND * SECOND, True),  # seconds
        (NOW // (2 * SECOND) * 2 * SECOND, False),  # even seconds: half of all whole ones
        (NOW // 1000 * 1000 + 1000, False),
        (NOW // SECOND * SECOND + SECOND, False),
        (NOW // (2 * SECOND) * 2 * SECOND + 2 * SECOND, False),
        (NOW // SECOND * SECOND - SECOND + 1, False),
        (NOW // 100 * 100, False),  # no file system keeps that
        (0, False),
    ],
)
def test_same_time(other: int, same: bool) -> None:
    """Times are compared at the resolution of the coarser one."""
    assert same_time(NOW, other) is same
    assert same_time(other, NOW) is same


@given(times, st.sampled_from([1, 10**3, 10**6, SECOND]))
def test_a_time_that_was_cut(time: int, step: int) -> None:
    """A time and what a file system kept of it are the same."""
    assert same_time(time, time // step * step)


@given(times, times)
def test_far_apart(one: int, other: int) -> None:
    """Times two seconds apart are never the same; it makes no difference which is which."""
    assert same_time(one, other) == same_time(other, one)
    if abs(one - other) >= 2 * SECOND:
        assert not same_time(one, other)
