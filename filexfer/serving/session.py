"""The server's half of one connection: what a client may ask for, and the answers.

This module must not know how connections are accepted, or in which thread or process it runs.
"""

from __future__ import annotations

import logging

from filexfer.entry import FOLDER
from filexfer.errors import (
    Code,
    ConnectionLost,
    CutShort,
    FileError,
    FilexferError,
    IntegrityError,
    LocalError,
    ProtocolError,
    RefusedError,
    TimedOut,
)
from filexfer.measure import probe
from filexfer.names import shown
from filexfer.report import Report
from filexfer.security import granted
from filexfer.security.access import CREATE, DELETE, LIST, OVERWRITE, READ
from filexfer.serving import greeting, logged, plain
from filexfer.serving.limits import LISTING_PAGE
from filexfer.serving.transfers import Record
from filexfer.shared.ranges import Ranges
from filexfer.transfer.later import Laters
from filexfer.transfer.sources import Source, count, walk
from filexfer.wire import moving, protocol, ranged
from filexfer.wire.protocol import IF_EXISTS, State
from filexfer.wire.schema import written_size
from filexfer.wire.tls_only import shake_hands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.security.access import Access, Grant
    from filexfer.serving.admission import Ticket
    from filexfer.storage.folder import Folder
    from filexfer.transfer.sender import Sender
    from filexfer.wire.connection import Connection
    from filexfer.wire.schema import Message

_ENTRIES_BYTES = 60_000
_COUNT_MAX = 1000  # files that are counted for a client, in about 2 ms

logger = logging.getLogger("filexfer")


class Session:
    """Serves one client.

    Args:
        connection: To the client.
        access: Decides what the client may do, and where.
        durability: ``none``, ``batch`` or ``file``.
        ticket: Of the connection, which is counted.

    """

    _grant: Grant  # known once the client has said who it is
    _folder: Folder

    def __init__(
        self,
        connection: Connection,
        access: Access,
        durability: str,
        ticket: Ticket,
    ) -> None:
        self._connection = connection
        self._access = access
        self._durability = durability
        self.ticket = ticket
        self._ranges: Ranges | None = None
        self.is_busy = False  # whether a request is being carried out
        self.is_ending = False
        self._requests: dict[type[Message], tuple[str, Callable[..., None]]] = {}

    def run(self) -> None:
        """Serve the client until it ends; its faults and ours end this connection only."""
        connection = self._connection
        try:
            connection.deadline = self.ticket.deadline
            shake_hands(connection)
            self._serve()
        except CutShort as error:
            logger.info("%s: %s", connection.peer, shown(str(error)))
            connection.fail(ProtocolError(str(error), Code.SIZE_MISMATCH))
        except (ProtocolError, RefusedError, TimedOut) as error:
            level = logging.WARNING if _is_stranger(error) else logging.INFO
            logger.log(level, "%s: %s", connection.peer, shown(str(error)))
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
        if connection.is_full:
            connection.flush()
        message = connection.message(state)
        if message is None:  # else the answers to what came together go out together
            connection.flush()
            message = connection.message(state)
        while message is None:
            if self.is_ending:
                return None
            try:
                if connection.has_input:
                    connection.fill(inside=True)
                else:
                    connection.rest()
            except TimedOut:
                raise
            except ConnectionLost:
                if connection.has_input:
                    raise
                return None
            message = connection.message(state)
        if self.is_ending:
            raise RefusedError(Code.SHUTTING_DOWN, "the server is shutting down")
        return message

    def _admit(self, token: str) -> None:
        """Find out what the bearer of *token* may do, and where."""
        grant = self.ticket.admit(self._access, token)
        self._connection.grow()
        if self._ranges:
            if grant is self._grant:
                return
            self._ranges.close()
        self._grant, self._folder = grant, grant.folder
        self._ranges = ranges = Ranges(self._connection, grant, self._durability)
        self._requests = {
            # Who may read a file may know its size; how else would it be fetched?
            protocol.Stat: (READ if LIST not in grant.rights else LIST, self._stat),
            protocol.List: (LIST, self._list),
            protocol.MakeFolder: (CREATE, self._make_folder),
            protocol.Remove: (DELETE, self._remove),
            moving.Move: (DELETE, self._move),
            protocol.ProbeUp: (CREATE, self._probe_up),
            protocol.ProbeDown: (READ, self._probe_down),
            ranged.Begin: (CREATE, ranges.begin),
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
        self._connection.send(greeting.welcome(self._grant))
        self._connection.flush()  # at once: without it the client counts as not served

    def _carry_out(
        self, message: Message, right: str, carry_out: Callable[[Message], None]
    ) -> None:
        is_exchange = isinstance(message, protocol.Put | protocol.Get)
        is_plain = isinstance(message, protocol.Store | protocol.Fetch)
        if right not in self._grant.rights:
            if is_exchange or is_plain or isinstance(message, protocol.ProbeUp | ranged.Range):
                raise RefusedError(Code.DENIED, _denial(right))
            self._refuse(FileError(Code.DENIED, "", _denial(right)))
            return
        if right == CREATE and not isinstance(message, protocol.ProbeUp):
            self._folder.fault.check()
        try:
            carry_out(message)
        except FileError as error:
            if is_exchange:
                raise RefusedError(error.code, str(error)) from None
            self._refuse(error)
        except LocalError as error:
            raise RefusedError(Code.IO_ERROR, str(error)) from None

    def _refuse(self, error: FileError) -> None:
        self._connection.send(protocol.Error(code=error.code, text=str(error), fatal=False))

    # Requests

    def _stat(self, message: protocol.Stat) -> None:
        entry = self._folder.find(message.name)
        files = 0
        if entry and message.count and LIST in self._grant.rights:
            source = Source(self._folder, message.name, "", fresh=False)
            files = count(source, min(message.count, _COUNT_MAX))
        self._connection.send(protocol.Entries(entries=[entry] if entry else [], files=files))

    def _list(self, message: protocol.List) -> None:
        batch = []
        size = 0
        for entry in self._folder.list(message.name, recursive=message.recursive):
            batch.append(entry)
            size += 80 + written_size(entry.name) + written_size(entry.extra)
            if len(batch) >= LISTING_PAGE or size >= _ENTRIES_BYTES:
                self._connection.send(protocol.Entries(entries=batch, more=True))
                self._connection.flush()
                batch, size = [], 0
        self._connection.send(protocol.Entries(entries=batch))

    def _make_folder(self, message: protocol.MakeFolder) -> None:
        granted.make_folder(self._grant, message.name)
        self._log("mkdir", message.name)
        self._connection.send(protocol.Ok())

    def _remove(self, message: protocol.Remove) -> None:
        granted.remove(self._grant, message.name, recursive=message.recursive)
        self._log("remove", message.name)
        self._connection.send(protocol.Ok())

    def _move(self, message: moving.Move) -> None:
        for right in (CREATE, OVERWRITE) if message.overwrite else (CREATE,):
            if right not in self._grant.rights:
                raise FileError(Code.DENIED, "", _denial(right))
        self._folder.fault.check()
        name = granted.move(
            self._grant,
            message.name,
            message.to,
            into=message.into,
            overwrite=message.overwrite,
            durability=self._durability,
            tick=self._connection.keep_alive,
        )
        self._log("move", message.name, name)
        self._connection.send(moving.Moved(name=name))

    def _log(self, verb: str, name: str, to: str = "") -> None:
        record = Record(self._connection.peer, self._grant.name, verb)
        record.add(name, 0, "", "done", f"now {to}" if to else "")
        record.flush()

    def _probe_up(self, message: protocol.ProbeUp) -> None:
        probe.take(self._connection, message.size)
        self._connection.send(protocol.Ok())

    def _probe_down(self, message: protocol.ProbeDown) -> None:
        probe.check(message.size)
        self._connection.send(protocol.Ok())
        probe.give(self._connection, message.size)

    def _put(self, message: protocol.Put) -> None:
        if message.if_exists not in IF_EXISTS:
            raise ProtocolError(f"if_exists is none of {', '.join(IF_EXISTS)}")
        if message.plan:
            from filexfer.serving import planned  # noqa: PLC0415 - seldom asked for

            planned.put(self._connection, self._grant, message)
            return
        report = Report()
        with granted.staging(
            self._grant, message.if_exists, self._durability, checksum=message.checksum
        ) as staging:
            receiver = logged.receiver(self._connection, staging, report, self._grant.name)
            receiver.later = Laters(0)
            receiver.tells_parts = True
            receiver.ends_at_once = True  # the client's next try may have come already
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
        sender: Sender
        if message.plan:
            from filexfer.serving import planned  # noqa: PLC0415 - seldom asked for

            sender = planned.sender(self._connection, message, report)
        else:
            sender = logged.sender(self._connection, report, message.hash, self._grant.name)
            sender.only_name(message.by_range)
        sources = [Source(self._folder, name, name, fresh=message.fresh) for name in message.names]
        sources = self._without_folders(sources, sender)
        reader, share, shares = sender.reader, message.share, message.shares
        sender.run(walk(sources, report, sender.fail, reader, share=share, shares=shares))
        if message.plan:
            return
        logger.info(
            "%s got %d files, %d bytes, %d skipped, %d failed",
            self._connection.peer,
            report.files,
            report.bytes,
            report.skipped,
            report.failed,
        )

    def _store(self, message: protocol.Store) -> None:
        plain.store(self._connection, self._grant, self._durability, message)

    def _fetch(self, message: protocol.Fetch) -> None:
        plain.fetch(self._connection, self._grant, message)

    def _without_folders(self, sources: list[Source], sender: Sender) -> list[Source]:
        """Return the sources that may be sent: to send a folder is to list what is in it."""
        if LIST in self._grant.rights:
            return sources
        kept = []
        for source in sources:
            try:
                entry = self._folder.find(source.name)
            except FileError:
                entry = None  # the walk finds out and tells
            if entry and entry.type == FOLDER:
                sender.fail(FileError(Code.DENIED, source.wire_name, _denial(LIST)))
            else:
                kept.append(source)
        return kept


def _denial(right: str) -> str:
    return f"this server does not let you {_DEEDS[right]}"


def _is_stranger(error: FilexferError) -> bool:
    """Tell whether somebody tried to get in who may not."""
    return isinstance(error, RefusedError) and error.code == Code.AUTH_FAILED


_DEEDS = {
    READ: "read files",
    LIST: "list folders",
    CREATE: "upload files",
    OVERWRITE: "overwrite files",
    DELETE: "delete files",
}
