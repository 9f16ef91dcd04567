"""What the files of a server are and what their digests are, many of them asked for at once.

This module must not know why anybody asks, or how connections are made.
"""

from __future__ import annotations

from collections import deque

from filexfer.entry import FILE
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.wire import protocol, ranged, requests
from filexfer.wire.protocol import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filexfer.entry import Entry
    from filexfer.wire.connection import Connection
    from filexfer.wire.schema import Message

UNDER_WAY = 200  # questions without an answer; their frames and answers have some 200 KB at most


class Question:
    """A file that something is to be found out about.

    Args:
        name: On the server.
        algorithm: Of the digest that is wanted; empty for none.
        size: Bytes; of a file with another size no digest is wanted.

    Attributes:
        entry: What it is; None where there is nothing.
        digest: ``algorithm:hex``, where one was wanted.
        error: Why that could not be found out.

    """

    __slots__ = ("algorithm", "digest", "entry", "error", "name", "size")

    def __init__(self, name: str, algorithm: str, size: int | None = None) -> None:
        self.name = name
        self.algorithm = algorithm
        self.size = size
        self.entry: Entry | None = None
        self.digest = ""
        self.error: FileError | None = None

    def forget(self) -> None:
        """Be as before it was asked."""
        self.entry, self.digest, self.error = None, "", None

    @property
    def wants_digest(self) -> bool:
        """Whether its size and type leave the question of its digest."""
        entry = self.entry
        if not entry or entry.type != FILE or not self.algorithm:
            return False
        return self.size in (None, entry.size)

    def found(self) -> str:
        """Return the digest.

        Raises:
            FileError: if there is none; says why.

        """
        if self.error:
            raise self.error
        if self.entry is None:
            raise FileError(Code.NOT_FOUND, self.name, "no such file or folder")
        if self.entry.type != FILE:
            raise FileError(Code.NOT_REGULAR, self.name, "is not a regular file")
        return self.digest


def none_asked() -> deque[Question]:
    """Return what ``answers`` keeps its questions in."""
    return deque()


def answers(
    connection: Connection, source: Iterator[Question], asked: deque[Question]
) -> Iterator[Question]:
    """Yield the questions as they are answered: size and type first, and the digest if need be.

    Args:
        connection: To the server.
        source: Of questions, in any number; few are taken at a time.
        asked: Those that were taken and have no answer yet: none at first. If the connection is
            lost, they are asked again by another call with the same *source*.

    Raises:
        NetworkError: if the connection fails.

    """
    for question in asked:
        question.forget()
    for question in asked:
        connection.send(protocol.Stat(name=question.name))
    is_more = True
    while True:
        while is_more and len(asked) < UNDER_WAY:
            another = next(source, None)
            if another is None:
                is_more = False
                break
            asked.append(another)
            connection.send(protocol.Stat(name=another.name))
        if not asked:
            return
        question = asked[0]  # it stays there until it is answered
        is_digest = question.wants_digest
        _take(question, _next(connection), is_digest=is_digest)
        if is_digest or question.error or not question.wants_digest:
            asked.popleft()
            yield question
        else:
            _ask_digest(connection, question)
            asked.rotate(-1)


def _ask_digest(connection: Connection, question: Question) -> None:
    assert question.entry  # noqa: S101 - it wants a digest
    connection.send(
        ranged.DigestOf(
            name=question.name,
            total=question.entry.size,
            mtime=question.entry.mtime,
            hash=question.algorithm,
        )
    )


def _take(question: Question, message: Message, *, is_digest: bool) -> None:
    if isinstance(message, protocol.Error):
        error = requests.failure(message, question.name)
        if is_digest or error.code not in (Code.NOT_FOUND, Code.NOT_A_FOLDER):
            question.error = error
    elif is_digest and isinstance(message, ranged.Hashed):
        if not message.hash.startswith(question.algorithm + ":"):
            raise ProtocolError("a digest is of another algorithm than asked for")
        question.digest = message.hash
    elif not is_digest and isinstance(message, protocol.Entries):
        question.entry = message.entries[0] if message.entries else None
    else:
        raise ProtocolError(f"the answer is a {message.kind}", Code.OUT_OF_ORDER)


def _next(connection: Connection) -> Message:
    """Return the next answer; what is queued goes out only when none is there."""
    while True:
        message = connection.message(State.ANSWERING)
        if message is None:
            connection.fill(inside=connection.has_input)
        elif type(message) is not protocol.Alive:
            return message
