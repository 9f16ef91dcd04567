"""Tests of what is logged of transfers: by which client, what, how large, and how it ended."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, framed
from test_cli_process import Service, environment, fx, is_one_line, running
from test_managed import Manager
from test_ranges import DATA, digest, small

from filexfer import FileError, Options
from filexfer.hashing import digest_of
from filexfer.security.access import RIGHTS, Anybody, Grant
from filexfer.serving import transfers
from filexfer.serving.transfers import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Served]
    Found = list[list[Any]]

__all__ = ["small"]

SIZES = (0, 7, 2 << 20)
HELLO = {"kind": "hello", "version": 1}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Found]:
    """Gather verb, name, size, digest, result and reason of what is logged from now on."""
    gathered: Found = []

    class Gather(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            batch = record.msg
            assert isinstance(batch, Batch)
            assert batch.peer.startswith("127.0.0.1:")
            for name, size, made, result, seconds, reason in batch.entries:
                assert 0 <= seconds < SECONDS
                gathered.append([batch.verb, name, size, made, result, reason])

    handler = Gather()
    monkeypatch.setattr(transfers.logger, "propagate", False)
    transfers.logger.addHandler(handler)
    transfers.logger.setLevel(logging.INFO)
    yield gathered
    transfers.logger.removeHandler(handler)
    transfers.logger.setLevel(logging.NOTSET)


@pytest.mark.parametrize("durability", ["none", "batch"])
def test_a_tree_up_and_down(durability: str, found: Found, serve: Serve, tmp_path: Path) -> None:
    """Each file that moves is an entry with its digest; a second run, which moves none, is none."""
    served = serve(durability=durability)
    client = served.client()
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    for size in SIZES:
        (tmp_path / "tree" / "sub" / str(size)).write_bytes(bytes(size))
    (tmp_path / "tree" / "link").symlink_to("sub/7")
    for _ in range(2):
        client.put([str(tmp_path / "tree")], "", Options(jobs=1))
    for _ in range(2):
        client.get(["tree"], f"{tmp_path}/back/", Options(jobs=1, algorithm="sha256"))
    served.server.close()  # waits for what is still to be logged
    for verb, algorithm in (("put", "xxh3_128"), ("get", "sha256")):
        of = digest_of(algorithm)
        mine = sorted(entry[1:] for entry in found if entry[0] == verb)
        files = [[f"tree/sub/{size}", size, of(bytes(size)), "stored", ""] for size in SIZES]
        assert mine == [["tree/link", 0, "", "stored", ""], *sorted(files)]
    assert len(found) == 8


def test_files_that_are_kept_or_fail(found: Found, serve: Serve, tmp_path: Path) -> None:
    """A file that is kept beside another has its new name; one that cannot be stored its reason."""
    served = serve()
    client = served.client()
    (tmp_path / "file").write_bytes(b"new")
    (served.folder / "file").write_bytes(b"old!")
    (served.folder / "a").write_bytes(b"")
    client.put([str(tmp_path / "file")], "", Options(if_exists="keep-both"))
    (kept,) = {path.name for path in served.folder.iterdir()} - {"file", "a"}
    client.put([str(tmp_path / "file")], "a/b")
    client.get(["file"], str(tmp_path / "file"), Options(if_exists="keep-both"))
    served.server.close()
    of = digest_of("xxh3_128")
    assert found == [
        ["put", kept, 3, of(b"new"), "kept", ""],
        ["put", "a/b", 0, "", "failed", "a: is not a folder (links are not followed)"],
        ["get", "file", 4, of(b"old!"), "kept", ""],
    ]


@pytest.mark.usefixtures("small")
def test_a_file_in_pieces(found: Found, serve: Serve, tmp_path: Path) -> None:
    """A file that came in pieces is one entry; one that went, an entry for each connection."""
    served = serve()
    client = served.client()
    (tmp_path / "large").write_bytes(DATA)
    how = Options(jobs=2, pieces=True)
    client.put([str(tmp_path / "large")], "", how)
    client.get(["large"], f"{tmp_path}/back", how)
    served.server.close()
    assert found[0] == ["put", "large", len(DATA), digest(DATA), "stored", ""]
    assert {(*entry[:2], *entry[3:]) for entry in found[1:]} == {("get", "large", "", "pieces", "")}
    assert sum(entry[2] for entry in found[1:]) == len(DATA)
    assert (tmp_path / "back").read_bytes() == DATA


def test_plain_clients(found: Found, serve: Serve, raw: Callable[..., Raw]) -> None:
    """What the plainest clients store and fetch is logged too."""
    served = serve()
    peer = raw(served.server)
    md5 = "md5:" + hashlib.md5(b"x").hexdigest()
    for _ in range(2):
        peer.send(framed({"name": "a", "size": 1, "hash": md5}) + b"x")
        peer.reply()
    peer.send(framed({"name": "b", "size": 1, "hash": md5}) + b"y")
    peer.reply()
    peer.frame({"kind": "fetch", "name": "a", "hash": "md5"})
    assert peer.reply()
    assert peer.read(1) == b"x"
    peer.close()
    served.server.close()
    assert found == [
        ["put", "a", 1, md5, "stored", ""],
        ["put", "a", 1, md5, "identical", ""],
        ["put", "b", 1, md5, "failed", "the bytes that came do not match their hash"],
        ["get", "a", 1, md5, "sent", ""],
    ]


@pytest.mark.parametrize("kind", ["put", "store"])
def test_a_connection_that_is_cut(
    kind: str, found: Found, serve: Serve, raw: Callable[..., Raw]
) -> None:
    """An upload that was under way when its client went is an entry; so is what came before."""
    served = serve()
    peer = raw(served.server)
    whole = {"size": 1, "hash": digest(b"x")}
    if kind == "put":
        peer.greet()
        peer.frame({"kind": "put"})
        peer.send(framed({"kind": "file", "name": "a", "mtime": 0, "mode": 420, **whole}) + b"x")
        peer.frame(
            {"kind": "file", "name": "b", "size": 9, "mtime": 0, "mode": 420, "hash": digest(b"")}
        )
    else:
        peer.frame({"name": "b", "size": 9, "hash": digest(b"")})
    peer.send(b"half")
    peer.finish()
    peer.replies()
    served.server.close()
    stored = [["put", "a", 1, digest(b"x"), "stored", ""]] if kind == "put" else []
    assert found == [*stored, ["put", "b", 0, "", "cut", ""]]


def test_a_download_that_is_cut(found: Found, serve: Serve, raw: Callable[..., Raw]) -> None:
    """A download whose client went before it confirmed is an entry; what could not be read, too."""
    served = serve()
    (served.folder / "a").write_bytes(b"x")
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "get", "names": ["gone", "a"], "fresh": True})
    assert [reply["kind"] for reply in (peer.reply() or {}, peer.reply() or {})] == [
        *("unsent", "file")
    ]
    assert peer.read(1) == b"x"
    peer.reset()
    served.server.close()
    assert found == [
        ["get", "gone", 0, "", "failed", "no such file or folder"],
        ["get", "a", 0, "", "cut", ""],
    ]


def test_what_is_made_and_removed(found: Found, serve: Serve) -> None:
    """Folders that are made, and what is removed, are entries; what is refused is none."""
    served = serve(allow=["delete"])
    client = served.client()
    client.make_folder("a/b")
    client.remove("a", recursive=True)
    with pytest.raises(FileError):
        client.remove("a")
    served.server.close()
    assert found == [["mkdir", "a/b", 0, "", "done", ""], ["remove", "a", 0, "", "done", ""]]


def test_whose_token_it_is(serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The name of a client's token is told."""

    class Known(Anybody):
        def admit(self, token: str) -> Grant:
            del token
            return Grant(server.folder, frozenset(RIGHTS), 'Ann\'s "laptop"')

    caplog.set_level(logging.INFO, "filexfer.transfers")
    served = serve()
    server = served.server
    server._access = Known(server.folder, server.rights)
    (tmp_path / "file").touch()
    served.client().put([str(tmp_path / "file")], "")
    server.close()
    (line,) = (each.getMessage() for each in caplog.records if each.name == "filexfer.transfers")
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+ \"Ann's \\\"laptop\\\"\" put \"file\" stored, 0 bytes, "
        r"xxh3_128:[0-9a-f]{32}, \d+\.\d{3} s",
        line,
    )


def test_nothing_is_gathered_for_nobody(serve: Serve, tmp_path: Path) -> None:
    """While nobody wants the entries, an exchange is a plain one."""
    from filexfer.serving import logged  # noqa: PLC0415 - only here
    from filexfer.transfer.receiver import Receiver  # noqa: PLC0415 - only here
    from filexfer.transfer.sender import Sender  # noqa: PLC0415 - only here

    made: list[object] = []

    def note(of: Callable[..., object]) -> Callable[..., object]:
        def call(*given: Any) -> object:
            made.append(of(*given))
            return made[-1]

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logged, "receiver", note(logged.receiver))
        patch.setattr(logged, "sender", note(logged.sender))
        client = serve().client()
        (tmp_path / "file").touch()
        client.put([str(tmp_path / "file")], "")
        client.get(["file"], str(tmp_path / "back"))
    assert [type(each) for each in made] == [Receiver, Sender]


# The command


def test_a_log_of_its_own(tmp_path: Path) -> None:
    """With ``--access-log`` transfers go there alone, and SIGHUP opens it anew in all workers."""
    (tmp_path / "file").write_text("x")
    log = tmp_path / "log"
    manager = Manager(str(tmp_path / "notify"))
    words = ("--workers", "2", "--access-log", str(log), "-v")
    with Service(tmp_path / "in", *words, env=environment(NOTIFY_SOCKET=manager.place)) as service:
        assert "READY" in manager.told()
        assert fx("put", tmp_path / "file", f"{service.address}1").returncode == 0
        assert re.search(r" put 1 files, 1 bytes", service.line())
        log.rename(tmp_path / "old")
        service.process.send_signal(signal.SIGHUP)
        assert "RELOADING" in manager.told()
        assert "READY" in manager.told()
        assert fx("put", tmp_path / "file", f"{service.address}2").returncode == 0
        assert service.end() == 0
    manager.close()
    assert [line.split('"')[1] for line in (tmp_path / "old").read_text().splitlines()] == ["1"]
    assert [line.split('"')[1] for line in log.read_text().splitlines()] == ["2"]
    assert os.stat(log).st_mode & 0o007 == 0


def test_json(tmp_path: Path) -> None:
    """With ``--log-format json`` every line on standard error is an object, from the first on."""
    (tmp_path / "in").mkdir()
    (tmp_path / "file").write_text("x")
    words = ("serve", tmp_path / "in", "--port", "0", "--workers", "2", "-v")
    with running(*words, "--log-format", "json") as process:
        assert process.stderr
        first = json.loads(process.stderr.readline())
        address = re.fullmatch(r"serving \S+/in at (fx://\S+)", first["message"])
        assert address
        assert fx("put", tmp_path / "file", address[1]).returncode == 0
        process.terminate()
        rest = [json.loads(line) for line in process.stderr]
        assert process.wait(SECONDS) == 0
    (transfer,) = (each for each in rest if "verb" in each)
    assert list(transfer) == [
        *("v", "time", "level", "peer", "who", "verb", "name", "size", "digest", "result"),
        "seconds",
    ]
    assert (transfer["verb"], transfer["name"], transfer["size"]) == ("put", "file", 1)
    assert all({"v", "time", "level"} < set(each) for each in rest)


@pytest.mark.case("B22")
def test_a_log_where_clients_reach_it(tmp_path: Path) -> None:
    """A log in the folder that is served is refused, and is not made."""
    run = fx("serve", tmp_path, "--port", "0", "--access-log", tmp_path / "log")
    assert run.returncode == 4
    assert is_one_line(run.stderr)
    assert os.listdir(tmp_path) == []


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    """That the log cannot be opened is said at the start, as a fault of the disk."""
    (tmp_path / "in").mkdir()
    run = fx("serve", tmp_path / "in", "--port", "0", "--access-log", tmp_path / "no" / "log")
    assert run.returncode == 8
    assert run.stderr.endswith(
        f"cannot open the log {tmp_path}/no/log: No such file or directory\n"
    )
    assert is_one_line(run.stderr)
