"""The message by which something on the server gets another name: a part of the protocol.

    move -> moved

A file, link or folder is taken from *name* to *to*, in one step. If *to* is a folder, or *into* is
set, it goes into that folder and keeps the last component of its name. Folders that are missing on
the way are made. A name that is taken is refused with ``exists``, unless *overwrite* is set; then
a file or link takes the place of another one, but never that of a folder. No link is followed. The
answer comes when it is as durable as was promised, and has the name that it has now.

That takes the rights to delete and to create, and with *overwrite* the one to overwrite; in a drop
box nothing is moved. A folder is not moved into itself, nor anything to where the names of what is
in it would be too long, or a link would lead out of the folder that is served.

A server that is too old for it ends the talk, as after any kind that it does not know.

This module must not know sockets, clocks, threads or files.
"""

from __future__ import annotations

from filexfer.wire.schema import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.wire.schema import Flag, Name


class Move(Message, kind="move"):
    """Client: give what is called *name* another name."""

    name: Name
    to: Name
    into: Flag = False
    overwrite: Flag = False


class Moved(Message, kind="moved"):
    """Server: this is its name now."""

    name: Name


REQUESTS = (Move,)
ANSWERS = (Moved,)
