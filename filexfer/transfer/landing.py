"""What lands where: the rules for sources and destinations, the same for put and get.

    SOURCE      a folder        lands as DESTINATION/name, whether or not DESTINATION exists
    SOURCE/     its contents    land in DESTINATION
    SOURCE      a file          lands in DESTINATION if that ends in a slash or is a folder,
                                otherwise as DESTINATION
    several                     all land in DESTINATION

The mapping is made once per command, never again on a retry.

This module must not know disks or networks.
"""

from __future__ import annotations

from filexfer.entry import FOLDER
from filexfer.errors import FileError, IntegrityError
from filexfer.names import join, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from filexfer.choice.judges import Judges
    from filexfer.entry import Entry

QUESTIONS_MAX = 100  # targets that are looked at beforehand; of others it is asked with the rest


def last_part(path: str) -> str:
    """Return the name that *path* has where it lands; ``""`` if its contents are meant."""
    if path.endswith("/"):
        return ""
    part = path.rpartition("/")[2]
    return "" if part in ("", ".", "..") else part


def needs_folder(paths: Sequence[str], destination: str) -> bool:
    """Tell whether the form of the command alone makes *destination* a folder."""
    return len(paths) > 1 or destination in ("", ".", "..") or destination.endswith(("/", "/.."))


class Upload:
    """The mapping of an upload.

    Args:
        paths: The sources.
        are_folders: Which of them are folders.
        destination: As it was written.

    Attributes:
        questions: Names on the server whose state settles the mapping and what is new.
        is_one_folder: Whether there is one source, a folder.

    """

    def __init__(self, paths: Sequence[str], are_folders: Sequence[bool], destination: str) -> None:
        self._paths = paths
        self.is_one_folder = len(paths) == 1 and are_folders[0]
        self._target = destination.strip("/")
        self._into = (
            needs_folder(paths, destination)
            or any(are_folders)
            or any(path.endswith("/") for path in paths)
        )
        self._names = [join(self._target, last_part(path)) for path in paths]
        self._is_folder = len(paths) > 1 or are_folders[0]
        self.questions = [*([] if self._into else [self._target]), *self._names[:QUESTIONS_MAX]]

    def resolve(self, there: dict[str, Entry | None]) -> list[str]:
        """Return the name on the server of each source.

        Args:
            there: What the names in ``questions`` are now, as far as that may be known.

        """
        existing = there.get(self._target)
        if not self._into and (existing is None or existing.type != FOLDER):
            self._names = [self._target]
        return self._names

    @property
    def origins(self) -> list[tuple[str, str]]:
        """The name of each source on the server, and its local path as it was written."""
        return list(zip(self._names, self._paths, strict=True))

    @property
    def folder(self) -> str:
        """The folder on the server that all of it lies in."""
        is_file = not self._into and self._names == [self._target]
        return self._target.rpartition("/")[0] if is_file else self._target

    @property
    def landed(self) -> tuple[str, bool]:
        """Where it all landed, and whether that is a folder."""
        return self._names[0] if len(self._names) == 1 else self._target, self._is_folder


class Download:
    """The mapping of a download.

    Args:
        names: What is wanted, as it was written.
        local: The destination, as it was written.
        found: What each name is on the server, without slashes at its ends.
        is_folder: Whether the destination is a folder now.

    Attributes:
        root: The local folder that everything goes into.
        targets: From each name on the server to its name in *root*.
        entries: What these are on the server.
        missing: The names that are not there.
        landed: Where it lands, for people.
        is_one_folder: Whether one name is wanted, a folder's.
        origins: The local name of each source, and its name on the server; of what is missing,
            the latter twice.
        above: Folders of which only a part is wanted, that part aside, as the server has them.
        judges: Decide what is taken, if not everything is.

    """

    def __init__(
        self, names: Sequence[str], local: str, found: dict[str, Entry | None], *, is_folder: bool
    ) -> None:
        folders = any(entry and entry.type == FOLDER for entry in found.values())
        into = needs_folder(names, local) or is_folder or folders
        above, slash, part = local.rpartition("/")
        self.root, only = (local, "") if into else (above or slash, part)
        plain = {name.strip("/"): name for name in names}
        self.targets = {
            name: only or last_part(written) for name, written in plain.items() if found[name]
        }
        self.entries = [entry for name in self.targets if (entry := found[name])]
        self.missing = [name for name in plain if not found[name]]
        self.is_one_folder = len(names) == 1 and folders
        self.origins = [(local, name) for name, local in self.targets.items()]
        self.origins += [(name, name) for name in self.missing]
        landed = local
        if into and len(names) == 1:
            landed += ("" if not local or local.endswith("/") else "/") + last_part(names[0])
        is_open = (len(names) > 1 or folders) and not landed.endswith("/")
        self.landed = landed + "/" if is_open and landed else landed
        self.above: list[Entry] = []
        self.judges: Judges | None = None


class Placement:
    """Where the names a server sends belong; at the client, for a download.

    Args:
        targets: From each name that was asked for to the local name it lands as.

    """

    def __init__(self, targets: dict[str, str]) -> None:
        self._targets = targets
        self._folders: dict[str, str] = {}  # folders met lately

    def __call__(self, wire_name: str) -> str:
        """Return the local name for *wire_name*.

        Raises:
            IntegrityError: if neither it nor a folder above it was asked for.

        """
        target = self._targets.get(wire_name)
        if target is not None and wire_name:  # the root itself is not the server's to change
            return target
        above, _, part = wire_name.rpartition("/")
        folder = self._folders.get(above) if part and wire_name[0] != "/" else None
        if folder is None:
            folder = self._find(above, wire_name)
            if len(self._folders) > 1000:
                self._folders.clear()
            self._folders[above] = folder
        return join(folder, part)

    def _find(self, folder: str, wire_name: str) -> str:
        rest: list[str] = []
        is_name = all(wire_name.split("/"))
        while True:
            target = self._targets.get(folder)
            if target is not None and is_name:
                return "/".join([target, *reversed(rest)] if target else rest[::-1])
            if not folder:
                raise IntegrityError(f"the server sent {shown(wire_name)}, which was not asked for")
            folder, _, part = folder.rpartition("/")
            rest.append(part)


def not_sent(place: Callable[[str], str], code: str, wire_name: str, text: str) -> FileError:
    """Return the failure of what the other side could not send, by its local name."""
    try:
        name = place(wire_name) if wire_name else ""
    except IntegrityError:  # it was not asked for, and nothing comes of it
        name = wire_name
    return FileError(code, name, shown(text))
