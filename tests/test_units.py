"""The systemd units: that systemd takes them, and that what they start works."""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS
from test_cli_process import environment, fx, is_one_line
from test_managed import Manager
from test_serve import free_port

from filexfer.cli import main
from filexfer.serving.limits import DRAIN_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(not ANALYZE, reason="there is no systemd-analyze here")

# Each by its name and what it is set to; those that more are added to are not here.
HARDENED = {
    *("AmbientCapabilities=", "CapabilityBoundingSet=", "KeyringMode=private"),
    *("LockPersonality=yes", "MemoryDenyWriteExecute=yes", "NoNewPrivileges=yes"),
    *("PrivateDevices=yes", "PrivateTmp=yes", "PrivateUsers=yes", "ProcSubset=pid"),
    *("ProtectClock=yes", "ProtectControlGroups=yes", "ProtectHostname=yes"),
    *("ProtectKernelLogs=yes", "ProtectKernelModules=yes", "ProtectKernelTunables=yes"),
    *("ProtectProc=invisible", "ProtectSystem=strict", "RemoveIPC=yes"),
    *("RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "RestrictNamespaces=yes"),
    *("RestrictRealtime=yes", "RestrictSUIDSGID=yes", "SystemCallArchitectures=native"),
    *("SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"),
    *("UMask=0077", "LimitNOFILE=65536", "KillMode=mixed", "Type=notify"),
    "ExecReload=kill -HUP $MAINPID",
}


def service(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the command, in this process: it is much asked for."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as error:
        try:
            code = main(["service", *map(str, words)])
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess((), code, out.getvalue(), error.getvalue())


def unit(*words: object) -> list[str]:
    """Return the lines of a service unit."""
    run = service("--unit", *words)
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return run.stdout.splitlines()


def value(lines: list[str], name: str) -> str:
    """Return what a directive that stands there once is set to."""
    (found,) = (line for line in lines if line.startswith(name + "="))
    return found.partition("=")[2]


@needs_systemd
@pytest.mark.parametrize(
    "words",
    [(), ("/srv/my files/100% $HOME", "--user", "daemon", "--host", "::", "--serve=--insecure")],
    ids=["default", "odd"],
)
def test_systemd_takes_the_units(words: tuple[str, ...], tmp_path: Path) -> None:
    """Both are written, without a complaint of systemd, and what a service can do is little."""
    run = service(*words, "--output", tmp_path, "--name", "fx-test")
    assert run.returncode == 0, run.stderr
    paths = [str(tmp_path / name) for name in ("fx-test.service", "fx-test.socket")]
    assert run.stderr == "".join(f"wrote {path}\n" for path in paths)
    assert ANALYZE
    checked = subprocess.run(
        [ANALYZE, "verify", "--man=no", "--recursive-errors=no", *paths],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if "unrecognized option" in checked.stderr:
        pytest.skip("this systemd is too old to check a file alone")
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--threshold=20", paths[0]],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if "unrecognized option" in rated.stderr:
        pytest.skip("this systemd cannot rate a file")
    assert rated.returncode == 0, rated.stdout  # 2.0 or less, of 10


def test_what_a_service_may_do() -> None:
    """Every restriction stands there, and the end waits for longer than the server takes."""
    lines = unit()
    assert set(lines) >= HARDENED
    assert int(value(lines, "TimeoutStopSec")) > DRAIN_SECONDS
    assert value(lines, "StateDirectory") == "filexfer filexfer/files"
    assert "DynamicUser=yes" in lines
    assert value(lines, "IPAddressDeny") == "any"
    assert not any(line.startswith("ReadWritePaths") for line in lines)


@pytest.mark.parametrize(
    ("words", "expected", "missing"),
    [
        (("/srv/a", "--user", "you"), ["User=you", "ReadWritePaths=/srv/a"], "DynamicUser"),
        (("/srv/a", "--serve=--read-only"), ["DynamicUser=yes"], "ReadWritePaths"),
        (
            ("/home/you/a b", "--user", "you"),
            [
                'ReadWritePaths="/home/you/a b"',
                'BindPaths="/home/you/a b"',
                "ProtectHome=tmpfs",
            ],
            "DynamicUser",
        ),
        (
            ("/home/you/a", "--serve=--read-only"),
            ["BindReadOnlyPaths=/home/you/a", "ProtectHome=tmpfs"],
            "ReadWritePaths",
        ),
        (
            ("--name", "two", "--serve", "--access-log /var/log/two/log"),
            ["StateDirectory=two two/files", "LogsDirectory=two"],
            "ReadWritePaths",
        ),
        (("--serve", "--access-log /srv/logs/log"), ["ReadWritePaths=/srv/logs"], "User"),
        (("--host", "0.0.0.0", "--serve=--insecure"), ["IPAddressAllow=any"], "IPAddressDeny"),
    ],
)
def test_what_a_service_sees(words: tuple[str, ...], expected: list[str], missing: str) -> None:
    """It can write to its folder and log only, and sees of homes what it needs only."""
    lines = unit(*words)
    assert set(lines) >= set(expected)
    assert not any(line.startswith(missing + "=") for line in lines)


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("/srv/a",), "who owns /srv/a? add --user", 2),
        (("/srv/a", "--user", "root"), "a server needs no rights of root", 2),
        (("/srv/a", "--user", "a\nb"), r"not a\x0ab", 2),
        (("/srv/a\nExecStart=x", "--user", "you"), "cannot stand in a unit", 2),
        (("/home/a:b", "--user", "you"), "a path with a colon", 2),
        (("--name", "../x"), "--name takes letters", 2),
        (("--port", "0"), "--port must be 1 to 65535", 2),
        (("--serve=--port=5",), "--serve does not take DIR, --host and --port", 2),
        (("--serve=--nonsense",), "no option '--nonsense'; see 'filexfer serve --help'", 2),
        (("--serve", "--access-log 'x"), "No closing quotation", 2),
        (("--serve", "--access-log log"), "write log from / on", 2),
        (("--host", "x" * 70), "--host xxxxx", 2),
        (("--output", "/no/such/folder"), "cannot write /no/such/folder/filexfer.service", 8),
    ],
)
def test_what_makes_no_sense(words: tuple[str, ...], text: str, code: int) -> None:
    """It is refused in one line, before anything is written."""
    run = service(*words)
    assert run.returncode == code
    assert text in run.stderr
    assert is_one_line(run.stderr)
    assert run.stdout == ""


def test_units_are_not_replaced(tmp_path: Path) -> None:
    """A unit that is there already, and may have been changed, is kept."""
    (tmp_path / "filexfer.socket").write_text("mine")
    run = service("--output", tmp_path)
    assert run.returncode == 8
    assert f"{tmp_path}/filexfer.socket is there already; remove it first" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["filexfer.socket"]
    assert (tmp_path / "filexfer.socket").read_text() == "mine"


def test_what_a_unit_starts(tmp_path: Path) -> None:
    """The command in the unit serves the folder, whatever its name, and its reload reloads."""
    folder = tmp_path / "in 100% $HOME \"q\" 'a' \\b"
    folder.mkdir()
    (folder / "file").touch()
    port = free_port()
    lines = unit(folder, "--user", "you", "--port", port, "--serve=--workers 2")
    # systemd reads quotes and backslashes as a shell does here; the rest is its own.
    command = value(lines, "ExecStart")
    assert "in 100%% $$HOME " in command
    words = shlex.split(command)
    words = [word.replace("%%", "%").replace("$$", "$") for word in words]
    manager = Manager(str(tmp_path / "notify"))
    with subprocess.Popen(
        words, env=environment(NOTIFY_SOCKET=manager.place), stderr=subprocess.PIPE
    ) as process:
        try:
            assert manager.told()["READY"] == "1"
            assert fx("ls", f"fx://127.0.0.1:{port}/").stdout == "file\n"
            assert value(lines, "ExecReload") == "kill -HUP $MAINPID"
            process.send_signal(signal.SIGHUP)
            assert manager.told()["RELOADING"] == "1"
            assert manager.told()["READY"] == "1"
            process.terminate()
            assert process.wait(SECONDS) == 0
        finally:
            if process.poll() is None:
                process.kill()
            manager.close()


def test_the_socket() -> None:
    """The socket unit listens where the service would, written as systemd wants it."""
    run = service("--socket", "--host", "localhost", "--port", "99")
    assert value(run.stdout.splitlines(), "ListenStream") in ("127.0.0.1:99", "[::1]:99")
    run = service("--host", "::", "--serve=--insecure")
    assert "# filexfer.service\n[Unit]" in run.stdout
    assert "# filexfer.socket\n[Unit]" in run.stdout
    assert "ListenStream=[::]:17177\n" in run.stdout
    assert socket.has_ipv6
