"""``filexfer doctor``: what it finds, what it measures, and that nothing is left of that."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS as LONG
from conftest import tree_state
from test_cli_process import (
    COMMAND,
    SECONDS,
    Service,
    environment,
    fx,
    is_one_line,
    running,
    scripted,
    wait_gone,
    welcome,
)

from filexfer import RefusedError, TrustError
from filexfer.cli import doctor
from filexfer.hashing import ALGORITHMS
from filexfer.measure import health
from filexfer.measure.bench import DISK_MOST, NETWORK_MOST
from filexfer.wire.dial import Door

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Raw

    from filexfer.wire.connection import Connection

QUICK = ("--seconds", "0.05")
RATE = r" +\d+\.\d MB/s"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module."""
    folder = tmp_path_factory.mktemp("served")
    with Service(folder, "--workers", "1", "--durability", "none") as running_service:
        yield running_service


def findings(text: str) -> dict[str, tuple[str, str]]:
    """Return what was looked at, with the word for it and what was found."""
    found = {}
    for line in text.splitlines():
        if line[:1] != " ":
            what, word, rest = line[:14], line[14:21], line[21:]
            found[what.strip()] = (word.strip(), rest)
    return found


# Health


def test_this_machine() -> None:
    """Without a server it looks at versions, libraries and limits; a line each."""
    result = fx("doctor")
    assert (result.returncode, result.stderr) == (0, "")
    found = findings(result.stdout)
    assert list(found) == [
        *("filexfer", "Python", "xxhash", "tqdm", "cryptography"),
        *("space here", "open files"),
    ]
    assert {word for word, _ in found.values()} == {"ok"}
    assert found["Python"][1] == sys.version.split()[0]
    assert f"filexfer {found['filexfer'][1]}\n" == fx("--version").stdout


def test_a_server(service: Service) -> None:
    """With a server also the way to it, what it is and what it allows are looked at."""
    result = fx("doctor", service.address)
    assert (result.returncode, result.stderr) == (0, "")
    found = findings(result.stdout)
    assert list(found)[-9:] == [
        *("name", "port", "TLS", "server", "token", "rights", "space there", "clock"),
        "round trip",
    ]
    assert {word for word, _ in found.values()} == {"ok"}
    assert found["name"][1] == "127.0.0.1 is 127.0.0.1"
    assert found["port"][1] == f"{service.port} can be reached"
    assert re.fullmatch(r"filexfer \d\S*, protocol version 1", found["server"][1])
    assert found["rights"][1] == "create, list, read"
    assert re.fullmatch(r"\d+\.\d\d ms", found["round trip"][1])


@pytest.mark.parametrize(
    ("place", "what", "reason"),
    [
        ("fx://127.0.0.1:1/", "port", "cannot connect to 127.0.0.1 port 1: Connection refused"),
        ("fx://host.invalid/", "name", "the host host.invalid is not known"),
        ("fx://a..b/", "name", "the host a..b is not known"),
    ],
)
def test_no_server(place: str, what: str, reason: str) -> None:
    """What cannot be reached is wrong, with what to do about it, and ends the looking."""
    result = fx("doctor", place)
    assert (result.returncode, result.stderr) == (6, "")
    *_, (last, (word, text)) = findings(result.stdout).items()
    assert (last, word) == (what, "WRONG")
    assert reason in text
    assert re.match(r" {21}\S", result.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", [["doctor"], ["doctor", "--speed"]])
@pytest.mark.parametrize("module", ["xxhash", "tqdm", "cryptography"])
def test_a_library_is_missing(module: str, words: list[str]) -> None:
    """A library that is missing is found out, and said without a traceback."""
    script = (
        f"import sys; sys.modules[{module!r}] = None\n"
        f"from filexfer.cli import main; sys.exit(main({[*words, 'fx://127.0.0.1:1/']}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (result.returncode, result.stderr) == (1, "")
    found = findings(result.stdout)
    assert found[module][0] == "WRONG"
    assert f"pip install {module}" in result.stdout
    assert "port" not in found


def test_few_open_files(service: Service) -> None:
    """A limit that is too low is told; the server is looked at all the same."""
    shell = ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh", *COMMAND, "doctor", service.address]
    result = subprocess.run(
        shell, env=environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert result.returncode == 8
    found = findings(result.stdout)
    assert found["open files"] == ("WRONG", "no more than 100 are allowed")
    assert "ulimit -n 1024" in result.stdout
    assert found["round trip"][0] == "ok"


def newer(peer: Raw) -> None:
    peer.reply()
    peer.frame({"kind": "welcome", "version": 2, "rights": []})


def stranger(peer: Raw) -> None:
    peer.reply()
    peer.send(b"220 mail ready\r\n")


def gone(peer: Raw) -> None:
    peer.reply()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (newer, "version 2 of the protocol, not 1"),
        (stranger, "a frame's length must be"),
        (gone, "the connection was closed"),
    ],
)
def test_something_else_serves_there(script: Any, reason: str) -> None:
    """A port that somebody else has, or another version, is told as that."""
    with scripted(gone, script) as address:
        result = fx("doctor", address)
    assert (result.returncode, result.stderr) == (6, "")
    word, text = findings(result.stdout)["server"]
    assert word == "WRONG"
    assert reason in text


@pytest.mark.case("C18")
def test_a_server_without_rights_and_manners() -> None:
    """Without any right nothing can be done; what a server calls itself stays in its line."""

    def script(peer: Raw) -> None:
        peer.reply()
        program = "\x1b[2J\n" * 1000
        peer.frame({"kind": "welcome", "version": 1, "rights": [], "program": program[:4000]})
        while peer.reply():
            peer.frame({"kind": "error", "code": "denied", "text": "no", "fatal": False})

    with scripted(gone, script) as address:
        result = fx("doctor", address)
    assert result.returncode == 4
    found = findings(result.stdout)
    assert found["rights"] == ("WRONG", "this server lets you do nothing")
    assert found["round trip"][0] == "ok"
    assert found["server"][0] == "ok"
    assert all(line.isprintable() and len(line) < 400 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("error", "what", "mend"),
    [
        (TrustError("it is another machine"), "token", "filexfer login NAME"),
        (RefusedError("denied", "go away"), "server", "ask whoever runs the server"),
    ],
)
def test_a_server_that_is_not_spoken_to(service: Service, error: Any, what: str, mend: str) -> None:
    """Whatever stops the greeting decides on the exit code, and on the advice."""

    class Shut(Door):
        def greet(self, connection: Connection) -> None:
            del connection
            raise error

    *_, last = health.of_server(Shut("127.0.0.1", service.port, timeout=LONG))
    assert (last.what, last.text, last.code) == (what, str(error), error.exit_code)
    assert mend in last.mend


# Speed


def figures(text: str) -> list[str]:
    """Check the lines of figures, and return what each is of, without the sentence at the end."""
    *lines, sentence = text.splitlines()
    assert re.fullmatch(r"\S.* is the bottleneck: \d.*\.", sentence)
    assert re.fullmatch(r"round trip +\d+\.\d\d ms", lines[0])
    assert {line.index(" MB/s") for line in lines[1:]} == {lines[0].index(" ms")}
    found = [re.fullmatch(rf"(\S.*?){RATE}(?:  \(.*\))?", line) for line in lines[1:]]
    return [match[1] for match in found if match]


LOCAL = [
    *("disk read", "disk write", "disk write with flush"),
    *(f"hash {algorithm}" for algorithm in ALGORITHMS),
]


def test_speed_of_this_machine(tmp_path: Path) -> None:
    """Without a server it measures with one of its own, and nothing is left of anything."""
    for name in ("work", "temporary"):
        (tmp_path / name).mkdir()
    env = environment(TMPDIR=str(tmp_path / "temporary"))
    result = fx("doctor", "--speed", *QUICK, cwd=tmp_path / "work", env=env)
    assert result.returncode == 0, result.stderr
    assert figures(result.stdout) == [
        *("network up, 1 connection", "network up, 4 connections"),
        *("network down, 1 connection", "network down, 4 connections"),
        *LOCAL,
    ]
    assert is_one_line("filexfer" + result.stderr)
    wait_gone(port_of(result.stderr))
    assert set(tree_state(tmp_path)) == {"work", "temporary"}


def port_of(said: str) -> int:
    """Return the port of the server that is measured with."""
    found = re.search(r"127\.0\.0\.1 port (\d+)", said)
    assert found
    return int(found[1])


def test_speed_of_a_server(tmp_path: Path, service: Service) -> None:
    """With a server the way to it is measured, over as many connections as were asked for."""
    words = ("doctor", "--speed", *QUICK, "--dir", tmp_path, "--jobs")
    result = fx(*words, "2", service.address)
    assert result.returncode == 0, result.stderr
    assert figures(result.stdout) == [
        *("network up, 1 connection", "network up, 2 connections"),
        *("network down, 1 connection", "network down, 2 connections"),
        *LOCAL,
    ]
    alone = fx(*words, "1", service.address)
    network = ["network up, 1 connection", "network down, 1 connection"]
    assert figures(alone.stdout) == [*network, *LOCAL]
    assert os.listdir(tmp_path) == os.listdir(service.folder) == []


def test_speed_of_a_read_only_server(tmp_path: Path) -> None:
    """Where nothing may be created only the way down is measured, and that is said."""
    with Service(tmp_path / "in", "--workers", "1", "--read-only") as service:
        result = fx("doctor", "--speed", *QUICK, "-j", "1", service.address, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert figures(result.stdout) == ["network down, 1 connection", *LOCAL]
    assert "without the right to create, the way up is not measured" in result.stderr


def test_speed_of_an_old_server(tmp_path: Path) -> None:
    """A server that cannot take part is told in one line."""

    def script(peer: Raw) -> None:
        welcome(peer)
        while (peer.reply() or {}).get("kind") == "stat":
            peer.frame({"kind": "entries", "entries": []})
        peer.frame({"kind": "error", "code": "unsupported", "text": "unknown kind of message"})
        peer.finish()
        while peer.read(1 << 20):
            pass

    with scripted(script) as address:
        result = fx("doctor", "--speed", *QUICK, "-j", "1", address, cwd=tmp_path)
    assert result.returncode == 6
    assert "error: the server is too old to take part: update filexfer there" in result.stderr
    assert "Traceback" not in result.stderr


def test_speed_of_nobody(tmp_path: Path) -> None:
    """A server that is not there, or a folder that is not, is told in one line."""
    there = fx("doctor", "--speed", *QUICK, "fx://127.0.0.1:1/", cwd=tmp_path)
    assert (there.returncode, there.stdout) == (6, "")
    assert "Connection refused" in there.stderr
    here = fx("doctor", "--speed", *QUICK, "--dir", "missing", cwd=tmp_path)
    assert (here.returncode, here.stdout) == (8, "")
    assert "cannot measure in the folder missing: No such file or directory" in here.stderr
    assert is_one_line(there.stderr)
    assert is_one_line(here.stderr)


def test_speed_is_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends it while it waits for a server, and nothing is left."""
    come, done = threading.Event(), threading.Event()

    def script(peer: Raw) -> None:
        welcome(peer)
        while (peer.reply() or {}).get("kind") == "stat":
            peer.frame({"kind": "entries", "entries": []})
        come.set()
        done.wait(SECONDS)

    with scripted(script) as address:
        with running("doctor", "--speed", *QUICK, address, cwd=tmp_path) as process:
            assert come.wait(SECONDS)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=SECONDS)
        done.set()
    assert process.returncode == 130
    assert said.decode().splitlines()[-1] == "filexfer: interrupted"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_it(number: int, tmp_path: Path) -> None:
    """However it ends, its server ends too, and no file or folder of it is left."""
    env = environment(TMPDIR=str(tmp_path))
    words = ("doctor", "--speed", "--seconds", "60", "-j", "1")
    with running(*words, cwd=tmp_path, env=env) as process:
        assert process.stderr
        port = port_of(process.stderr.readline().decode())
        process.send_signal(number)
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == (130 if number == signal.SIGINT else -number), said
    wait_gone(port)
    assert b"Traceback" not in said
    assert os.listdir(tmp_path) == []


# Words


def test_the_numbers_of_the_help() -> None:
    """The limits that the help names are those of the program."""
    text = " ".join(doctor.EPILOG.split())
    assert f"moves {NETWORK_MOST / 1e9:g} GB at most" in text
    assert f"one of the disk {DISK_MOST / 1e9:g} GB" in text
