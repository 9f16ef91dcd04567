"""The same work on several connections at once.

This module must not know what the work is.
"""

from __future__ import annotations

import threading

from filexfer.errors import ConnectionLost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.connection import Connection
    from filexfer.dial import Door
    from filexfer.options import Options


def together(
    door: Door, first: Connection, options: Options, work: Callable[[Connection, int, int], None]
) -> None:
    """Do *work* on several connections at once, each in a thread; raise the first failure."""
    failures: list[BaseException] = []
    connections = [first]

    def run(connection: Connection, share: int) -> None:
        try:
            work(connection, share, len(connections))
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failures.append(error)
            for each in connections:
                each.interrupt()

    try:
        _open_more(door, connections, options.jobs)
        threads = [
            threading.Thread(target=run, args=(connection, share), daemon=True)
            for share, connection in enumerate(connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for connection in connections[1:]:
            connection.close()
    if failures:
        raise failures[0]


def _open_more(door: Door, connections: list[Connection], wanted: int) -> None:
    """Open connections until there are as many as *wanted*, or the server has no more."""
    while len(connections) < wanted:
        try:
            connections.append(door.open())
        except ConnectionLost:  # busy: go on with those there are
            return
