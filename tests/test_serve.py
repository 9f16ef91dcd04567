"""``filexfer serve``: what it prints, whom it lets do what, and how it ends."""

from __future__ import annotations

import hashlib
import os
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from conftest import Raw, leftovers
from test_cli_process import (
    CHUNK,
    COMMAND,
    SECONDS,
    Service,
    environment,
    fx,
    is_one_line,
    running,
    wait_gone,
)
from test_cli_transfer import other_address
from test_cli_usage import has_ipv6

if TYPE_CHECKING:
    from pathlib import Path

BOTH_WAYS = pytest.mark.parametrize("workers", ["1", "2"])
SIGNALS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


class Upload:
    """A plain client in the middle of an upload: half of the file is on the server's side."""

    SIZE = 32 * CHUNK  # half of it is more than the buffers on the way hold

    def __init__(self, port: int, name: str = "large") -> None:
        self.peer = Raw(socket.create_connection(("127.0.0.1", port), SECONDS))
        digest = "md5:" + hashlib.md5(bytes(self.SIZE)).hexdigest()
        self.peer.frame({"name": name, "size": self.SIZE, "hash": digest})
        self.peer.send(bytes(self.SIZE // 2))

    def finish(self) -> str:
        """Send the rest; return the kind of the answer, or nothing if there is none."""
        try:
            self.peer.send(bytes(self.SIZE // 2))
            return str((self.peer.reply() or {}).get("kind", ""))
        except (BrokenPipeError, ConnectionResetError):
            return ""
        finally:
            self.peer.close()

    def is_cut(self) -> bool:
        """Wait for the end of the connection; tell whether it came without an answer."""
        try:
            return self.peer.reply() is None
        finally:
            self.peer.close()


def is_sent_away(peer: Raw) -> bool:
    """Wait for the end of a connection; tell whether no word came, or that the server ends."""
    try:
        answer = peer.reply()
    except ConnectionResetError:
        answer = None
    peer.close()
    return answer is None or answer["code"] == "shutting_down"


# What it prints


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")),
        pytest.param("0.0.0.0", marks=pytest.mark.skipif(not other_address(), reason="no network")),
    ],
)
def test_printed_commands_work(host: str, tmp_path: Path) -> None:
    """What is printed at the start is true, and its commands can be copied and run."""
    (tmp_path / "here").write_text("x")
    is_open = host == "0.0.0.0"
    words = ("--host", host, *(["--insecure"] if is_open else []), "--workers", "1")
    with Service(tmp_path / "to serve", *words) as service:
        assert [line.split()[0] for line in service.said] == [
            *("folder", "address", "rights", "upload", "download")
        ]
        assert service.told("folder") == str(tmp_path / "to serve")
        whom = "every user of this machine"
        if is_open:
            whom = "everybody who can reach the address, unencrypted"
        assert service.told("rights") == f"read, list, create, for {whom}"
        upload, download = (shlex.split(service.told(what)) for what in ("upload", "download"))
        assert upload[0] == download[0] == "filexfer"
        assert ("--insecure" in upload) == ("--insecure" in download) == is_open
        assert "0.0.0.0" not in upload[-1]
        up = fx(*[word.replace("FILE...", "here") for word in upload[1:]], cwd=tmp_path)
        assert up.returncode == 0, up.stderr
        (tmp_path / "here").unlink()
        down = fx(*[word.replace("NAME", "here") for word in download[1:]], cwd=tmp_path)
        assert down.returncode == 0, down.stderr
    assert (tmp_path / "here").read_text() == "x"


def test_this_folder_is_served_by_default(tmp_path: Path) -> None:
    """Without a folder it serves the one it was started in."""
    (tmp_path / "mine").touch()
    command = [*COMMAND, "serve", "--port", "0", "--workers", "1"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert process.stderr.readline() == f"folder      {tmp_path}\n"
        address = process.stderr.readline().split()[1]
        assert fx("ls", address).stdout == "mine\n"
        process.terminate()
        assert process.wait(SECONDS) == 0


def free_port() -> int:
    """Return a port that was free just now."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


@BOTH_WAYS
def test_quiet(workers: str, tmp_path: Path) -> None:
    """With ``-q`` it says nothing, at the start and at the end."""
    (tmp_path / "file").write_text("x")
    port = free_port()
    words = ("serve", "-q", tmp_path, "--port", port, "--workers", workers)
    with running(*words) as process:
        while fx("ls", f"fx://127.0.0.1:{port}/").returncode:
            assert process.poll() is None
        process.terminate()
        assert process.communicate(timeout=SECONDS) == (b"", b"")
        assert process.returncode == 0


def test_verbose(tmp_path: Path) -> None:
    """With ``-v`` it logs what each client did; without it, nothing of that."""
    (tmp_path / "file").write_text("four")
    logged = []
    for words in ((), ("-v",)):
        with Service(tmp_path / "in", "--workers", "1", *words) as service:
            address = f"{service.address}{len(words)}/"
            assert fx("put", tmp_path / "file", address).returncode == 0
            assert fx("get", address + "file", tmp_path / str(len(words))).returncode == 0
            service.end()
            logged.append(service.rest().splitlines())
    assert logged[0] == []
    pattern = r"[\d-]+ [\d:,]+ INFO 127\.0\.0\.1:\d+ (put|got) 1 files, 4 bytes.*"
    found = [re.fullmatch(pattern, line) for line in logged[1]]
    assert [each[1] for each in found if each] == ["put", "got"]


# Rights


@pytest.mark.parametrize(
    ("words", "rights"),
    [
        ((), "read, list, create"),
        (("--read-only",), "read, list"),
        (("--allow", "overwrite"), "read, list, create, overwrite"),
        (("--allow", "delete"), "read, list, create, delete"),
        (("--allow", "delete,overwrite"), "read, list, create, overwrite, delete"),
    ],
    ids=["default", "read-only", "overwrite", "delete", "both"],
)
def test_rights(words: tuple[str, ...], rights: str, tmp_path: Path) -> None:
    """What the options allow is printed, and is what clients can do; nothing more."""
    for name in ("old", "new"):
        (tmp_path / name).write_text(name)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "there").write_text("there")
    with Service(tmp_path / "in", "--workers", "1", *words) as service:
        printed = service.told("rights")
        has_upload = any(line.startswith("upload") for line in service.said)
        read = fx("get", service.address + "there", "-").stdout == "there"
        listed = fx("ls", service.address).stdout == "there\n"
        create = fx("put", tmp_path / "old", service.address + "made").returncode
        overwrite = fx("put", "--overwrite", tmp_path / "new", service.address + "there").returncode
        delete = fx("rm", service.address + "there").returncode
    assert printed == f"{rights}, for every user of this machine"
    assert has_upload == ("create" in rights)
    assert (read, listed) == (True, True)
    assert create == (0 if "create" in rights else 7)
    assert overwrite == (0 if "overwrite" in rights else 3 if "create" in rights else 7)
    assert delete == (0 if "delete" in rights else 3)
    assert (tmp_path / "in" / "made").exists() == ("create" in rights)
    assert (tmp_path / "in" / "there").exists() != ("delete" in rights)
    if "delete" not in rights:
        text = (tmp_path / "in" / "there").read_text()
        assert text == ("new" if "overwrite" in rights else "there")


@pytest.mark.parametrize("durability", ["none", "batch", "file"])
@BOTH_WAYS
def test_every_durability_stores(durability: str, workers: str, tmp_path: Path) -> None:
    """With every level of durability a tree arrives whole."""
    tree = tmp_path / "tree"
    for number in range(3):
        (tree / str(number)).mkdir(parents=True)
        (tree / str(number) / "file").write_text("x" * number)
    words = ("--durability", durability, "--workers", workers)
    with Service(tmp_path / "in", *words) as service:
        assert fx("put", tree, service.address).returncode == 0
        back = f"{tmp_path}/back/"
        assert fx("get", "--durability", durability, service.address, back).returncode == 0
    for number in range(3):
        assert (tmp_path / "back" / "tree" / str(number) / "file").read_text() == "x" * number


# Ports


def test_port_in_use(tmp_path: Path) -> None:
    """A port that another server has is a clear error; that server goes on."""
    with Service(tmp_path, "--workers", "1") as service:
        second = fx("serve", tmp_path, "--port", service.port)
        assert second.returncode == 6
        expected = f"cannot listen on 127.0.0.1 port {service.port}: Address already in use"
        assert expected in second.stderr
        assert is_one_line(second.stderr)
        assert fx("ls", service.address).returncode == 0


@BOTH_WAYS
def test_quick_restart(workers: str, tmp_path: Path) -> None:
    """A server can be started again at once on the port it had, connections or not."""
    (tmp_path / "file").write_text("x")
    port = "0"
    for _ in range(3):
        words = ("--workers", workers, "--port", port)
        with Service(tmp_path / "in", *words) as service:
            port = str(service.port)
            assert fx("put", tmp_path / "file", service.address).returncode == 0
            idle = Raw(socket.create_connection(("127.0.0.1", service.port), SECONDS))
            idle.greet()  # the server closes it first, and so keeps it in TIME_WAIT
            assert service.end() == 0
            assert is_sent_away(idle)


# The end


@BOTH_WAYS
@SIGNALS
def test_end_without_clients(number: int, workers: str, tmp_path: Path) -> None:
    """A signal ends an idle server with code 0, and it has nothing more to say."""
    with Service(tmp_path, "--workers", workers) as service:
        idle = Raw(socket.create_connection(("127.0.0.1", service.port), SECONDS))
        idle.greet()
        assert service.end(number) == 0
        assert is_sent_away(idle)
        assert service.rest() == ""
        assert os.listdir(tmp_path) == []


@BOTH_WAYS
@SIGNALS
def test_signal_at_once_after_the_start(number: int, workers: str, tmp_path: Path) -> None:
    """A signal that comes with the first printed line ends the server as one does later."""
    command = [*COMMAND, "serve", str(tmp_path), "--port", "0", "--workers", workers]
    for _ in range(3):
        with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE) as process:
            assert process.stderr
            assert process.stderr.readline().startswith(b"folder")
            process.send_signal(number)
            assert b"Traceback" not in process.stderr.read()
            assert process.wait(SECONDS) == 0


@pytest.mark.case("G11")
@BOTH_WAYS
@SIGNALS
def test_upload_under_way_finishes(number: int, workers: str, tmp_path: Path) -> None:
    """After a signal nobody new can connect, but the upload under way is stored; code 0."""
    with Service(tmp_path / "in", "--workers", workers) as service:
        upload = Upload(service.port)
        service.process.send_signal(number)
        wait_gone(service.port)
        assert service.process.poll() is None
        assert upload.finish() == "stored"
        assert service.process.wait(SECONDS) == 0
        assert service.rest() == ""
    assert (tmp_path / "in" / "large").stat().st_size == Upload.SIZE
    assert leftovers(tmp_path) == []


@pytest.mark.case("G11")
@BOTH_WAYS
def test_download_under_way_finishes(workers: str, tmp_path: Path) -> None:
    """After a signal the download under way comes to its end too."""
    data = os.urandom(CHUNK) * 16
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large").write_bytes(data)
    with Service(tmp_path / "in", "--workers", workers) as service:
        with running("get", service.address + "large", "-") as process:
            assert process.stdout
            begin = process.stdout.read(1)
            service.process.terminate()
            wait_gone(service.port)
            assert begin + process.stdout.read() == data
            assert process.wait(SECONDS) == 0
        assert service.process.wait(SECONDS) == 0


@pytest.mark.case("G11")
@BOTH_WAYS
@SIGNALS
def test_second_signal_ends_at_once(number: int, workers: str, tmp_path: Path) -> None:
    """A second signal cuts what is under way: nothing of it is stored, or left over."""
    with Service(tmp_path / "in", "--workers", workers) as service:
        upload = Upload(service.port)
        service.process.send_signal(number)
        wait_gone(service.port)
        service.process.send_signal(number)
        assert service.process.wait(SECONDS) == 0
        assert upload.is_cut()
        assert service.rest() == ""
    assert os.listdir(tmp_path / "in") == []


@pytest.mark.case("G11")
def test_request_after_the_signal_is_refused(tmp_path: Path) -> None:
    """A client that was served when the signal came, and wants more, is sent away."""
    with Service(tmp_path / "in", "--workers", "1") as service:
        upload = Upload(service.port)
        service.process.terminate()
        wait_gone(service.port)
        upload.peer.send(bytes(Upload.SIZE // 2))
        assert (upload.peer.reply() or {})["kind"] == "stored"
        try:
            upload.peer.frame({"kind": "fetch", "name": "large"})
        except (ConnectionResetError, BrokenPipeError):
            pass  # it was sent away before it could ask
        assert is_sent_away(upload.peer)
        assert service.process.wait(SECONDS) == 0


# Many and slow clients


@BOTH_WAYS
def test_idle_connections(workers: str, tmp_path: Path) -> None:
    """While 200 others are connected and say nothing, a client works as ever."""
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", workers) as service:
        idle = [socket.create_connection(("127.0.0.1", service.port), SECONDS) for _ in range(200)]
        assert fx("put", tmp_path / "file", service.address).returncode == 0
        assert fx("ls", service.address).stdout == "file\n"
        for sock in idle:
            sock.close()


def test_many_clients_at_once(tmp_path: Path) -> None:
    """20 clients put 1,000 files at once into one folder, and each of them arrives."""
    clients = range(20)
    for client in clients:
        (tmp_path / str(client)).mkdir()
        for number in range(50):
            (tmp_path / str(client) / f"{client}-{number}").write_text(f"{client} {number}")
    with Service(tmp_path / "in") as service:
        processes = [
            subprocess.Popen(
                [*COMMAND, "put", "-q", f"{tmp_path / str(client)}/", service.address + "all/"],
                env=environment(),
                stderr=subprocess.PIPE,
            )
            for client in clients
        ]
        for process in processes:
            _, said = process.communicate(timeout=2 * SECONDS)
            assert (process.returncode, said) == (0, b"")
        assert service.end() == 0
        assert service.rest() == ""
    stored = {path.name: path.read_text() for path in (tmp_path / "in" / "all").iterdir()}
    assert stored == {f"{c}-{n}": f"{c} {n}" for c in clients for n in range(50)}


@BOTH_WAYS
def test_slow_client_holds_up_nobody(workers: str, tmp_path: Path) -> None:
    """A client that reads a byte at a time is served on, and nobody waits for it."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "large").write_bytes(bytes(16 * CHUNK))
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--workers", workers) as service:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", service.port))
        peer = Raw(slow)
        peer.frame({"kind": "fetch", "name": "large", "hash": "md5"})
        assert (peer.reply() or {})["size"] == 16 * CHUNK
        for number in range(5):
            assert peer.read(1) == b"\0"
            name = f"file {number}"
            assert fx("put", tmp_path / "file", f"{service.address}{name}").returncode == 0
            assert fx("get", f"{service.address}{name}", "-").stdout == "x"
        assert len(peer.read(16 * CHUNK - 5)) == 16 * CHUNK - 5
        peer.close()


def test_port_probes(tmp_path: Path) -> None:
    """Connections that end at once, with or without a reset, disturb nobody and are no error."""
    with Service(tmp_path, "--workers", "1") as service:
        for number in range(20):
            sock = socket.create_connection(("127.0.0.1", service.port), SECONDS)
            if number % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        assert fx("ls", service.address).returncode == 0
        assert service.end() == 0
        assert service.rest() == ""


def test_other_protocols(tmp_path: Path) -> None:
    """Who speaks another protocol is answered and cut off; nothing is printed."""
    with Service(tmp_path, "--workers", "1") as service:
        for greeting in (b"GET / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", bytes(100), b"\xff" * 100):
            peer = Raw(socket.create_connection(("127.0.0.1", service.port), SECONDS))
            peer.send(greeting)
            assert select.select([peer.sock], [], [], SECONDS)[0]
            assert (peer.reply() or {})["code"] == "bad_header"
            assert peer.reply() is None
            peer.close()
        assert fx("ls", service.address).returncode == 0
        assert service.end() == 0
        assert service.rest() == ""
