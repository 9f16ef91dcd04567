"""What the scripts have in common: how words are read, and how a signal ends them."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

_ENDING = 10.0  # seconds


def positive(text: str) -> int:
    """Return a number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def list_of(known: list[str], must: str = "") -> Callable[[str], list[str]]:
    """Return what reads some of the known words, in their order; *must* is one of them anyhow."""

    def words(text: str) -> list[str]:
        found = text.split(",")
        for each in found:
            if each not in known:
                raise argparse.ArgumentTypeError(f"{each!r} is none of {', '.join(known)}")
        return [each for each in known if each in found or each == must]

    return words


def run(main: Callable[[], int]) -> None:
    """Run the script and end the process; signals end it in order, so that nothing is left."""
    signal.signal(signal.SIGINT, _end)
    signal.signal(signal.SIGTERM, _end)
    sys.exit(main())


def remove(folder: Path) -> None:
    """Remove a folder, also if something that a signal has ended still writes in it for a moment."""
    until = time.monotonic() + _ENDING
    while folder.exists() and time.monotonic() < until:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def _end(number: int, _frame: FrameType | None) -> None:
    """End in order, so that servers are stopped and data is removed; once is enough."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
