"""Requests about one name at a time, and their answers.

This module must not know how connections are made, or what the answers are for.
"""

from __future__ import annotations

from filexfer.errors import Code, FileError, ProtocolError
from filexfer.names import shown
from filexfer.wire import moving, protocol
from filexfer.wire.protocol import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeVar

    from filexfer.entry import Entry
    from filexfer.wire.connection import Connection
    from filexfer.wire.schema import Message

    Answer = TypeVar("Answer", bound=Message)


_COUNT_MAX = 1 << 40  # files; every server has a limit of its own
_TOGETHER = 1000  # requests before their answers are read; more could fill both directions


def stat(connection: Connection, names: Sequence[str]) -> dict[str, Entry | None]:
    """Return what each name is, or None where there is nothing; a thousand in a round trip.

    Raises:
        FileError: if that may not be known.

    """
    return look(connection, names)[0]


def look(
    connection: Connection, names: Sequence[str], most: int = 0
) -> tuple[dict[str, Entry | None], int]:
    """Return what each name is, and how many files lie there in all, counted up to *most*.

    Raises:
        FileError: if that may not be known.

    """
    found: dict[str, Entry | None] = {}
    files = 0
    for first in range(0, len(names), _TOGETHER):
        files += _look(connection, names[first : first + _TOGETHER], most, found)
    return found, files


def known(connection: Connection, names: Sequence[str]) -> dict[str, Entry | None]:
    """Return what each name is, as ``stat`` does, or nothing at all if that may not be known."""
    try:
        return stat(connection, names)
    except FileError:
        return {}


def _look(
    connection: Connection, names: Sequence[str], most: int, found: dict[str, Entry | None]
) -> int:
    for name in names:
        connection.send(protocol.Stat(name=name, count=most) if most else protocol.Stat(name=name))
    connection.flush()
    failure: FileError | None = None
    files = 0
    for name in names:  # every answer is read, also after a failure
        try:
            answer = read(connection, protocol.Entries, name)
        except FileError as error:
            if error.code != Code.NOT_A_FOLDER:
                failure = error
            found[name] = None
        else:
            found[name] = answer.entries[0] if answer.entries else None
            files += answer.files
    if failure:
        raise failure
    return files


def count(connection: Connection, name: str, rights: Callable[[], frozenset[str]]) -> int:
    """Return how many files lie below a folder, as far as the server counts.

    Args:
        connection: To the server.
        name: Of the folder.
        rights: Says, after an answer, what the server allows.

    Raises:
        FileError: if they may not be listed.

    """
    files = look(connection, [name], _COUNT_MAX)[1]
    if "list" not in rights():
        raise FileError(Code.DENIED, name, "this server does not let you list folders")
    return files


def listing(connection: Connection, name: str, *, recursive: bool) -> Iterator[Entry]:
    """Return what lies in a folder; the first piece has come when this returns.

    Raises:
        FileError: if nothing of that name is there, or it may not be listed.

    """
    connection.send(protocol.List(name=name, recursive=recursive))
    return _pieces(connection, name, read(connection, protocol.Entries, name))


def _pieces(connection: Connection, name: str, answer: protocol.Entries) -> Iterator[Entry]:
    yield from answer.entries
    while answer.more:
        answer = read(connection, protocol.Entries, name)
        yield from answer.entries


def carry_out(connection: Connection, message: protocol.MakeFolder | protocol.Remove) -> None:
    """Make a request that has no result.

    Raises:
        FileError: if it fails.

    """
    connection.send(message)
    read(connection, protocol.Ok, message.name)


def move_message(name: str, to: str, *, overwrite: bool) -> moving.Move:
    """Return the request that gives *name* another name; a slash ends the name of a folder."""
    message = moving.Move(name=name.strip("/"), to=to.strip("/"))
    if to.endswith("/"):
        message.into = True
    if overwrite:
        message.overwrite = True
    return message


def move(connection: Connection, message: moving.Move) -> str:
    """Give something another name, and return it.

    Raises:
        FileError: if that fails.
        ProtocolError: if the server is too old for it.

    """
    connection.send(message)
    try:
        return read(connection, moving.Moved, message.name).name
    except ProtocolError as error:
        if error.code != Code.UNSUPPORTED:
            raise
        text = f"the server is too old to move anything: update filexfer there ({error})"
        raise ProtocolError(text, error.code) from error


def carry_out_all(
    connection: Connection, messages: Sequence[protocol.MakeFolder | protocol.Remove]
) -> Iterator[FileError | None]:
    """Make many requests that have no result; yield for each why it failed, or None."""
    for first in range(0, len(messages), _TOGETHER):
        batch = messages[first : first + _TOGETHER]
        for message in batch:
            connection.send(message)
        connection.flush()
        for message in batch:
            try:
                read(connection, protocol.Ok, message.name)
            except FileError as error:
                yield error
            else:
                yield None


def read(connection: Connection, kind: type[Answer], name: str) -> Answer:
    """Return the answer to the oldest request that has none.

    Raises:
        FileError: if the server says that the request failed.
        ProtocolError: if the answer is of another kind.

    """
    answer = connection.read(State.ANSWERING)
    if isinstance(answer, protocol.Error):
        raise failure(answer, name)
    if not isinstance(answer, kind):
        raise ProtocolError(f"the answer is a {answer.kind}", Code.OUT_OF_ORDER)
    return answer


def failure(answer: protocol.Error, name: str) -> FileError:
    """Return why the request about *name* failed."""
    text = answer.text.removeprefix(f"{shown(name) or '.'}: ").removeprefix(".: ")
    return FileError(answer.code, name, shown(text))
