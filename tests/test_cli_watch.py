"""What is drawn while a transfer runs, on terminals of any kind; and what ends it from without."""

from __future__ import annotations

import os
import pty
import random
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from conftest import Raw, leftovers
from test_cli_process import (
    CHUNK,
    COMMAND,
    SECONDS,
    SUMMARY,
    Service,
    environment,
    running,
    scripted,
    welcome,
)
from test_cli_transfer import Slow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FRAME = re.compile(r"\r([^\r\x1b]*)\x1b\[K")
PLAIN = re.compile(
    r"filexfer: receiving \d+% [\d.]+ ([kM]?B )?of 25\.2 MB, 0 of 1 file"
    r"(, [\d.]+ [kM]?B/s(, \d:\d\d left)?)?"
)


def tuned(settings: str, *words: object) -> list[str]:
    """Return a command that first changes something in the program."""
    script = f"{settings}; from filexfer.cli import console; console()"
    return [sys.executable, "-c", script, *map(str, words)]


OFTEN = "from filexfer.cli import display; display.LINE_EVERY = 0.15"


OWN = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


@contextmanager
def on_terminal(
    *words: object, width: int = 80, settings: str = "pass", term: str = "xterm"
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a command on a terminal that is its own; yield our end of that, and the process."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, width))
    command = tuned(f"{OWN}; {settings}", *words)
    with subprocess.Popen(
        command,
        env=environment(TERM=term, NO_COLOR="1"),
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            yield ours, process
        finally:
            if process.poll() is None:
                try:
                    process.wait(SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def read_on(ours: int) -> str:
    """Return what is shown next on a terminal; nothing at its end."""
    try:
        return os.read(ours, 65536).decode()
    except OSError:  # Linux says so when the other end is closed
        return ""


def test_the_bar_fits_whatever_the_window_is(tmp_path: Path) -> None:
    """It is at most as wide as the window, also when that changes; and has no colours."""
    slow = Slow(96 * CHUNK)
    with scripted(slow.give) as address:
        words = ("get", address + "x", tmp_path)
        with on_terminal(*words, width=200) as (ours, process):
            shown = ""
            for width in (200, 80, 40, 20, 7):
                termios.tcsetwinsize(ours, (24, width))
                process.send_signal(signal.SIGWINCH)
                shown = ""
                drawn: list[str] = []
                while len(drawn) < 3:
                    more = read_on(ours)
                    assert more
                    shown += more
                    drawn = FRAME.findall(shown)
                    while drawn and len(drawn[0]) >= width:  # of the former width
                        del drawn[0]
                for text in drawn:
                    assert 0 < len(text) < width
                assert "|" in text or width < 80
                assert re.search(r"\d+%", text) or width < 20
            slow.hurry.set()
            while more := read_on(ours):
                shown += more
            os.close(ours)
    assert process.returncode == 0
    assert not re.search(r"\x1b\[[0-9;]*m", shown)
    *_, last = shown.rstrip().split("\r")
    assert SUMMARY.fullmatch(last.removeprefix("\x1b[K"))


def are_plain(lines: list[str]) -> None:
    """Check lines that tell how far it is: some while it moves, others before and after."""
    assert any(PLAIN.fullmatch(each) for each in lines), lines
    for each in lines:
        assert PLAIN.fullmatch(each) or re.match("filexfer: (scanning|connecting|flushing)", each)


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_a_dumb_terminal_gets_plain_lines(tmp_path: Path, options: list[str]) -> None:
    """One now and then, with no control characters; so does a terminal that shows names too."""
    slow = Slow(24 * CHUNK)
    with scripted(slow.give) as address:
        term = "xterm" if options else "dumb"
        words = ("get", *options, address + "x", tmp_path)
        with on_terminal(*words, settings=OFTEN, term=term) as (ours, _):
            shown = ""
            while more := read_on(ours):
                shown += more
                if shown.count("receiving") > 1:
                    slow.hurry.set()
            os.close(ours)
    *lines, summary, nothing = shown.replace("\r\n", "\n").split("\n")
    assert nothing == ""
    assert SUMMARY.fullmatch(summary)
    if options:
        assert lines.pop().startswith("stored")
    are_plain(lines)


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_without_a_terminal(tmp_path: Path, options: list[str]) -> None:
    """A line is printed now and then with ``-v``, and nothing is without."""
    slow = Slow(24 * CHUNK)
    with scripted(slow.give) as address:
        command = tuned(OFTEN, "get", *options, address + "x", tmp_path)
        result = subprocess.run(
            command, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=True
        )
    lines = result.stderr.splitlines()
    assert SUMMARY.fullmatch(lines.pop())
    if not options:
        assert lines == []
        return
    assert lines.pop().startswith("stored")
    are_plain(lines)


def test_nothing_is_drawn_while_somebody_is_asked(tmp_path: Path) -> None:
    """The bar begins when the transfer does: a question on the terminal stays as it is."""
    go = threading.Event()

    def script(peer: Raw) -> None:
        assert peer.reply()
        go.wait(0.6)  # as long as it takes to answer; the bar would be there
        peer.frame({"kind": "error", "code": "auth_failed", "text": "no"})

    with scripted(script) as address, on_terminal("put", tmp_path, address) as (ours, _):
        shown = ""
        while more := read_on(ours):
            shown += more
        os.close(ours)
    assert shown == "filexfer: error: the other side says: no\r\n"


# Ended from without


def test_a_terminal_that_goes_away_ends_a_transfer(tmp_path: Path) -> None:
    """In good order: nothing temporary is left, and the exit code is that of a hang-up."""
    slow = Slow(64 * CHUNK)
    with scripted(until_cut(slow.give)) as address:
        with on_terminal("get", address + "x", tmp_path) as (ours, process):
            while "receiving" not in read_on(ours):
                pass
            assert leftovers(tmp_path)
            os.close(ours)
        slow.hurry.set()
    assert process.returncode == 129
    assert os.listdir(tmp_path) == []


def until_cut(script: Callable[[Raw], object]) -> Callable[[Raw], object]:
    """Return a script that may be cut off."""

    def run(peer: Raw) -> None:
        try:
            script(peer)
        except OSError:
            pass

    return run


def reads_its_input(pid: int) -> bool:
    """Tell whether a process waits for its standard input; true where the system does not say."""
    try:
        with open(f"/proc/{pid}/syscall", encoding="ascii") as file:
            return file.read().split()[1:2] == ["0x0"]  # what it is called with first
    except OSError:
        return True


def test_the_second_signal_ends_it_at_once() -> None:
    """Also where the first cannot end it, as here while standard input says nothing."""
    all_came, was_cut = threading.Event(), threading.Event()

    def script(peer: Raw) -> None:
        welcome(peer)
        while (peer.reply() or {}).get("kind") != "put":
            peer.frame({"kind": "entries", "entries": []})
        taken = 0
        while piece := peer.sock.recv(CHUNK):
            taken += len(piece)
            if taken > 8 * CHUNK:
                all_came.set()
        was_cut.set()

    patient = "from filexfer.cli import watch; watch._GRACE = 1000"
    with scripted(script) as address:
        command = tuned(patient, "put", "-", address + "x")
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment(), stdin=pipe, stderr=pipe) as process:
            assert process.stdin
            process.stdin.write(bytes(8 * CHUNK))
            process.stdin.flush()
            assert all_came.wait(SECONDS)
            wait_for(lambda: reads_its_input(process.pid))  # again, and there is no more
            process.send_signal(signal.SIGINT)
            assert was_cut.wait(SECONDS)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(SECONDS) == 130
            assert process.stderr
            assert process.stderr.read() == b"filexfer: interrupted\n"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells who is connecting")
@pytest.mark.parametrize("command", ["put", "get", "ls"])
def test_interrupted_while_connecting(tmp_path: Path, command: str) -> None:
    """A command that waits for a server that does not answer ends at once, and quietly."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())  # there is room for no other
        port = listener.getsockname()[1]
        address = f"fx://127.0.0.1:{port}/"
        places: dict[str, list[object]] = {
            "put": [tmp_path, address],
            "get": [address, tmp_path],
            "ls": [address],
        }
        with running(command, *places[command]) as process:
            wait_for(lambda: is_connecting(port))
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    *more, last = said.decode().splitlines()
    assert last == "filexfer: interrupted"
    assert (
        more
        == {
            "put": ["nothing was sent"],
            "get": ["nothing was received"],
            "ls": [],
        }[command]
    )


def is_connecting(port: int) -> bool:
    """Tell whether somebody waits for the answer of that port."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        return any(f":{port:04X} 02 " in line for line in table)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def has_something(folder: Path) -> bool:
    """Tell whether something lies in a folder that may not be there yet."""
    return folder.exists() and bool(os.listdir(folder))


@pytest.mark.slow  # thirty transfers
@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["put", "get"])
def test_ended_at_any_moment(tmp_path: Path, way: str) -> None:
    """It says what is done, and leaves nothing behind: no file, no process, no stray word."""
    source = tmp_path / "src"
    for number in range(1200):
        path = source / f"{number % 20}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(3000))
    (source / "big").write_bytes(bytes(20 * CHUNK))
    dice = random.Random(way)
    ended = 0
    with Service(tmp_path / "in", "--workers", "2") as service:
        if way == "get":
            subprocess.run([*COMMAND, "put", "-q", source, service.address], check=True)
        for turn in range(15):
            target = tmp_path / "back" / str(turn)
            words, into = [source, f"{service.address}{turn}/"], service.folder / str(turn)
            if way == "get":
                words, into = [service.address + "src", target], target
                target.mkdir(parents=True)
            words += ["-j", dice.choice("124"), "--bwlimit", dice.choice(["10M", "50M"])]
            number, code = dice.choice([(signal.SIGINT, 130), (signal.SIGTERM, 143)])
            with running(way, *words, start_new_session=True) as process:
                if turn % 5:  # else it may be ended before it has begun
                    wait_for(partial(has_something, into))
                time.sleep(dice.uniform(0, 0.8))  # any moment will do
                send = dice.choice([os.kill, os.killpg])
                send(process.pid, number)
                _, said = process.communicate(timeout=SECONDS)
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)  # no child is left
            if process.returncode in (0, -number):  # too late, too early
                continue
            ended += 1
            assert process.returncode == code, said
            lines = said.decode().splitlines()
            assert 1 <= len(lines) <= 2, said
            if way == "get" and (done := re.match(r"(\d+) files? done", lines[0])):
                assert leftovers(target) == []
                assert sum(len(files) for _, _, files in os.walk(target)) == int(done[1])
        wait_for(lambda: not leftovers(service.folder))
    assert ended > 4
