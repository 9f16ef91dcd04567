"""The same work on several connections at once, each with a share of it.

Each connection has a process of its own, forked from this one, because threads of one process
take turns (Python's interpreter lock) and two of them are slower than one. A process that has
several threads must not be forked (a lock held by another thread would never be released in the
child); there the connections get threads, which still pays on a link with a long round trip.

This module must not know what the work is.
"""

from __future__ import annotations

import contextlib
import fcntl
import marshal
import os
import select
import signal
import struct
import sys
from time import monotonic

from filexfer import errors
from filexfer.errors import ConnectionLost, FilexferError
from filexfer.shared.jobs import is_unserved, may_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from filexfer.report import Report
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

    Work = Callable[[Connection, int, int, Report], Any]

_REPORT_EVERY = 0.1  # seconds between two reports of a process
_LOOK_EVERY = 1.0  # seconds between two looks at what must go on while nothing is reported
_SIZE = struct.Struct("!I")  # before each report
_PIECE = 1 << 16
_PIPE = 1 << 20  # bytes that wait in a pipe: a report with its files is held up by a smaller one
_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}


def together(
    door: Door, first: Connection, report: Report, shares: int, work: Work
) -> dict[int, Any]:
    """Do *work* on several connections, all of it; raise the first failure.

    Args:
        door: Opens the connections.
        first: The one that is open; it gets share 0, and what no other connection could be had for.
        report: Is brought up to date with what all of them do.
        shares: Into how many the work is divided.
        work: Is called with a connection, the number of its share, the number of shares, and
            the report to use. What it keeps may stay in another process.

    Returns:
        What *work* returned for each share: plain values, or lists or tuples of them.

    """
    report.add_walks(shares - 1)
    stats = report.stats
    with stats.paused() if stats else contextlib.nullcontext():
        done = at_once(door, first, report, shares, work)
    if stats:
        stats.connections = len(done)
    for share in range(shares):
        if share not in done:
            done[share] = work(first, share, shares, report)
    return done


def at_once(
    door: Door, first: Connection, report: Report, shares: int, work: Work
) -> dict[int, Any]:
    """Do the shares for which there are connections, as ``together`` does.

    Returns:
        What *work* returned for each share that was done: numbers, texts, or tuples of them.

    """
    if may_fork():
        return _in_processes(door, first, report, shares, work)
    from filexfer.shared import threaded  # noqa: PLC0415 - threading is not needed by processes

    return threaded.at_once(door, first, report, shares, work)


def _in_processes(
    door: Door, first: Connection, report: Report, shares: int, work: Work
) -> dict[int, Any]:
    with _Children(first, report) as children:
        children.start(door, shares, work)
        mine = work(first, 0, shares, report)
        children.wait()
    return {0: mine, **children.results}


class _Children:
    """The processes of one command, and the report that they all add to; a context manager."""

    def __init__(self, first: Connection, report: Report) -> None:
        self._first = first
        self._report = report
        self._told = report.on_progress
        self._children: list[_Child] = []

    def __enter__(self) -> _Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._report.on_progress = self._told
        for child in self._children:
            self._first.waiting.unwatch(child.fileno())
            child.stop()
        for child in self._children:
            child.end()
        failure = self._failure
        if failure and (kind is None or issubclass(kind, ConnectionLost)):
            raise failure

    def start(self, door: Door, shares: int, work: Work) -> None:
        """Start a process for each further share, as far as the system lets us."""

        def run(pipe: int, share: int) -> None:
            for child in self._children:
                child.forget()
            self._first.close()  # its copy here, or the server would never see its end
            _run_child(door, pipe, self._report, lambda c, r: work(c, share, shares, r))

        # The handlers are the parent's; and none of them may come before a child is in the list.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for share in range(1, shares):
                self._children.append(_Child(share, self._report, run))
        except OSError:
            pass  # no more processes: those that run do the work
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
        self._report.on_progress = self._progress
        for child in self._children:
            self._first.waiting.watch(child.fileno(), self._look)

    @property
    def results(self) -> dict[int, Any]:
        """What became of the shares for which there was a connection."""
        return {child.share: child.result for child in self._children if child.is_done}

    def wait(self) -> None:
        """Wait until all have ended or one has failed.

        The first connection is watched too: it is cut when the command is interrupted, or when
        the server ends.
        """
        poll = select.poll()
        poll.register(self._first, select.POLLIN)
        for child in self._children:
            if child.is_open:
                poll.register(child, select.POLLIN)
        while any(child.is_open for child in self._children) and not self._failure:
            ready = {fd for fd, _ in poll.poll(_LOOK_EVERY * 1000)}
            self._first.keep_alive()
            if self._first.fileno() in ready:
                raise ConnectionLost("the connection was closed")
            for child in self._children:
                if child.is_open and child.fileno() in ready:
                    child.take_reports()
                    if not child.is_open:
                        poll.unregister(child)
            self._report.progress()

    @property
    def _failure(self) -> BaseException | None:
        return next((child.failure for child in self._children if child.failure), None)

    def _progress(self, report: Report) -> None:
        self._look()
        if self._told:
            self._told(report)

    def _look(self) -> None:
        """Take what was reported; after a failure the first connection need not go on."""
        for child in self._children:
            if child.is_open:
                child.take_reports()
                if not child.is_open:
                    self._first.waiting.unwatch(child.fileno())
        if self._failure:
            self._first.interrupt()


class _Child:
    """A process that does one share, seen from the process that forked it."""

    def __init__(self, share: int, report: Report, run: Callable[[int, int], None]) -> None:
        self.share = share
        self.is_done = False  # all went well, and this is
        self.result: Any = None
        self.is_open = True  # more may come from it
        self.failure: BaseException | None = None
        self._is_unserved = False  # there was no connection for it
        self._report = report
        self._left = bytearray()  # of a report that has not come whole yet
        self._pipe, theirs = os.pipe()
        with contextlib.suppress(AttributeError, OSError):  # only Linux can, up to a limit
            fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            self._pid = os.fork()
        except OSError:
            self.forget()
            os.close(theirs)
            raise
        if not self._pid:
            try:
                self.forget()
                run(theirs, share)
            finally:
                os._exit(0)
        os.close(theirs)
        os.set_blocking(self._pipe, False)

    def fileno(self) -> int:
        """Return the descriptor that its reports come by."""
        return self._pipe

    def take_reports(self) -> None:
        """Take what it has reported, without waiting."""
        while self.is_open:
            try:
                came = os.read(self._pipe, _PIECE)
            except BlockingIOError:
                return
            self._left += came
            self.is_open = bool(came)
            while len(self._left) >= _SIZE.size:
                (size,) = _SIZE.unpack_from(self._left)
                stop = _SIZE.size + size
                if len(self._left) < stop:
                    break
                with memoryview(self._left) as left:
                    report = marshal.loads(left[_SIZE.size : stop])  # noqa: S302 - our own
                del self._left[:stop]
                self._take(*report)
        if not (self.is_done or self._is_unserved or self.failure):
            self.failure = ConnectionLost("a process of this command was ended from without")

    def stop(self) -> None:
        """Make it end soon, if it has not ended."""
        if self.is_open:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def end(self) -> None:
        """Wait for its end, and take what it still reported."""
        os.set_blocking(self._pipe, True)
        self.take_reports()
        self.forget()
        with contextlib.suppress(ChildProcessError):  # this program lets nobody wait for children
            os.waitpid(self._pid, 0)

    def forget(self) -> None:
        """Close its pipe."""
        os.close(self._pipe)

    def _take(self, kind: str, what: Any) -> None:
        if kind == "changes":
            self._report.add_changes(what)
        elif kind == "done":
            self.is_done, self.result = True, what
        elif kind == "unserved":
            self._is_unserved = True
            self._report.recall()
        else:
            self.failure = errors.unpacked(what)


def _run_child(
    door: Door, pipe: int, report: Report, work: Callable[[Connection, Report], Any]
) -> None:
    """Do a share in a process of its own, and report by the pipe."""

    def tell(kind: str, what: Any) -> None:
        data = marshal.dumps((kind, what))
        view = memoryview(_SIZE.pack(len(data)) + data)
        while view:
            view = view[os.write(pipe, view) :]

    last, phase = monotonic(), ""

    def progress(mine: Report) -> None:
        nonlocal last, phase
        if monotonic() - last >= _REPORT_EVERY or mine.entered != phase:
            last, phase = monotonic(), mine.entered
            tell("changes", mine.take_changes())

    for number in (signal.SIGHUP, signal.SIGINT):  # a terminal sends them to all
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    mine = report.branch(progress)
    connection = None
    try:
        connection = door.begin()
        signal.signal(signal.SIGTERM, lambda *_: connection.interrupt())
        connection.waiting.watch(pipe, connection.interrupt)  # the parent has gone
        try:
            result = work(connection, mine)
        finally:
            connection.close()
            mine.enter("")
            tell("changes", mine.take_changes())
        tell("done", result)
    except BrokenPipeError:
        pass  # the parent has gone
    except BaseException as error:  # noqa: BLE001 - told to the parent
        if not isinstance(error, FilexferError):
            sys.excepthook(type(error), error, error.__traceback__)
        with contextlib.suppress(BrokenPipeError):
            if is_unserved(connection, error):
                mine.unfind()
                tell("changes", mine.take_changes())
                tell("unserved", None)
            else:
                tell("failure", errors.packed(error))
