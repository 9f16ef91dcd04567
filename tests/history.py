"""Histories of what clients did to one name, and whether some order explains what they saw.

Each name is a register: a put writes, a removal writes nothing (None), a download reads. A history
is linearizable if there is an order in which each operation happens at one moment between its
beginning and its end, and every read gives what was written last. What nobody knows the end of (the
connection was lost) may have happened at any later moment, or never.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WRITE, READ = "write", "read"


@dataclass(frozen=True)
class Operation:
    """What one client did.

    Attributes:
        kind: WRITE or READ.
        value: What was written or read; None is no file.
        began: When, on any clock.
        ended: When it was known to be over; infinite if it never was.

    """

    kind: str
    value: object
    began: float
    ended: float = inf


class History:
    """Takes down operations of several threads, by name."""

    def __init__(self) -> None:
        self.of: dict[str, list[Operation]] = {}
        self._lock = threading.Lock()

    def note(self, name: str, kind: str, value: object, began: float, *, known: bool) -> None:
        """Take down what has just ended, or what nobody knows the end of."""
        ended = monotonic() if known else inf
        with self._lock:
            self.of.setdefault(name, []).append(Operation(kind, value, began, ended))


def is_linearizable(operations: Iterable[Operation], first: object = None) -> bool:
    """Tell whether some order explains the operations on one name, which has *first* before.

    It tries, from the beginning, each operation that may come next: one that began before all
    others that are known to be over had ended. What was tried before is not tried again.
    """
    found = sorted(operations, key=lambda each: each.began)
    read = {each.value for each in found if each.kind == READ}
    # What perhaps was written, and nobody has read, need not have happened.
    found = [each for each in found if each.ended < inf or each.value in read]
    must = sum(1 << number for number, each in enumerate(found) if each.ended < inf)
    tried: set[tuple[int, object]] = set()
    to_try: list[tuple[int, object]] = [(0, first)]  # which have happened, and what is there then
    while to_try:
        state = to_try.pop()
        done, value = state
        if done & must == must:
            return True
        if state in tried:
            continue
        tried.add(state)
        left = [number for number in range(len(found)) if not done >> number & 1]
        limit = min(found[number].ended for number in left)
        for number in left:
            each = found[number]
            if each.began > limit:
                break
            if each.kind == WRITE:
                to_try.append((done | 1 << number, each.value))
            elif each.value == value:
                to_try.append((done | 1 << number, value))
    return False
