"""The system calls that Python does not offer, and what stands in for them elsewhere.

This module must not know why anybody renames or flushes.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import CDLL

native = True  # False makes the plain stand-ins do all the work; the tests try both

_RENAME_NOREPLACE = 1  # <linux/fs.h>
_RENAME_EXCL = 4  # <sys/stdio.h> of macOS
# The file system, or the kernel, has no such operation.
_MISSING = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}

# The disk, or the file system on it, does not work any more.
_FAILED = {errno.EIO, errno.EROFS, getattr(errno, "ESHUTDOWN", errno.EIO)}


def load() -> None:
    """Make ready what is needed later, when perhaps no file can be opened any more."""
    if native:
        _exclusive_rename()


@cache
def _library() -> CDLL:
    import ctypes  # noqa: PLC0415 - costs 2 ms that a command that only sends does not need

    return ctypes.CDLL(None, use_errno=True)


@cache
def _exclusive_rename() -> Callable[[int, bytes, int, bytes], int] | None:
    """Return the system's rename that refuses to replace, if it has one."""
    name, flag = {
        "linux": ("renameat2", _RENAME_NOREPLACE),
        "darwin": ("renameatx_np", _RENAME_EXCL),
    }.get(sys.platform, ("", 0))
    call = getattr(_library(), name, None) if name else None
    if call is None:
        return None
    from ctypes import get_errno  # noqa: PLC0415 - as above

    def rename(folder: int, old: bytes, to: int, new: bytes) -> int:
        return 0 if call(folder, old, to, new, flag) == 0 else get_errno()

    return rename


def rename_exclusive(folder: int, old: str, new: str, to: int = -1) -> None:
    """Rename *old* in the folder open as *folder* to *new* there, or in *to*; never replace.

    Raises:
        FileExistsError: if *new* is there.
        OSError: as the system says.

    """
    if to < 0:
        to = folder
    if native and (rename := _exclusive_rename()):
        error = rename(folder, os.fsencode(old), to, os.fsencode(new))
        if not error:
            return
        if error not in _MISSING:
            raise OSError(error, os.strerror(error))
    try:
        os.link(old, new, src_dir_fd=folder, dst_dir_fd=to, follow_symlinks=False)
    except PermissionError:  # a folder has no second name: an empty one is replaced at worst
        if not stat.S_ISDIR(os.stat(old, dir_fd=folder, follow_symlinks=False).st_mode):
            raise
        if exists(new, to):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=to)
    else:
        os.unlink(old, dir_fd=folder)


def exists(name: str, folder: int) -> bool:
    """Tell whether there is anything of that name in an open folder."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def has_file_system_flush() -> bool:
    """Tell whether ``flush_file_system`` can do its work here."""
    return native and sys.platform == "linux"


def flush_file_system(descriptor: int) -> bool:
    """Make all that was written to the file system of *descriptor*, a folder, durable.

    Returns:
        Whether there is such a call here; if not, each file must be flushed by itself.

    Raises:
        OSError: if the disk failed; the data may be lost, and trying again would hide it.

    """
    if not has_file_system_flush():
        return False
    if _library().syncfs(descriptor) == 0:
        check_alive(descriptor)
        return True
    from ctypes import get_errno  # noqa: PLC0415 - as above

    error = get_errno()
    if error == errno.ENOSYS:
        return False
    raise OSError(error, os.strerror(error))


def flush_descriptor(descriptor: int) -> None:
    """Make one file or folder durable.

    Raises:
        OSError: if the disk failed.

    """
    if sys.platform == "darwin":  # fsync leaves data in the drive's cache there
        import fcntl  # noqa: PLC0415 - only here

        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
        except OSError as error:
            if error.errno not in _MISSING:
                raise
        else:
            return
    os.fsync(descriptor)


def flush_folder(descriptor: int) -> None:
    """Make the names in one folder durable.

    Raises:
        OSError: if the disk failed.

    """
    flush_descriptor(descriptor)
    check_alive(descriptor)


def check_alive(folder: int) -> None:
    """After a flush: make sure that the file system of an open folder has not failed before it.

    The system writes by itself every few seconds, and for others. If its journal fails then, a
    flush that comes later and finds nothing to write succeeds, though names are lost (seen with
    ext4 on Linux 6.18); but nothing can be changed any more. So a file is made that never gets
    a name. Where there are no such files, nothing is done.

    Raises:
        OSError: if it has.

    """
    if not has_file_system_flush():
        return
    try:
        os.close(os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder))
    except OSError as error:
        if error.errno in _FAILED:
            raise


def share_of_descriptors(most: int) -> int:
    """Return how many descriptors one use may hold, *most* unless the process has few."""
    limit = os.sysconf("SC_OPEN_MAX")
    return most if limit < 0 else min(most, max(4, limit // 8))  # negative: there is no limit


@cache
def umask() -> int:
    """Return the umask of the process, as it was when first asked for."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass  # no such file on this system
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
