"""Runs the tools in turn, round by round, and fills a table.

It must not know the tools' commands, nor how a table is shown.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from data import Data, differences, warm_up
from figures import Row, Table
from processes import Failed, measured

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tool import Tool


@dataclass(frozen=True)
class Course:
    """How the tools are run.

    Attributes:
        work: The folder of everything that is made.
        rounds: How often each tool runs.
        limit: Seconds after which a run is stopped.
        watch: Is told what is done now.

    """

    work: Path
    rounds: int
    limit: float
    watch: Callable[[str], None]

    def run(self, workload: str, direction: str, data: Data, tools: list[Tool]) -> Table:
        """Run all tools at one workload in one direction."""
        table = Table(workload, direction, data.files, data.size)
        lanes = [
            _Lane(self, table, tool, data)
            for tool in tools
            if tool.skips or workload != "again"  # the others would do the same as in 'tree'
        ]
        table.rows = [lane.row for lane in lanes]
        for number in range(self.rounds):
            first = number % len(lanes) if lanes else 0  # each comes after another in turn
            for lane in (*lanes[first:], *lanes[:first]):
                text = f"{workload} {direction}, round {number + 1} of {self.rounds}"
                self.watch(f"{text}: {lane.row.title}")
                lane.run(last=number == self.rounds - 1)
        return table


class _Lane:
    """One tool's part of a table, and the folder where its copies land."""

    def __init__(self, course: Course, table: Table, tool: Tool, data: Data) -> None:
        self.row = Row(tool.key, tool.title)
        self._course, self._tool, self._data = course, tool, data
        # Nobody else lands there, even if a server writes on after a failure.
        where = f"{table.workload}-{table.direction}-{tool.key}"
        self._landing = course.work / "landing" / where
        make = tool.up if table.direction == "up" else tool.down
        self._command = make(data.folder, self._landing)
        self._again = table.workload == "again"
        if not self._command:
            self.row.note = "cannot do this"
        elif self._again:
            self._attempt()
            self.row.runs.clear()  # this one only put everything there

    def run(self, last: bool) -> None:
        """Run it once, unless it has failed; after the last round compare what has arrived."""
        if self.row.note:
            return
        self._attempt()
        if last and not self.row.note:
            self._compare()
        if last or not self._again:
            self._clear()

    def _attempt(self) -> None:
        self._landing.mkdir(parents=True, exist_ok=True)
        try:
            self._tool.prepare()
            warm_up(self._course.work, self._data.size)
            self.row.runs.append(measured(self._command, self._course.limit, self._tool.home))
        except Failed as error:
            self.row.runs, self.row.note = [], str(error)
            self._clear()

    def _compare(self) -> None:
        wrong = differences(self._data.folder, self._landing / self._data.folder.name)
        if wrong:
            self.row.note = f"{len(wrong)} missing or different, as {wrong[0]}"

    def _clear(self) -> None:
        shutil.rmtree(self._landing, ignore_errors=True)
