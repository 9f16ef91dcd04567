"""The receipt of one transfer: a manifest of all files, and a list of those that failed.

Results are kept in a temporary file while they come, and written when the transfer is over: so
memory stays flat, a second try after a lost connection can take back what the first one said, and
the files are there whole or as they were before.

This module must not know connections, or the form of a manifest.
"""

from __future__ import annotations

import marshal
import os
import stat
import sys
import tempfile
from time import gmtime, strftime

from filexfer import __version__, address
from filexfer.entry import FILE, same_time
from filexfer.errors import FileError, LocalError, UsageError
from filexfer.hashing import DEFAULT, algorithm_of
from filexfer.names import join, shown
from filexfer.receipts import manifest
from filexfer.storage.folder import Folder
from filexfer.transfer.landing import Download

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, Self

    from filexfer.report import FileResult, Report
    from filexfer.storage.reading import Reading
    from filexfer.transfer.landing import Upload

STDOUT = "-"
_AGAIN = ("identical", "skipped", "failed")  # what another try finds out again


class Receipt:
    """Takes down what becomes of every file of a transfer; a context manager.

        with Receipt(report, manifest="photos.manifest") as receipt:
            client.put(["photos"], "photos/", report=report)
            receipt.write()

    A transfer that ends with an exception leaves both files as they were.

    Args:
        report: Of the transfer, which is to begin; its ``on_file`` is called as before.
        manifest: Path of the manifest, or ``-`` for standard output.
        failed: Path of the list of what failed.
        algorithm: Of digests that are still to be computed.

    Raises:
        LocalError: if nothing can be written there.
        UsageError: if both are the same file.

    """

    def __init__(
        self,
        report: Report,
        *,
        manifest: str | os.PathLike[str] | None = None,
        failed: str | os.PathLike[str] | None = None,
        algorithm: str = DEFAULT,
    ) -> None:
        self._report = report
        self._manifest = None if manifest is None else os.fspath(manifest)
        self._failed = None if failed is None else os.fspath(failed)
        self._algorithm = algorithm
        if failed is not None and self._manifest == self._failed:
            raise UsageError("the manifest and the list of what failed must be two files")
        for path in (self._manifest, self._failed):
            if path not in (None, STDOUT):
                _temporary(path).close()  # finds out now whether that will work
        self._results = _temporary(self._manifest or self._failed or STDOUT)
        self._told = report.on_file
        report.on_file = self._take

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what was taken down; harmless when closed."""
        self._results.close()

    def write(self) -> None:
        """Write what was asked for; the transfer is over.

        Files that were identical by size and time are read now, where their digest is not known:
        those on this side.

        Raises:
            LocalError: if that fails; the files are then as they were before.

        """
        if self._manifest is not None:
            with _Locals(self._report, self._algorithm) as local:
                _write(self._manifest, self._manifest_lines(local))
        if self._failed is not None:
            _write(self._failed, self._failed_names())

    def _take(self, file: FileResult) -> None:
        if self._told:
            self._told(file)
        if self._manifest is None and file.result != "failed":
            return
        try:
            marshal.dump(
                (
                    *(self._report.tries, file.name, file.result, file.type),
                    *(file.size, file.mtime, file.digest, file.code),
                ),
                self._results,
            )
        except OSError as error:
            raise LocalError(f"cannot write the receipt: {error.strerror}") from error

    def _taken(self) -> Iterator[tuple[Any, ...]]:
        """Yield what still holds of what was taken down."""
        last = self._report.tries
        try:
            self._results.seek(0, os.SEEK_END)
            size = self._results.tell()
            self._results.seek(0)
            while self._results.tell() < size:
                tries, *parts = marshal.load(self._results)  # noqa: S302 - our own
                if tries == last or parts[1] not in _AGAIN:
                    yield tuple(parts)
        except OSError as error:
            raise LocalError(f"cannot read the receipt again: {error.strerror}") from error

    def _manifest_lines(self, local: _Locals) -> Iterator[bytes]:
        yield manifest.head(
            {
                "program": f"filexfer {__version__}",
                "to": self._report.destination,
                "root": local.root,
                "time": strftime("%Y-%m-%dT%H:%M:%SZ", gmtime()),
            }
        )
        count = 0
        for name, result, kind, size, mtime, digest, code in self._taken():
            is_there = kind == FILE and result != "skipped"
            record = manifest.Record(
                *(local.relative(name), digest if is_there else "", size),
                *(mtime, result, kind, code),
            )
            if is_there and not _is_digest(digest):
                record.digest = local.digest(name, size, mtime)
            yield manifest.lines(record)
            count += 1
        yield manifest.end(count)

    def _failed_names(self) -> Iterator[bytes]:
        """Yield the names of what failed, as ``--files-from`` takes them."""
        mapping = self._report.mapping

        def names() -> Iterator[str]:
            for name, result, *_ in self._taken():
                if result == "failed":
                    yield _at_source(mapping, name)

        is_odd = any("\n" in name or "\r" in name for name in names())
        end = b"\0" if is_odd else b"\n"
        for name in names():
            yield manifest.encoded(name) + end


class _Locals:
    """The files of a transfer on this side, and what they are called in its manifest."""

    def __init__(self, report: Report, algorithm: str) -> None:
        self._algorithm = algorithm
        self.root = report.destination  # that names are relative to, for people
        self._above = ""  # where that is, in the names on the other side
        self._places: list[tuple[str, str]] = []  # a name, and the local path of what has it
        mapping = report.mapping
        if isinstance(mapping, Download):
            self._places = [("", mapping.root or ".")]
            self.root = os.path.join(os.path.abspath(mapping.root or "."), "")
        elif mapping:
            self._above = mapping.folder
            self._places = mapping.origins
            server = address.parse(report.destination)
            self.root = address.format_url(server.host, server.port, self._above, is_folder=True)
        self._open: dict[str, tuple[Folder, Reading, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for folder, reading, _ in self._open.values():
            reading.close()
            folder.close()

    def relative(self, name: str) -> str:
        """Return the name that the manifest has."""
        return name.removeprefix(self._above + "/") if self._above else name

    def digest(self, name: str, size: int, mtime: int) -> str:
        """Return the digest of a file on this side, if it is still the one that was meant."""
        for landed, path in reversed(self._places):
            rest = _below(name, landed)
            if rest is None:
                continue
            try:
                _, reading, only = self._reading(path)
                part = join(only, rest)
                entry = reading.stat(part)
                if entry.type == FILE and entry.size == size and same_time(entry.mtime, mtime):
                    return reading.digest(part, self._algorithm, lambda: None)
            except (FileError, LocalError):
                pass  # the manifest has no digest of it then
        return ""

    def _reading(self, path: str) -> tuple[Folder, Reading, str]:
        """Return access to what lies at a path; as when it was sent, links in it are followed."""
        found = self._open.get(path)
        if not found:
            is_folder = os.path.isdir(path)
            root, part = (path, "") if is_folder else os.path.split(os.path.realpath(path))
            folder = Folder(root)
            found = self._open[path] = (folder, folder.reading(), part)
        return found


def _below(name: str, above: str) -> str | None:
    """Return what *name* is below the name *above*; None if it is elsewhere."""
    if not above:
        return name
    if name == above:
        return ""
    return name[len(above) + 1 :] if name.startswith(above + "/") else None


def _at_source(mapping: Upload | Download | None, name: str) -> str:
    """Return what failed as the command's sources name it.

    Of one folder, the name is relative to it (``.`` is the folder itself); else it is a path that
    begins as the source was written.
    """
    origins = mapping.origins if mapping else []
    found = []
    for landed, source in sorted(origins, key=lambda origin: -len(origin[0])):
        rest = "" if name == source else _below(name, landed)
        if mapping and mapping.is_one_folder and rest is not None:
            return rest or "."
        if rest is not None:
            found.append(os.path.join(source, rest) if rest else source)
    # Several folders may have landed as one.
    here = [] if isinstance(mapping, Download) else filter(os.path.lexists, found)
    return next(iter([*here, *found]), name)


def _is_digest(text: str) -> bool:
    try:
        return bool(algorithm_of(text))
    except ValueError:
        return False


# Files


def _temporary(path: str) -> BinaryIO:
    """Return a file without a name, where the file of this name will be made."""
    try:
        if path != STDOUT and (path.endswith("/") or os.path.isdir(path)):
            raise LocalError(f"cannot write {shown(path)}: it is a folder")
        folder = None if path == STDOUT or _is_special(path) else _home(path)[0]
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise _failed(path, error) from error
    except ValueError as error:
        raise LocalError(f"cannot write {shown(path)}: {error}") from error


def _write(path: str, data: Iterator[bytes]) -> None:
    """Let the file of this name have other contents, all at once."""
    try:
        if path == STDOUT:
            _to_stdout(data)
        elif _is_special(path):
            with open(path, "wb") as file:
                file.writelines(data)
        else:
            _replace(path, data)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _failed(path, error) from error


def _to_stdout(data: Iterator[bytes]) -> None:
    if sys.stdout is None:
        raise LocalError("standard output is closed")
    sys.stdout.flush()
    sys.stdout.buffer.writelines(data)
    sys.stdout.buffer.flush()


def _replace(path: str, data: Iterator[bytes]) -> None:
    folder, part = _home(path)
    temporary = os.path.join(folder, f".receipt-{os.urandom(8).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(fd, "wb") as file:
            file.writelines(data)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, os.path.join(folder, part))
    except BaseException:
        os.unlink(temporary)
        raise


def _home(path: str) -> tuple[str, str]:
    """Return the folder and the name of a file; a link leads to the file that is meant."""
    folder, part = os.path.split(os.path.realpath(path))
    return folder, part


def _is_special(path: str) -> bool:
    """Tell whether it is something that is written into: a pipe, a terminal, /dev/null."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def _failed(path: str, error: OSError) -> LocalError:
    name = "standard output" if path == STDOUT else shown(path)
    return LocalError(f"cannot write {name}: {error.strerror or error}")
