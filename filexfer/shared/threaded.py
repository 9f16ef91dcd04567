"""Shares of one work on several connections, a thread for each: where no process can be forked.

This module must not know what the work is.
"""

from __future__ import annotations

import contextlib
import threading

from filexfer.errors import ConnectionLost, FilexferError
from filexfer.shared.jobs import is_unserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from filexfer.report import Report
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

    Work = Callable[[Connection, int, int, Report], Any]

_LOOK_EVERY = 1.0  # seconds between two looks at what must go on while nothing is reported


def at_once(
    door: Door, first: Connection, report: Report, shares: int, work: Work
) -> dict[int, Any]:
    """Do the shares for which there are connections, as ``parallel.at_once`` does."""
    results: dict[int, Any] = {}
    failures: list[BaseException] = []
    connections = _begun(door, first, shares)
    lock = threading.Lock()  # guards report

    def merge(part: Report) -> None:
        with lock:
            report.add_changes(part.take_changes())
            report.progress()

    def run(connection: Connection, share: int) -> None:
        part = report.branch(merge)
        has_no_room = False
        try:
            results[share] = work(connection, share, shares, part)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            has_no_room = is_unserved(connection, error)
            if has_no_room:
                part.unfind()
            else:
                failures.append(error)
                for each in connections:
                    each.interrupt()
        part.enter("")
        merge(part)
        if has_no_room:
            with lock:
                report.recall()

    _run_threads(run, connections)
    if failures:
        raise failures[0]
    return results


def _run_threads(run: Callable[[Connection, int], None], connections: list[Connection]) -> None:
    threads = [
        threading.Thread(target=run, args=(connection, share), daemon=True)
        for share, connection in enumerate(connections)
    ]
    try:
        for thread in threads:
            thread.start()
        _join(threads, connections[0])
    finally:
        for connection in connections[1:]:
            connection.close()


def _join(threads: list[threading.Thread], first: Connection) -> None:
    """Wait for the threads; the first connection is needed again when its thread has ended."""
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK_EVERY)
            if not threads[0].is_alive():
                with contextlib.suppress(FilexferError):  # whoever uses it next finds out
                    first.keep_alive()


def _begun(door: Door, first: Connection, wanted: int) -> list[Connection]:
    """Begin connections until there are as many as *wanted*, or nobody answers."""
    connections = [first]
    try:
        while len(connections) < wanted:
            connections.append(door.begin())
    except ConnectionLost:
        pass  # those that are open do the work
    except BaseException:
        for connection in connections[1:]:
            connection.close()
        raise
    return connections
