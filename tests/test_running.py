"""Servers leave a note beside their tokens, and ``filexfer token add`` finds them by it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from test_cli_process import Service, environment

from filexfer.address import DEFAULT_PORT
from filexfer.cli import main
from filexfer.security.connect_string import parse_connect_string
from filexfer.security.running import Note, noted, servers


def notes(path: str) -> list[Path]:
    """Return the files of notes."""
    return sorted(Path(path).parent.glob("*.server-*"))


def ports(path: str) -> list[tuple[int, bool]]:
    """Return the ports that are known, and whether something listens there."""
    return [(each.port, each.runs) for each in servers(path)]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return where the tokens are."""
    return str(tmp_path / "state" / "tokens.json")


def test_who_runs(path: str) -> None:
    """Servers that run are told, the newest last; else the last one; older notes are taken away."""
    assert ports(path) == []
    with noted(path, Note("::", 1, tls=True, cert="a.pem", key="b.pem")):
        (one,) = servers(path)
        assert (one.host, one.port, one.tls, one.runs) == ("::", 1, True, True)
        assert (one.cert, one.key) == (os.path.abspath("a.pem"), os.path.abspath("b.pem"))
        with noted(path, Note("127.0.0.1", 2)):
            assert ports(path) == [(1, True), (2, True)]
        assert ports(path) == [(1, True)]
        assert all(note.stat().st_mode & 0o777 == 0o600 for note in notes(path))
    assert ports(path) == [(2, False)]
    with noted(path, Note("127.0.0.1", 3)):
        assert ports(path) == [(3, True)]
        assert len(notes(path)) == 1


def test_a_server_that_was_killed(path: str) -> None:
    """What is locked by nobody any more does not run."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with noted(path, Note("127.0.0.1", 5)):
            os.write(writing, b"x")
            signal.pause()
    os.read(reading, 1)
    assert ports(path) == [(5, True)]
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert ports(path) == [(5, False)]
    for fd in (reading, writing):
        os.close(fd)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"host": 1}', '{"host": "a", "port": "1"}', '{"a": 1}', "null"]
)
def test_notes_that_make_no_sense(path: str, text: str) -> None:
    """A note that is not understood is none; one that others may write is none either."""
    with noted(path, Note("127.0.0.1", 7)):
        (there,) = notes(path)
    there.chmod(0o666)
    assert ports(path) == []
    there.chmod(0o600)
    assert ports(path) == [(7, False)]
    there.write_text(text)
    assert ports(path) == []


def test_a_note_that_cannot_be_written(tmp_path: Path) -> None:
    """A server runs without one."""
    (tmp_path / "file").touch()
    path = str(tmp_path / "file" / "tokens.json")
    with noted(path, Note("127.0.0.1", 7)):
        assert servers(path) == []


# The command


def added(path: str, name: str, *words: str) -> list[str]:
    return ["token", "add", name, "--tokens", path, "--output", "-", *words]


def test_the_connect_string_leads_to_the_server(
    path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has the port, the address and the certificate of the server that runs with the tokens."""
    state = environment(XDG_STATE_HOME=str(tmp_path / "other"))
    words = ("--tokens", path, "--workers", "2")
    with Service(tmp_path / "served", *words, "--secure", env=state) as service:
        assert main(added(path, "ann")) == 0
        said = capsys.readouterr()
        found = parse_connect_string(said.out.strip())
        assert (found.host, found.port) == ("127.0.0.1", service.port)
        assert found.fingerprint == service.told("fingerprint")
        assert said.err == ""
        assert service.end(signal.SIGKILL)
    with Service(tmp_path / "served", *words, env=state) as service:
        assert main(added(path, "ben")) == 0
        found = parse_connect_string(capsys.readouterr().out.strip())
        assert (found.host, found.port, found.fingerprint) == ("127.0.0.1", service.port, "")


def test_what_is_not_certain_is_said(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Without a server, or with several, it is said which port was taken; --port decides."""

    def line(name: str, *words: str) -> tuple[int, str]:
        assert main(added(path, name, "--host", "127.0.0.1", *words)) == 0
        said = capfd.readouterr()
        return parse_connect_string(said.out.strip()).port, said.err.strip()

    asks = "; --port names another"
    begins = "filexfer: the connect string names port"
    assert line("a") == (DEFAULT_PORT, f"{begins} 17177: no server has used these tokens{asks}")
    assert line("b", "--port", "4") == (4, "")
    with noted(path, Note("127.0.0.1", 8)), noted(path, Note("127.0.0.1", 9)):
        both = "servers with these tokens listen on the ports 8, 9"
        assert line("c") == (9, f"{begins} 9: {both}{asks}")
        assert line("d", "--port", "8") == (8, "")
    over = "no server with these tokens runs; the last one had this port"
    assert line("e") == (9, f"{begins} 9: {over}{asks}")
    assert main([*added(path, "f", "--host", "127.0.0.1"), "--json"]) == 0
    warning, token, _ = map(json.loads, capfd.readouterr().out.splitlines())
    assert (warning["type"], warning["text"].partition(":")[0]) == ("warning", begins[10:] + " 9")
    assert token["type"] == "token"
