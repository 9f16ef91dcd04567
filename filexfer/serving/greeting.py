"""What a server tells a client that it lets in.

This module must not know connections, or who is let in.
"""

from __future__ import annotations

from time import time_ns

from filexfer import __version__
from filexfer.security import granted
from filexfer.security.access import RIGHTS
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.security.access import Grant


def welcome(grant: Grant) -> protocol.Welcome:
    """Return the answer to a client that may do what *grant* says."""
    return protocol.Welcome(
        version=protocol.VERSION,
        program=f"filexfer {__version__}",
        rights=[right for right in RIGHTS if right in grant.rights],
        time=time_ns(),
        free=granted.room(grant),
        max_file_size=granted.largest(grant),
    )
