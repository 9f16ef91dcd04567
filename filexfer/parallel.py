"""The same work on several connections at once, each with a share of it.

Each connection has a process of its own, forked from this one, because threads of one process
take turns (Python's interpreter lock) and two of them are slower than one. A process that has
several threads must not be forked (a lock held by another thread would never be released in the
child); there the connections get threads, which still pays on a link with a long round trip.

This module must not know what the work is.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import signal
import struct
import sys
import threading
from time import monotonic

from filexfer import errors
from filexfer.errors import ConnectionLost, FilexferError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.report import Report

    Work = Callable[[Connection, int, int, Report], Any]

_REPORT_EVERY = 0.1  # seconds between two reports of a process
_SIZE = struct.Struct("!I")  # before each report
_PIECE = 1 << 16
_SIGNALS = {signal.SIGINT, signal.SIGTERM}


def may_fork() -> bool:
    """Tell whether this process may be forked: nothing else runs in it."""
    return threading.active_count() == 1


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
    done = at_once(door, first, report, shares, work)
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
    run = _in_processes if may_fork() else _in_threads
    return run(door, first, report, shares, work)


# Processes


def _in_processes(
    door: Door, first: Connection, report: Report, shares: int, work: Work
) -> dict[int, Any]:
    with _Children(door, first, report, shares, work) as children:
        mine = work(first, 0, shares, report)
        children.wait()
    return {0: mine, **children.results}


class _Children:
    """The processes of one command, and the report that they all add to; a context manager."""

    def __init__(
        self, door: Door, first: Connection, report: Report, shares: int, work: Work
    ) -> None:
        self._first = first
        self._report = report
        self._told = report.on_progress
        self._children: list[_Child] = []
        try:
            for share in range(1, shares):
                child = _Child(door, first, report, share, lambda c, s, r: work(c, s, shares, r))
                self._children.append(child)
        except BaseException:
            self._end()
            raise
        report.on_progress = self._progress

    def __enter__(self) -> _Children:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._end()
        failure = self._failure
        if failure and (kind is None or issubclass(kind, ConnectionLost)):
            raise failure

    @property
    def results(self) -> dict[int, Any]:
        """What became of the shares for which there was a connection."""
        return {child.share: child.result for child in self._children if child.has_begun}

    def wait(self) -> None:
        """Wait until all have ended or one has failed.

        The first connection is watched too: it is cut when the command is interrupted, or when
        the server ends.
        """
        poll = select.poll()
        poll.register(self._first, select.POLLIN)
        for child in self._children:
            poll.register(child, select.POLLIN)
        while any(child.is_open for child in self._children) and not self._failure:
            ready = {fd for fd, _ in poll.poll()}
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
        for child in self._children:
            child.take_reports()
        if self._failure:
            self._first.interrupt()
        if self._told:
            self._told(report)

    def _end(self) -> None:
        self._report.on_progress = self._told
        for child in self._children:
            child.end()


class _Child:
    """A process that does one share, seen from the process that forked it."""

    def __init__(
        self,
        door: Door,
        first: Connection,
        report: Report,
        share: int,
        work: Callable[[Connection, int, Report], Any],
    ) -> None:
        self.share = share
        self.has_begun = False  # it had a connection
        self.result: Any = None
        self._has_ended = False  # it did its share
        self.is_open = True  # more may come from it
        self.failure: BaseException | None = None
        self._report = report
        self._left = bytearray()  # of a report that has not come whole yet
        self._pipe, theirs = os.pipe()
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # the handlers are the parent's
        self._pid = os.fork()
        if not self._pid:
            try:
                os.close(self._pipe)
                first.close()  # its copy here, or the server would never see its end
                _run_child(door, theirs, report, lambda c, r: work(c, share, r))
            finally:
                os._exit(0)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
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
            if not came and self.has_begun and not self._has_ended and not self.failure:
                self.failure = ConnectionLost("a process of this command was ended")
            while len(self._left) >= _SIZE.size:
                (size,) = _SIZE.unpack_from(self._left)
                stop = _SIZE.size + size
                if len(self._left) < stop:
                    break
                self._take(*marshal.loads(self._left[_SIZE.size : stop]))  # noqa: S302 - our own
                del self._left[:stop]

    def end(self) -> None:
        """Make sure that it has ended, and take what it still reported."""
        if self.is_open:
            os.kill(self._pid, signal.SIGTERM)
            os.set_blocking(self._pipe, True)
            self.take_reports()
        os.close(self._pipe)
        _, status = os.waitpid(self._pid, 0)
        if status and not self.failure:
            self.failure = ConnectionLost(f"a process of this command was ended ({status})")

    def _take(self, kind: str, what: Any) -> None:
        if kind == "begun":
            self.has_begun = True
        elif kind == "changes":
            self._report.add_changes(what)
        elif kind == "result":
            self.result, self._has_ended = what, True
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

    last = monotonic()

    def progress(mine: Report) -> None:
        nonlocal last
        if monotonic() - last >= _REPORT_EVERY:
            last = monotonic()
            tell("changes", mine.take_changes())

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    mine = report.branch(progress)
    try:
        try:
            connection = door.open()
        except ConnectionLost:
            return  # the first connection does this share as well
        tell("begun", None)
        signal.signal(signal.SIGTERM, lambda *_: connection.interrupt())
        try:
            tell("result", work(connection, mine))
        finally:
            connection.close()
            tell("changes", mine.take_changes())
    except BrokenPipeError:
        pass  # the parent has gone
    except BaseException as error:  # noqa: BLE001 - told to the parent
        if not isinstance(error, FilexferError):
            sys.excepthook(type(error), error, error.__traceback__)
        with contextlib.suppress(BrokenPipeError):
            tell("failure", errors.packed(error))


# Threads


def _in_threads(
    door: Door, first: Connection, report: Report, shares: int, work: Work
) -> dict[int, Any]:
    results: dict[int, Any] = {}
    failures: list[BaseException] = []
    connections = _opened(door, first, shares)
    lock = threading.Lock()  # guards report

    def merge(part: Report) -> None:
        with lock:
            report.add_changes(part.take_changes())
            report.progress()

    def run(connection: Connection, share: int) -> None:
        part = report.branch(merge)
        try:
            results[share] = work(connection, share, shares, part)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(error)
            for each in connections:
                each.interrupt()
        merge(part)

    threads = [
        threading.Thread(target=run, args=(connection, share), daemon=True)
        for share, connection in enumerate(connections)
    ]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for connection in connections[1:]:
            connection.close()
    if failures:
        raise failures[0]
    return results


def _opened(door: Door, first: Connection, wanted: int) -> list[Connection]:
    """Open connections until there are as many as *wanted*, or the server has no more."""
    connections = [first]
    try:
        while len(connections) < wanted:
            connections.append(door.open())
    except ConnectionLost:
        pass  # busy: those that are open do the work
    except BaseException:
        for connection in connections[1:]:
            connection.close()
        raise
    return connections
