"""Folders of which only a part is downloaded: made before it, with their modes and times after it.

This module must not know connections, or which part is wanted.
"""

from __future__ import annotations

from contextlib import contextmanager

from filexfer.entry import FOLDER, Entry
from filexfer.errors import FileError
from filexfer.storage.staging import Staging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from filexfer.report import Report
    from filexfer.storage.folder import Folder
    from filexfer.storage.policy import Policy


@contextmanager
def standing(
    folder: Folder, entries: Sequence[Entry], policy: Policy, report: Report
) -> Iterator[None]:
    """Make the folders, each after the one it lies in, and finish them when all is well."""
    _make(folder, entries, policy, report, are_done=False)
    yield
    finish(folder, [*reversed(entries)], policy, report)


def finish(folder: Folder, entries: Sequence[Entry], policy: Policy, report: Report) -> None:
    """Give the folders, the innermost first, their modes and times."""
    _make(folder, entries, policy, report, are_done=True)


def _make(
    folder: Folder, entries: Sequence[Entry], policy: Policy, report: Report, *, are_done: bool
) -> None:
    with Staging(folder, policy, "none") as staging:
        for entry in entries:
            wanted = Entry(entry.name, FOLDER, 0, entry.mtime, entry.mode)
            try:
                finish = staging.make_folder(wanted, is_shared=True)
            except FileError as error:
                report.fail(error)
                continue
            if are_done:
                finish.publish()
            finish.release()
