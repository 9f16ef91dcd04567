"""Checks that files still are what a manifest says, on this machine or on a server.

Where the files are on a server, the server hashes them: nothing is moved but the digests.

This module must not know the form of a manifest, or how the result is shown.
"""

from __future__ import annotations

from functools import partial

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL
from filexfer.errors import Code, FileError
from filexfer.hashing import new as new_hash
from filexfer.names import BadName, join, split
from filexfer.storage.folder import Folder
from filexfer.wire.digests import Question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from filexfer.client import Client
    from filexfer.entry import Entry
    from filexfer.hashing import Data, Hash
    from filexfer.receipts.manifest import Record
    from filexfer.storage.reading import Reading

_KINDS = {LINK: "a symbolic link", FOLDER: "a folder", SPECIAL: "a pipe, socket or device"}
RESULTS = SAME, DIFFERS, MISSING, UNREAD = "same", "differs", "missing", "unread"


class Finding:
    """What one file turned out to be.

    Attributes:
        name: As in the manifest.
        result: ``same``, ``differs``, ``missing`` or ``unread``.
        text: The same for people; in what way it differs, or why it could not be read.
        size: Bytes of the file, where it is the same.

    """

    __slots__ = ("name", "result", "size", "text")

    def __init__(self, name: str, result: str, text: str, size: int = 0) -> None:
        self.name = name
        self.result = result
        self.text = text
        self.size = size


def verify_local(
    records: Iterable[Record], path: str, moved: Callable[[int], object] = lambda _: None
) -> Iterator[Finding]:
    """Yield a finding for each record that has a digest; the files lie below a local folder.

    Links are not followed.

    Args:
        records: Of a manifest.
        path: The folder that their names are relative to.
        moved: Is called with the bytes that were hashed.

    Raises:
        LocalError: if *path* is no folder.

    """
    with Folder(path) as folder, folder.reading() as reading:
        for record in records:
            if record.digest:
                yield _judged(record, partial(_look, reading, record, moved))


def verify_remote(
    records: Iterable[Record],
    client: Client,
    folder: str = "",
    moved: Callable[[int], object] = lambda _: None,
) -> Iterator[Finding]:
    """Yield a finding for each record that has a digest; the files lie in a folder of a server.

    Findings need not come in the order of the records.

    Args:
        records: Of a manifest.
        client: To the server, which must give the right to read.
        folder: The name there that their names are relative to.
        moved: Is called with the bytes that were hashed, after each file.

    Raises:
        NetworkError: if the connection fails.
        RefusedError: if the server does not let us read.

    """
    refused: list[Finding] = []

    def questions() -> Iterator[Question]:
        for record in records:
            if record.digest:
                try:
                    name = join(folder, plain_name(record.name))
                    split(name)
                except (BadName, FileError) as error:
                    refused.append(Finding(record.name, UNREAD, _reason(error)))
                else:
                    yield _Asked(record, name)

    for asked in client.digests(questions()):
        assert isinstance(asked, _Asked)  # noqa: S101 - they were made above
        yield from refused
        refused.clear()
        if asked.digest and asked.entry:
            moved(asked.entry.size)
        yield _judged(asked.record, asked.answer)
    yield from refused


class _Asked(Question):
    """The question of one record."""

    __slots__ = ("record",)

    def __init__(self, record: Record, name: str) -> None:
        super().__init__(name, record.digest.partition(":")[0], record.size)
        self.record = record

    def answer(self, _: str) -> tuple[Entry | None, str]:
        if self.error:
            raise self.error
        return self.entry, self.digest


def plain_name(name: str) -> str:
    """Return a name as other programs write it (``./a``, ``a//b``) in the form of ours.

    Raises:
        FileError: if it leads elsewhere.

    """
    if name.startswith("/"):
        raise FileError(Code.BAD_NAME, name, "is not relative to the folder")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _judged(record: Record, look: Callable[[str], tuple[Entry | None, str]]) -> Finding:
    """Return the finding about one record."""
    try:
        entry, digest = look(plain_name(record.name))
    except FileError as error:
        return Finding(record.name, UNREAD, error.text)
    result, text = _compared(record, entry, digest)
    return Finding(record.name, result, text, entry.size if entry else 0)


def _compared(record: Record, entry: Entry | None, digest: str) -> tuple[str, str]:
    if entry is None:
        return MISSING, "is missing"
    if entry.type != FILE and record.result:
        return DIFFERS, f"is {_KINDS[entry.type]} now, and no file"
    if entry.type != FILE:  # others follow links, and may have done so
        return UNREAD, f"is {_KINDS[entry.type]}, and no file"
    if record.size not in (None, entry.size):
        return DIFFERS, f"has {entry.size} bytes, not {record.size}"
    return (SAME, "is the same") if digest == record.digest else (DIFFERS, "has other contents")


def _look(
    reading: Reading, record: Record, moved: Callable[[int], object], name: str
) -> tuple[Entry | None, str]:
    """Return what a local file is; its digest only if its size leaves that question."""
    try:
        entry = reading.stat(name)
    except FileError as error:
        if error.code in (Code.NOT_FOUND, Code.NOT_A_FOLDER):
            return None, ""
        raise
    if entry.type != FILE or record.size not in (None, entry.size):
        return entry, ""
    algorithm = record.digest.partition(":")[0]
    return entry, reading.digest(name, algorithm, lambda: None, lambda word: _Told(word, moved))


class _Told:
    """A hash that tells how much it has taken in."""

    def __init__(self, algorithm: str, moved: Callable[[int], object]) -> None:
        self._made: Hash = new_hash(algorithm)
        self._moved = moved
        self.hexdigest = self._made.hexdigest

    def update(self, data: Data) -> None:
        self._made.update(data)
        self._moved(len(data))


def _reason(error: Exception) -> str:
    return error.text if isinstance(error, FileError) else str(error)
