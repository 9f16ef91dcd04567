"""An exchange at the server whose files are logged, if anybody wants that; else a plain one.

What is logged costs nobody else anything: it is noted by a receiver and a sender of their own.

This module must not know where the log goes.
"""

from __future__ import annotations

from filexfer.entry import FOLDER
from filexfer.errors import Code
from filexfer.serving.transfers import CUT, FAILED, Record, is_wanted
from filexfer.transfer.receiver import Receiver
from filexfer.transfer.replies import RESULTS
from filexfer.transfer.sender import Sender
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filexfer.entry import Entry
    from filexfer.errors import FileError
    from filexfer.report import FileResult, Report
    from filexfer.storage.contract import Item, Target
    from filexfer.storage.staged import Result
    from filexfer.transfer.sources import Offer
    from filexfer.wire.connection import Connection
    from filexfer.wire.header import SmallFile
    from filexfer.wire.protocol import File


def receiver(connection: Connection, staging: Target, report: Report, who: str) -> Receiver:
    """Return what receives from the client *who*."""
    if not is_wanted():
        return Receiver(connection, staging, report)
    return _LoggedReceiver(connection, staging, report, who)


def sender(connection: Connection, report: Report, algorithm: str, who: str) -> Sender:
    """Return what sends to the client *who*."""
    if not is_wanted():
        return Sender(connection, report, algorithm=algorithm, tell_unsent=True)
    return _LoggedSender(connection, report, algorithm, who)


class _LoggedReceiver(Receiver):
    def __init__(self, connection: Connection, staging: Target, report: Report, who: str) -> None:
        super().__init__(connection, staging, report)
        self._record = Record(connection.peer, who, "put")

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._record.end(CUT)

    def store(self, message: protocol.Store) -> tuple[str, FileError | None]:
        try:
            result, error = super().store(message)
            reason = error.text if error else ""
            self._record.add(message.name, message.size, message.hash, result, reason)
        finally:
            self._record.end(CUT)
        return result, error

    def _take_small(self, header: SmallFile, data: memoryview) -> None:
        self._record.begin(header[0])
        super()._take_small(header, data)

    def _receive(self, message: File, name: str) -> Item:
        self._record.begin(name)
        return super()._receive(message, name)

    def _settle(self, settled: list[tuple[Item, Result]]) -> None:
        super()._settle(settled)
        for item, result in settled:
            entry = item.entry
            if result.error:
                self._record.add(entry.name, 0, "", FAILED, result.error.text)
            elif entry.type != FOLDER:
                self._record.add(
                    entry.name,
                    entry.size,
                    entry.digest,
                    RESULTS[result.choice],
                    as_name=result.name,
                )

    def _fail(self, error: FileError) -> None:
        super()._fail(error)
        self._record.add(error.name, 0, "", FAILED, error.text)

    def _tell(self) -> None:
        super()._tell()
        self._record.flush()


class _LoggedSender(Sender):
    def __init__(self, connection: Connection, report: Report, algorithm: str, who: str) -> None:
        super().__init__(connection, report, algorithm=algorithm, tell_unsent=True)
        self._record = Record(connection.peer, who, "get")
        self._sent: dict[str, Entry] = {}  # what is not settled
        report.on_file = self._settled

    def run(self, offers: Iterator[Offer]) -> None:
        try:
            super().run(offers)
            for name, entry in self._sent.items():  # settled, under a name that the client chose
                self._record.add(name, entry.size, entry.extra, protocol.KEPT)
        finally:
            self._record.end(CUT)

    def fail(self, error: FileError) -> None:
        if error.code != Code.PASSED_OVER:
            self._record.add(error.name, 0, "", FAILED, error.text)
        super().fail(error)

    def _send_file(self, offer: Offer) -> None:
        name = offer.wire_name
        self._record.begin(name)
        super()._send_file(offer)
        if self._record.is_open(name):
            self._sent[name] = offer.entry

    def _send_link(self, offer: Offer) -> None:
        self._record.begin(offer.wire_name)
        super()._send_link(offer)

    def _name_later(self, offer: Offer) -> None:
        self._record.forget(offer.wire_name)
        super()._name_later(offer)

    def _settled(self, file: FileResult) -> None:
        """Note what the client said of a file that was sent; what it said of others is its own."""
        if self._record.is_open(file.name):
            self._sent.pop(file.name, None)
            self._record.add(file.name, file.size, file.digest, file.result, file.text)

    def _take_replies(self) -> bool:
        any_came = super()._take_replies()
        self._record.flush()
        return any_came
