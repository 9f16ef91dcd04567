"""What a client changes, as its grant allows: replacing or not, within limits, or unseeing.

This module must not know connections, or who gives grants.
"""

from __future__ import annotations

from filexfer.errors import Code, FileError
from filexfer.security.access import CREATE, LIST, OVERWRITE, READ
from filexfer.storage import reservations
from filexfer.storage.dropbox import DropBox, Places
from filexfer.storage.limited import Allowance, Limited
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.security.access import Grant
    from filexfer.storage.directories import Directories

_NO_LIMITS = Allowance()
_SILENT = 1 << 62  # bytes; no disk has as many: the system does not tell


def staging(grant: Grant, if_exists: str, durability: str, *, checksum: bool = False) -> Staging:
    """Return the receiving end of one exchange; the caller closes it.

    Args:
        grant: What the client may do, and where.
        if_exists: What it wishes where a name is taken.
        durability: ``none``, ``batch`` or ``file``.
        checksum: Whether it wishes to compare by digest.

    """
    if grant.is_drop_box:
        return DropBox(grant.folder, durability, grant.limits or _NO_LIMITS)
    policy = _policy(grant, if_exists, checksum=checksum)
    if grant.limits:
        return Limited(grant.folder, policy, durability, grant.limits)
    return Staging(grant.folder, policy, durability)


def dry_run(grant: Grant, if_exists: str, *, checksum: bool) -> Staging:
    """Return the same for an exchange in which nothing comes, and everything is asked about."""
    from filexfer.storage.dryrun import DropBoxDryRun, DryRun  # noqa: PLC0415 - seldom needed

    if grant.is_drop_box:
        return DropBoxDryRun(grant.folder, grant.limits or _NO_LIMITS)
    policy = _policy(grant, if_exists, checksum=checksum)
    return DryRun(grant.folder, policy, grant.limits, may_list=LIST in grant.rights)


def _policy(grant: Grant, if_exists: str, *, checksum: bool) -> Policy:
    return Policy(
        if_exists,
        checksum=checksum,
        may_overwrite=OVERWRITE in grant.rights,
        may_read=READ in grant.rights,
    )


def places(grant: Grant) -> Callable[[Directories], Callable[[str], str]]:
    """Return what makes, from open folders, what says where a folder of the client really is."""
    if grant.is_drop_box:
        return lambda folders: Places(folders, making=False)
    return lambda _: str


def room(grant: Grant) -> int | None:
    """Return for how many more bytes there is room now, as far as the client may know."""
    if CREATE not in grant.rights or grant.is_drop_box:
        return None
    folder, limits = grant.folder, grant.limits
    free = reservations.free_bytes(folder.fd)
    free -= folder.bounds.kept(folder.fd) + folder.reservations.total()
    if limits and limits.account:
        free = min(free, limits.quota - sum(limits.account.used()))
    return max(0, free) if free < _SILENT else None


def largest(grant: Grant) -> int | None:
    """Return how many bytes one file may have; None for any."""
    of_token = grant.limits.file_max if grant.limits else None
    given = [each for each in (of_token, grant.folder.bounds.max_file_size) if each is not None]
    return min(given) if given and CREATE in grant.rights else None


def make_folder(grant: Grant, name: str) -> None:
    """Make a folder and its missing parents; fine if it is there.

    Raises:
        FileError: if it cannot be made.

    """
    if not grant.is_drop_box:
        grant.folder.make_folder(name)
        return
    box = DropBox(grant.folder, "file", _NO_LIMITS)
    with box:
        box.make_parents(name)


def remove(grant: Grant, name: str, *, recursive: bool) -> None:
    """Remove a file, a link, an empty folder, or with *recursive* a folder and all in it.

    Raises:
        FileError: if there is nothing, or it cannot be removed.

    """
    try:
        grant.folder.remove(name, recursive=recursive)
    finally:
        if grant.limits and grant.limits.account:
            grant.limits.account.note_removed()


def move(
    grant: Grant,
    name: str,
    to: str,
    *,
    into: bool,
    overwrite: bool,
    durability: str,
    tick: Callable[[], object],
) -> str:
    """Give a file, link or folder another name, and return it; as ``storage.moving.Move`` does.

    Raises:
        FileError: if it cannot be moved, or this is a drop box.

    """
    from filexfer.storage.moving import Move  # noqa: PLC0415 - a seldom request

    if grant.is_drop_box:
        raise FileError(Code.DENIED, "", "nothing is moved in a drop box")
    made = Move(
        grant.folder,
        name,
        to,
        into=into,
        overwrite=overwrite,
        durable=durability != "none",
        tick=tick,
    )
    account = grant.limits.account if grant.limits else None
    if account is None:
        return made.run()
    made.alone = account.while_not_counted
    try:
        return made.run()
    finally:
        if overwrite:
            account.note_removed()
