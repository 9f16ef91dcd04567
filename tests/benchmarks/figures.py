"""What a benchmark found out: plain values, to JSON and back.

It must not know how anything is measured or shown.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

LIMIT = "cp"  # the tool that all others are compared with


@dataclass
class Run:
    """One run of one tool.

    Attributes:
        seconds: From the start of its process to the end.
        cpu: Processor seconds of the whole machine in that time, servers included; None if the
            system does not tell.
        memory: The most bytes that the client process had in memory.

    """

    seconds: float
    cpu: float | None
    memory: int


@dataclass
class Row:
    """A tool's runs, one for each round; none if it failed, and the note says how."""

    key: str
    title: str
    runs: list[Run] = field(default_factory=list)
    note: str = ""

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float | None:
        """The median, or None if it is not known."""
        known = [run.cpu for run in self.runs if run.cpu is not None]
        return statistics.median(known) if known else None

    @property
    def memory(self) -> int:
        """The most of all rounds."""
        return max(run.memory for run in self.runs)


@dataclass
class Table:
    """All tools at one workload in one direction."""

    workload: str
    direction: str
    files: int
    size: int
    rows: list[Row] = field(default_factory=list)

    def ratio(self, row: Row) -> float | None:
        """Return how many times as long as the local copy a tool took: the rounds' median.

        It is taken round by round, so that what slows down a whole round does not count.
        """
        limits = [each for each in self.rows if each.key == LIMIT]
        if not limits or not limits[0].runs or not row.runs:
            return None
        pairs = zip(row.runs, limits[0].runs, strict=True)
        return statistics.median(run.seconds / limit.seconds for run, limit in pairs)

    def ranked(self) -> list[Row]:
        """Return the rows, the fastest first, those that failed last."""
        return sorted(self.rows, key=lambda row: row.seconds if row.runs else float("inf"))


@dataclass
class Figures:
    """Everything that one call of the benchmark found out.

    Attributes:
        machine: What it ran on, by what it is.
        versions: Those of the programs that ran.
        missing: Why tools were passed over, by their titles.
        floor: Of a client with no more bytes in memory than this it is not known how many.

    """

    date: str
    command: str
    rounds: int
    machine: dict[str, str]
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    floor: int = 0
    tables: list[Table] = field(default_factory=list)

    def to_json(self) -> str:
        """Return everything as text."""
        return json.dumps(asdict(self), indent=1) + "\n"


def from_json(text: str) -> Figures:
    """Return what ``to_json`` made text of; ValueError if it is something else."""
    try:
        values = json.loads(text)
        return Figures(**{**values, "tables": [_table(each) for each in values["tables"]]})
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("these are no figures of this program") from error


def _table(values: dict[str, Any]) -> Table:
    return Table(**{**values, "rows": [_row(each) for each in values["rows"]]})


def _row(values: dict[str, Any]) -> Row:
    return Row(**{**values, "runs": [Run(**each) for each in values["runs"]]})
