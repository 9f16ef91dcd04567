"""Talks of messages that are well-formed, and make no sense: all kinds, any values, in any order.

What the damage of recorded sessions rarely reaches: requests of all kinds with fields of the right
type and odd values. An honest peer never ends in a fault, a hang, or outside its folder.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import oracles
import pytest
from conftest import Raw, framed, leftovers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile_client import Host, host, md5  # noqa: F401 - a fixture
from test_hostile_server import END, ONCE, hostile

from filexfer import Client, FilexferError, Options
from filexfer.wire.protocol import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from filexfer.wire.schema import Message

NAMES: list[Any] = [
    *("a", "b", "d", "d/a", "d/e/f", "l", "l/precious", "", ".", "..", "../canary/precious", "/"),
    *("d/..", "a/b/c", ".fx-1", "d//a", "x" * 300, "\x1b[2J", "\u202e", "a\0", {"raw": "/w=="}),
]
NUMBERS = [0, 1, 2, 3, 5, 1000, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 62, (1 << 63) - 1, -1]
DIGESTS = ["", md5(b""), md5(b"hi"), "xxh3_128:" + "0" * 32, "md5:", "none"]
WORDS = [
    *("error", "overwrite", "update", "skip", "keep-both", "stored", "identical", "failed"),
    *("changed", "hash_mismatch", "busy", "denied", "md5", "xxh3_128", "sha256", "\x1b[31m"),
]
ENTRIES = [
    [name, kind, size, 5, 420, extra]
    for name in ("a", "d", "d/a", "../x", ".fx-1")
    for kind in ("file", "folder", "link", "special")
    for size in (0, 2, (1 << 63) - 1)
    for extra in ("", md5(b"hi"), "target")
]
BODIES = [b"", b"hi", b"\0\0\0\0", b"\0\0\0\2hi\0\0\0\0", b"\x80\0\0\5\0\0\0\0", bytes(100)]
WITH_BODY = ("", "file", "range", "probe_up", "hashed", "ok", "trailer")

_values: dict[str, st.SearchStrategy[Any]] = {
    "entries": st.lists(st.sampled_from(ENTRIES), max_size=3),
    "names": st.lists(st.sampled_from(NAMES), max_size=3),
    "rights": st.lists(st.sampled_from(WORDS), max_size=3),
    "refused": st.lists(
        st.tuples(st.sampled_from(NUMBERS), st.sampled_from(WORDS), st.sampled_from(WORDS)),
        max_size=2,
    ),
    **dict.fromkeys(("name", "target"), st.sampled_from(NAMES)),
    **dict.fromkeys(("hash", "algorithm"), st.sampled_from(DIGESTS + WORDS[-4:])),
    **dict.fromkeys(("if_exists", "result", "code"), st.sampled_from(WORDS)),
    "verdicts": st.text(alphabet="snikdrx", max_size=4),
    "id": st.sampled_from(["0" * 32, "", "../x", "a/b"]),
    "version": st.just(1),
    **dict.fromkeys(("text", "program", "token"), st.sampled_from(["", "x", "\x1b]0;x\x07" * 50])),
}
_flags = ("checksum", "fresh", "recursive", "more", "again", "shared", "sparse", "fatal", "plan")
_values |= dict.fromkeys(_flags, st.booleans())


@st.composite
def talks(draw: st.DrawFn, kinds: list[str], most: int = 6) -> bytes:
    """Return some messages with all their fields, and now and then a body behind one."""
    said = b""
    for _ in range(draw(st.integers(1, most))):
        cls: type[Message] = KINDS[draw(st.sampled_from(kinds))]
        message = {"kind": cls.kind} if cls.kind else {}
        for field in cls.checks:
            if draw(st.integers(0, 9)):
                message[field] = draw(_values.get(field, st.sampled_from(NUMBERS)))
        has_body = cls.kind in WITH_BODY or not draw(st.integers(0, 19))
        said += framed(message) + (draw(st.sampled_from(BODIES)) if has_body else b"")
    return said


def meet_server(it: Host, said: bytes) -> None:
    """Let a server with all rights hear it."""
    peer = it.peer()
    peer.send(framed({"kind": "hello", "version": 1}) + said)
    peer.finish()
    try:
        while peer.read(1 << 20):
            pass
    except ConnectionError:
        pass  # it would have no more of it
    peer.close()
    it.settle()
    assert leftovers(it.folder) == []


@pytest.fixture
def rich(host: Callable[..., Host], canary: Path) -> Host:  # noqa: F811
    """Return a host with things in it, among them a link that leads out."""
    it = host(allow=["overwrite", "delete"], timeout=2.0)
    (it.folder / "d" / "e").mkdir(parents=True)
    (it.folder / "a").write_bytes(b"hi")
    (it.folder / "l").symlink_to(canary)
    return it


FROM_CLIENT = [kind for kind in KINDS if kind not in ("welcome", "probe_down")]
few = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
many = settings(few, max_examples=300)


@pytest.mark.case("A24", "A28", "B1", "B24", "B25")
@few
@given(talks(FROM_CLIENT))
def test_a_server_hears_anything(rich: Host, said: bytes) -> None:
    """Whatever a client says, the server answers, or ends that connection and nothing else."""
    meet_server(rich, said)


@pytest.mark.slow
@pytest.mark.case("A24", "A28", "B1", "B24", "B25")
@many
@given(talks(FROM_CLIENT, 12))
def test_a_server_hears_anything_for_long(rich: Host, said: bytes) -> None:
    """The same, with much more of it."""
    meet_server(rich, said)


FROM_SERVER = [
    kind for kind in KINDS if kind not in ("hello", "put", "get", "", "fetch", "probe_up")
]
PIECES = Options(jobs=2, pieces=True, retries=0, durability="none")


def meet_client(home: Path, said: bytes, what: str) -> None:
    """Let a client hear it in the middle of a command."""
    into, mine = home / "into", home / "mine"
    for path in (into, mine):
        shutil.rmtree(path, ignore_errors=True)
    into.mkdir()
    (mine / "d").mkdir(parents=True)
    (mine / "d" / "a").write_bytes(b"ours")

    def act(peer: Raw) -> None:
        entries = [["d", "folder", 0, 5, 493, ""]]
        peer.send(framed({"kind": "welcome", "version": 1, "rights": ["read"]}))
        if what != "list":
            peer.send(framed({"kind": "entries", "entries": entries if "get" in what else []}))
        peer.send(said + END)
        peer.finish()
        while peer.sock.recv(1 << 16):
            pass

    with hostile(act, act) as client:
        client._door.timeout = 0.3
        try:
            run(client, what, into, mine)
        except FilexferError as error:
            oracles.is_harmless(str(error))
    assert set(os.listdir(into)) <= {"d"}
    assert leftovers(home) == []
    assert (mine / "d" / "a").read_bytes() == b"ours"


def run(client: Client, what: str, into: Path, mine: Path) -> None:
    how = PIECES if "pieces" in what else ONCE
    if "get" in what:
        report = client.get(["d"], f"{into}/", how)
    elif "put" in what:
        report = client.put([mine / "d"], "d", how)
    else:
        for entry in client.list("d", recursive=True):
            assert entry.name is not None
        return
    for told in (*report.failures, *report.warnings):
        oracles.is_harmless(str(told))


@pytest.mark.case("A24", "A28", "C1", "C7", "C21", "C25")
@pytest.mark.parametrize("what", ["get", "put", "list"])
@few
@given(talks(FROM_SERVER))
def test_a_client_hears_anything(tmp_path: Path, canary: Path, what: str, said: bytes) -> None:
    """Whatever a server says, the command succeeds or fails, and takes only what it asked for."""
    del canary
    meet_client(tmp_path, said, what)


@pytest.mark.slow
@pytest.mark.case("A24", "A28", "C1", "C7", "C21", "C25")
@pytest.mark.parametrize("what", ["get", "put", "get in pieces", "put in pieces"])
@many
@given(talks(FROM_SERVER, 12))
def test_a_client_hears_anything_for_long(
    tmp_path: Path, canary: Path, what: str, said: bytes
) -> None:
    """The same, with much more of it."""
    del canary
    meet_client(tmp_path, said, what)
