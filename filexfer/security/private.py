"""Small files that nobody else may read: keys, tokens, stored servers.

They are written whole or not at all, and with mode 0600 from birth. Where others may read one, or
it belongs to somebody else, it is not used.

This module must not know what is in them.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager

from filexfer.errors import LocalError, TrustError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE_MAX = 16 << 20  # bytes; none of them comes near


def state_folder() -> str:
    """Return where the server keeps its key and tokens.

    ``$STATE_DIRECTORY``, which systemd sets for a service, else ``$XDG_STATE_HOME/filexfer``.
    """
    first = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if os.path.isabs(first):
        return first
    return _folder("XDG_STATE_HOME", ".local/state")


def config_folder() -> str:
    """Return where the client keeps what it knows of servers: ``$XDG_CONFIG_HOME/filexfer``."""
    return _folder("XDG_CONFIG_HOME", ".config")


def read(path: str) -> bytes | None:
    """Return what is in the file, or None if there is none.

    Raises:
        LocalError: if it cannot be read.
        TrustError: if others may read or change it, or it is another user's.

    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failed("read", path, error) from error
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise LocalError(f"{shown(path)} is not a regular file")
    with open(fd, "rb") as file:
        if status.st_uid not in (os.geteuid(), 0) and not _is_services(path, status.st_uid):
            raise TrustError(f"{shown(path)} belongs to another user; it is not used")
        if status.st_mode & 0o077:
            raise TrustError(
                f"others may read or change {shown(path)}; it is not used: "
                f"chmod 600 {shown(path)}, if nobody has done so yet"
            )
        try:
            return file.read(SIZE_MAX)
        except OSError as error:
            raise _failed("read", path, error) from error


def write(path: str, data: bytes, *, new: bool = False) -> bool:
    """Put *data* into the file, so that it is there whole or as it was, also after a power cut.

    Args:
        path: The file; its folder is made with mode 0700.
        data: All that is in it from then on.
        new: Do nothing if the file exists.

    Returns:
        Whether it was written.

    Raises:
        LocalError: if it cannot be written.

    """
    folder = os.path.dirname(path) or "."
    temporary = os.path.join(folder, f".{os.path.basename(path)}.{os.urandom(8).hex()}")
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                _give_to_owner_of(folder, fd)
                file.write(data)
                file.flush()
                os.fsync(fd)
            if not new:
                os.replace(temporary, path)
            else:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
        finally:
            if new or os.path.lexists(temporary):
                os.unlink(temporary)
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(above)
        finally:
            os.close(above)
    except OSError as error:
        raise _failed("write", path, error) from error
    return True


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Keep other processes from changing the file, while the block reads and writes it.

    Raises:
        LocalError: if the lock, a file beside it, cannot be made.

    """
    from fcntl import LOCK_EX, flock  # noqa: PLC0415 - seldom needed

    try:
        os.makedirs(os.path.dirname(path) or ".", 0o700, exist_ok=True)
        fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        _give_to_owner_of(os.path.dirname(path) or ".", fd)
    except OSError as error:
        raise _failed("write", path, error) from error
    try:
        flock(fd, LOCK_EX)
        yield
    finally:
        os.close(fd)


def _is_services(path: str, owner: int) -> bool:
    """Tell whether we are root, and look at what a service's user has in a folder of its own."""
    return os.geteuid() == 0 and os.stat(os.path.dirname(path) or ".").st_uid == owner


def _give_to_owner_of(folder: str, fd: int) -> None:
    """Let a file that root has made belong to the user whose folder it is in, as of a service."""
    if os.geteuid() == 0:
        status = os.stat(folder)
        if status.st_uid:
            os.fchown(fd, status.st_uid, status.st_gid)


def _folder(variable: str, default: str) -> str:
    base = os.environ.get(variable, "")
    if not os.path.isabs(base):  # as the XDG base directory specification wants it
        base = os.path.join(os.path.expanduser("~"), default)
    return os.path.join(base, "filexfer")


def _failed(what: str, path: str, error: OSError) -> LocalError:
    return LocalError(f"cannot {what} {shown(path)}: {error.strerror}")
