"""A transfer as people have it before them: how far it is, and what ends it from without.

Ctrl-C, SIGTERM and a terminal that goes away end it in good order: the connection is cut, what
waits for it ends and clears away, and it is said what is done and what is not. The second one ends
it at once.

How far it is is drawn by the clock, and not by what happens: so it is right also while nothing
moves, and costs the transfer next to nothing.

This module must not know how anything is transferred, or what is drawn.
"""

from __future__ import annotations

# The module signal makes enumerations of what is in here, which takes half a millisecond.
import _signal as signal  # type: ignore[import-not-found] # as above
import os
import sys

from filexfer import NetworkError
from filexfer.cli import HungUp, Terminated, output
from filexfer.errors import ExitCode
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from typing import Any

    from filexfer import Client, Report
    from filexfer.cli.display import Display

_CODES = {
    signal.SIGHUP: ExitCode.HUNG_UP,
    signal.SIGINT: ExitCode.INTERRUPTED,
    signal.SIGTERM: ExitCode.TERMINATED,
}
_GRACE = 0.5  # seconds for an upload to end by itself; it has nothing to clear away here


class Drawing:
    """Shows how far something is, where somebody can see it.

    Args:
        report: Of it.
        arguments: How it is shown.

    Attributes:
        is_line: Whether it is drawn again and again in one line, which nothing may be said in.

    """

    def __init__(self, report: Report, arguments: Namespace) -> None:
        self._display: Display | None = None
        self._before: Any = None  # the handler of the clock's signal
        is_terminal = sys.stderr is not None and sys.stderr.isatty()
        is_dumb = os.environ.get("TERM", "dumb") == "dumb"
        self.is_line = is_terminal and not (is_dumb or arguments.verbose or arguments.quiet)
        is_wanted = (is_terminal or arguments.verbose) and not (arguments.quiet or arguments.json)
        if is_wanted and sys.stderr:
            from filexfer.cli import display  # noqa: PLC0415 - only for those who see it

            try:
                self._display = display.Display(report, in_lines=not self.is_line)
            except (OSError, ValueError):
                pass  # standard error is no file: nobody sees it

    def start(self) -> None:
        """Begin to draw, by the clock."""
        if self._display:
            self._before = signal.signal(signal.SIGALRM, self._display.tick)
            signal.setitimer(signal.ITIMER_REAL, *self._display.times)

    def stop(self) -> None:
        """Draw no more, and take away what is drawn."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        if self._display:
            self._display.close()
            if self._before is not None:
                signal.signal(signal.SIGALRM, self._before)
                self._before = None


class Transfer:
    """Shows one transfer while it runs, and ends it when a signal comes; a context manager.

    Args:
        client: That does it.
        report: Of it.
        arguments: How it is shown.
        is_upload: Whether it is one.

    """

    def __init__(
        self, client: Client, report: Report, arguments: Namespace, *, is_upload: bool
    ) -> None:
        self._client = client
        self._report = report
        self._quiet: bool = arguments.quiet
        self._is_upload = is_upload
        self._is_stream = is_upload or arguments.destination == "-"  # with nothing to clear away
        self._came = 0  # the signal
        self._before: dict[int, Any] = {}  # handlers of signals
        self._drawing = Drawing(report, arguments)

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in (*_CODES, signal.SIGALRM)}
        for number in _CODES:
            if self._before[number] != signal.SIG_IGN:  # nohup and '&' ignore them
                signal.signal(number, self._take)
        self._drawing.start()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._drawing.stop()
        for number, before in self._before.items():
            signal.signal(number, before)
        is_expected = kind is None or issubclass(kind, (NetworkError, KeyboardInterrupt))
        if not self._came or not is_expected:
            return
        if not self._quiet:
            output.name_failures(self._report, quiet=True)
            output.say(_what_is_done(self._report, is_upload=self._is_upload))
        if kind is None or issubclass(kind, NetworkError):
            raise _meaning(self._came)

    def _take(self, number: int, _: object) -> None:
        self._drawing.stop()
        if self._came:
            _say_at_once(f"filexfer: {getattr(_meaning(number), 'word', 'interrupted')}\n")
            os._exit(_CODES[number])
        self._came = number
        if not self._client.interrupt():
            raise _meaning(number)
        if self._is_stream:
            signal.signal(signal.SIGALRM, self._raise)
            signal.setitimer(signal.ITIMER_REAL, _GRACE)

    def _raise(self, *_: object) -> None:
        raise _meaning(self._came)


def _say_at_once(text: str) -> None:
    """Say something also in the middle of a print, which does not bear another one."""
    try:
        if sys.stderr:
            os.write(sys.stderr.fileno(), text.encode())
    except OSError:
        pass  # as ``output.say``


def _meaning(number: int) -> KeyboardInterrupt:
    if number == signal.SIGINT:
        return KeyboardInterrupt()
    return Terminated() if number == signal.SIGTERM else HungUp()


def _what_is_done(report: Report, *, is_upload: bool) -> str:
    """Return what an upload or download has done and has not, when it was ended."""
    verb = "sent" if is_upload else "received"
    if not report.destination:  # it is set when all questions before are answered
        return f"nothing was {verb}"
    parts = [f"{output.count(report.files, 'file')} done"]
    if report.skipped:
        parts.append(f"{report.skipped} skipped")
    if report.failed:
        parts.append(f"{report.failed} failed")
    unsettled = report.uncertain if is_upload else max(0, report.confirmed - report.files)
    if unsettled:
        parts.append(f"{unsettled} {verb} and not confirmed")
    left = report.total - report.files - report.skipped - report.failed - unsettled
    if left > 0 or report.is_walking:
        least = "at least " if report.is_walking and left > 0 else ""
        parts.append(f"{least}{left} not {verb}" if left > 0 else f"the rest not {verb}")
    return f"{', '.join(parts)} -> {shown(report.destination)}"
