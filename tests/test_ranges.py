"""Large files that move in pieces over several connections, up and down."""

from __future__ import annotations

import errno
import os
import random
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, framed, leftovers, tree_state
from test_retry import DOWN, UP, Proxy
from test_transfer import SECOND, TIME, Route, counts, failures, lay

from filexfer import Client, Report
from filexfer.errors import Code
from filexfer.hashing import digest_of
from filexfer.shared import jobs, pieces, ranges
from filexfer.shared import upload as shared_upload
from filexfer.storage import reservations, staging
from filexfer.storage.assembly import Assembly
from filexfer.storage.room import Bounds
from filexfer.wire.ranged import RANGE_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer import Server

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("no_leftovers", "small")

LEAST, PIECE = 64 << 10, 16 << 10
DATA = random.Random(2).randbytes(LEAST + 5 * PIECE + 77)
OTHER = random.Random(3).randbytes(len(DATA))
MARK = 0xF7  # is in no header that is sent here
MARKED = bytes(LEAST) + bytes([MARK]) + bytes(2 * PIECE)
digest = digest_of("xxh3_128")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be large soon, and pieces be small."""
    monkeypatch.setattr(pieces, "LEAST", LEAST)
    monkeypatch.setattr(pieces, "PIECE_MOST", PIECE)
    monkeypatch.setattr(pieces, "PIECE_LEAST", PIECE // 4)


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Route:
    return Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the size of each piece that is taken in."""
    sizes: list[int] = []
    take = pieces.take

    def spy(connection: Any, size: int, *rest: Any) -> None:
        sizes.append(size)
        take(connection, size, *rest)

    monkeypatch.setattr(pieces, "take", spy)
    return sizes


def send(route: Route, *names: str, to: str = "", **how: Any) -> Report:
    return route.send(*names, to=to, **{"jobs": 3, "pieces": True, **how})


def lay_tree(top: Path) -> int:
    """Lay large files among others; return how many files there are."""
    lay(top / "large", DATA, TIME, 0o640)
    lay(top / "d" / "read-only", OTHER, TIME + 1, 0o444)
    lay(top / "d" / "small", b"small")
    lay(top / "d" / "e" / "exact", DATA[:LEAST])
    lay(top / "d" / "e" / "below", DATA[: LEAST - 1])
    lay(top / "f" / "alone", OTHER * 2, TIME, 0o400)
    lay(top / "f" / "sparse")
    os.truncate(top / "f" / "sparse", 10 * LEAST)
    (top / "g").mkdir()
    for number, folder in enumerate(("d/e", "d", "f", "g", "")):
        os.utime(top / folder, ns=(TIME, TIME + number * SECOND))
    os.chmod(top / "f", 0o500)
    return 7


# What arrives


def test_one_file(route: Route, taken: list[int]) -> None:
    """It arrives as it is, in pieces; again, nothing is sent."""
    lay(route.source / "large", DATA, TIME, 0o640)
    report = send(route, "large", to="as")
    assert counts(report) == {"files": 1, "bytes": len(DATA)}
    assert report.moved == len(DATA)
    assert tree_state(route.target)["as"] == ("file", 0o640, TIME, DATA)
    assert sum(taken) == len(DATA)
    assert len(taken) > 8
    assert counts(send(route, "large", to="as")) == {"skipped": 1, "skipped_bytes": len(DATA)}
    assert sum(taken) == len(DATA)


@pytest.mark.parametrize("jobs", [2, 3, 7])
@pytest.mark.parametrize("durability", ["none", "batch"])
@pytest.mark.parametrize("little", [0, 50])
def test_a_tree(
    route: Route,
    taken: list[int],
    monkeypatch: pytest.MonkeyPatch,
    jobs: int,
    durability: str,
    little: int,
) -> None:
    """Large files and small ones arrive as they are, with their folders; and once."""
    monkeypatch.setattr(shared_upload, "LITTLE_COUNT", little)
    count = lay_tree(route.source / "tree")
    report = send(route, "tree", jobs=jobs, durability=durability)
    assert failures(report) == {}
    assert report.files == count
    assert tree_state(route.target) == tree_state(route.source)
    assert sum(taken) == len(DATA) + 3 * len(OTHER) + LEAST
    again = send(route, "tree", jobs=jobs)
    assert counts(again) == {"skipped": count, "skipped_bytes": report.bytes}
    assert tree_state(route.target) == tree_state(route.source)


def test_what_everything_goes_into_stays_as_it_was(route: Route) -> None:
    """Mode and time of the folder whose contents move are not those of the one they go into."""
    lay(route.source / "tree" / "large", DATA)
    lay(route.source / "tree" / "d" / "large", OTHER)
    os.chmod(route.source / "tree", 0o700)
    os.utime(route.source / "tree", ns=(TIME, TIME))
    os.chmod(route.target, 0o751)
    report = send(route, "tree/", if_exists="overwrite")
    assert (report.files, report.failed) == (2, 0)
    if route.is_up:
        assert route.target.stat().st_mode & 0o777 == 0o751
        assert route.target.stat().st_mtime_ns != TIME


@pytest.mark.parametrize("how", [{"jobs": 1}, {"pieces": False}, {"pieces": None}])
def test_where_it_is_not_worth_it(route: Route, taken: list[int], how: Any) -> None:
    """Over one connection, or where the round trip is short, everything goes as usual."""
    lay(route.source / "large", DATA)
    assert counts(send(route, "large", **how)) == {"files": 1, "bytes": len(DATA)}
    assert taken == []


def test_a_long_link(route: Route, taken: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel measured decides."""
    monkeypatch.setattr(jobs, "LONG", 1e-9)
    lay(route.source / "large", DATA)
    assert counts(send(route, "large", pieces=None)) == {"files": 1, "bytes": len(DATA)}
    assert sum(taken) == len(DATA)


@pytest.mark.parametrize("algorithm", ["xxh3_128", "sha256", "md5"])
def test_every_hash(route: Route, algorithm: str) -> None:
    lay(route.source / "large", DATA)
    assert counts(send(route, "large", algorithm=algorithm)) == {"files": 1, "bytes": len(DATA)}


@pytest.mark.parametrize("if_exists", ["error", "overwrite", "update", "skip", "keep-both"])
@pytest.mark.parametrize("there", [DATA, OTHER, OTHER[:-1], b"small", b""])
@pytest.mark.parametrize("age", [-SECOND, 0, SECOND])
def test_files_that_exist(route: Route, if_exists: str, there: bytes, age: int) -> None:
    """What becomes of them is what would without pieces."""
    lay(route.source / "d" / "large", DATA)
    lay(route.source / "d" / "new", OTHER * 2)
    lay(route.target / "one" / "d" / "large", there, TIME + age)
    lay(route.target / "two" / "d" / "large", there, TIME + age)
    usual = send(route, "d", to="one/", if_exists=if_exists, pieces=False)
    report = send(route, "d", to="two/", if_exists=if_exists)
    assert counts(report) == counts(usual)
    assert list(failures(report).values()) == list(failures(usual).values())
    found = {name: each for name, each in tree_state(route.target).items() if "/d/" in name}
    one, two = ({n[4:]: e for n, e in found.items() if n.startswith(w)} for w in ("one/", "two/"))
    assert one == two
    direct = send(route, "d/large", "d/new", to="two/d/", if_exists=if_exists)
    assert direct.failed == usual.failed
    assert {n[4:]: e for n, e in tree_state(route.target).items() if n.startswith("two/d/")} == one


# What goes wrong


class Flipper:
    """Stands between a client and a server, and damages a file's one marked byte."""

    def __init__(self, port: int, times: int) -> None:
        self.flipped = 0
        self._times = times
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()  # guards flipped
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        for thread in self._threads[1:]:
            thread.join(SECONDS)
        for sock in self._open:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(self._target, SECONDS)
            self._open += [near, far]
            for one, other in ((near, far), (far, near)):
                thread = threading.Thread(target=self._pump, args=(one, other), daemon=True)
                thread.start()
                self._threads.append(thread)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := bytearray(one.recv(1 << 16)):
                with self._lock:
                    while (at := data.find(MARK)) >= 0 and self.flipped < self._times:
                        data[at] ^= 1
                        self.flipped += 1
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # one side has gone


@pytest.mark.parametrize("times", [1, 2, 3, 99])
def test_a_damaged_piece(route: Route, taken: list[int], times: int) -> None:
    """It is sent again, it alone; but not for ever."""
    lay(route.source / "large", MARKED)
    flipper = Flipper(route.served.server.port, times)
    route.client = Client("127.0.0.1", flipper.port, timeout=SECONDS)
    report = send(route, "large")
    route.client.close()
    flipper.close()
    if times < 3:
        assert counts(report) == {"files": 1, "bytes": len(MARKED)}
        assert tree_state(route.target)["large"][3] == MARKED
        assert len(MARKED) < sum(taken) <= len(MARKED) + times * PIECE
    else:
        assert list(failures(report).values()) == [Code.HASH_MISMATCH]
        assert flipper.flipped == 3
        assert os.listdir(route.target) == []


def test_a_damaged_whole(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is damaged where no piece shows it is not published; the other files are."""
    lay(route.source / "a", DATA)
    lay(route.source / "b", OTHER)
    seal = Assembly.seal

    def damaging(self: Assembly, tick: Any) -> None:
        if self.entry.name == "a":
            os.pwrite(self._draft.fd, b"!", 5)
        seal(self, tick)

    monkeypatch.setattr(Assembly, "seal", damaging)
    report = send(route, "a", "b")
    assert list(failures(report).values()) == [Code.HASH_MISMATCH]
    assert list(tree_state(route.target)) == ["b"]


def shrink(path: Path) -> None:
    os.truncate(path, LEAST)


def grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(TIME, TIME + 5))


def replace(path: Path) -> None:
    lay(path.with_name("other"), OTHER[:-1])
    os.rename(path.with_name("other"), path)


def remove(path: Path) -> None:
    os.unlink(path)


@pytest.mark.case("D9", "D10", "D11", "D12")
@pytest.mark.parametrize("change", [shrink, grow, rewrite, replace])
@pytest.mark.parametrize("when", ["when it is begun", "in the middle"])
def test_a_file_that_changes(
    route: Route, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], when: str
) -> None:
    """It fails as that, and the others arrive."""
    lay(route.source / "a", DATA)
    lay(route.source / "b", OTHER)
    done = threading.Lock()

    def once() -> None:
        if done.acquire(blocking=False):
            change(route.source / "a")

    if when == "in the middle":
        give, count = pieces.give, iter(range(1000))

        def give_and_change(*how: Any) -> None:
            give(*how)
            if next(count) == 4:
                once()

        monkeypatch.setattr(pieces, "give", give_and_change)
    else:
        cut = pieces.cut

        def change_and_cut(*how: int) -> Iterator[tuple[int, int]]:
            once()
            return cut(*how)

        monkeypatch.setattr(pieces, "cut", change_and_cut)
    report = send(route, "a", "b")
    if report.files == 1:
        assert set(failures(report).values()) <= {Code.CHANGED, Code.HASH_MISMATCH}
        assert list(tree_state(route.target)) == ["b"]
    else:  # it was replaced when all had it open
        assert change is replace
        assert tree_state(route.target)["a"][3] == DATA


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_no_more(
    route: Route, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """That file fails, and nothing of it is left; the next may do better."""
    lay(route.source / "a", DATA)
    lay(route.source / "b", OTHER)
    pwrite, count = os.pwrite, iter(range(1000))

    def failing(*how: Any) -> int:
        if next(count) == 3:
            raise OSError(number, os.strerror(number))
        return pwrite(*how)

    monkeypatch.setattr(os, "pwrite", failing)
    report = send(route, "a", "b")
    code = Code.IO_ERROR if number == errno.EIO else Code.NO_SPACE
    assert list(failures(report).values()) == [code]
    assert list(tree_state(route.target)) == ["b"]


def test_no_space_from_the_start(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot fit is not begun."""
    monkeypatch.setattr(staging, "LARGE", 1)
    monkeypatch.setattr(reservations, "free_bytes", lambda _: len(OTHER))
    monkeypatch.setattr(Bounds, "kept", lambda *_: 0)
    lay(route.source / "a", DATA * 2)
    lay(route.source / "b", OTHER)
    report = send(route, "a", "b")
    assert list(failures(report).values()) == [Code.NO_SPACE]
    assert list(tree_state(route.target)) == ["b"]
    assert route.served.server.folder.reservations.total() == 0


@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("how", ["reset", pytest.param("finish", marks=pytest.mark.slow)])
def test_lost_connections(
    route: Route, monkeypatch: pytest.MonkeyPatch, way: int, how: str
) -> None:
    """Whichever breaks, at whatever byte, the command is tried again and everything arrives."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    lay_tree(route.source / "tree")
    proxy = Proxy(route.served.server.port)
    total = 0
    for count in (0, 100, 1000, 30_000, 100_000, 200_000, 400_000, 500_000, 600_000):
        with Client("127.0.0.1", proxy.port, timeout=SECONDS) as client:
            client.stat("")
            route.client = client
            if count:
                proxy.arm(way, count, how)
            report = send(route, "tree", to=f"{count}/", retries=9)
            total += proxy.disarm()
        route.served.wait()
        assert failures(report) == {}
        assert report.files == 7
        # A folder's mode and time come last, also on a second try.
        assert tree_state(route.target / f"{count}") == tree_state(route.source), count
        assert leftovers(route.target) == []
    proxy.close()


# Hostile clients


class Guest:
    """A scripted client, and what it may say."""

    def __init__(self, peer: Raw) -> None:
        self.peer = peer
        peer.greet()

    def ask(self, kind: str, body: bytes = b"", **members: Any) -> dict[str, Any]:
        self.peer.send(framed({"kind": kind, **members}) + body)
        reply = self.peer.reply()
        assert reply
        return reply

    def begin(self, name: str = "a", size: int = 10, **members: Any) -> str:
        reply = self.ask("begin", name=name, size=size, **members)
        assert reply["kind"] == "begun"
        return str(reply["id"])

    def range(self, id_: str, offset: int, data: bytes, **members: Any) -> str:
        """Send a piece; return the code of its failure."""
        said = {"name": "a", "id": id_, "offset": offset, "size": len(data), "hash": digest(data)}
        reply = self.ask("range", data, **{**said, **members})
        assert reply.get("fatal") in (None, False)
        return str(reply.get("code", ""))

    def finish(self, id_: str, data: bytes) -> str:
        reply = self.ask("finish", id=id_, hash=digest(data))
        return str(reply.get("code", "") or reply["result"])


@pytest.fixture
def guest(served: Served, raw: Callable[[Server], Raw]) -> Iterator[Callable[[], Guest]]:
    yield lambda: Guest(raw(served.server))
    assert served.server.folder.reservations.total() == 0


TEN = b"0123456789"


def test_pieces_in_any_order(guest: Callable[[], Guest], served: Served) -> None:
    """On any connection, and twice; but only the one that began it may finish it, and once."""
    one, other = guest(), guest()
    it = one.begin(mtime=TIME, mode=0o640)
    assert other.range(it, 7, b"789") == ""
    assert other.range(it, 0, b"xxxx") == ""
    assert one.range(it, 0, b"01234567") == ""
    assert one.range(it, 3, b"!", hash=digest(b"?")) == Code.HASH_MISMATCH
    assert other.finish(it, TEN) == Code.NOT_FOUND
    assert (served.folder / f".fx-{it}.part").stat().st_mode & 0o777 == 0o600
    assert one.finish(it, TEN) == "stored"
    assert tree_state(served.folder) == {"a": ("file", 0o640, TIME, TEN)}
    assert one.finish(it, TEN) == Code.NOT_FOUND
    assert one.range(it, 0, b"evil") == Code.NOT_FOUND
    assert other.range(it, 0, b"evil") == Code.NOT_FOUND
    assert tree_state(served.folder)["a"][3] == TEN


def test_a_file_that_is_not_whole(guest: Callable[[], Guest], served: Served) -> None:
    """What is missing shows in the digest of the whole, and all is discarded."""
    one = guest()
    it = one.begin()
    assert one.range(it, 0, TEN[:5]) == ""
    assert one.finish(it, TEN) == Code.HASH_MISMATCH
    assert os.listdir(served.folder) == []
    it = one.begin()
    assert one.ask("abandon", id=it) == {"kind": "ok"}
    assert one.ask("abandon", id=it) == {"kind": "ok"}
    assert os.listdir(served.folder) == []
    assert one.range(it, 0, TEN) == Code.NOT_FOUND


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_a_client_that_goes(guest: Callable[[], Guest], served: Served, ending: str) -> None:
    """What it has begun goes with it."""
    one = guest()
    one.range(one.begin(), 0, TEN)
    getattr(one.peer, ending)()
    served.wait()
    assert os.listdir(served.folder) == []


@pytest.mark.parametrize(("offset", "size"), [(10, 1), (9, 2), (0, 11), (2**63 - 1, 1), (11, 1)])
def test_pieces_outside(guest: Callable[[], Guest], served: Served, offset: int, size: int) -> None:
    """Nothing is written beyond the size that was announced."""
    one = guest()
    it = one.begin()
    assert one.range(it, offset, bytes(size)) == Code.NOT_FOUND
    assert (served.folder / f".fx-{it}.part").stat().st_size == 10
    assert one.range(it, 0, TEN) == ""
    assert one.finish(it, TEN) == "stored"


@pytest.mark.parametrize("size", [0, RANGE_MAX + 1, 2**63 - 1])
@pytest.mark.parametrize("kind", ["range", "slice"])
def test_sizes_that_are_not_allowed(
    guest: Callable[[], Guest], served: Served, size: int, kind: str
) -> None:
    one = guest()
    said: dict[str, Any] = {
        "name": "a",
        "id": "x",
        "offset": 0,
        "size": size,
        "total": size,
        "mtime": 0,
    }
    reply = one.ask(kind, **{**said, "hash": digest(b"") if kind == "range" else "md5"})
    assert (reply["code"], reply.get("fatal", True)) == (Code.BAD_HEADER, True)


def test_ids_that_are_none(guest: Callable[[], Guest], served: Served, tmp_path: Path) -> None:
    """Only what was begun can be written to, by its id, under its name's folder."""
    folder = served.folder
    lay(folder / "victim", TEN)
    lay(folder / ".fx-part", TEN)
    lay(tmp_path / "outside", TEN)
    (folder / "d").mkdir()
    link, hard, directory = ("1" * 32, "2" * 32, "3" * 32)
    (folder / f".fx-{link}.part").symlink_to(tmp_path / "outside")
    lay(folder / "twin", TEN)
    os.link(folder / "twin", folder / f".fx-{hard}.part")
    (folder / f".fx-{directory}.part").mkdir()
    os.mkfifo(folder / f".fx-{'4' * 32}.part")
    before = tree_state(tmp_path)
    one = guest()
    it = one.begin(name="d/a")
    for bad in (
        *("", "victim", "../outside", f".fx-{it}.part", "/../../outside", "..", "part", "\0"),
        *(link, hard, directory, "4" * 32, "0" * 32, it.upper() + " ", it + "\n", it, f"../{it}"),
        f"{it}.part/../../victim\0",
    ):
        assert one.range(bad, 0, b"evil") == Code.NOT_FOUND, bad
    for name in ("d/b/a", "victim/a", "none/a"):
        assert one.range(it, 0, b"evil", name=name) == Code.NOT_FOUND, name
    assert one.range(it, 0, b"fine", name="d/other") == ""  # the same file: the id says which
    assert one.ask("abandon", id=it) == {"kind": "ok"}
    after = tree_state(tmp_path)
    assert {n: e[3] for n, e in after.items()} == {n: e[3] for n, e in before.items()}
    for name in (link, hard):
        os.unlink(folder / f".fx-{name}.part")
    os.rmdir(folder / f".fx-{directory}.part")
    os.unlink(folder / f".fx-{'4' * 32}.part")
    os.unlink(folder / ".fx-part")


def test_pieces_that_came_are_not_promised_space_any_more(
    guest: Callable[[], Guest], served: Served
) -> None:
    """They have it; else a file that is half there would count one and a half times."""
    one = guest()
    ledger = served.server.folder.reservations
    it = one.begin(size=16 << 20)
    assert ledger.total() == 16 << 20
    for number in range(4):
        assert one.range(it, number << 20, os.urandom(1 << 20)) == ""
    assert 11 << 20 <= ledger.total() <= 12 << 20
    assert one.ask("abandon", id=it) == {"kind": "ok"}
    assert ledger.total() == 0


def test_too_many_at_once(guest: Callable[[], Guest], served: Served) -> None:
    one = guest()
    for _ in range(ranges.OPEN_MAX):
        one.begin()
    assert one.ask("begin", name="a", size=10)["code"] == Code.BUSY
    one.peer.finish()
    served.wait()
    assert os.listdir(served.folder) == []


def test_what_is_there(guest: Callable[[], Guest], served: Served) -> None:
    """The policy decides at the beginning, and again at the end."""
    lay(served.folder / "a", TEN)
    one = guest()
    assert (
        one.ask("begin", name="a", size=10, mtime=TIME)
        == {
            "kind": "begun",
            "id": "",
            "result": "identical",
        }
        or one.ask("begin", name="a", size=10, mtime=TIME)["result"] == "identical"
    )
    assert one.ask("begin", name="a", size=9)["code"] == Code.EXISTS
    assert one.ask("begin", name="a", size=9, if_exists="skip")["result"] == "skipped"
    assert one.ask("begin", name="a", size=9, if_exists="overwrite")["code"] == Code.DENIED
    it = one.begin(name="b")
    lay(served.folder / "b", b"other")
    one.range(it, 0, TEN, name="b")
    assert one.finish(it, TEN) == Code.EXISTS
    assert (served.folder / "b").read_bytes() == b"other"
    assert leftovers(served.folder) == []


def test_without_the_right_to_create(serve: Serve, raw: Callable[[Server], Raw]) -> None:
    served = serve(read_only=True)
    lay(served.folder / "a", TEN)
    one = Guest(raw(served.server))
    refused: list[tuple[str, dict[str, Any]]] = [
        ("begin", {"name": "b", "size": 10}),
        ("finish", {"id": "x", "hash": digest(TEN)}),
        ("abandon", {"id": "x"}),
    ]
    for kind, members in refused:
        reply = one.ask(kind, **members)
        assert (reply["code"], reply["fatal"]) == (Code.DENIED, False)
    assert one.ask("digest", name="a", total=10, mtime=TIME)["hash"] == digest(TEN)
    reply = one.ask("range", TEN, name="b", id="x", offset=0, size=10, hash=digest(TEN))
    assert (reply["code"], reply.get("fatal", True)) == (Code.DENIED, True)


# Slices


def test_slices(guest: Callable[[], Guest], served: Served) -> None:
    lay(served.folder / "a", TEN)
    one = guest()
    whole: dict[str, Any] = {"name": "a", "total": 10, "mtime": TIME}
    assert one.ask("slice", offset=3, size=4, **whole) == {
        "kind": "hashed",
        "hash": digest(b"3456"),
    }
    assert one.peer.read(4) == b"3456"
    assert one.ask("digest", **whole)["hash"] == digest(TEN)
    wrongs: list[dict[str, Any]] = [{"total": 11}, {"total": 9}, {"mtime": TIME + 1}]
    for wrong in wrongs:
        assert one.ask("slice", offset=0, size=1, **{**whole, **wrong})["code"] == Code.CHANGED
        assert one.ask("digest", **{**whole, **wrong})["code"] == Code.CHANGED
    assert one.ask("slice", offset=0, size=1, **{**whole, "name": "b"})["code"] == Code.NOT_FOUND
    (served.folder / "link").symlink_to("a")
    (served.folder / "d").mkdir()
    for name in ("link", "d"):
        reply = one.ask("slice", offset=0, size=1, **{**whole, "name": name})
        assert reply["code"] == Code.NOT_REGULAR, name
    grow(served.folder / "a")
    assert one.ask("slice", offset=0, size=1, **whole)["code"] == Code.CHANGED
    reply = one.ask("slice", offset=9, size=2, **whole)
    assert (reply["code"], reply.get("fatal", True)) == (Code.BAD_HEADER, True)
