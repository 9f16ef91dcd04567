"""Tests of the server's log: its lines, what is in them, and what happens when it cannot be written."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS
from hypothesis import example, given
from hypothesis import strategies as st
from test_cli_process import Service, fx, running
from test_serve import free_port

from filexfer import LocalError
from filexfer.serving import logs
from filexfer.serving.transfers import Batch, escaped, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Entry = tuple[str, int, str, str, float, str]
JOINERS = "\u200c\u200d"

texts = st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]))
entries = st.lists(
    st.tuples(
        texts,
        st.integers(0, 1 << 62),
        st.just("xxh3_128:00"),
        st.just("stored"),
        st.floats(0, 1e6),
        texts,
    ),
    min_size=1,
    max_size=5,
)


def record_of(message: object, *words: object, error: BaseException | None = None) -> Any:
    """Return a record of the log."""
    info = error and (type(error), error, error.__traceback__)
    return logging.LogRecord("filexfer", logging.INFO, "", 0, message, words, info)  # type: ignore[arg-type] # a message may be any object


def batch_of(found: list[Entry], who: str = "") -> Batch:
    """Return a batch of transfers."""
    batch = Batch("127.0.0.1:5", who, "put")
    batch.entries = found
    return batch


def is_fit(line: str) -> bool:
    """Tell whether a line has nothing in it that moves a cursor or ends the line."""
    return all(each.isprintable() or each in JOINERS for each in line)


def unescaped(text: str) -> str:
    """Return what ``escaped`` was given, with bytes that are not UTF-8 as surrogates."""
    forms = r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))"

    def back(found: re.Match[str]) -> str:
        digits = found[1] or found[2] or found[3]
        return chr(int(digits, 16)) if digits else "\\"

    return re.sub(forms, back, text)


# What a record looks like


@given(found=entries, who=texts)
def test_a_transfer_is_one_line_of_text(found: list[Entry], who: str) -> None:
    """Whatever is in a name, a reason or a token's name: one line each, nothing that escapes it."""
    lines = logs.Text().format(record_of(batch_of(found, who))).split("\n")
    assert len(lines) == len(found)
    for line, (name, size, _, _, _, _) in zip(lines, found, strict=True):
        assert is_fit(line)
        assert f" put {quoted(name)} stored, {size} bytes, xxh3_128:00, " in line


@given(found=entries, who=texts)
def test_a_transfer_is_one_object(found: list[Entry], who: str) -> None:
    """In JSON too, and the fields are those that the README names."""
    lines = logs.Json().format(record_of(batch_of(found, who))).split("\n")
    assert len(lines) == len(found)
    for line, (name, size, digest, result, _, reason) in zip(lines, found, strict=True):
        assert line.isascii()
        assert line.isprintable()
        entry = json.loads(line)
        assert entry["v"] == logs.VERSION
        assert (entry["name"], entry["who"]) == (escaped(name), escaped(who))
        assert (entry["size"], entry["digest"], entry["result"]) == (size, digest, result)
        assert entry.get("reason", "") == escaped(reason)
        assert is_fit(entry["name"])


@given(texts)
def test_a_message_is_one_line(text: str) -> None:
    """A message that has a peer's text in it is one line, in both forms."""
    line = logs.Text().format(record_of("%s: refused", text))
    assert "\n" not in line
    assert is_fit(line)
    line = logs.Json().format(record_of("%s: refused", text))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["level"] == "INFO"


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=1000))
@example("\\x1b")
@example("\x1b\\")
@example("\\\\u202e\u202e")
def test_an_escaped_name_can_be_had_back(name: str) -> None:
    """Escapes are not mistaken for names that look like them."""
    expected = name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    assert unescaped(escaped(name)) == expected


def test_a_traceback_cannot_pass_for_a_record() -> None:
    """The lines of a traceback are indented, whatever an exception says."""
    try:
        raise ValueError("x\n2026-11-20 12:00:00,000 INFO forged\x1b[2J")
    except ValueError as error:
        record = record_of("failed", error=error)
    first, *rest = logs.Text().format(record).split("\n")
    assert first.endswith(" INFO failed")
    assert rest
    assert all(line.startswith("  ") and is_fit(line) for line in rest)
    assert json.loads(logs.Json().format(record))["traceback"] == [line[2:] for line in rest]


# Files and pipes


def logged(path: Path) -> list[str]:
    """Return the names in a log of JSON."""
    return [json.loads(line)["name"] for line in path.read_text().splitlines()]


def write(file: logs.LogFile, *names: str) -> None:
    """Write a batch."""
    file.handle(record_of(batch_of([(name, 1, "", "stored", 0.0, "") for name in names])))


@contextmanager
def log_file(path: Path) -> Iterator[logs.LogFile]:
    """Open a log of JSON."""
    file = logs.LogFile(str(path))
    file.setFormatter(logs.Json())
    try:
        yield file
    finally:
        file.close()


def test_a_renamed_log_is_opened_anew(tmp_path: Path) -> None:
    """Until it is told, a log goes on in the renamed file; then in a new one; nothing is lost."""
    path = tmp_path / "log"
    path.write_text('{"name": "before"}\n')
    with log_file(path) as file:
        write(file, "1", "2")
        path.rename(tmp_path / "old")
        write(file, "3")
        file.reopen()
        write(file, "4")
    assert logged(tmp_path / "old") == ["before", "1", "2", "3"]
    assert logged(path) == ["4"]


def test_a_log_that_cannot_be_opened_anew(tmp_path: Path) -> None:
    """The old one stays in use."""
    folder = tmp_path / "logs"
    folder.mkdir()
    with log_file(folder / "log") as file:
        folder.rename(tmp_path / "gone")
        with pytest.raises(LocalError, match="No such file or directory"):
            file.reopen()
        write(file, "1")
    assert logged(tmp_path / "gone" / "log") == ["1"]


def test_a_log_that_nobody_reads(tmp_path: Path) -> None:
    """A pipe without a reader is refused at once, and a full one loses lines and waits for none."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LocalError, match="cannot open the log"):
        logs.LogFile(str(tmp_path / "pipe"))
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with log_file(tmp_path / "pipe") as file:
        for _ in range(200):
            write(file, *(str(number) for number in range(50)))
    data = b""
    while piece := os.read(reader, 1 << 20):
        data += piece
    os.close(reader)
    assert len(data) < 200 * 50 * 100
    assert all(json.loads(line) for line in data.splitlines())  # none is torn


def test_processes_do_not_mix_their_lines() -> None:
    """What is more than a pipe takes at once comes in whole lines, also when several write."""
    ours, theirs = os.pipe()
    names = ["x" * 90] * 500
    script = (
        "import logging, sys; from filexfer.serving import logs; from filexfer.serving import transfers\n"
        "handler = logs.Lines(int(sys.argv[1])); handler.setFormatter(logs.Json())\n"
        "transfers.logger.addHandler(handler); transfers.logger.setLevel(logging.INFO)\n"
        "record = transfers.Record('127.0.0.1:5', sys.argv[2], 'put')\n"
        "for number in range(500): record.add('x' * 90, number, '', 'stored')\n"
        "record.flush()\n"
    )
    command = [sys.executable, "-c", script, str(theirs)]
    writers = [subprocess.Popen([*command, str(each)], pass_fds=[theirs]) for each in range(2)]
    os.close(theirs)
    with open(ours, encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    assert [writer.wait(SECONDS) for writer in writers] == [0, 0]
    for who in "01":
        mine = [each for each in found if each["who"] == who]
        assert [each["size"] for each in mine] == list(range(len(names)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a disk in memory")
    try:
        assert os.path.ismount(place)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.case("F16")
def test_a_full_disk_loses_lines_and_says_so(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Lost lines are told once, counted, and never leave half a line; later ones are written."""
    path = small_disk / "log"
    rest = small_disk / "rest"
    with log_file(path) as file:
        rest.write_bytes(bytes(59 << 10))
        write(file, *("a" * 100 for _ in range(100)))
        write(file, "b")
        assert caplog.messages == [
            f"cannot write the log {path}: No space left on device; transfers go on"
        ]
        rest.unlink()
        write(file, "c")
    lines = path.read_text().splitlines()
    whole = [line for line in lines if line.endswith("}")]
    assert len(lines) - len(whole) <= 1  # where the disk was full
    names = [json.loads(line)["name"] for line in whole]
    assert names == ["a" * 100] * (len(names) - 1) + ["c"]
    lost = 101 - (len(names) - 1)
    assert caplog.messages[1:] == [f"the log {path} is written again; {lost} lines are lost"]


@pytest.mark.case("F16")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk here")
def test_a_log_that_is_always_full(tmp_path: Path) -> None:
    """With no room for the log, uploads and downloads go on, and the fault is told once."""
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", "1", "--access-log", "/dev/full") as service:
        for name in ("1", "2"):
            assert fx("put", tmp_path / "file", f"{service.address}{name}").returncode == 0
        assert fx("get", f"{service.address}1", tmp_path / "back").returncode == 0
        assert service.end() == 0
        (line,) = service.rest().splitlines()
        assert "cannot write the log /dev/full: No space left on device" in line
    with open("/dev/full", "wb") as full:
        port = free_port()
        words = ("serve", "-v", tmp_path / "in", "--port", port, "--workers", "1")
        with running(*words, stderr=full) as process:
            while fx("put", tmp_path / "file", f"fx://127.0.0.1:{port}/3").returncode:
                assert process.poll() is None
            process.terminate()
            assert process.wait(SECONDS) == 0
    assert (tmp_path / "in" / "3").read_text() == "x"
