"""How far a transfer is, as text, and drawn again and again in one line of a terminal.

What is counted is what the receiving side has: nothing here ever goes backwards.

This module must not know what moves the files, or what ends them.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from time import monotonic

from filexfer import FilexferError
from filexfer import progress as phases
from filexfer.cli.output import count, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer import Report

DRAW_EVERY = 0.1  # seconds
DRAW_AFTER = 0.3  # what is over sooner needs no bar, and is not held up by loading it
LINE_EVERY = 10.0  # seconds between two plain lines
LOOK_AHEAD = 0.002  # seconds of each interval, to find out how much there is
RATE_OVER = 10.0  # seconds that a rate is the mean of
RATE_AFTER = 1.0  # seconds before which there is none
WIDTH_MAX = 100  # columns; a longer line tells no more, and a smaller window would break it
BAR_MIN, BAR_MAX = 6, 30  # columns
FILE_COST = 4096  # bytes that a file takes as long as, besides its own


class State:
    """How far a transfer is, as plain values.

    Args:
        phase: As ``Report.phase``.
        files: That need nothing more.
        files_total: That there are, or at least.
        bytes: That the receiving side has.
        bytes_total: That there are, or at least.
        is_open: Whether there may be more than is known of.
        rate: Bytes per second; None while it is not known.
        left: Seconds to go; None while that is not known.
        sent: Bytes that have travelled, where that is all that is known: a server of an older
            version does not say how much it has of a large file.

    """

    def __init__(  # noqa: PLR0917 - plain values
        self,
        phase: str,
        files: int = 0,
        files_total: int = 0,
        bytes: int = 0,  # noqa: A002 - as in Report
        bytes_total: int = 0,
        is_open: bool = True,  # noqa: FBT001, FBT002 - as above
        rate: float | None = None,
        left: float | None = None,
        sent: int = 0,
    ) -> None:
        self.phase = phase
        self.files = files
        self.files_total = files_total
        self.bytes = bytes
        self.bytes_total = bytes_total
        self.is_open = is_open
        self.rate = rate
        self.left = left
        self.sent = sent

    @property
    def share(self) -> float | None:
        """How much of it all is done, 0 to 1; None while nobody knows how much it is."""
        if self.is_open:
            return None
        if self.bytes_total:
            return self.bytes / self.bytes_total
        return self.files / self.files_total if self.files_total else None


class Meter:
    """Reads a report again and again; what it returns never goes backwards."""

    def __init__(self) -> None:
        # When, bytes that moved and are there, and all that needs nothing more.
        self._past: deque[tuple[float, int, int]] = deque()
        self._moved = 0

    def read(self, report: Report, now: float) -> State:
        """Return how far it is at a time in seconds."""
        handled, handled_bytes = report.handled, report.handled_bytes
        moved = handled_bytes - report.skipped_bytes - report.failed_bytes
        past = self._past
        self._moved = max(self._moved, moved)
        done = handled_bytes + FILE_COST * handled
        past.append((now, self._moved, done))
        while len(past) > 1 and past[1][0] <= now - RATE_OVER:
            past.popleft()
        state = State(
            *(report.phase, handled, report.total, handled_bytes, report.total_bytes),
            report.is_walking,
        )
        span = now - past[0][0]
        if span >= RATE_AFTER and state.phase in (phases.SENDING, phases.RECEIVING):
            state.rate = (self._moved - past[0][1]) / span
            if not state.rate and report.moved > moved:
                state.sent = report.moved
            if not state.is_open and done > past[0][2]:
                all_of_it = state.bytes_total + FILE_COST * state.files_total
                state.left = (all_of_it - done) / (done - past[0][2]) * span
        return state


def line(state: State, width: int, *, ascii_only: bool = False) -> str:
    """Return how far it is in one line, of at most *width* columns, with a bar if there is room."""
    width = min(width, WIDTH_MAX)
    texts = _texts(state)
    text = next((text for text in texts if len(text) <= width), texts[-1][:width])
    share = state.share
    room = min(BAR_MAX, width - len(text) - len("|| "))
    if share is None or room < BAR_MIN:
        return text
    head, mark, rest = text.partition("%")
    return f"{head}{mark} {_bar(share, room, ascii_only=ascii_only)}{rest}"


def _texts(state: State) -> list[str]:
    """Return what may be said, the longest first."""
    share = state.share
    percent = "" if share is None else f" {int(100 * share):3}%"  # 100 only when all is done
    head, short = f"{state.phase:9}{percent}", f"{state.phase} {percent.strip()}".strip()
    at_least = "at least " if state.is_open else ""
    amount = size(state.bytes)
    if state.bytes_total > state.bytes or (state.bytes and not state.is_open):
        amount = f"{_without_unit(amount, size(state.bytes_total))} of {at_least}"
        amount += size(state.bytes_total)
    files = count(state.files, "file")
    if state.files_total > state.files or not state.is_open:
        files = f"{state.files} of {at_least}{count(state.files_total, 'file')}"
    rate = "" if state.rate is None else f", {size(state.rate)}/s"
    if state.sent:
        rate = f", {size(state.sent)} sent"
    left = "" if state.left is None else f", {_clock(state.left)} left"
    return [
        f"{head} {amount}, {files}{rate}{left}",
        f"{head} {amount}{rate}{left}",
        f"{short} {amount}{rate}{left}",
        f"{short} {amount}{left}",
        f"{short} {amount}",
        short,
    ]


def _without_unit(amount: str, total: str) -> str:
    """Return an amount without its unit, if the total has the same."""
    number, _, unit = amount.partition(" ")
    return number if total.endswith(f" {unit}") else amount


def _clock(seconds: float) -> str:
    whole = int(seconds + 0.999)
    minutes = f"{whole // 60 % 60}:{whole % 60:02}"
    if whole < 3600:
        return minutes
    return f"{whole // 3600}:{minutes:0>5}" if whole < 360_000 else "days"


def _bar(share: float, width: int, *, ascii_only: bool) -> str:
    from tqdm.std import tqdm  # noqa: PLC0415 - costs 37 ms, only for those who see it

    drawn: str = tqdm.format_meter(
        share, 1.0, 1.0, ncols=width, bar_format="{bar}", ascii=ascii_only
    )
    return f"|{drawn}|"


class Display:
    """Draws how far a transfer is; in standard error, past Python's own buffer.

    Args:
        report: Of the transfer.
        in_lines: Print a plain line now and then, in place of one that is drawn again.

    Attributes:
        times: When ``tick`` is to be called: after so many seconds, and again every so many.

    """

    def __init__(self, report: Report, *, in_lines: bool) -> None:
        self.times = (DRAW_AFTER, DRAW_EVERY)
        self._report = report
        self._in_lines = in_lines
        self._meter = Meter()
        self._due = monotonic() + (LINE_EVERY if in_lines else 0.0)
        self._fd = sys.stderr.fileno()
        encoding = (sys.stderr.encoding or "ascii").lower().replace("-", "")
        self._ascii_only = not encoding.startswith("utf8")
        self._is_drawn = self._is_busy = self._has_begun = False

    def tick(self, *_: object) -> None:
        """Look and draw, as a handler of signals does: at any time, and for a short one only."""
        if self._is_busy:
            return
        self._is_busy = True
        try:
            self._tick()
        except (OSError, ValueError, ImportError, AttributeError, FilexferError):
            pass  # the terminal has gone, or what draws is just being loaded: nobody misses it
        finally:
            self._is_busy = False

    def close(self) -> None:
        """Take away what is drawn, and draw no more."""
        self._is_busy = True
        if self._is_drawn:
            self._is_drawn = False
            self._write("\r\x1b[K")

    def _tick(self) -> None:
        report, now = self._report, monotonic()
        # Before, somebody may be asked whether the server is known.
        self._has_begun = self._has_begun or bool(report.entered or report.look_ahead)
        if not self._has_begun:
            return
        if report.look_ahead and report.is_walking:
            report.look_ahead(LOOK_AHEAD)
        state = self._meter.read(report, now)
        if self._in_lines:
            if now >= self._due:
                self._due = now + LINE_EVERY
                self._write(" ".join(f"filexfer: {_texts(state)[0]}".split()) + "\n")
        elif self._is_in_front():
            text = line(state, self._width() - 1, ascii_only=self._ascii_only)
            self._is_drawn = True
            self._write(f"\r{text}\x1b[K")

    def _width(self) -> int:
        return os.get_terminal_size(self._fd).columns or 80

    def _is_in_front(self) -> bool:
        """Tell whether the terminal is this command's now, and not that of another one."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # it has no such notion

    def _write(self, text: str) -> None:
        try:
            os.write(self._fd, text.encode("utf-8" if not self._ascii_only else "ascii", "replace"))
        except OSError:
            pass  # as ``output.say``
