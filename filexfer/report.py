"""What a transfer did so far: counts for progress, and what became of each file.

This module must not know how it is shown, or how files travel.
"""

from __future__ import annotations

from array import array
from time import monotonic

from filexfer.errors import Code, FileError
from filexfer.progress import AT_WORK, Progress
from filexfer.spared import Spared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from filexfer.entry import Entry
    from filexfer.measure.stats import Stats
    from filexfer.transfer.landing import Download, Upload

_DESCRIBED = 256  # files at once: a text of some 60 KB, which the processor's cache can hold
FAILURES_KEPT = 10_000  # beyond these, failures are counted only
_COUNTS = (
    *("files", "bytes", "folders", "skipped", "skipped_bytes", "failed", "failed_bytes"),
    *("moved", "found", "found_bytes", "confirmed", "confirmed_bytes", "partial_bytes"),
    *("_walks", *(f"_{phase}" for phase in AT_WORK)),
)


class FileResult:
    """What became of one file or link.

    Args:
        name: As the receiving side names it.
        result: ``stored``, ``identical``, ``skipped``, ``kept`` (beside another) or ``failed``.
        type: ``file`` or ``link``; empty for what failed, which may also be a folder.
        size: Bytes; 0 for what failed.
        mtime: Modification time of the source, nanoseconds since 1970; 0 for what failed.
        digest: Of the contents (``algorithm:hex``); empty where none was needed.
        code: Why it failed, as a ``Code``.
        text: The same for people.

    """

    __slots__ = ("code", "digest", "mtime", "name", "result", "size", "text", "type")

    def __init__(  # noqa: PLR0917 - once for each file, and keywords take time
        self,
        name: str,
        result: str,
        type: str = "",  # noqa: A002 - the word of an entry
        size: int = 0,
        mtime: int = 0,
        digest: str = "",
        code: str = "",
        text: str = "",
    ) -> None:
        self.name = name
        self.result = result
        self.type = type
        self.size = size
        self.mtime = mtime
        self.digest = digest
        self.code = code
        self.text = text


class Report(Progress, Spared):
    """Counts of one command; the same object is brought up to date while it runs.

    Its base class counts how far it is. For one thread: what runs beside it counts in a branch of
    its own.

    Attributes:
        files: Files and links that arrived, verified and settled.
        bytes: Their sizes in bytes.
        folders: Folders that were made or brought up to date.
        failures: The first of them, with the reasons.
        warnings: What was passed over and is no failure, such as pipes and devices.
        destination: Where things landed, for people.
        mapping: What landed where, for programs; None where a stream was moved.
        tries: How often it was begun again after a lost connection.
        stats: With ``Options(stats=True)``, where the time went: its ``seconds`` and ``bytes`` by
            phase, those of all tries and connections added up; else None.
        started: When the command began, on the monotonic clock, in seconds.
        seconds: How long it took, once it is over.
        on_file: Is called with the ``FileResult`` of each file that is settled.
        describe: Turns a list of settled files into a text, each file a tuple of what a
            ``FileResult`` takes, without what is empty at its end. Several processes share that
            work, so that it costs less than ``on_file``.
        on_text: Is called now and then with the texts about the files since the last time.

    """

    def __init__(
        self,
        on_progress: Callable[[Report], object] | None = None,
        on_file: Callable[[FileResult], object] | None = None,
    ) -> None:
        super().__init__(on_progress)
        self.files = self.bytes = self.folders = 0
        self.failures: list[FileError] = []
        self.warnings: list[FileError] = []
        self.destination = ""
        self.mapping: Upload | Download | None = None
        self.tries = 0
        self.started = monotonic()
        self.seconds = 0.0
        self.stats: Stats | None = None
        self.on_file = on_file
        self._failed_names: set[str] = set()
        # Names as hashes, 8 bytes each: needed only if the connection is lost.
        self._arrived = array("q")
        self._doubtful = array("q")
        self._arrived_before: set[int] = set()
        self._sent_before: set[int] = set()
        self.describe: Callable[[list[tuple[Any, ...]]], str] | None = None
        self.on_text: Callable[[list[str]], object] | None = None
        self._gathers = False  # what ``on_file`` is to hear where this branch comes back
        self._results: list[tuple[Any, ...]] = []  # that were gathered
        self._texts: list[str] = []  # that were not handed on yet
        self._found_told = self._found_bytes_told = 0  # by a branch

    def measure(self) -> None:
        """Find out where the time goes, from now on."""
        from filexfer.measure.stats import Stats  # noqa: PLC0415 - only for who asked for it

        self.stats = Stats()

    def restart(self) -> None:
        """Begin another try: what arrived stays counted, all else is found out again."""
        self.tries += 1
        self._arrived_before = set(self._arrived)
        self._sent_before.update(self._doubtful)
        del self._doubtful[:]
        self.folders = self.left_out = 0
        self.failures.clear()
        self._failed_names.clear()
        self.warnings.clear()
        self.begin_again(self.files, self.bytes)

    @property
    def uncertain(self) -> int:
        """Files that were sent over a connection that was lost before it confirmed them."""
        return len(self._doubtful)

    @property
    def rate(self) -> float:
        """Bytes per second of what arrived."""
        return self.bytes / self.seconds if self.seconds else 0.0

    def branch(self, on_progress: Callable[[Report], object]) -> Report:
        """Return a report for a part of the work, done in another process or thread.

        What it counts comes back by ``take_changes`` there and ``add_changes`` here.
        """
        part = Report(on_progress)
        part._arrived_before = self._arrived_before
        part._sent_before = self._sent_before
        part._walks = 0
        if self.stats:
            part.measure()
        part.is_branch = True
        if self.on_file or self._gathers:
            part._gathers = True
        else:
            part.describe = self.describe
        return part

    def take_changes(self) -> tuple[object, ...]:
        """Return what was counted since the last time, as plain values, and begin at 0 again."""
        changes = (
            [getattr(self, name) for name in _COUNTS],
            [(each.code, each.name, each.text) for each in self.failures],
            [(each.code, each.name, each.text) for each in self.warnings],
            self._arrived.tobytes(),
            self._doubtful.tobytes(),
            self._results,
            self._texts,
            self.stats.take() if self.stats else None,
        )
        self._found_told += self.found
        self._found_bytes_told += self.found_bytes
        for name in _COUNTS:
            setattr(self, name, 0)
        self.failures, self.warnings, self._results, self._texts = [], [], [], []
        self._arrived, self._doubtful = array("q"), array("q")
        return changes

    def recall(self) -> None:
        """Let what is in doubt count as arrived if another connection finds it there."""
        self._sent_before.update(self._doubtful)
        del self._doubtful[:]

    def unfind(self) -> None:
        """Take back what was found, also what was told: another connection finds it again."""
        self.found, self.found_bytes = -self._found_told, -self._found_bytes_told

    def add_changes(self, changes: tuple[Any, ...]) -> None:
        """Add what a part of the work has counted."""
        counts, failures, warnings, arrived, doubtful, results, texts, times = changes
        for name, more in zip(_COUNTS, counts, strict=True):
            setattr(self, name, getattr(self, name) + more)
        if self.stats:
            self.stats.add(times)
        self.failed -= len(failures)  # they are counted below
        self._arrived.frombytes(arrived)
        self._doubtful.frombytes(doubtful)
        self._texts += texts
        self._tell(results)
        for parts in failures:
            self.fail(FileError(*parts))
        for parts in warnings:
            self.refuse(FileError(*parts))

    def _tell(self, results: list[tuple[Any, ...]]) -> None:
        if self.describe:
            for at in range(0, len(results), _DESCRIBED):
                self._texts.append(self.describe(results[at : at + _DESCRIBED]))
        if self._gathers:
            self._results += results
        if self.on_file:
            for parts in results:
                self.on_file(FileResult(*parts))

    @property
    def _is_heard(self) -> bool:
        """Whether anybody wants to hear of each file."""
        return bool(self.on_file or self.describe or self._gathers)

    def _tell_of(self, names: list[str], entries: list[Entry], result: str) -> None:
        self._tell(
            [
                (name, result, each.type, each.size, each.mtime, each.digest)
                for name, each in zip(names, entries, strict=True)
            ]
        )

    def arrived(self, name: str, entry: Entry, result: str, as_name: str = "") -> None:
        """Count a file that is there, perhaps *as_name*; *entry* is what was sent as *name*."""
        self.files += 1
        self.bytes += entry.size
        self._arrived.append(hash(name))
        if self._is_heard:
            self._tell_of([as_name or name], [entry], result)

    def stored(self, names: list[str], entries: list[Entry]) -> None:
        """Count files that are there under the names by which they were sent."""
        self.files += len(entries)
        self.bytes += sum([entry.size for entry in entries])
        self._arrived.extend(map(hash, names))
        if self._is_heard:
            self._tell_of(names, entries, "stored")

    def doubt(self, names: list[str]) -> None:
        """Note files that were sent, and may have arrived though nobody said so."""
        self._doubtful.extend(map(hash, names))

    def add_folder(self) -> None:
        """Count a folder."""
        self.folders += 1

    def skip(self, name: str, entry: Entry, result: str, as_name: str = "") -> None:
        """Count a file that needed no sending (it may lie there *as_name*), but in no other try."""
        if self._arrived_before or self._sent_before:
            key = hash(name)
            if key in self._arrived_before:
                return
            if result == "identical" and key in self._sent_before:
                self.confirm(entry)
                self.arrived(name, entry, "stored", as_name)
                return
        self.skipped += 1
        self.skipped_bytes += entry.size
        if self._is_heard:
            self._tell_of([as_name or name], [entry], result)

    def fail(self, error: FileError, size: int = 0) -> None:
        """Count a failure; the same name fails only once, whoever finds out first.

        Args:
            error: The failure.
            size: Of the file in bytes, if it was found before.

        """
        if error.name in self._failed_names:
            return
        self.failed += 1
        self.failed_bytes += size
        if len(self.failures) < FAILURES_KEPT:
            self.failures.append(error)
            self._failed_names.add(error.name)
            if self.is_branch:  # another may have failed with it: that is known where they meet
                return
        if self._is_heard:
            self._tell([(error.name, "failed", "", 0, 0, "", error.code, error.text)])

    def refuse(self, error: FileError) -> None:
        """Count what is not sent: a failure, or something that is passed over."""
        if error.code == Code.PASSED_OVER:
            self.warn(error)
        elif error.code == Code.LEFT_OUT:
            self.leave_out(error.name, error.text)
        else:
            self.fail(error)

    def warn(self, error: FileError) -> None:
        """Note what was passed over."""
        if len(self.warnings) < FAILURES_KEPT:
            self.warnings.append(error)

    def progress(self) -> None:
        """Tell whoever wants to know that something has moved."""
        if self._texts and not self.is_branch:
            self.hand_on()
        super().progress()

    def hand_on(self) -> None:
        """Tell of the files that are settled, to whoever wants a text."""
        if self.on_text and self._texts:
            self.on_text(self._texts)
        self._texts = []  # only now: after an interrupt rather twice than never

    def finish(self) -> None:
        """Note that the command is over."""
        if self.stats:
            self.stats.stop()  # first: its parts must not be more than the whole
        self.seconds = monotonic() - self.started
        self.end()
