"""Several worker processes behind one port: deaths, replacements, and how they end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from conftest import leftovers
from test_cli_process import CHUNK, SECONDS, Service, fx, running, wait_gone
from test_serve import Upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def children(pid: int) -> set[int]:
    """Return the processes that a process has started and that have not ended."""
    if os.path.isdir("/proc/self"):
        rows = list(_processes())
    else:
        command = ["ps", "-A", "-o", "pid=,stat=,ppid="]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        rows = [line.split() for line in found.stdout.splitlines()]
    return {int(row[0]) for row in rows if int(row[2]) == pid and not row[1].startswith("Z")}


def _processes() -> Iterator[list[str]]:
    """Yield number, state and parent of each process, as Linux tells them."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    yield [name, *file.read().rpartition(")")[2].split()[:2]]
            except OSError:
                pass  # it ended just now


def workers_of(service: Service, count: int) -> set[int]:
    """Return the processes of a server's workers, as soon as there are so many."""
    while len(found := children(service.process.pid)) != count:
        assert service.process.poll() is None, "the server ended"
    return found


def kill(pids: set[int]) -> None:
    """End processes in the hard way."""
    for pid in pids:
        send(pid, signal.SIGKILL)


def send(pid: int, number: int) -> None:
    """Send a signal to a process, if it is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # its parent was quicker


class Relay:
    """Stands between a client and a server, and lets through no more than it is told.

    Attributes:
        address: For the client.
        held: Is set when the first connection has used up its bytes.

    """

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._left = limit
        self.held = threading.Event()
        self._go_on = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"fx://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._accept, daemon=True).start()

    def go_on(self) -> None:
        """Let everything through from now on."""
        self._go_on.set()

    def close(self) -> None:
        """Take no more connections."""
        self._go_on.set()
        self._listener.close()

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port), SECONDS)
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()
        except OSError:
            pass  # closed

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self._go_on.is_set():
                    self._left -= len(data)
                    if self._left <= 0:
                        self.held.set()
                        self._go_on.wait(SECONDS)
                target.sendall(data)
        except OSError:
            pass  # the other side has gone, which the next line tells
        for sock in (source, target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


@contextmanager
def relay(port: int, limit: int) -> Iterator[Relay]:
    """Run a relay."""
    made = Relay(port, limit)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_number_of_workers(count: int, tmp_path: Path) -> None:
    """``--workers N`` makes N processes; with 1 the server itself serves."""
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", str(count)) as service:
        workers = workers_of(service, 0 if count == 1 else count)
        for number in range(4):
            assert fx("put", tmp_path / "file", f"{service.address}{number}").returncode == 0
        assert children(service.process.pid) == workers
        assert service.end() == 0
        assert service.rest() == ""
    assert sorted(os.listdir(tmp_path / "in")) == ["0", "1", "2", "3"]


def test_killed_workers_are_replaced(tmp_path: Path) -> None:
    """Workers that are killed are replaced; each death is told, and the server goes on."""
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", "2") as service:
        before = workers_of(service, 2)
        kill(before)
        told = [service.line(), service.line()]
        assert all(line.endswith(" ERROR a worker ended (signal 9)") for line in told), told
        after = workers_of(service, 2)
        assert not before & after
        assert fx("put", tmp_path / "file", service.address).returncode == 0
        assert service.end() == 0
        assert service.rest() == ""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_clients_go_on_after_a_death(jobs: str, tmp_path: Path) -> None:
    """An upload whose worker is killed goes on with another one, and everything arrives once."""
    (tmp_path / "tree").mkdir()
    for number in range(40):
        (tmp_path / "tree" / str(number)).write_bytes(bytes([number]) * 100_000)
    with (
        Service(tmp_path / "in", "--workers", "2") as service,
        relay(service.port, 2_000_000) as between,
        running("put", "-j", jobs, tmp_path / "tree", between.address) as process,
    ):
        assert between.held.wait(SECONDS)
        kill(workers_of(service, 2))
        assert service.line().endswith(" ERROR a worker ended (signal 9)")
        between.go_on()
        _, said = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, said
        assert said.startswith(b"40 files, 4.0 MB in ")
        assert fx("put", tmp_path / "tree", service.address).stderr.startswith("0 files, ")
        assert service.end() == 0
    stored = {path.name: path.read_bytes() for path in (tmp_path / "in" / "tree").iterdir()}
    assert stored == {str(number): bytes([number]) * 100_000 for number in range(40)}


def test_what_a_killed_worker_leaves_is_cleaned_up(tmp_path: Path) -> None:
    """The temporary file of a killed worker is never listed, and is gone after the next upload."""
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", "2") as service:
        upload = Upload(service.port)
        assert len(leftovers(tmp_path / "in")) == 1
        kill(workers_of(service, 2))
        assert upload.is_cut()
        assert fx("ls", service.address).stdout == ""
        assert len(leftovers(tmp_path / "in")) == 1
        assert fx("put", tmp_path / "file", service.address).returncode == 0
        assert os.listdir(tmp_path / "in") == ["file"]


def test_workers_that_keep_dying(tmp_path: Path) -> None:
    """When workers die again and again the server gives up, with code 1 and the port free."""
    with Service(tmp_path, "--workers", "2") as service:
        killed: set[int] = set()
        while service.process.poll() is None and len(killed) < 50:
            victims = children(service.process.pid) - killed
            kill(victims)
            killed |= victims
        assert service.process.wait(SECONDS) == 1
        *deaths, last = service.rest().splitlines()
        assert last.endswith(" ERROR workers die too often; giving up")
        assert 5 <= len(deaths) < 10
        wait_gone(service.port)


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """When the parent is killed the workers end as well, after what is under way."""
    with Service(tmp_path / "in", "--workers", "2") as service:
        workers_of(service, 2)
        upload = Upload(service.port)
        service.process.kill()
        service.process.wait(SECONDS)
        wait_gone(service.port)
        assert upload.finish() == "stored"
        assert service.rest() == ""  # at its end no process holds the pipe any more
    assert os.listdir(tmp_path / "in") == ["large"]


def signal_all(service: Service, number: int) -> None:
    """Send a signal to the parent and to all workers, as service managers do."""
    workers = workers_of(service, 2)
    for pid in (service.process.pid, *workers):
        send(pid, number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_the_whole_group(number: int, tmp_path: Path) -> None:
    """One signal to parent and workers at once counts as one: uploads under way finish."""
    with Service(tmp_path / "in", "--workers", "2") as service:
        uploads = [Upload(service.port, str(each)) for each in range(4)]
        signal_all(service, number)
        wait_gone(service.port)
        assert [upload.finish() for upload in uploads] == ["stored"] * 4
        assert service.process.wait(SECONDS) == 0
        assert service.rest() == ""
    assert sorted(os.listdir(tmp_path / "in")) == ["0", "1", "2", "3"]


def test_workers_share_one_folder(tmp_path: Path) -> None:
    """Of uploads of one name to several workers at once one is stored, and the others fail."""
    with Service(tmp_path / "in", "--workers", "3") as service, ExitStack() as stack:
        workers_of(service, 3)
        processes = []
        for number in range(6):
            (tmp_path / str(number)).write_bytes(bytes([number]) * CHUNK)
            words = ("put", "-q", tmp_path / str(number), service.address + "one")
            processes.append(stack.enter_context(running(*words)))
        codes = [process.wait(SECONDS) for process in processes]
        assert service.end() == 0
    assert sorted(codes) == [0, 3, 3, 3, 3, 3]
    winner = codes.index(0)
    assert (tmp_path / "in" / "one").read_bytes() == bytes([winner]) * CHUNK
    assert os.listdir(tmp_path / "in") == ["one"]
