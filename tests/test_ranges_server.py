"""Downloads and uploads in pieces with servers that say what no honest one would."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, framed
from test_cli_process import scripted, welcome
from test_ranges import DATA, LEAST, digest, small  # noqa: F401 - a fixture
from test_transfer import TIME, failures, lay

from filexfer import (
    Client,
    ConnectionLost,
    FilexferError,
    IntegrityError,
    Options,
    ProtocolError,
    RefusedError,
    Report,
    TimedOut,
)
from filexfer.errors import Code, ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Answers = dict[str, Callable[[dict[str, Any]], bytes]]

pytestmark = pytest.mark.usefixtures("no_leftovers", "small")

HOW = Options(jobs=2, pieces=True, retries=0, durability="none")
OK = framed({"kind": "ok"})
STORED = {"kind": "stored", "name": "a", "size": len(DATA), "hash": digest(DATA)}


def later(name: str = "a", size: int = len(DATA), **more: Any) -> bytes:
    return framed({"kind": "later", "name": name, "size": size, "mtime": TIME, "mode": 420, **more})


def hashed(data: bytes) -> bytes:
    return framed({"kind": "hashed", "hash": digest(data)})


def sliced(request: dict[str, Any]) -> bytes:
    data = DATA[request["offset"] : request["offset"] + request["size"]]
    return hashed(data) + data


def error(code: str, *, fatal: bool = False) -> Callable[[Any], bytes]:
    return lambda _: framed({"kind": "error", "code": code, "text": "no", "fatal": fatal})


HONEST: Answers = {
    "stat": lambda _: framed(
        {"kind": "entries", "entries": [["a", "file", len(DATA), TIME, 420, ""]]}
    ),
    "get": lambda _: later() + framed({"kind": "end"}),
    "digest": lambda _: hashed(DATA),
    "slice": sliced,
    "begin": lambda _: framed({"kind": "begun", "id": "an-id"}),
    "range": lambda _: OK,
    "finish": lambda _: framed(STORED),
    "abandon": lambda _: OK,
}


def serving(answers: Answers) -> Callable[[Raw], None]:
    """Return a script that answers requests, honestly but for those."""

    def act(peer: Raw) -> None:
        welcome(peer)
        try:
            is_getting = False  # so that an end is that of the exchange
            while request := peer.reply():
                if request["kind"] == "end" and not is_getting:
                    break
                is_getting = request["kind"] == "get" or (is_getting and request["kind"] != "end")
                if request["kind"] in ("received", "done", "end"):
                    continue
                if request["kind"] == "range":
                    peer.read(request["size"])
                peer.send({**HONEST, **answers}[request["kind"]](request))
        except OSError:
            pass  # the client would have no more of it
        finally:
            peer.finish()

    return act


def busy(peer: Raw) -> None:
    """Have no room for a second connection."""
    try:
        peer.reply()
        peer.frame({"kind": "error", "code": "busy", "text": "full"})
        peer.finish()
        peer.reply()
    except OSError:
        pass  # it has gone


def transfer(way: str, path: Path, answers: Answers, timeout: float = SECONDS) -> Report:
    """Move one file down or up, and return the report, or raise what was raised."""
    failure: FilexferError | None = None
    report = Report()
    with scripted(serving(answers), busy) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with Client("127.0.0.1", port, timeout=timeout) as client:
            try:
                if way == "down":
                    client.get(["a"], path / "into" / "a", HOW, report)
                else:
                    client.put([lay(path / "a", DATA)], "a", HOW, report)
            except FilexferError as error:
                failure = error
        try:  # if the client never came to the second script
            socket.create_connection(("127.0.0.1", port), SECONDS).close()
        except OSError:
            pass  # it did, and nobody listens any more
    if failure:
        raise failure
    return report


def test_honest_servers(tmp_path: Path) -> None:
    """Also over one connection, if the server has no second."""
    assert transfer("down", tmp_path, {}).files == 1
    assert (tmp_path / "into" / "a").read_bytes() == DATA
    assert (
        transfer(
            "up", tmp_path, {"stat": lambda _: framed({"kind": "entries", "entries": []})}
        ).files
        == 1
    )


BAD_ITEMS: list[tuple[str, bytes, type[FilexferError]]] = [
    ("another name", later("b"), IntegrityError),
    ("a way out", later("../a"), IntegrityError),
    ("below a file", later("a/../../b"), FilexferError),
    ("twice", later() + later(), ProtocolError),
    ("too small", later(size=LEAST - 1), ProtocolError),
    ("no size", framed({"kind": "later", "name": "a"}), ProtocolError),
]


@pytest.mark.case("C1", "C7")
@pytest.mark.parametrize(
    ("items", "kind"), [each[1:] for each in BAD_ITEMS], ids=[each[0] for each in BAD_ITEMS]
)
def test_files_that_were_not_asked_for(
    tmp_path: Path, items: bytes, kind: type[FilexferError]
) -> None:
    """Nothing is written under another name, and nothing is fetched for it."""
    answers: Answers = {"get": lambda _: items + framed({"kind": "end"})}
    try:
        report = transfer("down", tmp_path, answers)
    except kind:
        pass
    else:
        assert report.failed
    assert os.listdir(tmp_path / "into") == []


def test_a_file_that_is_named_where_none_may_be(tmp_path: Path) -> None:
    """Over one connection, and into a stream, files have to be sent."""
    once = Options(retries=0, durability="none")
    with scripted(serving({}), serving({}), serving({})) as address, open(os.devnull, "wb") as null:
        port = int(address.rstrip("/").rpartition(":")[2])
        with Client("127.0.0.1", port, timeout=SECONDS) as client:
            with pytest.raises(ProtocolError):
                client.get(["a"], tmp_path / "into" / "a", once)
            with pytest.raises(ProtocolError):
                client.get_stream("a", null.fileno(), once)
            assert client.stat("a")


def cut_short(request: dict[str, Any]) -> bytes:
    return sliced(request)[:-1]


def too_long(request: dict[str, Any]) -> bytes:
    return sliced(request) + b"more"


def other_place(request: dict[str, Any]) -> bytes:
    return sliced({**request, "offset": (request["offset"] + 1) % 1000})


def weak(request: dict[str, Any]) -> bytes:
    data = DATA[request["offset"] : request["offset"] + request["size"]]
    return framed({"kind": "hashed", "hash": "md5:" + "0" * 32}) + data


def damaged(request: dict[str, Any]) -> bytes:
    data = sliced(request)
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize(
    "answers",
    [
        {"slice": too_long},
        {"slice": weak},
        {"slice": lambda _: OK},
        {"slice": lambda _: b"\xff" * 100},
        {"digest": lambda _: OK},
        {"digest": lambda _: hashed(DATA) * 2},
        {"slice": error("shutting_down", fatal=True)},
        {"slice": error("denied", fatal=True)},
    ],
)
def test_answers_that_cannot_be(tmp_path: Path, answers: Answers) -> None:
    """The download as a whole fails, and nothing is left."""
    with pytest.raises((ProtocolError, ConnectionLost, RefusedError)):
        transfer("down", tmp_path, answers)
    assert os.listdir(tmp_path / "into") == []


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"slice": damaged}, Code.HASH_MISMATCH),
        ({"slice": other_place}, Code.HASH_MISMATCH),
        ({"digest": lambda _: hashed(b"")}, Code.HASH_MISMATCH),
        ({"slice": error("changed")}, Code.CHANGED),
        ({"digest": error("changed")}, Code.CHANGED),
        ({"digest": error("changed"), "slice": error("denied")}, Code.CHANGED),
    ],
)
def test_files_that_are_not_good(tmp_path: Path, answers: Answers, code: str) -> None:
    """That file fails, and nothing is left."""
    report = transfer("down", tmp_path, answers)
    assert list(failures(report).values()) == [code]
    assert os.listdir(tmp_path / "into") == []


FRESH: Answers = {"stat": lambda _: framed({"kind": "entries", "entries": []})}


@pytest.mark.case("C25")
@pytest.mark.parametrize(
    "answers",
    [
        {"begin": lambda _: OK},
        {"begin": lambda _: framed({"kind": "begun"})},
        {"begin": lambda _: framed({"kind": "begun", "id": "x" * 65})},
        {"begin": lambda _: framed({"kind": "begun", "id": "a\0b"})},
        {"begin": lambda _: framed({"kind": "begun", "result": "eaten"})},
        {"range": lambda _: OK * 2},
        {"range": lambda _: framed(STORED)},
        {"finish": lambda _: OK},
        {"finish": error("internal", fatal=True)},
    ],
)
def test_answers_that_cannot_be_up(tmp_path: Path, answers: Answers) -> None:
    """The upload as a whole fails."""
    with pytest.raises((ProtocolError, ConnectionLost)):
        transfer("up", tmp_path, {**FRESH, **answers})


@pytest.mark.parametrize(
    ("answers", "code"),
    [
        ({"begin": error("denied")}, "denied"),
        ({"range": error("hash_mismatch")}, "hash_mismatch"),
        ({"range": error("no_space")}, "no_space"),
        ({"finish": error("anything")}, "anything"),
    ],
)
def test_refusals(tmp_path: Path, answers: Answers, code: str) -> None:
    """The file fails, for the server's reason."""
    report = transfer("up", tmp_path, {**FRESH, **answers})
    assert failures(report) == {"a": code}


@pytest.mark.parametrize(
    ("result", "count"),
    [("stored", "files"), ("kept", "files"), ("identical", "skipped"), ("skipped", "skipped")],
)
def test_results(tmp_path: Path, result: str, count: str) -> None:
    """What the server says became of it is what is counted."""
    answers: Answers = {"finish": lambda _: framed({**STORED, "result": result})}
    assert getattr(transfer("up", tmp_path, {**FRESH, **answers}), count) == 1
    if count == "skipped":
        told: Answers = {"begin": lambda _: framed({"kind": "begun", "result": result})}
        assert transfer("up", tmp_path, {**FRESH, **told}).skipped == 1


@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("kind", ["begin", "range", "finish", "slice", "digest"])
def test_servers_that_go(tmp_path: Path, way: str, kind: str) -> None:
    """A connection that ends is told as that, and nothing is left."""

    def gone(_: Any) -> bytes:
        raise ConnectionResetError

    if (kind in ("slice", "digest")) == (way == "down"):
        with pytest.raises(ConnectionLost):
            transfer(way, tmp_path, {**(FRESH if way == "up" else {}), kind: gone})


@pytest.mark.case("C19")
@pytest.mark.parametrize("kind", ["begin", "range", "finish", "slice"])
def test_servers_that_stall(tmp_path: Path, kind: str) -> None:
    """They are given up in time, wherever they fall silent, and nothing is left."""
    way = "down" if kind == "slice" else "up"
    answers: Answers = {**(FRESH if way == "up" else {}), kind: lambda _: b""}
    with pytest.raises(TimedOut) as caught:
        transfer(way, tmp_path, answers, 0.3)
    assert caught.value.exit_code == ExitCode.NETWORK
    assert not (tmp_path / "into" / "a").exists()
