"""Transfers by ``put`` and ``get``: what is sent again, what is said, and every exit code."""

from __future__ import annotations

import hashlib
import os
import pty
import re
import socket
import subprocess
import sys
import tarfile
import termios
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, leftovers, tree_state
from test_cli_process import (
    CHUNK,
    COMMAND,
    SECONDS,
    SUMMARY,
    Service,
    environment,
    fx,
    fx_bytes,
    running,
    scripted,
    take_get,
    welcome,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OLD, NEW = 1_600_000_000_000_000_000, 1_700_000_000_000_000_000  # modification times


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server, which allows everything, for the tests of this module."""
    words = ("--workers", "1", "--durability", "none", "--allow", "overwrite,delete")
    with Service(tmp_path_factory.mktemp("served"), *words) as running_service:
        yield running_service


class Place:
    """A folder on the server for one test alone."""

    def __init__(self, service: Service, name: str) -> None:
        self.folder = service.folder / name
        self.folder.mkdir()
        self.address = f"{service.address}{name}/"


@pytest.fixture
def place(service: Service, request: pytest.FixtureRequest) -> Place:
    """Return a folder on the server for this test alone."""
    return Place(service, re.sub(r"\W+", "_", request.node.name))


def write(path: Path, text: str, mtime: int = OLD) -> Path:
    """Write a file that was modified at a certain time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, ns=(mtime, mtime))
    return path


# If a file exists

CASES = [
    # option, contents and time there, contents and time here; what is there then, word, code
    ("", ("same", OLD), ("same", OLD), "same", "identical", 0),
    ("", ("same", OLD), ("same", NEW), "same", "identical", 0),
    ("", ("old", OLD), ("newer", NEW), "old", "failed", 3),
    ("--overwrite", ("old", OLD), ("newer", NEW), "newer", "stored", 0),
    ("--overwrite", ("newer", NEW), ("old", OLD), "old", "stored", 0),
    ("--overwrite", ("same", OLD), ("same", OLD), "same", "identical", 0),
    ("--update", ("old", OLD), ("newer", NEW), "newer", "stored", 0),
    ("--update", ("newer", NEW), ("old", OLD), "newer", "skipped", 0),
    ("--skip-existing", ("old", OLD), ("newer", NEW), "old", "skipped", 0),
    ("--keep-both", ("old", OLD), ("newer", NEW), "old", "kept", 0),
    # the same size and time, other contents
    ("--overwrite", ("aaaa", OLD), ("bbbb", OLD), "aaaa", "identical", 0),
    ("--overwrite --checksum", ("aaaa", OLD), ("bbbb", OLD), "bbbb", "stored", 0),
    ("-c", ("aaaa", OLD), ("bbbb", OLD), "aaaa", "failed", 3),
    ("-c", ("same", OLD), ("same", OLD), "same", "identical", 0),
]


@pytest.mark.parametrize("direction", ["put", "get"])
@pytest.mark.parametrize(
    ("option", "there", "here", "then", "word", "code"),
    CASES,
    ids=[f"{option} {there[0]} {word}" for option, there, _, _, word, _ in CASES],
)
def test_where_a_file_exists(  # noqa: PLR0917 - the columns of the table
    direction: str,
    option: str,
    there: tuple[str, int],
    here: tuple[str, int],
    then: str,
    word: str,
    code: int,
    tmp_path: Path,
    place: Place,
) -> None:
    """What happens to a file that exists is what the option says; the same up and down."""
    source, target = tmp_path / "file", place.folder / "file"
    words: tuple[object, ...] = ("put", source, place.address)
    if direction == "get":
        source, target = target, source
        words = ("get", place.address + "file", f"{tmp_path}/")
    write(target, *there)
    write(source, *here)
    result = fx(*words, "-v", *option.split())
    assert result.returncode == code, result.stderr
    assert target.read_text() == then
    line, summary = result.stderr.splitlines()
    if word == "failed":
        assert line == f"filexfer: {_beginning(direction, place)}file: exists and differs"
        assert ", 1 failed -> " in summary
    elif word in ("identical", "skipped"):
        assert line.startswith(word)
        assert summary.startswith("0 files, 0 B in ")
        assert ", 1 skipped -> " in summary
    else:
        assert line.startswith(word)
        assert summary.startswith("1 file, ")
    beside = [name for name in os.listdir(target.parent) if name != "file"]
    if word == "kept":
        assert len(beside) == 1
        assert re.fullmatch(r"file~[0-9a-f]{8}", beside[0])
        assert (target.parent / beside[0]).read_text() == here[0]
        again = fx(*words, *option.split())
        assert again.returncode == 0
        assert [name for name in os.listdir(target.parent) if name != "file"] == beside
    else:
        assert beside == []


def _beginning(direction: str, place: Place) -> str:
    return place.folder.name + "/" if direction == "put" else ""


def make_tree(folder: Path) -> Path:
    """Make a small tree of everything that is kept."""
    write(folder / "a", "a", NEW)
    write(folder / "sub" / "b", "b" * 1000).chmod(0o750)
    write(folder / "sub" / "large", "large" * (CHUNK // 4))
    (folder / "hollow").mkdir()
    (folder / "sub" / "link").symlink_to("../a")
    for each in (folder / "hollow", folder / "sub"):
        os.utime(each, ns=(OLD, OLD))
    (folder / "hollow").chmod(0o700)
    return folder


@pytest.mark.parametrize("options", ["", "-j 2", "--hash sha256", "-r"])
def test_round_trip(options: str, tmp_path: Path, place: Place) -> None:
    """A tree comes back as it went, and a second run of either command sends no file."""
    tree = make_tree(tmp_path / "tree")
    up = ("put", *options.split(), tree, place.address)
    down = ("get", *options.split(), place.address + "tree", tmp_path / "back")
    for words in (up, down):
        first = fx(*words)
        assert first.returncode == 0, first.stderr
        assert first.stderr.startswith("4 files, 1.3 MB in ")
        second = fx(*words)
        assert second.returncode == 0
        assert re.match(r"0 files, 0 B in \d+\.\d s, 4 skipped -> ", second.stderr)
    before = tree_state(tree)
    assert tree_state(place.folder / "tree") == before
    assert tree_state(tmp_path / "back" / "tree") == before


def test_only_changes_are_sent(tmp_path: Path, place: Place) -> None:
    """A repeated upload sends what is new and what was changed, as far as it may."""
    tree = make_tree(tmp_path / "tree")
    assert fx("put", tree, place.address).returncode == 0
    write(tree / "sub" / "new", "new")
    write(tree / "a", "changed", NEW)
    result = fx("put", "-v", "--overwrite", tree, place.address)
    assert result.returncode == 0
    stored = {line.split("  ")[-1] for line in result.stderr.splitlines() if "stored" in line[:8]}
    assert stored == {f"{place.folder.name}/tree/{name}" for name in ("a", "sub/new")}
    assert tree_state(place.folder / "tree") == tree_state(tree)


# What is said


@pytest.mark.parametrize("direction", ["put", "get"])
def test_quiet_and_verbose(direction: str, tmp_path: Path, place: Place) -> None:
    """``-q`` says nothing but errors, ``-v`` names every file; data's output stays empty."""
    for folder in (tmp_path, place.folder):
        write(folder / "tree" / "one", "1")
        write(folder / "tree" / "two", "22")
    words: tuple[object, ...] = ("get", place.address + "tree", tmp_path / "back")
    missing: tuple[object, ...] = ("get", place.address + "missing", tmp_path / "back")
    if direction == "put":
        words = ("put", tmp_path / "tree", place.address + "up")
        missing = ("put", tmp_path / "missing", place.address + "up")
    plain, verbose = fx(*words), fx(*words, "-v")
    quiet, wrong = fx(*words, "-q"), fx(*missing, "-q")
    assert SUMMARY.fullmatch(plain.stderr.rstrip("\n"))
    *names, summary = verbose.stderr.splitlines()
    assert {re.sub(r"\S*tree/", "", line) for line in names} == {
        "identical       1 B  one",
        "identical       2 B  two",
    }
    assert SUMMARY.fullmatch(summary)
    assert quiet.stderr == ""
    assert (quiet.returncode, wrong.returncode) == (0, 3)
    assert re.fullmatch(r"filexfer: \S*missing: no such file or folder.*\n", wrong.stderr)
    assert {plain.stdout, verbose.stdout, quiet.stdout, wrong.stdout} == {""}


def test_failures_come_before_the_summary(tmp_path: Path, place: Place) -> None:
    """One file that fails does not keep the others back; it is named, and counted at the end."""
    write(tmp_path / "tree" / "good", "good")
    write(tmp_path / "tree" / "bad", "here")
    write(place.folder / "tree" / "bad", "there!")
    result = fx("put", tmp_path / "tree", tmp_path / "missing", place.address)
    assert result.returncode == 3
    *failures, summary = result.stderr.splitlines()
    assert sorted(failures) == sorted(
        [
            f"filexfer: {tmp_path}/missing: no such file or folder",
            f"filexfer: {place.folder.name}/tree/bad: exists and differs",
        ]
    )
    assert re.match(r"1 file, 4 B in .*, 2 failed -> ", summary)
    assert (place.folder / "tree" / "good").read_text() == "good"
    assert (place.folder / "tree" / "bad").read_text() == "there!"


def test_what_is_passed_over(tmp_path: Path, place: Place) -> None:
    """Pipes, and links that lead out, are passed over with a warning and without a failure."""
    write(tmp_path / "tree" / "file", "x")
    os.mkfifo(tmp_path / "tree" / "pipe")
    (tmp_path / "tree" / "out").symlink_to("../..")
    (tmp_path / "tree" / "absolute").symlink_to("/etc/passwd")
    up = fx("put", tmp_path / "tree", place.address)
    assert up.returncode == 0
    *warnings, summary = up.stderr.splitlines()
    assert sorted(re.sub(r"\S*tree/", "", line) for line in warnings) == [
        "filexfer: absolute: is a link that leads out of the folder; passed over",
        "filexfer: out: is a link that leads out of the folder; passed over",
        "filexfer: pipe: is a pipe, socket or device; passed over",
    ]
    assert "failed" not in summary
    assert os.listdir(place.folder / "tree") == ["file"]
    quiet = fx("put", "-q", tmp_path / "tree", place.address)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    os.mkfifo(place.folder / "tree" / "pipe")
    down = fx("get", place.address + "tree", tmp_path / "back")
    assert down.returncode == 0
    assert "tree/pipe: is a pipe, socket or device; passed over" in down.stderr


def test_a_pipe_that_was_asked_for(tmp_path: Path, place: Place) -> None:
    """A pipe, socket or device that is named by itself fails: nothing of it has arrived."""
    write(tmp_path / "file", "x")
    os.mkfifo(tmp_path / "pipe")
    up = fx("put", tmp_path / "pipe", tmp_path / "file", place.address)
    assert up.returncode == 3
    assert "pipe: is a pipe, socket or device\n1 file, " in up.stderr
    assert fx("put", "-n", tmp_path / "pipe", place.address).returncode == 3
    assert fx("put", "--preflight", tmp_path / "pipe", place.address).returncode == 3
    assert os.listdir(place.folder) == ["file"]
    os.mkfifo(place.folder / "pipe")
    for option in ("-v", "-n"):
        down = fx("get", option, place.address + "pipe", tmp_path / "back/")
        assert down.returncode == 3
        assert "is a pipe, socket or device" in down.stdout + down.stderr
    assert fx("demo", tmp_path / "pipe").returncode == 3


def test_a_file_in_the_place_of_a_folder(tmp_path: Path, place: Place) -> None:
    """A folder does not go where a file is, and the error says what is there."""
    write(tmp_path / "file", "x")
    (place.folder / "tree").mkdir()
    down = fx("get", place.address + "tree", tmp_path / "file")
    assert down.returncode == 8
    assert down.stderr.endswith("/file: it is not a folder\n")


def on_terminal(*words: object, seen: Callable[[str], object]) -> tuple[int, str]:
    """Run a command with standard error on a terminal; return exit code and what is shown.

    All that was shown so far is handed to *seen* whenever there is more.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    command = [*COMMAND, *map(str, words)]
    process = subprocess.Popen(
        command, env=environment(TERM="xterm"), stderr=theirs, stdin=subprocess.DEVNULL
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
            seen(shown.decode(errors="replace"))
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    return process.wait(SECONDS), shown.decode(errors="replace")


class Slow:
    """A server that moves one file slowly, 20 MB/s at most, until it is told to hurry."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.hurry = threading.Event()

    def take(self, peer: Raw) -> None:
        """Take an upload."""
        welcome(peer)
        while (request := peer.reply() or {})["kind"] != "put":
            peer.frame({"kind": "entries", "entries": []})
        header = peer.reply() or {}
        assert (header["kind"], header["size"]) == ("file", self.size)
        while length := int.from_bytes(peer.read(4), "big"):
            while length:
                self.hurry.wait(0.02)
                length -= len(peer.read(min(length, 1 << 17)))
        assert [(peer.reply() or {})["kind"] for _ in range(2)] == ["trailer", "end"]
        peer.frame({"kind": "done", "count": 1})
        peer.frame({"kind": "end"})
        assert request

    def give(self, peer: Raw) -> None:
        """Give a download."""
        welcome(peer)
        take_get(peer, {"x": ["file", self.size, 1, 0o644, ""]})
        peer.frame({"kind": "file", "name": "x", "size": self.size, "algorithm": "md5"})
        made = hashlib.md5()
        for _ in range(self.size // CHUNK):
            self.hurry.wait(0.05)
            peer.send(CHUNK.to_bytes(4, "big") + bytes(CHUNK))
            made.update(bytes(CHUNK))
        peer.send(bytes(4))
        peer.frame({"kind": "trailer", "hash": "md5:" + made.hexdigest()})
        peer.frame({"kind": "end"})
        peer.replies()


@pytest.mark.parametrize("direction", ["put", "get"])
def test_bar_on_a_terminal(direction: str, tmp_path: Path) -> None:
    """On a terminal there is a bar, which is gone at the end."""
    slow = Slow(64 * CHUNK)
    (tmp_path / "x").write_bytes(bytes(range(256)) * (64 * CHUNK // 256))
    bar = r"sending +0% \|[^|]*\| 0 B of 67\.1 MB, 0 of 1 file, [\d.]+ MB sent"  # not confirmed
    if direction == "get":
        bar = r"receiving +\d+% \|[^|]*\| [\d.]+ of 67\.1 MB, 0 of 1 file, [\d.]+ MB/s, 0:0\d left"

    def seen(shown: str) -> None:
        if re.search(bar, shown):
            slow.hurry.set()

    with scripted(slow.take if direction == "put" else slow.give) as address:
        words: tuple[object, ...] = ("put", tmp_path / "x", address)
        if direction == "get":
            words = ("get", address + "x", tmp_path / "back")
        code, shown = on_terminal(*words, seen=seen)
    assert code == 0
    assert slow.hurry.is_set(), shown
    *_, summary, nothing = re.split(r"\r+\n?|\n", shown)
    assert nothing == ""
    assert summary.startswith("\x1b[K")  # the bar is wiped away
    assert SUMMARY.fullmatch(summary.removeprefix("\x1b[K"))


@pytest.mark.parametrize("options", ["", "-q", "-v"])
def test_no_bar(options: str, tmp_path: Path) -> None:
    """No bar is drawn beside other messages, or where standard error is no terminal."""
    slow = Slow(24 * CHUNK)  # takes longer than it takes until there is a bar
    with scripted(slow.give) as address:
        words = ("get", *options.split(), address + "x", tmp_path / "back")
        if options:
            code, shown = on_terminal(*words, seen=lambda _: None)
        else:
            result = fx(*words)
            code, shown = result.returncode, result.stderr
    assert code == 0
    assert "|" not in shown
    assert "\x1b" not in shown
    assert "\r" not in shown.replace("\r\n", "\n")
    assert shown.count("\n") == {"": 1, "-q": 0, "-v": 2}[options]


def test_no_bar_for_what_is_over_at_once(tmp_path: Path, place: Place) -> None:
    """A short transfer shows its summary only; the bar's library is not even loaded."""
    write(tmp_path / "file", "x")
    code, shown = on_terminal("put", tmp_path / "file", place.address, seen=lambda _: None)
    assert code == 0
    assert SUMMARY.fullmatch(shown.rstrip("\r\n"))


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([], "0 files, 0 B"),
        ([0], "1 file, 0 B"),
        ([999], "1 file, 999 B"),
        ([1000], "1 file, 1.0 kB"),
        ([1_250_000, 1], "2 files, 1.3 MB"),
    ],
)
def test_summary(sizes: list[int], words: str, tmp_path: Path, place: Place) -> None:
    """The last line counts files and bytes, with decimal units, and tells the rate of bytes."""
    (tmp_path / "tree").mkdir()
    for number, size in enumerate(sizes):
        (tmp_path / "tree" / str(number)).write_bytes(bytes(size))
    result = fx("put", tmp_path / "tree", place.address)
    rate = r" \([\d.]+ [kMGT]?B/s\)" if sum(sizes) else ""
    assert re.fullmatch(
        rf"{words} in \d+\.\d s{rate} -> {re.escape(place.address)}tree/\n", result.stderr
    )


# Standard input and output


def test_streams(tmp_path: Path, place: Place) -> None:
    """``-`` is standard input for put and standard output for get; also for large data."""
    data = os.urandom(3 * CHUNK + 1)
    up = fx_bytes("put", "-", place.address + "stream", data=data)
    assert up.returncode == 0, up.stderr
    assert (place.folder / "stream").read_bytes() == data
    down = fx_bytes("get", place.address + "stream", "-")
    assert (down.returncode, down.stdout) == (0, data)
    assert down.stderr.decode().endswith(" -> standard output\n")


@pytest.mark.parametrize("data", [b"", b"\0", b"line\r\n\xff"])
def test_small_streams(data: bytes, place: Place) -> None:
    """A stream may be empty, or anything."""
    up = fx_bytes("put", "-", place.address + "stream", data=data)
    assert up.returncode == 0
    down = fx_bytes("get", "-q", place.address + "stream", "-")
    assert (down.returncode, down.stdout, down.stderr) == (0, data, b"")


def test_tar_through_pipes(tmp_path: Path, place: Place) -> None:
    """``tar c | filexfer put -`` and ``filexfer get - | tar x`` bring a tree there and back."""
    tree = make_tree(tmp_path / "tree")
    (tmp_path / "back").mkdir()
    there = place.address + "tree.tar"
    shell = (
        'cd "$1" && tar cf - tree | "$2" -m filexfer put - "$3" && '
        '"$2" -m filexfer get "$3" - | tar xf - -C back'
    )
    subprocess.run(
        ["sh", "-c", shell, "sh", tmp_path, sys.executable, there],
        env=environment(),
        check=True,
        timeout=SECONDS,
        capture_output=True,
    )
    with tarfile.open(place.folder / "tree.tar") as archive:
        assert "tree/sub/large" in archive.getnames()
    back = tree_state(tmp_path / "back" / "tree")
    assert [(name, each[0], each[3]) for name, each in sorted(back.items())] == [
        (name, each[0], each[3]) for name, each in sorted(tree_state(tree).items())
    ]


def test_stream_onto_an_existing_file(place: Place) -> None:
    """Standard input replaces a file only if it is told to."""
    write(place.folder / "taken", "taken")
    refused = fx("put", "-", place.address + "taken", input="other")
    assert refused.returncode == 3
    assert "taken: exists and differs" in refused.stderr
    assert (place.folder / "taken").read_text() == "taken"
    assert fx("put", "--overwrite", "-", place.address + "taken", input="other").returncode == 0
    assert (place.folder / "taken").read_text() == "other"
    assert leftovers(place.folder) == []


def test_stream_that_cannot_be_read(tmp_path: Path, place: Place) -> None:
    """Standard input that fails makes no file on the server."""
    fd = os.open(tmp_path / "written only", os.O_WRONLY | os.O_CREAT)
    result = fx("put", "-", place.address + "stream", stdin=fd)
    os.close(fd)
    assert result.returncode == 3
    assert result.stderr.startswith(f"filexfer: {place.folder.name}/stream: Bad file descriptor\n")
    assert os.listdir(place.folder) == []


def test_stream_of_a_missing_file(place: Place) -> None:
    """Of a file that is not there, nothing comes to standard output."""
    result = fx("get", place.address + "missing", "-")
    assert (result.returncode, result.stdout) == (3, "")
    assert "missing: no such file or folder" in result.stderr


def test_stream_of_a_folder(place: Place) -> None:
    """Of a folder, nothing comes to standard output: its files are not put one behind another."""
    write(place.folder / "folder" / "one", "one")
    write(place.folder / "folder" / "two", "two")
    result = fx("get", place.address + "folder", "-")
    assert result.returncode == 3
    assert "only a file can go to standard output" in result.stderr
    assert result.stdout == ""


# Exit codes: 0, 2 and 3 are above, in test_cli_usage.py and in test_cli_process.py

MD5_OF_DATA = "md5:" + hashlib.md5(b"data").hexdigest()


def forging(body: bytes, **header: Any) -> Any:
    """Return a script of a server that sends a file whose bytes are not what it announced."""

    def script(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"x": ["file", len(body), 1, 0o644, ""]})
        peer.frame({"kind": "file", "name": "x", **header})
        peer.send(body)
        if "hash" not in header:
            peer.frame({"kind": "trailer", "hash": MD5_OF_DATA})
        peer.frame({"kind": "end"})
        peer.replies()

    return script


LARGE_BODY = (3 * CHUNK).to_bytes(4, "big") + b"e" * 3 * CHUNK + bytes(4)


forged = pytest.mark.parametrize(
    ("script", "said"),
    [
        (forging(b"DATA", size=4, hash=MD5_OF_DATA), b""),
        (forging(LARGE_BODY, size=3 * CHUNK, algorithm="md5"), b"e" * 3 * CHUNK),
    ],
    ids=["small", "large"],
)


@forged
def test_forged_bytes_to_standard_output(script: Any, said: bytes) -> None:
    """Where bytes that are wrong were written already, the code is 5; else that file failed, 3."""
    with scripted(script) as address:
        result = fx_bytes("get", address + "x", "-")
    assert result.returncode == (5 if said else 3)
    assert result.stdout == said
    assert b"do not match their hash" in result.stderr
    assert (b"must not be used" in result.stderr) == bool(said)


@pytest.mark.parametrize(
    "script",
    [
        forging(b"DATA", size=4, hash=MD5_OF_DATA),
        forging(LARGE_BODY, size=3 * CHUNK, algorithm="md5"),
    ],
    ids=["small", "large"],
)
def test_forged_bytes_to_a_file(script: Any, tmp_path: Path) -> None:
    """Bytes that are not what their hash says never become a file."""
    with scripted(script) as address:
        result = fx("get", address + "x", tmp_path)
    assert result.returncode == 3
    assert result.stderr.startswith("filexfer: x: the bytes that came do not match their hash\n")
    assert os.listdir(tmp_path) == []


def test_file_that_was_not_asked_for(tmp_path: Path) -> None:
    """A server that sends other names than it was asked for is told apart: code 5, no file."""

    def script(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"x": ["file", 4, 1, 0o644, ""]})
        peer.frame({"kind": "file", "name": "y\x1b", "size": 4, "hash": MD5_OF_DATA})
        peer.send(b"data")
        peer.replies()

    with scripted(script) as address:
        result = fx("get", address + "x", tmp_path)
    assert result.returncode == 5
    expected = "filexfer: error: the server sent y\\x1b, which was not asked for\n"
    assert result.stderr == expected
    assert os.listdir(tmp_path) == []


def hang_up(peer: Raw) -> None:
    """End the connection in the middle of a file."""
    welcome(peer)
    take_get(peer, {"x": ["file", 4 * CHUNK, 1, 0o644, ""]})
    peer.frame({"kind": "file", "name": "x", "size": 4 * CHUNK, "hash": MD5_OF_DATA})
    peer.send(bytes(CHUNK))


def hang_up_before_the_trailer(peer: Raw) -> None:
    """End the connection between a body and its trailer."""
    welcome(peer)
    take_get(peer, {"x": ["file", 4, 1, 0o644, ""]})
    peer.frame({"kind": "file", "name": "x"})
    peer.send((4).to_bytes(4, "big") + b"data" + bytes(4))


@pytest.mark.parametrize("script", [hang_up, hang_up_before_the_trailer])
def test_connection_that_breaks(script: Any, tmp_path: Path) -> None:
    """A connection that breaks for good ends with code 6; nothing torn is left."""
    with scripted(script, script) as address:
        result = fx("get", "--retries", "1", address + "x", tmp_path)
    assert result.returncode == 6
    assert result.stderr.startswith("filexfer: error: the connection was closed")
    assert result.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_connection_that_breaks_once(tmp_path: Path) -> None:
    """After a lost connection the command goes on, over a new one."""

    def whole(peer: Raw) -> None:
        welcome(peer)
        take_get(peer)
        peer.frame({"kind": "file", "name": "x", "size": 4, "hash": MD5_OF_DATA})
        peer.send(b"data")
        peer.frame({"kind": "end"})
        peer.replies()

    with scripted(hang_up, whole) as address:
        result = fx("get", address + "x", tmp_path)
    assert result.returncode == 0
    assert (tmp_path / "x").read_bytes() == b"data"


def test_silent_server(tmp_path: Path) -> None:
    """A server that says nothing for the time-out ends a command with code 6."""

    def silent(peer: Raw) -> None:
        assert peer.reply()
        while peer.sock.recv(100):
            pass

    with scripted(silent) as address:
        result = fx("ls", "--timeout", "0.2", address)
    assert result.returncode == 6
    assert "nothing moved for 0.2 seconds" in result.stderr


def test_not_a_filexfer_server(tmp_path: Path) -> None:
    """A server of another kind is recognised, in one line with the address."""

    def other(peer: Raw) -> None:
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.finish()
        peer.read(1000)

    with scripted(other) as address:
        result = fx("ls", address)
    assert result.returncode == 6
    port = address.rstrip("/").rpartition(":")[2]
    assert result.stderr.startswith(f"filexfer: error: 127.0.0.1 port {port}: a frame's length")
    assert result.stderr.count("\n") == 1


def test_refused_upload(tmp_path: Path) -> None:
    """Where nothing may be uploaded the whole command is refused: code 7."""
    write(tmp_path / "file", "x")
    with Service(tmp_path / "in", "--workers", "1", "--read-only") as service:
        result = fx("put", tmp_path / "file", service.address)
        stream = fx("put", "-", service.address + "x", input="x")
    for each in (result, stream):
        assert each.returncode == 7
        assert "this server does not let you upload files" in each.stderr
        assert each.stderr.count("\n") == 1
    assert os.listdir(tmp_path / "in") == []


def other_address() -> str:
    """Return an address of this machine that is not the loopback's, or nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return ""
        return str(sock.getsockname()[0])


@pytest.mark.skipif(not other_address(), reason="this machine has no network")
def test_another_machine_is_not_trusted(tmp_path: Path) -> None:
    """Without ``--insecure`` no command talks in the clear to another machine: code 4."""
    write(tmp_path / "file", "x")
    words = ("--workers", "1", "--host", other_address(), "--insecure")
    with Service(tmp_path / "in", *words) as service:
        for command in (
            ("put", tmp_path / "file", service.address),
            ("get", service.address + "file", tmp_path),
            ("ls", service.address),
            ("rm", service.address + "file"),
            ("mkdir", service.address + "folder"),
            ("stat", service.address + "file"),
            ("cat", service.address + "file"),
            ("mv", service.address + "file", service.address + "other"),
        ):
            refused = fx(*command)
            assert refused.returncode == 4
            assert "talks no TLS" in refused.stderr
        done = fx("put", "--insecure", tmp_path / "file", service.address)
        assert done.returncode == 0
        assert "WARNING: no encryption" in done.stderr
        assert fx("ls", "--insecure", service.address).stdout == "file\n"


@pytest.mark.parametrize("how", ["taken/below", "gone"])
def test_local_folder_that_cannot_be_used(how: str, tmp_path: Path, place: Place) -> None:
    """A local folder that cannot be made stops a download with code 8."""
    write(place.folder / "x", "x")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "taken").write_text("a file")
    result = fx("get", place.address + "x", f"{tmp_path}/{how}/")
    assert result.returncode == 8
    assert result.stderr.startswith("filexfer: error: cannot use the folder ")
    assert result.stderr.count("\n") == 1


def test_reader_of_the_data_leaves(place: Place) -> None:
    """Where the reader of standard output goes before the end, the download fails: code 8."""
    (place.folder / "large").write_bytes(bytes(4 * CHUNK))
    with running("get", place.address + "large", "-") as process:
        assert process.stdout
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.wait(SECONDS) == 8
        assert process.stderr
        assert process.stderr.read() == b"filexfer: error: -: Broken pipe\n"
