"""Messages of the protocol to frames, and headers to messages, checked against what may come.

This module must not know sockets, or who talks: it turns values into bytes and back.
"""

from __future__ import annotations

from filexfer.errors import Code, ProtocolError, UsageError
from filexfer.wire import framing, header, schema
from filexfer.wire.protocol import (
    FRAME_MAX,
    HOLE,
    KINDS,
    PART_MAX,
    TRANSITIONS,
    Error,
    File,
    State,
    Store,
)
from filexfer.wire.schema import SchemaError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.wire.schema import Message

_FILE = ("name", "size", "hash", "mtime", "mode")  # as ``header.read`` returns them
SPELLING = (  # for plain clients that use another
    "name the fields 'name', 'size' and 'md5' (or 'hash'), "
    "and pack the length with '!I', not native 'i'"
)


def encode(message: Message) -> bytes:
    """Return *message* as a frame.

    Raises ProtocolError if it does not fit, UsageError if a name is half a surrogate pair.
    """
    try:
        written = message.write()
    except UnicodeEncodeError as error:
        raise UsageError(f"no file can have this name: {error.object!r}") from None
    if len(written) > FRAME_MAX:
        raise ProtocolError(f"a {message.kind} frame of {len(written)} bytes is too long")
    return framing.pack(written)


def file_frame(name: str, size: int, digest: str, mtime: int, mode: int) -> bytes:
    """Return the frame of a ``File`` with a plain body, six times as fast as ``encode``."""
    try:
        written = header.write(name, size, digest, mtime, mode)
        return framing.LENGTH.pack(len(written)) + written
    except UnicodeEncodeError:  # a name that is not UTF-8
        return encode(File(name=name, size=size, hash=digest, mtime=mtime, mode=mode))


def ask_frame(entries: list[str]) -> bytes:
    """Return the frame of an ``Ask`` about entries that ``schema.entry_text`` has written."""
    return framing.pack(f'{{"kind":"ask","entries":[{",".join(entries)}]}}'.encode())


def decode(data: bytes | memoryview, state: State) -> Message:
    """Return the message in the header *data*, which must be legal in *state*.

    Raises:
        ProtocolError: if it is malformed, unknown or out of order.

    """
    if state is State.TAKING and (checked := header.read(data)):
        return File.made(dict(zip(_FILE, checked, strict=True)))
    try:
        members = schema.read_object(data)
        kind = members.pop("kind", "")
        cls = KINDS.get(kind) if type(kind) is str else None
        if cls is Store:
            _as_store(members)
        if cls is None:
            raise ProtocolError(f"unknown kind of message {kind!r:.99}", Code.UNSUPPORTED)
        if cls in TRANSITIONS[state] or cls is Error:
            return cls.read(members)
    except SchemaError as error:
        raise ProtocolError(str(error)) from None
    text = f"a {kind or 'plain'} message came while waiting for {state.value}"
    raise ProtocolError(text, Code.OUT_OF_ORDER)


def _as_store(members: dict[str, object]) -> None:
    """Bring the spellings of plain clients into one."""
    if "file_name" in members or "file_size" in members:
        raise SchemaError(SPELLING)
    if "md5" in members and "hash" not in members:
        members["hash"] = f"md5:{members.pop('md5')}"


def bad_length(data: memoryview) -> ProtocolError:
    """Return the failure of a frame that begins with *data*, which is no length."""
    size, turned = (int.from_bytes(data, order) for order in ("big", "little"))
    hint = f"; {SPELLING}" if 1 <= turned <= FRAME_MAX else ""
    return ProtocolError(f"a frame's length must be 1 to {FRAME_MAX}, not {size}{hint}")


def part_length(data: memoryview) -> tuple[int, bool]:
    """Return the length of a part of a body, and whether it is a hole."""
    (length,) = framing.LENGTH.unpack(data)
    if length & HOLE:
        if length == HOLE:
            raise ProtocolError("a hole must not be empty")
        return length - HOLE, True
    if length > PART_MAX:
        raise ProtocolError(f"a part of a body must have at most {PART_MAX} bytes")
    return length, False
