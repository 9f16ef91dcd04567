"""What a client changes, as its grant allows: replacing or not, within limits, or unseeing.

This module must not know connections, or who gives grants.
"""

from __future__ import annotations

from filexfer.security.access import LIST, OVERWRITE, READ
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
