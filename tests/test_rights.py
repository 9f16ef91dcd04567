"""Every request with every set of rights: what is let through, what is not, and what is left.

Each set of rights is a token with a folder of its own on one server. A new kind of request has to
be entered here, or the first test fails.
"""

from __future__ import annotations

import hashlib
import json
import os
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, Served, framed, tree_state

from filexfer.security.access import RIGHTS
from filexfer.security.tokens import Store
from filexfer.wire import protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Act = Callable[[Raw], bytes]

DATA = b"contents of the file"
OTHER = b"other bytes, as many"
DENIED = b'"code":"denied"'
TIME = 1_700_000_000_000_000_000
SETS = [frozenset(each) for count in range(1, 6) for each in combinations(RIGHTS, count)]


def written(rights: frozenset[str]) -> str:
    return "-".join(right for right in RIGHTS if right in rights)


def md5(data: bytes) -> str:
    return "md5:" + hashlib.md5(data).hexdigest()


def file(name: str, data: bytes, **more: Any) -> bytes:
    header = {"kind": "file", "name": name, "size": len(data), "hash": md5(data), "mtime": TIME}
    return framed({**header, **more}) + data


def said(*frames: bytes) -> Act:
    """Return what says these frames and no more, and takes all that is answered."""

    def act(peer: Raw) -> bytes:
        for frame in frames:
            peer.send(frame)
        peer.finish()
        return rest(peer)

    return act


def rest(peer: Raw) -> bytes:
    """Return all that is still said, bodies too."""
    return b"".join(iter(lambda: peer.read(1 << 20), b""))


def asked(kind: str, **members: Any) -> Act:
    return said(framed({"kind": kind, **members}), framed({"kind": "end"}))


def put(*items: bytes, **how: Any) -> Act:
    end = framed({"kind": "end"})
    return said(framed({"kind": "put", **how}), *items, end, end)


def in_pieces(name: str, data: bytes, **how: Any) -> Act:
    """Return what stores a file in one piece, by the requests for files in pieces."""

    def act(peer: Raw) -> bytes:
        begin = {"kind": "begin", "name": name, "size": len(data), "mtime": TIME + 10**10}
        peer.frame({**begin, **how})
        begun = peer.reply() or {}
        if "id" not in begun:
            return json.dumps(begun, separators=(",", ":")).encode()
        mine = {"id": begun["id"], "hash": md5(data)}
        peer.frame({"kind": "range", "name": name, "offset": 0, "size": len(data), **mine})
        peer.send(data)
        peer.frame({"kind": "finish", **mine})
        peer.finish()
        return rest(peer)

    return act


def piece(kind: str, **members: Any) -> Act:
    return asked(kind, name="file", total=len(DATA), mtime=TIME, hash="md5", **members)


UNKNOWN = "0" * 32
PLAIN_FILE = {
    "name": "new",
    "size": len(DATA),
    "md5": hashlib.md5(DATA).hexdigest(),
    "token": "TOKEN",
}
RANGE = {"kind": "range", "name": "n", "id": UNKNOWN, "offset": 0, "size": 3, "hash": md5(b"abc")}

# What is tried: the request's kind, what it is about, how, and which rights it needs, all of a set.
TRIES: list[tuple[str, str, Act, list[set[str]]]] = [
    ("stat", "a file", asked("stat", name="file"), [{"list"}, {"read"}]),
    ("stat", "nothing", asked("stat", name="nothing"), [{"list"}, {"read"}]),
    ("list", "a folder", asked("list", name="dir"), [{"list"}]),
    ("list", "all", asked("list", name="", recursive=True), [{"list"}]),
    ("list", "a file", asked("list", name="file"), [{"list"}]),
    ("mkdir", "new", asked("mkdir", name="new/deep"), [{"create"}]),
    ("remove", "a file", asked("remove", name="file"), [{"delete"}]),
    ("remove", "a tree", asked("remove", name="dir", recursive=True), [{"delete"}]),
    ("move", "a file", asked("move", name="file", to="moved"), [{"delete", "create", "read"},
     {"delete", "create", "list"}]),
    ("move", "a file in the place of another",
     asked("move", name="file", to="dir/in", overwrite=True),
     [{"delete", "create", "overwrite", "read"}, {"delete", "create", "overwrite", "list"}]),
    ("probe_up", "", said(framed({"kind": "probe_up", "size": 3}) + b"\0\0\0\3abc\0\0\0\0"),
     [{"create"}]),
    ("probe_down", "", asked("probe_down", size=3), [{"read"}]),
    ("put", "a new file", put(file("new", DATA)), [{"create"}]),
    ("put", "a folder", put(framed({"kind": "folder", "name": "new"})), [{"create"}]),
    ("put", "a link", put(framed({"kind": "link", "name": "new", "target": "file"})),
     [{"create"}]),
    ("put", "a question", put(framed({"kind": "ask", "entries": []})), [{"create"}]),
    ("get", "a file", asked("get", names=["file"], fresh=True), [{"read"}]),
    ("get", "a folder", asked("get", names=["dir"], fresh=True), [{"read", "list"}]),
    ("get", "a file and no name", asked("get", names=["../x", "file"], fresh=True), [{"read"}]),
    ("begin", "a new file", in_pieces("new", DATA), [{"create"}]),
    ("range", "of no file", said(framed(RANGE) + b"abc"), [{"create"}]),
    ("finish", "no file", asked("finish", id=UNKNOWN, hash=md5(b"")), [{"create"}]),
    ("abandon", "no file", asked("abandon", id=UNKNOWN), [{"create"}]),
    ("slice", "", piece("slice", offset=0, size=5), [{"read"}]),
    ("digest", "", piece("digest"), [{"read"}]),
    ("fetch", "", said(framed({"kind": "fetch", "name": "file", "token": "TOKEN"})), [{"read"}]),
    ("", "a new file", said(framed(PLAIN_FILE) + DATA), [{"create"}]),
]  # fmt: skip
REPLACING: list[tuple[str, Act]] = [
    ("put", put(file("file", OTHER), if_exists="overwrite")),
    ("begin", in_pieces("file", OTHER, if_exists="overwrite")),
]
WRITERS = [
    frozenset({"create", *more})
    for more in ([], ["overwrite"], ["overwrite", "list"], ["overwrite", "read"], ["list", "read"])
]
ALWAYS = {"hello", "alive", "end"}
PLAIN = {"fetch", ""}


class House:
    """A server with a token for every set of rights, each with a folder of its own."""

    def __init__(self, served: Served, store: Store, raw: Callable[..., Raw]) -> None:
        self.served = served
        self._raw = raw
        self._tokens: dict[str, str] = {}
        self._store = store

    def folder(self, rights: frozenset[str]) -> Path:
        return self.served.folder / written(rights)

    def lay(self, rights: frozenset[str]) -> Path:
        """Put the same files into the folder of a set of rights."""
        folder = self.folder(rights)
        (folder / "dir").mkdir(parents=True, exist_ok=True)
        for name in ("file", "dir/in"):
            (folder / name).write_bytes(DATA)
            os.utime(folder / name, ns=(TIME, TIME))
        return folder

    def token(self, rights: frozenset[str]) -> str:
        name = written(rights)
        if name not in self._tokens:
            self._tokens[name] = self._store.add(name, sorted(rights), root=name)
        return self._tokens[name]

    def do(self, rights: frozenset[str], kind: str, act: Act) -> bytes:
        """Try something with these rights, on a connection of its own."""
        peer = self._raw(self.served.server)
        try:
            if kind in PLAIN:
                send = peer.send
                token = self.token(rights).encode()
                peer.send = lambda data: send(_with_token(data, token))  # type: ignore[method-assign]
            else:
                peer.frame({"kind": "hello", "version": 1, "token": self.token(rights)})
                welcome = peer.reply()
                assert welcome
                assert set(welcome["rights"]) == rights
            return act(peer)
        finally:
            peer.close()


def _with_token(data: bytes, token: bytes) -> bytes:
    """Return a frame with a token in the place of its stand-in."""
    size = int.from_bytes(data[:4], "big")
    header = data[4 : 4 + size].replace(b"TOKEN", token)
    return len(header).to_bytes(4, "big") + header + data[4 + size :]


@pytest.fixture
def house(
    serve: Callable[..., Served], raw: Callable[..., Raw], tmp_path: Path, no_leftovers: None
) -> Callable[..., House]:
    """Return a function that starts a server with tokens."""

    def start(**options: Any) -> House:
        store = Store(tmp_path / "state" / "tokens.json")
        store.add("nobody", ["list"])
        return House(serve(tokens=store.path, **options), store, raw)

    return start


@pytest.mark.case("B25")
def test_every_request_is_here() -> None:
    """No kind of message that a client can begin something with is forgotten in this file."""
    states = (protocol.State.OPENING, protocol.State.PLAIN, protocol.State.IDLE)
    requests = {cls.kind for state in states for cls in protocol.TRANSITIONS[state]}
    assert requests == {kind for kind, *_ in TRIES} | ALWAYS
    assert requests <= set(protocol.KINDS)


@pytest.mark.case("B8", "B23", "B25")
@pytest.mark.parametrize("rights", SETS, ids=written)
def test_rights(house: Callable[..., House], rights: frozenset[str]) -> None:
    """A request is carried out if the token has the rights for it, and else changes nothing."""
    it = house()
    for kind, what, act, needed in TRIES:
        folder = it.lay(rights)
        before = tree_state(folder)
        replies = it.do(rights, kind, act)
        may = any(each <= rights for each in needed)
        is_denied = DENIED in replies
        assert is_denied is not may, (kind, what, replies)
        if not may:
            assert tree_state(folder) == before, (kind, what)
            assert DATA not in replies
        elif what == "a new file":
            assert (folder / "new").read_bytes() == DATA, (kind, replies)
        if what == "a tree" and may:
            assert not (folder / "dir").exists()
        for name in ("new", "new/deep", "moved"):
            _remove(folder / name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for each in path.iterdir():
            _remove(each)
        path.rmdir()
    elif os.path.lexists(path):
        path.unlink()


@pytest.mark.case("B8")
@pytest.mark.parametrize("rights", WRITERS, ids=written)
@pytest.mark.parametrize(("kind", "act"), REPLACING, ids=["put", "pieces"])
def test_replacing(
    house: Callable[..., House], rights: frozenset[str], kind: str, act: Act
) -> None:
    """A file is replaced only with the rights to create and to overwrite, not in a drop box."""
    it = house()
    folder = it.lay(rights)
    it.do(rights, kind, act)
    is_replaced = "overwrite" in rights and bool(rights & {"list", "read"})
    assert (folder / "file").read_bytes() == (OTHER if is_replaced else DATA)


@pytest.mark.case("K21")
def test_a_read_only_server(house: Callable[..., House]) -> None:
    """Where the server is read-only, no token can change anything, whatever rights it has."""
    it = house(read_only=True)
    everything = frozenset(RIGHTS)
    folder = it.lay(everything)
    before = tree_state(folder)
    token = it.token(everything)
    for kind, what, act, needed in TRIES:
        if any(each <= {"read", "list"} for each in needed) or kind in PLAIN:
            continue
        peer = it._raw(it.served.server)
        peer.frame({"kind": "hello", "version": 1, "token": token})
        welcome = peer.reply()
        assert welcome
        assert welcome["rights"] == ["read", "list"]
        assert DENIED in act(peer), (kind, what)
        peer.close()
        assert tree_state(folder) == before


@pytest.mark.case("B13")
@pytest.mark.parametrize(
    "rights", [frozenset({each}) for each in RIGHTS if each != "overwrite"], ids=written
)
def test_a_denial_tells_nothing(house: Callable[..., House], rights: frozenset[str]) -> None:
    """What may not be done is denied in the same words, whether or not there is anything."""
    it = house()
    it.lay(rights)
    tries: list[tuple[str, dict[str, Any]]] = [
        ("stat", {}),
        ("list", {}),
        ("remove", {"recursive": True}),
        ("move", {"to": "moved"}),
        ("get", {}),
        ("slice", {"offset": 0, "size": 1, "total": len(DATA), "mtime": TIME}),
        ("digest", {"total": len(DATA), "mtime": TIME}),
    ]
    for kind, members in tries:
        answers = []
        for name in ("file", "dir", "nothing", "dir/nothing/at/all"):
            named = {"names": [name]} if kind == "get" else {"name": name}
            answers.append(it.do(rights, kind, asked(kind, **named, **members)))
        if DENIED in answers[-1]:
            assert all(answer == answers[0] for answer in answers), kind


@pytest.mark.case("B14")
@pytest.mark.parametrize(
    "rights", [frozenset({"create", "list"}), frozenset({"create", "list", "overwrite"})]
)
def test_have_you_these_bytes(house: Callable[..., House], rights: frozenset[str]) -> None:
    """Who may not read learns nothing from a digest: a right guess is answered as a wrong one."""
    it = house()
    it.lay(rights)

    def answer(data: bytes) -> bytes:
        entry = ["file", "file", len(DATA), TIME + 10**10, 420, md5(data)]
        return it.do(rights, "put", put(framed({"kind": "ask", "entries": [entry]})))

    assert answer(DATA) == answer(OTHER)
