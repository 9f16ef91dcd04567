"""A client's requests about one name at a time: looks at what is on a server, and tidies it.

This module must not know transfers, or how a request travels.
"""

from __future__ import annotations

from filexfer.errors import Code, RefusedError
from filexfer.lasting import Lasting
from filexfer.options import Options
from filexfer.report import Report
from filexfer.wire import protocol, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from filexfer.entry import Entry
    from filexfer.wire.connection import Connection
    from filexfer.wire.digests import Question


class Tidying(Lasting):
    """A server, of which names are relative to the folder it serves.

    Args:
        door: Where it is.

    """

    def stat(self, name: str) -> Entry | None:
        """Return what *name* is on the server, or None if there is nothing."""
        plain = name.strip("/")
        return self._request(lambda connection: requests.stat(connection, [plain])[plain])

    def list(self, name: str = "", *, recursive: bool = False) -> Iterator[Entry]:
        """Yield what lies in the folder *name* on the server; names relative to it.

        Finish it before the next call.

        Raises:
            FileError: if nothing of that name is there, or it may not be listed.

        """
        plain = name.strip("/")
        return self._request(
            lambda connection: requests.listing(connection, plain, recursive=recursive)
        )

    def digest(self, name: str, algorithm: str = "xxh3_128") -> str:
        """Return the digest that the server makes of a file, as ``algorithm:hex``.

        Raises:
            FileError: if it is no file, may not be read, or changes meanwhile.

        """
        from filexfer.wire import digests  # noqa: PLC0415 - seldom needed

        question = digests.Question(name.strip("/"), algorithm)
        return self._request(lambda each: next(digests.answers(each, [question]))).found()

    def digests(self, questions: Iterable[Question]) -> Iterator[Question]:
        """Yield each question when the server has answered it: what a file is, and its digest.

        The server hashes; nothing else is moved. Many are under way at once. Finish it before the
        next call.

        Raises:
            RefusedError: if the server does not let us read; so it does not hash for us either.
            NetworkError: if the connection fails.

        """
        from filexfer.wire import digests  # noqa: PLC0415 - seldom needed

        def begin(connection: Connection) -> Iterator[Question]:
            answers = digests.answers(connection, questions)
            for number, each in enumerate(answers):
                if not number and "read" not in self._door.rights:
                    raise RefusedError(Code.DENIED, "this server does not let you read files")
                yield each

        return self._request(begin)

    def count_files(self, name: str = "") -> int:
        """Return how many files lie below a folder on the server, which counts to 1,000 at most.

        Raises:
            FileError: if they may not be listed.

        """
        plain = name.strip("/")
        return self._request(
            lambda connection: requests.count(connection, plain, lambda: self._door.rights)
        )

    def make_folder(self, name: str) -> None:
        """Make a folder on the server, and its missing parents; fine if it is there.

        Raises:
            FileError: if it cannot be made.

        """
        message = protocol.MakeFolder(name=name.strip("/"))
        self._request(lambda connection: requests.carry_out(connection, message))

    def remove(self, name: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or an empty folder; with *recursive* a folder and all in it.

        Raises:
            FileError: if there is nothing, or it may not be removed.

        """
        message = protocol.Remove(name=name.strip("/"), recursive=recursive)
        self._request(lambda connection: requests.carry_out(connection, message))

    def move(self, name: str, to: str, *, overwrite: bool = False) -> str:
        """Give a file, link or folder on the server another name, in one step.

        If the connection is lost on the way, there is no second try.

        Args:
            name: What it is called.
            to: What it shall be called; if that is a folder, or ends in a slash, the folder that
                it goes into under its own name. Missing folders are made.
            overwrite: Replace a file or link that has the name.

        Returns:
            The name that it has now.

        Raises:
            ConnectionLost: if it is not known whether it was moved.
            FileError: if it cannot be moved, or something else has the name.
            ProtocolError: if the server is too old for it.

        """
        message = requests.move_message(name, to, overwrite=overwrite)
        was_sent = False

        def act(connection: Connection) -> str:
            nonlocal was_sent
            requests.known(connection, [message.name])  # now it is certain that somebody listens
            was_sent = True
            return requests.move(connection, message)

        return self._retrying(act, Options(), Report(), lambda: not was_sent)
