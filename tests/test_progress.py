"""How far a transfer is: what a report counts on the way, and what is made of it."""

from __future__ import annotations

import os
import re
import socket
import struct
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Served, leftovers
from test_retry import DOWN, UP, Route, lay

from filexfer import ConnectionLost, Options, Report, hashing
from filexfer import progress as phases
from filexfer.cli.display import RATE_OVER, WIDTH_MAX, Meter, State, line
from filexfer.entry import FILE, FOLDER, Entry
from filexfer.errors import Code, ProtocolError
from filexfer.storage.folder import Folder
from filexfer.storage.policy import Policy
from filexfer.storage.staging import Staging
from filexfer.transfer.receiver import Receiver
from filexfer.transfer.sources import Offer, Source, Survey
from filexfer.transfer.window import NO_FILE, Window
from filexfer.wire import dial, protocol
from filexfer.wire.protocol import PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer.wire.connection import Connection

    Serve = Callable[..., Served]

ORDER = (phases.SCANNING, phases.SENDING, phases.RECEIVING, phases.VERIFYING, phases.FLUSHING)


class Watch:
    """What a report says whenever something has moved."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int, int, int, bool]] = []

    def __call__(self, report: Report) -> None:
        self.seen.append(
            (
                *(report.phase, report.handled, report.handled_bytes),
                *(report.total, report.total_bytes, report.is_walking),
            )
        )

    @property
    def phases(self) -> list[str]:
        """The phases, in their order."""
        return [phase for phase, _ in groupby(each[0] for each in self.seen)]

    def check(self) -> None:
        """Nothing ever becomes less, and there is never more done than there is."""
        for before, after in pairwise(self.seen):
            assert all(a <= b for a, b in zip(before[1:3], after[1:3], strict=True)), (
                before,
                after,
            )
            assert before[5] >= after[5]
        for _, files, size, files_total, total, _ in self.seen:
            assert files <= files_total
            assert size <= total


def lay_tree(top: Path) -> tuple[int, int]:
    """Make some small files and two large ones; return their number and bytes."""
    for number in range(40):
        lay(top / f"{number % 3}" / f"{number}", bytes(1000 + number))
    lay(top / "large", os.urandom(6 * PLAIN_MAX))
    lay(top / "1" / "larger", os.urandom(9 * PLAIN_MAX))
    os.symlink("large", top / "link")
    return 43, sum(1000 + number for number in range(40)) + 15 * PLAIN_MAX


@pytest.fixture(params=["up", "down"])
def route(
    request: pytest.FixtureRequest, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Route]:
    monkeypatch.setattr(dial, "FIRST_PAUSE", 0.001)
    route = Route(request.param, serve(durability="batch"), tmp_path / "local")
    yield route
    route.close()


HOW = pytest.mark.parametrize(
    "how", [{"jobs": 1}, {"jobs": 2}, {"jobs": 2, "pieces": True}], ids=["one", "two", "pieces"]
)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filexfer.shared.pieces.LEAST", 4 * PLAIN_MAX)


@HOW
def test_a_transfer_from_its_begin_to_its_end(route: Route, how: dict[str, Any]) -> None:
    """Counts only grow, phases follow one another, and all is handled when it is done."""
    files, size = lay_tree(route.source / "tree")
    watch = Watch()
    report = route.send("tree", report=Report(watch), durability="batch", **how)
    watch.check()
    assert watch.seen[-1] == (phases.DONE, files, size, files, size, False)
    assert (report.confirmed, report.confirmed_bytes, report.partial_bytes) == (files, size, 0)
    assert watch.phases[0] == phases.SCANNING
    moving = phases.SENDING if route.is_up else phases.RECEIVING
    assert moving in watch.phases
    assert phases.FLUSHING in watch.phases
    if how["jobs"] == 1:
        assert watch.phases == sorted(watch.phases, key=[*ORDER, phases.DONE].index)
    again = Watch()
    repeated = route.send("tree", report=Report(again), durability="batch", **how)
    again.check()
    assert (repeated.skipped, again.seen[-1]) == (files, watch.seen[-1])


@HOW
def test_nothing_goes_back_when_connections_are_lost(route: Route, how: dict[str, Any]) -> None:
    """What is found out again, or sent again, moves nothing back, and is counted once."""
    files, size = lay_tree(route.source / "tree")
    for part in (2, 6):
        watch = Watch()
        route.proxy.arm(UP if route.is_up else DOWN, size * part // 10, "reset")
        report = route.send("tree", f"{part}/", report=Report(watch), **how)
        assert not route.proxy.disarm()
        watch.check()
        # With several, one that was not greeted yet is done without.
        assert phases.CONNECTING in watch.phases or how["jobs"] > 1
        assert watch.seen[-1] == (phases.DONE, files, size, files, size, False), part
        assert report.files == files
        route.settle()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_large_file_counts_as_it_comes_in(serve: Serve, tmp_path: Path, way: str) -> None:
    """The receiving side says how much it has of it; what was only sent does not count."""
    served = serve()
    source = (tmp_path if way == "up" else served.folder) / "big"
    source.write_bytes(bytes(12 << 20))
    watch = Watch()
    client = served.client(bwlimit=24 << 20)
    if way == "up":
        client.put([source], "", Options(), Report(watch))
    else:
        client.get(["big"], f"{tmp_path}/back/", Options(), Report(watch))
    watch.check()
    sizes = {size for _, files, size, *_ in watch.seen if not files}
    assert len(sizes) > 1, "nothing was told before its end"
    assert max(sizes) < 12 << 20 or way == "down"
    if way == "down":
        assert all(
            total == 12 << 20 for _, _, _, _, total, _ in watch.seen
        )  # it was looked at before


# The sender's window


def offer(name: str, size: int, kind: str = FILE) -> Offer:
    return Offer(None, Entry(name, kind, size), name)  # type: ignore[arg-type] # has no source


def window() -> tuple[Report, Window]:
    """Return a window with five items under way: three files, a folder, and what is unreadable."""
    report = Report()
    made = Window(report)
    made.open(offer("d", 0, FOLDER), NO_FILE)
    for number, size in enumerate((10, 200, 3000)):
        made.open(offer(f"f{number}", size), size)
    made.open(None, NO_FILE)
    return report, made


def confirmed(report: Report) -> tuple[int, int]:
    return report.confirmed, report.confirmed_bytes


def test_what_is_verified_is_confirmed() -> None:
    """Files count as soon as they are verified, once; folders and what was not sent do not."""
    report, made = window()
    for count, expected in ((1, (0, 0)), (2, (1, 10)), (4, (3, 3210)), (5, (3, 3210))):
        made.take_received(protocol.Received(count=count))
        assert confirmed(report) == expected
    assert made.is_verified
    made.take_done(protocol.Done(count=5))
    assert (confirmed(report), report.files) == ((3, 3210), 3)


def test_parts_of_a_file() -> None:
    """How much of a file is in counts until the file does; never more than it has."""
    report, made = window()
    made.take_received(protocol.Received(count=2, part=150))
    assert (confirmed(report), report.partial_bytes) == ((1, 10), 150)
    made.take_received(protocol.Received(count=2, part=10_000))
    assert report.partial_bytes == 200
    made.take_done(protocol.Done(count=2))
    assert report.partial_bytes == 200
    made.take_received(protocol.Received(count=1, part=7))  # late: the next is another by now
    assert report.partial_bytes == 200
    made.take_received(protocol.Received(count=3))
    assert (confirmed(report), report.partial_bytes) == ((2, 210), 0)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("result", ["failed", "skipped", "identical", "kept"])
def test_what_went_otherwise_is_handled_and_not_confirmed(result: str, late: bool) -> None:
    """Whether that is said before the item is covered or after it."""
    report, made = window()
    made.take_received(protocol.Received(count=4 if late else 2, part=0 if late else 50))
    made.take_outcome(protocol.Outcome(item=3, result=result, code=Code.EXISTS, name="f1~1"))
    made.take_received(protocol.Received(count=5))
    made.take_done(protocol.Done(count=5))
    assert confirmed(report) == ((3, 3210) if result == "kept" else (2, 3010))
    assert (report.handled, report.handled_bytes, report.partial_bytes) == (3, 3210, 0)


def test_parts_of_what_is_no_file_are_nothing() -> None:
    """A receiver that says otherwise changes nothing."""
    report, made = window()
    made.take_received(protocol.Received(count=0, part=7))
    made.take_received(protocol.Received(count=4, part=7))
    assert report.partial_bytes == 0


def test_more_than_was_sent_is_not_confirmed() -> None:
    """A receiver that confirms what is still being sent does not keep to the protocol."""
    _, made = window()
    with pytest.raises(ProtocolError):
        made.take_received(protocol.Received(count=6))


# Looking ahead


def test_a_survey_finds_all_in_small_steps(tmp_path: Path) -> None:
    """Until it is over, there is at least so much; then so much exactly."""
    files, size = lay_tree(tmp_path / "tree")
    with Folder(tmp_path / "tree") as folder:
        report = Report()
        survey = Survey([Source(folder, "", "t", fresh=True)], report)
        totals = []
        while report.is_walking:
            survey.step(0)
            totals.append((report.total, report.total_bytes))
        survey.step(0)
        survey.close()
    assert totals == sorted(totals)
    assert len(totals) > 40
    assert totals[-1] == (report.total, report.total_bytes) == (files, size)


def test_a_survey_that_is_not_needed_any_more_ends(tmp_path: Path) -> None:
    """When the transfer's own walk is over, or the transfer is."""
    lay_tree(tmp_path / "tree")
    with Folder(tmp_path / "tree") as folder:
        report = Report()
        survey = Survey([Source(folder, "", "t", fresh=True)], report)
        survey.step(0)
        survey.close()
        survey.step(1)
        assert report.is_walking
        assert report.total < 10


# A connection that is lost when all has come


@pytest.mark.parametrize("durability", ["none", "batch"])
def test_what_came_whole_is_published_when_the_connection_ends_with_it(
    tmp_path: Path, link_pair: Callable[..., tuple[Connection, Connection]], durability: str
) -> None:
    """Also when the receiver was just about to say so; and nothing temporary is left."""
    near, far = link_pair()
    report = Report()
    digest = hashing.digest_of("md5")(b"data")
    far.send(protocol.Folder(name="d"))
    far.send(protocol.File(name="d/f", size=4, hash=digest))
    far.post(b"data")
    far.send(protocol.End())
    far.flush()
    near.fill()  # all of it: what has not been taken in by then is lost
    far._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    with Folder(tmp_path) as folder, Staging(folder, Policy("error"), durability) as staging:
        with pytest.raises(ConnectionLost):
            Receiver(near, staging, report).run()
        assert (tmp_path / "d" / "f").read_bytes() == b"data"
    assert report.files == 1
    assert leftovers(tmp_path) == []


# What is made of it


def clean(text: str) -> str:
    """Return a line with its bar as ``|#|``."""
    return re.sub(r"\|[^|]*\|", "|#|", text)


FAR = State(phases.SENDING, 120, 345, 1_200_000_000, 2_600_000_000, False, 55e6, 25.2)
OPEN = State(phases.SENDING, 120, 345, 1_200_000_000, 2_600_000_000, True, 55e6)
DOWNWARD = State(phases.RECEIVING, 120, 120, 1_200_000_000, 1_200_000_000, True, 55e6)


@pytest.mark.parametrize(
    ("state", "width", "text"),
    [
        (FAR, 200, "sending    46% |#| 1.2 of 2.6 GB, 120 of 345 files, 55.0 MB/s, 0:26 left"),
        (FAR, 80, "sending    46% |#| 1.2 of 2.6 GB, 120 of 345 files, 55.0 MB/s, 0:26 left"),
        (FAR, 70, "sending    46% 1.2 of 2.6 GB, 120 of 345 files, 55.0 MB/s, 0:26 left"),
        (FAR, 60, "sending    46% |#| 1.2 of 2.6 GB, 55.0 MB/s, 0:26 left"),
        (FAR, 47, "sending 46% 1.2 of 2.6 GB, 55.0 MB/s, 0:26 left"),
        (FAR, 40, "sending 46% 1.2 of 2.6 GB, 0:26 left"),
        (FAR, 30, "sending 46% 1.2 of 2.6 GB"),
        (FAR, 11, "sending 46%"),
        (FAR, 5, "sendi"),
        (
            OPEN,
            100,
            "sending   1.2 of at least 2.6 GB, 120 of at least 345 files, 55.0 MB/s",
        ),
        (OPEN, 40, "sending 1.2 of at least 2.6 GB"),
        (DOWNWARD, 80, "receiving 1.2 GB, 120 files, 55.0 MB/s"),
        (State(phases.SCANNING), 80, "scanning  0 B, 0 files"),
        (
            State(phases.FLUSHING, 1, 1, 0, 0, False),
            80,
            "flushing  100% |#| 0 B, 1 of 1 file",
        ),
        (
            State(phases.SENDING, 0, 1, 0, 5000, False, 0.0, None, 3000),
            80,
            "sending     0% |#| 0 B of 5.0 kB, 0 of 1 file, 3.0 kB sent",
        ),
        (State(phases.SENDING, 998, 1000, 9989, 9990, False), 20, "sending 99% |#|"),
    ],
)
def test_the_line(state: State, width: int, text: str) -> None:
    """It says as much as there is room for, with a bar where all is known; 100 % is all of it."""
    drawn = line(state, width)
    assert clean(drawn) == text
    assert len(drawn) <= min(width, WIDTH_MAX)
    assert line(state, width, ascii_only=True).isascii()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0:01"), (59.5, "1:00"), (3599, "59:59"), (3661, "1:01:01"), (1e9, "days")],
)
def test_the_time_left(seconds: float, text: str) -> None:
    """Minutes and seconds, and hours if there are any."""
    assert line(State(phases.SENDING, 0, 1, 0, 1, False, 1.0, seconds), 80).endswith(f"{text} left")


def test_the_rate_is_of_what_moved_lately() -> None:
    """What was skipped is no rate; what is left goes by what is done lately, skipped too."""
    report, meter = Report(), Meter()
    report.expect(1000, 100_000)
    report.enter(phases.SENDING)
    report.moved = 1
    assert meter.read(report, 0.0).rate is None
    report.skipped, report.skipped_bytes = 500, 50_000
    report.confirmed, report.confirmed_bytes = 100, 10_000
    state = meter.read(report, 2.0)
    assert (state.rate, state.share) == (5000.0, 0.6)
    assert state.left == pytest.approx(2.0 * 4 / 6)
    state = meter.read(report, 2.0 + 2 * RATE_OVER)
    assert (state.rate, state.left) == (0.0, None)  # it stands still
    report.restart()
    assert meter.read(report, 30.0).bytes == 60_000
    assert meter.read(report, 30.0).phase == phases.CONNECTING
