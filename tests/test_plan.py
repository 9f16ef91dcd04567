"""Plans: what they say is what the transfer then does, and making one changes nothing."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, Served, framed, tree_state
from test_retry import DOWN, Pauses, Proxy
from test_storage_reading import powerless
from test_transfer import MEBIBYTE, ODD, SECOND, TIME, Route, failures, lay

from filexfer import (
    Client,
    FileResult,
    Filter,
    Limits,
    LocalError,
    Mirror,
    Options,
    PlanEntry,
    RefusedError,
    Report,
    Trust,
    UsageError,
)
from filexfer.security.tokens import Store
from filexfer.wire.protocol import IF_EXISTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("no_leftovers")

DRY: dict[str, Any] = {"dry_run": True}


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Route:
    return Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")


class Told:
    """A report that keeps what it is told."""

    def __init__(self) -> None:
        self.report = Report()
        self.planned: list[PlanEntry] = []
        self.done: list[FileResult] = []
        self.mapping: list[tuple[str, str]] = []
        self.report.on_plan = self.planned.append
        self.report.on_file = self.done.append
        self.report.on_mapping = lambda *pair: self.mapping.append(pair)

    def verdicts(self) -> dict[str, str]:
        """Return the verdict on all but folders to be made; each was told once."""
        found = [
            (each.name, each.verdict)
            for each in self.planned
            if (each.type, each.verdict) != ("folder", "send")
        ]
        assert len(found) == len(dict(found))
        return dict(found)

    def reasons(self) -> dict[str, str]:
        return {each.name: each.code for each in self.planned if each.code}

    def results(self) -> dict[str, str]:
        """Return what became of each file, in the words of a plan."""
        words = {"stored": "send", "kept": "send", "failed": "refused"}
        return {each.name: words.get(each.result, each.result) for each in self.done}


def lay_both(here: Path, there: Path) -> None:
    """Lay a tree of all that there may be, and what is at its target already."""
    for number, name in enumerate(ODD):
        lay(here / "odd" / name / name, os.fsencode(name), TIME + number)
        if number % 3 == 0:
            lay(there / "odd" / name / name, os.fsencode(name), TIME + number)
    for number in range(40):
        lay(here / "many" / f"{number % 7}" / f"{number}", b"%d" % number * number)
        if number % 4:
            lay(there / "many" / f"{number % 7}" / f"{number}", b"%d" % number * (number % 4))
    for name, data, mtime in (
        ("same", b"abc", TIME),
        ("touched", b"abc", TIME + 5 * SECOND),
        ("changed", b"abd", TIME + 5 * SECOND),
        ("newer", b"longer", TIME + 5 * SECOND),
        ("older", b"longer", TIME - 5 * SECOND),
    ):
        lay(here / "pairs" / name, data, mtime)
        lay(there / "pairs" / name, b"abc")
    lay(here / "new" / "deep" / "er" / "file", bytes(3 * MEBIBYTE))
    (here / "new" / "empty").mkdir()
    lay(here / "folder-here" / "in" / "it")
    lay(there / "folder-here")
    lay(here / "file-here")
    lay(there / "file-here" / "x")
    lay(here / "shut" / "new")
    lay(here / "shut" / "same")
    lay(here / "shut" / "sub" / "new")
    lay(there / "shut" / "same")
    lay(here / "links" / "file")
    lay(there / "links" / "elsewhere" / "x")
    for name, target in {"here": "file", "taken": "file", "out": "../../..", "same": "a"}.items():
        (here / "links" / name).symlink_to(target)
    (there / "links" / "taken").symlink_to("other")
    (there / "links" / "same").symlink_to("a")
    lay(here / "links" / "elsewhere2" / "x")
    (there / "links" / "elsewhere2").symlink_to("elsewhere")
    os.mkfifo(here / "pipe")
    lay(here / "unreadable" / "file", mode=0)
    lay(here / "unreadable" / "same", mode=0)
    lay(there / "unreadable" / "same")
    lay(here / "locked" / "file")
    os.chmod(here / "locked", 0)
    os.chmod(there / "shut", 0o500)


@pytest.fixture(params=["up", "down"])
def both(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Iterator[Route]:
    """Return a way with trees at both ends, whose server may not do more than others may."""
    with powerless():
        route = Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")
        lay_both(route.source / "tree", route.target / "tree")
        yield route
        for top in (route.source, route.target):
            for each in ("locked", "shut"):
                if (top / "tree" / each).exists():
                    os.chmod(top / "tree" / each, 0o755)


@pytest.mark.parametrize("if_exists", IF_EXISTS)
@pytest.mark.parametrize(
    "checksum",
    [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["by-time", "checksum"],
)
def test_a_plan_says_what_the_transfer_does(both: Route, if_exists: str, checksum: bool) -> None:
    """Each verdict, each reason and each sum is what the transfer ends with; nothing changes."""
    how: dict[str, Any] = {"if_exists": if_exists, "checksum": checksum, "jobs": 1}
    planned, real = Told(), Told()
    before = [changes(both.source), changes(both.target)]
    both.send("tree", report=planned.report, **how, **DRY)
    assert [changes(both.source), changes(both.target)] == before
    both.send("tree", report=real.report, **how)
    expected = real.results() | {error.name: "left_out" for error in real.report.warnings}
    if if_exists != "keep-both":  # a file that is kept gets a name of its own
        assert planned.verdicts() == expected
    assert failures(planned.report) == failures(real.report)
    one, other = planned.report, real.report
    assert (one.to_send, one.to_send_bytes) == (other.files, other.bytes)
    assert (one.skipped, one.skipped_bytes) == (other.skipped, other.skipped_bytes)
    # Who sends a folder counts it, also if it cannot be made.
    assert one.to_make == other.folders - both.is_up
    assert one.left_out == len(other.warnings)
    assert one.is_plan
    assert not other.is_plan


def changes(top: Path) -> list[tuple[str, int]]:
    """Return when each thing below a folder was changed last."""
    return sorted(
        (path, os.lstat(path).st_ctime_ns)
        for where, folders, files in os.walk(top)
        for path in (os.path.join(where, each) for each in (".", *folders, *files))
    )


CHOSEN = ["*.o", "/build", "!build/keep"]


@pytest.mark.parametrize("rules", [CHOSEN, ["!*.jpg"]], ids=["exclude", "include"])
def test_a_plan_of_what_is_chosen(route: Route, rules: list[str]) -> None:
    """What a filter leaves out is told with its reason; the rest is as in the transfer."""
    for name in ("a", "a.o", "x.jpg", "build/keep", "build/b", "sub/c", "sub/c.o", "sub/y.jpg"):
        lay(route.source / "d" / name)
    lay(route.target / "d" / "sub" / "c")
    planned, real = Told(), Told()
    left: dict[str, str] = {}
    real.report.on_left_out = left.__setitem__
    route.send("d", report=planned.report, filter=Filter(rules), **DRY)
    route.send("d", report=real.report, filter=Filter(rules), jobs=1)
    one, other = planned.report, real.report
    assert planned.verdicts() == real.results() | dict.fromkeys(left, "left_out")
    assert (one.to_send, one.skipped, one.failed) == (other.files, other.skipped, other.failed)
    assert one.left_out == other.left_out == len(left) > 0
    assert {each.text for each in planned.planned if each.name in left} == {*left.values()}


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_plan_of_a_mirror(serve: Serve, tmp_path: Path, way: str) -> None:
    """A plan removes nothing, and tells what would be removed, or why nothing would."""
    route = Route(way, serve(allow=["overwrite", "delete"]), tmp_path / "local")
    lay(route.source / "d" / "a")
    assert route.send("d", mirror=Mirror(), **DRY).to_delete == 0
    lay(route.target / "d" / "b")
    lay(route.target / "d" / "c" / "c")
    planned = Told()
    report = route.send("d", report=planned.report, mirror=Mirror(), **DRY)
    assert (report.deleted, report.to_delete, report.undeleted) == (0, 3, "")
    doomed = [each.name for each in planned.planned if each.verdict == "delete"]
    assert doomed == ["d/c/c", "d/b", "d/c"]
    assert "it would be 3 files" in route.send("d", mirror=Mirror(most=2), **DRY).undeleted
    assert route.send("d", mirror=Mirror(most=2), preflight=True).is_plan
    shutil.rmtree(route.target / "d" / "c")
    lay(route.target / "d" / "a", b"other")
    assert "not everything" in route.send("d", mirror=Mirror(), **DRY).undeleted
    assert (route.target / "d" / "b").exists()
    assert route.send("d", mirror=Mirror(), preflight=True).is_plan
    assert (route.target / "d" / "b").exists()
    report = route.send("d", mirror=Mirror(), preflight=True, if_exists="overwrite")
    assert (report.files, report.deleted) == (1, 1)


def test_what_lands_where_is_told_first(route: Route) -> None:
    """Each source is told with what it lands as, before anything else."""
    lay(route.source / "a")
    lay(route.source / "d" / "b")
    told = Told()
    order: list[str] = []
    told.report.on_mapping = lambda *pair: order.append(" -> ".join(pair))
    told.report.on_plan = lambda entry: order.append(entry.name)
    route.send("a", "d", to="new/", report=told.report, **DRY)
    if route.is_up:
        ends = [("{}/a", "{}new/a"), ("{}/d", "{}new/d")]
        expected = [
            f"{a.format(route.source)} -> {b.format(route.client.url(''))}" for a, b in ends
        ]
    else:
        ends = [("a", "{}/new/a"), ("d", "{}/new/d")]
        expected = [f"{route.client.url(a)} -> {b.format(route.target)}" for a, b in ends]
    assert order[:2] == expected
    assert len(order) == 5
    assert [*route.target.iterdir()] == []


@pytest.mark.parametrize("if_exists", IF_EXISTS)
def test_sources_of_one_name(serve: Serve, tmp_path: Path, if_exists: str) -> None:
    """What comes twice under one name is decided as if the first had arrived."""
    sources = [lay(tmp_path / "a" / "x", b"one"), lay(tmp_path / "b" / "x", b"two", TIME + SECOND)]
    client = serve(allow=["overwrite"]).client()
    plan = client.put(sources, "", Options(if_exists=if_exists, dry_run=True))
    real = client.put(sources, "", Options(if_exists=if_exists, jobs=1))
    assert (plan.to_send, plan.skipped) == (real.files, real.skipped)
    assert failures(plan) == failures(real)


def test_what_would_be_kept_beside(route: Route) -> None:
    """A file that was kept beside another before is found there by its contents."""
    lay(route.source / "d" / "x", b"mine")
    lay(route.source / "d" / "y", b"mine too")
    lay(route.target / "d" / "x", b"theirs")
    lay(route.target / "d" / "y", b"theirs")
    assert route.send("d", if_exists="keep-both", **DRY).to_send == 2
    route.send("d", if_exists="keep-both")
    (beside,) = (each for each in (route.target / "d").iterdir() if each.name.startswith("y~"))
    lay(beside, b"something else")
    planned, real = Told(), Told()
    route.send("d", if_exists="keep-both", report=planned.report, **DRY)
    route.send("d", if_exists="keep-both", report=real.report)
    assert failures(planned.report) == failures(real.report) == {"d/y": "exists"}
    assert planned.report.skipped == real.report.skipped == 1


def test_missing_sources(route: Route) -> None:
    """What is not there fails; the rest is planned."""
    lay(route.source / "a")
    report = route.send("a", "nothing", **DRY)
    assert [*failures(report).values()] == ["not_found"]
    assert report.to_send == 1
    assert route.send("nothing", "neither", **DRY).failed == 2


def test_streams_cannot_be_planned(served: Served) -> None:
    """Standard input and output are refused, by either option."""
    client = served.client()
    for options in (Options(dry_run=True), Options(preflight=True)):
        with pytest.raises(UsageError, match="cannot be planned"):
            client.put_stream(0, "x", options)
        with pytest.raises(UsageError, match="cannot be planned"):
            client.get_stream("x", 1, options)


def test_a_destination_that_cannot_be_used(served: Served, tmp_path: Path) -> None:
    """Where the folder of a download cannot be made, its plan fails as it would itself."""
    lay(served.folder / "a")
    lay(tmp_path / "file")
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o500)
    with powerless():
        for place in (tmp_path / "file" / "x", shut / "x" / "y"):
            for options in (Options(dry_run=True), Options()):
                with pytest.raises(LocalError, match="cannot use the folder"):
                    served.client().get(["a"], f"{place}/", options)


# Rights, limits and space


class House:
    """A server with tokens."""

    def __init__(self, served: Served, store: Store) -> None:
        self.served = served
        self._store = store
        self._count = 0
        self.folder = served.folder / "mine"
        self.folder.mkdir()

    def client(self, rights: str, **limits: Any) -> Client:
        self._count += 1
        token = self._store.add(f"t{self._count}", rights.split(), root="mine", **limits)
        return self.served.client(trust=Trust(token=token))


@pytest.fixture
def house(serve: Serve, tmp_path: Path) -> House:
    store = Store(tmp_path / "state" / "tokens.json")
    store.add("nobody", ["list"])
    return House(serve(tokens=store.path, limits=Limits(max_file_size=5000)), store)


def test_rights(house: House, tmp_path: Path) -> None:
    """A right that is missing is told as in a transfer: for the whole, or for each file."""
    lay(tmp_path / "a", b"mine")
    lay(house.folder / "a", b"theirs")
    lay(house.folder / "d" / "b")
    with pytest.raises(RefusedError, match="does not let you upload"):
        house.client("read list").put([tmp_path / "a"], "", Options(dry_run=True))
    with pytest.raises(RefusedError, match="does not let you read"):
        house.client("create list").get(["a"], tmp_path / "x", Options(dry_run=True))
    options = Options(dry_run=True, if_exists="overwrite")
    report = house.client("create read list").put([tmp_path / "a"], "", options)
    assert failures(report) == {"a": "denied"}
    report = house.client("read").get(["d", "a"], tmp_path / "x", options)
    assert failures(report) == {"d": "denied"}
    assert report.to_send == 1


def test_limits_of_the_server_and_of_a_token(house: House, tmp_path: Path) -> None:
    """Files that are too large by themselves, or for the quota together, are refused."""
    for name, size in {"a": 400, "b": 400, "c": 400, "d": 100, "e": 3000, "f": 6000}.items():
        lay(tmp_path / "tree" / name, bytes(size))
    lay(house.folder / "tree" / "b", b"x" * 300)
    client = house.client("create read list overwrite", quota=1200, max_file_size=2000)
    how: dict[str, Any] = {"if_exists": "overwrite", "durability": "none", "jobs": 1}
    planned, real = Told(), Told()
    client.put([tmp_path / "tree"], "", Options(dry_run=True, **how), planned.report)
    assert [each.name for each in house.folder.iterdir()] == ["tree"]
    client.put([tmp_path / "tree"], "", Options(**how), real.report)
    assert failures(planned.report) == failures(real.report)
    told = failures(planned.report)
    assert (told.pop("tree/e"), told.pop("tree/f")) == ("too_large", "too_large")
    assert [*told.values()] == ["quota"]
    assert planned.report.to_send == real.report.files


def test_what_a_dead_process_left_is_not_swept_by_a_plan(house: House, tmp_path: Path) -> None:
    """A plan counts for a quota, and removes nothing; what a transfer would remove counts too."""
    left = lay(house.folder / ".fx-0123456789ab0123456789ab00000001.part", bytes(900))
    lay(tmp_path / "a", bytes(400))
    client = house.client("create read list", quota=1000)
    assert failures(client.put([tmp_path / "a"], "", Options(dry_run=True))) == {"a": "quota"}
    assert left.exists()
    assert client.put([tmp_path / "a"], "").files == 1
    assert not left.exists()


def test_no_space(route: Route) -> None:
    """What does not fit on the disk together is refused from there on; smaller files may fit."""
    found = os.statvfs(route.target)
    free = found.f_bavail * found.f_frsize
    (route.source / "d").mkdir()
    for name, share in {"a": 0.6, "b": 0.6, "c": 0.6, "z": 0}.items():
        with open(route.source / "d" / name, "wb") as file:
            file.truncate(int(free * share))
    report = route.send("d", **DRY)
    assert [*failures(report).values()] == ["no_space", "no_space"]
    assert report.to_send == 2


def test_names_that_are_not_allowed(route: Route) -> None:
    """A name that is too long or too deep in the end is refused."""
    lay(route.source / "d" / ("x" * 200) / ("y" * 200))
    to = "/".join(["z" * 250] * 3)
    report = route.send("d", to=to, **DRY)
    if route.is_up:
        assert {*failures(report).values()} == {"bad_name"}
        assert failures(route.send("d", to=to)) == failures(report)


def test_a_drop_box_learns_nothing(house: House, tmp_path: Path) -> None:
    """Whatever is there, the answers are the same; only what could never be stored is refused."""
    for name in ("a", "b"):
        lay(tmp_path / "tree" / name, bytes(700))
    lay(tmp_path / "tree" / "large", bytes(1500))
    lay(tmp_path / "tree" / "A", bytes(10))
    answers = []
    for what in (b"", bytes(700), b"other"):
        if what:
            lay(house.folder / "tree" / "a", what)
        told = Told()
        client = house.client("create", max_file_size=1000)
        client.put([tmp_path / "tree"], "", Options(dry_run=True), told.report)
        answers.append([(each.name, each.verdict, each.code) for each in told.planned])
    assert answers[0] == answers[1] == answers[2]
    assert {verdict for name, verdict, _ in answers[0] if "large" not in name} == {"send"}
    assert [code for *_, code in answers[0] if code] == ["too_large"]


def test_names_that_collide_elsewhere(route: Route) -> None:
    """Where names are told apart, those that are not elsewhere are sent, with a remark."""
    if (route.source.parent / "LOCAL").exists():
        pytest.skip("this file system takes the names for one")
    for name in ("README", "readme", "caf\u00e9", "cafe\u0301", "alone"):
        lay(route.source / "d" / name)
    lay(route.source / "d" / "Sub" / "x")
    lay(route.source / "d" / "sub" / "x")
    told = Told()
    route.send("d", report=told.report, **DRY)
    assert told.report.to_send == 7
    assert not told.report.failed
    assert len(told.report.remarks) == 3
    assert len([each for each in told.planned if each.text]) == 3
    assert route.send("d", preflight=True).files == 7


def test_names_that_collide_with_what_is_there(house: House, tmp_path: Path) -> None:
    """What exists counts as well, for who may list it."""
    lay(tmp_path / "d" / "readme")
    lay(house.folder / "d" / "README")
    if (house.folder / "d" / "readMe").exists():
        pytest.skip("this file system takes the names for one")
    for rights, count in (("create read list", 1), ("create read", 0)):
        report = house.client(rights).put([tmp_path / "d"], "", Options(dry_run=True))
        assert (report.to_send, report.failed, len(report.remarks)) == (1, 0, count)
    lay(tmp_path / "here" / "d" / "Readme")
    client = house.client("read list")
    assert len(client.get(["d"], tmp_path / "here", Options(dry_run=True)).remarks) == 1
    long = "/".join([str(tmp_path / "missing"), *["x" * 200] * 4])
    report = client.get(["d"], f"{long}/", Options(dry_run=True))
    assert (report.to_send, report.failed, report.remarks) == (1, 0, [])


# Before a transfer


def test_a_preflight_stops_before_the_first_byte(route: Route) -> None:
    """Where anything would fail, nothing is touched, and the report says what."""
    lay(route.source / "d" / "new")
    lay(route.source / "d" / "x", b"one")
    lay(route.target / "d" / "x", b"other")
    before = tree_state(route.target)
    told = Told()
    report = route.send("d", report=told.report, preflight=True)
    assert tree_state(route.target) == before
    assert failures(report) == {"d/x": "exists"}
    assert (report.files, report.to_send, report.is_plan) == (0, 1, True)
    assert told.done == []


def test_a_preflight_that_finds_nothing_runs(route: Route) -> None:
    """Where all is well, everything is transferred, and counted once."""
    lay(route.source / "d" / "new", b"12345")
    lay(route.source / "d" / "x", b"one")
    lay(route.target / "d" / "x", b"one")
    told = Told()
    report = route.send("d", report=told.report, preflight=True)
    assert tree_state(route.target / "d") == tree_state(route.source / "d")
    assert (report.files, report.skipped, report.failed, report.is_plan) == (1, 1, 0, False)
    assert (report.to_send, report.to_send_bytes) == (1, 5)
    assert [each.verdict for each in told.planned if each.type == "file"] == [
        *(told.results()[each.name] for each in told.planned if each.type == "file")
    ]


# Connections and other sides


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_connection_that_is_lost(
    served: Served, tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is made again on another connection; each name is told and counted once."""
    top = served.folder if way == "down" else tmp_path / "here"
    monkeypatch.setattr(time, "sleep", Pauses())
    for number in range(600):
        lay(top / "d" / f"{number:04}" / "x", b"")
    proxy = Proxy(served.server.port)
    told = Told()
    try:
        with Client("127.0.0.1", proxy.port) as client:
            client.stat("")
            proxy.arm(DOWN, 1000 if way == "up" else 40_000, "reset")
            if way == "up":
                client.put([top / "d"], "", Options(dry_run=True), told.report)
            else:
                client.get(["d"], tmp_path / "x", Options(dry_run=True), told.report)
    finally:
        assert not proxy.disarm()
        proxy.close()
    assert len(told.planned) == len({each.name for each in told.planned}) == 1201
    assert (told.report.to_send, told.report.to_make) == (600, 601)
    assert [*served.folder.iterdir()] == ([top / "d"] if way == "down" else [])


def test_items_in_a_plan(served: Served, raw: Callable[..., Raw]) -> None:
    """Who sends a file where it is only planned is told so, and nothing is stored."""
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "put", "plan": True})
    peer.send(framed({"kind": "folder", "name": "d"}))
    (reply,) = peer.replies()
    assert (reply["kind"], reply["code"]) == ("error", "out_of_order")
    assert [*served.folder.iterdir()] == []


def test_a_link_that_leads_out(served: Served, raw: Callable[..., Raw]) -> None:
    """A link that no honest sender would offer is refused in a plan too."""
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "put", "plan": True})
    peer.frame({"kind": "ask", "entries": [["l", "link", 0, TIME, 511, "../../etc"]]})
    reply = peer.reply() or {}
    assert (reply["verdicts"], reply["refused"][0][1]) == ("r", "denied")


def test_no_sums_are_remembered(house: House, tmp_path: Path) -> None:
    """What a plan has counted as stored does not count for the next one."""
    lay(tmp_path / "a", b"x" * 100)
    client = house.client("create read list", quota=150)
    for _ in range(3):
        assert client.put([tmp_path / "a"], "", Options(dry_run=True)).to_send == 1
