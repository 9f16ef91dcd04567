"""A server under a service manager: sockets that are handed over, readiness, and reloading."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from time import CLOCK_MONOTONIC, clock_gettime_ns
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, Raw, Served
from test_cli_process import Service, environment, fx, wait_gone
from test_serve import Upload
from test_workers import children, kill, workers_of

from filexfer import LocalError, Server, TrustError, UsageError
from filexfer.serving import activation
from filexfer.serving.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BOTH_WAYS = pytest.mark.parametrize("workers", ["1", "2"])


# Sockets that are handed over


def hand_over(monkeypatch: pytest.MonkeyPatch, fd: int, **variables: str) -> None:
    """Pretend that a service manager has opened *fd* for this process."""
    monkeypatch.setattr(activation, "FIRST", fd)
    usual = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a.socket"}
    for name, value in {**usual, **variables}.items():
        monkeypatch.setenv(name, value)


def test_a_socket_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is the one that was handed over; no child gets it or hears of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = os.dup(listener.fileno())
        os.set_inheritable(fd, True)
        hand_over(monkeypatch, fd)
        taken = activation.inherited_listener()
        assert taken
        with taken:
            assert taken.getsockname() == listener.getsockname()
            assert not os.get_inheritable(fd)
    assert not [name for name in os.environ if name.startswith("LISTEN_")]


@pytest.mark.parametrize(
    "variables",
    [{"LISTEN_PID": "1"}, {"LISTEN_PID": ""}, {"LISTEN_PID": "no"}, {"LISTEN_FDS": "0"}],
)
def test_what_is_not_for_this_process(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is meant for another process, or is nothing, is left alone; the variables go."""
    hand_over(monkeypatch, 0, **variables)
    assert activation.inherited_listener() is None
    assert not [name for name in os.environ if name.startswith("LISTEN_")]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        ("2", r"hands over 2 sockets \(a\.socket\), and filexfer takes one"),
        ("-1", "LISTEN_FDS is no number: -1"),
        ("1\n", r"LISTEN_FDS is no number: 1\\x0a"),
        ("²", "LISTEN_FDS is no number"),
    ],
)
def test_wrong_numbers(count: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another number of sockets than one is refused, and the message says what to do."""
    hand_over(monkeypatch, 0, LISTEN_FDS=count)
    with pytest.raises(UsageError, match=text):
        activation.inherited_listener()


@pytest.mark.parametrize("kind", ["closed", "file", "udp", "unix", "not listening"])
def test_what_is_no_listening_socket(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else is handed over is refused, and is not closed."""
    made = {
        "udp": (socket.AF_INET, socket.SOCK_DGRAM),
        "unix": (socket.AF_UNIX, socket.SOCK_STREAM),
        "not listening": (socket.AF_INET, socket.SOCK_STREAM),
    }
    fd = (
        socket.socket(*made[kind]).detach()
        if kind in made
        else os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    )
    if kind == "closed":
        os.close(fd)
    hand_over(monkeypatch, fd)
    with pytest.raises(UsageError, match=f"descriptor {fd}, which the service manager hands over"):
        activation.inherited_listener()
    if kind != "closed":
        os.close(fd)


def test_a_handed_over_socket_must_be_local_too(tmp_path: Path) -> None:
    """A socket that other machines reach needs the same consent as an address does."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        with pytest.raises(TrustError, match="can be reached by other machines"):
            Server(tmp_path, listener=listener)
        server = Server(tmp_path, listener=listener, insecure=True)
        server.close()


# A whole service


class Manager:
    """Stands in for a service manager: a socket to be told things on, and one to hand over.

    Attributes:
        port: Of the socket that is handed over.
        place: Where to tell things.

    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._told.settimeout(SECONDS)
        self._told.bind("\0" + place[1:] if place[0] == "@" else place)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def told(self) -> dict[str, str]:
        """Return what the next message says."""
        lines = self._told.recv(4096).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def close(self) -> None:
        """Close both sockets."""
        self._told.close()
        self._listener.close()

    @contextmanager
    def start(self, folder: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
        """Start a server as a service manager does."""
        # The process that the socket is meant for is known only when it runs.
        script = (
            "import os, sys; fd = int(sys.argv[1]); os.dup2(fd, 3); fd == 3 or os.close(fd)\n"
            "os.environ |= {'LISTEN_FDS': '1', 'LISTEN_PID': str(os.getpid())}\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'filexfer', *sys.argv[2:]])"
        )
        fd = self._listener.fileno()
        command = [sys.executable, "-c", script, str(fd), "serve", "-q", str(folder), *words]
        with subprocess.Popen(
            command,
            pass_fds=[fd],
            env=environment(NOTIFY_SOCKET=self.place),
            stderr=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """Start a stand-in for a service manager."""
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


def test_a_service_from_start_to_end(manager: Manager, tmp_path: Path) -> None:
    """The manager hears of the start, a reload and the end; its socket is what is served on."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").touch()
    with manager.start(tmp_path / "in", "--workers", "2") as process:
        status = f"serving {tmp_path / 'in'} at fx://127.0.0.1:{manager.port}/ by 2 processes"
        assert manager.told() == {"READY": "1", "STATUS": status}
        assert fx("ls", f"fx://127.0.0.1:{manager.port}/").stdout == "file\n"
        before = clock_gettime_ns(CLOCK_MONOTONIC) // 1000
        process.send_signal(signal.SIGHUP)
        reloading = manager.told()
        assert reloading["RELOADING"] == "1"
        assert before <= int(reloading["MONOTONIC_USEC"]) <= clock_gettime_ns(CLOCK_MONOTONIC)
        assert manager.told() == {"READY": "1", "STATUS": status}
        process.terminate()
        assert manager.told() == {"STOPPING": "1", "STATUS": "finishing the transfers under way"}
        assert process.communicate(timeout=SECONDS)[1] == b""
        assert process.returncode == 0


def test_a_service_of_one_process(manager: Manager, tmp_path: Path) -> None:
    """A server that serves in its own process tells the same."""
    with manager.start(tmp_path, "--workers", "1") as process:
        assert manager.told()["STATUS"].endswith(" by 1 process")
        process.send_signal(signal.SIGHUP)
        assert manager.told()["RELOADING"] == "1"
        assert manager.told()["READY"] == "1"
        process.terminate()
        assert manager.told()["STOPPING"] == "1"
        assert process.wait(SECONDS) == 0


def test_a_manager_that_does_not_listen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be told is a warning and stops nothing; without a manager nothing is said."""
    Notifier().ready("serving")
    assert not caplog.messages
    Notifier(str(tmp_path / "nobody")).ready("serving")
    Notifier("vsock:2:1").ready("serving")
    assert caplog.messages == [
        "cannot tell the service manager: No such file or directory",
        "NOTIFY_SOCKET is not of a kind that is known: vsock:2:1",
    ]


@pytest.mark.parametrize("way", ["path", "name"])
def test_a_status_is_one_line(way: str, tmp_path: Path) -> None:
    """A folder's name cannot add a line to what the manager is told, at a path or a name."""
    if way == "name" and sys.platform != "linux":
        pytest.skip("only Linux has names for sockets")
    place = f"@filexfer-{os.getpid()}" if way == "name" else str(tmp_path / "notify")
    manager = Manager(place)
    Notifier(place).ready("serving /a\nSTOPPING=1")
    assert manager.told() == {"READY": "1", "STATUS": r"serving /a\x0aSTOPPING=1"}
    manager.close()


# Reloading


def test_what_cannot_be_read_again_is_told(serve: Callable[..., Served]) -> None:
    """What fails is told and does not keep the rest from being read again."""
    server = serve().server
    read = []

    def fail() -> None:
        raise LocalError("cannot read the key: it is empty")

    server.on_reload(fail)
    server.on_reload(lambda: read.append(1))
    assert server.reload() == ["cannot read the key: it is empty"]
    assert read == [1]


@pytest.mark.case("G13")
@BOTH_WAYS
def test_sighup_ends_nothing(workers: str, tmp_path: Path) -> None:
    """SIGHUP ends neither the server nor an upload under way, whoever gets it."""
    with Service(tmp_path / "in", "-v", "--workers", workers) as service:
        pids = workers_of(service, 0 if workers == "1" else int(workers))
        upload = Upload(service.port)
        for pid in (service.process.pid, *pids):
            os.kill(pid, signal.SIGHUP)
        assert service.line().endswith(" INFO reloaded")
        assert upload.finish() == "stored"
        assert fx("ls", service.address).stdout == "large\n"
        assert service.end() == 0


RELOADING = """
import sys
from filexfer import LocalError, Server, workers; from filexfer.security import access
from filexfer.serving.notify import Notifier

server = Server(sys.argv[1])

def read():
    with open(sys.argv[2]) as file:
        rights = file.read().split()
    if not rights:
        raise LocalError("there are no rights")
    server._access = access.Anybody(server.folder, frozenset(rights))

server.on_reload(read)
print(server.port, file=sys.stderr, flush=True)
sys.exit(workers.serve(server, int(sys.argv[3]), Notifier.from_environment()))
"""


@pytest.mark.case("G13")
@BOTH_WAYS
def test_what_is_reloaded_holds_for_all(workers: str, manager: Manager, tmp_path: Path) -> None:
    """When a reload is reported it holds for new connections, and for workers that are new."""
    (tmp_path / "rights").write_text("read list create")
    command = [sys.executable, "-c", RELOADING, str(tmp_path), str(tmp_path / "rights"), workers]
    with (
        subprocess.Popen(
            command, env=environment(NOTIFY_SOCKET=manager.place), stderr=subprocess.PIPE
        ) as process,
        ExitStack() as cleanup,
    ):
        cleanup.callback(process.kill)  # harmless when it has ended
        assert process.stderr
        port = int(process.stderr.readline())

        def rights() -> object:
            peer = Raw(socket.create_connection(("127.0.0.1", port), SECONDS))
            try:
                return peer.greet()["rights"]
            finally:
                peer.close()

        def reload(text: str) -> None:
            (tmp_path / "rights").write_text(text)
            process.send_signal(signal.SIGHUP)
            assert "RELOADING" in manager.told()
            assert "READY" in manager.told()

        assert "READY" in manager.told()
        upload = Upload(port)
        reload("read")
        assert [rights() for _ in range(4)] == [["read"]] * 4
        reload("")
        assert b"what was read before stays in use: there are no rights" in (
            process.stderr.readline()
        )
        assert [rights() for _ in range(4)] == [["read"]] * 4
        assert upload.finish() == "stored"
        if workers != "1":
            before = children(process.pid)
            kill(before)
            for _ in before:
                assert b"a worker ended (signal 9)" in process.stderr.readline()
            assert [rights() for _ in range(4)] == [["read"]] * 4
        process.terminate()
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize("nohup", [False, True])
def test_closing_the_terminal_ends_the_server(nohup: bool, tmp_path: Path) -> None:
    """A server in a terminal ends when that goes away, unless it was told to stay behind."""
    ours, theirs = pty.openpty()
    script = (
        "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"if {nohup}: signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'filexfer', *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", script, "serve", str(tmp_path), "--port", "0"]
    with subprocess.Popen(
        [*command, "--workers", "2", "-v"],
        env=environment(),
        stdin=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            os.close(theirs)
            assert process.stderr
            lines = [process.stderr.readline() for _ in range(5)]
            port = re.search(rb"127\.0\.0\.1:(\d+)", lines[1])
            assert port
            os.close(ours)
            if nohup:
                assert process.stderr.readline().endswith(b" INFO reloaded\n")
                process.terminate()
            assert process.wait(SECONDS) == 0
            wait_gone(int(port[1]))
        finally:
            if process.poll() is None:
                process.kill()


# What ends in the hard way


@pytest.mark.case("G18")
def test_a_worker_that_crashes_takes_nobody_with_it(tmp_path: Path) -> None:
    """A worker that dies by a fault of memory is replaced; uploads at the other one go on."""
    words = ("--workers", "2")
    with Service(tmp_path / "in", *words, cwd=tmp_path) as service:  # where a core may be left
        victim, other = sorted(workers_of(service, 2))
        uploads = [Upload(service.port, str(number)) for number in range(3)]
        os.kill(victim, signal.SIGSEGV)
        assert service.line().endswith(" ERROR a worker ended (signal 11)")
        after = workers_of(service, 2)
        assert other in after
        assert victim not in after
        answers = [upload.finish() for upload in uploads]
        assert set(answers) <= {"stored", ""}
        assert fx("ls", service.address).returncode == 0
        assert service.end() == 0
        assert service.rest() == ""
    whole = {path.name for path in (tmp_path / "in").iterdir() if not path.name.startswith(".fx-")}
    assert whole == {str(number) for number, answer in enumerate(answers) if answer}
    assert all((tmp_path / "in" / name).stat().st_size == Upload.SIZE for name in whole)


@pytest.mark.case("G22")
@BOTH_WAYS
def test_killed_while_it_waits_for_transfers(workers: str, tmp_path: Path) -> None:
    """What was confirmed is whole, what was under way is not there, and it can be sent again."""
    words = ("--workers", workers)
    with Service(tmp_path / "in", *words) as service:
        pids = workers_of(service, 0 if workers == "1" else int(workers))
        done = Upload(service.port, "done")
        assert done.finish() == "stored"
        half = Upload(service.port, "a")
        service.process.terminate()
        wait_gone(service.port)
        assert service.process.poll() is None
        kill({service.process.pid, *pids})
        assert half.is_cut()
    names = [name for name in os.listdir(tmp_path / "in") if not name.startswith(".fx-")]
    assert names == ["done"]
    assert (tmp_path / "in" / "done").read_bytes() == bytes(Upload.SIZE)
    with Service(tmp_path / "in", *words) as service:
        again = Upload(service.port, "a")
        assert again.finish() == "stored"
        assert service.end() == 0
    assert sorted(os.listdir(tmp_path / "in")) == ["a", "done"]
