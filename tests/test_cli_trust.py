"""The command line with servers on other machines: login, trust, and secrets that stay secret."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

import pytest
from test_cli_process import COMMAND, SECONDS, Service, environment, fx, running
from test_readme import blocks, section, shell

from filexfer.security import certificate
from filexfer.security.connect_string import parse_connect_string

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "S3cret-S3cret_S3cret"
OTHER = "x" * 43


@pytest.fixture(autouse=True)
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep keys, tokens and what is stored in this test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "a").write_text("a")
    return tmp_path


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Start a server that talks TLS and asks for tokens."""
    with Service(tmp_path / "in", "--secure", "--workers", "1", "--durability", "none") as found:
        yield found


def connect_string(service: Service) -> str:
    """Return the line that the server has kept for its owner."""
    (path,) = re.findall(r"in (/\S+),", service.told("connect"))
    with open(path, encoding="ascii") as file:
        return file.read().strip()


def unreached(*words: object) -> tuple[str, ...]:
    """Return a command to which this machine is another one."""
    script = (
        "import sys; from filexfer.wire import dial; dial.is_loopback = lambda _: False\n"
        "from filexfer.cli import main; sys.exit(main())"
    )
    return (sys.executable, "-c", script, *map(str, words))


def run_unreached(*words: object, token: str) -> subprocess.CompletedProcess[str]:
    """Run such a command by a script, which has a token."""
    return subprocess.run(
        unreached(*words),
        env=environment(FILEXFER_TOKEN=token),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_login_and_after(service: Service, tmp_path: Path) -> None:
    """A connect string is stored once, for its owner alone; then the name is all that is needed."""
    line = connect_string(service)
    done = fx("login", "nas", input=line + "\n")
    assert done.returncode == 0, done.stderr
    assert "read, list, create" in done.stderr
    stored = tmp_path / "config" / "filexfer" / "remotes.json"
    assert stat.S_IMODE(os.stat(stored).st_mode) == 0o600
    assert fx("put", tmp_path / "a", "nas:b").returncode == 0
    assert fx("get", "nas:b", tmp_path / "c").returncode == 0
    assert (tmp_path / "c").read_text() == "a"
    assert fx("ls", "nas:").stdout == "b\n"
    assert fx("mkdir", "nas:d").returncode == 0
    assert fx("rm", "nas:b").returncode != 0  # without the right
    looked = fx("doctor", "nas:")
    assert looked.returncode == 0, looked.stdout
    assert service.told("fingerprint") in looked.stdout
    where = f"127.0.0.1:{service.port}"
    listed = fx("remotes").stdout.split()
    assert listed == ["nas", where, service.told("fingerprint"), "read,list,create"]
    assert fx("logout", "nas").returncode == 0
    assert fx("logout", "nas").returncode == 3
    assert fx("remotes").stdout == ""
    assert fx("ls", "nas:", "--timeout", "1").returncode == 6  # a host again


def test_quiet(service: Service, tmp_path: Path) -> None:
    """With ``-q`` neither a certificate that is stored nor a connect string is spoken of."""
    line = connect_string(service)
    token = parse_connect_string(line).token
    place = f"fx://127.1:{service.port}/"
    done = run_unreached("put", "-q", "--accept-new", tmp_path / "a", place, token=token)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert service.told("fingerprint") in fx("remotes").stdout
    done = fx("get", "-q", line.replace("/#", "/a#"), tmp_path / "b")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    assert (tmp_path / "b").read_text() == "a"


def test_a_quiet_server(tmp_path: Path) -> None:
    """With ``-q`` a server says nothing from its start to its end."""
    (tmp_path / "in").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(SECONDS)
        env = environment(NOTIFY_SOCKET=str(tmp_path / "notify"))
        words = ("--port", "0", "--secure", "--workers", "1", "-q")
        with running("serve", tmp_path / "in", *words, env=env) as process:
            assert b"READY=1" in notified.recv(1000)
            process.send_signal(signal.SIGTERM)
            said, told = process.communicate(timeout=SECONDS)
    assert (said, told) == (b"", b"")


def test_a_login_that_fails(service: Service, tmp_path: Path) -> None:
    """What the server does not take is not stored, unless it is not asked."""
    line = connect_string(service)
    token = parse_connect_string(line).token
    wrong = line.replace(token, token[::-1])
    for each in (wrong, line.replace(service.told("fingerprint"), OTHER)):
        done = fx("login", "nas", input=each)
        assert done.returncode == 4, done.stderr
        assert token not in done.stderr
        assert token[::-1] not in done.stderr
    assert fx("login", "nas", input=line.replace("/#", "/a#")).returncode == 2
    assert fx("login", "nas", input=f"{line} {line}").returncode == 2
    assert fx("login", "nas", input="").returncode == 2
    assert fx("login", "n:s", input=line).returncode == 2
    assert fx("remotes").stdout == ""
    kept = tmp_path / "line"
    kept.write_text(line)
    kept.chmod(0o644)
    assert fx("login", "nas", "--file", kept).returncode == 4
    kept.chmod(0o600)
    assert fx("login", "nas", "--file", kept).returncode == 0
    assert fx("login", "nas", "--no-check", input=wrong).returncode == 0
    assert fx("ls", "nas:").returncode == 4


def test_other_ways_to_a_token(service: Service, tmp_path: Path) -> None:
    """A file, two variables, and the whole line in the command, which is warned about."""
    line = connect_string(service)
    token, pin = parse_connect_string(line).token, service.told("fingerprint")
    kept = tmp_path / "token"
    kept.write_text(token + "\n")
    kept.chmod(0o600)
    known = (service.address, "--fingerprint", pin)
    assert fx("ls", *known).returncode == 4
    assert fx("ls", *known, "--token-file", kept).returncode == 0
    assert fx("ls", *known, env=environment(FILEXFER_TOKEN=token)).returncode == 0
    assert fx("ls", *known, env=environment(FILEXFER_TOKEN_FILE=str(kept))).returncode == 0
    bad = fx("ls", *known, env=environment(FILEXFER_TOKEN=f"{SECRET} "))
    assert bad.returncode == 2
    assert SECRET not in bad.stderr
    kept.chmod(0o640)
    assert fx("ls", *known, "--token-file", kept).returncode == 4
    assert fx("ls", *known, "--token-file", tmp_path / "none").returncode == 8
    done = fx("ls", line)
    assert done.returncode == 0
    assert "WARNING: others on this machine can see" in done.stderr
    assert "WARNING" not in fx("ls", *known, env=environment(FILEXFER_TOKEN=token)).stderr


@pytest.mark.case("K8")
def test_secrets_stay_secret(service: Service, tmp_path: Path) -> None:
    """No message, log, error, list of processes or listing has a token in it."""
    line = connect_string(service)
    token = parse_connect_string(line).token
    env = environment(FILEXFER_TOKEN=SECRET)
    said = ["".join(service.said)]
    (tmp_path / "many").mkdir()
    for number in range(300):
        (tmp_path / "many" / str(number)).write_bytes(b"x" * 3000)
    for words, given in (
        (("login", "nas"), line),
        (("login", "other"), line.replace(token, SECRET)),
        (("login", "x"), line[:-3]),
        (("put", "-v", tmp_path / "a", "nas:"), None),
        (("put", "--stats", "-j", "2", f"{tmp_path}/many", "nas:"), None),
        (("put", tmp_path / "a", line), None),
        (("put", tmp_path / "a", line[:-3]), None),
        (("put", tmp_path / "none", "nas:"), None),
        (("get", "nas:none", tmp_path / "x"), None),
        (("ls", service.address, "--fingerprint", service.told("fingerprint")), None),
        (("doctor", "nas:"), None),
        (("remotes",), None),
        (("--help",), None),
        (("login", "--help"), None),
    ):
        done = fx(*words, env=env, **({} if given is None else {"input": given}))
        said += [done.stdout, done.stderr]
    with running("get", "nas:many", tmp_path / "out", "-j", "2", "--bwlimit", "200K") as process:
        seen = _command_lines(process.pid)
    assert seen
    assert service.end() == 0
    said += [*seen, service.rest()]
    text = "\n".join(said)
    assert "300 files" in text
    for secret in (token, SECRET):
        assert secret not in text


def _command_lines(top: int) -> list[str]:
    """Return what the list of processes shows of a command and its children, while it runs."""
    if not os.path.exists(f"/proc/{top}/task/{top}/children"):
        return ["not to be had here"]
    found: set[str] = set()
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and len(found) < 2:
        try:
            with open(f"/proc/{top}/task/{top}/children", encoding="ascii") as file:
                pids = [top, *map(int, file.read().split())]
            for pid in pids:
                with open(f"/proc/{pid}/cmdline", "rb") as file:
                    found.add(f"{pid}: {file.read().decode('utf-8', 'replace')}")
        except OSError:
            break  # it has ended
        time.sleep(0.01)
    return sorted(found)


# Servers on other machines


@pytest.mark.case("K4", "K5")
def test_an_unknown_server(service: Service, tmp_path: Path) -> None:
    """A script gets exit code 4 and the fingerprint; --accept-new stores it; a change is an end."""
    token = parse_connect_string(connect_string(service)).token
    pin = service.told("fingerprint")

    def listing(*words: str) -> subprocess.CompletedProcess[str]:
        return run_unreached("ls", f"fx://127.1:{service.port}/", *words, token=token)

    first = listing()
    assert first.returncode == 4
    assert pin in first.stderr
    assert "filexfer login" in first.stderr
    assert "--insecure" not in first.stderr
    second = listing("--accept-new")
    assert second.returncode == 0
    assert pin in second.stderr
    third = listing()
    assert (third.returncode, third.stderr) == (0, "")
    assert fx("remotes").stdout.split() == ["-", f"127.1:{service.port}", pin, "-"]
    known = tmp_path / "config" / "filexfer" / "known_servers.json"
    known.write_text(known.read_text().replace(pin, OTHER))
    changed = listing("--accept-new")
    assert changed.returncode == 4
    assert f"filexfer logout 127.1:{service.port}" in changed.stderr
    assert fx("logout", f"127.1:{service.port}").returncode == 0
    assert listing().returncode == 4


@pytest.mark.case("K4")
@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_person_is_asked(service: Service, answer: str) -> None:
    """At a terminal the fingerprint is shown; a yes stores it, and anything else ends there."""
    near, far = pty.openpty()
    token = parse_connect_string(connect_string(service)).token
    process = subprocess.Popen(
        unreached("ls", f"fx://127.1:{service.port}/"),
        env=environment(FILEXFER_TOKEN=token),
        stdin=far,
        stdout=subprocess.DEVNULL,
        stderr=far,
    )
    os.close(far)
    said = ""
    while "[y/N]" not in said and select.select([near], [], [], SECONDS)[0]:
        said += os.read(near, 1000).decode()
    assert service.told("fingerprint") in said
    os.write(near, answer.encode() + b"\n")
    reader = threading.Thread(target=_drain, args=(near,), daemon=True)
    reader.start()
    assert process.wait(SECONDS) == (0 if answer == "y" else 4)
    reader.join(SECONDS)
    os.close(near)
    assert (service.told("fingerprint") in fx("remotes").stdout) == (answer == "y")


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 1000):
            pass
    except OSError:
        pass  # the other side is closed


def test_a_connect_string_is_not_shown(service: Service) -> None:
    """At a terminal it is asked for without an echo."""
    line = connect_string(service)
    pid, near = pty.fork()
    if not pid:
        os.execve(COMMAND[0], [*COMMAND, "login", "nas"], environment())
    said = ""
    while "connect string" not in said and select.select([near], [], [], SECONDS)[0]:
        said += os.read(near, 1000).decode()
    until = time.monotonic() + SECONDS
    while termios.tcgetattr(near)[3] & termios.ECHO and time.monotonic() < until:
        time.sleep(0.001)
    os.write(near, line.encode() + b"\n")
    try:
        while select.select([near], [], [], SECONDS)[0] and (more := os.read(near, 1000)):
            said += more.decode()
    except OSError:
        pass  # it has ended
    os.close(near)
    assert os.waitpid(pid, 0)[1] == 0
    assert "stored" in said
    assert parse_connect_string(line).token not in said


# Serving


@pytest.mark.case("K14")
def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    """The server does not start, and says how to mend it."""
    certificate.load()
    (tmp_path / "state" / "filexfer" / "server.pem").chmod(0o644)
    done = fx("serve", tmp_path, "--secure", "--port", "0")
    assert done.returncode == 4
    assert "chmod 600" in done.stderr


@pytest.mark.parametrize("words", [["--secure"], ["--cert", "x"], ["--key", "x"]])
def test_contradictions(tmp_path: Path, words: list[str]) -> None:
    """No encryption and a certificate do not go together."""
    done = fx("serve", tmp_path, "--insecure", *words)
    assert done.returncode == 2
    assert "--insecure" in done.stderr


def test_a_given_certificate(tmp_path: Path) -> None:
    """An authority's word lets clients in, by option and by login, without a fingerprint."""
    import trustme  # noqa: PLC0415 - only here

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    (tmp_path / "key.pem").chmod(0o600)
    given = ("--cert", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem"))
    with Service(tmp_path / "in", *given, "--workers", "1") as service:
        line = connect_string(service)
        assert parse_connect_string(line).fingerprint == service.told("fingerprint")
        assert fx("ls", line.partition("#")[0], "--ca", tmp_path / "ca.pem").returncode == 0
        assert fx("ls", line.partition("#")[0], "--ca", "system").returncode == 4
        done = fx("login", "nas", "--ca", "ca.pem", input=line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert fx("ls", "nas:").returncode == 0
        assert fx("remotes").stdout.split()[2:4] == ["ca", str(tmp_path / "ca.pem")]


@pytest.mark.case("K19")
def test_between_two_machines(tmp_path: Path) -> None:
    """The README's tour runs as it is written, and the server prints what is shown there."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("one")
    tour = section("Between two machines")
    (shown,), (commands,) = blocks(tour, "console"), blocks(tour, "sh")
    first, *said = shown.splitlines()
    assert first == "$ filexfer serve inbox --host 0.0.0.0"
    with Service(tmp_path / "inbox", "--secure") as service:
        words = [line.split()[0] for line in service.said]
        assert words == [line.split()[0] for line in said]
        line = connect_string(service)
        (tmp_path / "line").write_text(line)
        for each in commands.splitlines():
            command = each.replace("login nas", f"login nas < {tmp_path}/line")
            done = shell(command, tmp_path, service.address)
            assert done.returncode == 0, (command, done.stderr)
    assert (tmp_path / "backup" / "photos" / "1.jpg").read_text() == "one"
    assert (tmp_path / "inbox" / "photos" / "1.jpg").read_text() == "one"
