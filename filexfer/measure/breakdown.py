"""Where the time of a transfer went, for people: a table, and what took longest in words.

This module must not know how anything was measured, or where the text is shown.
"""

from __future__ import annotations

from filexfer.hashing import DEFAULT
from filexfer.measure.stats import (
    FLUSHING,
    HASHING,
    PHASES,
    READING,
    RECEIVING,
    REST,
    SENDING,
    WAITING,
    WALKING,
    WRITING,
)
from filexfer.measure.verdict import speed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.measure.stats import Stats

RATED = 0.05  # of the files' bytes: a phase that moved fewer (only questions, say) has no rate
JOBS = 4  # connections that are proposed, where there was one
_NAMES = {WAITING: "waiting for the server", REST: "the rest"}
_DISK = "that is the work of the local disk and its file system"
_WHY = {
    WALKING: "every file is found and looked at; name only the folders that may have changed",
    READING: _DISK,
    SENDING: "that is the system's own work for the network",
    RECEIVING: "that is the system's own work for the network",
    WRITING: _DISK,
    HASHING: f"{DEFAULT} is the fastest of the hashes",
    FLUSHING: "the disk is made to keep what was written; --durability none leaves that to the "
    "system, and then a power cut may take what came last",
    REST: "that is filexfer's own work for each file",
}
_SHARED = (READING, HASHING, SENDING, RECEIVING, WRITING, REST)  # by several connections
_MEASURED = {
    READING: "filexfer doctor --speed --dir DIR measures it",
    WRITING: "filexfer doctor --speed --dir DIR measures it",
}


def table(stats: Stats) -> list[str]:
    """Return a line for each phase that took any time, and one for all of them."""
    seconds = stats.seconds
    total = sum(seconds.values())
    lines = [_line("time went to", "seconds", "share", "rate")]
    lines += [
        _line(
            _NAMES.get(phase, phase),
            f"{seconds[phase]:.3f}",
            _share(seconds[phase], total),
            speed(rate) if (rate := _rate(stats, phase)) else "",
        )
        for phase in PHASES
        if seconds[phase]
    ]
    name = f"all {stats.connections} connections" if stats.connections > 1 else "all"
    lines.append(_line(name, f"{total:.3f}", _share(total, total), ""))
    return lines


def sentence(
    stats: Stats,
    *,
    files: int,
    is_upload: bool,
    algorithm: str = DEFAULT,
    limit: float | None = None,
) -> str:
    """Return a sentence that names what took longest, and what can be done about it.

    Args:
        stats: The figures.
        files: How many were sent; one alone cannot be shared.
        is_upload: Whether they went to the server.
        algorithm: Of the digests.
        limit: Bytes per second that the user has allowed, if there is a limit.

    """
    seconds = stats.seconds
    phase = max(seconds, key=lambda each: seconds[each])
    name = _NAMES.get(phase, phase)
    share = _share(seconds[phase], sum(seconds.values()))
    text = f"{name[0].upper()}{name[1:]} took longest, {share} of the time"
    if rate := _rate(stats, phase):
        text += f", at {speed(rate)}"
    alone = stats.connections == 1 and files > 1
    if phase == WAITING and limit:
        return f"{text}: nothing moves faster than the limit of {speed(limit)}."
    if phase == WAITING:
        return f"{text}: {_waiting(is_upload=is_upload, alone=alone)}."
    if phase == HASHING and algorithm != DEFAULT:
        return (
            f"{text}: {DEFAULT}, the default, is faster than {algorithm}, if nobody forges files."
        )
    why = _WHY[phase]
    if phase in _SHARED and alone:
        why += f"; with -j {JOBS}, several connections share it"
    elif phase in _MEASURED:
        why += f"; {_MEASURED[phase]}"
    return f"{text}: {why}."


def _waiting(*, is_upload: bool, alone: bool) -> str:
    where = "the network, or the server"
    if is_upload:
        where += " and its disk, which cannot be seen from here"
    text = f"{where}; filexfer doctor --speed measures the network"
    return f"{text}, and -j {JOBS} may help" if alone else text


def _rate(stats: Stats, phase: str) -> float:
    """Return bytes per second, or 0 where a rate would say nothing."""
    seconds, moved = stats.seconds[phase], stats.bytes[phase]
    contents = max(stats.bytes[each] for each in (READING, HASHING, WRITING))
    is_rated = seconds and contents and moved >= RATED * contents
    return moved / seconds if is_rated else 0.0


def _share(seconds: float, total: float) -> str:
    return f"{100 * seconds / total:.1f} %" if total else "0.0 %"


def _line(name: str, seconds: str, share: str, rate: str) -> str:
    return f"{name:22}{seconds:>10}{share:>10}{rate:>16}".rstrip()
