"""Compares filexfer with other tools that move files, and with the local copy as the limit.

    python tests/benchmarks/compare.py

It makes its own data in memory, moves it over loopback with every tool that is there, in turn and
in rounds, and prints medians of the time of whole processes. The data, the servers and their keys
are gone when it ends. While it runs, every user of this machine can reach those servers, and with
them the data: run it where you trust them, as for ``filexfer serve``.

This module knows the command line; what it says of itself is ``--help``.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import report
from data import STANDARD_LIBRARY, Maker, NoRoom
from figures import LIMIT, Figures, from_json
from machine import machine
from processes import Failed, floor
from rounds import Course
from script import list_of, positive, remove, run
from tool import Tool, versions
from tools import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable

README = Path(__file__).resolve().parents[2] / "README.md"
MEMORY = Path("/dev/shm")
WORKLOADS = {
    "big": "one file",
    "small": "many files of about 7 KB",
    "tree": "a real tree: the standard library of this Python",
    "again": "the same tree, when everything is there already",
}
DIRECTIONS = ("up", "down")
MEASURING = (  # the options that a figure depends on
    *("workloads", "tools", "directions", "rounds"),
    *("big_mib", "small_count", "tree", "limit", "dir"),
)


def main() -> int:
    """Measure or read figures, show and keep them; return the exit code."""
    parser = _parser()
    options = parser.parse_args()
    writes = options.write_readme or options.from_json
    try:
        if writes:
            report.check_readme(options.readme)
        if options.from_json:
            figures = from_json(options.from_json.read_text(encoding="utf-8"))
            _show(figures)
        elif writes and LIMIT not in options.tools:
            raise ValueError(f"--write-readme needs '{LIMIT}' among the tools")
    except (OSError, ValueError) as error:
        parser.error(str(error))
    try:
        if not options.from_json:
            figures = _measure(options, _command(parser, options))
        if writes:
            report.write_readme(options.readme, figures)
    except NoRoom as error:
        sys.exit(f"error: {error}; choose another place or smaller data, see --help")
    except ValueError as error:
        sys.exit(f"error: {error}")
    return 0


def _measure(options: argparse.Namespace, command: str) -> Figures:
    """Run the tools, print each table when it is full, and keep what is known by then."""
    date = datetime.now(UTC).date().isoformat()
    figures = Figures(date, command, options.rounds, machine())
    maker = Maker(options.big_mib, options.small_count, options.tree)
    with ExitStack() as stack:
        work = Path(tempfile.mkdtemp(prefix="filexfer-benchmark-", dir=options.dir))
        stack.callback(remove, work)
        tools = _started(options.tools, work, figures, stack)
        figures.versions = versions(tools)
        figures.floor = floor(work)
        for line in report.missing_text(figures):
            print(line, flush=True)
        course = Course(work, options.rounds, options.limit, _watcher())
        (work / "data").mkdir()
        for workload in options.workloads:
            data = maker.make(workload, work / "data")
            for direction in options.directions:
                table = course.run(workload, direction, data, tools)
                course.watch("")
                figures.tables.append(table)
                print(report.table_text(table, figures.floor), flush=True)
                if options.json:
                    options.json.write_text(figures.to_json(), encoding="utf-8")
            shutil.rmtree(data.folder)
    return figures


def _started(names: list[str], work: Path, figures: Figures, stack: ExitStack) -> list[Tool]:
    """Start the servers of the tools that are there; note why others are passed over."""
    tools = []
    for name in names:
        if missing := TOOLS[name].missing():
            figures.missing[TOOLS[name].title] = f"no {missing} here"
            continue
        tool = TOOLS[name](work)
        stack.callback(tool.stop)
        try:
            tool.start()
        except (Failed, OSError, subprocess.SubprocessError) as error:
            figures.missing[tool.title] = str(error)
        else:
            tools.append(tool)
    return tools


def _show(figures: Figures) -> None:
    for line in report.missing_text(figures):
        print(line)
    for table in figures.tables:
        print(report.table_text(table, figures.floor))


def _watcher() -> Callable[[str], None]:
    """Return a function that keeps one line at a terminal up to date."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda text: print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _command(parser: argparse.ArgumentParser, options: argparse.Namespace) -> str:
    """Return the command that measures the same, without what only says where figures go."""
    words = ["python", "tests/benchmarks/compare.py"]
    for name in MEASURING:
        value = getattr(options, name)
        if value != parser.get_default(name):
            text = ",".join(value) if isinstance(value, list) else str(value)
            words += [f"--{name.replace('_', '-')}", text]
    return shlex.join(words)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="compare.py",
        description="Compare filexfer with other tools, and with the local copy as the limit.",
        epilog="workloads: " + "; ".join(f"{name}, {what}" for name, what in WORKLOADS.items()),
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what is compared")
    for name, known in (("workloads", WORKLOADS), ("tools", TOOLS), ("directions", DIRECTIONS)):
        names = list(known)
        text = f"some of {', '.join(names)} (default: all)"
        kind = list_of(names)
        what.add_argument(f"--{name}", type=kind, default=names, metavar="NAME,...", help=text)
    how = parser.add_argument_group("how")
    for name, default, text in (
        ("rounds", 5, "how often each tool runs"),
        ("big-mib", 2048, "size of the one file"),
        ("small-count", 10_000, "number of small files"),
        ("limit", 60, "seconds after which a run is stopped"),
    ):
        said = f"{text} (default: {default})"
        how.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=said)
    text = f"the tree to move (default: {STANDARD_LIBRARY})"
    how.add_argument("--tree", type=_folder, default=STANDARD_LIBRARY, help=text)
    place = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    text = f"where to make everything (default: {place})"
    how.add_argument("--dir", type=_folder, default=place, help=text)
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, metavar="FILE", help="keep the raw figures")
    text = "put the figures and a plot into the README"
    output.add_argument("--write-readme", action="store_true", help=text)
    text = "do that with figures that were kept, and measure nothing"
    output.add_argument("--from-json", type=Path, metavar="FILE", help=text)
    text = "another README; the plot goes beside it"
    output.add_argument("--readme", type=Path, default=README, metavar="FILE", help=text)
    return parser


def _folder(text: str) -> Path:
    path = Path(text).resolve()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return path


if __name__ == "__main__":
    run(main)
