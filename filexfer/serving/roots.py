"""Which folders must not be served: those with our own secrets in them.

Who may read there takes the key; who may create there plants another one, or a login. Folders are
compared by what they are, not by how they are written: links and mounts that lead to one are seen
through.

This module must not know what is in the files.
"""

from __future__ import annotations

import os

from filexfer.errors import TrustError
from filexfer.names import shown
from filexfer.security import private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from filexfer.storage.folder import Folder

_LINKS_MAX = 40  # on the way to one file, as on Linux


def check_root(
    folder: Folder, files: Iterable[str] = (), *, is_for_everybody: bool = False
) -> list[str]:
    """Refuse to serve a folder that is, or has in it, what clients must not reach.

    That is the whole file system, the folders where filexfer keeps its state and configuration
    (there or not), the SSH keys of the user, and *files*.

    Args:
        folder: What is to be served.
        files: More that must not lie in it, such as a key, a certificate or a list of tokens.
        is_for_everybody: Whether the server has neither a key nor tokens. Then state and
            configuration that are not there yet are no reason to refuse.

    Returns:
        The latter: who stores something there from now on shows it to the clients.

    Raises:
        TrustError: if it may not be served.

    """
    status = os.fstat(folder.fd)
    root = (status.st_dev, status.st_ino)
    if root == _identity("/"):
        raise TrustError("/ is the whole file system, and is not served: serve a folder in it")
    ssh = os.path.expanduser("~/.ssh")
    own = [private.state_folder(), private.config_folder()]
    if os.path.isdir(ssh):
        own.append(ssh)
    to_come = [path for path in own if is_for_everybody and not os.path.lexists(path)]
    within = [
        path for path in (*own, *files) if any(_identity(place) == root for place in _passed(path))
    ]
    for path in within:
        if path not in to_come:
            raise TrustError(
                f"{shown(folder.path)} is not served, because {shown(path)} belongs in it, which "
                "clients must not reach: serve a folder in it, or keep that elsewhere"
            )
    return within


def _passed(path: str) -> Iterator[str]:
    """Yield every folder on the way to *path*, through all its links, and what it leads to.

    To exchange any of them for another is to exchange the file.
    """
    here = "/"
    links = 0
    left = _parts(os.path.join(os.getcwd(), path))
    yield here
    while left:
        part = left.pop()
        if part == "..":
            here = os.path.dirname(here)
            continue
        at = os.path.join(here, part)
        try:
            target = os.readlink(at)
        except OSError:  # it is no link, or not there
            here = at
            yield here
            continue
        links += 1
        if links > _LINKS_MAX:
            return  # it leads nowhere
        if target.startswith("/"):
            here = "/"
        left += _parts(target)


def _parts(path: str) -> list[str]:
    """Return the components of a path, the first one last."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return status.st_dev, status.st_ino
