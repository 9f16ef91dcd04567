"""The table and the sentence about where the time went, from figures that were made up."""

from __future__ import annotations

import pytest

from filexfer.measure.breakdown import sentence, table
from filexfer.measure.stats import PHASES, Stats

MB = 1_000_000
Figure = float | tuple[float, int]


def made(connections: int = 1, **phases: Figure) -> Stats:
    """Return figures: by phase the seconds, or the seconds and the bytes."""
    stats = Stats()
    pairs = [phases.get(phase, 0.0) for phase in PHASES]
    both = [each if isinstance(each, tuple) else (each, 0) for each in pairs]
    stats.add(([seconds for seconds, _ in both], [size for _, size in both]))
    stats.connections = connections
    return stats


def test_a_table() -> None:
    """Each phase that took time has a line; all of them make up the whole."""
    stats = made(
        walking=0.1,
        reading=(0.5, 100 * MB),
        hashing=(0.01, 100 * MB),
        sending=(0.2, 101 * MB),
        receiving=(0.002, 5000),
        waiting=1.0,
        rest=0.188,
    )
    assert table(stats) == [
        "time went to             seconds     share            rate",
        "walking                    0.100     5.0 %",
        "reading                    0.500    25.0 %      200.0 MB/s",
        "hashing                    0.010     0.5 %    10000.0 MB/s",
        "sending                    0.200    10.0 %      505.0 MB/s",
        "receiving                  0.002     0.1 %",
        "waiting for the server     1.000    50.0 %",
        "the rest                   0.188     9.4 %",
        "all                        2.000   100.0 %",
    ]


def test_the_table_of_several_connections() -> None:
    """It says over how many the times were added up."""
    lines = table(made(3, writing=(6.0, 600 * MB), flushing=2.0))
    assert lines[1:] == [
        "writing                    6.000    75.0 %      100.0 MB/s",
        "flushing                   2.000    25.0 %",
        "all 3 connections          8.000   100.0 %",
    ]


def test_questions_have_no_rate() -> None:
    """What was asked and answered where nothing was sent says nothing about the network."""
    lines = table(made(walking=1.0, sending=(1.0, 600_000), receiving=(1.0, 10_000)))
    assert not any("MB/s" in line for line in lines)


def test_no_time_at_all() -> None:
    """Nothing is divided by 0."""
    assert table(made())[1:] == ["all                        0.000     0.0 %"]
    assert "0.0 % of the time" in sentence(made(), files=0, is_upload=True)


DISK = "that is the work of the local disk and its file system"
DOCTOR = "filexfer doctor --speed --dir DIR measures it"
SHARED = "with -j 4, several connections share it"
CASES = {
    "walking": ": every file is found and looked at; name only the folders that may have changed.",
    "reading": f", at 25.0 MB/s: {DISK}; {SHARED}.",
    "hashing": f", at 25.0 MB/s: xxh3_128 is the fastest of the hashes; {SHARED}.",
    "sending": f", at 25.0 MB/s: that is the system's own work for the network; {SHARED}.",
    "receiving": f", at 25.0 MB/s: that is the system's own work for the network; {SHARED}.",
    "writing": f", at 25.0 MB/s: {DISK}; {SHARED}.",
    "flushing": ": the disk is made to keep what was written; --durability none leaves that to the system, and then a power cut may take what came last.",
    "waiting": ": the network, or the server and its disk, which cannot be seen from here; filexfer doctor --speed measures the network, and -j 4 may help.",
    "rest": f": that is filexfer's own work for each file; {SHARED}.",
}
MOVING = {"reading", "hashing", "sending", "receiving", "writing"}


def mostly(phase: str, connections: int = 1) -> Stats:
    """Return figures of which one phase has the most."""
    other = "walking" if phase == "rest" else "rest"
    size = 100 * MB if phase in MOVING else 0
    figures: dict[str, Figure] = {"hashing": (0.0, size), other: 1.0, phase: (4.0, size)}
    return made(connections, **figures)


def test_every_phase_has_its_sentence() -> None:
    """None is forgotten."""
    assert list(CASES) == list(PHASES)


@pytest.mark.parametrize("phase", CASES)
def test_what_took_longest(phase: str) -> None:
    """One sentence says what it was, and what can be done."""
    name = {"waiting": "Waiting for the server", "rest": "The rest"}.get(phase, phase.capitalize())
    expected = f"{name} took longest, 80.0 % of the time{CASES[phase]}"
    assert sentence(mostly(phase), files=10, is_upload=True) == expected


def test_a_limit_is_named() -> None:
    """Who has set a limit is not sent to look at the network."""
    told = sentence(mostly("waiting"), files=10, is_upload=True, limit=5_000_000)
    assert told.endswith("80.0 % of the time: nothing moves faster than the limit of 5.0 MB/s.")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("connections", "files"), [(1, 1), (3, 10)])
def test_more_connections_are_proposed_only_where_they_are_of_use(
    phase: str, connections: int, files: int
) -> None:
    """One file is not shared; and who has several connections knows of them."""
    assert "-j" not in sentence(mostly(phase, connections), files=files, is_upload=True)


@pytest.mark.parametrize("phase", ["reading", "writing"])
def test_a_disk_can_be_measured(phase: str) -> None:
    """Where nothing else helps, it is said how to find out more."""
    text = sentence(mostly(phase), files=1, is_upload=True)
    assert text.endswith(f"{DISK}; {DOCTOR}.")


def test_a_download_waits_for_the_server() -> None:
    """The disk that is written is ours, and it is seen."""
    assert sentence(mostly("waiting"), files=1, is_upload=False) == (
        "Waiting for the server took longest, 80.0 % of the time: the network, or the server; "
        "filexfer doctor --speed measures the network."
    )


def test_a_slow_hash() -> None:
    """Who chose another hash is told of the default one, and what it does not do."""
    assert sentence(mostly("hashing"), files=9, is_upload=True, algorithm="sha256") == (
        "Hashing took longest, 80.0 % of the time, at 25.0 MB/s: "
        "xxh3_128, the default, is faster than sha256, if nobody forges files."
    )
