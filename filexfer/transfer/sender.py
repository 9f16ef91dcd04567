"""The sending half of an exchange, at the client for ``put`` and at the server for ``get``.

Takes offers from a walk, asks about what may be there already, and sends the rest without waiting
for replies: the headers and bodies of many files follow one another, several to a write. Replies
are taken in whenever they come, also in the middle of a blocked write.

This module must not know sockets, nor which side it is on.
"""

from __future__ import annotations

from filexfer import hashing
from filexfer.entry import FOLDER, LINK
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.progress import FLUSHING, SENDING, VERIFYING
from filexfer.transfer.buffers import ROOM, borrowed
from filexfer.transfer.questions import Questions
from filexfer.transfer.sources import Offer
from filexfer.transfer.window import NO_FILE, Window
from filexfer.wire import codec, protocol
from filexfer.wire.framing import LENGTH
from filexfer.wire.protocol import HOLE, PLAIN_MAX, State
from filexfer.wire.ranged import Later

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.hashing import Hashing
    from filexfer.report import Report
    from filexfer.storage.contract import OpenFile, Readable, Reader
    from filexfer.wire.connection import Connection
    from filexfer.wire.schema import Message

_END_OF_PARTS = LENGTH.pack(0)
_ZEROS = memoryview(bytes(1 << 20))


class Sender:
    """Sends the offers of one exchange.

    Args:
        connection: Where they go.
        report: Counts what happens.
        algorithm: Of the digests.
        tell_unsent: Whether the receiver wants to know what could not be read.
        hashes: Makes them.
        reading: Returns access to a storage.

    Attributes:
        later: The files that were only named.

    """

    def __init__(
        self,
        connection: Connection,
        report: Report,
        *,
        algorithm: str = hashing.DEFAULT,
        tell_unsent: bool = False,
        hashes: Hashing = hashing,
        reading: Callable[[Readable], Reader] | None = None,
    ) -> None:
        self._connection = connection
        self._report = report
        self._algorithm = algorithm
        self._digest_of = hashes.digest_of(algorithm)
        self._new_hash = hashes.new
        self._reading = reading or (lambda storage: storage.reading())
        self._tell_unsent = tell_unsent
        self._window = Window(report)
        self._questions = Questions(report)
        self._folders: list[str] = []  # those the receiver has open, innermost last
        self._folder: str | None = None  # of the item sent last
        self._late: dict[str, Offer] = {}  # folders that got a file when they were not open
        self._readers: dict[Readable, Reader] = {}
        self._ended = False
        self._plain_max = PLAIN_MAX
        self._later_from = 0
        self.later: list[Offer] = []
        self._handlers: dict[type[Message], Callable[..., None]] = {
            protocol.Answer: self._questions.take_answer,
            protocol.Received: self._window.take_received,
            protocol.Outcome: self._window.take_outcome,
            protocol.Done: self._window.take_done,
            protocol.Alive: lambda _: None,
            protocol.End: self._take_end,
        }

    @property
    def uncertain(self) -> list[str]:
        """The files that were sent but not settled: they may be there or not."""
        return self._window.uncertain

    def run(self, offers: Iterator[Offer]) -> None:
        """Send everything and return when all of it is settled.

        Files that fail are reported and passed over.

        Args:
            offers: What there is to send.

        Raises:
            NetworkError, RefusedError: if the exchange as a whole fails.

        """
        connection = self._connection
        connection.on_input = self._take_replies
        self._report.enter(SENDING)
        try:
            self._send_all(offers)
            self._finish_late_folders()
            connection.send(protocol.End())
            connection.flush()
            while not self._ended:
                self._report.enter(FLUSHING if self._window.is_verified else VERIFYING)
                self._wait()
            if not self._window.is_empty:
                raise ProtocolError("the receiver ended without settling every item")
        finally:
            connection.on_input = None
            self._report.enter("")
            if hasattr(offers, "close"):  # a walk, which has folders open
                offers.close()
            for reader in self._readers.values():
                reader.close()

    def reader(self, storage: Readable) -> Reader:
        """Return the one access that this exchange has to a storage; it is closed at its end."""
        reader = self._readers.get(storage)
        if reader is None:
            reader = self._readers[storage] = self._reading(storage)
        return reader

    def only_name(self, least: int) -> None:
        """From now on, only name the files that have so many bytes and no holes; 0: none."""
        self._later_from = least
        self._plain_max = min(PLAIN_MAX, least - 1) if least else PLAIN_MAX

    def finish_folder_of(self, offer: Offer) -> None:
        """Send mode and time of the folder that *offer* lies in, when all else is sent."""
        above = offer.wire_name.rpartition("/")[0]
        if above and offer.entry.name != offer.source.name:
            self._late[above] = offer

    def fail(self, error: FileError) -> None:
        """Report what is not sent, by its name on the wire; in a download the receiver does."""
        if self._tell_unsent:
            self._window.open(None, NO_FILE)
            self._connection.send(
                protocol.Unsent(name=error.name, code=error.code, text=error.text)
            )
        self._report.refuse(error)

    def _send_all(self, offers: Iterator[Offer]) -> None:
        """Ask about what needs it, and send what is wanted."""
        questions = self._questions
        for offer in offers:
            if not questions.needs(offer):
                self._send(offer)
                continue
            if frame := questions.gather(offer):
                self._ask(frame)
                while questions.wanted or not questions.may_gather:
                    self._send_wanted()
        if questions.has_gathered:
            self._ask(questions.ask())
        while questions.wanted or questions.is_open:
            self._send_wanted()

    def _send_wanted(self) -> None:
        """Send what an answer asked for, or wait for an answer."""
        if self._questions.wanted:
            self._send(self._questions.wanted.popleft())
        else:
            self._wait()

    def _ask(self, frame: bytes) -> None:
        self._connection.post(frame)
        self._connection.flush()

    def _send(self, offer: Offer) -> None:
        """Send an entry, as soon as the window has room for it."""
        while self._window.is_full:
            self._wait()
        try:
            kind = offer.entry.type
            if offer.asked_again and not offer.entry.extra:
                self._ask_again(offer)
            elif kind == FOLDER:
                self._send_folder(offer)
            elif kind == LINK:
                self._send_link(offer)
            else:
                self._send_file(offer)
        except FileError as error:
            self.fail(FileError(error.code, offer.wire_name, error.text))
            self._report.failed_bytes += offer.entry.size
        if self._connection.is_full:
            self._connection.flush()
            self._report.progress()

    def _ask_again(self, offer: Offer) -> None:
        """Ask about a file with its digest."""
        offer.entry.extra = self.reader(offer.source.storage).digest(
            offer.entry.name, self._algorithm, self._connection.keep_alive
        )
        self._connection.post(self._questions.ask_again(offer))

    def _send_folder(self, offer: Offer, *, again: bool = False) -> None:
        entry, shared = offer.entry, offer.is_shared
        self._enter_folder_of(offer)
        self._folders.append(offer.wire_name)
        self._window.open(None if again or shared else offer, NO_FILE)
        if not (again or shared):
            self._report.add_folder()
        self._connection.send(
            protocol.Folder(
                name=offer.wire_name, mtime=entry.mtime, mode=entry.mode, again=again, shared=shared
            )
        )

    def _send_link(self, offer: Offer) -> None:
        entry = offer.entry
        self._enter_folder_of(offer)
        self._window.open(offer, 0)
        self._connection.send(
            protocol.Link(name=offer.wire_name, target=entry.extra, mtime=entry.mtime)
        )

    def _send_file(self, offer: Offer) -> None:
        entry = offer.entry
        reader = self.reader(offer.source.storage)
        most = self._plain_max
        data = reader.read(entry, most) if entry.size <= most else None
        self._enter_folder_of(offer)
        if data is None:
            largest = self._connection.file_max
            if largest is not None and entry.size > largest:
                text = f"larger than the {largest:,} bytes that one file may have there"
                raise FileError(Code.TOO_LARGE, "", text)
            file = reader.large(entry)
            try:
                if 0 < self._later_from <= (file.size or 0) and not file.sparse:
                    self._name_later(offer)
                else:
                    self._send_large(offer, file)
            finally:
                file.close()
            return
        size = entry.size
        entry.extra = digest = self._digest_of(data)
        self._window.open(offer, size)
        frame = codec.file_frame(offer.wire_name, size, digest, entry.mtime, entry.mode)
        self._connection.post(frame, data)
        self._report.moved += size

    def _name_later(self, offer: Offer) -> None:
        """Name a file that moves in pieces afterwards."""
        entry = offer.entry
        self._window.open(None, NO_FILE)
        self._connection.send(
            Later(name=offer.wire_name, size=entry.size, mtime=entry.mtime, mode=entry.mode)
        )
        self.later.append(offer)

    def _send_large(self, offer: Offer, file: OpenFile) -> None:
        """Send a file in parts; a failure on the way ends it at the next part."""
        entry = file.entry
        self._window.open(offer, entry.size)
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
        self._window.is_sending = True
        made = self._new_hash(self._algorithm)
        try:
            if self._send_parts(file, made):
                file.check_unchanged()
                entry.extra = hashing.text(self._algorithm, made)
                trailer = protocol.Trailer(hash=entry.extra)
            else:
                trailer = protocol.Trailer(code=Code.ABORTED, text="not wanted")
        except FileError as error:
            trailer = protocol.Trailer(code=error.code, text=error.text)
        self._window.is_sending = False
        self._connection.post(_END_OF_PARTS)
        self._connection.send(trailer)

    def _send_parts(self, file: OpenFile, made: hashing.Hash) -> bool:
        """Send the contents of a file; False if the receiver does not want them any more."""
        with borrowed() as buffer:
            room = buffer[ROOM : ROOM + self._connection.part]
            while self._window.refused != self._window.item:
                if hole := file.hole(HOLE - 1):
                    self._send_hole(hole, made)
                elif got := file.read_into(room[: file.until_hole(len(room))]):
                    made.update(room[:got])
                    LENGTH.pack_into(buffer, 0, got)
                    self._send_part(buffer[: ROOM + got])
                else:
                    return True
        return False

    def _send_part(self, view: memoryview) -> None:
        self._connection.post(view)
        self._connection.flush()  # the buffer is used again
        connection = self._connection
        if connection.fill(0.0, inside=connection.has_input) or connection.has_input:
            self._take_replies()
        self._report.moved += len(view) - ROOM
        self._report.progress()

    def _send_hole(self, size: int, made: hashing.Hash) -> None:
        self._connection.post(LENGTH.pack(HOLE | size))
        self._connection.flush()  # the next may take a while
        self._report.moved += size
        while size:
            piece = min(size, len(_ZEROS))
            made.update(_ZEROS[:piece])
            size -= piece

    # Folders

    def _enter_folder_of(self, offer: Offer) -> None:
        """Follow which folders the receiver has open; note a folder that it has closed already."""
        above = offer.wire_name.rpartition("/")[0]
        if above != self._folder:
            self._enter(above, offer)

    def _enter(self, above: str, offer: Offer) -> None:
        self._folder = above
        folders = self._folders
        while folders and above != folders[-1] and not above.startswith(folders[-1] + "/"):
            folders.pop()
        is_open = folders and folders[-1] == above
        if above and not is_open and offer.entry.name != offer.source.name:
            if offer.in_shared:
                self._name_folder(offer)
            else:
                self._late[above] = offer

    def _name_folder(self, offer: Offer) -> None:
        """Name the folder that *offer* lies in, which perhaps no connection has done yet.

        Somebody else finishes it. Its mode comes with its name, so that it is never open to more
        people than it shall be.
        """
        folder = self._folder_of(offer)
        if folder:
            folder.is_shared = folder.in_shared = True
            self._send_folder(folder)
            self._folder = folder.wire_name

    def _finish_late_folders(self) -> None:
        """Send the modes and times of folders again that files came late into."""
        late, self._late = self._late, {}
        for offer in late.values():
            if folder := self._folder_of(offer):
                self._send_folder(folder, again=True)

    def _folder_of(self, offer: Offer) -> Offer | None:
        """Return the folder that *offer* lies in, as it is now; None if it is gone."""
        try:
            reader = self.reader(offer.source.storage)
            entry = reader.stat(offer.entry.name.rpartition("/")[0])
        except FileError:
            return None
        return Offer(offer.source, entry, offer.wire_name.rpartition("/")[0])

    # Replies

    def _wait(self) -> None:
        """Wait for replies and take them."""
        self._connection.flush()
        if not self._take_replies():
            self._connection.fill(inside=self._connection.has_input)
            self._take_replies()

    def _take_replies(self) -> bool:
        """Take the replies that are there; False if there were none."""
        any_came = False
        while not self._ended and (message := self._connection.message(State.GIVING)):
            self._handlers[type(message)](message)
            any_came = True
        return any_came

    def _take_end(self, _: Message) -> None:
        self._ended = True
