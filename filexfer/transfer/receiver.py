"""The receiving half of an exchange, at the server for ``put`` and at the client for ``get``.

Takes items as they come, verifies each body against its hash before the file can appear, hands it
to the publisher, and replies: failures at once, the rest merged, when nothing more is waiting to
be read (a confirmation for every file would cost a quarter of the speed).

This module must not know sockets, nor which side it is on.
"""

from __future__ import annotations

from time import time_ns

from filexfer import hashing
from filexfer.entry import FILE, FOLDER, Entry, entry_of_file, entry_of_link
from filexfer.errors import Code, CutShort, FileError, ProtocolError
from filexfer.progress import FLUSHING, RECEIVING
from filexfer.storage.policy import Choice
from filexfer.storage.publishing import Publisher
from filexfer.storage.staged import AS_IT_IS, Result
from filexfer.transfer.answers import Answers
from filexfer.transfer.body import LargeBody, mismatch
from filexfer.transfer.landing import not_sent
from filexfer.transfer.partial import Partial
from filexfer.transfer.replies import RESULTS, Replies
from filexfer.wire import protocol, ranged
from filexfer.wire.protocol import PLAIN_MAX, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from filexfer.hashing import Hashing
    from filexfer.report import Report
    from filexfer.storage.contract import Item, Target
    from filexfer.transfer.later import Laters
    from filexfer.wire.connection import Connection
    from filexfer.wire.header import SmallFile
    from filexfer.wire.protocol import File, Folder, Link, Unsent
    from filexfer.wire.schema import Message

_LAST = b'"end"}'  # a sender that has said this may close its side, though it need not


class Receiver(Replies):
    """Receives the items of one exchange into one staging.

    Args:
        connection: Where they come from.
        staging: Where they go.
        report: Counts what happens.
        place: Turns a name on the wire into one in the staging; a name that was not asked for
            makes it raise IntegrityError.
        algorithm: Of the digests that were asked for; in place of one that resists forgery no
            other is accepted.
        hashes: Makes them.
        publisher: Makes what lets the items appear.

    """

    def __init__(
        self,
        connection: Connection,
        staging: Target,
        report: Report,
        place: Callable[[str], str] = str,
        algorithm: str = "",
        *,
        hashes: Hashing = hashing,
        publisher: Callable[..., Publisher] = Publisher,
    ) -> None:
        super().__init__(connection, report)
        self._staging = staging
        self._place = place
        self._needs_strong = algorithm if algorithm in hashing.STRONG else ""
        self._hashes = hashes
        self._publisher = publisher(staging, self._settle, self._tick)
        self._open_folders: list[tuple[str, Item]] = []
        self._within = ""  # what names in the last of them begin with
        # If set, takes the folders that other connections fill too; the caller finishes them.
        self.shared_folders: dict[str, Folder] | None = None
        self.later: Laters | None = None  # takes what is only named, if that may be
        self.ends_at_once = False  # when the sender has gone, with what still waits to be read
        self.tells_parts = False  # whether the sender wants to know how much of a body is in
        self._partial = Partial(report)
        self._told: FileError | None = None  # the failure that was told early
        self._digest_of = hashes.digest_of(hashing.DEFAULT)
        self._takers: dict[type[Message], Callable[..., None]] = {
            protocol.File: self._take_file,
            protocol.Folder: self._take_folder,
            protocol.Link: self._take_link,
            protocol.Unsent: self._take_unsent,
            ranged.Later: self._take_later,
            protocol.Ask: Answers(connection, staging, report, place).answer,
            protocol.Alive: lambda _: None,
        }

    def run(self) -> None:
        """Receive until the sender's ``end``, settle everything, and say so.

        Whatever ends it, what was received whole is published.
        """
        self._connection.may_say_alive = True
        self._report.enter(RECEIVING)
        try:
            self._take_items()
            self._report.add_walks(-1)
            self._tell()
            self._connection.flush()
            self._report.enter(FLUSHING)
            self._publish_the_rest()
        except BaseException:
            self._connection.may_say_alive = self._exchange = False
            for _, folder in self._open_folders:
                folder.entry.mode = AS_IT_IS  # a second try writes in it, or has finished it
            self._publish_the_rest()
            raise
        self._publisher.settle_identical()
        self._tell()
        self._connection.may_say_alive = False
        self._connection.send(protocol.End())
        self._connection.flush()

    def finish_folders(self, messages: Iterable[Folder]) -> None:
        """Give folders their modes and times, if they have not got them."""
        self._exchange = False
        for message in messages:
            entry = Entry(self._place(message.name), FOLDER, 0, message.mtime, message.mode)
            if self._staging.judge(entry, lambda: None).choice is Choice.IDENTICAL:
                continue
            self._report.add_folder()
            message.again, message.shared = True, False
            self._take_folder(message)
        self._publish_the_rest()

    def store(self, message: protocol.Store) -> tuple[str, FileError | None]:
        """Receive the one file of a plain client, and return the result when it is settled."""
        self._exchange = False
        outcome: list[tuple[str, FileError | None]] = []

        def settle(settled: list[tuple[Item, Result]]) -> None:
            outcome.extend((RESULTS[result.choice], result.error) for _, result in settled)

        self._publisher = Publisher(self._staging, settle, lambda: None)
        file = protocol.File(
            name=message.name,
            size=message.size,
            hash=message.hash,
            mtime=time_ns() if message.mtime is None else message.mtime,
            mode=message.mode,
        )
        try:
            staged = self._receive(file, message.name)
        except FileError as error:
            return protocol.FAILED, error
        self._publisher.add(staged)
        self._publisher.finish()
        return outcome[0]

    def _take_items(self) -> None:
        """Take every message up to the end."""
        connection, takers = self._connection, self._takers
        while True:
            while found := connection.small_file():
                self._take_small(*found)
            message = connection.message(State.TAKING)
            if message is not None:
                if type(message) is protocol.End:
                    return
                takers[type(message)](message)
                continue
            self._publisher.advance()
            self._tell()
            self._report.progress()
            if self.ends_at_once and connection.waiting.was_cut(_LAST):
                raise CutShort("the connection was closed before the end of the exchange")
            connection.fill(self._publisher.patience, inside=connection.has_input)

    # Items

    def _take_small(self, header: SmallFile, data: memoryview) -> None:
        """Take a file whose body is at hand."""
        self._item += 1
        name, size, digest, mtime, mode = header
        if self._open_folders and not name.startswith(self._within):
            self._leave_folders(name)
        entry = Entry(self._place(name), FILE, size, mtime, mode, digest)
        self._report.moved += size
        try:
            staged = self._stage(entry, data)
        except FileError as error:
            self._report.failed_bytes += size
            self._fail(error)
        else:
            self._add(staged)

    def _take_file(self, message: File) -> None:
        self._item += 1
        name = self._place(message.name)
        if self._open_folders and not message.name.startswith(self._within):
            self._leave_folders(message.name)
        try:
            staged = self._receive(message, name)
        except FileError as error:
            self._report.failed_bytes += message.size or 0
            if error is not self._told:
                self._fail(error)
        else:
            self._add(staged)

    def _add(self, staged: Item) -> None:
        staged.number = self._item
        self._report.confirm(staged.entry)
        self._publisher.add(staged)

    def _receive(self, message: File, name: str) -> Item:
        """Receive a file's body, verified, as a temporary file.

        Raises:
            FileError: if it is not good or cannot be kept; its body was read to the end.

        """
        size = message.size
        if not message.hash or (size is not None and size > PLAIN_MAX):
            return self._receive_large(message, name)
        if size is None:
            raise ProtocolError("a file with a plain body needs a size")
        data = self._connection.body(size)
        self._report.moved += size
        return self._stage(
            entry_of_file(name, size, message.mtime, message.mode, message.hash), data
        )

    def _stage(self, entry: Entry, data: memoryview) -> Item:
        """Verify a body that is at hand, and write it to a temporary file."""
        digest = entry.extra
        if self._digest_of(data) != digest:
            self._check_digest(data, digest, entry.name)
        if self._needs_strong:
            self._check_strength(digest, entry.name)
        return self._staging.small(entry, data)

    def _check_strength(self, digest: str, name: str) -> None:
        used = digest.partition(":")[0]
        if self._needs_strong and used != self._needs_strong:
            text = f"was verified by {used} only, not by {self._needs_strong}"
            raise FileError(Code.HASH_MISMATCH, name, text)

    def _check_digest(self, data: memoryview, digest: str, name: str) -> None:
        if self._hashes.digest_of(digest.partition(":")[0])(data) != digest:
            raise mismatch(name)

    def _receive_large(self, message: File, name: str) -> Item:
        entry = entry_of_file(name, message.size or 0, message.mtime, message.mode)
        algorithm = message.hash.partition(":")[0] or message.algorithm
        new = self._hashes.new
        body = LargeBody(
            entry, message.size, algorithm, refused=self._refuse, moved=self._moved, new_hash=new
        )
        body.begin(self._staging, sparse=message.sparse)
        self._in_body = True
        self._report.expect_more(1, entry.size, at_least=True)
        try:
            if message.hash:
                body.receive_plain(self._connection, entry.size)
                self._in_body = False
                self._check_strength(message.hash, name)
                return body.finish(message.hash)
            body.receive_parts(self._connection)
            trailer = self._connection.read(State.BODY)
            assert isinstance(trailer, protocol.Trailer)  # noqa: S101 - the table allows no other
            self._in_body = False
            self._check_strength(trailer.hash or algorithm, name)
            return body.finish_by(trailer)
        except BaseException:
            body.discard()
            raise
        finally:
            self._partial.end()

    def _moved(self, size: int) -> None:
        """Note that a piece of a large body is in."""
        self._partial.add(size)
        self._publisher.advance()
        self._tell()
        if self.tells_parts:
            self._partial.tell(self._connection, max(self._told_received, self._told_done))

    def _refuse(self, error: FileError) -> None:
        """Tell the sender early, while it still sends the body, that it is not wanted."""
        if self._exchange:
            self._fail(error)
            self._told = error

    def _take_folder(self, message: Folder) -> None:
        self._item += 1
        name = self._place(message.name)
        self._leave_folders(message.name)
        is_new = not (message.again or message.shared)
        try:
            if not message.name:
                raise FileError(Code.BAD_NAME, "", "what everything goes into is not to be changed")
            entry = Entry(name, FOLDER, 0, message.mtime, message.mode)
            finish = self._staging.make_folder(entry, is_shared=not is_new)
        except FileError as error:
            if is_new or (message.shared and self.shared_folders is not None):
                self._fail(error)
            return
        if is_new:
            self._report.add_folder()
        if self.later and not message.shared:
            self.later.note_folder(message, entry)
        if message.shared:
            finish.discard()
            if self.shared_folders is not None:
                self.shared_folders[message.name] = message
        else:
            self._open_folders.append((message.name, finish))
            self._within = message.name + "/" if message.name else ""

    def _take_link(self, message: Link) -> None:
        self._item += 1
        name = self._place(message.name)
        self._leave_folders(message.name)
        try:
            staged = self._staging.link(entry_of_link(name, message.target, message.mtime))
        except FileError as error:
            self._fail(error)
        else:
            self._add(staged)

    def _take_unsent(self, message: Unsent) -> None:
        self._item += 1
        self._report.refuse(not_sent(self._place, message.code, message.name, message.text))

    def _take_later(self, message: ranged.Later) -> None:
        self._item += 1
        name = self._place(message.name)
        self._leave_folders(message.name)
        if self.later is None:
            raise ProtocolError("a file was only named that must be sent", Code.OUT_OF_ORDER)
        above, finish = self._open_folders[-1] if self._open_folders else ("", None)
        is_in = finish and above == message.name.rpartition("/")[0]
        self.later.take(message, name, finish.entry if finish and is_in else None)

    def _leave_folders(self, name: str) -> None:
        """Finish the folders that *name* is not in any more."""
        while self._open_folders:
            above, finish = self._open_folders[-1]
            self._within = above + "/" if above else ""
            if name.startswith(self._within):
                return
            del self._open_folders[-1]
            self._publisher.add(finish)

    # Ending

    def _tell(self) -> None:
        """Say how far everything is, if that has changed."""
        received = self._item - self._in_body
        pending = self._publisher.first_unsettled
        self._tell_counts(received, pending - 1 if pending else received)

    def _publish_the_rest(self) -> None:
        while self._open_folders:
            self._publisher.add(self._open_folders.pop()[1])
        self._publisher.finish()

    def _tick(self) -> None:
        if self._exchange:
            self._connection.keep_alive()
