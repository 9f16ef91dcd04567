"""The window of unconfirmed work: what was sent and is not settled yet, and what came of it.

Items are numbered from 1 in the order in which they are sent, on both sides alike.

This module must not know how anything is sent.
"""

from __future__ import annotations

from collections import deque

from filexfer.entry import FOLDER
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.names import shown
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.entry import Entry
    from filexfer.report import Report
    from filexfer.transfer.sources import Offer
    from filexfer.wire.protocol import Done, Outcome, Received

ITEMS_MAX = 16_384  # sent and not settled
BYTES_MAX = 256 << 20  # sent and not verified by the receiver
NO_FILE = -1  # in place of a size; that it counts against the bytes does not matter


class Window:
    """The items of one exchange, at its sender.

    Args:
        report: Counts what becomes of them.

    Attributes:
        item: The number of the last item.
        is_sending: Whether the last item is still being sent.
        refused: The number of the last item that the receiver gave up on while it came.

    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.item = 0
        self.is_sending = False
        self.refused = 0
        self._settled = self._verified = 0  # items up to here
        self._unsettled: deque[Offer | None] = deque()  # the items after _settled
        self._sizes: deque[int] = deque()  # of the items after _verified
        self._unverified = 0  # bytes, their sum
        self._part = 0  # bytes of the first of them that the receiver has

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be sent before something is confirmed."""
        return len(self._unsettled) >= ITEMS_MAX or self._unverified >= BYTES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether every item is settled."""
        return not self._unsettled

    @property
    def is_verified(self) -> bool:
        """Whether every item is verified, or has failed."""
        return self._verified == self.item

    @property
    def uncertain(self) -> list[str]:
        """The files that were sent but not settled: they may be there or not."""
        offers = list(self._unsettled)
        if self.is_sending:
            offers.pop()
        return [offer.wire_name for offer in offers if offer and offer.entry.type != FOLDER]

    def open(self, offer: Offer | None, size: int) -> None:
        """Give the next number to an item; None is one that is reported already.

        Args:
            offer: The item.
            size: Bytes of the file, or ``NO_FILE``.

        """
        self.item += 1
        self._unsettled.append(offer)
        self._sizes.append(size)
        self._unverified += size

    def take_received(self, message: Received) -> None:
        """Note that the items up to a number are verified, or have failed, and a part is in."""
        self._verify(message.count)
        if message.part and self._verified == message.count and self._sizes:
            most = max(0, self._sizes[0]) if self._sizes[0] else message.part  # standard input: 0
            part = min(message.part, most)
            self._report.partial_bytes += part - self._part
            self._part = part
            self._report.progress()

    def _verify(self, count: int) -> None:
        if count > self.item - self.is_sending:
            raise ProtocolError("items are confirmed that were not sent", Code.OUT_OF_ORDER)
        items = count - self._verified
        if items <= 0:
            return
        files, before = 0, self._unverified
        while self._verified < count:
            self._verified += 1
            size = self._sizes.popleft()
            self._unverified -= size
            if size >= 0:
                files += 1
        report = self._report
        report.confirmed += files
        report.confirmed_bytes += before - self._unverified - (items - files) * NO_FILE
        report.partial_bytes -= self._part
        self._part = 0

    def take_done(self, message: Done) -> None:
        """Note that the items up to a number are settled."""
        self._verify(message.count)
        report = self._report
        if message.count > self._settled:
            next_one = self._unsettled.popleft
            settled = [next_one() for _ in range(message.count - self._settled)]
            self._settled = message.count
            files = [offer for offer in settled if offer and offer.entry.type != FOLDER]
            report.stored([each.wire_name for each in files], [each.entry for each in files])
        report.progress()

    def take_outcome(self, message: Outcome) -> None:
        """Note that an item went otherwise than stored."""
        if message.item == 0:  # a folder that was made, but could not be finished
            self._report.fail(FileError(message.code, message.name, shown(message.text)))
            return
        index = message.item - self._settled - 1
        if not 0 <= index < len(self._unsettled):
            raise ProtocolError("an outcome names an item that is not open", Code.OUT_OF_ORDER)
        offer = self._unsettled[index]
        self._unsettled[index] = None
        self.refused = message.item
        if offer is None:
            return
        entry = offer.entry
        if message.result != protocol.KEPT:
            self._retract(message, entry)
        if message.result == protocol.FAILED:
            error = FileError(message.code, offer.wire_name, shown(message.text))
            self._report.fail(error, entry.size)
        elif message.result == protocol.KEPT:
            self._report.arrived(message.name, entry, protocol.KEPT)
        elif message.result in (protocol.IDENTICAL, protocol.SKIPPED):
            self._report.skip(offer.wire_name, entry, message.result, message.name)
        else:
            raise ProtocolError(f"an outcome has the unknown result {shown(message.result)}")

    def _retract(self, message: Outcome, entry: Entry) -> None:
        """See to it that an item does not count as confirmed."""
        place = message.item - self._verified - 1
        if entry.type == FOLDER:
            return
        if place < 0:
            self._report.retract(entry)
            return
        self._unverified -= self._sizes[place] - NO_FILE
        self._sizes[place] = NO_FILE
        if not place:
            self._report.partial_bytes -= self._part
            self._part = 0
