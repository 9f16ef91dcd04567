"""Reports: what several parts of the work count comes together in one."""

from __future__ import annotations

import marshal
from collections import Counter
from typing import Any

import pytest

from filexfer import report as report_module
from filexfer.entry import entry_of_file
from filexfer.errors import Code, FileError
from filexfer.report import FileResult, Report

ODD = "a\udcff/\ud800 你好\n\x1b[31m"
DIGEST = "sha256:00"
Event = tuple[object, ...]


def parts_of(file: FileResult) -> Event:
    return tuple(getattr(file, name) for name in FileResult.__slots__)


def ignore(_: Report) -> None:
    """Take no note of progress."""


def through_a_pipe(part: Report) -> Any:
    """Return the changes of a part as they come out of a pipe."""
    changes: Any = part.take_changes()
    return marshal.loads(marshal.dumps(changes))


def work(report: Report, prefix: str = "") -> None:
    """Let everything happen once that can."""
    for size in (3, 4):
        report.found += 1
        report.found_bytes += size
        report.moved += size
    report.arrived(prefix + ODD, entry_of_file("", 3, 7, 0o644, DIGEST), "stored")
    report.arrived(prefix + "kept", entry_of_file("", 4, 8, 0o644), "kept")
    report.skip(prefix + "same", entry_of_file("", 5, 9, 0o644), "identical")
    report.skip(prefix + "old", entry_of_file("", 6, 1, 0o644), "skipped")
    report.add_folder()
    report.fail(FileError(Code.EXISTS, prefix + "taken", "exists and differs"))
    report.fail(FileError("made_up_later", prefix + ODD, ODD))
    report.refuse(FileError(Code.PASSED_OVER, prefix + "pipe", "is a pipe"))
    report.doubt([prefix + "doubtful", prefix + "half"])


COUNTS = {
    "files": 2,
    "bytes": 7,
    "folders": 1,
    "skipped": 2,
    "skipped_bytes": 11,
    "failed": 2,
    "moved": 7,
    "found": 2,
    "found_bytes": 7,
    "uncertain": 2,
}


def counts(report: Report) -> dict[str, int]:
    return {name: getattr(report, name) for name in COUNTS}


def told(errors: list[FileError]) -> list[tuple[str, str, str]]:
    return [(error.code, error.name, error.text) for error in errors]


def test_what_a_part_counts_comes_whole() -> None:
    """Counts, failures, warnings, doubts and names are those of one report that did it all."""
    alone_events: list[Event] = []
    alone = Report(on_file=lambda file: alone_events.append(parts_of(file)))
    events: list[Event] = []
    whole = Report(on_file=lambda file: events.append(parts_of(file)))
    for prefix in ("one ", "two "):
        work(alone, prefix)
        part = whole.branch(ignore)
        work(part, prefix)
        whole.add_changes(through_a_pipe(part))
    assert counts(whole) == counts(alone) == {name: 2 * count for name, count in COUNTS.items()}
    assert told(whole.failures) == told(alone.failures)
    assert told(whole.warnings) == told(alone.warnings)
    assert events == alone_events
    assert len(events) == 2 * 6


def test_what_was_taken_is_not_taken_again() -> None:
    """A part can report as often as it likes."""
    whole = Report()
    part = whole.branch(ignore)
    for number in range(3):
        work(part, f"{number} ")
        whole.add_changes(through_a_pipe(part))
        whole.add_changes(through_a_pipe(part))
    assert counts(whole) == {name: 3 * count for name, count in COUNTS.items()}
    assert len(whole.failures) == whole.failed
    assert len(whole.warnings) == 3


def test_what_several_parts_find_out_is_told_once() -> None:
    """A folder that no part can read has failed once, and is named once."""
    names: list[str] = []
    whole = Report(on_file=lambda file: names.append(file.name))
    for number in range(3):
        part = whole.branch(ignore)
        part.fail(FileError(Code.DENIED, "shut", "permission denied"))
        part.arrived(str(number), entry_of_file("", 1, 0, 0), "stored")
        whole.add_changes(through_a_pipe(part))
    assert (whole.failed, [error.name for error in whole.failures]) == (1, ["shut"])
    assert Counter(names) == {"shut": 1, "0": 1, "1": 1, "2": 1}


def test_a_part_without_a_listener_keeps_no_names() -> None:
    """If nobody wants to hear of each file, nothing is kept for it."""
    part = Report().branch(ignore)
    work(part)
    *_, results, texts, _ = part.take_changes()
    assert (results, texts) == ([], [])


def test_a_part_tells_its_progress_to_whom_it_was_given() -> None:
    seen: list[Report] = []
    whole = Report(on_progress=lambda _: pytest.fail("the part is another report"))
    part = whole.branch(seen.append)
    part.progress()
    assert seen == [part]


def test_failures_beyond_those_kept_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many parts have more than are kept."""
    monkeypatch.setattr(report_module, "FAILURES_KEPT", 5)
    whole = Report()
    for prefix in "ab":
        part = whole.branch(ignore)
        for number in range(8):
            part.fail(FileError(Code.DENIED, f"{prefix}{number}", "no"))
        whole.add_changes(through_a_pipe(part))
    assert whole.failed == 16
    assert len(whole.failures) == 5


def test_what_another_finds_again_is_taken_back() -> None:
    """Whether it was told already or not."""
    whole = Report()
    part = whole.branch(ignore)
    for _ in range(2):
        part.found += 2
        part.found_bytes += 30
        whole.add_changes(through_a_pipe(part))
    part.found += 1
    part.unfind()
    whole.add_changes(through_a_pipe(part))
    assert (whole.found, whole.found_bytes) == (0, 0)


def test_a_further_try_knows_what_parts_had_sent() -> None:
    """What arrived is not counted again; what was sent and is there is no skipped file."""
    whole = Report()
    part = whole.branch(ignore)
    part.arrived("arrived", entry_of_file("", 3, 0, 0), "stored")
    part.doubt(["doubtful"])
    whole.add_changes(through_a_pipe(part))
    whole.restart()
    again = whole.branch(ignore)
    for name in ("arrived", "doubtful", "other"):
        again.skip(name, entry_of_file("", 5, 0, 0), "identical")
    whole.add_changes(through_a_pipe(again))
    assert (whole.files, whole.bytes) == (2, 8)
    assert (whole.skipped, whole.skipped_bytes, whole.uncertain) == (1, 5, 0)
