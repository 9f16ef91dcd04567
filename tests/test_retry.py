"""Connections that break, at any byte and in any way, and servers that come back."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Served, leftovers, tree_state
from test_storage_reading import powerless

from filexfer import Client, ConnectionLost, FileResult, Options, Report, Server
from filexfer.transfer import window
from filexfer.wire import dial
from filexfer.wire.protocol import PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("no_leftovers")

TIME = 1_700_000_000_123_456_789
UP, DOWN = 0, 1  # towards the server, towards the client


class Pauses(list[float]):
    """In place of the client's pauses before further tries: keeps them, and does something else."""

    def __init__(self) -> None:
        self.on_pause: Callable[[], object] = lambda: None
        self._sleep = time.sleep

    def __call__(self, seconds: float) -> None:
        if threading.current_thread() is threading.main_thread():
            self.append(seconds)
            self.on_pause()
        else:
            self._sleep(seconds)  # a server's


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    """Let nobody wait before another try."""
    found = Pauses()
    monkeypatch.setattr(time, "sleep", found)
    return found


class Proxy:
    """Stands between a client and a server, and cuts connections when told to."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()  # guards what follows
        self.passed = [0, 0]  # bytes, by direction
        self._cut_at: tuple[int, int, str] | None = None
        self._always: tuple[int, int, str] | None = None
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def arm(self, way: int, count: int, how: str) -> None:
        """Cut once, as soon as so many more bytes have passed that way."""
        with self._lock:
            self._cut_at = (way, self.passed[way] + count, how)

    def disarm(self) -> bool:
        """Cut no more; tell whether a cut was still to come."""
        with self._lock:
            was_armed = self._cut_at is not None
            self._cut_at = None
            return was_armed

    def cut_each(self, way: int, count: int, how: str) -> None:
        """Cut every further connection after so many bytes that way."""
        with self._lock:
            self._always = (way, count, how)

    def cut(self, how: str = "reset") -> None:
        """Cut all connections now."""
        with self._lock:
            for sock in self._open:
                _end(sock, how)

    def close(self) -> None:
        """Cut everything and wait for the end."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        self.cut("finish")
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            with self._lock:
                self.connections += 1
                if self._always:
                    way, count, how = self._always
                    self._cut_at = (way, self.passed[way] + count, how)
            try:
                far = socket.create_connection(self._target, SECONDS)
            except OSError:
                _reset(near)
                continue
            near.settimeout(SECONDS)
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._pump, args=(near, far), daemon=True)
            self._threads.append(thread)
            with self._lock:
                self._open += [near, far]
            thread.start()

    def _pump(self, near: socket.socket, far: socket.socket) -> None:
        how = "finish"
        sides = {near: (UP, far), far: (DOWN, near)}
        try:
            while True:
                for sock in select.select([near, far], [], [], SECONDS)[0]:
                    way, other = sides[sock]
                    data = sock.recv(self._most(way))
                    if not data:
                        return
                    other.sendall(data)
                    if self._is_due(way, len(data)):
                        how = self._how
                        return
        except (OSError, ValueError):
            pass  # one side has gone, or was cut from without
        finally:
            with self._lock:
                for sock in (near, far):
                    self._open.remove(sock)
                    _end(sock, how)
            for sock in (near, far):
                _drain(sock)

    def _most(self, way: int) -> int:
        with self._lock:
            if self._cut_at and self._cut_at[0] == way:
                return max(1, min(1 << 16, self._cut_at[1] - self.passed[way]))
            return 1 << 16

    def _is_due(self, way: int, size: int) -> bool:
        with self._lock:
            self.passed[way] += size
            if not self._cut_at or self._cut_at[0] != way or self.passed[way] < self._cut_at[1]:
                return False
            self._how = self._cut_at[2]
            self._cut_at = None
            return True


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _end(sock: socket.socket, how: str) -> None:
    try:
        if how == "reset":
            _reset(sock)
        else:
            sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # it has gone already


def _drain(sock: socket.socket) -> None:
    """Read to the end, so that closing is no reset."""
    try:
        while sock.fileno() >= 0 and sock.recv(1 << 16):
            pass
    except OSError:
        pass  # it was reset
    sock.close()


class Route:
    """One way for files to go, up or down, through a proxy."""

    def __init__(self, way: str, served: Served, local: Path) -> None:
        self.is_up = way == "up"
        self.served = served
        self.proxy = Proxy(served.server.port)
        local.mkdir()
        self.source = local if self.is_up else served.folder
        self.target = served.folder if self.is_up else local
        self.client = Client("127.0.0.1", self.proxy.port, timeout=SECONDS)
        self.client.stat("")  # connected; the first connection is not tried twice

    def send(self, name: str, to: str = "", report: Report | None = None, **how: Any) -> Report:
        options = Options(**{"durability": "none", **how})
        if self.is_up:
            return self.client.put([self.source / name], to, options, report)
        return self.client.get([name], f"{self.target}/{to}", options, report)

    def wait_for_sessions(self) -> None:
        """Wait until no session works on what came before its connection broke."""
        self.served.wait()

    def settle(self) -> None:
        """Wait for the end of all that was begun."""
        self.client.close()
        self.wait_for_sessions()
        self.client.stat("")

    def close(self) -> None:
        self.client.close()
        self.proxy.close()


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Iterator[Route]:
    route = Route(request.param, serve(), tmp_path / "local")
    yield route
    route.close()


def lay(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(TIME, TIME))
    return path


FILES = {
    "a": b"small",
    "empty": b"",
    "large": bytes(range(256)) * (PLAIN_MAX // 256 + 300),
    "d/b": b"another" * 1000,
    "d/e/c": b"deep",
}


def lay_tree(top: Path) -> None:
    for name, data in FILES.items():
        lay(top / name, data)
    os.symlink("a", top / "link")
    os.utime(top / "link", ns=(TIME, TIME), follow_symlinks=False)
    (top / "d" / "nothing").mkdir()
    for folder in (top / "d" / "nothing", top / "d" / "e", top / "d", top):
        os.utime(folder, ns=(TIME, TIME))


COUNT = len(FILES) + 1
SIZE = sum(map(len, FILES.values()))


def check(report: Report) -> None:
    """Each file is counted once, whatever happened on the way."""
    assert [str(error) for error in report.failures] == []
    assert (report.files, report.bytes) == (COUNT, SIZE)
    assert (report.skipped, report.failed, report.uncertain) == (0, 0, 0)


# Cut at many places


def cut_everywhere(route: Route, way: int, how: str, jobs: int, *, fine: bool = False) -> None:
    """Send a tree again and again, each time cut at another byte."""
    lay_tree(route.source / "tree")
    before = list(route.proxy.passed)
    check(route.send("tree", "uncut/", jobs=jobs))
    total = route.proxy.passed[way] - before[way]
    near = range(1, 150) if fine else (1, 3, 4, 5, 30)
    spread = (total * part // 100 for part in range(1, 100, 1 if fine else 9))
    last = (total - less for less in (range(150) if fine else (0, 1, 2, 17)))
    places = sorted({*near, *spread, *last})
    cuts = 0
    for count in places:
        route.proxy.arm(way, count, how)
        check(route.send("tree", f"{count}/", jobs=jobs))
        cuts += not route.proxy.disarm()
        route.settle()
        found = tree_state(route.target / f"{count}" / "tree")
        assert found == tree_state(route.source / "tree"), count
    assert cuts >= 5  # the greeting's at least; later replies are merged, so that some come too late
    assert leftovers(route.target) == []


every_cut = pytest.mark.parametrize(
    ("way", "how", "jobs"),
    [(way, how, jobs) for way in (UP, DOWN) for how in ("reset", "finish") for jobs in (1, 2)],
)


@pytest.mark.case("E1", "E2")
@every_cut
def test_e1_e2_a_tree_arrives_over_connections_that_break(
    route: Route, pauses: Pauses, way: int, how: str, jobs: int
) -> None:
    pauses.on_pause = route.wait_for_sessions
    cut_everywhere(route, way, how, jobs)


@pytest.mark.case("E1", "E2")
@pytest.mark.slow  # some four hundred transfers each
@pytest.mark.timeout(300)
@every_cut
def test_e1_e2_the_same_at_every_byte_near_the_ends(
    route: Route, pauses: Pauses, way: int, how: str, jobs: int
) -> None:
    pauses.on_pause = route.wait_for_sessions
    cut_everywhere(route, way, how, jobs, fine=True)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_session_that_still_works_on_what_came_before_the_cut_does_no_harm(
    route: Route, jobs: int
) -> None:
    """The next try may be faster; only the times of folders then depend on who comes last."""
    lay_tree(route.source / "tree")
    for count in range(200, SIZE, SIZE // 20):
        route.proxy.arm(UP if route.is_up else DOWN, count, "finish")
        check(route.send("tree", f"{count}/", jobs=jobs))
        assert not route.proxy.disarm()
        route.settle()
        found, expected = (
            {name: each for name, each in tree_state(top).items() if each[0] != "folder"}
            for top in (route.target / f"{count}" / "tree", route.source / "tree")
        )
        assert found == expected


@pytest.mark.case("E1")
@pytest.mark.parametrize("durability", ["batch", "file"])
def test_e1_also_with_durable_files(
    serve: Serve, tmp_path: Path, pauses: Pauses, durability: str
) -> None:
    route = Route("up", serve(durability=durability), tmp_path / "local")
    pauses.on_pause = route.wait_for_sessions
    lay_tree(route.source / "tree")
    for count in (200, PLAIN_MAX, SIZE):
        route.proxy.arm(UP, count, "reset")
        check(route.send("tree", f"{count}/"))
        assert not route.proxy.disarm()
        route.settle()
        assert tree_state(route.target / f"{count}/tree") == tree_state(route.source / "tree")
    route.close()


def test_what_was_there_before_is_counted_as_skipped(route: Route) -> None:
    """However often it is asked about."""
    lay_tree(route.source / "tree")
    already = {"a": 5, "d/b": 7000}
    before = list(route.proxy.passed)
    route.send("tree", "uncut/")
    total = route.proxy.passed[UP] - before[UP]
    for count in (total * part // 8 for part in range(1, 9)):
        for name in already:
            lay(route.target / f"{count}" / "tree" / name, FILES[name])
        route.proxy.arm(UP, count, "finish")
        report = route.send("tree", f"{count}/")
        route.proxy.disarm()
        assert (report.files, report.skipped) == (COUNT - len(already), len(already)), count
        assert report.skipped_bytes == sum(already.values())
        assert report.bytes == SIZE - sum(already.values())


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("count", [60_000, 110_000])
def test_folders_that_are_read_only_do_not_stop_a_second_try(
    serve: Serve, tmp_path: Path, pauses: Pauses, way: str, jobs: int, count: int
) -> None:
    """They get their modes when they are complete, not when a connection breaks."""
    with powerless():
        route = Route(way, serve(), tmp_path / "local")
        pauses.on_pause = route.wait_for_sessions
        folders = (route.source / "tree" / "d" / "e", route.source / "tree" / "d")
        for folder in folders:
            for number in range(6):
                lay(folder / f"{number}", bytes(10_000))
        for folder in folders:
            os.chmod(folder, 0o555)
        route.proxy.arm(UP if route.is_up else DOWN, count, "finish")
        report = route.send("tree", jobs=jobs)
        route.settle()
        found = tree_state(route.target)
        expected = tree_state(route.source)
        route.close()
        for top in (route.source, route.target):
            for path, _, _ in os.walk(top):
                os.chmod(path, 0o755)  # so that anybody can clean up
    assert [str(error) for error in report.failures] == []
    assert found == expected


# How often it is tried


def test_a_second_try_asks_before_it_sends(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has arrived does not travel twice."""
    monkeypatch.setattr(window, "ITEMS_MAX", 1)
    size = 4 * PLAIN_MAX
    for name in "ab":
        lay(route.source / "tree" / name, os.urandom(size))
    cut: list[str] = []

    def cut_once(file: FileResult) -> None:
        if not cut:
            route.proxy.cut()
            cut.append(file.name)

    before = sum(route.proxy.passed)
    report = route.send("tree", report=Report(on_file=cut_once))
    assert len(cut) == 1
    assert (report.files, report.bytes) == (2, 2 * size)
    if route.is_up:  # on the way down the second file may have been on its way before the cut
        assert sum(route.proxy.passed) - before < 3 * size


def test_a_first_connection_that_is_refused_is_told_at_once(pauses: Pauses) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client("127.0.0.1", port) as client, pytest.raises(ConnectionLost, match="refused"):
        client.put([__file__], "x", Options(retries=5))
    assert pauses == []


def test_a_first_connection_that_is_closed_without_a_word_is_tried_once_more(
    tmp_path: Path, pauses: Pauses
) -> None:
    """A server that is flooded may do so; something else that does so is told soon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        met: list[None] = []

        def close_all() -> None:
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    met.append(None)

        closing = threading.Thread(target=close_all, daemon=True)
        closing.start()
        with (
            Client("127.0.0.1", listener.getsockname()[1], timeout=5) as client,
            pytest.raises(ConnectionLost),
        ):
            client.put([__file__], "x", Options(retries=5))
        assert len(pauses) == 1
        listener.shutdown(socket.SHUT_RDWR)
        closing.join(5)
        assert len(met) == 2


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_without_a_new_file_it_is_tried_so_often(
    route: Route, pauses: Pauses, retries: int
) -> None:
    """With a pause before each further try, longer each time."""
    lay(route.source / "tree" / "large", bytes(3 * PLAIN_MAX))
    (route.target / "tree").mkdir()
    route.proxy.cut_each(UP if route.is_up else DOWN, 2 * PLAIN_MAX, "reset")
    route.client.close()
    route.client.stat("")
    before = route.proxy.connections
    with pytest.raises(ConnectionLost):
        route.send("tree", retries=retries)
    assert route.proxy.connections - before == retries
    assert len(pauses) == retries
    for number, pause in enumerate(pauses):
        longest = dial.FIRST_PAUSE * 2**number
        assert longest / 2 <= pause <= longest


def test_tries_that_bring_a_new_file_do_not_count(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "ITEMS_MAX", 1)
    names = [f"{number}" for number in range(8)]
    for name in names:
        lay(route.source / "tree" / name, name.encode())
    (route.target / "tree").mkdir()
    arrived: list[str] = []

    def cut(file: FileResult) -> None:
        arrived.append(file.name)
        if file.result == "stored":
            route.proxy.cut()

    before = route.proxy.connections
    report = route.send("tree", report=Report(on_file=cut), retries=1)
    assert (report.files, report.skipped, report.failed) == (8, 0, 0)
    assert sorted(arrived) == sorted(f"tree/{name}" for name in names)
    assert route.proxy.connections - before > 2
    assert tree_state(route.target) == tree_state(route.source)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_server_that_stays_away_is_given_up(route: Route, pauses: Pauses, retries: int) -> None:
    lay_tree(route.source / "tree")

    def stop(file: FileResult) -> None:
        if file.result == "stored":
            route.served.server.close(0)

    report = Report(on_file=stop)
    try:
        route.send("tree", report=report, retries=retries)
    except ConnectionLost:
        assert 1 <= report.files <= COUNT
        assert len(pauses) >= retries
    else:  # everything was settled with the first file
        check(report)


@pytest.mark.case("E12")
def test_e12_a_server_that_restarts_is_found_again(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the middle of the files; each is counted once."""
    monkeypatch.setattr(window, "ITEMS_MAX", 1)
    lay_tree(route.source / "tree")
    old = route.served.server
    new: list[Server] = []

    def restart(file: FileResult) -> None:
        if file.result == "stored" and not new:
            old.close(0)
            new.append(Server(route.served.folder, port=old.port, durability="none"))
            new[0].__enter__()

    (route.target / "tree").mkdir()
    report = route.send("tree", report=Report(on_file=restart))
    assert new
    check(report)
    assert tree_state(route.target) == tree_state(route.source)
    route.client.close()
    new[0].__exit__()


SERVE = """
import sys
from filexfer import Server
server = Server(sys.argv[1], port=int(sys.argv[2]), durability=sys.argv[3])
print(server.port, flush=True)
server.serve()
"""


class Process:
    """A server in a process of its own."""

    def __init__(self, folder: Path, port: int, durability: str) -> None:
        command = [sys.executable, "-c", SERVE, str(folder), str(port), durability]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.mark.parametrize("durability", ["none", "batch"])
@pytest.mark.case("G1")
def test_g1_a_server_that_is_killed_leaves_nothing_behind(tmp_path: Path, durability: str) -> None:
    """Its successor stores what was missing, and sweeps where it writes."""
    lay_tree(tmp_path / "tree")
    lay(tmp_path / "tree" / "d" / "huge", bytes(8 << 20))
    (tmp_path / "served").mkdir()
    servers = [Process(tmp_path / "served", 0, durability)]

    def progress(report: Report) -> None:
        if len(servers) == 1 and report.moved > 6 << 20:
            end = time.monotonic() + SECONDS
            while not leftovers(tmp_path / "served"):  # it has not come as far as we have
                assert time.monotonic() < end
            servers[0].kill()
            servers.append(Process(tmp_path / "served", servers[0].port, durability))

    try:
        with Client("127.0.0.1", servers[0].port, timeout=SECONDS) as client:
            client.stat("")
            report = client.put([tmp_path / "tree"], "", report=Report(on_progress=progress))
    finally:
        servers[-1].kill()
    assert len(servers) == 2
    assert (report.files, report.failed, report.skipped) == (COUNT + 1, 0, 0)
    found, expected = (
        {name: each[3] for name, each in tree_state(top).items()}
        for top in (tmp_path / "served" / "tree", tmp_path / "tree")
    )
    assert found == expected


GET = """
import os, sys
from filexfer import Client, Options, Report
def progress(report):
    if report.moved > int(sys.argv[4]):
        os.kill(os.getpid(), 9)
with Client("127.0.0.1", int(sys.argv[1])) as client:
    options = Options(durability=sys.argv[3])
    report = client.get(["tree"], sys.argv[2], options, Report(on_progress=progress))
    print(report.files + report.skipped, report.failed)
"""


@pytest.mark.parametrize("durability", ["none", "batch"])
@pytest.mark.case("G2")
def test_g2_a_client_that_is_killed_leaves_nothing_behind(
    served: Served, tmp_path: Path, durability: str
) -> None:
    """The next run of the command gets what was missing, and sweeps where it writes."""
    lay_tree(served.folder / "tree")
    lay(served.folder / "tree" / "d" / "huge", bytes(8 << 20))
    into = tmp_path / "into"
    command = [sys.executable, "-c", GET, str(served.server.port), str(into), durability]
    for limit in (1, PLAIN_MAX, 2 << 20, 6 << 20):
        killed = subprocess.run([*command, str(limit)], check=False)
        assert killed.returncode == -signal.SIGKILL
    assert leftovers(into)
    done = subprocess.run([*command, str(1 << 40)], check=True, capture_output=True, text=True)
    assert done.stdout.split() == [str(COUNT + 1), "0"]
    found, expected = (
        {name: each[3] for name, each in tree_state(top).items()}
        for top in (into / "tree", served.folder / "tree")
    )
    assert found == expected


def test_every_request_is_tried_again_on_a_connection_that_died_meanwhile(
    served: Served, tmp_path: Path
) -> None:
    """A server may close what is idle for long, or may have been restarted."""
    lay(served.folder / "d" / "a", b"data")
    lay(tmp_path / "b", b"data")
    proxy = Proxy(served.server.port)
    with Client("127.0.0.1", proxy.port, timeout=SECONDS) as client:
        client.stat("")
        for act in (
            lambda: client.stat("d"),
            lambda: client.make_folder("e"),
            lambda: client.put([tmp_path / "b"], "b"),
            lambda: client.get(["d"], tmp_path / "got", Options(durability="none")),
            lambda: list(client.list("d")),
        ):
            before = proxy.connections
            proxy.cut()
            act()
            assert proxy.connections == before + 1
    proxy.close()
    assert sorted(os.listdir(served.folder)) == ["b", "d", "e"]


# Streams


def test_a_stream_that_was_read_is_not_tried_again(served: Served, pauses: Pauses) -> None:
    proxy = Proxy(served.server.port)
    reading, writing = os.pipe()
    thread = threading.Thread(target=_write, args=(writing, bytes(1 << 20)))
    thread.start()
    with Client("127.0.0.1", proxy.port, timeout=SECONDS) as client:
        client.stat("")
        proxy.arm(UP, 500_000, "reset")
        with pytest.raises(ConnectionLost):
            client.put_stream(reading, "name")
    os.close(reading)
    thread.join()
    assert proxy.connections == 1
    assert pauses == []
    proxy.close()
    served.server.close(SECONDS)
    assert os.listdir(served.folder) == []


def _write(fd: int, data: bytes) -> None:
    with open(fd, "wb") as file:
        try:
            file.write(data)
        except BrokenPipeError:
            pass  # it was not wanted any more


@pytest.mark.parametrize("count", [1, 40, 5_000_000])
def test_a_stream_is_tried_again_until_something_was_written(served: Served, count: int) -> None:
    data = os.urandom(6 << 20)
    lay(served.folder / "name", data)
    proxy = Proxy(served.server.port)
    reading, writing = os.pipe()
    got: list[bytes] = []

    def drain() -> None:
        with open(reading, "rb") as file:
            got.append(file.read())

    thread = threading.Thread(target=drain)
    thread.start()
    with Client("127.0.0.1", proxy.port, timeout=SECONDS) as client:
        client.stat("")
        proxy.arm(DOWN, count, "reset")
        if count == 5_000_000:
            with pytest.raises(ConnectionLost):
                client.get_stream("name", writing)
        else:
            assert client.get_stream("name", writing).files == 1
    os.close(writing)
    thread.join()
    assert proxy.connections == (1 if count == 5_000_000 else 2)
    if count == 5_000_000:
        assert data.startswith(got[0])
        assert len(got[0]) < len(data)
    else:
        assert got == [data]
    proxy.close()
