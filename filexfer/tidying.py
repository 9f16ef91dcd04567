"""A client's requests about one name at a time: looks at what is on a server, and tidies it.

This module must not know transfers, or how a request travels.
"""

from __future__ import annotations

from filexfer.errors import Code, RefusedError
from filexfer.lasting import Lasting
from filexfer.report import Report
from filexfer.wire import protocol, requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from filexfer.entry import Entry
    from filexfer.wire.connection import Connection
    from filexfer.wire.digests import Question

    T = TypeVar("T")


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

        Finish it before the next call. If the connection is lost, it goes on with another one,
        and names nothing twice.

        Raises:
            FileError: if nothing of that name is there, or it may not be listed.

        """

        def unnamed(found: Iterator[tuple[Entry, bool]]) -> Iterator[Entry]:
            return (entry for entry, is_new in found if is_new)

        return self.follow(name, unnamed, recursive=recursive)

    def follow(
        self,
        name: str,
        take: Callable[[Iterator[tuple[Entry, bool]]], Iterator[T]],
        *,
        recursive: bool = False,
    ) -> Iterator[T]:
        """Yield what *take* makes of what lies in the folder *name* on the server.

        Finish it before the next call.

        Args:
            name: Of the folder.
            take: Is called with the listing: each entry, its name relative to the folder, and
                whether it is named for the first time. If the connection is lost, *take* is
                called again, with another listing from its beginning.
            recursive: Whether to name all that is below, a folder before what is in it.

        Raises:
            FileError: if nothing of that name is there, or it may not be listed.

        """
        from filexfer.relisting import Relisting  # noqa: PLC0415 - seldom needed

        plain = name.strip("/")
        named = Relisting()
        report = Report()

        def marked(found: Iterator[Entry]) -> Iterator[tuple[Entry, bool]]:
            for entry in found:
                is_new = named.is_new(entry)
                report.files += is_new
                yield entry, is_new

        def begin(connection: Connection) -> Iterator[T]:
            named.begin()
            return take(marked(requests.listing(connection, plain, recursive=recursive)))

        return self._continued(begin, report)

    def digest(self, name: str, algorithm: str = "xxh3_128") -> str:
        """Return the digest that the server makes of a file, as ``algorithm:hex``.

        Raises:
            FileError: if it is no file, may not be read, or changes meanwhile.

        """
        from filexfer.wire import digests  # noqa: PLC0415 - seldom needed

        question = digests.Question(name.strip("/"), algorithm)
        source, asked = iter([question]), digests.none_asked()
        return self._request(lambda each: next(digests.answers(each, source, asked))).found()

    def digests(self, questions: Iterable[Question]) -> Iterator[Question]:
        """Yield each question when the server has answered it: what a file is, and its digest.

        The server hashes; nothing else is moved. Many are under way at once. Finish it before the
        next call. If the connection is lost, what has no answer yet is asked on another one.

        Raises:
            RefusedError: if the server does not let us read; so it does not hash for us either.
            NetworkError: if the connection fails.

        """
        from filexfer.wire import digests  # noqa: PLC0415 - seldom needed

        source, asked = iter(questions), digests.none_asked()

        def begin(connection: Connection) -> Iterator[Question]:
            answers = digests.answers(connection, source, asked)
            for number, each in enumerate(answers):
                if not number and "read" not in self._door.rights:
                    raise RefusedError(Code.DENIED, "this server does not let you read files")
                yield each

        return self._continued(begin)

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

        return self._retrying(act, self._usual(), Report(), lambda: not was_sent)
