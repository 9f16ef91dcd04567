"""What can go wrong, as one tree; every class knows its exit code.

This module must not know where an error arises or how it is shown.

    FilexferError            1  a fault in filexfer itself
    +-- UsageError           2  the command or call makes no sense
    +-- FileError            3  one file failed; the others go on
    +-- TrustError           4  certificate, token, or rights of the whole command
    +-- IntegrityError       5  bytes are not what their hash says, or a peer lied about names
    +-- NetworkError         6  no connection, or it broke
    |   +-- ConnectionLost      cut in the middle; worth another try
    |   |   +-- TimedOut        nothing moved for too long
    |   +-- ProtocolError       the peer sent what the protocol does not allow
    +-- RefusedError         7  the peer refused the whole command
    +-- LocalError           8  the local disk

An interrupt ends with 130, a termination signal with 143, a terminal that goes away with 129, as
shells expect.
"""

from __future__ import annotations

import errno
import os
from enum import IntEnum

from filexfer.names import shown


class ExitCode(IntEnum):
    """How a command ended, for scripts."""

    OK = 0
    FAULT = 1
    USAGE = 2
    SOME_FAILED = 3
    TRUST = 4
    INTEGRITY = 5
    NETWORK = 6
    REFUSED = 7
    LOCAL = 8
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class Code:
    """The reason of a failure, as it travels in ``error``, ``outcome`` and ``unsent`` frames.

    No enumeration, which would take 0.3 ms of every start.
    """

    # of one file
    BAD_NAME = "bad_name"
    EXISTS = "exists"
    NOT_FOUND = "not_found"
    NOT_A_FOLDER = "not_a_folder"
    IS_A_FOLDER = "is_a_folder"
    NOT_REGULAR = "not_regular"
    NOT_EMPTY = "not_empty"
    DENIED = "denied"
    NO_SPACE = "no_space"
    TOO_LARGE = "too_large"
    CHANGED = "changed"
    UNREADABLE = "unreadable"
    ABORTED = "aborted"
    PASSED_OVER = "passed_over"  # no failure: pipes, devices, links that lead out
    LEFT_OUT = "left_out"  # no failure: a filter wants it so; never travels
    SIZE_MISMATCH = "size_mismatch"
    HASH_MISMATCH = "hash_mismatch"
    IO_ERROR = "io_error"
    QUOTA = "quota"
    # of the whole connection
    AUTH_FAILED = "auth_failed"
    BAD_HEADER = "bad_header"
    OUT_OF_ORDER = "out_of_order"
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    BUSY = "busy"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


class FilexferError(Exception):
    """The root: anything filexfer raises on purpose."""

    exit_code = ExitCode.FAULT


class UsageError(FilexferError):
    """The command or the call makes no sense; nothing was done."""

    exit_code = ExitCode.USAGE


class FileError(FilexferError):
    """One file failed, for the reason *code*; other files are not affected.

    Args:
        code: Why, as a ``Code``; a peer may send one that this version does not know.
        name: The file's name, as its side knows it.
        text: A sentence for people, without the name.

    """

    exit_code = ExitCode.SOME_FAILED

    def __init__(self, code: str, name: str, text: str) -> None:
        super().__init__(f"{shown(name) or '.'}: {text}")
        self.code = code
        self.name = name
        self.text = text

    @classmethod
    def from_os(cls, error: OSError, name: str) -> FileError:
        """Translate what the system said about the file *name*."""
        code, text = _MEANINGS.get(error.errno or 0, (Code.IO_ERROR, ""))
        if not text:
            text = os.strerror(error.errno) if error.errno else str(error)
        return cls(code, name, text)


class TrustError(FilexferError):
    """The peer could not be trusted, or does not trust us."""

    exit_code = ExitCode.TRUST


class IntegrityError(FilexferError):
    """Bytes or names are not what was announced or asked for."""

    exit_code = ExitCode.INTEGRITY


class NetworkError(FilexferError):
    """No connection could be made, or the talk on it failed."""

    exit_code = ExitCode.NETWORK


class ConnectionLost(NetworkError):  # noqa: N818 - what happened, not a kind of error
    """The connection was cut; what is not confirmed can be tried again."""


class Busy(ConnectionLost):
    """The peer is there and works, and has no room now."""


class CutShort(ConnectionLost):
    """The peer ended the connection inside a frame or body."""


class TimedOut(ConnectionLost):
    """Nothing moved for longer than the time-out."""


class ProtocolError(NetworkError):
    """The peer sent what the protocol does not allow; *code* goes back to it."""

    def __init__(self, text: str, code: str = Code.BAD_HEADER) -> None:
        super().__init__(text)
        self.code = code


class RefusedError(FilexferError):
    """The peer refused the whole command, for the reason *code*."""

    exit_code = ExitCode.REFUSED

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class LocalError(FilexferError):
    """The local disk failed in a way that stops the whole command."""

    exit_code = ExitCode.LOCAL


def said(code: str, text: str) -> NetworkError | RefusedError | TrustError:
    """Return the exception for what the peer said before it ended the connection."""
    text = f"the other side says: {shown(text)}"
    if code in _SAID:
        return _SAID[code](text)
    if code in (Code.BAD_HEADER, Code.OUT_OF_ORDER, Code.UNSUPPORTED, Code.INTERNAL):
        return ProtocolError(text, code)
    return RefusedError(code, text)


_SAID: dict[str, type[NetworkError | TrustError]] = {
    Code.BUSY: Busy,
    Code.SHUTTING_DOWN: ConnectionLost,
    Code.SIZE_MISMATCH: ConnectionLost,  # we send all we announce: something on the way cut it
    Code.TIMEOUT: TimedOut,
    Code.AUTH_FAILED: TrustError,
}


def packed(error: BaseException) -> tuple[str, ...]:
    """Return plain texts that ``unpacked`` makes the exception of again, in another process."""
    if isinstance(error, FileError):
        return "FileError", error.code, error.name, error.text
    if isinstance(error, ProtocolError):
        return "ProtocolError", str(error), error.code
    if isinstance(error, RefusedError):
        return "RefusedError", error.code, str(error)
    if isinstance(error, FilexferError):
        return type(error).__name__, str(error)
    return "FilexferError", f"a fault in filexfer: {error!r}"


def unpacked(parts: tuple[str, ...]) -> FilexferError:
    """Return the exception that ``packed`` has taken apart."""
    made: FilexferError = globals()[parts[0]](*parts[1:])
    return made


_MEANINGS: dict[int, tuple[str, str]] = {
    errno.ENOENT: (Code.NOT_FOUND, "no such file or folder"),
    errno.EEXIST: (Code.EXISTS, "exists already"),
    errno.ENOTDIR: (Code.NOT_A_FOLDER, "a part of the path is not a folder"),
    errno.EISDIR: (Code.IS_A_FOLDER, "is a folder"),
    errno.ELOOP: (Code.NOT_REGULAR, "is a symbolic link, which is not followed"),
    errno.ENXIO: (Code.NOT_REGULAR, "is not a regular file"),
    errno.ENOTEMPTY: (Code.NOT_EMPTY, "the folder is not empty"),
    errno.EACCES: (Code.DENIED, "permission denied"),
    errno.EPERM: (Code.DENIED, "operation not permitted"),
    errno.EROFS: (Code.DENIED, "the file system is read-only"),
    errno.ENOSPC: (Code.NO_SPACE, "no space left on the disk"),
    errno.EDQUOT: (Code.NO_SPACE, "the disk quota is used up"),
    errno.EFBIG: (Code.TOO_LARGE, "too large for the file system or a limit of the process"),
    errno.ENAMETOOLONG: (Code.BAD_NAME, "the name is too long for the file system"),
    errno.EILSEQ: (Code.BAD_NAME, "the file system does not take this name"),
    errno.EMFILE: (Code.IO_ERROR, "too many open files in the process"),
    errno.ENFILE: (Code.IO_ERROR, "too many open files on the machine"),
}
