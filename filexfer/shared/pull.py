"""Downloads large files in pieces over several connections, one file after another.

This module must not know how the files were found.
"""

from __future__ import annotations

from collections import deque
from time import monotonic

from filexfer.errors import Code, FileError, FilexferError, ProtocolError
from filexfer.progress import FLUSHING, RECEIVING, VERIFYING
from filexfer.shared import crew, pieces
from filexfer.shared.crew import TRIES, Board, Deal, collect
from filexfer.shared.parallel import at_once
from filexfer.storage.assembly import Assembly, Filler
from filexfer.storage.expected import check as check_expected
from filexfer.storage.policy import Choice, Policy
from filexfer.storage.publishing import Publisher
from filexfer.storage.staging import Staging
from filexfer.wire import protocol, ranged, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from filexfer.entry import Entry
    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.storage.contract import Item
    from filexfer.storage.folder import Folder
    from filexfer.storage.staged import Result
    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

    Wanted = Sequence[tuple[str, Entry]]  # name on the server, and what it shall be here

FIRST = 1 << 20  # bytes asked for and not there yet, at the beginning and at least
MOST = 8 << 20
AHEAD = 0.4  # seconds from asking to having that are aimed at ...
AHEAD_ROUNDS = 3  # ... and in round trips, if that is longer


def pull(
    door: Door,
    connection: Connection,
    folder: Folder,
    wanted: Wanted,
    options: Options,
    report: Report,
) -> None:
    """Receive the files.

    Raises:
        NetworkError, RefusedError: if a connection fails; files that fail are in the report.

    """
    policy = Policy(options.if_exists, checksum=options.checksum)
    with Board() as board:

        def work(each: Connection, share: int, _: int, report: Report) -> None:
            with Filler(folder.fd) as filler:
                line = _Line(each, board, wanted, filler, report, options.algorithm)
                line.look_ahead(door.round_trip)
                if share:
                    board.join(each)
                    crew.work(each, board, line, report)
                    return
                try:
                    with Staging(folder, policy, options.durability) as staging:
                        _Leader(line, staging, options).run()
                finally:
                    board.end()

        at_once(door, connection, report, options.jobs or 1, work)


class _Line:
    """Asks for pieces on one connection, and for digests of whole files."""

    def __init__(
        self,
        connection: Connection,
        board: Board,
        wanted: Wanted,
        filler: Filler,
        report: Report,
        algorithm: str,
    ) -> None:
        self.connection = connection
        self.board = board
        self.wanted = wanted
        self._filler = filler
        self.report = report
        self._algorithm = algorithm
        self._under_way: deque[tuple[Deal, float]] = deque()  # and when they were asked for
        self._bytes = 0
        self._room = FIRST
        self._ahead = AHEAD
        self.digests: dict[int, str] = {}  # of whole files, by number

    def look_ahead(self, round_trip: float) -> None:
        """Ask for so much that it comes for longer than a round trip, which takes these seconds."""
        self._ahead = max(AHEAD, AHEAD_ROUNDS * round_trip)

    @property
    def is_idle(self) -> bool:
        return not self._under_way

    @property
    def has_room(self) -> bool:
        return self._bytes < self._room

    def ask_digest(self, number: int) -> None:
        """Ask for the digest of a whole file."""
        name, entry = self.wanted[number]
        self._under_way.append((Deal(number, 0, 0, ""), monotonic()))
        self.connection.send(
            ranged.DigestOf(name=name, total=entry.size, mtime=entry.mtime, hash=self._algorithm)
        )
        self.connection.flush()

    def add(self, deal: Deal) -> None:
        name, entry = self.wanted[deal.file]
        deal.tries += 1
        self._under_way.append((deal, monotonic()))
        self._bytes += deal.size
        self.connection.send(
            ranged.Slice(
                name=name,
                offset=deal.offset,
                size=deal.size,
                total=entry.size,
                mtime=entry.mtime,
                hash=self._algorithm,
            )
        )
        self.connection.flush()

    def collect(self) -> bool:
        return collect(self.connection, self._take)

    def _take(self, message: object) -> None:
        if not self._under_way or not isinstance(message, ranged.Hashed | protocol.Error):
            raise ProtocolError("an answer came that does not fit", Code.OUT_OF_ORDER)
        deal, asked = self._under_way.popleft()
        self._bytes -= deal.size
        if isinstance(message, protocol.Error):
            name = self.wanted[deal.file][0]
            self.board.failed(deal, requests.failure(message, name))
        elif deal.size:
            self._take_piece(deal, message.hash)
            self._adapt(deal.size, monotonic() - asked)
        else:
            self.digests[deal.file] = message.hash

    def _adapt(self, size: int, seconds: float) -> None:
        """Ask for more at a time if a piece came soon, for less if it did not.

        So a fast connection is never idle, and a slow one does not keep pieces that others could
        have sooner.
        """
        if seconds < self._ahead:
            self._room = min(MOST, self._room + size)
        else:
            self._room = max(FIRST, self._room - size)

    def _take_piece(self, deal: Deal, digest: str) -> None:
        name, entry = self.wanted[deal.file]

        def write(at: int, view: memoryview) -> None:
            self._filler.write(entry.name, deal.id, deal.offset + at, view)

        try:
            if not digest.startswith(f"{self._algorithm}:"):
                raise ProtocolError(f"a piece was not verified by {self._algorithm}")
            pieces.take(self.connection, deal.size, digest, write)
        except FileError as error:
            if error.code == Code.HASH_MISMATCH and deal.tries < TRIES:
                self.add(deal)
            else:
                self.board.failed(deal, FileError(error.code, name, error.text))
        else:
            self.report.moved += deal.size
            self.board.moved(deal)


class _Leader:
    """Begins and finishes the files, beside the first connection."""

    def __init__(self, line: _Line, staging: Staging, options: Options) -> None:
        self._line = line
        self._connection = line.connection
        self._board = line.board
        self._wanted = line.wanted
        self._report = line.report
        self._staging = staging
        self._options = options
        self._publisher = Publisher(staging, self._settle, self._tick)
        self._board.report = self._report

    def run(self) -> None:
        """Receive all files; the next one is begun before one is finished."""
        self._report.enter(RECEIVING)
        begun: dict[int, Assembly | None] = {}
        try:
            begun[0] = self._begin(0)
            for number in range(len(self._wanted)):
                assembly = begun[number]
                if assembly:
                    self._move(number, assembly)
                if number + 1 < len(self._wanted):
                    begun[number + 1] = self._begin(number + 1)
                if assembly:
                    is_last = number + 1 == len(self._wanted)
                    self._report.enter(VERIFYING if is_last else RECEIVING)
                    self._finish(number, assembly)
            self._report.enter(FLUSHING)
            self._publisher.finish()
            self._publisher.settle_identical()
        finally:
            self._report.enter("")
            for assembly in begun.values():
                if assembly:
                    assembly.discard()
            self._publisher.finish()

    def _begin(self, number: int) -> Assembly | None:
        """Make the temporary file of a file that is wanted."""
        _, entry = self._wanted[number]
        try:
            decision = self._staging.judge(entry, self._connection.keep_alive)
            if decision.choice is Choice.REFUSE:
                raise FileError(decision.code, entry.name, decision.text)
            if decision.choice is Choice.IDENTICAL:
                self._report.skip(entry.name, entry, protocol.IDENTICAL)
                return None
            if decision.choice is Choice.SKIP:
                self._report.skip(entry.name, entry, protocol.SKIPPED)
                return None
            assembly = Assembly(self._staging, entry)
        except FileError as error:
            self._report.fail(error, entry.size)
            return None
        self._line.ask_digest(number)
        self._board.deal(number, assembly.id, pieces.cut(entry.size, self._options.jobs or 1))
        return assembly

    def _move(self, number: int, assembly: Assembly) -> None:
        def is_settled() -> bool:
            assembly.note_progress()
            is_known = number in self._line.digests or number in self._board.failures
            return self._board.is_settled(number) and is_known

        crew.work(self._connection, self._board, self._line, self._report, is_settled)
        crew.settle(self._connection, self._board, self._line, self._report)
        self._board.exchange()

    def _finish(self, number: int, assembly: Assembly) -> None:
        """Verify a file as a whole, and have it published."""
        board, report = self._board, self._report
        failure, entry = board.failures.get(number), assembly.entry
        name = entry.name
        try:
            if failure:
                raise FileError(failure.code, name, failure.text)
            assembly.seal(self._tick)
            digest = assembly.digest(self._options.algorithm, self._tick)
            if digest != self._line.digests[number]:
                text = "the file that came does not match its hash"
                raise FileError(Code.HASH_MISMATCH, name, text)
            if self._options.expect:
                check_expected(digest, self._options.expect, name)
            item = assembly.finish(digest)
        except FileError as error:
            assembly.discard()
            board.settle(number, entry.size)
            report.fail(error, entry.size)
        else:
            board.settle(number, entry.size)
            report.confirm(entry)
            self._publisher.add(item)

    def _settle(self, settled: list[tuple[Item, Result]]) -> None:
        for item, result in settled:
            self._count(item.entry, result)

    def _count(self, entry: Entry, result: Result) -> None:
        report = self._report
        if result.error or result.choice in (Choice.IDENTICAL, Choice.SKIP):
            report.retract(entry)
        if result.error:
            report.fail(result.error, entry.size)
        elif result.choice is Choice.IDENTICAL:
            report.skip(entry.name, entry, protocol.IDENTICAL, result.name)
        elif result.choice is Choice.SKIP:
            report.skip(entry.name, entry, protocol.SKIPPED)
        else:
            is_kept = result.choice is Choice.KEEP_BOTH
            word = protocol.KEPT if is_kept else protocol.STORED
            report.arrived(entry.name, entry, word, result.name)

    def _tick(self) -> None:
        try:
            self._connection.keep_alive()
        except FilexferError:
            pass  # what is here whole is published all the same
