"""Faults of the network, at every byte where they may matter, in both directions.

An honest exchange is recorded first and its frames are parsed; so each fault happens at a byte
that was chosen: in a length, in a header, in a body, before a confirmation, inside it. After each,
names hold whole verified files only, what was confirmed is there, nothing temporary is left, and
the same command again ends with exactly the right tree.
"""

from __future__ import annotations

import copy
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from chaos import DOWN, UP, Chaos, Fault, frames, marks
from conftest import SECONDS, Raw, Served, leftovers, tree_state
from test_cli_process import fx

from filexfer import Client, FileResult, FilexferError, NetworkError, Options, Report
from filexfer.errors import Code, TimedOut
from filexfer.serving.limits import Limits
from filexfer.shared import pieces
from filexfer.wire import connection
from filexfer.wire.protocol import PLAIN_MAX

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from filexfer import Server

    Serve = Callable[..., Served]
    Contexts = tuple[ssl.SSLContext, ssl.SSLContext]

pytestmark = pytest.mark.usefixtures("no_leftovers")

TIME = 1_700_000_000_123_456_789
SMALL = {"a": b"small", "empty": b"", "d/b": b"another " * 40, "d/e/c": b"deep"}
LARGE = {"large": bytes(range(256)) * (PLAIN_MAX // 256 + 40), "after": b"after"}


def lay(top: Path, files: dict[str, bytes]) -> None:
    """Lay a tree of files that are all of one time, as are its folders."""
    for name, data in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, ns=(TIME, TIME))
    for folder, _, _ in os.walk(top, topdown=False):
        os.utime(folder, ns=(TIME, TIME))


class Outcome:
    """What a command told of itself.

    Attributes:
        report: As it was in the end.
        error: What was raised, if anything.
        stored: The files that were reported as stored.

    """

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}
        self.report = Report(on_file=self._note)
        self.error: FilexferError | None = None

    def _note(self, file: FileResult) -> None:
        if file.result == "stored":
            assert file.name not in self.stored, "reported twice"
            self.stored[file.name] = file.size


class Route:
    """One way for a tree to go, through a proxy."""

    def __init__(self, served: Served, local: Path, *, is_up: bool) -> None:
        local.mkdir()
        self.is_up = is_up
        self.served = served
        self.chaos = Chaos(served.server.port)
        self.source = local if is_up else served.folder
        self.target = served.folder if is_up else local
        self.way = UP if is_up else DOWN  # of the files
        self._names = (f"try{number:03}" for number in range(1000))  # all as long as "honest"

    def lay(self, files: dict[str, bytes]) -> None:
        """Lay what is to be sent."""
        lay(self.source / "tree", files)
        self.files = files

    def name(self) -> str:
        """Return the name of a fresh folder to send to; the bytes of all tries are alike."""
        return next(self._names)

    def send(self, to: str, **how: Any) -> Outcome:
        """Run a command of its own."""
        client_options = {"timeout": SECONDS, **how.pop("client", {})}
        outcome = Outcome()
        options = Options(**{"retries": 0, "jobs": 1, "durability": "none", **how})
        with Client("127.0.0.1", self.chaos.port, **client_options) as client:
            try:
                if self.is_up:
                    client.put([self.source / "tree"], f"{to}/", options, outcome.report)
                else:
                    into = f"{self.target}/{to}/"
                    client.get(["tree"], into, options, outcome.report)
            except FilexferError as error:
                outcome.error = error  # and with it all that its frames hold: nothing is open
        return outcome

    def wait(self) -> None:
        """Wait for the end of all sessions."""
        self.served.wait()

    def check(self, to: str, outcome: Outcome) -> None:
        """Check what a command has left that may have failed."""
        self.wait()
        top = self.target / to / "tree"
        found = tree_state(top) if top.exists() else {}
        assert leftovers(self.target / to) == []
        for name, entry in found.items():
            if entry[0] == "file":
                assert entry[3] == self.files[name], name
        for name, size in outcome.stored.items():
            kept = found[name.removeprefix(f"{to}/").removeprefix("tree/")]
            assert kept[0] == "file"
            assert isinstance(kept[3], bytes)
            assert len(kept[3]) == size
        report = outcome.report
        assert report.files == len(outcome.stored)
        assert report.bytes == sum(outcome.stored.values())
        if not outcome.error and not report.failed:
            self.check_whole(to, outcome)

    def check_whole(self, to: str, outcome: Outcome) -> None:
        """Check that all is there, and that a command said so."""
        assert outcome.error is None
        report = outcome.report
        assert [str(failure) for failure in report.failures] == []
        assert report.files + report.skipped == len(self.files)
        self.wait()
        assert tree_state(self.target / to) == tree_state(self.source)

    def try_twice(self, *faults: Fault, **how: Any) -> Outcome:
        """Send with faults, check, send without, and check again; return what came of the first."""
        to = self.name()
        self.chaos.plan(*faults)
        outcome = self.send(to, **how)
        self.check(to, outcome)
        self.check_whole(to, self.send(to, **how))
        return outcome


@pytest.fixture
def steady() -> Iterator[None]:
    """Check that no thread and no descriptor is left."""
    gc.disable()  # what is not needed any more is closed, and not only left to be found
    threads, files = threading.active_count(), len(os.listdir("/dev/fd"))
    yield
    gc.enable()
    assert (threading.active_count(), len(os.listdir("/dev/fd"))) == (threads, files)


@pytest.fixture(params=["put", "get"])
def route(
    request: pytest.FixtureRequest, steady: None, serve: Serve, tmp_path: Path, cleanup: Any
) -> Route:
    """Connect a server and a proxy."""
    made = Route(serve(), tmp_path / "local", is_up=request.param == "put")
    cleanup.callback(made.chaos.close)
    return made


def record(route: Route, **how: Any) -> list[tuple[list[int], list[int]]]:
    """Send once without a fault; return the bytes that matter, of each connection and direction."""
    before = route.chaos.connections
    route.check_whole("honest", route.send("honest", **how))
    found = []
    for passed in route.chaos.passed[before:]:
        up, down = frames((bytes(passed[UP]), bytes(passed[DOWN])))
        assert [frames_of[-1].stop for frames_of in (up, down)] == [len(each) for each in passed]
        found.append((marks(up), marks(down)))
    return found


# Cut


def cut_everywhere(route: Route, hows: tuple[str, ...], places: Iterable[tuple[int, int]]) -> None:
    """Cut at each place in one of the ways, which take turns."""
    fired = total = 0
    for number, (way, at) in enumerate(places):
        how = hows[number % len(hows)]
        outcome = route.try_twice(Fault(how, way, at))
        if outcome.error:
            assert isinstance(outcome.error, NetworkError), (how, way, at)
        if way == UP or not route.is_up:  # what an upload is answered may be merged, and be less
            fired += route.chaos.fired.is_set()
            total += 1
    assert fired > 0.8 * total


@pytest.mark.case("E1", "E2", "E11")
@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["small", "large"])
def test_cut(route: Route, files: dict[str, bytes]) -> None:
    """A cut, by FIN or by RST, does no harm at any byte that matters."""
    route.lay(files)
    ((up, down),) = record(route)
    places = [(way, at) for way, found in ((UP, up), (DOWN, down)) for at in found]
    cut_everywhere(route, ("finish", "reset", "half"), places)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_an_exception_that_is_kept_keeps_nothing_open(route: Route) -> None:
    """Whoever keeps what was raised keeps no file or folder open by it."""
    route.lay({f"d/{number}": bytes(2 * PLAIN_MAX) for number in range(3)})
    route.chaos.plan(Fault("reset", route.way, 1000))
    outcome = route.send("to")
    assert isinstance(outcome.error, NetworkError)
    route.wait()
    found = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    held = [os.readlink(path) for path in found if os.path.islink(path)]
    assert [path for path in held if "/tree" in path] == []


@pytest.mark.slow  # thousands of transfers
@pytest.mark.timeout(300)
@pytest.mark.case("E1", "E2")
@pytest.mark.parametrize("how", ["finish", "reset", "half"])
def test_cut_at_every_byte(route: Route, how: str) -> None:
    """A cut does no harm at any byte of a short exchange."""
    route.lay({"a": b"small", "d/b": b"more"})
    record(route)
    passed = route.chaos.passed[-1]
    places = [(way, at) for way in (UP, DOWN) for at in range(len(passed[way]) + 1)]
    cut_everywhere(route, (how,), places)


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be large soon, and pieces be small."""
    monkeypatch.setattr(pieces, "LEAST", 64 << 10)
    monkeypatch.setattr(pieces, "PIECE_MOST", 16 << 10)
    monkeypatch.setattr(pieces, "PIECE_LEAST", 4 << 10)


IN_PIECES = {"jobs": 3, "pieces": True}


@pytest.mark.slow  # hundreds of transfers
@pytest.mark.case("E1", "E2")
def test_cut_in_pieces(route: Route, small_pieces: None) -> None:
    """Nor does it if it hits one of several connections that bring the pieces of one file."""
    route.lay({"large": os.urandom(200_000), "b": b"small"})
    connections = record(route, **IN_PIECES)
    assert len(connections) >= 3
    number = fired = 0
    for skip, found in enumerate(connections):
        for way in (UP, DOWN):
            for at in found[way][::7]:
                how = ("finish", "reset", "half")[number % 3]
                number += 1
                to = route.name()
                route.chaos.plan(Fault(how, way, at), skip=skip)
                outcome = route.send(to, **IN_PIECES)
                route.check(to, outcome)
                fired += route.chaos.fired.is_set()
                route.chaos.plan()
                route.check_whole(to, route.send(to, **IN_PIECES))
    assert fired > number / 10  # the pieces are dealt as it happens


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client not wait before it tries again."""
    sleep = time.sleep

    def short(seconds: float) -> None:
        sleep(min(seconds, 0.01))

    monkeypatch.setattr(time, "sleep", short)


@pytest.mark.case("E2", "E12")
@pytest.mark.parametrize("how", ["finish", "reset", "half"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_one_command_goes_on_after_cuts(route: Route, no_pauses: None, how: str, jobs: int) -> None:
    """One command ends with the right tree, though its connections are cut; all is counted once."""
    route.lay({**SMALL, **LARGE})
    for at in (400, 1000, 150_000, 270_000):
        route.chaos.plan(Fault(how, route.way, at))
        to = route.name()
        outcome = route.send(to, jobs=jobs, retries=3)
        assert route.chaos.fired.is_set()
        route.check_whole(to, outcome)
        assert outcome.report.files == len(route.files)
        assert outcome.report.uncertain == 0


@pytest.mark.case("E11")
def test_the_confirmation_is_lost(route: Route) -> None:
    """What was stored but not confirmed is told as uncertain, and is identical the next time."""
    route.lay(SMALL)
    record(route)
    up, down = frames(tuple(map(bytes, route.chaos.passed[-1])))  # type: ignore[arg-type] # two
    replies = down if route.is_up else up
    kinds = [frame.message["kind"] for frame in replies]
    place = replies[kinds.index("done" if "done" in kinds else "end")].start
    outcome = route.try_twice(Fault("reset", 1 - route.way, place))
    if route.is_up:
        assert isinstance(outcome.error, NetworkError)
        assert outcome.report.files == 0
        assert outcome.report.uncertain == len(SMALL)
        again = route.send("try000")
        assert again.report.skipped == len(SMALL)


# Silence


@pytest.mark.slow  # waits for time-outs
@pytest.mark.case("E3")
def test_black_holes(steady: None, serve: Serve, tmp_path: Path, cleanup: Any) -> None:
    """Where nothing comes any more, and no end, both sides give up in time, and leave nothing."""
    seconds = 0.5  # nothing moves; with so many at once, an honest try may meet it too
    places: list[tuple[bool, int, int]] = []
    files = {**SMALL, **LARGE}
    routes = []
    for is_up in (True, False):
        top = tmp_path / f"{is_up}"
        route = Route(serve(top / "served"), top / "local", is_up=is_up)
        cleanup.callback(route.chaos.close)
        route.lay(files)
        ((up, down),) = record(route)
        route.served.server._timeout = seconds
        places += [(is_up, UP, at) for at in up[1::9]] + [(is_up, DOWN, at) for at in down[1::9]]
        routes.append(route)
    lock = threading.Lock()
    by_place = [
        (routes[not is_up], Chaos(routes[not is_up].served.server.port), way, at)
        for is_up, way, at in places
    ]

    def fall(route: Route, chaos: Chaos, way: int, at: int) -> None:
        mine = copy.copy(route)
        mine.chaos = chaos
        chaos.plan(Fault("hole", way, at))
        with lock:
            to = route.name()
        began = time.monotonic()
        outcome = mine.send(to, client={"timeout": seconds})
        assert time.monotonic() - began < SECONDS
        assert outcome.error is None or isinstance(outcome.error, TimedOut), outcome.error
        mine.check(to, outcome)
        mine.check_whole(to, mine.send(to, retries=20))
        chaos.close()

    with ThreadPoolExecutor(len(by_place)) as pool:
        for each in [pool.submit(fall, *each) for each in by_place]:
            each.result()
    for made in routes:
        made.wait()


@pytest.mark.case("E3")
def test_a_stall_that_ends(route: Route) -> None:
    """A pause that is shorter than the time-out is no fault."""
    route.lay({**SMALL, **LARGE})
    for way in (UP, DOWN):
        route.chaos.plan(Fault("stall", way, 200, 0.1))
        to = route.name()
        route.check_whole(to, route.send(to))
        assert route.chaos.fired.is_set()


@pytest.mark.case("E10")
def test_a_download_that_nobody_reads(
    steady: None, serve: Serve, raw: Callable[[Server], Raw]
) -> None:
    """The server gives it up in time, and its thread and descriptors are free."""
    served = serve(timeout=0.3)
    lay(served.folder, {"large": bytes(32 << 20)})
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "get", "names": ["large"], "fresh": True})
    served.wait()
    peer.reset()


@pytest.mark.case("E10")
@pytest.mark.parametrize("talks", [False, True])
def test_a_download_that_is_read_in_a_trickle(
    steady: None,
    serve: Serve,
    raw: Callable[[Server], Raw],
    monkeypatch: pytest.MonkeyPatch,
    talks: bool,
) -> None:
    """The same, though something moves all the time, and though the client says that it lives."""
    monkeypatch.setattr(connection, "DRAIN_SECONDS", 0.1)
    served = serve(limits=Limits(least_span=0.02, least_rate=1 << 30))
    lay(served.folder, {"large": bytes(64 << 20)})
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "get", "names": ["large"], "fresh": True})
    with served.server._lock:
        threads = list(served.server._sessions.values())  # one, if it has not been given up yet
    until = time.monotonic() + SECONDS
    while any(thread.is_alive() for thread in threads):
        assert time.monotonic() < until
        peer.read(100_000)
        try:
            if talks:
                peer.frame({"kind": "alive"})
        except OSError:
            break  # it was given up
        threads[0].join(0.01)
    served.wait()
    peer.reset()


# Slow and odd


@pytest.mark.case("E6", "E8")
@pytest.mark.parametrize("what", ["late", "slow", "single"])
def test_slow_but_honest(route: Route, what: str) -> None:
    """Delay, a narrow line and bytes that come one by one change nothing but the time."""
    route.lay(SMALL)
    much = {"late": 0.05, "slow": 6000.0, "single": 0.0}[what]
    route.chaos.plan(Fault(what, UP, 0, much), Fault(what, DOWN, 0, much))
    route.check_whole("to", route.send("to"))
    assert route.chaos.fired.is_set()


@pytest.mark.case("E9")
def test_single_bytes_of_a_large_file(route: Route) -> None:
    """A large body may come in single bytes at its ends."""
    route.lay(LARGE)
    ((up, down),) = record(route)
    last = (up, down)[route.way][-1]
    route.chaos.plan(Fault("single", route.way, last - 3000))
    route.check_whole("to", route.send("to"))


# Bytes that change


def body_places(route: Route) -> list[tuple[str, int]]:
    """Return some bytes in the bodies of files, and whose they are."""
    up, down = frames(tuple(map(bytes, route.chaos.passed[-1])))  # type: ignore[arg-type] # two
    found = []
    for frame in (up, down)[route.way]:
        if frame.message["kind"] == "file" and frame.stop > frame.body:
            name = str(frame.message["name"]).removeprefix("honest/").removeprefix("tree/")
            is_plain = bool(frame.message.get("hash"))
            first, last = (frame.body, frame.stop - 1) if is_plain else (frame.body + 4, 0)
            found += [(name, first), (name, (frame.body + frame.stop) // 2)]
            found += [(name, last)] if last else []
    return found


@pytest.mark.case("E7")
@pytest.mark.parametrize("files", [SMALL, LARGE], ids=["small", "large"])
def test_a_bit_of_a_body_flips(route: Route, files: dict[str, bytes]) -> None:
    """That file fails, and is named; the others arrive."""
    route.lay(files)
    record(route)
    for name, at in body_places(route):
        outcome = route.try_twice(Fault("flip", route.way, at))
        assert route.chaos.fired.is_set()
        assert outcome.error is None
        (failure,) = outcome.report.failures
        assert failure.code == Code.HASH_MISMATCH
        assert failure.name.endswith(f"tree/{name}")
        assert outcome.report.files == len(files) - 1


def flip_everywhere(route: Route, places: Iterable[tuple[int, int]]) -> None:
    """Flip a bit at each place; what is in the clear but a header may then say another thing."""
    for way, at in places:
        to = route.name()
        route.chaos.plan(Fault("flip", way, at))
        with in_haste(route):
            outcome = route.send(to, client={"timeout": 0.3})
            route.wait()
        assert leftovers(route.target) == []
        for entry in tree_state(route.target / to).values() if (route.target / to).exists() else ():
            assert entry[0] != "file" or entry[3] in route.files.values(), (way, at)
        assert len(outcome.stored) == outcome.report.files


@contextmanager
def in_haste(route: Route) -> Iterator[None]:
    """Let the server have a short time-out meanwhile."""
    server = route.served.server
    server._timeout, before = 0.3, server._timeout
    try:
        yield
    finally:
        server._timeout = before


@pytest.fixture
def patient_server(
    steady: None, serve: Serve, tmp_path: Path, cleanup: Any
) -> Callable[..., Route]:
    """Return a function that connects a server, and a proxy."""

    def connect(*, is_up: bool, **how: Any) -> Route:
        route = Route(serve(**how), tmp_path / "local", is_up=is_up)
        cleanup.callback(route.chaos.close)
        return route

    return connect


@pytest.mark.case("E7")
@pytest.mark.parametrize("is_up", [True, False], ids=["put", "get"])
def test_a_bit_of_anything_flips(patient_server: Callable[..., Route], is_up: bool) -> None:
    """Wherever it flips in the clear, no name holds anything but the whole bytes of a file."""
    route = patient_server(is_up=is_up)
    route.lay(SMALL)
    ((up, down),) = record(route)
    flip_everywhere(route, [(UP, at) for at in up[::4]] + [(DOWN, at) for at in down[::4]])


@pytest.mark.slow  # many of them wait for the time-out
@pytest.mark.timeout(300)
@pytest.mark.case("E7")
@pytest.mark.parametrize("is_up", [True, False], ids=["put", "get"])
def test_a_bit_of_any_byte_flips(patient_server: Callable[..., Route], is_up: bool) -> None:
    """The same at every byte of a short exchange."""
    route = patient_server(is_up=is_up)
    route.lay({"a": b"small", "d/b": b"more"})
    record(route)
    up, down = route.chaos.passed[-1]
    places = [(UP, at) for at in range(len(up))] + [(DOWN, at) for at in range(len(down))]
    flip_everywhere(route, places)


@pytest.mark.case("E7", "E17")
@pytest.mark.parametrize("is_up", [True, False], ids=["put", "get"])
@pytest.mark.parametrize("what", ["flip", "twice", "drop"])
def test_tls_lets_nothing_change(
    patient_server: Callable[..., Route], tls_contexts: Contexts, is_up: bool, what: str
) -> None:
    """Inside TLS, a byte that changes, comes again or is missing ends the connection."""
    client_tls, server_tls = tls_contexts
    route = patient_server(is_up=is_up, tls=server_tls)
    route.lay(SMALL)
    route.check_whole("honest", route.send("honest", client={"tls": client_tls}))
    sizes = [len(passed) for passed in route.chaos.passed[-1]]
    for way in (UP, DOWN):
        for at in (10, sizes[way] // 3, sizes[way] // 2, sizes[way] * 3 // 4):
            to = route.name()
            route.chaos.plan(Fault(what, way, at, 7))
            with in_haste(route):
                outcome = route.send(to, client={"tls": client_tls, "timeout": 0.6})
            assert route.chaos.fired.is_set()
            assert isinstance(outcome.error, FilexferError), (way, at)
            route.check(to, outcome)
            route.check_whole(to, route.send(to, client={"tls": client_tls}))


@pytest.mark.case("E17")
@pytest.mark.parametrize("is_up", [True, False], ids=["put", "get"])
def test_what_was_said_comes_again(patient_server: Callable[..., Route], is_up: bool) -> None:
    """A frame with its body, or a piece of one, that comes twice stores nothing wrong."""
    route = patient_server(is_up=is_up)
    route.lay(SMALL)
    record(route)
    both = frames(tuple(map(bytes, route.chaos.passed[-1])))  # type: ignore[arg-type] # two
    for way, found in zip((UP, DOWN), both, strict=True):
        for frame in found:
            for much in (frame.stop - frame.start, 3):
                to = route.name()
                route.chaos.plan(Fault("twice", way, frame.stop, much))
                with in_haste(route):
                    outcome = route.send(to, client={"timeout": 0.3})
                outcome.report.skipped = 0  # a file that comes again is identical
                route.check(to, outcome)
                route.check_whole(to, route.send(to))


# What the command says


@pytest.mark.case("E1", "E3", "E7")
@pytest.mark.parametrize(
    ("route", "what", "words", "code", "said"),
    [
        ("put", "reset", ("--retries", "0"), 6, "filexfer: error: the connection was lost"),
        ("put", "half", ("--retries", "0"), 6, "closed in the middle of a frame or body"),
        ("put", "hole", ("--timeout", "0.5", "--retries", "0"), 6, "nothing moved for 0.5 seconds"),
        ("put", "flip", (), 3, "filexfer: {name}: the bytes that came do not match their hash"),
        ("put", "half", (), 0, "4 files, "),
        ("get", "finish", ("--retries", "0"), 6, "filexfer: error: the connection was closed"),
        ("get", "flip", (), 3, "filexfer: {name}: the bytes that came do not match their hash"),
        ("get", "reset", (), 0, "4 files, "),
    ],
    indirect=["route"],
)
def test_what_the_command_says(
    route: Route, tmp_path: Path, what: str, words: tuple[str, ...], code: int, said: str
) -> None:
    """The exit code and the last words are true, and a second command does what was left."""
    route.lay(SMALL)
    record(route)
    up, down = frames(tuple(map(bytes, route.chaos.passed[-1])))  # type: ignore[arg-type] # two
    found = [each for each in (up, down)[route.way] if each.message["kind"] == "file"]
    (frame,) = (each for each in found if str(each.message["name"]).endswith("d/b"))
    middle = (frame.body + frame.stop) // 2
    address = f"fx://127.0.0.1:{route.chaos.port}"
    command: tuple[object, ...] = ("put", route.source / "tree", f"{address}/try000/")
    name = "try000/tree/d/b"
    if not route.is_up:
        command = ("get", f"{address}/tree", f"{route.target}/try000/")
        name = "tree/d/b"
    route.chaos.plan(Fault(what, route.way, middle))
    if words:
        words = (*words, "--jobs", "1")
    result = fx(*command, *words)
    assert route.chaos.fired.is_set()
    assert result.returncode == code, result.stderr
    assert said.format(name=name) in result.stderr
    if what != "hole":  # of which the server, with its longer time-out, knows nothing yet
        route.wait()
        assert leftovers(route.target) == []
    route.chaos.plan()
    again = fx(*command)
    assert again.returncode == 0, again.stderr
    assert tree_state(route.target / "try000") == tree_state(route.source)
