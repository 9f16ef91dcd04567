"""Measures what each level of durability costs, against no durability and one flush at the end.

    python tests/benchmarks/durability.py

It uploads the same data with ``--durability none`` and one ``sync`` after it, with ``batch``, and
with ``file``, in turn and in rounds, and prints medians of the wall time. It has to run on a real
disk: in memory nothing is flushed. Everything that it makes is gone when it ends. While it runs,
every user of this machine can reach its servers, as with ``filexfer serve``.

This module knows the command line; what it says of itself is ``--help``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from data import Data, Maker, NoRoom, differences
from machine import machine
from processes import HOST, Failed, Service, free_port, measured
from script import list_of, positive, remove, run
from tool import find

LEVELS = ("none", "batch", "file")
MEMORY = ("tmpfs", "ramfs")
WORKLOADS = {"small": "many files of about 7 KB", "big": "one file"}


def flush(folder: Path) -> None:
    """Flush the disk that a folder lies on, or all where that cannot be told."""
    if sys.platform == "linux":
        subprocess.run(["sync", "--file-system", str(folder)], check=True)
    else:
        os.sync()


class Lane:
    """The server of one level, and the times of its uploads."""

    def __init__(self, level: str, work: Path, stack: ExitStack) -> None:
        self.level = level
        self._landing = work / "landing" / level
        self._home = work / f"server-{level}"
        self._home.mkdir()
        self._landing.mkdir(parents=True)
        self._port = free_port()
        words = ["serve", "-q", "--durability", level, "--port", str(self._port)]
        command = [find("filexfer"), *words, str(self._landing)]
        stack.callback(Service(command, self._port, self._home).stop)

    def run(self, data: Data, limit: float) -> float:
        """Upload the data, and return how many seconds it took until all of it was durable."""
        flush(self._landing)  # what others wrote is not to be paid for here
        command = [find("filexfer"), "put", "-q", str(data.folder), f"fx://{HOST}:{self._port}/"]
        seconds = measured(command, limit, self._home).seconds
        if self.level == "none":
            started = time.perf_counter()
            flush(self._landing)
            seconds += time.perf_counter() - started
        return seconds

    def check(self, data: Data) -> None:
        """Compare what arrived with what was sent."""
        if wrong := differences(data.folder, self._landing / data.folder.name):
            raise Failed(f"{self.level}: {wrong[0]} did not arrive as it was sent")

    def clear(self) -> None:
        """Remove what arrived."""
        for each in self._landing.iterdir():
            shutil.rmtree(each)


def measure(data: Data, lanes: list[Lane], rounds: int, limit: float) -> dict[str, list[float]]:
    """Run all levels in turn, each after another one in the next round."""
    seconds: dict[str, list[float]] = {lane.level: [] for lane in lanes}
    for number in range(rounds):
        first = number % len(lanes)
        for lane in (*lanes[first:], *lanes[:first]):
            seconds[lane.level].append(lane.run(data, limit))
            if number == rounds - 1:
                lane.check(data)
            lane.clear()
    return seconds


def table(name: str, data: Data, seconds: dict[str, list[float]]) -> str:
    """Return the table of one workload; ratios are medians of the rounds' own ratios."""
    plain = seconds["none"]
    lines = [
        f"{name}: {data.files:,} files, {data.size / 1e6:,.0f} MB, {len(plain)} rounds",
        f"  {'level':<14}{'seconds':>9}{'least':>9}{'most':>9}{'ratio':>9}",
    ]
    for level, found in seconds.items():
        ratio = statistics.median(each / base for each, base in zip(found, plain, strict=True))
        title = "none and sync" if level == "none" else level
        figures = (statistics.median(found), min(found), max(found))
        columns = "".join(f"{each:9.2f}" for each in figures)
        lines.append(f"  {title:<14}{columns}{ratio:9.2f}")
    return "\n".join(lines)


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder lies in, where Linux tells it."""
    found: dict[str, str] = {}
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            for line in file:
                _, mounted, kind, *_ = line.split(" ")
                found[mounted] = kind
    except OSError:
        return "an unknown file system"
    place = folder.resolve()
    name = next(found[each] for each in map(str, (place, *place.parents)) if each in found)
    return f"{name}: in memory, where nothing is flushed" if name in MEMORY else name


def main() -> int:
    """Measure, print the tables, and return the exit code."""
    options = _parser().parse_args()
    print(", ".join((*machine().values(), file_system(options.dir))), flush=True)
    maker = Maker(options.big_mib, options.small_count, options.dir)
    try:
        with ExitStack() as stack:
            work = Path(tempfile.mkdtemp(prefix="filexfer-durability-", dir=options.dir))
            stack.callback(remove, work)
            lanes = [Lane(level, work, stack) for level in LEVELS if level in options.levels]
            (work / "data").mkdir()
            for workload in options.workloads:
                data = maker.make(workload, work / "data")
                seconds = measure(data, lanes, options.rounds, options.limit)
                print(table(workload, data, seconds), flush=True)
                shutil.rmtree(data.folder)
    except (Failed, NoRoom) as error:
        sys.exit(f"error: {error}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="durability.py",
        description="Measure what each level of durability costs on a disk.",
        epilog="workloads: " + "; ".join(f"{name}, {what}" for name, what in WORKLOADS.items()),
        allow_abbrev=False,
    )
    for name, known, must in (("workloads", WORKLOADS, ""), ("levels", LEVELS, "none")):
        names = list(known)
        text = f"some of {', '.join(names)} (default: all)"
        kind = list_of(names, must)
        parser.add_argument(f"--{name}", type=kind, default=names, metavar="NAME,...", help=text)
    for name, default, text in (
        ("rounds", 5, "how often each level runs"),
        ("big-mib", 2048, "size of the one file"),
        ("small-count", 10_000, "number of small files"),
        ("limit", 300, "seconds after which a run is stopped"),
    ):
        said = f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=said)
    place = Path(tempfile.gettempdir())
    text = f"a folder on the disk to be measured (default: {place})"
    parser.add_argument("--dir", type=Path, default=place, help=text)
    return parser


if __name__ == "__main__":
    run(main)
