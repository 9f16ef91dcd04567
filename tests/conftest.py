"""What the tests share: servers, links, scripted peers, and looks at trees of files.

Everything that a fixture here opens is closed when the test ends, the newest first.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import struct
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import skips
from nursery import Nursery

from filexfer import Client, Server
from filexfer.storage import system
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging
from filexfer.wire.connection import Connection
from filexfer.wire.transport import ALPN

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    Entries = dict[str, tuple[str, int, int, bytes | str | None]]

FOR_TESTS = ("FILEXFER_SKIPS", "FILEXFER_SEED", "FILEXFER_RACE_SECONDS")
SECONDS = 20.0  # no wait in a passing test comes near it

# Found once, a counterexample belongs into the test; until then every run tries the same.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, database=None, print_blob=False
)
hypothesis.settings.load_profile("tests")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes run the tests: many of them wait half of their time."""
    return 2 * (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Hold the skipped tests against the expected ones, where that is asked for."""
    skips.watch(config)


@pytest.fixture(scope="session", autouse=True)
def homes_of_all_tests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no test use the keys, tokens and stored servers of whoever runs it."""
    folder = tmp_path_factory.mktemp("homes")
    os.environ["XDG_STATE_HOME"] = str(folder / "state")
    os.environ["XDG_CONFIG_HOME"] = str(folder / "config")
    ours = [name for name in os.environ if name.startswith("FILEXFER_") and name not in FOR_TESTS]
    for name in ("STATE_DIRECTORY", *ours):
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def signals_are_as_before() -> Iterator[None]:
    """Let no test leave signals blocked or ignored: the programs of later ones would inherit it."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """Close, in the reverse order, what the other fixtures open."""
    with ExitStack() as stack:
        yield stack


# Servers and clients


class Served:
    """A server in a thread of this process, and the folder it serves."""

    def __init__(self, server: Server, folder: Path, cleanup: ExitStack) -> None:
        self.server = server
        self.folder = folder
        self._cleanup = cleanup

    def client(self, **options: Any) -> Client:
        """Return a client that connects when it is first used."""
        made = Client(self.server.host, self.server.port, **{"timeout": SECONDS, **options})
        return self._cleanup.enter_context(made)

    def wait(self) -> None:
        """Wait for the end of all sessions, also of one that has only just begun."""
        with self.server._lock:
            threads = list(self.server._sessions.values())
        for thread in threads:
            thread.join(SECONDS)
            assert not thread.is_alive()


@pytest.fixture
def serve(tmp_path: Path, cleanup: ExitStack) -> Callable[..., Served]:
    """Return a function that starts a server; its arguments are those of ``Server``."""

    def start(folder: Path | None = None, **options: Any) -> Served:
        folder = folder or tmp_path / "served"
        folder.mkdir(parents=True, exist_ok=True)
        server = Server(folder, **{"durability": "none", "timeout": SECONDS, **options})
        return Served(cleanup.enter_context(server), folder, cleanup)

    return start


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """Start a server of ``tmp_path/served`` with the rights it has by default."""
    return serve()


# Storages


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Make the folder that a storage is in."""
    (tmp_path / "top").mkdir()
    return tmp_path / "top"


@pytest.fixture
def folder(top: Path) -> Iterator[Folder]:
    """Open the storage in ``top``."""
    with Folder(top) as found:
        yield found


@pytest.fixture
def stage(folder: Folder) -> Iterator[Callable[..., Staging]]:
    """Return a function that begins an exchange; its arguments are a policy's and a durability."""
    with ExitStack() as stack:

        def begin(if_exists: str = "error", durability: str = "none", **rights: bool) -> Staging:
            return stack.enter_context(Staging(folder, Policy(if_exists, **rights), durability))

        yield begin


@pytest.fixture(params=[True, False], ids=["native", "plain"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Use the system's own rename that refuses to replace, or what stands in for it."""
    is_native: bool = request.param
    monkeypatch.setattr(system, "native", is_native)
    return is_native


# Scripted peers


class Raw:
    """One end of a plain blocking socket, for peers that say what no honest one would."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def frame(self, message: dict[str, Any] | bytes) -> None:
        """Send a header, written as JSON unless it is bytes already."""
        self.send(framed(message))

    def read(self, size: int) -> bytes:
        """Return exactly *size* bytes, or those before the end of the stream."""
        pieces = []
        while size and (piece := self.sock.recv(min(size, 1 << 20))):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def reply(self) -> dict[str, Any] | None:
        """Return the next frame, or None if the other side closed; ``alive`` is passed over."""
        while True:
            try:
                head = self.read(4)
            except ConnectionResetError:
                return None
            if not head:
                return None
            found: dict[str, Any] = json.loads(self.read(*struct.unpack("!I", head)))
            if found.get("kind") != "alive":
                return found

    def replies(self, last: str = "end") -> list[dict[str, Any]]:
        """Return the frames up to the first of the kind *last*, or to the end of the stream."""
        found = []
        while reply := self.reply():
            found.append(reply)
            if reply.get("kind") == last:
                break
        return found

    def greet(self) -> dict[str, Any]:
        """Say hello and return the welcome."""
        self.frame({"kind": "hello", "version": 1})
        welcome = self.reply()
        assert welcome
        assert welcome["kind"] == "welcome"
        return welcome

    def finish(self) -> None:
        """Send no more; what the other side says can still be read. Harmless when closed."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise

    def reset(self) -> None:
        """Break the connection with a TCP reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close the socket; harmless when closed."""
        self.sock.close()


def framed(message: dict[str, Any] | bytes) -> bytes:
    """Return a frame, made without the code under test."""
    header = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack("!I", len(header)) + header


@pytest.fixture
def raw(cleanup: ExitStack) -> Callable[[Server], Raw]:
    """Return a function that connects a scripted peer to a server."""

    def connect(server: Server) -> Raw:
        sock = socket.create_connection((server.host, server.port), SECONDS)
        peer = Raw(sock)
        cleanup.callback(peer.close)
        return peer

    return connect


# Links


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a TCP connection over loopback: who connected, who accepted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname()[:2], SECONDS)
        far, _ = listener.accept()
    return near, far


@pytest.fixture(scope="session")
def tls_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return a client's and a server's context that trust each other's certificates."""
    import ssl  # noqa: PLC0415 - only TLS tests need it
    from ipaddress import ip_address  # noqa: PLC0415 - only TLS tests need it

    import trustme  # noqa: PLC0415 - only TLS tests need it

    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", str(ip_address("127.0.0.1")))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    for context in (client, server):
        context.set_alpn_protocols([ALPN])
    return client, server


LinkPair = tuple[Connection, Connection]


@pytest.fixture
def link_pair(
    cleanup: ExitStack, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> Callable[..., LinkPair]:
    """Return a function that connects two Connections: the client's end and the server's."""

    def connect(tls: bool = False, timeout: float = SECONDS) -> LinkPair:
        near, far = tcp_pair()
        contexts = tls_contexts if tls else (None, None)
        client = Connection(near, timeout=timeout, tls=contexts[0], hostname="127.0.0.1")
        server = Connection(far, timeout=timeout, tls=contexts[1], server_side=True)
        cleanup.callback(client.close)
        cleanup.callback(server.close)
        both(client.handshake, server.handshake)
        return client, server

    return connect


def both(one: Callable[[], object], other: Callable[[], object]) -> None:
    """Run two things at once, and raise what either raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            other()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        one()
    finally:
        thread.join(SECONDS)
        assert not thread.is_alive(), "the other side never came to an end"
    if failures:
        raise failures[0]


def wait_noticed(connection: Connection) -> threading.Event:
    """Return what is set as soon as the connection waits."""
    began = threading.Event()
    real = connection._wait

    def wait(**options: Any) -> bool:
        began.set()
        return real(**options)

    connection._wait = wait  # type: ignore[method-assign] # to know that it waits
    return began


# Trees of files


def dig(path: Path) -> None:
    """Make folders, each in the one before, deeper than any name may be."""
    fd = os.open(path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)


def tree_state(path: str | os.PathLike[str]) -> Entries:
    """Return what lies in a folder, to compare trees.

    Each name, relative and with ``surrogateescape``, leads to type (``file``, ``folder``,
    ``link`` or ``special``), permission bits, modification time in nanoseconds, and a file's
    bytes or a link's target.
    """
    found: Entries = {}
    top = os.fspath(path)

    def look(folder: str, prefix: str) -> None:
        for each in os.scandir(folder):
            status = each.stat(follow_symlinks=False)
            mode, mtime = stat.S_IMODE(status.st_mode), status.st_mtime_ns
            name = prefix + each.name
            if stat.S_ISLNK(status.st_mode):
                found[name] = ("link", mode, mtime, os.readlink(each.path))
            elif stat.S_ISDIR(status.st_mode):
                found[name] = ("folder", mode, mtime, None)
                look(each.path, name + "/")
            elif stat.S_ISREG(status.st_mode):
                with open(each.path, "rb") as file:
                    found[name] = ("file", mode, mtime, file.read())
            else:
                found[name] = ("special", mode, mtime, None)

    look(top, "")
    return found


def leftovers(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of temporary files below *path*."""
    return [
        os.path.join(folder, name)
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
        if name.lower().startswith(".fx-")
    ]


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Check, when everything else is closed, that no temporary file is left in ``tmp_path``."""
    yield
    assert leftovers(tmp_path) == []


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Lay a tree beside what is served, and check at the end that nothing has touched it."""
    folder = tmp_path / "canary"
    (folder / "sub").mkdir(parents=True)
    (folder / "precious").write_bytes(b"do not touch")
    (folder / "sub" / "secret").write_bytes(b"do not read")
    (folder / "link").symlink_to("precious")
    before = tree_state(folder)
    yield folder
    assert tree_state(folder) == before


# Processes to be harmed


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    """Return what forks servers and clients to be harmed."""
    with Nursery() as made:
        yield made


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory, if there is such a place: a kill does not ask for a disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="filexfer-test-", dir=memory) as path:
        yield Path(path)
