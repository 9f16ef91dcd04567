"""One large body on its way from a connection to the disk, hashed as it comes.

When the disk refuses it, the rest is still taken in, so that the connection stays in step.

This module must not know what else comes on the connection, or what becomes of the file.
"""

from __future__ import annotations

from filexfer import hashing
from filexfer.entry import entry_of_file
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.names import shown
from filexfer.transfer.buffers import ROOM, borrowed
from filexfer.wire.codec import part_length
from filexfer.wire.framing import LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.entry import Entry
    from filexfer.hashing import Hash
    from filexfer.storage.contract import Item, Target, Writer
    from filexfer.wire.connection import Connection
    from filexfer.wire.protocol import Trailer

_ZEROS = memoryview(bytes(1 << 20))
_TICK = 64 << 20  # zeros between two words to the sender; hashed in some hundredths of a second


class LargeBody:
    """A body that is too large for memory, or of unknown size.

    Args:
        entry: The file, its size as announced (0 if unknown).
        announced: Its size in bytes as announced, or None.
        algorithm: Of its digest.
        refused: Is called at once when the disk refuses the file.
        moved: Is called with the size of each piece that is in.
        new_hash: Makes the hash.

    """

    def __init__(
        self,
        entry: Entry,
        announced: int | None,
        algorithm: str,
        *,
        refused: Callable[[FileError], object],
        moved: Callable[[int], object],
        new_hash: Callable[[str], Hash] = hashing.new,
    ) -> None:
        self._entry = entry
        self._announced = announced
        self._algorithm = algorithm
        self._refused = refused
        self._moved = moved
        self._hash = new_hash(algorithm)
        self._size = 0
        self._draft: Writer | None = None
        self._error: FileError | None = None

    def begin(self, staging: Target, *, sparse: bool) -> None:
        """Open the temporary file; a sparse one may need less space than its size."""
        entry = self._entry
        wanted = entry_of_file(entry.name, 0 if sparse else entry.size, entry.mtime, entry.mode)
        try:
            self._draft = staging.begin(wanted)
        except FileError as error:
            self._refuse(error)

    def receive_plain(self, connection: Connection, size: int) -> None:
        """Take in a plain body of *size* bytes."""
        self._guarded(lambda buffer: self._pieces(connection, buffer, size, 0))

    def receive_parts(self, connection: Connection) -> None:
        """Take in a body in parts, up to its end."""
        self._guarded(lambda buffer: self._parts(connection, buffer))

    def finish(self, digest: str) -> Item:
        """Verify the body and return the temporary file.

        Raises:
            FileError: if it was refused before, or is not what its digest says.

        """
        if self._draft is None:
            raise self._error or mismatch(self._entry.name)
        if hashing.text(self._algorithm, self._hash) != digest:
            self.discard()
            raise mismatch(self._entry.name)
        entry = self._entry
        entry.size, entry.extra = self._size, digest
        draft, self._draft = self._draft, None
        staged = draft.finish(entry)
        staged.entry = entry
        return staged

    def finish_by(self, trailer: Trailer) -> Item:
        """Verify by the trailer of a body in parts, and return the temporary file.

        Raises:
            FileError: as ``finish`` does, or if the sender gave up.

        """
        name = self._entry.name
        if trailer.code or not trailer.hash:
            self.discard()
            text = shown(trailer.text) or "the sender gave up"
            raise self._error or FileError(trailer.code or Code.ABORTED, name, text)
        if self._announced not in (None, self._size):
            self.discard()
            text = f"{self._size} bytes came instead of {self._announced}"
            raise self._error or FileError(Code.SIZE_MISMATCH, name, text)
        return self.finish(trailer.hash)

    def discard(self) -> None:
        """Remove what was written."""
        if self._draft:
            self._draft.discard()
            self._draft = None

    def _guarded(self, receive: Callable[[memoryview], object]) -> None:
        try:
            with borrowed() as buffer:
                receive(buffer)
        except BaseException:
            self.discard()
            raise

    def _parts(self, connection: Connection, buffer: memoryview) -> None:
        size, is_hole = part_length(connection.body(LENGTH.size))
        while size:
            if is_hole:
                self._skip(size, connection.keep_alive)
                size, is_hole = part_length(connection.body(LENGTH.size))
            else:  # the next length comes with the last bytes, in the same call
                size, is_hole = part_length(self._pieces(connection, buffer, size, ROOM))

    def _pieces(
        self, connection: Connection, buffer: memoryview, size: int, more: int
    ) -> memoryview:
        """Take in *size* bytes; return the *more* bytes that follow them."""
        rest = buffer[:0]
        while size:
            piece = min(size, len(buffer) - ROOM, connection.part)
            size -= piece
            taken = buffer[: piece if size else piece + more]
            connection.body_into(taken)
            view, rest = taken[:piece], taken[piece:]
            self._count(piece)
            if self._draft:
                self._hash.update(view)
                try:
                    self._draft.write(view)
                except FileError as error:
                    self._refuse(error)
            self._moved(piece)
        return rest

    def _skip(self, size: int, tick: Callable[[], object]) -> None:
        """Take in a hole; *tick* tells the sender that we are busy, and finds out if it has gone.

        A few bytes ask for much hashing here. So only as many zeros are hashed as were announced,
        none if the disk cannot hold them, and none for a sender that is not there any more.
        """
        if self._announced is None:
            raise ProtocolError("a body of unknown size must have no holes")
        self._count(size)
        if self._draft:
            try:
                self._draft.skip(size)
            except FileError as error:
                self._refuse(error)
        done = 0
        while done < size and self._draft:
            piece = min(size - done, len(_ZEROS))
            self._hash.update(_ZEROS[:piece])
            done += piece
            if not done % _TICK:
                tick()
        self._moved(size)

    def _count(self, size: int) -> None:
        self._size += size
        if self._announced is not None and self._size > self._announced:
            raise ProtocolError(f"the body of {shown(self._entry.name)} is longer than announced")

    def _refuse(self, error: FileError) -> None:
        self.discard()
        self._error = error
        self._refused(error)


def mismatch(name: str) -> FileError:
    """Return the failure of a body that is not what its hash says."""
    return FileError(Code.HASH_MISMATCH, name, "the bytes that came do not match their hash")
