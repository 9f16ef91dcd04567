"""The server's half of files that move in pieces, for one connection.

This module must not know rights, or which other connections bring pieces.
"""

from __future__ import annotations

from filexfer import hashing
from filexfer.entry import FILE, Entry
from filexfer.errors import Code, FileError, FilexferError, ProtocolError
from filexfer.security import granted
from filexfer.serving.transfers import CUT, FAILED, Record
from filexfer.shared import pieces
from filexfer.storage.assembly import Assembly, Filler
from filexfer.storage.folder import names_checked
from filexfer.storage.policy import Choice
from filexfer.storage.publishing import Publisher
from filexfer.storage.staged import Result
from filexfer.transfer.replies import RESULTS
from filexfer.wire import protocol, ranged
from filexfer.wire.protocol import IF_EXISTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.security.access import Grant
    from filexfer.storage.contract import Item
    from filexfer.storage.reading import LargeFile
    from filexfer.storage.staging import Staging
    from filexfer.wire.connection import Connection

OPEN_MAX = 4  # files begun and not finished


class Ranges:
    """What one connection has begun, and the files that it takes pieces from or puts them into.

    Args:
        connection: To the client.
        grant: What the client may do, and where.
        durability: ``none``, ``batch`` or ``file``.

    """

    def __init__(self, connection: Connection, grant: Grant, durability: str) -> None:
        self._connection = connection
        self._grant = grant
        self._folder = grant.folder
        self._durability = durability
        self._begun: dict[str, tuple[Staging, Assembly]] = {}
        self._filler = Filler(grant.folder.fd, granted.places(grant))
        self._file: LargeFile | None = None  # that slices were asked of last
        self._sent = 0  # bytes of it
        self._put = Record(connection.peer, grant.name, "put")
        self._get = Record(connection.peer, grant.name, "get")

    def close(self) -> None:
        """Discard what is not finished."""
        for number in list(self._begun):
            self._discard(number)
        self._put.end(CUT)
        self._filler.close()
        self._close_file()

    # Up

    def begin(self, message: ranged.Begin) -> None:
        """Decide whether a file is wanted, and make its temporary file.

        Raises:
            FileError: if it is refused or cannot be made.

        """
        if message.if_exists not in IF_EXISTS:
            raise ProtocolError(f"if_exists is none of {', '.join(IF_EXISTS)}")
        names_checked(message.name)
        if len(self._begun) >= OPEN_MAX:
            raise FileError(Code.BUSY, message.name, "too many files are begun already")
        entry = Entry(message.name, FILE, message.size, message.mtime, message.mode)
        staging = granted.staging(
            self._grant, message.if_exists, self._durability, checksum=message.checksum
        )
        assembly = None
        try:
            decision = staging.judge(entry, self._connection.keep_alive)
            if decision.choice is Choice.REFUSE:
                raise FileError(decision.code, entry.name, decision.text)
            if decision.choice in (Choice.IDENTICAL, Choice.SKIP):
                Publisher(staging, lambda *_: None, self._tick).settle_identical()
                self._connection.send(ranged.Begun(result=RESULTS[decision.choice]))
                return
            assembly = Assembly(staging, entry)
        finally:
            if assembly is None:
                staging.__exit__()
        self._begun[assembly.id] = (staging, assembly)
        self._put.begin(entry.name)
        self._connection.send(ranged.Begun(id=assembly.id))

    def range(self, message: ranged.Range) -> None:
        """Take in a piece of a file that was begun, perhaps on another connection.

        Raises:
            FileError: if it is not good or not awaited; its body was taken in.

        """
        pieces.check(message.size)

        def write(at: int, view: memoryview) -> None:
            names_checked(message.name)
            self._filler.write(message.name, message.id, message.offset + at, view)

        try:
            pieces.take(self._connection, message.size, message.hash, write)
        except FileError as error:
            raise FileError(error.code, message.name, error.text) from None
        for _, assembly in self._begun.values():
            assembly.note_progress()
        self._connection.send(protocol.Ok())

    def finish(self, message: ranged.Finish) -> None:
        """Verify the whole of a file, and publish it.

        Raises:
            FileError: if it is not good or cannot be published; nothing of it is left.

        """
        if message.id not in self._begun:
            raise FileError(Code.NOT_FOUND, "", "no such file was begun on this connection")
        staging, assembly = self._begun[message.id]
        tick = self._connection.keep_alive
        results: list[Result] = []

        def settle(settled: list[tuple[Item, Result]]) -> None:
            results.extend(result for _, result in settled)

        try:
            assembly.seal(tick)
            if assembly.digest(hashing.algorithm_of(message.hash), tick) != message.hash:
                text = "the file that came does not match its hash"
                raise FileError(Code.HASH_MISMATCH, assembly.entry.name, text)
            publisher = Publisher(staging, settle, self._tick)
            publisher.add(assembly.finish(message.hash))
            publisher.finish()
        except FileError as error:
            self._log(assembly.entry, Result.failure(error.code, error.name, error.text))
            raise
        finally:
            self._discard(message.id)
        self._log(assembly.entry, results[0])
        self._tell(assembly.entry, results[0])

    def _tick(self) -> None:
        try:
            self._connection.keep_alive()
        except FilexferError:
            pass  # what is verified is published, whether or not the client still listens

    def _tell(self, entry: Entry, result: Result) -> None:
        if result.error:
            raise result.error
        self._connection.send(
            protocol.Stored(
                name=result.name or entry.name,
                size=entry.size,
                hash=entry.extra,
                result=RESULTS[result.choice],
            )
        )

    def _log(self, entry: Entry, result: Result) -> None:
        """Note what became of a file that was begun here."""
        if result.error:
            self._put.add(entry.name, 0, "", FAILED, result.error.text)
        else:
            word = RESULTS[result.choice]
            self._put.add(entry.name, entry.size, entry.extra, word, as_name=result.name)
        self._put.flush()

    def abandon(self, message: ranged.Abandon) -> None:
        """Discard a file that was begun; harmless if it is gone."""
        if message.id in self._begun:
            self._put.add(self._begun[message.id][1].entry.name, 0, "", CUT)
            self._put.flush()
            self._discard(message.id)
        self._connection.send(protocol.Ok())

    def _discard(self, number: str) -> None:
        staging, assembly = self._begun.pop(number)
        assembly.discard()
        staging.__exit__()

    # Down

    def slice(self, message: ranged.Slice) -> None:
        """Send a piece of a file.

        Raises:
            FileError: if it cannot be read, or is not the file any more that was meant.

        """
        pieces.check(message.size)
        if message.offset + message.size > message.total:
            raise ProtocolError("a slice must not go beyond the end of the file")
        names_checked(message.name)
        file = self._opened(message)

        def read_at(view: memoryview, offset: int) -> None:
            file.read_at(view, offset)
            file.check_unchanged()

        pieces.give(
            self._connection,
            lambda digest: ranged.Hashed(hash=digest),
            read_at,
            (message.offset, message.size),
            message.hash,
        )
        self._sent += message.size

    def digest(self, message: ranged.DigestOf) -> None:
        """Name the digest of a whole file.

        Raises:
            FileError: as ``slice`` does.

        """
        names_checked(message.name)
        made = hashing.new(message.hash)
        file = self._opened(message)
        view = memoryview(bytearray(max(1, min(2 << 20, message.total))))
        for offset in range(0, message.total, len(view)):
            piece = view[: min(len(view), message.total - offset)]
            file.read_at(piece, offset)
            made.update(piece)
            self._connection.keep_alive()
        file.check_unchanged()
        self._connection.send(ranged.Hashed(hash=hashing.text(message.hash, made)))

    def _opened(self, message: ranged.Slice | ranged.DigestOf) -> LargeFile:
        """Return the file, open; a client asks for many pieces of one after another."""
        wanted = (message.name, message.total, message.mtime)
        file = self._file
        if file is None or (file.entry.name, file.entry.size, file.entry.mtime) != wanted:
            self._close_file()
            with self._folder.reading() as reading:
                file = self._file = reading.large(Entry(message.name, FILE))
            self._get.begin(message.name)
        if (file.entry.size, file.entry.mtime) != wanted[1:]:
            raise FileError(Code.CHANGED, message.name, "has changed since it was looked at")
        file.check_unchanged()
        return file

    def _close_file(self) -> None:
        if self._file is not None:
            name = self._file.entry.name
            if self._sent:
                self._get.add(name, self._sent, "", "pieces")
            else:
                self._get.forget(name)
            self._get.flush()
            self._sent = 0
            self._file.close()
            self._file = None
