"""What a receiver says of the items that it took, and counts of them when they are settled.

Failures are told at once, the rest merged: how many items are in, and how many are settled.

This module must not know how items are received or published.
"""

from __future__ import annotations

from filexfer.entry import FOLDER
from filexfer.storage.policy import Choice
from filexfer.storage.staged import ARRIVED, Result
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.errors import FileError
    from filexfer.report import Report
    from filexfer.storage.contract import Item
    from filexfer.wire.connection import Connection

RESULTS = {
    Choice.TAKE: protocol.STORED,
    Choice.REPLACE: protocol.STORED,
    Choice.IDENTICAL: protocol.IDENTICAL,
    Choice.SKIP: protocol.SKIPPED,
    Choice.KEEP_BOTH: protocol.KEPT,
    Choice.REFUSE: protocol.FAILED,
}


class Replies:
    """The replies of one exchange.

    Args:
        connection: Where they go.
        report: Counts what happens.

    """

    def __init__(self, connection: Connection, report: Report) -> None:
        self._connection = connection
        self._report = report
        self._item = 0  # the number of the last item that came
        self._in_body = False  # whether it is still coming in
        self._exchange = True  # False while a plain client stores, who gets one reply
        self._told_received = self._told_done = 0

    def _settle(self, settled: list[tuple[Item, Result]]) -> None:
        """Count what became of items."""
        stored = []
        for item, result in settled:
            if result is ARRIVED and item.entry.type != FOLDER:  # as nearly all
                stored.append(item.entry)
            else:
                self._settle_otherwise(item, result)
        self._report.stored([entry.name for entry in stored], stored)

    def _settle_otherwise(self, item: Item, result: Result) -> None:
        """Count what became of an item, and reply if that is not simply ``stored``."""
        entry = item.entry
        if result.error:
            self._report.retract(entry)
            self._report.fail(result.error, entry.size)
        elif entry.type == FOLDER:
            return
        elif result.choice in (Choice.IDENTICAL, Choice.SKIP):
            self._report.retract(entry)
            self._report.skip(entry.name, entry, RESULTS[result.choice], result.name)
        else:
            self._report.arrived(entry.name, entry, RESULTS[result.choice], result.name)
        if result.choice not in (Choice.TAKE, Choice.REPLACE):
            self._reply(item.number, result)

    def _tell_counts(self, received: int, done: int) -> None:
        """Say how many items are in, and how many are settled, if that has changed."""
        if done > self._told_done:
            self._told_done = done
            self._connection.send(protocol.Done(count=done))
        if received > max(self._told_received, done):
            self._told_received = received
            self._connection.send(protocol.Received(count=received))

    def _reply(self, item: int, result: Result) -> None:
        error = result.error
        if self._exchange:
            self._connection.send(
                protocol.Outcome(
                    item=item,
                    result=RESULTS[result.choice],
                    code=error.code if error else "",
                    text=error.text if error else "",
                    name=result.name or ("" if item or not error else error.name),
                )
            )

    def _fail(self, error: FileError) -> None:
        self._report.fail(error)
        self._reply(self._item, Result(Choice.REFUSE, error))
