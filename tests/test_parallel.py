"""Several connections with a process each: what arrives, what is told, and how they end together.

The commands run as processes here, because a process with several threads is never forked.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any
from zlib import crc32

import pytest
from conftest import Raw, Served, leftovers, tree_state
from test_cli_process import (
    INTERRUPTS,
    SECONDS,
    SUMMARY,
    Service,
    environment,
    fx,
    running,
    scripted,
    take_get,
    welcome,
)
from test_workers import children, kill, send

from filexfer import Client, Options
from filexfer.cli.output import size as shown_size
from filexfer.shared import parallel
from filexfer.wire import protocol
from filexfer.wire.protocol import HOLE, PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Entries = dict[str, tuple[str, int, int, bytes | str | None]]

TIME = 1_500_000_000_123_456_789
SOON = 15  # seconds; well below the time-out of a connection
UP, DOWN = 0, 1  # towards the server, towards the client
MD5_OF_DATA = "md5:8d777f385d3dfec8815d20f7496026dc"

both_ways = pytest.mark.parametrize("way", ["up", "down"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module; each has a folder of its own there."""
    words = ("--workers", "1", "--allow", "overwrite")
    with Service(tmp_path_factory.mktemp("served"), *words) as running_service:
        yield running_service


class Route:
    """One way for files to go, up or down, between a folder here and one on the server."""

    def __init__(self, way: str, service: Service, tmp_path: Path) -> None:
        self.is_up = way == "up"
        self.port = service.port
        self.place = service.folder / tmp_path.name
        self.place.mkdir()
        self.local = tmp_path / "local"
        self.local.mkdir()
        self.source, self.target = (
            (self.local, self.place) if self.is_up else (self.place, self.local)
        )

    def folders_of(self, share: int, shares: int, count: int) -> list[str]:
        """Return names for folders in ``tree`` that fall to a share."""
        names = map(str, range(1000))
        found = (name for name in names if crc32(name.encode()) % shares == share)
        return list(islice(found, count))

    def words(self, *names: str, to: str = "", jobs: int = 3, port: int = 0) -> list[object]:
        """Return the words of the command that transfers what has these names."""
        address = f"fx://127.0.0.1:{port or self.port}/{self.place.name}/"
        if self.is_up:
            return ["put", "-j", jobs, *(f"{self.local}/{name}" for name in names), address + to]
        return ["get", "-j", jobs, *(address + name for name in names), f"{self.local}/{to}"]

    def send(self, *names: str, more: tuple[object, ...] = (), **how: Any) -> Done:
        """Transfer what has these names."""
        return Done(fx(*self.words(*names, **how), *more))


class Done:
    """What became of a command."""

    def __init__(self, result: subprocess.CompletedProcess[str]) -> None:
        self.code = result.returncode
        self.lines = result.stderr.splitlines()
        self.text = result.stderr
        assert "Traceback" not in self.text, self.text
        last = self.lines[-1] if self.lines else ""
        self.summary: tuple[int, str, int, int] | None = None
        if SUMMARY.fullmatch(last):
            found = re.match(r"(\d+) files?, ([\d.]+ \w+) in ", last)
            assert found
            more = [re.search(rf", (\d+) {word}\b", last) for word in ("skipped", "failed")]
            skipped, failed = (int(each[1]) if each else 0 for each in more)
            self.summary = int(found[1]), found[2], skipped, failed

    @property
    def named(self) -> Counter[tuple[str, str]]:
        """What was said of each file with ``-v``."""
        found = re.findall(r"(?m)^(\w+) +[\d.]+ \w?B  (.*)$", self.text)
        return Counter(found)


@pytest.fixture
def route(way: str, service: Service, tmp_path: Path) -> Iterator[Route]:
    made = Route(way, service, tmp_path)
    yield made
    for top in (made.local, made.place):
        open_up(top)


def open_up(top: Path) -> None:
    """Let anybody clean up there."""
    for path, folders, _ in os.walk(top):
        for name in folders:
            with suppress(FileNotFoundError):  # a server has just shown it under its own name
                os.chmod(os.path.join(path, name), 0o755)


def lay(path: Path, data: bytes = b"data", mode: int = 0o644, mtime: int = TIME) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.chmod(path, mode)
    os.utime(path, ns=(mtime, mtime))
    return path


def link(path: Path, target: str) -> None:
    path.symlink_to(target)
    os.utime(path, ns=(TIME, TIME), follow_symlinks=False)


def finish_folders(top: Path, modes: dict[str, int]) -> None:
    """Give folders their modes and each a time of its own."""
    for number, (path, _, _) in enumerate(os.walk(top, topdown=False)):
        os.chmod(path, modes.get(os.path.relpath(path, top), 0o755))
        os.utime(path, ns=(TIME, TIME - number * 86_400_000_000_000))


ODD = [
    *("-rf", " two  words ", "你好", "e\u0301", "a\nb", "%41", "x" * 200),
    os.fsdecode(b"raw \xff\xfe") if sys.platform != "darwin" else "UTF-8 only",
]


def lay_tree(top: Path) -> tuple[int, int]:
    """Lay a tree of all that there may be; return how many files, with links, and bytes it has."""
    for number, name in enumerate(ODD):
        lay(top / "odd" / name / "in" / name, os.fsencode(name), mtime=TIME + number)
        lay(top / "odd" / name / "beside")
    deep = top / "deep"
    for depth in range(15):
        deep /= f"d{depth % 3}"
        if depth % 4 == 0:
            lay(deep / "file", bytes(depth))
    deep.mkdir(parents=True)
    for name in ("one", "two/three", "four/five/six"):
        (top / "empty" / name).mkdir(parents=True)
    for name in ("large", "with/large", "with/folder/large"):
        lay(top / name, os.urandom(PLAIN_MAX + 1))
    for mode in (0o400, 0o444, 0o600, 0o755):
        lay(top / "modes" / f"{mode:o}", b"%o" % mode, mode)
    for name in ("read-only", "private"):
        lay(top / name / "file", mode=0o444)
        lay(top / name / "sub" / "file")
        lay(top / name / "sub" / "sub" / "file", b"")
    lay(top / "old", b"", mtime=-1_500_000_000)
    (top / "links" / "to").mkdir(parents=True)
    link(top / "links" / "up", "../old")
    link(top / "links" / "nowhere", "nothing")
    link(top / "links" / "to" / "folder", "../../deep")
    finish_folders(
        top,
        {
            **dict.fromkeys(("read-only", "read-only/sub", "read-only/sub/sub"), 0o555),
            **dict.fromkeys(("private", "private/sub"), 0o700),
            "empty/two": 0o711,
            "empty/four": 0o500,
        },
    )
    found = [each for each in tree_state(top).values() if each[0] != "folder"]
    return len(found), sum(len(each[3]) for each in found if isinstance(each[3], bytes))


def whole_state(top: Path) -> tuple[int, int, Entries]:
    """Return the state of a tree with its own folder's mode and time."""
    status = top.stat()
    return stat.S_IMODE(status.st_mode), status.st_mtime_ns, tree_state(top)


def lay_shares(route: Route, shares: int) -> None:
    """Lay a tree of which each of so many connections has 200 kB or more, in folders of its own."""
    for share in range(shares):
        for name in route.folders_of(share, shares, 2):
            for part in "ab":
                lay(route.source / "tree" / name / part, name.encode() * 50_000)
    finish_folders(route.source / "tree", {})


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for something that comes soon."""
    until = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


# Trees


@both_ways
@pytest.mark.parametrize("jobs", [2, 3, 8])
def test_a_tree_arrives_as_it_is(route: Route, jobs: int) -> None:
    """Bytes, modes, times and links; each file is sent once, and a second run sends nothing."""
    files, size = lay_tree(route.source / "tree")
    expected = whole_state(route.source / "tree")
    first = route.send("tree", jobs=jobs)
    assert (first.code, first.summary) == (0, (files, shown_size(size), 0, 0)), first.text
    assert len(first.lines) == 1
    assert whole_state(route.target / "tree") == expected
    second = route.send("tree", jobs=jobs)
    assert (second.code, second.summary) == (0, (0, "0 B", files, 0)), second.text
    assert whole_state(route.target / "tree") == expected
    assert leftovers(route.target) == []


@both_ways
@pytest.mark.parametrize("jobs", [1, 3])
def test_folders_keep_their_times_when_a_file_in_them_is_replaced(route: Route, jobs: int) -> None:
    """Also folders that several connections fill, and that were the same on both sides."""
    for number in range(8):
        for name in ("file", "sub/file", "sub/sub/file"):
            lay(route.source / "tree" / str(number) / name)
    finish_folders(route.source / "tree", {})
    assert route.send("tree", jobs=jobs).code == 0
    for number in range(8):
        lay(route.source / "tree" / str(number) / "file", b"changed", mtime=TIME + 1)
    done = route.send("tree", jobs=jobs, more=("--overwrite",))
    assert done.summary == (8, "56 B", 16, 0), done.text
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")


@both_ways
def test_a_tree_arrives_where_permission_bits_count(
    way: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Folders that nobody may write to get that mode last, also without root's power."""
    with Service(tmp_path_factory.mktemp("served"), "--workers", "1", **obedient()) as service:
        route = Route(way, service, tmp_path)
        files, size = lay_tree(route.source / "tree")
        expected = whole_state(route.source / "tree")
        for summary in ((files, shown_size(size), 0, 0), (0, "0 B", files, 0)):
            done = Done(fx(*route.words("tree"), **obedient()))
            assert (done.code, done.summary) == (0, summary), done.text
            assert whole_state(route.target / "tree") == expected
        for top in (route.local, route.place):
            open_up(top)


def obedient() -> dict[str, Any]:
    """Return the options of a process in which root has no power to pass over permission bits."""
    if os.geteuid() != 0:
        return {}
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "prctl"):
        pytest.skip("root cannot be made to obey permission bits here")

    def drop() -> None:
        for capability in (1, 2, 3):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP; it counts from the exec on

    return {"preexec_fn": drop}


LANDINGS = [  # sources, destination, exit code
    (("file",), "", 0),
    (("file",), "new", 0),
    (("a", "file"), "", 0),
    (("a", "file", "b"), "new/", 0),
    (("a/",), "", 0),
    (("a/",), "new/deep", 0),
    (("a",), "old/", 0),
    (("a/", "b"), "old", 3),  # another file is there
]


@both_ways
@pytest.mark.parametrize("jobs", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_things_land_where_one_connection_lets_them_land(route: Route, jobs: int) -> None:
    """Files, folders, several, with a slash, into new and filled folders, for few folders too."""
    for name in ("file", "a/file", "a/x/y/file", "a/z/file", "b/one", "b/c/two"):
        lay(route.source / name, name.encode())
    (route.source / "a" / "x" / "empty").mkdir()
    finish_folders(route.source, {"a/x": 0o700})
    for number, (names, to, code) in enumerate(LANDINGS):
        found = []
        for count in (1, jobs):
            top = route.target / f"{number} {count}"
            for name in ("file", "x/file", "a/x/kept", "b/kept"):
                lay(top / "old" / name, b"was there")
            into = f"{top.name}/{to}".replace(" ", "%20") if route.is_up else f"{top.name}/{to}"
            done = route.send(*names, to=into, jobs=count)
            found.append((done.code, done.summary, without_made_folders(top)))
        assert found[0] == found[1], (names, to)
        assert found[0][0] == code


def without_made_folders(top: Path) -> Entries:
    """Return the state of a tree, without the times of folders that have them from today."""
    return {
        name: (kind, mode, mtime if mtime <= TIME else 0, data)
        for name, (kind, mode, mtime, data) in tree_state(top).items()
    }


# Private folders


def frames(data: bytes) -> Iterator[dict[str, Any]]:
    """Yield the headers of what was sent one way, without the bodies."""
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("!I", data, at)
        at += 4
        header: dict[str, Any] = json.loads(data[at : at + size])
        at += size
        yield header
        if header["kind"] == "file" and header.get("hash"):
            at += header["size"]
        elif header["kind"] == "file":
            while part := struct.unpack_from("!I", data, at)[0]:
                at += 4 + (0 if part & HOLE else part)
            at += 4


class Between:
    """Stands between a client and a server.

    Args:
        port: The server's.
        way: In which direction a connection is held.
        limit: After how many bytes; 0 for never.
        only: Hold the connection of this number only.
        most: Connections beyond these are refused.

    Attributes:
        port: For clients.
        carried: What each connection has carried, by direction.
        refused: How many connections were refused.
        left: The numbers of the connections that the client has closed.

    """

    def __init__(
        self, port: int, way: int = UP, limit: int = 0, only: int | None = None, most: int = 64
    ) -> None:
        self._target = ("127.0.0.1", port)
        self._way, self._limit, self._only, self._most = way, limit, only, most
        self.carried: list[tuple[bytearray, bytearray]] = []
        self.refused = 0
        self.left: set[int] = set()
        self._held = 0
        self._changed = threading.Condition()  # guards _held
        self._go_on = threading.Event()
        self._is_closing = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._socks: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def wait_held(self, count: int) -> None:
        """Wait until so many connections are held."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held >= count, SECONDS)

    def go_on(self) -> None:
        """Hold nothing any more."""
        self._go_on.set()

    def close(self) -> None:
        """Cut everything, and wait for the end; what is held gets no further."""
        self._is_closing = True
        self._go_on.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(SECONDS)
        self._listener.close()
        for sock in self._socks:
            shut(sock)
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive()
        for sock in self._socks:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            if len(self.carried) >= self._most:
                self._refuse(near)
                continue
            far = socket.create_connection(self._target, SECONDS)
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.settimeout(None)
            is_held = bool(self._limit) and self._only in (None, len(self.carried))
            self.carried.append((bytearray(), bytearray()))
            self._socks += [near, far]
            for way, pair in ((UP, (near, far)), (DOWN, (far, near))):
                limit = self._limit if is_held and way == self._way else 1 << 60
                words = (*pair, len(self.carried) - 1, way, limit)
                self._threads.append(threading.Thread(target=self._pump, args=words, daemon=True))
                self._threads[-1].start()

    def _refuse(self, sock: socket.socket) -> None:
        self.refused += 1
        peer = Raw(sock)
        if self.refused % 2:  # in the one way or in the other
            assert (peer.reply() or {})["kind"] == "hello"
            peer.frame({"kind": "error", "code": "busy", "text": "busy", "fatal": True})
        peer.close()

    def _pump(
        self, source: socket.socket, target: socket.socket, number: int, way: int, limit: int
    ) -> None:
        carried = self.carried[number][way]
        try:
            while data := source.recv(1 << 14):
                carried += data
                if len(carried) >= limit and not self._go_on.is_set():
                    with self._changed:
                        self._held += 1
                        self._changed.notify_all()
                    self._go_on.wait(SECONDS)
                    if self._is_closing:
                        break
                target.sendall(data)
            if way == UP:
                self.left.add(number)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for sock in (source, target):
                shut(sock)


def shut(sock: socket.socket) -> None:
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has gone already


@contextmanager
def between(port: int, **how: Any) -> Iterator[Between]:
    """Run one between a client and the server at *port*."""
    made = Between(port, **how)
    try:
        yield made
    finally:
        made.close()


def lay_private(top: Path) -> None:
    """Lay a private folder that every connection has something in."""
    for number in range(12):
        lay(top / "tree" / "private" / "open" / str(number) / "file")
        lay(top / "tree" / "private" / str(number) / "file", bytes(number))
    finish_folders(top / "tree", {"private": 0o700})


@both_ways
def test_a_private_folder_is_named_private_before_anything_in_it(route: Route) -> None:
    """On every connection for itself, because any of them may be the first to make it."""
    lay_private(route.source)
    with between(route.port) as link:
        done = route.send("tree", port=link.port)
    assert done.code == 0, done.text
    assert stat.S_IMODE((route.target / "tree" / "private").stat().st_mode) == 0o700
    named = 0
    for carried in link.carried:
        modes: dict[str, int] = {}
        for frame in frames(bytes(carried[UP if route.is_up else DOWN])):
            if frame["kind"] not in ("file", "folder"):
                continue
            name = frame["name"].removeprefix(f"{route.place.name}/")
            if frame["kind"] == "folder":
                modes[name] = frame["mode"]
            if name.startswith("tree/private"):
                assert modes["tree/private"] == 0o700
        named += "tree/private" in modes
    assert named == 3


def test_a_private_folder_is_made_private(
    serve: Callable[..., Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever connection makes it, it has never another mode."""
    made: list[tuple[str, int]] = []
    mkdir = os.mkdir

    def making(path: Any, mode: int = 0o777, **how: Any) -> None:
        mkdir(path, mode, **how)
        made.append((os.fspath(path), mode))

    lay_private(tmp_path)
    served = serve(durability="batch")
    monkeypatch.setattr(os, "mkdir", making)
    for number in range(5):
        done = Done(fx("put", "-j", "3", tmp_path / "tree", f"{served.server.address}{number}/"))
        assert done.code == 0, done.text
    private = [mode for name, mode in made if name == "private"]
    assert private == [0o700] * 5


# Failures of single files


@both_ways
def test_what_fails_in_any_share_is_told_once(route: Route) -> None:
    """Everything else is named once with ``-v``, and the totals are right."""
    expected: dict[tuple[str, str], int] = {}
    above = f"{route.place.name}/" if route.is_up else ""  # the names on the side that receives
    for number in range(9):
        for name in ("sub/file", "file", "taken", "same"):
            lay(route.source / "tree" / str(number) / name, f"{number}{name}".encode())
        lay(route.target / "tree" / str(number) / "taken", b"other", mtime=TIME - 5)
        lay(route.target / "tree" / str(number) / "same", f"{number}same".encode())
        link(route.source / "tree" / str(number) / "out", "../../../out")
        for name in ("sub/file", "file"):
            expected["stored", f"{above}tree/{number}/{name}"] = 1
        expected["identical", f"{above}tree/{number}/same"] = 1
    finish_folders(route.source / "tree", {})
    done = route.send("tree", jobs=4, more=("-v",))
    size = sum(len(f"{number}{name}") for number in range(9) for name in ("sub/file", "file"))
    assert (done.code, done.summary) == (3, (18, f"{size} B", 9, 9)), done.text
    assert done.named == Counter(expected)
    for number in range(9):
        assert done.text.count(f"tree/{number}/taken: exists and differs\n") == 1
        assert done.text.count(f"tree/{number}/out: is a link that leads out") == 1
        assert (route.target / "tree" / str(number) / "taken").read_bytes() == b"other"
    assert len(done.lines) == 27 + 9 + 9 + 1


@both_ways
def test_a_folder_that_no_share_can_read_is_told_once(
    way: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each walk meets it."""
    with Service(tmp_path_factory.mktemp("served"), "--workers", "1", **obedient()) as service:
        route = Route(way, service, tmp_path)
        lay(route.source / "tree" / "shut" / "file")
        lay(route.source / "tree" / "shut" / "sub" / "file")
        lay(route.source / "tree" / "a" / "file")
        os.chmod(route.source / "tree" / "shut", 0o000)
        done = Done(fx(*route.words("tree"), **obedient()))
        open_up(route.source)
        open_up(route.target)
    assert (done.code, done.summary) == (3, (1, "4 B", 0, 1)), done.text
    assert done.text.count("tree/shut: permission denied\n") == 1
    assert len(done.lines) == 2


# Fewer connections, or processes


@both_ways
def test_a_busy_server_gets_everything_by_the_first_connection(route: Route) -> None:
    """It does the shares of those that were refused too."""
    files, size = lay_tree(route.source / "tree")
    with between(route.port, most=1) as link:
        done = route.send("tree", jobs=4, port=link.port, more=("-v",))
    assert link.refused == 3
    assert (done.code, done.summary) == (0, (files, shown_size(size), 0, 0)), done.text
    assert set(done.named.values()) == {1}
    assert sum(done.named.values()) == files
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")


def drive(code: str, words: list[object]) -> list[str]:
    """Return what runs a command in a process in which *code* ran before."""
    script = f"import os, signal\n{code}\nfrom filexfer.cli import console\nconsole()"
    return [sys.executable, "-c", script, *map(str, words)]


FORK_ONCE = """
fork, calls = os.fork, []
def fork_once():
    calls.append(1)
    if len(calls) > 1:
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()
os.fork = fork_once
"""
NOBODY_WAITS = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"


@both_ways
@pytest.mark.parametrize("code", [FORK_ONCE, NOBODY_WAITS], ids=["one process", "ignored ends"])
def test_a_system_that_lets_us_have_less_gets_it_done(route: Route, code: str) -> None:
    """No more processes than one; and a process whose children leave no exit codes."""
    files, size = lay_tree(route.source / "tree")
    result = subprocess.run(
        drive(code, route.words("tree", jobs=4)),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    done = Done(result)
    assert (done.code, done.summary) == (0, (files, shown_size(size), 0, 0)), done.text
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")


@both_ways
def test_the_others_go_on_while_the_first_waits(route: Route) -> None:
    """What they report is taken and told meanwhile, however much it is."""
    (mine,) = route.folders_of(0, 2, 1)
    (other,) = route.folders_of(1, 2, 1)
    lay(route.source / "tree" / mine / "file", bytes(PLAIN_MAX))
    for number in range(400):
        lay(route.source / "tree" / other / f"{number:0250}", b"")
    way = UP if route.is_up else DOWN
    with (
        between(route.port, way=way, limit=600, only=0) as link,
        running(*route.words("tree", jobs=2, port=link.port), "-v") as process,
    ):
        link.wait_held(1)
        assert process.stderr
        told = [process.stderr.readline() for _ in range(400)]
        link.go_on()
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert {line.split(b"/")[-2].decode() for line in told} == {other}


# Processes that die


def held_in_the_middle(link: Between, process: subprocess.Popen[bytes], jobs: int) -> set[int]:
    """Wait until every connection is in the middle of its share; return the further processes."""
    link.wait_held(jobs)
    found = children(process.pid)
    assert len(found) == jobs - 1
    return found


@contextmanager
def stopped_in_the_middle(
    route: Route, *more: object, **options: Any
) -> Iterator[tuple[Between, subprocess.Popen[bytes], set[int]]]:
    """Run a transfer with three connections up to the middle."""
    lay_shares(route, 3)
    way = UP if route.is_up else DOWN
    with (
        between(route.port, way=way, limit=120_000) as link,
        running(*route.words("tree", port=link.port), *more, **options) as process,
    ):
        yield link, process, held_in_the_middle(link, process, 3)


def files_of(top: Path) -> dict[str, bytes | str | None]:
    return {name: data for name, (kind, _, _, data) in tree_state(top).items() if kind == "file"}


@both_ways
@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_process_is_made_up_for(route: Route, count: int) -> None:
    """The command tries again, and everything arrives."""
    with stopped_in_the_middle(route) as (link, process, pids):
        kill(set(sorted(pids)[:count]))
        link.go_on()
        _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")
    again = route.send("tree")
    assert again.summary == (0, "0 B", len(files_of(route.source)), 0), again.text


@both_ways
def test_a_killed_process_is_a_lost_connection_at_the_last_try(route: Route) -> None:
    """It is noticed though the other connections stand still, and never taken for success."""
    with stopped_in_the_middle(route, "--retries", "0") as (_, process, pids):
        kill({min(pids)})
        _, said = process.communicate(timeout=SOON)
    assert process.returncode == 6
    assert said == b"filexfer: error: a process of this command was ended from without\n"


@both_ways
def test_processes_end_with_the_first(route: Route) -> None:
    """When it is killed they end by themselves, though their connections stand still."""
    with stopped_in_the_middle(route) as (_, process, _):
        process.kill()
        process.communicate(timeout=SOON)  # at its end no process holds the pipe any more
    if route.is_up:
        wait_until(lambda: leftovers(route.target) == [])  # the server's, when it sees the end
    done = route.send("tree")
    assert done.code == 0, done.text
    assert leftovers(route.target) == []
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")


@pytest.mark.parametrize("way", ["down"])
def test_no_process_holds_what_is_another_ones(route: Route) -> None:
    """The end of one is noticed by the server and by the others, though a third is stopped."""
    with stopped_in_the_middle(route) as (link, process, pids):
        stopped = max(pids)  # the younger, which could have inherited something of the older
        send(stopped, signal.SIGSTOP)
        try:
            process.kill()
            process.wait(SECONDS)
            wait_until(lambda: len(link.left) == 2)
            assert 0 in link.left
        finally:
            send(stopped, signal.SIGCONT)
        process.communicate(timeout=SOON)


# Signals


@both_ways
@pytest.mark.parametrize(("number", "code", "message"), INTERRUPTS)
@pytest.mark.parametrize("to", ["the first", "the group"])
def test_a_signal_ends_all_processes(
    route: Route, number: int, code: int, message: str, to: str
) -> None:
    """None is left, nor any temporary file; what had come whole is there."""
    with stopped_in_the_middle(route, start_new_session=True) as (_, process, _):
        if to == "the group":
            os.killpg(process.pid, number)
        else:
            send(process.pid, number)
        _, said = process.communicate(timeout=SOON)
        assert process.returncode == code
        summary, last = said.decode().splitlines()
        assert last == message
        done = int(summary.partition(" files done, ")[0])
        assert route.is_up or leftovers(route.target) == []
        assert route.is_up or done == len(files_of(route.target))
    wait_until(lambda: leftovers(route.target) == [])  # the server's, when it sees the end
    expected = files_of(route.source)
    found = files_of(route.target)
    assert found
    assert found.items() < expected.items()
    again = route.send("tree")
    assert again.code == 0, again.text
    assert whole_state(route.target / "tree") == whole_state(route.source / "tree")


SIGNAL_AT_FORK = """
fork = os.fork
def fork_and_be_interrupted():
    pid = fork()
    if pid:
        os.kill(os.getpid(), signal.SIGINT)
    return pid
os.fork = fork_and_be_interrupted
"""


@both_ways
def test_a_signal_while_processes_start_ends_all(route: Route) -> None:
    """Those that run already end too."""
    lay_shares(route, 3)
    way = UP if route.is_up else DOWN
    with between(route.port, way=way, limit=600) as link:
        result = subprocess.run(
            drive(SIGNAL_AT_FORK, route.words("tree", port=link.port)),
            env=environment(),
            capture_output=True,
            timeout=SOON,
            check=False,
        )
    summary, last = result.stderr.decode().splitlines()
    assert (result.returncode, last) == (130, "filexfer: interrupted")
    assert summary.startswith("0 files done, ")
    if not route.is_up:
        assert leftovers(route.target) == []


# Servers that say what no honest one would


@pytest.mark.parametrize("liar", [None, 0, 1], ids=["one", "first of two", "second of two"])
@pytest.mark.parametrize("name", ["elsewhere", "treehouse/file"])
def test_a_server_that_lies_to_any_of_them_is_found_out(
    liar: int | None, name: str, tmp_path: Path
) -> None:
    """A name that was not asked for ends the command, though the other connection stands still."""

    stands_still = threading.Event()

    def lie(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"tree": ["folder", 0, 1, 0o755, ""]})
        assert liar is None or stands_still.wait(SECONDS)
        peer.frame({"kind": "file", "name": name, "size": 4, "hash": MD5_OF_DATA})
        peer.send(b"data")
        peer.replies("")

    def stand_still(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"tree": ["folder", 0, 1, 0o755, ""]})
        stands_still.set()
        peer.replies("")

    scripts = [lie] if liar is None else [lie if each == liar else stand_still for each in (0, 1)]
    with scripted(*scripts) as address:
        result = fx("get", "-j", len(scripts), address + "tree", tmp_path / "in/", timeout=SOON)
    assert result.returncode == 5
    assert result.stderr.startswith("filexfer: error: ")
    assert result.stderr.count("\n") == 1
    assert tree_state(tmp_path / "in") == {}


# Idle connections


class Idle:
    """A server whose second connection ends when the first was told that the client lives."""

    def __init__(self) -> None:
        self._alive = threading.Event()

    def first(self, peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"tree": ["folder", 0, 1, 0o755, ""]})
        peer.frame({"kind": "end"})
        while not self._alive.is_set():
            (size,) = struct.unpack("!I", peer.read(4))
            if json.loads(peer.read(size))["kind"] == "alive":
                self._alive.set()
        peer.replies("")

    def second(self, peer: Raw) -> None:
        welcome(peer)
        take_get(peer)
        assert self._alive.wait(SECONDS)
        peer.frame({"kind": "end"})
        peer.replies("")


IMPATIENT = """
from filexfer.shared import parallel; from filexfer.wire import protocol
protocol.ALIVE_EVERY = parallel._LOOK_EVERY = 0.02
"""


def test_the_first_connection_is_kept_alive_while_other_processes_work(tmp_path: Path) -> None:
    """A server cuts connections on which nothing moves, and this one is needed at the end."""
    idle = Idle()
    with scripted(idle.first, idle.second) as address:
        result = subprocess.run(
            drive(IMPATIENT, ["get", "-j", "2", address + "tree", tmp_path]),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert result.returncode == 0, result.stderr


def test_the_first_connection_is_kept_alive_while_other_threads_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "ALIVE_EVERY", 0.02)
    monkeypatch.setattr(parallel, "_LOOK_EVERY", 0.02)
    idle = Idle()
    with scripted(idle.first, idle.second) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with Client("127.0.0.1", port) as client:
            report = client.get(["tree"], tmp_path, Options(jobs=2))
    assert report.failed == 0
