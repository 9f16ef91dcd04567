"""The server's half of one connection: what a client may ask for, and the answers.

This module must not know how connections are accepted, or in which thread or process it runs.
"""

from __future__ import annotations

import logging
from time import monotonic

from filexfer import __version__, probe, protocol, ranged
from filexfer.access import CREATE, DELETE, LIST, OVERWRITE, READ, RIGHTS
from filexfer.errors import (
    Code,
    ConnectionLost,
    CutShort,
    FileError,
    FilexferError,
    IntegrityError,
    ProtocolError,
    RefusedError,
    TimedOut,
)
from filexfer.later import Laters
from filexfer.names import shown
from filexfer.protocol import IF_EXISTS, State
from filexfer.ranges import Ranges
from filexfer.receiver import Receiver
from filexfer.report import Report
from filexfer.schema import written_size
from filexfer.sender import Sender
from filexfer.sources import Source, count, walk
from filexfer.storage.policy import Policy
from filexfer.storage.reading import LargeFile
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.access import Access, Grant
    from filexfer.connection import Connection
    from filexfer.schema import Message
    from filexfer.storage.folder import Folder

OPENING_SECONDS = 10.0  # for a client's first frame, all in all
_ENTRIES = 500  # of a listing in one frame
_ENTRIES_BYTES = 60_000
_COUNT_MAX = 1000  # files that are counted for a client, in about 2 ms

logger = logging.getLogger("filexfer")


class Session:
    """Serves one client.

    Args:
        connection: To the client.
        access: Decides what the client may do, and where.
        durability: ``none``, ``batch`` or ``file``.

    """

    _grant: Grant  # known once the client has said who it is
    _folder: Folder

    def __init__(self, connection: Connection, access: Access, durability: str) -> None:
        self._connection = connection
        self._access = access
        self._durability = durability
        self._ranges: Ranges | None = None
        self.is_busy = False  # whether a request is being carried out
        self.is_ending = False
        self._requests: dict[type[Message], tuple[str, Callable[..., None]]] = {}

    def run(self) -> None:
        """Serve the client until it ends; its faults and ours end this connection only."""
        connection = self._connection
        try:
            connection.deadline = monotonic() + OPENING_SECONDS
            connection.handshake()
            self._serve()
        except CutShort as error:
            logger.info("%s: %s", connection.peer, shown(str(error)))
            connection.fail(ProtocolError(str(error), Code.SIZE_MISMATCH))
        except (ProtocolError, RefusedError, TimedOut) as error:
            logger.info("%s: %s", connection.peer, shown(str(error)))
            connection.fail(error)
        except IntegrityError as error:
            connection.fail(ProtocolError(str(error)))
        except FilexferError as error:
            logger.info("%s: %s", connection.peer, shown(str(error)))
        except Exception:
            logger.exception("%s: fault in filexfer", connection.peer)
            connection.fail(ProtocolError("a fault in the server; see its log", Code.INTERNAL))
        finally:
            if self._ranges:
                self._ranges.close()
            connection.close()

    def end(self) -> None:
        """From another thread: make no more requests possible; one that is under way goes on."""
        self.is_ending = True
        if not self.is_busy:
            self._connection.interrupt()

    def abort(self) -> None:
        """From another thread: end at once."""
        self._connection.interrupt()

    def _serve(self) -> None:
        connection = self._connection
        state = State.OPENING
        while state is not State.CLOSED:
            self.is_busy = False
            message = self._next(state)
            if message is None:
                return
            self.is_busy = True
            connection.deadline = None
            kind = type(message)
            state = protocol.TRANSITIONS[state][kind]
            if isinstance(message, protocol.Hello):
                self._greet(message)
            elif kind is not protocol.Alive and kind is not protocol.End:
                if isinstance(message, protocol.Store | protocol.Fetch):
                    self._admit(message.token)
                self._grant.check()
                right, carry_out = self._requests[kind]
                self._carry_out(message, right, carry_out)
            if state in (State.TAKING, State.GIVING):  # the exchange was run to its end
                state = State.IDLE
            connection.flush()

    def _next(self, state: State) -> Message | None:
        """Return the next request; None if the client has gone between two."""
        connection = self._connection
        connection.flush()
        while (message := connection.message(state)) is None:
            if self.is_ending:
                return None
            try:
                connection.fill(inside=connection.has_input)
            except TimedOut:
                raise
            except ConnectionLost:
                if connection.has_input:
                    raise
                return None
        if self.is_ending:
            raise RefusedError(Code.SHUTTING_DOWN, "the server is shutting down")
        return message

    def _admit(self, token: str) -> None:
        """Find out what the bearer of *token* may do, and where."""
        grant = self._access.admit(token)
        if self._ranges:
            if grant is self._grant:
                return
            self._ranges.close()
        self._grant, self._folder = grant, grant.folder
        self._ranges = ranges = Ranges(self._connection, grant.folder, self._durability)
        self._requests = {
            protocol.Stat: (LIST, self._stat),
            protocol.List: (LIST, self._list),
            protocol.MakeFolder: (CREATE, self._make_folder),
            protocol.Remove: (DELETE, self._remove),
            protocol.ProbeUp: (CREATE, self._probe_up),
            protocol.ProbeDown: (READ, self._probe_down),
            ranged.Begin: (CREATE, self._begin),
            ranged.Range: (CREATE, ranges.range),
            ranged.Finish: (CREATE, ranges.finish),
            ranged.Abandon: (CREATE, ranges.abandon),
            ranged.Slice: (READ, ranges.slice),
            ranged.DigestOf: (READ, ranges.digest),
            protocol.Put: (CREATE, self._put),
            protocol.Get: (READ, self._get),
            protocol.Store: (CREATE, self._store),
            protocol.Fetch: (READ, self._fetch),
        }

    def _greet(self, message: protocol.Hello) -> None:
        if message.version != protocol.VERSION:
            raise ProtocolError(
                f"this server speaks version {protocol.VERSION} of the protocol, "
                f"not {message.version}",
                Code.UNSUPPORTED,
            )
        self._admit(message.token)
        self._connection.send(
            protocol.Welcome(
                version=protocol.VERSION,
                program=f"filexfer {__version__}",
                rights=[right for right in RIGHTS if right in self._grant.rights],
            )
        )

    def _carry_out(
        self, message: Message, right: str, carry_out: Callable[[Message], None]
    ) -> None:
        is_exchange = isinstance(message, protocol.Put | protocol.Get)
        is_plain = isinstance(message, protocol.Store | protocol.Fetch)
        if right not in self._grant.rights:
            if is_exchange or is_plain or isinstance(message, protocol.ProbeUp | ranged.Range):
                raise RefusedError(Code.DENIED, f"this server does not let you {_DEEDS[right]}")
            error = FileError(Code.DENIED, "", f"this server does not let you {_DEEDS[right]}")
            self._refuse(error)
            return
        try:
            carry_out(message)
        except FileError as error:
            if is_exchange:
                raise RefusedError(error.code, str(error)) from None
            self._refuse(error)

    def _refuse(self, error: FileError) -> None:
        self._connection.send(protocol.Error(code=error.code, text=str(error), fatal=False))

    # Requests

    def _stat(self, message: protocol.Stat) -> None:
        entry = self._folder.find(message.name)
        files = 0
        if entry and message.count:
            source = Source(self._folder, message.name, "", fresh=False)
            files = count(source, min(message.count, _COUNT_MAX))
        self._connection.send(protocol.Entries(entries=[entry] if entry else [], files=files))

    def _list(self, message: protocol.List) -> None:
        batch = []
        size = 0
        for entry in self._folder.list(message.name, recursive=message.recursive):
            batch.append(entry)
            size += 80 + written_size(entry.name) + written_size(entry.extra)
            if len(batch) >= _ENTRIES or size >= _ENTRIES_BYTES:
                self._connection.send(protocol.Entries(entries=batch, more=True))
                self._connection.flush()
                batch, size = [], 0
        self._connection.send(protocol.Entries(entries=batch))

    def _make_folder(self, message: protocol.MakeFolder) -> None:
        self._folder.make_folder(message.name)
        self._connection.send(protocol.Ok())

    def _remove(self, message: protocol.Remove) -> None:
        self._folder.remove(message.name, recursive=message.recursive)
        self._connection.send(protocol.Ok())

    def _probe_up(self, message: protocol.ProbeUp) -> None:
        probe.take(self._connection, message.size)
        self._connection.send(protocol.Ok())

    def _probe_down(self, message: protocol.ProbeDown) -> None:
        probe.check(message.size)
        self._connection.send(protocol.Ok())
        probe.give(self._connection, message.size)

    def _begin(self, message: ranged.Begin) -> None:
        assert self._ranges  # noqa: S101 - made before any request is carried out
        self._ranges.begin(message, self._policy(message.if_exists, checksum=message.checksum))

    def _policy(self, if_exists: str = "error", *, checksum: bool = False) -> Policy:
        return Policy(
            if_exists,
            checksum=checksum,
            may_overwrite=OVERWRITE in self._grant.rights,
            may_read=READ in self._grant.rights,
        )

    def _put(self, message: protocol.Put) -> None:
        if message.if_exists not in IF_EXISTS:
            raise ProtocolError(f"if_exists is none of {', '.join(IF_EXISTS)}")
        policy = self._policy(message.if_exists, checksum=message.checksum)
        report = Report()
        with Staging(self._folder, policy, self._durability) as staging:
            receiver = Receiver(self._connection, staging, report)
            receiver.later = Laters(0)
            receiver.run()
        logger.info(
            "%s put %d files, %d bytes, %d skipped, %d failed",
            self._connection.peer,
            report.files,
            report.bytes,
            report.skipped,
            report.failed,
        )

    def _get(self, message: protocol.Get) -> None:
        if not message.share < message.shares:
            raise ProtocolError("share must be below shares")
        report = Report()
        sender = Sender(self._connection, report, algorithm=message.hash, tell_unsent=True)
        sender.only_name(message.by_range)
        sources = [Source(self._folder, name, name, fresh=message.fresh) for name in message.names]
        sender.run(walk(sources, report, sender.fail, share=message.share, shares=message.shares))
        logger.info(
            "%s got %d files, %d bytes, %d skipped, %d failed",
            self._connection.peer,
            report.files,
            report.bytes,
            report.skipped,
            report.failed,
        )

    # Plain clients

    def _store(self, message: protocol.Store) -> None:
        with Staging(self._folder, self._policy(), self._durability) as staging:
            result, error = Receiver(self._connection, staging, Report()).store(message)
        if error:
            self._refuse(error)
            return
        self._connection.send(
            protocol.Stored(name=message.name, size=message.size, hash=message.hash, result=result)
        )
        logger.info("%s put %s, %d bytes", self._connection.peer, shown(message.name), message.size)

    def _fetch(self, message: protocol.Fetch) -> None:
        """Send one file whole; its hash must come first, so it is read twice."""
        connection = self._connection
        digest = self._folder.digest(message.name, message.hash, _no_tick)
        with self._folder.reading() as reading:
            entry = reading.stat(message.name)
            file = LargeFile(reading, entry)
            try:
                connection.send(
                    protocol.File(
                        name=message.name,
                        size=entry.size,
                        hash=digest,
                        mtime=entry.mtime,
                        mode=entry.mode,
                    )
                )
                self._send_plain_body(file)
            finally:
                file.close()

    def _send_plain_body(self, file: LargeFile) -> None:
        """Send the bytes; a file that changed meanwhile can only be answered by hanging up."""
        left = file.entry.size
        buffer = memoryview(bytearray(min(left, 256 << 10)))
        while left:
            got = file.read_into(buffer)
            if not got:
                raise ConnectionLost(f"{shown(file.entry.name)} became shorter while it was sent")
            self._connection.post(buffer[:got])
            self._connection.flush()
            left -= got


def _no_tick() -> None:
    """Do nothing: a plain client knows no ``alive``."""


_DEEDS = {
    READ: "read files",
    LIST: "list folders",
    CREATE: "upload files",
    OVERWRITE: "overwrite files",
    DELETE: "delete files",
}
