"""How many connections a command takes by itself."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from conftest import tcp_pair

from filexfer import FileError, Options
from filexfer.shared import jobs
from filexfer.storage.folder import Folder
from filexfer.storage.reading import Reading
from filexfer.transfer import sources
from filexfer.transfer.sources import Source, count
from filexfer.wire.budget import Limit
from filexfer.wire.dial import Door, round_trip

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Served

FARTHER, FAR, NEAR = 0.05, 0.049, 0.0005  # seconds


def door(seconds: float, *, is_own: bool = False) -> Door:
    made = Door("127.0.0.1", 1)
    made.round_trip, made.is_own = seconds, is_own
    return made


def files(folder: Path, number: int, size: int = 0) -> Path:
    for index in range(number):
        place = folder / str(index % 7)
        place.mkdir(parents=True, exist_ok=True)
        with (place / f"file-{index}").open("wb") as file:
            file.truncate(size)
    return folder


@pytest.mark.parametrize(
    ("cores", "is_own", "number"),
    [
        *((1, True, 1), (2, True, 2), (3, True, 2), (4, True, 2), (8, True, 4), (64, True, 4)),
        *((1, False, 1), (2, False, 2), (4, False, 4), (64, False, 4)),
    ],
)
def test_near_by_the_cores_decide(cores: int, is_own: bool, number: int) -> None:
    assert jobs.near(cores, is_own=is_own) == number


@pytest.mark.parametrize(("number", "wanted"), [(0, 1), (19, 1), (20, 8), (100_000, 8)])
def test_on_a_long_way_few_files_are_enough(number: int, wanted: int) -> None:
    assert jobs.settled(Options(), door(FAR), number, is_fresh=True).jobs == wanted


def test_on_a_longer_way_more_pay() -> None:
    assert jobs.settled(Options(), door(FARTHER), 20, is_fresh=True).jobs == 16


def test_on_a_long_way_it_does_not_matter_what_is_there() -> None:
    assert jobs.settled(Options(), door(FAR), 20, is_fresh=False).jobs == 8


def test_what_was_asked_for_stays() -> None:
    options = Options(jobs=3)
    assert jobs.settled(options, door(FAR), 10**6, is_fresh=True) is options
    assert jobs.least_files(options, door(FAR)) == 0


def test_everything_else_stays() -> None:
    options = Options(if_exists="skip", retries=9)
    made = jobs.settled(options, door(FAR), 0, is_fresh=True)
    assert (made.if_exists, made.retries, made.jobs, options.jobs) == ("skip", 9, 1, None)


def test_with_other_threads_one_connection_near_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with several threads cannot be forked, and threads would not be faster."""
    monkeypatch.setattr(jobs, "may_fork", lambda: False)
    monkeypatch.setattr(jobs, "near", lambda *_, **__: 3)
    assert jobs.settled(Options(), door(NEAR), 10**6, is_fresh=True).jobs == 1
    monkeypatch.setattr(jobs, "may_fork", lambda: True)
    assert jobs.settled(Options(), door(NEAR), 10**6, is_fresh=True).jobs == 3
    assert jobs.settled(Options(), door(NEAR), 999, is_fresh=True).jobs == 1
    assert jobs.settled(Options(), door(NEAR), 10**6, is_fresh=False).jobs == 1


def test_a_low_limit_needs_one_connection() -> None:
    limited = door(FAR)
    limited.limit = Limit(500_000)
    assert jobs.settled(Options(), limited, 10**6, is_fresh=True).jobs == 1
    limited.limit = Limit(50_000_000)
    assert jobs.settled(Options(), limited, 10**6, is_fresh=True).jobs == 8


def test_many_files_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the names alone are enough, nobody asks what each file is."""
    with Folder(files(tmp_path, 30)) as folder:
        monkeypatch.delattr(Reading, "walk")
        assert count(Source(folder, "", "", fresh=True), 30) == 30
        with pytest.raises(AttributeError):
            count(Source(folder, "", "", fresh=True), 31)


def test_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are counted up to a number; a large one weighs more; what is not there, nothing."""
    monkeypatch.setattr(sources, "LARGE", 1 << 20)
    with Folder(files(tmp_path, 30)) as folder:
        source = Source(folder, "", "", fresh=True)
        assert [count(source, most) for most in (1, 29, 30, 31, 1000)] == [1, 29, 30, 30, 30]
        assert count(Source(folder, "3", "", fresh=True), 1000) == 4
        assert count(Source(folder, "3/file-3", "", fresh=True), 1000) == 1
        assert count(Source(folder, "gone", "", fresh=True), 1000) == 0
        (tmp_path / "large").write_bytes(bytes(1 << 20))
        assert [count(source, most) for most in (1000, 50, 20)] == [50, 50, 20]


def test_a_round_trip_is_short_here() -> None:
    one, other = tcp_pair()
    with one, other:
        assert 0 <= round_trip(one) < jobs.LONG
    with socket.socket(socket.AF_UNIX) as sock:
        assert round_trip(sock) == 0


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize(("number", "wanted"), [(19, 1), (60, 8)])
def test_a_long_way_takes_eight(
    serve: Callable[..., Served],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    number: int,
    wanted: int,
) -> None:
    monkeypatch.setattr(jobs, "LONG", 0.0)  # every way is long now
    tree = files(tmp_path / "tree", number)
    options: dict[str, Any] = {"options": Options(stats=True)}
    if way == "up":
        report = serve().client().put([tree], **options)
    else:
        report = serve(tmp_path).client().get(["tree"], tmp_path / "got", **options)
    assert report.stats
    assert (report.files, report.stats.connections) == (number, wanted)


def test_a_server_counts_no_further_than_it_wants(
    serve: Callable[..., Served], tmp_path: Path
) -> None:
    from filexfer.wire import requests  # noqa: PLC0415 - as the client does

    files(tmp_path / "tree", 1010)
    client = serve(tmp_path).client()
    client.stat("")
    connection = client._connection
    assert connection
    for most, found in ((0, 0), (5, 5), (1000, 1000), (10**9, 1000)):
        assert requests.look(connection, ["tree"], most)[1] == found
    assert requests.look(connection, ["gone"], 10) == ({"gone": None}, 0)
    with pytest.raises(FileError):
        requests.look(connection, ["../tree"], 10)
