"""Where the time goes: the clock, and the figures of real transfers; none of them is timed here."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Served, tcp_pair
from test_cli_process import SUMMARY, Service, environment, fx
from test_readme import blocks, section

from filexfer import ConnectionLost, Options, Report
from filexfer.measure import stats, timed
from filexfer.measure.stats import PHASES, Stats
from filexfer.wire.connection import Connection
from filexfer.wire.transport import Plain, Tls

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer import Client

    Serve = Callable[..., Served]

SIZES = [*range(0, 30_000, 1000), 3_000_001]  # small ones, and one that goes in parts
BYTES = sum(SIZES)
UP = {"walking", "reading", "hashing", "sending", "receiving", "waiting", "rest"}
DOWN = {"hashing", "sending", "receiving", "writing", "waiting", "rest"}


# The clock


class Ticks:
    """A clock that goes on by a second whenever it is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(stats, "monotonic", self.read)

    def read(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    return Ticks(monkeypatch)


def spent(measured: Stats) -> dict[str, float]:
    """Return the seconds of the phases that took any."""
    return {phase: seconds for phase, seconds in measured.seconds.items() if seconds}


def test_each_moment_belongs_to_one_phase(ticks: Ticks) -> None:
    """What is done inside something else is taken off it, and nothing gets lost."""
    measured = Stats()
    outer = measured.switch("reading")
    inner = measured.switch("hashing")
    measured.switch("hashing")
    assert measured.switch(inner) == "hashing"
    measured.switch(outer)
    measured.stop()
    assert (outer, inner) == ("waiting", "reading")
    assert spent(measured) == {"reading": 2.0, "hashing": 2.0, "waiting": 2.0}
    assert sum(measured.seconds.values()) == ticks.now - 1


def test_a_clock_that_is_stopped_stands_still(ticks: Ticks) -> None:
    """Neither a pause nor what comes after the end is counted anywhere."""
    measured = Stats()
    with measured.paused():
        ticks.now += 100
    measured.stop()
    ticks.now += 100
    measured.stop()
    assert spent(measured) == {"waiting": 2.0}


def test_what_is_taken_is_added_elsewhere(ticks: Ticks) -> None:
    """What runs in another process comes back as numbers, each once."""
    there, here = Stats(), Stats()
    there.bytes["sending"] = 7
    for _ in range(2):
        here.add(there.take())
    here.add(there.take())
    assert spent(here)["waiting"] == 2.0 + 1.0 + 1.0
    assert here.bytes["sending"] == 7
    assert not any(there.bytes.values())
    del ticks


# Transfers


def lay(folder: Path, sizes: list[int] = SIZES) -> Path:
    """Lay files of all sizes, in some folders."""
    for number, size in enumerate(sizes):
        path = folder / f"{number % 5}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    return lay(tmp_path / "files")


def measure(act: Callable[..., Report], *words: Any, **how: Any) -> Stats:
    """Transfer with figures, check that they make up a whole, and return them."""
    report = act(*words, Options(**{"durability": "none", "stats": True, **how}))
    assert report.stats
    assert not report.failures
    seconds = report.stats.seconds
    assert list(seconds) == list(report.stats.bytes) == list(PHASES)
    assert all(each >= 0 for each in seconds.values())
    assert sum(seconds.values()) <= report.seconds * report.stats.connections + 1e-6
    return report.stats


def phases(measured: Stats) -> set[str]:
    return set(spent(measured))


def contents(measured: Stats) -> dict[str, int]:
    """Return the bytes of the phases that files' contents go through."""
    return {each: measured.bytes[each] for each in ("reading", "hashing", "writing")}


@pytest.mark.parametrize("jobs", [1, 3])
def test_an_upload(served: Served, files: Path, jobs: int) -> None:
    """All that must happen took time, and moved as many bytes as there are; in threads too."""
    client = served.client()
    measured = measure(client.put, [files], "", jobs=jobs)
    assert phases(measured) == UP
    assert contents(measured) == {"reading": BYTES, "hashing": BYTES, "writing": 0}
    assert BYTES < measured.bytes["sending"] < BYTES + 10_000
    assert 0 < measured.bytes["receiving"] < 10_000
    assert measured.connections == jobs


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_download(serve: Serve, files: Path, tmp_path: Path, jobs: int) -> None:
    """The same down."""
    client = serve(files.parent).client()
    measured = measure(client.get, ["files"], tmp_path / "got", jobs=jobs)
    assert phases(measured) - {"walking"} == DOWN  # shared folders are looked at
    assert contents(measured) == {"reading": 0, "hashing": BYTES, "writing": BYTES}
    assert BYTES < measured.bytes["receiving"] < BYTES + 10_000
    assert 0 < measured.bytes["sending"] < 10_000
    assert measured.connections == jobs


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_second_run_reads_and_writes_nothing(
    served: Served, files: Path, tmp_path: Path, jobs: int
) -> None:
    """Where nothing is left to send, what takes time is to find that out."""
    client = served.client()
    for _ in range(2):
        up = measure(client.put, [files], "", jobs=jobs)
        down = measure(client.get, ["files"], f"{tmp_path}/got/", jobs=jobs)
    assert phases(up) == UP - {"reading", "hashing"}
    assert phases(down) == DOWN - {"hashing"} | {"walking"}
    for measured in (up, down):
        assert not any(contents(measured).values())
        assert 0 < measured.bytes["sending"] < 10_000


@pytest.mark.parametrize("algorithm", ["xxh3_128", "sha256"])
def test_comparing_by_digest(served: Served, files: Path, tmp_path: Path, algorithm: str) -> None:
    """What is read to be compared is reading, and what is hashed is hashing."""
    client = served.client()
    client.put([files], "")
    client.get(["files"], tmp_path / "got")
    expected = {"reading": BYTES, "hashing": BYTES, "writing": 0}
    how = {"checksum": True, "algorithm": algorithm}
    assert contents(measure(client.put, [files], "", **how)) == expected
    assert contents(measure(client.get, ["files"], tmp_path / "got", **how)) == expected


def test_another_hash(served: Served, files: Path, tmp_path: Path) -> None:
    """Another hash is measured as the default one is."""
    client = served.client()
    up = measure(client.put, [files], "", algorithm="sha256")
    down = measure(client.get, ["files"], tmp_path / "got", algorithm="sha256")
    assert up.bytes["hashing"] == BYTES
    assert down.bytes["hashing"] >= BYTES


@pytest.mark.parametrize("durability", ["batch", "file"])
def test_flushing(serve: Serve, files: Path, tmp_path: Path, durability: str) -> None:
    """Waiting for the disk to keep what was written has its own line."""
    client = serve(files.parent).client()
    measured = measure(client.get, ["files"], tmp_path / "got", durability=durability)
    assert phases(measured) == DOWN | {"flushing"}
    assert contents(measured)["writing"] == BYTES


def test_streams(served: Served, tmp_path: Path) -> None:
    """Standard input and output are measured as folders are."""
    data = os.urandom(3_000_000)
    (tmp_path / "in").write_bytes(data)
    client = served.client()
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        up = measure(client.put_stream, source.fileno(), "name")
        down = measure(client.get_stream, "name", target.fileno())
    assert (tmp_path / "out").read_bytes() == data
    assert phases(up) >= UP - {"walking"}
    assert contents(up) == {"reading": len(data), "hashing": len(data), "writing": 0}
    assert phases(down) == DOWN
    assert contents(down) == {"reading": 0, "hashing": len(data), "writing": len(data)}


def test_holes(served: Served, tmp_path: Path) -> None:
    """A hole is neither read, nor sent, nor written; it is hashed."""
    path = tmp_path / "files" / "sparse"
    path.parent.mkdir()
    with open(path, "wb") as file:
        file.truncate(20 << 20)
        file.write(b"begin")
    client = served.client()
    up = measure(client.put, [path.parent], "")
    down = measure(client.get, ["files"], tmp_path / "got")
    assert (tmp_path / "got" / "files" / "sparse").read_bytes() == path.read_bytes()
    for measured in (up, down):
        assert measured.bytes["hashing"] == 20 << 20


def test_tls(
    serve: Serve, files: Path, tls_contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """With encryption the same is measured."""
    client = serve(tls=tls_contexts[1]).client(tls=tls_contexts[0])
    measured = measure(client.put, [files], "")
    assert phases(measured) == UP
    assert measured.bytes["sending"] > BYTES
    assert type(parts(client)[0]) is Tls


def test_a_lost_connection(served: Served, files: Path, tmp_path: Path) -> None:
    """After a try that failed the connection of the next one is measured, on the same clock."""
    client = served.client()

    def cut(report: Report) -> None:
        if report.moved and not broken:
            broken.append(client.interrupt())
            client._is_interrupted = False  # as if somebody else had cut it

    broken: list[bool] = []
    report = client.put([files], "", Options(stats=True), Report(cut))
    assert broken == [True]
    assert report.files == len(SIZES)
    assert report.stats
    assert report.stats.bytes["reading"] >= BYTES
    assert sum(report.stats.seconds.values()) <= report.seconds + 1e-6
    assert type(parts(client)[0]) is Plain


# Processes

SCRIPT = """
import json, sys
from filexfer import Client, Options
way, port, what, to, jobs = sys.argv[1:]
with Client("127.0.0.1", int(port), timeout=20) as client:
    act = client.put if way == "up" else client.get
    report = act([what], to, Options(durability="none", jobs=int(jobs), stats=True))
    found = report.stats
    print(json.dumps([report.files, found.connections, found.seconds, found.bytes]))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this part."""
    words = ("--workers", "1", "--durability", "none")
    with Service(tmp_path_factory.mktemp("served"), *words) as running_service:
        yield running_service


@pytest.mark.parametrize("jobs", [1, 3])
def test_processes(service: Service, files: Path, tmp_path: Path, jobs: int) -> None:
    """What the processes of several connections measured comes together in one report."""
    where = f"processes{jobs}"
    for way, what, to in (
        ("up", f"{files}/", where),
        ("down", f"{where}/", f"{tmp_path}/got"),
        ("up again", f"{files}/", where),
    ):
        words = [way.partition(" ")[0], service.port, what, to, jobs]
        run = subprocess.run(
            [sys.executable, "-c", SCRIPT, *map(str, words)],
            check=True,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=SECONDS,
        )
        count, connections, seconds, sizes = json.loads(run.stdout)
        assert connections == jobs
        compared = UP - {"reading", "hashing"}
        expected = {"up": UP, "down": DOWN | {"walking"}, "up again": compared}[way]
        assert {phase for phase in PHASES if seconds[phase]} == expected
        size = 0 if way == "up again" else BYTES
        assert count == (len(SIZES) if size else 0)
        assert sizes["hashing"] == size
        assert sizes["reading" if way != "down" else "writing"] == size


# Without figures


def parts(client: Client) -> list[Any]:
    """Return what moves the bytes of an open connection, and what is waited with."""
    assert client._connection
    return parts_of(client._connection)


def parts_of(connection: Connection) -> list[Any]:
    found: list[Any] = []

    def look(transport: Any, poll: Any) -> tuple[Any, Any]:
        found.extend((transport, poll))
        return transport, poll

    connection.change_parts(look)
    return found


@pytest.mark.parametrize("way", ["up", "down"])
def test_nothing_stands_in_unless_asked_for(
    serve: Serve, files: Path, tmp_path: Path, way: str
) -> None:
    """Without figures a transfer works with the things themselves; with them, only meanwhile."""
    client = serve(files if way == "down" else None).client()

    def transfer(name: str, watch: Callable[[Report], None], **how: Any) -> Report:
        options, report = Options(**how), Report(watch)
        if way == "up":
            return client.put([f"{files}/"], name, options, report)
        return client.get([""], tmp_path / name, options, report)

    def look(_: Report) -> None:
        seen.append({type(each) for each in parts(client)})
        stand_ins.extend(each for each in gc.get_objects() if type(each).__module__ == timed_name)

    timed_name = timed.__name__
    client.stat("")  # connected
    real = {type(each) for each in parts(client)}
    seen: list[set[type]] = []
    stand_ins: list[object] = []
    assert transfer("measured", look, stats=True).stats
    assert {timed.TimedTransport, timed.TimedWaiting} in seen
    assert {timed.TimedHash, timed.Tools} <= {type(each) for each in stand_ins}
    seen.clear()
    stand_ins.clear()
    gc.collect()
    assert transfer("plain", look).stats is None
    assert seen
    assert all(each == real for each in seen)
    assert stand_ins == []


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_nothing_is_even_loaded(service: Service, files: Path, tmp_path: Path, jobs: str) -> None:
    """A command without figures does not load what measures."""
    code = (
        "import sys; from filexfer import cli; "
        "codes = [cli.main([*words.split(), '-q', '-j', sys.argv[1]]) for words in sys.argv[2:]]; "
        "print(*map(int, codes), *(name for name in sys.modules if name.startswith('filexfer.')))"
    )
    where = f"{service.address}plain{jobs}"
    commands = (f"put {files}/ {where}", f"get {where}/ {tmp_path}/got")
    run = subprocess.run(
        [sys.executable, "-c", code, jobs, *commands],
        check=True,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=SECONDS,
    )
    words = run.stdout.split()
    assert words[:2] == ["0", "0"]
    assert "filexfer.transfer.sender" in words
    assert "filexfer.transfer.receiver" in words
    assert not {
        "filexfer.measure.timed",
        "filexfer.measure.stats",
        "filexfer.measure.breakdown",
    } & set(words)


# The command line

LINE = re.compile(r"(\w[\w ]*?) +(\d+\.\d{3}) +(\d+\.\d) %(?: +\d+\.\d MB/s)?")
SENTENCE = re.compile(r"[A-Z][\w ]* took longest, \d+\.\d % of the time(, at [\d.]+ MB/s)?: .*\.")


def figures(lines: list[str]) -> dict[str, tuple[float, float]]:
    """Return the seconds and shares of a table, checked to be whole."""
    head, *body, sentence = lines
    assert re.fullmatch(r"time went to +seconds +share +rate", head)
    assert SENTENCE.fullmatch(sentence)
    found = {}
    for line in body:
        match = LINE.fullmatch(line)
        assert match, line
        found[match[1]] = (float(match[2]), float(match[3]))
    *single, whole = found.values()
    assert abs(sum(seconds for seconds, _ in single) - whole[0]) <= 0.0005 * len(found)
    assert abs(sum(share for _, share in single) - 100) <= 0.05 * len(found)
    assert whole[1] == 100
    return found


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_command_line(service: Service, files: Path, tmp_path: Path, jobs: int) -> None:
    """The table comes after the summary; also where nothing else is said."""
    where = f"{service.address}line{jobs}/"
    last = "all" if jobs == 1 else "all 3 connections"
    put = fx("put", "--stats", "-j", jobs, f"{files}/", where)
    summary, *lines = put.stderr.splitlines()
    assert SUMMARY.fullmatch(summary)
    assert list(figures(lines))[-1] == last
    assert {"walking", "reading", "hashing", "sending", "the rest"} < set(figures(lines))
    get = fx("get", "--stats", "-j", jobs, "--quiet", where, tmp_path / "got")
    shown = figures(get.stderr.splitlines())
    assert {"hashing", "receiving", "writing", "waiting for the server"} < set(shown)
    again = fx("put", "--stats", "-q", "-j", jobs, f"{files}/", where)
    assert {"walking", "the rest", last} < set(figures(again.stderr.splitlines()))
    assert "MB/s" not in again.stderr
    assert {put.returncode, get.returncode, again.returncode} == {0}
    assert not put.stdout + get.stdout + again.stdout


def test_the_example() -> None:
    """What the README shows is of the form that is printed."""
    (example,) = blocks(section("How fast it is"), "text")
    summary, *lines = example.splitlines()
    assert SUMMARY.fullmatch(summary)
    assert {"reading", "the rest", "all"} < set(figures(lines))


def test_without_the_option(service: Service, files: Path) -> None:
    """Nobody sees figures who did not ask."""
    put = fx("put", f"{files}/", f"{service.address}without/")
    assert SUMMARY.fullmatch(put.stderr.rstrip("\n"))


# A connection's parts


def test_a_connection_gets_its_parts_back() -> None:
    """Whatever ends an exchange."""
    near, far = (Connection(sock) for sock in tcp_pair())
    before = parts_of(near)
    far.close()
    with timed.exchange(near, Stats()), pytest.raises(ConnectionLost):
        near.fill()
    with pytest.raises(ZeroDivisionError), timed.exchange(near, Stats()):
        raise ZeroDivisionError
    assert parts_of(near) == before
    near.close()
