"""Notes of the servers that let clients in by a file of tokens: who adds one finds its server.

Beside the file, each has a note of its own, which it keeps locked as long as it runs. So it is
certain whether a server still runs, also after it was killed; the note of the last one stays.

This module must not know what a server does, or what a note is good for.
"""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress

from filexfer.errors import FilexferError
from filexfer.security import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Note:
    """What is known of a server.

    Args:
        host: The address it listens on.
        port: Its TCP port.
        tls: Whether it talks TLS.
        cert: The file of its certificate; None for its own.
        key: The file of the certificate's key; None if it is in the same file, or its own.

    Attributes:
        runs: Whether it runs now.

    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: bool = False,
        cert: str | None = None,
        key: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.tls = tls
        self.cert = cert and os.path.abspath(cert)
        self.key = key and os.path.abspath(key)
        self.runs = False

    def written(self) -> dict[str, object]:
        """Return it as it stands in its file."""
        return {name: value for name, value in vars(self).items() if name != "runs"}


@contextmanager
def noted(path: str, note: Note) -> Iterator[None]:
    """Keep a note beside the file of tokens at *path*, locked while the block runs.

    Notes of servers that run no more are taken away. Where none can be written, there is none:
    a server does not need it.
    """
    fd = None
    with suppress(FilexferError, OSError), private.locked(path):
        for old, its_fd in _opened(path):
            with open(its_fd, "rb"):
                if _is_free(its_fd):
                    os.unlink(old)
        fd = _written(f"{_prefix(path)}{os.urandom(4).hex()}", note)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def servers(path: str) -> list[Note]:
    """Return the servers with the file of tokens at *path* that run now, the newest last.

    If none runs, the last one that did. Who may not read the notes is told of none.
    """
    found: list[tuple[int, Note]] = []
    with suppress(FilexferError, OSError), private.locked(path):
        for name, fd in _opened(path):
            with open(fd, "rb"):
                note = _read(name)
                if note:
                    note.runs = not _is_free(fd)
                    found.append((os.fstat(fd).st_mtime_ns, note))
    notes = [note for _, note in sorted(found, key=lambda each: each[0])]
    return [note for note in notes if note.runs] or notes[-1:]


def _prefix(path: str) -> str:
    return os.path.realpath(path) + ".server-"


def _opened(path: str) -> Iterator[tuple[str, int]]:
    """Yield each note's path and a descriptor of it, which is the caller's."""
    folder, begin = os.path.split(_prefix(path))
    for part in sorted(os.listdir(folder)):
        if part.startswith(begin):
            name = os.path.join(folder, part)
            yield name, os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)


def _written(name: str, note: Note) -> int:
    """Write a note, and return a descriptor that keeps it locked."""
    import json  # noqa: PLC0415 - only servers with tokens need it
    from fcntl import LOCK_EX, flock  # noqa: PLC0415 - the same

    private.write(name, json.dumps(note.written()).encode() + b"\n")
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    flock(fd, LOCK_EX)
    return fd


def _read(name: str) -> Note | None:
    import json  # noqa: PLC0415 - as above

    try:
        found = json.loads(private.read(name) or b"")
        note = Note(**found)
    except (ValueError, TypeError, FilexferError):
        return None  # of another version, or not ours
    kinds = {"host": str, "port": int, "tls": bool}
    if any(type(found[each]) is not kind for each, kind in kinds.items() if each in found):
        return None
    return note


def _is_free(fd: int) -> bool:
    """Tell whether nobody keeps the note locked."""
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock  # noqa: PLC0415 - as above

    try:
        flock(fd, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    flock(fd, LOCK_UN)
    return True
