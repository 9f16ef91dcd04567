"""The command as a process: how it starts, what it loads, how signals and closed pipes end it.

The helpers at the top run the command as a user does; the other tests of the command line use them.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, leftovers

from filexfer.cli import COMMANDS, overview

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "filexfer")
SECONDS = 30  # no wait in a passing test comes near it
SUMMARY = re.compile(
    r"\d+ files?, [\d.]+ [kMGTP]?B in \d+\.\d s( \([\d.]+ [kMGTP]?B/s\))?"
    r"(, \d+ skipped)?(, \d+ left out)?(, \d+ deleted)?(, \d+ failed)? -> \S.*"
)
CHUNK = 1 << 20

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell does that to what it runs with '&'
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else the commands would inherit it


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment without what changes how Python runs or prints."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "LC_", "LANG"))
    }
    usual = {"PYTHONPATH": str(ROOT), "LANG": "C.UTF-8", "COLUMNS": "100"}
    return {**kept, **usual, **changes}


def fx(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; its output is text, with bytes that are not UTF-8 kept."""
    settings: dict[str, Any] = {
        "stdin": None if "input" in options else subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": environment(),
        "encoding": "utf-8",
        "errors": "surrogateescape",
        "timeout": SECONDS,
    }
    return subprocess.run([*COMMAND, *map(_word, words)], check=False, **settings | options)


def fx_bytes(*words: object, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command with *data* on its standard input; its output is bytes."""
    return subprocess.run(
        [*COMMAND, *map(_word, words)],
        check=False,
        input=data,
        capture_output=True,
        env=environment(),
        timeout=SECONDS,
    )


@contextmanager
def running(*words: object, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command; at the latest at the end of the block it is ended."""
    settings: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "env": environment(),
    }
    with subprocess.Popen([*COMMAND, *map(_word, words)], **settings | options) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


class Service:
    """A running ``filexfer serve`` on a free port.

    Attributes:
        address: As it was printed, ``fx://HOST:PORT/``.
        said: The lines printed at the start.

    """

    def __init__(self, folder: Path, *words: str, **options: Any) -> None:
        folder.mkdir(exist_ok=True)
        command = [*COMMAND, "serve", str(folder), "--port", "0", *words]
        settings: dict[str, Any] = {"stderr": subprocess.PIPE, "env": environment()}
        self.process = subprocess.Popen(command, **settings | options)
        self.folder = folder
        self.said: list[str] = []
        while not self.said or not self.said[-1].startswith("download"):
            line = self.line()
            assert line, f"the server ended: {self.said}"
            self.said.append(line)
        self.address = self.told("address")
        self.port = int(self.address.rstrip("/").rpartition(":")[2])

    def told(self, what: str) -> str:
        """Return what was printed at the start behind the word *what*."""
        (found,) = (line for line in self.said if line.startswith(what))
        return found.removeprefix(what).strip()

    def line(self) -> str:
        """Return the next line of its messages, or nothing at their end."""
        assert self.process.stderr
        return str(self.process.stderr.readline().decode().rstrip("\n"))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(SECONDS)

    def rest(self) -> str:
        """Return the rest of its messages: all processes that could print have ended then."""
        assert self.process.stderr
        return str(self.process.stderr.read().decode())

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        assert self.process.stderr
        self.process.stderr.close()


@contextmanager
def scripted(*scripts: Callable[[Raw], object]) -> Iterator[str]:
    """Play a server: each script talks on one connection. Yield the address."""
    failures: list[BaseException] = []
    peers: list[Raw] = []

    def serve(sock: socket.socket, script: Callable[[Raw], object]) -> None:
        peer = Raw(sock)
        peers.append(peer)
        try:
            script(peer)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
            failures.append(error)
        peer.close()

    def accept() -> None:
        for script in scripts:
            sock, _ = listener.accept()
            thread = threading.Thread(target=serve, args=(sock, script), daemon=True)
            threads.append(thread)
            thread.start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        threads = [threading.Thread(target=accept, daemon=True)]
        threads[0].start()
        yield f"fx://127.0.0.1:{listener.getsockname()[1]}/"
        for thread in threads:
            thread.join(SECONDS)
    assert not failures, failures


def welcome(peer: Raw) -> None:
    """Take a client's hello, as a server does."""
    assert (peer.reply() or {})["kind"] == "hello"
    peer.frame({"kind": "welcome", "version": 1, "rights": ["read", "list", "create"]})


def take_get(peer: Raw, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Answer a client's questions up to its get; *found* is what is there."""
    entries = [[name, *rest] for name, rest in (found or {}).items()]
    while (request := peer.reply() or {})["kind"] == "stat":
        mine = [entry for entry in entries if entry[0] == request["name"]]
        peer.frame({"kind": "entries", "entries": mine})
    assert request["kind"] == "get"
    return request


def is_one_line(text: str) -> bool:
    """Tell whether an error is said in one line, besides how to call the command."""
    lines = [line for line in text.splitlines() if not line.startswith(("usage:", " "))]
    return len(lines) == 1 and lines[0].startswith("filexfer")


def _word(word: object) -> str | bytes:
    return word if isinstance(word, str | bytes) else str(word)


def wait_gone(port: int) -> None:
    """Wait until nobody listens on a port any more."""
    while True:
        try:
            sock = socket.create_connection(("127.0.0.1", port), SECONDS)
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            continue  # it was closed just now
        with sock:  # it came into the queue of a listener that is being closed, or is open yet
            select.select([sock], [], [], 0.01)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module; each uses names of its own."""
    folder = tmp_path_factory.mktemp("served")
    with Service(folder, "--workers", "1", "--durability", "none") as running_service:
        yield running_service


# Starting

LATE = {
    *("tqdm", "ssl", "asyncio", "logging", "hashlib", "tomllib", "difflib", "locale", "gettext"),
    *("filexfer.cli.settings", "filexfer.cli.suggest", "filexfer.cli.overview"),
    *(
        "filexfer.measure.probe",
        "filexfer.measure.bench",
        "filexfer.measure.health",
        "filexfer.measure.verdict",
    ),
}


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(option: str) -> None:
    """The version is one line on standard output."""
    result = fx(option)
    assert re.fullmatch(r"filexfer \d+\.\d+\.\d+\n", result.stdout)
    assert (result.returncode, result.stderr) == (0, "")


def test_installed_command() -> None:
    """The command that is installed beside the interpreter is this program."""
    script = Path(sys.executable).with_name("filexfer")
    if not script.exists():
        pytest.skip("filexfer is not installed")
    result = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == fx("--version").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help(command: str) -> None:
    """Every command has a help, on standard output, that begins with examples."""
    result = fx(command, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    usage, sentence, examples, *rest = result.stdout.split("\n\n")
    assert re.match(rf"usage: filexfer {command}(?= |\Z)", usage)
    assert sentence == f"{COMMANDS[command].capitalize()}."
    assert examples.startswith("examples:\n")
    assert f"  filexfer {command}" in examples
    assert rest or command == "remotes"
    assert fx(command, "-h").stdout == result.stdout


def test_help_of_all() -> None:
    """The general help names every command, and each in a group."""
    result = fx("--help")
    assert (result.returncode, fx("help").stdout) == (0, result.stdout)
    assert sorted(COMMANDS) == sorted(each for group in overview.GROUPS.values() for each in group)
    for command, text in COMMANDS.items():
        assert re.search(rf"^ +{command} +{re.escape(text)}$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (("put", "{file}", "{address}"), {*LATE, "re"}),
        (("get", "{address}there", "{folder}/"), LATE),
        (("ls", "{address}"), {*LATE, "ctypes"}),
        (("--version",), {"tqdm", "ssl", "asyncio", "argparse", "socket", "json"}),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_start_up_loads_little(
    words: tuple[str, ...], unwanted: set[str], tmp_path: Path, service: Service
) -> None:
    """A command loads nothing that costs time and that it does not need."""
    (tmp_path / "loaded").write_text("x")
    (service.folder / "there").write_text("y")
    places = {
        "file": str(tmp_path / "loaded"),
        "folder": str(tmp_path),
        "address": service.address,
    }
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "filexfer"]
        + [word.format(**places) for word in words],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", result.stderr, re.MULTILINE))
    assert "filexfer.cli" in loaded
    assert loaded & _unwanted(unwanted) == set()


def _unwanted(names: set[str]) -> set[str]:
    """Return the names without those that Python itself loads at its start here."""
    result = subprocess.run(
        [sys.executable, "-c", "import sys; import json, argparse; print(*sys.modules)"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    by_itself = set(result.stdout.split()) - {"argparse", "json"}
    return names - by_itself


# Closed and full outputs


def test_reader_of_a_listing_leaves(tmp_path: Path) -> None:
    """``filexfer ls | head -1`` ends in silence and without a failure."""
    for number in range(3000):
        (tmp_path / f"{number:04} {'x' * 60}").touch()
    with Service(tmp_path, "--workers", "1") as service, running("ls", service.address) as process:
        assert process.stdout
        assert process.stdout.readline().startswith(b"0000 ")
        process.stdout.close()
        assert process.wait(SECONDS) == 0
        assert process.stderr
        assert process.stderr.read() == b""


def test_reader_of_the_messages_leaves(tmp_path: Path, service: Service) -> None:
    """With nobody to read its messages a transfer goes on, and the exit code is right."""
    for number in range(20):
        (tmp_path / f"file {number}").write_text("x")
    read, write = os.pipe()
    os.close(read)
    words = ("put", "-v", tmp_path / "missing", f"{tmp_path}/", service.address + "unread/")
    result = fx(*words, stderr=write)
    os.close(write)
    assert result.returncode == 3
    assert len(os.listdir(service.folder / "unread")) == 20


full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")


@full
@pytest.mark.case("F13")
def test_output_to_a_full_disk(tmp_path: Path, service: Service) -> None:
    """Output that cannot be written is a failure of the local disk, said in one line."""
    (service.folder / "full").write_text("data")
    with open("/dev/full", "w", encoding="ascii") as full_file:
        listing = fx("ls", service.address, stdout=full_file)
        data = fx("get", service.address + "full", "-", stdout=full_file)
        messages = fx("put", tmp_path / "missing", service.address, stderr=full_file)
        version = fx("--version", stdout=full_file)
    assert (listing.returncode, data.returncode) == (8, 8)
    assert listing.stderr == "filexfer: error: standard output: No space left on device\n"
    assert data.stderr == "filexfer: error: -: no space left on the disk\n"
    assert messages.returncode == 3
    assert version.returncode == 8


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [
        (("put", "-", "{}closed"), "<&-", 8),
        (("get", "{}closed in", "-"), ">&-", 8),
        (("get", "{}closed in", "-"), "2>&-", 0),
        (("put", "{missing}", "{}"), "2>&-", 3),
        (("ls", "{}"), ">&-", 0),
        (("--help",), ">&-", 0),
        (("nonsense",), "2>&-", 2),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else str(value),
)
def test_closed_descriptors(
    words: tuple[str, ...], closed: str, code: int, tmp_path: Path, service: Service
) -> None:
    """A standard stream that is closed is never mistaken for a connection or a file."""
    (service.folder / "closed in").write_text("data")
    places = {"missing": str(tmp_path / "missing")}
    filled = [word.format(service.address, **places) for word in words]
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND, *filled]
    result = subprocess.run(
        shell, env=environment(), capture_output=True, timeout=SECONDS, check=False
    )
    assert result.returncode == code
    assert b"Traceback" not in result.stderr
    if words[0] == "get" and closed == "2>&-":
        assert result.stdout == b"data"
    assert not (service.folder / "closed").exists()


# Names and locales

ODD_NAMES = (
    b"two\nlines",
    b"\xff\xfe not UTF-8" if sys.platform != "darwin" else b"macOS takes UTF-8 only",
    "你好".encode(),
    "e\u0301 decomposed".encode(),
    b"\x1b[31mred\x1b[0m",
    "\u202etxt.exe".encode(),
    b" spaces ",
    b"per%41cent",
    b"question? #fragment",
    b"-option",
    b"co:lon",
    b"back\\slash",
    b"quo'te\"s",
)


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """Make a folder of files with odd names; each contains its name."""
    folder = tmp_path / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(name)
    return folder


LOCALES = {
    "UTF-8": {"LANG": "C.UTF-8"},
    "LANG=C": {"LANG": "C", "PYTHONUTF8": "0"},
    "LC_ALL=C": {"LC_ALL": "C"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0"},
    "ASCII for sure": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.case("D13", "D14", "L2")
@pytest.mark.parametrize("locale", LOCALES)
def test_odd_names_in_every_locale(locale: str, odd: Path, tmp_path: Path) -> None:
    """Names keep their bytes up and down, whatever the locale of client and server is."""
    env = environment(**LOCALES[locale])
    with Service(tmp_path / "in", "--workers", "1", "--durability", "none", env=env) as service:
        up = fx("put", "-v", odd, service.address, env=env)
        listing = fx("ls", service.address + "odd", env=env)
        down = fx("get", "-v", service.address + "odd", tmp_path / "back", env=env)
        one = fx("get", service.address + "odd/你好", "-", env=env)
    assert (up.returncode, down.returncode, one.returncode) == (0, 0, 0), up.stderr + down.stderr
    for folder in (tmp_path / "in" / "odd", tmp_path / "back" / "odd"):
        assert {path: _contents(folder, path) for path in os.listdir(os.fsencode(folder))} == {
            name: name for name in ODD_NAMES
        }
    assert one.stdout == "你好"
    names = listing.stdout.splitlines()
    assert len(names) == len(ODD_NAMES)
    shown = (r"two\x0alines", r"\x1b[31mred\x1b[0m", "你好", r"\xff\xfe not UTF-8")
    for line in shown if sys.platform != "darwin" else shown[:3]:
        assert line in names
        for said in (up.stderr, down.stderr):
            assert f"odd/{line}\n" in said
    for text in (up.stderr, down.stderr, listing.stdout):
        assert "\x1b" not in text
        assert "\u202e" not in text
        text.encode()  # no byte came out that is not UTF-8


def _contents(folder: Path, name: bytes) -> bytes:
    with open(os.path.join(os.fsencode(folder), name), "rb") as file:
        return file.read()


LIBRARY = """
import os, sys
from filexfer import Client, FilexferError, Server

try:
    with Server("in", durability="none") as server, Client(server.host, server.port) as client:
        report = client.put([os.fsdecode("\\u4f60\\u597d".encode())])
        print(report.files, report.failed)
except FilexferError as error:
    print(error)
"""


def test_library_without_utf8(tmp_path: Path) -> None:
    """In a program whose names are not UTF-8 the library stores a name or says why not."""
    (tmp_path / "你好").write_text("x")
    (tmp_path / "in").mkdir()
    result = subprocess.run(
        [sys.executable, "-c", LIBRARY],
        cwd=tmp_path,
        env=environment(**LOCALES["ASCII"]),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    assert result.stdout
    assert "fault in filexfer" not in result.stderr
    assert "a fault" not in result.stdout
    assert os.listdir(tmp_path / "in") in ([], ["你好"])


@pytest.mark.case("D13", "L2")
def test_odd_names_in_errors(odd: Path, service: Service) -> None:
    """A name in an error or a summary is escaped, and stays in its line."""
    missing = os.path.join(os.fsencode(odd), b"no\x1b[2J\nsuch\xff")
    words = ("put", missing, odd / "你好", service.address + "a%0Ab%FF%1B/")
    result = fx(*words)
    assert result.returncode == 3
    error, summary = result.stderr.splitlines()
    assert r"no\x1b[2J\x0asuch\xff: no such file or folder" in error
    assert summary.endswith("/a%0Ab%FF%1B/")
    assert (service.folder / "a\nb\udcff\x1b" / "你好").exists()


# Signals

INTERRUPTS = [
    pytest.param(signal.SIGINT, 130, "filexfer: interrupted", id="SIGINT"),
    pytest.param(signal.SIGTERM, 143, "filexfer: terminated", id="SIGTERM"),
    pytest.param(signal.SIGHUP, 129, "filexfer: hung up", id="SIGHUP"),
]
NOTHING = "nothing was received\nfilexfer: interrupted\n"


@pytest.mark.case("G12")
@pytest.mark.parametrize(("number", "code", "message"), INTERRUPTS)
def test_get_of_a_large_file_is_interrupted(
    number: int, code: int, message: str, tmp_path: Path
) -> None:
    """A signal in the middle of a large file ends a download, and nothing of the file is left."""
    come, done = threading.Event(), threading.Event()

    def script(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"big": ["file", 64 * CHUNK, 1, 0o644, ""]})
        peer.frame({"kind": "file", "name": "big", "size": 64 * CHUNK})
        for _ in range(32):  # more than lies in the buffers on the way
            peer.send(CHUNK.to_bytes(4, "big") + bytes(CHUNK))
        come.set()
        done.wait(SECONDS)

    with scripted(script) as address:
        with running("get", address + "big", tmp_path) as process:
            assert come.wait(SECONDS)
            assert leftovers(tmp_path)  # it is there, unfinished
            process.send_signal(number)
            _, said = process.communicate(timeout=SECONDS)
        done.set()
    left = f"0 files done, 1 not received -> {tmp_path}/big"
    assert (process.returncode, said.decode().splitlines()) == (code, [left, message])
    assert os.listdir(tmp_path) == []


@pytest.mark.case("G12")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(("number", "code", "message"), INTERRUPTS)
def test_get_of_small_files_is_interrupted(
    number: int, code: int, message: str, jobs: int, tmp_path: Path
) -> None:
    """What a download has received whole when a signal ends it stays; nothing else does."""
    done = threading.Event()
    come = threading.Barrier(jobs + 1)
    numbers = iter(range(jobs))

    def script(peer: Raw) -> None:
        welcome(peer)
        share = next(numbers)
        take_get(peer, {"": ["folder", 0, 1, 0o755, ""]})
        for index in range(50):
            peer.frame(
                {"kind": "file", "name": f"{share}-{index}", "size": 4, "hash": _MD5_OF_DATA}
            )
            peer.send(b"data")
        while (peer.reply() or {}) != {"kind": "received", "count": 50}:
            pass
        peer.frame({"kind": "file", "name": f"{share}-50", "size": 4, "hash": _MD5_OF_DATA})
        peer.send(b"da")
        come.wait(SECONDS)
        done.wait(SECONDS)

    with scripted(*[script] * jobs) as address:
        with running("get", "--jobs", jobs, address, f"{tmp_path}/") as process:
            come.wait(SECONDS)
            process.send_signal(number)
            _, said = process.communicate(timeout=SECONDS)
        done.set()
    left = f"{50 * jobs} files done, the rest not received -> {tmp_path}/"
    assert (process.returncode, said.decode().splitlines()) == (code, [left, message])
    assert leftovers(tmp_path) == []
    assert len(os.listdir(tmp_path)) == 50 * jobs


_MD5_OF_DATA = "md5:8d777f385d3dfec8815d20f7496026dc"


def test_get_is_interrupted_while_nobody_answers(tmp_path: Path) -> None:
    """Ctrl-C ends a download that still waits for the server's first word."""
    come = threading.Event()

    def script(peer: Raw) -> None:
        assert peer.reply()
        come.set()
        while peer.sock.recv(100):
            pass

    with scripted(script) as address, running("get", address, tmp_path) as process:
        assert come.wait(SECONDS)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said.decode()) == (130, NOTHING)


def test_get_is_interrupted_while_it_retries(tmp_path: Path) -> None:
    """Ctrl-C ends the pause before another try."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = "fx://127.0.0.1:{1}/".format(*listener.getsockname())
        words = ("get", "--retries", "1000", address + "x", tmp_path)
        with running(*words) as process:
            for _ in range(3):  # then it has a pause of half a second or more
                peer = Raw(listener.accept()[0])
                welcome(peer)
                peer.close()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
    assert (process.returncode, said.decode()) == (130, NOTHING)


def test_get_to_a_stuck_pipe_is_interrupted(service: Service) -> None:
    """Ctrl-C ends a download to standard output, also while nobody reads there."""
    (service.folder / "large").write_bytes(bytes(4 * CHUNK))
    with running("get", service.address + "large", "-") as process:
        assert process.stdout
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        assert process.stderr
        said = process.stderr.read().decode()
        left = "0 files done, (the rest|(at least )?1) not received -> standard output\n"
        assert re.fullmatch(left + "filexfer: interrupted\n", said), said
        assert process.wait(SECONDS) == 130


@pytest.mark.case("G12")
@pytest.mark.parametrize(
    ("number", "code", "message"),
    INTERRUPTS,
)
def test_put_is_interrupted(number: int, code: int, message: str, tmp_path: Path) -> None:
    """A signal ends an upload; what came of the file does not appear on the server."""
    with Service(tmp_path / "in", "--workers", "1") as service:
        words = ("put", "-", service.address + "stream")
        with running(*words, stdin=subprocess.PIPE) as process:
            assert process.stdin
            process.stdin.write(bytes(8 * CHUNK))  # more than a pipe holds: it is being sent
            process.stdin.flush()
            process.send_signal(number)
            assert process.wait(SECONDS) == code
            assert process.stderr
            left, *rest = process.stderr.read().decode().splitlines()
            assert re.match("0 files done, at least 1 not sent -> |nothing was sent$", left)
            assert rest == [message]
        assert service.end() == 0
        assert os.listdir(service.folder) == []


def test_ignored_interrupt_stays_ignored(tmp_path: Path) -> None:
    """A download that was started with SIGINT ignored, as behind ``nohup``, is not ended by it."""
    come = threading.Event()
    go = threading.Event()

    def script(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"x": ["file", 4, 1, 0o644, ""]})
        come.set()
        assert go.wait(SECONDS)
        peer.frame({"kind": "file", "name": "x", "size": 4, "hash": _MD5_OF_DATA})
        peer.send(b"data")
        peer.frame({"kind": "end"})
        peer.replies()

    shell = shutil.which("sh")
    assert shell
    with scripted(script) as address:
        ignoring = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *COMMAND]
        words = [*ignoring, "get", address + "x", str(tmp_path)]
        with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE) as process:
            assert come.wait(SECONDS)
            process.send_signal(signal.SIGINT)
            go.set()
            process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert (tmp_path / "x").read_bytes() == b"data"
