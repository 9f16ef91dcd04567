"""Compares a local tree with one on a server, folder by folder, without moving any contents.

The server's listing comes in one stream, in which what lies in a folder follows it; the local
folders are read as they are met. So memory holds the entries of the folders that are open, and of
files to be compared by digest nothing: they wait on disk until the listing has ended.

This module must not know how differences are shown.
"""

from __future__ import annotations

import marshal
import os
from tempfile import TemporaryFile

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL, Entry, same_time
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.hashing import DEFAULT
from filexfer.names import join
from filexfer.storage.folder import Folder
from filexfer.wire.digests import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO

    from filexfer.client import Client
    from filexfer.storage.reading import Reading

ONLY_LOCAL, ONLY_REMOTE = "only local", "only remote"
TYPE, SIZE, TIME, DIGEST, TARGET = "type", "size", "time", "digest", "target"
UNREAD = "unread"
PASSED_OVER = "passed over"


class Difference:
    """Something that is not the same on both sides.

    Attributes:
        what: ``only local``, ``only remote``, ``type``, ``size``, ``time``, ``digest``,
            ``target`` (of a link), or ``unread`` for what could not be compared, or, which is no
            difference, ``passed over`` for pipes, sockets and devices, which are never sent.
        name: Relative to the two trees; empty if they themselves are meant.
        local: What it is here, if it is there.
        remote: What it is on the server, if it is there.
        text: Why it could not be compared.

    """

    __slots__ = ("local", "name", "remote", "text", "what")

    def __init__(
        self,
        what: str,
        name: str,
        local: Entry | None = None,
        remote: Entry | None = None,
        text: str = "",
    ) -> None:
        self.what = what
        self.name = name
        self.local = local
        self.remote = remote
        self.text = text


class Comparison:
    """One comparison of a local tree with one on a server.

    Args:
        local: Path of a folder or file; links in the path itself are followed.
        client: To the server.
        remote: The name there.
        checksum: Compare the contents of files of one size by digest, and no times.
        algorithm: Of the digests.

    Attributes:
        compared: Files and links that were there on both sides, so far.
        hashed: Bytes that were hashed on either side.
        on_progress: Is called with this object whenever that changes.

    """

    def __init__(
        self,
        local: str,
        client: Client,
        remote: str,
        *,
        checksum: bool = False,
        algorithm: str = DEFAULT,
    ) -> None:
        self._path = local
        self._client = client
        self._remote = remote.strip("/")
        self._checksum = checksum
        self._algorithm = algorithm
        self._to_hash: IO[bytes] | None = None
        self.compared = 0
        self.hashed = 0
        self.on_progress: Callable[[Comparison], object] | None = None

    def __iter__(self) -> Iterator[Difference]:
        """Yield what differs, as it is found.

        Raises:
            FileError: if either is not there, or the server does not let us list.
            LocalError: if the local folder cannot be read.
            NetworkError: if the connection fails.

        """
        there = self._client.stat(self._remote)
        if there is None:
            raise FileError(Code.NOT_FOUND, self._remote, "no such file or folder on the server")
        root, part = _split(self._path)
        with Folder(root) as folder, folder.reading() as reading, TemporaryFile() as to_hash:
            self._to_hash = to_hash if self._checksum else None
            here = reading.stat(part)
            here.name = there.name = ""
            if here.type == there.type == FOLDER:
                walk = _Walk(self, reading)
                yield from self._client.follow(self._remote, walk.differences, recursive=True)
                yield from walk.rest()
            elif found := self.judge(here, there):
                yield found
            if self._checksum:
                yield from self._by_digest(reading, part)

    def judge(self, here: Entry, there: Entry) -> Difference | None:
        """Return how two entries of one name differ, as far as can be said at once."""
        if here.type != there.type:
            return Difference(TYPE, here.name, here, there)
        if here.type in (FOLDER, SPECIAL):
            return None if here.type == FOLDER else _passed_over(here.name, here, there)
        self.compared += 1
        self._progress()
        if here.type == LINK:
            is_same = here.extra == there.extra
            return None if is_same else Difference(TARGET, here.name, here, there)
        if here.size != there.size:
            return Difference(SIZE, here.name, here, there)
        if self._to_hash and here.type == FILE:
            marshal.dump((here.name, here.size, here.mtime, there.mtime), self._to_hash)
        elif here.type == FILE and not same_time(here.mtime, there.mtime):
            return Difference(TIME, here.name, here, there)
        return None

    def _by_digest(self, reading: Reading, part: str) -> Iterator[Difference]:
        """Compare the contents of those of which sizes do not tell."""
        for asked in self._client.digests(self._questions()):
            assert isinstance(asked, _Asked)  # noqa: S101 - they were made below
            name, here, there = asked.here.name, asked.here, asked.there
            try:
                if asked.error:
                    raise asked.error
                if not asked.digest:
                    raise FileError(Code.CHANGED, name, "has changed since it was listed")
                digest = reading.digest(part or name, self._algorithm, self._client.keep_alive)
            except FileError as error:
                yield Difference(UNREAD, name, here, there, error.text)
                continue
            self.hashed += here.size
            self._progress()
            if digest != asked.digest:
                yield Difference(DIGEST, name, here, there)

    def _progress(self) -> None:
        if self.on_progress:
            self.on_progress(self)

    def _questions(self) -> Iterator[_Asked]:
        file = self._to_hash
        assert file  # noqa: S101 - made before
        size = file.tell()
        file.seek(0)
        while file.tell() < size:
            name, length, here, there = marshal.load(file)  # noqa: S302 - our own
            yield _Asked(
                *(join(self._remote, name), self._algorithm),
                *(Entry(name, FILE, length, here), Entry(name, FILE, length, there)),
            )


class _Asked(Question):
    """The question of one file's digest."""

    __slots__ = ("here", "there")

    def __init__(self, name: str, algorithm: str, here: Entry, there: Entry) -> None:
        super().__init__(name, algorithm, there.size)
        self.here = here
        self.there = there


class _Walk:
    """Follows the server's listing through the local folders.

    If that is cut off, the folders that are open wait for the next one, which may have another
    order.
    """

    def __init__(self, comparison: Comparison, reading: Reading) -> None:
        self._comparison = comparison
        self._reading = reading
        # The folders that are open, innermost last, and what of them the server has not named yet.
        self._open: list[tuple[str, dict[str, Entry]]] = []
        self._cut: dict[str, dict[str, Entry]] = {}
        self._unread: list[Difference] = []

    def differences(self, listed: Iterator[tuple[Entry, bool]]) -> Iterator[Difference]:
        """Yield what differs, as far as one listing goes; what an earlier one named is known."""
        self._cut.update(self._open)
        self._open.clear()
        self._enter("")
        passed = "/"  # a folder that is only on the server or was compared before, with a slash
        for there, is_new in listed:
            if there.name.startswith(passed):
                continue
            if not is_new and there.name not in self._cut:
                passed = there.name + "/" if there.type == FOLDER else passed
                continue
            yield from self._leave_all_but(there.name.rpartition("/")[0])
            if not is_new:
                self._enter(there.name)
                continue
            here = self._open[-1][1].pop(there.name, None)
            if here is None:
                yield _only(ONLY_REMOTE, there)
            elif found := self._comparison.judge(here, there):
                yield found
            if there.type == FOLDER and here and here.type == FOLDER:
                self._enter(there.name)
            elif there.type == FOLDER:
                passed = there.name + "/"
            yield from self._told()
        yield from self._leave_all_but(None)

    def rest(self) -> Iterator[Difference]:
        """Yield what is only here of folders that have gone from the server meanwhile."""
        self._open.extend(self._cut.items())
        yield from self._leave_all_but(None)

    def _enter(self, name: str) -> None:
        """Open a local folder, again if a listing was cut off in it."""
        if name in self._cut:
            self._open.append((name, self._cut.pop(name)))
            return
        found: dict[str, Entry] = {}
        entries = self._reading.walk(name, self._note, recursive=False)
        for entry in entries:
            if entry.name != name:
                found[entry.name] = entry
        self._open.append((name, found))

    def _leave_all_but(self, above: str | None) -> Iterator[Difference]:
        """Close the folders that *above* is not in; what is left in them is only here."""
        while self._open and self._open[-1][0] != above:
            name, left = self._open[-1]
            if above is not None and (not name or above.startswith(name + "/")):
                raise ProtocolError("the listing names something whose folder it did not name")
            self._open.pop()
            for entry in sorted(left.values(), key=lambda entry: entry.name):
                yield _only(ONLY_LOCAL, entry)

    def _note(self, error: FileError) -> None:
        self._unread.append(Difference(UNREAD, error.name, text=error.text))

    def _told(self) -> Iterator[Difference]:
        yield from self._unread
        self._unread.clear()


def _only(what: str, entry: Entry) -> Difference:
    """Return what is to be said of something that is on one side only."""
    sides = (entry, None) if what == ONLY_LOCAL else (None, entry)
    if entry.type == SPECIAL:
        return _passed_over(entry.name, *sides)
    return Difference(what, entry.name, *sides)


def _passed_over(name: str, here: Entry | None, there: Entry | None) -> Difference:
    return Difference(PASSED_OVER, name, here, there, "is a pipe, socket or device")


def _split(path: str) -> tuple[str, str]:
    """Return a local folder, and the name of a file in it if it is one."""
    if os.path.isdir(path):
        return path, ""
    root, part = os.path.split(os.path.realpath(path))
    return root, part
