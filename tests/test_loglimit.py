"""A flood of lines about one address does not fill a log."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS

from filexfer.serving.loglimit import LogLimit

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("filexfer")


class Log:
    """What came through, with a clock that stands still."""

    def __init__(self) -> None:
        self.now = 0.0
        self.limit = LogLimit(3, lambda: self.now)
        self.lines: list[str] = []
        self.came = threading.Event()
        handler = logging.Handler()
        handler.emit = self._take  # type: ignore[method-assign] # all that a test needs of one
        self.handler = handler

    def _take(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.came.set()

    def taken(self) -> list[str]:
        """Return the lines since the last time."""
        lines, self.lines = self.lines, []
        return lines


@pytest.fixture
def log() -> Iterator[Log]:
    """Limit the log of this process, for one test."""
    made = Log()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(made.handler)
    logger.addFilter(made.limit)
    yield made
    if made.limit._timer:
        made.limit._timer.cancel()
    logger.removeFilter(made.limit)
    logger.removeHandler(made.handler)
    logger.setLevel(level)


def test_so_many_lines_a_second(log: Log) -> None:
    """The rest is left out, and told when the second is over; then it begins anew."""
    for number in range(10):
        logger.info("%s: %d", "192.0.2.1:5", number)
    assert log.taken() == ["192.0.2.1:5: 0", "192.0.2.1:5: 1", "192.0.2.1:5: 2"]
    log.now = 1.0
    logger.info("%s: again", "192.0.2.1:6")
    assert log.taken() == [
        "192.0.2.1: 7 more lines in a second were left out",
        "192.0.2.1:6: again",
    ]


def test_each_address_has_its_own(log: Log) -> None:
    """Whatever the port; and lines about nobody count together."""
    for number in range(5):
        logger.info("%s: x", f"[2001:db8::1]:{number}")
        logger.info("%s: x", f"192.0.2.1:{number}")
        logger.warning("cannot %d", number)
    assert len(log.taken()) == 9
    log.now = 1.0
    log.limit.tell()
    assert sorted(log.taken()) == [
        "192.0.2.1: 2 more lines in a second were left out",
        "[2001:db8::1]: 2 more lines in a second were left out",
        "the server: 2 more lines in a second were left out",
    ]


def test_errors_are_never_left_out(log: Log) -> None:
    """They are about the server, whoever brought them out."""
    for _ in range(10):
        logger.error("%s: fault", "192.0.2.1:5")
    assert len(log.taken()) == 10


def test_what_was_left_out_is_told_though_nothing_else_comes(log: Log) -> None:
    """Within a second or so, by itself."""
    for _ in range(4):
        logger.info("%s: x", "192.0.2.1:5")
    log.came.clear()
    assert log.came.wait(SECONDS)
    assert log.taken()[-1] == "192.0.2.1: 1 more lines in a second were left out"


def test_addresses_without_end(log: Log) -> None:
    """Memory is bounded: those that are too many count as one."""
    for number in range(1100):
        logger.info("%s: x", f"10.0.{number >> 8}.{number & 255}:1")
    assert len(log.taken()) == 1003
    assert len(log.limit._counts) == 1001
