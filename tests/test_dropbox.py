"""Drop boxes: what is put is stored, whatever is there, and nobody learns what is there."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, Served, framed, leftovers, tree_state
from test_ranges import LEAST, PIECE, small  # noqa: F401 - a fixture
from test_rights import file, md5

from filexfer import Options, Trust, names
from filexfer.hashing import digest_of
from filexfer.security.tokens import Store
from filexfer.storage import dropbox

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MINE = b"bytes of mine"
THEIRS = b"bytes that others stored"
TIME = 1_700_000_000_000_000_000
LARGE = random.Random(5).randbytes(300_000)
DIGEST = digest_of("xxh3_128")
END = framed({"kind": "end"})


class Box:
    """A server with two drop boxes: one is empty, in the other everything is taken."""

    def __init__(self, served: Served, store: Store, raw: Callable[..., Raw]) -> None:
        self.served = served
        self._raw = raw
        self.tokens = {name: store.add(name, ["create"], root=name) for name in ("empty", "full")}
        for name in self.tokens:
            (served.folder / name).mkdir()
        full = self.full = served.folder / "full"
        outside = served.folder / "outside"
        outside.mkdir()
        (outside / "in").write_bytes(THEIRS)
        for name in ("a", "d", "nested"):
            (full / name).write_bytes(THEIRS)
        (full / "same").write_bytes(MINE)
        for name in ("f", "there", "there/d", "there/below"):
            (full / name).mkdir(mode=0o750)
        (full / "there" / "a").write_bytes(THEIRS)
        (full / "l").symlink_to("nothing")
        (full / "out").symlink_to(outside)
        (full / "k").symlink_to(outside / "in")
        os.mkfifo(full / "pipe")
        for place, _, files in os.walk(full):
            for each in (place, *(os.path.join(place, one) for one in files)):
                os.utime(each, ns=(TIME, TIME), follow_symlinks=False)

    def peer(self, name: str) -> Raw:
        peer = self._raw(self.served.server)
        peer.frame({"kind": "hello", "version": 1, "token": self.tokens[name]})
        assert (peer.reply() or {})["rights"] == ["create"]
        return peer


@pytest.fixture
def box(
    serve: Callable[..., Served], raw: Callable[..., Raw], tmp_path: Path, no_leftovers: None
) -> Box:
    store = Store(tmp_path / "state" / "tokens.json")
    store.add("nobody", ["list"])
    return Box(serve(tokens=store.path), store, raw)


NAMES = ["a", "f", "l", "out", "k", "pipe", "same", "d/x", "nested/deep/er/x", "out/in", "there/a",
         "there/d", "there/new", "l/x", "pipe/x"]  # fmt: skip


def _folder(name: str, **more: Any) -> bytes:
    return framed({"kind": "folder", "name": name, "mode": 0o700, "mtime": 5, **more})


def put(peer: Raw, if_exists: str) -> bytes:
    """Put a lot, one thing after another, and return all that is answered."""
    peer.frame({"kind": "put", "if_exists": if_exists})
    answers = b""

    def say(data: bytes) -> None:
        nonlocal answers
        peer.send(data)
        size = peer.read(4)
        answers += size + peer.read(int.from_bytes(size, "big"))

    entries = [[name, kind, 13, TIME, 420, ""] for name in NAMES for kind in ("file", "folder")]
    known = [[name, "file", 13, TIME, 420, md5(MINE)] for name in NAMES]
    links = [[name, "link", 0, TIME, 511, "nothing"] for name in NAMES]
    for each in (entries, known, links):
        say(framed({"kind": "ask", "entries": each}))
    for name in NAMES:
        say(file(name, MINE))
    for name in ("d", "f", "out", "there", "new", "new/below"):
        say(_folder(name))
    for name in ("l", "a", "there/l"):
        say(framed({"kind": "link", "name": name, "target": "nothing"}))
    large = framed({"kind": "file", "name": "a", "algorithm": "md5"})
    say(large + len(LARGE).to_bytes(4, "big") + LARGE + bytes(4)
        + framed({"kind": "trailer", "hash": md5(LARGE)}))  # fmt: skip
    say(file("there/wrong", MINE, hash=md5(THEIRS)))
    peer.send(END)
    return answers + b"".join(framed(each) for each in peer.replies())


def others(peer: Raw) -> list[Any]:
    """Try everything else, and return the answers."""
    answers: list[Any] = []
    for name in [*NAMES, "there", "nothing", ""]:
        for kind in ("mkdir", "stat", "list", "remove"):
            peer.frame({"kind": kind, "name": name, "recursive": True})
            answers.append((kind, peer.reply()))
        peer.frame({"kind": "move", "name": name, "to": "moved"})
        answers.append(("move", peer.reply()))
        for size in (len(MINE), len(THEIRS)):
            made = {"name": name, "size": size, "mtime": TIME}
            for how in ("error", "overwrite", "skip", "update", "keep-both"):
                peer.frame({"kind": "begin", **made, "if_exists": how})
                reply = peer.reply() or {}
                if reply["kind"] == "begun":
                    answers.append((sorted(reply), _filled(peer, name, str(reply["id"]), size)))
                else:
                    answers.append((how, reply))
            for kind in ("slice", "digest"):
                whole = {"total": size, "offset": 0, **made}
                peer.frame({"kind": kind, **whole})
                answers.append((kind, peer.reply()))
    peer.send(END)
    return answers


def _filled(peer: Raw, name: str, number: str, size: int) -> list[Any]:
    data = (MINE * 2)[:size]
    piece = {"name": name, "id": number, "offset": 0, "size": size, "hash": md5(data)}
    peer.frame({"kind": "range", **piece})
    peer.send(data)
    ranged = peer.reply()
    peer.frame({"kind": "finish", "id": number, "hash": md5(data)})
    return [ranged, peer.reply()]


@pytest.mark.case("B13", "B15")
@pytest.mark.parametrize("if_exists", ["error", "overwrite", "update", "skip", "keep-both"])
def test_an_exchange_tells_nothing(box: Box, if_exists: str) -> None:
    """Where everything is taken and where nothing is, an upload is answered by the same bytes."""
    before = tree_state(box.full)
    answers = [put(box.peer(name), if_exists) for name in ("empty", "full")]
    assert answers[0] == answers[1]
    assert set(_verdicts(answers[0])) == {"s"}
    for word in (b"identical", b"kept", b"exists", b"skipped", b"~"):
        assert word not in answers[0]
    after = tree_state(box.full)
    assert _unchanged(before, after)
    assert after["f"] == before["f"]  # its time too: it was named as a folder, and is there
    assert tree_state(box.served.folder / "outside").keys() == {"in"}
    again = [put(box.peer(name), if_exists) for name in ("empty", "full")]
    assert again == answers
    assert tree_state(box.full).keys() == after.keys()  # the same is stored once


def _verdicts(answers: bytes) -> str:
    return "".join(part.partition(b'"')[0].decode() for part in answers.split(b'"verdicts":"')[1:])


def _unchanged(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Tell whether all is there that was, but for times of folders, which got new files."""
    return all(
        after[name][:2] == old[:2]
        and after[name][3] == old[3]
        and (old[0] == "folder" or after[name] == old)
        for name, old in before.items()
    )


@pytest.mark.case("B13")
def test_other_requests_tell_nothing(box: Box) -> None:
    """All other requests, those for pieces too, are answered the same whatever is there."""
    before = tree_state(box.full)
    answers = [others(box.peer(name)) for name in ("empty", "full")]
    for one, other in zip(*answers, strict=True):
        assert one == other
    assert {reply["code"] for kind, reply in answers[0] if kind in _DENIED} == {"denied"}
    assert _unchanged(before, tree_state(box.full))


_DENIED = ("stat", "list", "remove", "slice", "digest")


@pytest.mark.case("B13")
def test_plain_clients_learn_nothing(box: Box) -> None:
    """A plain client gets the same answer for a name that is taken, and for the same again."""
    for name in [*NAMES, *NAMES, "x" * 2000, "../x", ".fx-x", "a/" * 40 + "a"]:
        replies = []
        for which, token in box.tokens.items():
            peer = box._raw(box.served.server)
            peer.frame({"name": name, "size": 13, "md5": md5(MINE)[4:], "token": token})
            peer.send(MINE)
            replies.append((which, peer.reply()))
            peer.close()
        assert replies[0][1] == replies[1][1]
    found = [each for each in tree_state(box.full).items() if each[1][3] == MINE]
    assert len(found) == len(NAMES) + 1


def test_where_it_lies(box: Box) -> None:
    """What is put lies under its name, or under one that is derived from its contents or name."""
    put(box.peer("full"), "error")
    found = tree_state(box.full)
    mark = DIGEST(MINE)[9:17]
    for name in ("a", "f", "k", "pipe"):
        assert found[f"{name}~{mark}"][3] == MINE
    assert f"same~{mark}" not in found
    (below,) = [name for name in found if name.startswith("nested~") and name.endswith("er/x")]
    assert found[below][3] == MINE
    assert found["there/new"][3] == MINE
    assert found[f"a~{DIGEST(LARGE)[9:17]}"][3] == LARGE
    assert found["there"][1] == 0o750


@pytest.mark.case("B15")
def test_a_forged_name(box: Box) -> None:
    """Other bytes under the derived name do not stand for those that are put."""
    mark = DIGEST(MINE)[9:]
    (box.full / f"a~{mark[:8]}").write_bytes(THEIRS)
    (box.full / f"a~{mark[8:16]}").mkdir()
    (box.full / f"a~{mark[16:24]}").write_bytes(MINE[::-1])  # as long
    for _ in range(2):
        put(box.peer("full"), "error")
    assert (box.full / f"a~{mark[24:]}").read_bytes() == MINE
    for end in (0, 8, 16):
        assert names.derived("a", f"x:{mark[end : end + 8]}") in os.listdir(box.full)
    (box.full / f"a~{mark[24:]}").write_bytes(THEIRS)
    before = set(os.listdir(box.full))
    put(box.peer("full"), "error")
    assert len({name for name in set(os.listdir(box.full)) - before if name[:2] == "a~"}) == 1


@pytest.mark.case("B15")
def test_a_collision(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of the same digest are not the same bytes: both are stored."""
    digest = "xxh3_128:" + "ab" * 16
    monkeypatch.setattr("filexfer.hashing.digest_of", lambda _: lambda _: digest)
    peer = box.peer("empty")
    peer.frame({"kind": "put"})
    for data in (MINE, MINE[::-1], MINE):
        peer.send(file("a", data, hash=digest))
    peer.send(END)
    peer.replies()
    folder = box.served.folder / "empty"
    assert sorted(each.read_bytes() for each in folder.iterdir()) == sorted([MINE, MINE[::-1]])


def test_long_names(box: Box) -> None:
    """A name that is too long for its derived one is refused, whether or not it is taken."""
    long = "/".join(["n" * 250] * 3)
    most = names.NAME_MAX - 9 * 4
    for name, good in ((f"{long}/{'x' * (most - len(long) - 1)}", True),
                       (f"{long}/{'x' * (most - len(long))}", False)):  # fmt: skip
        for _ in range(2):
            peer = box.peer("empty")
            peer.frame({"kind": "put"})
            peer.frame({"kind": "ask", "entries": [[name, "file", 13, TIME, 420, ""]]})
            reply = peer.reply() or {}
            assert reply["verdicts"] == ("s" if good else "r")
            peer.send(file(name, MINE))
            peer.send(END)
            replies = peer.replies()
            assert any(each["kind"] == "outcome" for each in replies) is not good
    dropbox.check("/".join(["a"] * 64))  # as deep as can be


# With the client


def client_tree(path: Path) -> Path:
    top = path / "tree"
    for name, data in (("a", MINE), ("d/x", THEIRS), ("d/e/y", LARGE), ("large", LARGE * 2)):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    return top


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("which", ["empty", "full"])
@pytest.mark.usefixtures("small")
def test_the_client(box: Box, tmp_path: Path, jobs: int, which: str) -> None:
    """The client puts a tree again and again, over several connections and in pieces: once."""
    top = client_tree(tmp_path)
    assert len(LARGE) > LEAST > PIECE
    folder = box.served.folder / which
    options = Options(jobs=jobs, pieces=jobs > 1)
    (folder / "tree").write_bytes(THEIRS)
    counts = []
    for _ in range(3):
        with box.served.client(trust=Trust(token=box.tokens[which])) as client:
            report = client.put([top], "", options)
            assert (report.files, report.failed, report.skipped) == (4, 0, 0), report.failures
        counts.append(len(tree_state(folder)))
    assert counts[0] == counts[1] == counts[2]
    (put_there,) = [each for each in folder.iterdir() if each.name.startswith("tree~")]
    mine, there = tree_state(top), tree_state(put_there)
    assert {name: found[3] for name, found in there.items()} == {
        name: found[3] for name, found in mine.items()
    }
    assert leftovers(folder) == []


def test_a_client_that_goes_on_after_a_cut(box: Box, tmp_path: Path) -> None:
    """What was stored before a connection broke is found again by the next try."""
    (tmp_path / "f").write_bytes(LARGE)
    peer = box.peer("full")
    peer.frame({"kind": "put"})
    peer.send(file("a", MINE))
    peer.reply()
    peer.reset()
    with box.served.client(trust=Trust(token=box.tokens["full"])) as client:
        (tmp_path / "a").write_bytes(MINE)
        report = client.put([tmp_path / "a", tmp_path / "f"])
        assert (report.files, report.failed) == (2, 0)
    named = [name for name in os.listdir(box.full) if name.startswith("a")]
    assert sorted(named) == ["a", names.derived("a", DIGEST(MINE))]
