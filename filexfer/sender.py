"""The sending half of an exchange, at the client for ``put`` and at the server for ``get``.

Walks the sources, asks about what may be there already, and sends the rest without waiting for
replies: the headers and bodies of many files follow one another, several to a write. Replies are
taken in whenever they come, also in the middle of a blocked write; they open the window of
unconfirmed work again.

This module must not know sockets, nor which side it is on.
"""

from __future__ import annotations

from collections import deque

from filexfer import hashing, protocol
from filexfer.buffers import borrowed
from filexfer.entry import FOLDER, LINK
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.framing import LENGTH
from filexfer.names import shown
from filexfer.protocol import HOLE, HOLE_MAX, PLAIN_MAX, State
from filexfer.sources import Offer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.connection import Connection
    from filexfer.entry import Entry
    from filexfer.protocol import Answer, Done, Outcome, Received
    from filexfer.report import Report
    from filexfer.schema import Message
    from filexfer.storage.contract import OpenFile, Readable, Reader

WINDOW_ITEMS = 16_384  # items sent that are not settled
WINDOW_BYTES = 256 << 20  # bytes sent that are not verified
BATCH_ENTRIES = 500  # entries in one question
BATCH_BYTES = 60_000  # bytes of them as written, below a frame's limit
QUESTIONS = 8  # questions without an answer
_END_OF_PARTS = LENGTH.pack(0)


class Sender:
    """Sends the sources of one exchange.

    Args:
        connection: Where they go.
        report: Counts what happens.
        algorithm: Of the digests.
        tell_unsent: Whether the receiver wants to know what could not be read.

    """

    def __init__(
        self,
        connection: Connection,
        report: Report,
        *,
        algorithm: str = hashing.DEFAULT,
        tell_unsent: bool = False,
    ) -> None:
        self._connection = connection
        self._report = report
        self._algorithm = algorithm
        self._digest_of = hashing.digest_of(algorithm)
        self._tell_unsent = tell_unsent
        self._item = 0
        self._settled = self._verified = 0  # items up to here
        self._unsettled: deque[Offer | None] = deque()  # items after _settled
        self._unverified: deque[int] = deque()  # sizes of the items after _verified
        self._unverified_bytes = 0
        self._batch: list[Offer] = []
        self._batch_bytes = 0
        self._asked: deque[list[Offer]] = deque()
        self._wanted: deque[Offer] = deque()
        self._new_folders: set[str] = set()
        self._within_new = ""  # the new folder the walk is in, with a slash
        self._late_folders: dict[str, Offer] = {}
        self._readers: dict[Readable, Reader] = {}
        self._refused_now: int | None = None  # the item whose body is not wanted any more
        self._ended = False
        self._handlers: dict[type[Message], Callable[..., None]] = {
            protocol.Answer: self._take_answer,
            protocol.Received: self._take_received,
            protocol.Outcome: self._take_outcome,
            protocol.Done: self._take_done,
            protocol.Alive: lambda _: None,
            protocol.End: self._take_end,
        }

    @property
    def uncertain(self) -> int:
        """How many files were sent but not settled: they may be there or not."""
        return sum(1 for offer in self._unsettled if offer and offer.entry.type != FOLDER)

    def run(self, offers: Iterator[Offer]) -> None:
        """Send everything and return when all of it is settled.

        Files that fail are reported and passed over.

        Raises:
            NetworkError, RefusedError: if the exchange as a whole fails.

        """
        connection = self._connection
        connection.on_input = self._take_replies
        try:
            while self._step(offers):
                pass
            self._finish_late_folders()
            connection.send(protocol.End())
            connection.flush()
            while not self._ended:
                self._wait()
            if self._unsettled:
                raise ProtocolError("the receiver ended without settling every item")
        finally:
            connection.on_input = None
            for reader in self._readers.values():
                reader.close()

    def _step(self, offers: Iterator[Offer]) -> bool:
        """Do the next thing there is to do; False when everything is sent."""
        if self._connection.has_input:
            self._take_replies()
        if self._wanted:
            self._send(self._wanted.popleft())
        elif len(self._asked) < QUESTIONS and (offer := next(offers, None)):
            if self._needs_question(offer):
                self._ask(offer)
            else:
                self._send(offer)
        elif self._batch:
            self._post_question()
        elif self._asked:
            self._wait()
        else:
            return False
        return True

    # Questions

    def _needs_question(self, offer: Offer) -> bool:
        if offer.source.fresh:
            return False
        name = offer.wire_name
        if self._within_new:
            if name.startswith(self._within_new):
                return False
            self._within_new = ""
        above = name.rpartition("/")[0]
        if above in self._new_folders:
            self._within_new = above + "/"
            return False
        return True

    def _ask(self, offer: Offer) -> None:
        self._batch.append(offer)
        self._batch_bytes += _written_size(offer.wire_name) + _written_size(offer.entry.extra) + 80
        if len(self._batch) >= BATCH_ENTRIES or self._batch_bytes >= BATCH_BYTES:
            self._post_question()

    def _post_question(self) -> None:
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        entries = [_renamed(offer.entry, offer.wire_name) for offer in batch]
        self._connection.send(protocol.Ask(entries=entries))
        self._connection.flush()
        self._asked.append(batch)

    def _take_answer(self, message: Answer) -> None:
        if not self._asked:
            raise ProtocolError("an answer came without a question", Code.OUT_OF_ORDER)
        batch = self._asked.popleft()
        if len(message.verdicts) != len(batch):
            raise ProtocolError("an answer does not fit its question")
        reasons = {index: (code, text) for index, code, text in message.refused}
        for index, (offer, letter) in enumerate(zip(batch, message.verdicts, strict=True)):
            entry = offer.entry
            if letter in (protocol.SEND, protocol.NEW_FOLDER):
                if letter == protocol.NEW_FOLDER:
                    self._new_folders.add(offer.wire_name)
                self._wanted.append(offer)
            elif letter in (protocol.SAME, protocol.SKIP):
                if entry.type != FOLDER:
                    word = protocol.IDENTICAL if letter == protocol.SAME else protocol.SKIPPED
                    self._report.skip(offer.wire_name, entry.size, word)
            elif letter == protocol.WANT_DIGEST and not offer.late:
                offer.late = True
                self._wanted.append(offer)
            elif letter == protocol.REFUSE:
                code, text = reasons.get(index, (Code.DENIED, "refused"))
                self._report.fail(FileError(code, offer.wire_name, shown(text)))
            else:
                raise ProtocolError(f"an answer has the unknown letter {letter!r}")

    # Sending

    def _send(self, offer: Offer) -> None:
        """Send an entry, as soon as the window has room for it."""
        while len(self._unsettled) >= WINDOW_ITEMS or self._unverified_bytes >= WINDOW_BYTES:
            self._connection.flush()
            self._wait()
        entry = offer.entry
        try:
            if offer.late and not entry.extra:
                self._ask_again(offer)
            elif entry.type == FOLDER:
                self._send_folder(offer)
            elif entry.type == LINK:
                self._number(offer, 0)
                self._connection.send(
                    protocol.Link(name=offer.wire_name, target=entry.extra, mtime=entry.mtime)
                )
            else:
                self._send_file(offer)
        except FileError as error:
            self.fail(FileError(error.code, offer.wire_name, error.text))
        if self._connection.is_full:
            self._connection.flush()
            self._report.progress()

    def _ask_again(self, offer: Offer) -> None:
        """Ask about a file with its digest."""
        entry = offer.entry
        entry.extra = self._reader(offer).digest(
            entry.name, self._algorithm, self._connection.keep_alive
        )
        if entry.name != offer.source.name:
            self._late_folders[offer.wire_name.rpartition("/")[0]] = offer
        self._connection.send(protocol.Ask(entries=[_renamed(entry, offer.wire_name)]))
        self._asked.append([offer])

    def _send_folder(self, offer: Offer) -> None:
        entry = offer.entry
        self._number(offer, 0)
        self._report.add_folder()
        self._connection.send(
            protocol.Folder(name=offer.wire_name, mtime=entry.mtime, mode=entry.mode)
        )

    def _send_file(self, offer: Offer) -> None:
        entry = offer.entry
        data = None
        if entry.size <= PLAIN_MAX:
            data = self._reader(offer).read(entry, PLAIN_MAX)
        if data is None:
            file = self._reader(offer).large(entry)
            try:
                self._send_large(offer, file)
            finally:
                file.close()
            return
        self._number(offer, entry.size)
        self._connection.send(
            protocol.File(
                name=offer.wire_name,
                size=entry.size,
                hash=self._digest_of(data),
                mtime=entry.mtime,
                mode=entry.mode,
            )
        )
        if data:
            self._connection.post(data)
        self._report.move(entry.size)

    def _send_large(self, offer: Offer, file: OpenFile) -> None:
        """Send a file in parts; a failure on the way ends it at the next part."""
        entry = file.entry
        self._number(offer, entry.size)
        self._connection.send(
            protocol.File(
                name=offer.wire_name,
                size=file.size,
                algorithm=self._algorithm,
                mtime=entry.mtime,
                mode=entry.mode,
                sparse=file.sparse,
            )
        )
        made = hashing.new(self._algorithm)
        trailer: protocol.Trailer | None = None
        with borrowed() as buffer:
            try:
                while self._refused_now != self._item:
                    if hole := file.hole(HOLE_MAX):
                        self._send_hole(hole, made)
                        continue
                    got = file.read_into(buffer[: file.until_hole(len(buffer))])
                    if not got:
                        break
                    self._send_part(buffer[:got], made)
                else:
                    trailer = protocol.Trailer(code=Code.ABORTED, text="not wanted")
                if not trailer:
                    file.check_unchanged()
            except FileError as error:
                trailer = protocol.Trailer(code=error.code, text=error.text)
        digest = hashing.text(self._algorithm, made)
        self._connection.post(_END_OF_PARTS)
        self._connection.send(trailer or protocol.Trailer(hash=digest))

    def _send_part(self, view: memoryview, made: hashing.Hash) -> None:
        made.update(view)
        self._connection.post(LENGTH.pack(len(view)))
        self._connection.post(view)
        self._connection.flush()  # the buffer is used again
        if self._connection.has_input:
            self._take_replies()
        self._report.move(len(view))
        self._report.progress()

    def _send_hole(self, size: int, made: hashing.Hash) -> None:
        self._connection.post(LENGTH.pack(HOLE | size))
        self._report.move(size)
        while size:
            piece = min(size, len(_ZEROS))
            made.update(_ZEROS[:piece])
            size -= piece
            self._connection.keep_alive()

    def _finish_late_folders(self) -> None:
        """Send the modes and times of folders again that files came late into."""
        for wire_name, offer in self._late_folders.items():
            if not wire_name:
                continue
            try:
                entry = self._reader(offer).stat(offer.entry.name.rpartition("/")[0])
                self._send_folder(Offer(offer.source, entry, wire_name))
            except FileError as error:
                self.fail(FileError(error.code, wire_name, error.text))

    def _reader(self, offer: Offer) -> Reader:
        storage = offer.source.storage
        if storage not in self._readers:
            self._readers[storage] = storage.reading()
        return self._readers[storage]

    def fail(self, error: FileError) -> None:
        """Report what is not sent, by its name on the wire; in a download the receiver does."""
        if self._tell_unsent:
            self._item += 1
            self._unsettled.append(None)
            self._unverified.append(0)
            self._connection.send(
                protocol.Unsent(name=error.name, code=error.code, text=error.text)
            )
        self._report.refuse(error)

    # Replies

    def _number(self, offer: Offer, size: int) -> None:
        self._item += 1
        self._unsettled.append(offer)
        self._unverified.append(size)
        self._unverified_bytes += size

    def _wait(self) -> None:
        """Wait for replies and take them."""
        self._connection.flush()
        if not self._take_replies():
            self._connection.fill(inside=self._connection.has_input)
            self._take_replies()

    def _take_replies(self) -> bool:
        """Take the replies that are there; False if there were none."""
        any_came = False
        while (message := self._connection.message(State.GIVING)) is not None:
            self._handlers[type(message)](message)
            any_came = True
        return any_came

    def _take_received(self, message: Received) -> None:
        if not self._verified <= message.count <= self._item:
            raise ProtocolError("items are confirmed that were not sent", Code.OUT_OF_ORDER)
        while self._verified < message.count:
            self._verified += 1
            self._unverified_bytes -= self._unverified.popleft()

    def _take_done(self, message: Done) -> None:
        if message.count > self._verified:
            self._take_received(protocol.Received(count=message.count))
        while self._settled < message.count:
            self._settled += 1
            offer = self._unsettled.popleft()
            if offer and offer.entry.type != FOLDER:
                self._report.arrived(offer.wire_name, offer.entry.size, protocol.STORED)
        self._report.progress()

    def _take_outcome(self, message: Outcome) -> None:
        """Note that an item went otherwise than stored."""
        index = message.item - self._settled - 1
        if message.item == 0:  # a folder that could not be finished
            self._report.fail(FileError(message.code, message.name, shown(message.text)))
            return
        if not 0 <= index < len(self._unsettled):
            raise ProtocolError("an outcome names an item that is not open", Code.OUT_OF_ORDER)
        offer = self._unsettled[index]
        self._unsettled[index] = None
        if message.item == self._item:
            self._refused_now = message.item
        if offer is None:
            return
        if message.result == protocol.FAILED:
            text = shown(message.text)
            self._report.fail(FileError(message.code, offer.wire_name, text))
        elif message.result == protocol.KEPT:
            self._report.arrived(message.name, offer.entry.size, protocol.KEPT)
        else:
            self._report.skip(offer.wire_name, offer.entry.size, message.result)

    def _take_end(self, _: Message) -> None:
        self._ended = True


def _renamed(entry: Entry, name: str) -> Entry:
    return type(entry)(name, entry.type, entry.size, entry.mtime, entry.mode, entry.extra)


def _written_size(text: str) -> int:
    """Return an upper bound of the bytes that *text* takes in a frame."""
    return (2 if text.isascii() and text.isprintable() else 6) * len(text)


_ZEROS = memoryview(bytes(1 << 20))
