"""Uploads large files in pieces over several connections, one file after another.

This module must not know how the files were found.
"""

from __future__ import annotations

from collections import deque

from filexfer import hashing
from filexfer.entry import FILE, Entry, entry_of_file
from filexfer.errors import Code, ConnectionLost, FileError, ProtocolError
from filexfer.names import shown
from filexfer.report import SENDING, VERIFYING
from filexfer.shared import crew, pieces
from filexfer.shared.crew import ID_MAX, TRIES, Board, Deal, collect
from filexfer.shared.parallel import at_once
from filexfer.wire import protocol, ranged, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.storage.contract import OpenFile
    from filexfer.transfer.sources import Source
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

    # Number of the source, name in it, name on the server, size, time, mode.
    Item = tuple[int, str, str, int, int, int]

UNDER_WAY = 32  # pieces without an answer; the kernel holds back few of their bytes
_STEP = 16 << 20  # bytes hashed at a time, between two pieces


def push(
    door: Door,
    connection: Connection,
    sources: Sequence[Source],
    items: Sequence[Item],
    options: Options,
    report: Report,
) -> None:
    """Send the files.

    Raises:
        NetworkError, RefusedError: if a connection fails; files that fail are in the report.

    """
    with Board() as board:

        def work(each: Connection, share: int, _: int, report: Report) -> None:
            pieces.hold_little(each)
            files = _Files(sources, items)
            line = _Line(each, board, files, report, options.algorithm)
            try:
                if share:
                    board.join(each)
                    crew.work(each, board, line, report)
                else:
                    _Leader(line, options).run()
            finally:
                files.close()
                if not share:
                    board.end()

        at_once(door, connection, report, options.jobs or 1, work)


class _Files:
    """The files, one of which is open."""

    def __init__(self, sources: Sequence[Source], items: Sequence[Item]) -> None:
        self._sources = sources
        self.items = items
        self._number = -1
        self._file: OpenFile | None = None

    def close(self) -> None:
        file, self._file = self._file, None
        if file:
            file.close()

    def wire_name(self, number: int) -> str:
        return self.items[number][2]

    def open(self, number: int) -> OpenFile:
        """Return a file, open; it must be as it was when it was found."""
        if self._file is None or self._number != number:
            self.close()
            source, name, wire_name, size, mtime, _ = self.items[number]
            reader = self._sources[source].storage.reading()
            try:
                file = self._file = reader.large(Entry(name, FILE))
                self._number = number
            finally:
                reader.close()
            if (file.entry.size, file.entry.mtime) != (size, mtime):
                self.close()
                raise FileError(Code.CHANGED, wire_name, "changed before it was sent")
        return self._file


class _Line:
    """Sends pieces on one connection, without waiting for the answers."""

    def __init__(
        self, connection: Connection, board: Board, files: _Files, report: Report, algorithm: str
    ) -> None:
        self.connection = connection
        self.board = board
        self.files = files
        self.report = report
        self._algorithm = algorithm
        self._under_way: deque[Deal] = deque()

    @property
    def is_idle(self) -> bool:
        return not self._under_way

    @property
    def has_room(self) -> bool:
        return len(self._under_way) < UNDER_WAY

    def add(self, deal: Deal) -> None:
        wire_name = self.files.wire_name(deal.file)

        def header(digest: str) -> ranged.Range:
            self._under_way.append(deal)
            return ranged.Range(
                name=wire_name, id=deal.id, offset=deal.offset, size=deal.size, hash=digest
            )

        deal.tries += 1
        try:
            read_at = self.files.open(deal.file).read_at
            span = (deal.offset, deal.size)
            pieces.give(self.connection, header, read_at, span, self._algorithm)
        except FileError as error:
            self.board.failed(deal, FileError(error.code, wire_name, error.text))
        else:
            self.report.moved += deal.size

    def collect(self) -> bool:
        return collect(self.connection, self._take)

    def _take(self, message: object) -> None:
        if not self._under_way or not isinstance(message, protocol.Ok | protocol.Error):
            raise ProtocolError("an answer came that does not fit", Code.OUT_OF_ORDER)
        deal = self._under_way.popleft()
        if isinstance(message, protocol.Ok):
            self.board.moved(deal)
        elif message.code == Code.HASH_MISMATCH and deal.tries < TRIES:
            self.add(deal)
        else:
            name = self.files.wire_name(deal.file)
            self.board.failed(deal, requests.failure(message, name))


class _Leader:
    """Begins and finishes the files, on the first connection."""

    def __init__(self, line: _Line, options: Options) -> None:
        self._line = line
        self._connection = line.connection
        self._board = line.board
        self._files = line.files
        self._report = line.report
        self._options = options
        self._board.report = self._report

    def run(self) -> None:
        """Send all files; the next one is begun before one is finished."""
        self._report.enter(SENDING)
        try:
            self._send_all()
        finally:
            self._report.enter("")

    def _send_all(self) -> None:
        count = len(self._files.items)
        begun = self._begin(0)
        for number in range(count):
            digest = self._move(number) if begun else None
            following = self._begin(number + 1) if number + 1 < count else ""
            if begun:
                self._report.enter(SENDING if following else VERIFYING)
                self._finish(number, begun, digest)
            begun = following

    def _begin(self, number: int) -> str:
        """Return the id of the file; empty if it is not to be sent."""
        _, _, name, size, mtime, mode = self._files.items[number]
        self._connection.send(
            ranged.Begin(
                name=name,
                size=size,
                mtime=mtime,
                mode=mode,
                if_exists=self._options.if_exists,
                checksum=self._options.checksum,
            )
        )
        try:
            answer = requests.read(self._connection, ranged.Begun, name)
        except FileError as error:
            self._report.fail(error, size)
            return ""
        if answer.result in (protocol.IDENTICAL, protocol.SKIPPED):
            self._report.skip(name, entry_of_file(name, size, mtime, mode), answer.result)
            return ""
        if answer.result or not 0 < len(answer.id.encode()) <= ID_MAX or "\0" in answer.id:
            raise ProtocolError(f"a file was begun with the id {shown(answer.id)}")
        self._board.deal(number, answer.id, pieces.cut(size, self._options.jobs or 1))
        return answer.id

    def _move(self, number: int) -> str | None:
        """Have a file moved; return its digest, or None if it has failed."""
        name = self._files.wire_name(number)
        try:
            whole = _Whole(self._files.open(number), self._options.algorithm)
        except FileError as error:
            self._fail(number, error)
            whole = None

        def is_settled() -> bool:
            if whole:
                whole.step()
            return self._board.is_settled(number)

        try:
            crew.work(self._connection, self._board, self._line, self._report, is_settled)
            crew.settle(self._connection, self._board, self._line, self._report)
            if whole and number not in self._board.failures:
                return whole.digest()
        except FileError as error:
            self._fail(number, FileError(error.code, name, error.text))
        crew.settle(self._connection, self._board, self._line, self._report)
        return None

    def _fail(self, number: int, error: FileError) -> None:
        self._board.failed(Deal(number, 0, 0, ""), error)
        self._board.exchange()

    def _finish(self, number: int, begun: str, digest: str | None) -> None:
        """Have a file published, or discarded."""
        connection, report = self._connection, self._report
        _, _, name, size, mtime, mode = self._files.items[number]
        failure = self._board.failures.get(number)
        if failure or digest is None:
            self._board.settle(number, size)
            report.fail(failure or FileError(Code.ABORTED, name, "was not sent"), size)
            connection.send(ranged.Abandon(id=begun))
            requests.read(connection, protocol.Ok, name)
            return
        connection.send(ranged.Finish(id=begun, hash=digest))
        try:
            answer = requests.read(connection, protocol.Stored, name)
        except FileError as error:
            self._board.settle(number, size)
            report.fail(error, size)
        except ConnectionLost:
            report.doubt([name])
            raise
        else:
            entry = entry_of_file(name, size, mtime, mode, digest)
            self._board.settle(number, size)
            if answer.result in (protocol.IDENTICAL, protocol.SKIPPED):
                report.skip(name, entry, answer.result)
            else:
                report.confirm(entry)
                kept = answer.name if answer.result == protocol.KEPT else name
                report.arrived(kept, entry, answer.result)


class _Whole:
    """The digest of a whole file, computed bit by bit while its pieces are on their way."""

    def __init__(self, file: OpenFile, algorithm: str) -> None:
        self._file = file
        self._algorithm = algorithm
        self._made = hashing.new(algorithm)
        self._at = 0
        self._view = memoryview(bytearray(1 << 20))

    def step(self, most: int = _STEP) -> bool:
        """Take in some more bytes; False if there are none."""
        size = self._file.entry.size
        stop = min(size, self._at + most)
        while self._at < stop:
            view = self._view[: min(len(self._view), stop - self._at)]
            self._file.read_at(view, self._at)
            self._made.update(view)
            self._at += len(view)
        return self._at < size

    def digest(self) -> str:
        """Return it, when the file has not changed.

        Raises:
            FileError: if it has.

        """
        while self.step():
            pass
        self._file.check_unchanged()
        return hashing.text(self._algorithm, self._made)
