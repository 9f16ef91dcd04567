"""The sentence that names the bottleneck, from figures that were made up."""

from __future__ import annotations

from typing import Any

import pytest

from filexfer.measure import verdict
from filexfer.measure.verdict import Figures

MB = 1e6
USUAL: dict[str, Any] = {
    "round_trip": 0.001,
    "connections": 4,
    "up": 100 * MB,
    "up_many": 101 * MB,
    "down": 110 * MB,
    "down_many": 111 * MB,
    "read": 500 * MB,
    "write": 1000 * MB,
    "flush": 300 * MB,
    "hashes": {"xxh3_128": 10_000 * MB, "md5": 600 * MB},
}

CASES = [
    (
        {},
        "The network is the bottleneck: 100.0 MB/s up over one connection, 101.0 MB/s over 4.",
    ),
    (
        {"up": 11.2 * MB, "up_many": 43.9 * MB},
        (
            "The network is the bottleneck: 11.2 MB/s up over one connection, "
            "43.9 MB/s over 4; use -j 4."
        ),
    ),
    (
        {"down": 11.2 * MB, "down_many": 22 * MB, "connections": 2},
        (
            "The network is the bottleneck: 11.2 MB/s down over one connection, "
            "22.0 MB/s over 2; use -j 2."
        ),
    ),
    (
        {"down": 3 * MB, "down_many": 12 * MB, "round_trip": 0.18},
        (
            "The round trip of 180 ms is the bottleneck: 3.0 MB/s down over one connection, "
            "12.0 MB/s over 4; use -j 4."
        ),
    ),
    (
        {"round_trip": 0.18},  # but more connections bring no more: it is not that
        "The network is the bottleneck: 100.0 MB/s up over one connection, 101.0 MB/s over 4.",
    ),
    (
        {"connections": 1, "up_many": None, "down_many": None},
        "The network is the bottleneck: 100.0 MB/s up over one connection.",
    ),
    (
        {"up": None, "up_many": None},  # a read-only server
        "The network is the bottleneck: 110.0 MB/s down over one connection, 111.0 MB/s over 4.",
    ),
    (
        {"network": "network inside this machine"},
        (
            "The network inside this machine is the bottleneck: 100.0 MB/s up over one connection, "
            "101.0 MB/s over 4."
        ),
    ),
    (
        {"read": 80 * MB},
        (
            "Reading from the local disk is the bottleneck: 80.0 MB/s, "
            "where the network carries 100.0 MB/s up."
        ),
    ),
    (
        {"flush": 40 * MB},
        (
            "Writing to the local disk is the bottleneck: 40.0 MB/s, "
            "where the network carries 110.0 MB/s down."
        ),
    ),
    (
        {"flush": 40 * MB, "up": None, "down": None},
        "Writing to the local disk is the bottleneck: 40.0 MB/s.",
    ),
    (
        {"hashes": {"xxh3_128": 50 * MB, "sha256": 60 * MB, "md5": 90 * MB}},
        "Hashing is the bottleneck: 50.0 MB/s by xxh3_128.",
    ),
    (
        {"hashes": {"xxh3_128": 50 * MB, "sha256": 90 * MB}},
        "Hashing is the bottleneck: 50.0 MB/s by xxh3_128, 90.0 MB/s by sha256; use --hash sha256.",
    ),
    (
        {"hashes": {"md5": 1 * MB}, "up": 5 * MB, "up_many": None},
        "The network is the bottleneck: 5.0 MB/s up over one connection.",
    ),  # only the hash that is used counts
]


@pytest.mark.parametrize(("changes", "sentence"), CASES)
def test_bottleneck(changes: dict[str, Any], sentence: str) -> None:
    """The slowest of what all bytes go through is named, with what helps."""
    assert verdict.bottleneck(Figures(**{**USUAL, **changes})) == sentence


def test_nothing_measured() -> None:
    """Without a figure nothing is made up."""
    assert verdict.bottleneck(Figures()) == "Nothing was measured that could be the bottleneck."


def test_writing_into_memory_is_no_limit() -> None:
    """A slow system call does not hide that the disk itself is measured with its flush."""
    assert "bottleneck: 100.0" in verdict.bottleneck(Figures(**{**USUAL, "write": 1 * MB}))
