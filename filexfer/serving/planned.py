"""What a client's upload or download would do, answered by the server; nothing is written.

This module must not know how anything is decided.
"""

from __future__ import annotations

import logging

from filexfer.planning.exchange import GetAsker, PutAnswerer
from filexfer.report import Report
from filexfer.security import granted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.security.access import Grant
    from filexfer.transfer.sender import Sender
    from filexfer.wire.connection import Connection
    from filexfer.wire.protocol import Get, Put

logger = logging.getLogger("filexfer")


def put(connection: Connection, grant: Grant, message: Put) -> None:
    """Say what would become of all that the client could put."""
    with granted.dry_run(grant, message.if_exists, checksum=message.checksum) as staging:
        receiver = PutAnswerer(connection, staging, Report())
        receiver.ends_at_once = True  # as in a transfer
        receiver.run()
    logger.info("%s planned a put", connection.peer)


def sender(connection: Connection, message: Get, report: Report) -> Sender:
    """Return what names all that the client would get."""
    logger.info("%s plans a get", connection.peer)
    return GetAsker(connection, report, message.hash)
