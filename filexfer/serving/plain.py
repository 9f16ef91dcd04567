"""The server's half of what plain clients do: one whole file at a time, either way.

This module must not know which of them may do it, or what comes before and after.
"""

from __future__ import annotations

from filexfer.errors import ConnectionLost
from filexfer.names import shown
from filexfer.report import Report
from filexfer.security import granted
from filexfer.serving import logged
from filexfer.serving.transfers import CUT, Record
from filexfer.storage.reading import LargeFile
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.security.access import Grant
    from filexfer.wire.connection import Connection


def store(connection: Connection, grant: Grant, durability: str, message: protocol.Store) -> None:
    """Receive one file, publish it, and say so.

    Raises:
        FileError: if it is refused or fails; its body was read.

    """
    with granted.staging(grant, "error", durability) as staging:
        receiver = logged.receiver(connection, staging, Report(), grant.name)
        result, error = receiver.store(message)
    if error:
        raise error
    connection.send(
        protocol.Stored(name=message.name, size=message.size, hash=message.hash, result=result)
    )


def fetch(connection: Connection, grant: Grant, message: protocol.Fetch) -> None:
    """Send one file whole; its hash must come first, so it is read twice.

    Raises:
        FileError: if it cannot be read.

    """
    record = Record(connection.peer, grant.name, "get")
    digest = grant.folder.digest(message.name, message.hash, _no_tick)
    record.begin(message.name)
    with grant.folder.reading() as reading:
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
            _send_body(connection, file)
            record.add(message.name, entry.size, digest, "sent")
        finally:
            file.close()
            record.end(CUT)


def _send_body(connection: Connection, file: LargeFile) -> None:
    """Send the bytes; a file that changed meanwhile can only be answered by hanging up."""
    left = file.entry.size
    buffer = memoryview(bytearray(min(left, 256 << 10)))
    while left:
        got = file.read_into(buffer)
        if not got:
            raise ConnectionLost(f"{shown(file.entry.name)} became shorter while it was sent")
        connection.post(buffer[:got])
        connection.flush()
        left -= got


def _no_tick() -> None:
    """Do nothing: a plain client knows no ``alive``."""
