"""The messages by which one large file moves over several connections: a part of the protocol.

One stream fills a long link badly. So a large file may move in pieces, over several connections of
one client at once: up by ``begin``, ``range`` and ``finish``, down by ``slice`` and ``digest``. A
``put`` or ``get`` before them names such a file by ``later`` in the place of ``file``: in a ``get``
every file that has no holes and at least *by_range* bytes, unless that is 0.

``begun`` has the id that ranges on any connection name; ``finish`` and ``abandon`` come on the
connection of ``begin``, and its end discards the file. Each piece has at most 8,388,608 bytes and
its own digest. One that is refused with ``hash_mismatch`` may be sent or asked for again. The
server hashes the whole once more at ``finish``; the client does the same with what it got. A slice
of a file that has another size or time by now is refused with ``changed``.

``filexfer.wire.protocol`` has the rest of the protocol, and says when they may come.

This module must not know sockets, clocks, threads or files.
"""

from __future__ import annotations

from filexfer.wire.schema import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.wire.schema import Algorithm, Digest, Flag, Mode, Name, Size, Time, Word

RANGE_MAX = 8 << 20  # bytes of one range or slice


class Later(Message, kind="later"):
    """Sender: an item that is only named; the client moves it in pieces afterwards."""

    name: Name
    size: Size
    mtime: Time = 0
    mode: Mode = 0o666


class Begin(Message, kind="begin"):
    """Client: a file is to come in ranges. *if_exists* and *checksum* are as in ``put``."""

    name: Name
    size: Size
    mtime: Time = 0
    mode: Mode = 0o666
    if_exists: Word = "error"
    checksum: Flag = False


class Begun(Message, kind="begun"):
    """Server: send it under this *id*; or, with a *result*, it is not to be sent."""

    id: Word = ""
    result: Word = ""


class Range(Message, kind="range"):
    """Client: some bytes of a file that was begun; a plain body of *size* bytes follows."""

    name: Name
    id: Word
    offset: Size
    size: Size
    hash: Digest


class Finish(Message, kind="finish"):
    """Client: all ranges were answered with ``ok``; *hash* is the digest of the whole file."""

    id: Word
    hash: Digest


class Abandon(Message, kind="abandon"):
    """Client: the file that was begun is not finished after all."""

    id: Word


class Slice(Message, kind="slice"):
    """Client: send some bytes of a file, as long as it has the size *total* and this time."""

    name: Name
    offset: Size
    size: Size
    total: Size
    mtime: Time
    hash: Algorithm = "xxh3_128"


class DigestOf(Message, kind="digest"):
    """Client: name the digest of a whole file, as long as it has the size *total* and this time."""

    name: Name
    total: Size
    mtime: Time
    hash: Algorithm = "xxh3_128"


class Hashed(Message, kind="hashed"):
    """Server: the digest that was asked for; of a slice, the plain body follows."""

    hash: Digest


REQUESTS = (Begin, Range, Finish, Abandon, Slice, DigestOf)
ANSWERS = (Begun, Hashed)
