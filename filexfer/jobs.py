"""How many connections share the work of one command, where nobody has said so.

On a long way one connection cannot fill the line: every lost packet halves its rate, which then
grows by a packet a round trip; eight reach two to three times as much. Near by, the processors are
the limit: each connection keeps one busy at either end, and a machine that is both ends needs two
for each. Few files are over before a second connection helps.

This module must not know what the work is.
"""

from __future__ import annotations

import os

from filexfer.sources import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from filexfer.dial import Door
    from filexfer.options import Options
    from filexfer.sources import Source

LONG = 0.01  # seconds of a round trip
MOST_FAR = 8
MOST_NEAR = 4
FILES_FAR = 20  # fewer are over in two or three round trips
FILES_NEAR = 1000  # fewer are over before another process has begun
_SLOW = 1 << 20  # bytes per second of a limit that one connection reaches nearly everywhere


def least_files(options: Options, door: Door) -> int:
    """Return how many files make several connections worth it; 0 if nothing does."""
    if options.jobs is not None or _most(door) == 1:
        return 0
    return FILES_FAR if door.round_trip >= LONG else FILES_NEAR


def settled(options: Options, door: Door, files: int) -> Options:
    """Return the options with a number of connections for so many files, as ``count`` counts."""
    if options.jobs is not None:
        return options
    least = least_files(options, door)
    return options.with_jobs(_most(door) if least and files >= least else 1)


def settled_for(sources: Iterable[Source], options: Options, door: Door) -> Options:
    """Return the same for what is to be sent."""
    least = least_files(options, door)
    files = 0
    for source in sources:
        if files < least:
            files += count(source, least - files)
    return settled(options, door, files)


def near(cores: int, *, is_own: bool) -> int:
    """Return how many pay on a short way, where processors are the limit.

    Args:
        cores: How many this machine has.
        is_own: Whether the server runs on it as well.

    """
    return max(1, min(MOST_NEAR, cores // 2 if is_own else cores))


def _most(door: Door) -> int:
    if door.limit and door.limit.rate <= _SLOW:
        return 1
    if door.round_trip >= LONG:
        return MOST_FAR
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    most = near(cores or 1, is_own=door.is_own)
    if most > 1:
        from filexfer.parallel import may_fork  # noqa: PLC0415 - most commands do not need it

        most = most if may_fork() else 1
    return most
