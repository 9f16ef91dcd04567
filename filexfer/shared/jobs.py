"""How many connections share the work of one command, where nobody has said so.

On a long way one connection cannot fill the line: every lost packet halves its rate, which then
grows by a packet a round trip; eight or sixteen reach two to three times as much. Near by, the
processors are the limit: each connection keeps one busy at either end, and a machine that is both
ends has less for each. Few files are over before a second connection helps; and where the
destination exists, most is there already, and one connection is as fast at finding that out.

This module must not know what the work is.
"""

from __future__ import annotations

import os
import sys

from filexfer.errors import ConnectionLost
from filexfer.transfer.sources import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from filexfer.options import Options
    from filexfer.transfer.sources import Source
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

LONG = 0.01  # seconds of a round trip
LONGER = 0.05
MOST_FAR = 8
MOST_FARTHER = 16  # at 100 ms and 0.01 % loss 5 % faster than 8, small files 8 %
MOST_NEAR = 4
FILES_FAR = 20  # fewer are over in two or three round trips
FILES_NEAR = 1000  # fewer are over before another process has begun
_SLOW = 1 << 20  # bytes per second of a limit that one connection reaches nearly everywhere


def least_files(options: Options, door: Door) -> int:
    """Return how many files make several connections worth it; 0 if nothing does."""
    if options.jobs is not None or _most(door) == 1:
        return 0
    return FILES_FAR if door.round_trip >= LONG else FILES_NEAR


def settled(options: Options, door: Door, files: int, *, is_fresh: bool) -> Options:
    """Return the options with a number of connections.

    Args:
        options: If they have one already, it stays.
        door: To the server; was opened before.
        files: How many there are to be moved, as ``count`` counts.
        is_fresh: Whether nothing of them is there yet.

    """
    if options.jobs is not None:
        return options
    least = least_files(options, door)
    is_worth_it = least and files >= least and (is_fresh or door.round_trip >= LONG)
    return options.with_jobs(_most(door) if is_worth_it else 1)


def settled_for(sources: Sequence[Source], options: Options, door: Door) -> Options:
    """Return the same for what is to be sent."""
    least = least_files(options, door)
    files = 0
    for source in sources:
        if files < least:
            files += count(source, least - files)
    return settled(options, door, files, is_fresh=any(source.fresh for source in sources))


def may_fork() -> bool:
    """Tell whether this process may be forked: nothing else runs in it."""
    threading = sys.modules.get("threading")  # it takes 0.7 ms to load
    return threading is None or threading.active_count() == 1


def near(cores: int, *, is_own: bool) -> int:
    """Return how many pay on a short way, where processors are the limit.

    Args:
        cores: How many this machine has.
        is_own: Whether the server runs on it as well.

    """
    return min(MOST_NEAR, cores, max(2, cores // 2) if is_own else cores)


def _most(door: Door) -> int:
    if door.limit and door.limit.rate <= _SLOW:
        return 1
    if door.round_trip >= LONG:
        return MOST_FAR if door.round_trip < LONGER else MOST_FARTHER
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return near(cores or 1, is_own=door.is_own) if may_fork() else 1


def is_unserved(connection: Connection | None, error: BaseException) -> bool:
    """Tell whether the server had no room, so that another connection has to do the share."""
    return isinstance(error, ConnectionLost) and (not connection or bool(connection.greeting))
