"""What a filter needs to know of the server before a download: ignore files, and listed names.

This module must not know what the filter decides, or how the download goes on.
"""

from __future__ import annotations

import os
import tempfile

from filexfer.choice.judge import IGNORE_MAX
from filexfer.choice.judges import Judges
from filexfer.entry import FILE, FOLDER
from filexfer.errors import Code, FileError, UsageError
from filexfer.names import join
from filexfer.options import Options
from filexfer.report import Report
from filexfer.storage.folder import Folder
from filexfer.transfer.download import Download
from filexfer.wire import requests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from filexfer.choice.filter import Filter
    from filexfer.entry import Entry
    from filexfer.transfer.landing import Download as Mapping
    from filexfer.wire.connection import Connection


def choose(connection: Connection, mapping: Mapping, chosen: Filter) -> None:
    """Let the filter decide what of the mapping is taken.

    Raises:
        FileError: if an ignore file cannot be read; without it nothing can be decided.
        UsageError: if names are listed, and there is not one folder that they are in.

    """
    tops = {name: entry.type == FOLDER for name, entry in _entries(mapping)}
    folders = [name for name, is_folder in tops.items() if is_folder]
    ignored = _ignore_files(connection, folders, chosen.ignore_files)
    if chosen.names is not None and not mapping.missing:
        if len(tops) != 1 or not folders:
            raise UsageError("names are listed of one folder alone")
        _narrow(connection, mapping, folders[0], chosen.names)
    mapping.judges = Judges(tops, chosen, ignored)


def _entries(mapping: Mapping) -> Iterable[tuple[str, Entry]]:
    return zip(mapping.targets, mapping.entries, strict=True)


def _narrow(connection: Connection, mapping: Mapping, top: str, names: Sequence[str]) -> None:
    """Want only what is listed."""
    if "" in names:
        return
    local = mapping.targets[top]
    found = requests.stat(connection, [join(top, name) for name in names])
    whole = {name for name in names if _is_folder(found[join(top, name)])}
    mapping.targets, mapping.entries, above = {}, [], set()
    for name in names:
        folders = _above(name)
        if whole.intersection(folders):
            continue  # it comes with the folder
        entry = found[join(top, name)]
        if entry is None:
            mapping.missing.append(join(top, name))
            continue
        mapping.targets[join(top, name)] = join(local, name)
        mapping.entries.append(entry)
        above.update(folders)
    folders = [""] if local else []  # the root is not the server's to change
    folders += sorted(above)
    looked = requests.stat(connection, [join(top, folder) for folder in folders])
    for folder in folders:
        if entry := looked[join(top, folder)]:
            entry.name = join(local, folder)
            mapping.above.append(entry)


def _is_folder(entry: Entry | None) -> bool:
    return entry is not None and entry.type == FOLDER


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _ignore_files(
    connection: Connection, folders: Iterable[str], files: Sequence[str]
) -> dict[str, bytes]:
    """Return the contents of all files of some names below the folders, by their whole names."""
    if not files:
        return {}
    names = []
    for folder in folders:
        for entry in requests.listing(connection, folder, recursive=True):
            if entry.type == FILE and entry.name.rpartition("/")[2] in files:
                name = join(folder, entry.name)
                if entry.size > IGNORE_MAX:
                    raise FileError(Code.TOO_LARGE, name, f"is larger than {IGNORE_MAX:,} bytes")
                names.append(name)
    found: dict[str, bytes] = {}
    if not names:
        return found
    with tempfile.TemporaryDirectory(prefix="filexfer-") as path, Folder(path) as landing:
        targets = {name: str(number) for number, name in enumerate(names)}
        report = Report()
        Download(landing, targets, Options(durability="none")).run(connection, report)
        if report.failures:
            raise report.failures[0]
        for name, local in targets.items():
            with open(os.path.join(path, local), "rb") as file:
                found[name] = file.read(IGNORE_MAX)
    return found
