"""What must be true after any attack, whatever it was.

``conftest`` has the fixtures ``canary`` (nothing beside the folders in use is touched) and
``no_leftovers`` (no temporary file is left).
"""

from __future__ import annotations

import os
import random
import threading
import unicodedata
from typing import TYPE_CHECKING

from conftest import tree_state

from filexfer import Options
from filexfer.serving.transfers import Batch

if TYPE_CHECKING:
    import logging
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from conftest import Served
    from hypothesis import strategies as st

HONEST = random.Random(1).randbytes(1 << 20)
_JOINERS = "\u200c\u200d"  # letters of some scripts are written with them


def is_served(served: Served, home: Path) -> None:
    """Check that an honest client can put and get; what it moves is removed again."""
    there, here = home / "honest", home / "returned"
    there.write_bytes(HONEST)
    with served.client() as client:
        if "create" in served.server.rights:
            assert client.put([there]).files == 1
        else:
            (served.folder / "honest").write_bytes(HONEST)
        options = Options(durability="none", if_exists="overwrite")
        assert client.get(["honest"], here, options).files == 1
    assert here.read_bytes() == HONEST
    here.unlink()
    (served.folder / "honest").unlink()


def is_harmless(text: str) -> None:
    """Check what a person was shown: no fault, and nothing that a terminal would obey."""
    for word in ("Traceback", "fault in filexfer", "Error(", "most recent call"):
        assert word not in text
    for character in text:
        is_control = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        assert not is_control or character == "\n" or character in _JOINERS, ascii(text)


def log_is_clean(records: Iterable[logging.LogRecord]) -> None:
    """Check a log: one line a record, or a transfer, no fault, and nothing that a terminal would obey."""
    for record in records:
        assert not record.exc_info, record.getMessage()
        lines = record.msg.lines() if isinstance(record.msg, Batch) else [record.getMessage()]
        assert all(line.isprintable() for line in lines)


def are_whole(folder: str | os.PathLike[str], contents: Collection[bytes]) -> None:
    """Check that every file below *folder* has one of these contents, whole."""
    for name, (kind, _, _, data) in tree_state(folder).items():
        assert kind != "file" or data in contents, name


class Footprint:
    """The descriptors and threads of this process, to be compared with those of later."""

    def __init__(self) -> None:
        self._before = self._now()

    def is_as_before(self) -> None:
        """Check that there are no more of them."""
        now = self._now()
        are_fewer = [one <= other for one, other in zip(now, self._before, strict=True)]
        assert all(are_fewer), (now, self._before)

    @staticmethod
    def _now() -> tuple[int, int]:
        return len(os.listdir("/dev/fd")), threading.active_count()


def damaged(whole: bytes, data: st.DataObject) -> bytes:
    """Return a recorded session with some damage, as hypothesis chooses."""
    from hypothesis import strategies as st  # noqa: PLC0415 - for those that damage

    made = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(made) - 1))
        change = data.draw(st.sampled_from(["flip", "cut", "lose", "double", "insert"]))
        size = data.draw(st.integers(1, 300))
        if change == "flip":
            made[at] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "cut" and at:
            del made[at:]
        elif change == "lose" and at + size < len(made):
            del made[at : at + size]
        elif change == "double":
            made[at:at] = made[at : at + size]
        else:
            made[at:at] = random.Random(size).randbytes(size % 8)
    return bytes(made)
