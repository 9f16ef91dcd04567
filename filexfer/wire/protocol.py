"""The wire protocol of filexfer, version 1: this text is its specification.

This module must not know sockets, clocks, threads or files, or how a message becomes bytes.

Frames
======
A frame is a length and a header. The length is unsigned, 32 bits, big-endian, 1 to 65,536; the
header is that many bytes of UTF-8: one JSON object, no member twice.

    +----+----+----+----+---------------------------+
    |  length N         |  N bytes: {"kind": ...}   |
    +----+----+----+----+---------------------------+

    end:      0000000e 7b226b696e64223a22656e64227d
    received: 0000001e 7b226b696e64223a227265636569766564222c22636f756e74223a31327d

``kind`` names the message; its fields are those of the classes below. Unknown members are ignored,
unknown kinds refused. Names are relative to the folder that is served, their components joined by
``/``; one that is not UTF-8 is written ``{"raw": "<base64>"}``. Digests are ``algorithm:hex``.

Bodies
======
    +------------+------------+      +------+------------------+--------------------+---+---------+
    | file, hash | size bytes |      | file | length and bytes | 0x80000000 + zeros | 0 | trailer |
    +------------+------------+      +------+------------------+--------------------+---+---------+

A ``file`` header with a ``hash`` is followed by a plain body: exactly ``size`` raw bytes. One
without is followed by a body in parts, each a 32-bit length of 1 to 4,194,304 and that many bytes.
A length with its highest bit set is a hole: so many zero bytes (1 to 2**31-1) that are not sent.
Length 0 ends the body, and a ``trailer`` frame follows: the digest of the whole by ``algorithm``,
or why there is none. ``size`` may be absent then (standard input); such a body has no holes.

The talk
========
The client sends ``hello``, with its token if it has one; the server answers ``welcome``, or an
``error`` of the code ``auth_failed``, which may also come later, when the token ends. Then the
client makes requests, each answered in turn; it need not wait for one answer before the next:

    stat -> entries (one or none)     list -> entries ... (until more is false)
    mkdir, remove -> ok               move -> moved (see ``moving``)
    probe_up and a body -> ok         probe_down -> ok and a body
    put -> the client sends items     get -> the server sends items
    begin -> begun                    range and a body -> ok (see ``ranged``)
    finish -> stored                  abandon -> ok
    digest -> hashed                  slice -> hashed and a body
    end -> both close

``put`` and ``get`` are one exchange with the roles turned. The sender sends items (``file``,
``folder``, ``link``, ``later``, or ``unsent`` for what it could not read) and then ``end``; the
receiver numbers the items from 1 as they come and replies, several to a packet, while more comes:

    received n    items up to n are in and verified, or have failed
    outcome  i    item i went otherwise than stored; comes before the done that covers it
    done     n    items up to n are settled: published, and as durable as was promised
    end           everything is settled; the connection is ready for the next request

A sender may ask first: ``ask`` names entries, and ``answer`` has one letter for each:

    s  send it                          i  identical: it is there already
    n  a new folder: ask nothing in it  k  what is there is kept; do not send
    d  ask again, digest in ``extra``   r  refused: see ``refused``

A side that is busy without moving bytes sends ``alive`` every 5 seconds. A fatal error is an
``error`` frame; its sender then reads and drops what is under way for a moment, and closes. Who
ends its direction before its ``end`` has gone: what it sent last need not be taken in any more.

``probe_up`` and ``probe_down`` measure the way and touch no disk. Their body is in parts, without
holes and without a trailer: exactly ``size`` bytes, at most 67,108,864, which mean nothing.

Between machines all this goes inside TLS 1.3; both sides ask for ``filexfer/1`` (ALPN). A server
that talks TLS answers a frame in the clear with an ``error`` in the clear, and closes.

The plainest peer
=================
A first frame without ``kind`` stores a file: name, size, and ``hash`` or ``md5`` (hex), then a
plain body of any size; the answer is one frame, ``stored`` or ``error``, and another file may
follow. ``{"kind": "fetch", "name": ..., "hash": "md5"}`` fetches one: the answer is a ``file``
frame with its hash and a plain body, or ``error``.

    store:  00000042 7b226e616d65223a22612e747874222c2273697a65223a322c226d6435223a2234396636\
38613563383439336563326330626634383938323163323166633362227d
    body:   6869
"""

from __future__ import annotations

from enum import Enum

from filexfer.wire import framing, moving, ranged
from filexfer.wire.schema import Message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.entry import Entry
    from filexfer.wire.schema import (
        Algorithm,
        Digest,
        Flag,
        Mode,
        Name,
        Refusal,
        Secret,
        Size,
        Text,
        Time,
        Word,
    )

VERSION = 1
FRAME_MAX = framing.MAX_FRAME
PART_MAX = 4 << 20
HOLE = 1 << 31  # the bit that marks a hole
PLAIN_MAX = 256 << 10  # bytes; our own senders use a plain body up to here
PROBE_MAX = 64 << 20  # bytes of one probe
ALIVE_EVERY = 5.0  # seconds


class Hello(Message, kind="hello"):
    """Client: the first frame; *token* says who it is, where the server asks for that."""

    version: Size
    program: Text = ""
    token: Secret = ""


class Welcome(Message, kind="welcome"):
    """Server: the answer to ``hello``; *rights* are what this client may do.

    Of what follows a server tells what it likes: its clock, for how many more bytes there is room
    for this client now, and how many one file may have. A drop box tells nothing of its room.
    """

    version: Size
    program: Text = ""
    rights: list[Word]
    time: Time | None = None
    free: Size | None = None
    max_file_size: Size | None = None


class Stat(Message, kind="stat"):
    """Client: say what *name* is, and how many files lie below it, counted up to *count*."""

    name: Name
    count: Size = 0


class List(Message, kind="list"):
    """Client: name what lies in the folder *name*."""

    name: Name
    recursive: Flag = False


class Entries(Message, kind="entries"):
    """Server: what was asked for; in a listing, names are relative to the folder listed."""

    entries: list[Entry]
    more: Flag = False
    files: Size = 0


class MakeFolder(Message, kind="mkdir"):
    """Client: make a folder and its missing parents."""

    name: Name


class Remove(Message, kind="remove"):
    """Client: remove a file, a link, an empty folder, or, *recursive*, a folder with all in it."""

    name: Name
    recursive: Flag = False


class Ok(Message, kind="ok"):
    """Server: the request was carried out."""


class ProbeUp(Message, kind="probe_up"):
    """Client: take this body in and drop it; needs the right to create."""

    size: Size


class ProbeDown(Message, kind="probe_down"):
    """Client: answer with ``ok`` and a body of this size; needs the right to read."""

    size: Size


class Put(Message, kind="put"):
    """Client: items follow, or in a *plan* only questions. *if_exists* is one of ``IF_EXISTS``."""

    if_exists: Word = "error"
    checksum: Flag = False
    plan: Flag = False


class Get(Message, kind="get"):
    """Client: send these, with questions unless *fresh*; *plan*: only ask (``planning.exchange``).

    With *shares* above 1 only what lies in folders of the share numbered *share* (from 0) is sent.
    Above 0, *by_range* is the size from which files without holes are only named.
    """

    names: list[Name]
    hash: Algorithm = "xxh3_128"
    fresh: Flag = False
    share: Size = 0
    shares: Size = 1
    by_range: Size = 0
    plan: Flag = False


class File(Message, kind="file"):
    """Sender: a file; its body follows."""

    name: Name
    size: Size | None = None
    hash: Digest = ""
    algorithm: Algorithm = "xxh3_128"
    mtime: Time = 0
    mode: Mode = 0o666
    sparse: Flag = False


class Folder(Message, kind="folder"):
    """Sender: a folder; mode and time are set after what lies in it.

    *again*: it was named before. *shared*: others fill it too; it is named again at the end.
    """

    name: Name
    mtime: Time = 0
    mode: Mode = 0o777
    again: Flag = False
    shared: Flag = False


class Link(Message, kind="link"):
    """Sender: a symbolic link."""

    name: Name
    target: Name
    mtime: Time = 0


class Unsent(Message, kind="unsent"):
    """Sender: an item that was found but could not be sent."""

    name: Name
    code: Word
    text: Text


class Trailer(Message, kind="trailer"):
    """Sender: ends a body in parts, with its digest or with the reason that there is none."""

    hash: Digest = ""
    code: Word = ""
    text: Text = ""


class Ask(Message, kind="ask"):
    """Sender: say which of these are wanted."""

    entries: list[Entry]


class Answer(Message, kind="answer"):
    """Receiver: one letter for each entry of the oldest unanswered ``ask``."""

    verdicts: Text
    refused: list[Refusal]


class Received(Message, kind="received"):
    """Receiver: items up to *count* are in, and *part* bytes of the next."""

    count: Size
    part: Size = 0


class Outcome(Message, kind="outcome"):
    """Receiver: what became of *item*: identical, skipped, kept (as *name*) or failed."""

    item: Size
    result: Word
    code: Word = ""
    text: Text = ""
    name: Name = ""


class Done(Message, kind="done"):
    """Receiver: items up to *count* are settled."""

    count: Size


class Alive(Message, kind="alive"):
    """Either: still busy."""


class End(Message, kind="end"):
    """Either: nothing more in this exchange, or on this connection."""


class Error(Message, kind="error"):
    """Either: this connection, or this request, fails."""

    code: Word
    text: Text
    fatal: Flag = True


class Store(Message, kind=""):
    """Plain client: a file; its plain body follows. The only message without a kind."""

    name: Name
    size: Size
    hash: Digest
    mtime: Time | None = None
    mode: Mode = 0o666
    token: Secret = ""


class Fetch(Message, kind="fetch"):
    """Plain client: send this file with a plain body."""

    name: Name
    hash: Algorithm = "sha256"
    token: Secret = ""


class Stored(Message, kind="stored"):
    """Server, to a plain client: the file is verified and published."""

    name: Name
    size: Size
    hash: Digest
    result: Word = "stored"


IF_EXISTS = ("error", "overwrite", "update", "skip", "keep-both")
STORED, IDENTICAL, SKIPPED, KEPT, FAILED = "stored", "identical", "skipped", "kept", "failed"
SEND, NEW_FOLDER, SAME, SKIP, WANT_DIGEST, REFUSE = "s", "n", "i", "k", "d", "r"

KINDS: dict[str, type[Message]] = {cls.kind: cls for cls in Message.__subclasses__()}


class State(Enum):
    """What a side is waiting for."""

    OPENING = "the first frame"  # server
    PLAIN = "a plain client's next file"  # server
    IDLE = "a request"  # server
    GREETING = "the welcome"  # client
    ANSWERING = "the answer to a request"  # client
    TAKING = "items"  # the receiver of an exchange
    BODY = "the trailer of a body"  # the receiver of an exchange
    GIVING = "replies to items"  # the sender of an exchange
    CLOSED = "nothing"


# What may come in each state, and the state it leads to. ``error`` may come in any.
TRANSITIONS: dict[State, dict[type[Message], State]] = {
    State.OPENING: {Hello: State.IDLE, Store: State.PLAIN, Fetch: State.PLAIN},
    State.PLAIN: {Store: State.PLAIN, Fetch: State.PLAIN, End: State.CLOSED},
    State.IDLE: {
        **dict.fromkeys((Stat, List, MakeFolder, Remove, ProbeUp, ProbeDown, Alive), State.IDLE),
        **dict.fromkeys((*ranged.REQUESTS, *moving.REQUESTS), State.IDLE),
        Put: State.TAKING,
        Get: State.GIVING,
        End: State.CLOSED,
    },
    State.GREETING: {Welcome: State.ANSWERING},
    State.ANSWERING: {
        **dict.fromkeys((Entries, Ok, Stored, File, Alive), State.ANSWERING),
        **dict.fromkeys((*ranged.ANSWERS, *moving.ANSWERS), State.ANSWERING),
        End: State.CLOSED,
    },
    State.TAKING: {
        **dict.fromkeys((File, Folder, Link, ranged.Later, Unsent, Ask, Alive), State.TAKING),
        End: State.IDLE,
    },
    State.BODY: {Trailer: State.TAKING},
    State.GIVING: {
        **dict.fromkeys((Answer, Received, Outcome, Done, Alive), State.GIVING),
        End: State.IDLE,
    },
    State.CLOSED: {},
}
