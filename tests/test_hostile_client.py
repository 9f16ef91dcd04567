"""A server and peers that say what no honest client would, over real sockets.

After each test an honest client can put and get, nothing beside the served folder was touched,
no temporary file is left, no session goes on, and the log holds no fault and no control character.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import queue
import random
import select
import shutil
import socket
import stat
import struct
import time
from typing import TYPE_CHECKING, Any

import oracles
import pytest
from conftest import SECONDS, Raw, Served, both, framed, leftovers, tree_state
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_protocol import NO_SIZES

from filexfer import Options, hashing
from filexfer.errors import Code, FileError
from filexfer.security import access
from filexfer.serving.limits import Limits
from filexfer.storage import draft, reservations, staging
from filexfer.wire import connection, protocol
from filexfer.wire.intake import BUFFER
from filexfer.wire.protocol import FRAME_MAX, HOLE, PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer import Server

Reply = dict[str, Any]


# The server under test, and what must be true of it afterwards


class Host:
    """A server, peers that talk to it, and the check afterwards."""

    def __init__(self, served: Served, raw: Callable[[Server], Raw], home: Path) -> None:
        self.served = served
        self.folder = served.folder
        self._raw = raw
        self._home = home
        self._peers: list[Raw] = []

    def peer(self) -> Raw:
        """Connect a peer that says nothing by itself."""
        self._peers.append(self._raw(self.served.server))
        return self._peers[-1]

    def guest(self) -> Raw:
        """Connect a peer that has been greeted."""
        peer = self.peer()
        peer.greet()
        return peer

    def names(self) -> set[str]:
        """Return what lies in the served folder."""
        return set(tree_state(self.folder))

    def settle(self) -> None:
        """Wait until no session goes on."""
        server = self.served.server
        while True:
            with server._lock:  # a session may be under way before it is noted
                threads = list(server._sessions.values())
            if not threads:
                return
            threads[0].join(SECONDS)
            assert not threads[0].is_alive()

    def check(self) -> None:
        """Check that the server is as good as new."""
        for peer in self._peers:
            peer.close()
        self.settle()
        assert leftovers(self.folder) == []
        assert self.served.server.folder.reservations.total() == 0
        oracles.is_served(self.served, self._home)


@pytest.fixture
def host(
    serve: Callable[..., Served],
    raw: Callable[[Server], Raw],
    tmp_path: Path,
    canary: Path,
    no_leftovers: None,
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[..., Host]]:
    """Return a function that starts a server, which is checked at the end."""
    caplog.set_level(logging.INFO, "filexfer")
    hosts: list[Host] = []
    footprints: list[oracles.Footprint] = []

    def start(**options: Any) -> Host:
        hosts.append(Host(serve(**options), raw, tmp_path))
        footprints.append(oracles.Footprint())
        return hosts[-1]

    yield start
    for each in hosts:
        each.check()
        each.settle()
    if len(hosts) == 1:
        footprints[0].is_as_before()
    oracles.log_is_clean([*caplog.get_records("call"), *caplog.records])  # and of this phase


@pytest.fixture
def it(host: Callable[..., Host]) -> Host:
    """Start a server with the rights it has by default."""
    return host()


def md5(data: bytes) -> str:
    return "md5:" + hashlib.md5(data).hexdigest()


def plain(name: Any, data: bytes, **more: Any) -> bytes:
    """Return what a plain client sends to store a file."""
    return framed({"name": name, "size": len(data), "hash": md5(data), **more}) + data


def file(name: Any, data: bytes, **more: Any) -> bytes:
    """Return a file of an exchange, with a plain body."""
    header = {"kind": "file", "name": name, "size": len(data), "hash": md5(data), **more}
    return framed(header) + data


def parts(name: str, *pieces: bytes | int, **more: Any) -> bytes:
    """Return a file of an exchange, with a body in parts; a number is a hole."""
    whole = b"".join(bytes(each) if isinstance(each, int) else each for each in pieces)
    header = {"kind": "file", "name": name, "size": len(whole), "algorithm": "md5", **more}
    body = b"".join(
        struct.pack("!I", HOLE | each)
        if isinstance(each, int)
        else struct.pack("!I", len(each)) + each
        for each in pieces
    )
    return framed(header) + body + bytes(4) + framed({"kind": "trailer", "hash": md5(whole)})


def put(peer: Raw, *items: bytes, **options: Any) -> list[Reply]:
    """Run one put to its end and return the replies, without those that only confirm."""
    peer.frame({"kind": "put", **options})
    peer.send(b"".join(items))
    peer.frame({"kind": "end"})
    replies = peer.replies()
    assert replies[-1] == {"kind": "end"}
    return [each for each in replies[:-1] if each["kind"] not in ("received", "done")]


def ask(peer: Raw, message: Reply | bytes) -> Reply:
    """Send a frame and return the reply, which there must be."""
    peer.frame(message)
    reply = peer.reply()
    assert reply is not None
    return reply


def refused(peer: Raw, code: str) -> str:
    """Check that the connection ends with an error of this code, and return its text."""
    reply = peer.reply()
    assert reply is not None, "closed without a word"
    assert (reply["kind"], reply["code"]) == ("error", code)
    assert reply.get("fatal", True)
    peer.finish()
    assert peer.reply() is None
    text: str = reply["text"]
    assert len(text) < 500
    return text


# A. Malformed protocol


@pytest.mark.case("A1", "A2")
@pytest.mark.parametrize("length", [0, FRAME_MAX + 1, 2**31, 0xFFFFFFFF])
@pytest.mark.parametrize("greeted", [False, True])
def test_lengths(it: Host, length: int, greeted: bool) -> None:
    """A1, A2: a length outside 1 to 65,536 ends the connection, with the reason."""
    peer = it.guest() if greeted else it.peer()
    peer.send(struct.pack("!I", length))
    assert str(length) in refused(peer, "bad_header")


@pytest.mark.case("A3", "A4")
@pytest.mark.parametrize("sent", [1, 2, 3, 4, 44])
@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
@pytest.mark.parametrize("greeted", [False, True])
def test_cut_frames(it: Host, sent: int, ending: str, greeted: bool) -> None:
    """A3, A4: a connection that ends inside a frame is over, and that is all."""
    peer = it.guest() if greeted else it.peer()
    peer.send((struct.pack("!I", 100) + b" " * 40)[:sent])
    getattr(peer, ending)()
    if ending == "finish":
        assert [reply["kind"] for reply in peer.replies()] in ([], ["error"])


def a_session() -> bytes:
    """Return the bytes of a session in which everything occurs."""
    return b"".join(
        (
            framed({"kind": "hello", "version": 1}),
            framed({"kind": "stat", "name": "a"}),
            framed({"kind": "mkdir", "name": "d"}),
            framed({"kind": "put", "if_exists": "skip"}),
            framed({"kind": "ask", "entries": [["d/x", "file", 2, 0, 420, ""]]}),
            framed({"kind": "folder", "name": "e", "mtime": 5, "mode": 493}),
            file("e/small", b"small"),
            parts("e/large", b"l" * 1000, 70_000, b"rge"),
            framed({"kind": "link", "name": "e/link", "target": "small"}),
            framed({"kind": "unsent", "name": "e/gone", "code": "denied", "text": "no"}),
            file("empty", b""),
            framed({"kind": "end"}),
            framed({"kind": "list", "name": "", "recursive": True}),
            framed({"kind": "get", "names": [], "hash": "md5"}),
            framed({"kind": "end"}),
            framed({"kind": "end"}),
        )
    )


def check_session(it: Host, replies: list[Reply]) -> None:
    assert not [reply for reply in replies if reply["kind"] in ("error", "outcome")]
    state = tree_state(it.folder)
    assert set(state) == {"d", "e", "e/small", "e/large", "e/link", "empty"}
    assert state["e/small"][3] == b"small"
    assert state["e/large"][3] == b"l" * 1000 + bytes(70_000) + b"rge"
    assert state["e/link"][3] == "small"
    assert state["empty"][3] == b""


@pytest.mark.case("A5")
def test_one_byte_per_segment(it: Host) -> None:
    """A5: a session that comes byte by byte is an honest one."""
    peer = it.peer()
    data = a_session()
    replies: list[Reply] = []

    def send() -> None:
        for byte in data:
            peer.send(bytes([byte]))

    both(lambda: replies.extend(peer.replies("never")), send)
    check_session(it, replies)


@pytest.mark.case("A6")
def test_one_segment(it: Host) -> None:
    """A6: so is one that comes all at once."""
    peer = it.peer()
    peer.send(a_session())
    check_session(it, peer.replies("never"))


NO_HEADERS = [
    b"not JSON",
    b'{"name":"a","size":2',
    b"{} x",
    b"null",
    b"[]",
    b'"a"',
    b"5",
    b"{}",
    '{"name":"a"}'.encode("utf-16"),
    '{"name":"a"}'.encode("utf-32"),
    b'\xef\xbb\xbf{"name":"a"}',
    b'{"name":"\xff"}',
    b"[" * 60_000,
    b'{"a":' * 13_000,
    b'{"name":"a","size":' + b"9" * 5000 + b"}",
    b'{"name":"a","size":' + b"9" * 4300 + b',"hash":"' + md5(b"hi").encode() + b'"}',
    b" " * FRAME_MAX,
    json.dumps({f"{index:04}": 1 for index in range(8000)}, separators=(",", ":")).encode()[
        :FRAME_MAX
    ],
]


@pytest.mark.case("A7", "A8", "A9", "A10", "A11", "A15", "A26")
@pytest.mark.parametrize("header", NO_HEADERS, ids=range(len(NO_HEADERS)))
@pytest.mark.parametrize("greeted", [False, True])
def test_no_headers(it: Host, header: bytes, greeted: bool) -> None:
    """A7 to A11, A15, A26: what is not a header ends the connection as such."""
    peer = it.guest() if greeted else it.peer()
    peer.frame(header)
    reply = peer.reply()
    assert reply is not None
    assert reply["code"] in (("bad_header", "out_of_order") if greeted else ("bad_header",))
    peer.finish()
    assert peer.reply() is None


@pytest.mark.case("A12")
@pytest.mark.parametrize("size", [*NO_SIZES, None])
@pytest.mark.parametrize("is_plain", [True, False])
def test_sizes(it: Host, size: str | None, is_plain: bool) -> None:
    """A12: a size that is none is refused before a byte of the body."""
    members = {"name": "a", "hash": md5(b"hi"), "size": "PLACE"}
    if is_plain:
        peer = it.peer()
    else:
        peer = it.guest()
        peer.frame({"kind": "put"})
        members["kind"] = "file"
    text = json.dumps(members)
    text = text.replace(', "size": "PLACE"', "") if size is None else text.replace('"PLACE"', size)
    peer.frame(text.encode())
    assert "size" in refused(peer, "bad_header") or "NaN" in text or "Infinity" in text
    assert it.names() == set()


@pytest.mark.case("A13")
@pytest.mark.parametrize(
    "twin", ['"size":9', '"size" :9', '"\\u0073ize":9', '"name":"b"', '"hash" :"x"']
)
def test_a_member_twice(it: Host, twin: str) -> None:
    """A13: which of the two is meant is not guessed."""
    peer = it.peer()
    peer.send(framed(f'{{"name":"a","size":2,"hash":"{md5(b"hi")}",{twin}}}'.encode()) + b"hi")
    assert "twice" in refused(peer, "bad_header")
    assert it.names() == set()


@pytest.mark.case("A14")
def test_unknown_members(it: Host) -> None:
    """A14: members of a later version are passed over."""
    peer = it.peer()
    peer.send(plain("a", b"hi", colour="blue", must={"be": [1.5, None]}))
    assert peer.replies("stored")[-1]["kind"] == "stored"


@pytest.mark.case("A16", "A17")
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("PLACE", "bad_header"),
        ("null", "bad_header"),
        ("5", "bad_header"),
        ('["a"]', "bad_header"),
        ('"\\ud800"', "bad_header"),
        ('"a\\udcffb"', "bad_header"),
        ('{"raw":"!"}', "bad_header"),
        ('""', "bad_name"),
        ('"a\\u0000b"', "bad_name"),
        ('{"raw":"YQBi"}', "bad_name"),
        ('{"raw":"Li4veA=="}', "bad_name"),
    ],
)
@pytest.mark.parametrize("is_plain", [True, False])
def test_names_that_are_none(it: Host, name: str, code: str, is_plain: bool) -> None:
    """A16, A17: a name is there, is a text, and can be a file's."""
    members = {"name": "PLACE", "size": 2, "hash": md5(b"hi")}
    if not is_plain:
        members["kind"] = "file"
    text = json.dumps(members)
    text = (
        text.replace('"name": "PLACE", ', "") if name == "PLACE" else text.replace('"PLACE"', name)
    )
    data = framed(text.encode()) + b"hi"
    if code == "bad_header":
        peer = it.peer() if is_plain else it.guest()
        peer.send((b"" if is_plain else framed({"kind": "put"})) + data)
        assert "name" in refused(peer, code)
    elif is_plain:
        peer = it.peer()
        peer.send(data)
        reply = peer.reply()
        assert reply
        assert (reply["kind"], reply["code"], reply["fatal"]) == ("error", code, False)
    else:
        (outcome,) = put(it.guest(), data)
        assert (outcome["result"], outcome["code"]) == ("failed", code)
    assert it.names() == set()


NO_HASHES: list[Any] = [
    None,
    "",
    "none",
    "none:",
    "a" * 32,
    "md5:" + "0" * 31,
    "md5:" + "0" * 33,
    "md5:" + "g" * 32,
    "sha256:" + "0" * 63,
    "sha256:" + "0" * 65,
    "xxh3:" + "0" * 16,
    "crc32:" + "0" * 8,
    5,
    [],
]


@pytest.mark.case("A18")
@pytest.mark.parametrize("digest", NO_HASHES, ids=repr)
def test_hashes_that_are_none(it: Host, digest: Any) -> None:
    """A18: without a digest that can be checked nothing is stored."""
    peer = it.peer()
    members = {"name": "a", "size": 2, "hash": digest}
    peer.send(framed(members if digest is not None else {"name": "a", "size": 2}) + b"hi")
    assert "hash" in refused(peer, "bad_header")
    assert it.names() == set()


@pytest.mark.case("A18", "A21")
@pytest.mark.parametrize("size", [2, PLAIN_MAX + 1])
@pytest.mark.parametrize(
    "digits", ["0" * 32, "z" * 32, "\u0663" * 32, "../../../../../../../../../../xx"]
)
def test_hashes_that_are_wrong(it: Host, digits: str, size: int) -> None:
    """A18, A21: nor with one that has the right length only."""
    members = {"name": "a", "size": size, "hash": "xxh3_128:" + digits}
    peer = it.peer()
    peer.send(framed(members) + b"x" * size)
    reply = peer.reply()
    assert reply is not None
    assert reply["code"] in ("bad_header", "hash_mismatch")
    assert it.names() == set()


@pytest.mark.case("A18")
@pytest.mark.parametrize("algorithm", ["md5", "sha256", "blake2b"])
@pytest.mark.parametrize("size", [0, 2, PLAIN_MAX + 1])
def test_hashes_in_capitals(it: Host, algorithm: str, size: int) -> None:
    """A18: capitals are as good, and come back as small letters."""
    data = b"x" * size
    digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    peer = it.peer()
    peer.send(framed({"name": "a", "size": size, "hash": digest.upper()}) + data)
    stored = {"kind": "stored", "name": "a", "size": size, "hash": digest, "result": "stored"}
    assert peer.reply() == stored
    assert (it.folder / "a").read_bytes() == data


@pytest.mark.case("A19")
@pytest.mark.parametrize("size", [1, PLAIN_MAX, PLAIN_MAX + 1, 3 << 20])
@pytest.mark.parametrize("is_plain", [True, False])
def test_short_bodies(it: Host, size: int, is_plain: bool) -> None:
    """A19: a body that ends too early is told apart, and the client hears it."""
    data = b"x" * size
    if is_plain:
        peer, whole = it.peer(), plain("a", data)
    else:
        peer, whole = it.guest(), framed({"kind": "put"}) + file("a", data)
    peer.send(whole[:-1])
    peer.finish()
    refused(peer, "size_mismatch")
    assert it.names() == set()


@pytest.mark.case("A20")
def test_surplus(it: Host) -> None:
    """A20: what follows a body is the next header, and must be one."""
    peer = it.peer()
    peer.send(plain("a", b"hi") + b"surplus bytes")
    assert peer.replies("stored")[-1]["kind"] == "stored"
    refused(peer, "bad_header")
    assert (it.folder / "a").read_bytes() == b"hi"


@pytest.mark.case("A21")
@pytest.mark.parametrize("size", [1, PLAIN_MAX, PLAIN_MAX + 1])
@pytest.mark.parametrize("how", ["plain", "file", "parts"])
def test_wrong_bodies(host: Callable[..., Host], size: int, how: str) -> None:
    """A21: bytes that are not what the hash says replace nothing, and the talk goes on."""
    it = host(allow=["overwrite"])
    (it.folder / "a").write_bytes(b"precious")
    wrong = md5(b"other")
    data = b"x" * size
    if how == "plain":
        peer = it.peer()
        peer.send(plain("a", data, hash=wrong))
        reply = peer.reply()
        assert reply
        assert (reply["kind"], reply["code"], reply["fatal"]) == ("error", "hash_mismatch", False)
        peer.send(plain("b", b"hi"))
        assert peer.replies("stored")[-1]["name"] == "b"
    else:
        bad = file("a", data, hash=wrong) if how == "file" else parts("a", data)
        if how == "parts":
            bad = bad.replace(md5(data).encode(), wrong.encode())
        (outcome,) = put(it.guest(), bad, file("b", b"hi"), if_exists="overwrite")
        assert (outcome["item"], outcome["result"], outcome["code"]) == (
            1,
            "failed",
            "hash_mismatch",
        )
    assert (it.folder / "a").read_bytes() == b"precious"
    assert (it.folder / "b").read_bytes() == b"hi"


@pytest.mark.case("A22")
def test_empty_files(it: Host) -> None:
    """A22: a file of 0 bytes has a hash like any other."""
    outcomes = put(it.guest(), file("a", b""), file("b", b"", hash=md5(b"x")), parts("c"))
    assert [(each["item"], each["code"]) for each in outcomes] == [(2, "hash_mismatch")]
    assert {name: entry[3] for name, entry in tree_state(it.folder).items()} == {"a": b"", "c": b""}


@pytest.mark.case("A23")
@pytest.mark.parametrize(
    "words",
    [
        b"GET /secret-path HTTP/1.1\r\nHost: x\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\0\0\0\x85\xffSMBr\0\0\0\0\x18S\xc8" + bytes(121),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(506),
        b"EHLO x\r\n",
    ],
)
def test_other_protocols(it: Host, words: bytes) -> None:
    """A23: who talks something else is turned away, and nothing of it comes back."""
    peer = it.peer()
    peer.send(words)
    reply = peer.reply()
    assert reply is not None
    assert (reply["kind"], reply["code"]) == ("error", "bad_header")
    assert "secret" not in json.dumps(reply)
    peer.finish()
    assert peer.reply() is None


@pytest.mark.case("A24")
@pytest.mark.parametrize(
    "message",
    [
        {"kind": "stat", "name": "a"},
        {"kind": "put"},
        {"kind": "file", "name": "a", "size": 0, "hash": md5(b"")},
        {"kind": "welcome", "version": 1, "rights": []},
        {"kind": "end"},
        {"kind": "alive"},
    ],
)
def test_before_the_greeting(it: Host, message: Reply) -> None:
    """A24: nothing but a greeting or a plain file comes first."""
    peer = it.peer()
    peer.frame(message)
    refused(peer, "out_of_order")


@pytest.mark.case("A24")
@pytest.mark.parametrize(
    "message",
    [
        {"kind": "hello", "version": 1},
        {"kind": "file", "name": "a", "size": 2, "hash": md5(b"hi")},
        {"kind": "done", "count": 1},
        {"kind": "answer", "verdicts": "s", "refused": []},
        {"kind": "trailer", "hash": md5(b"")},
        {"kind": "fetch", "name": "a"},
        {"name": "a", "size": 2, "hash": md5(b"hi")},
    ],
)
def test_between_requests(it: Host, message: Reply) -> None:
    """A24: after the greeting only requests come; a second greeting is none."""
    peer = it.guest()
    peer.frame(message)
    refused(peer, "out_of_order")


@pytest.mark.case("A24")
@pytest.mark.parametrize(
    "message", [{"kind": "put"}, {"kind": "stat", "name": "a"}, {"kind": "hello", "version": 1}]
)
def test_inside_a_put(it: Host, message: Reply) -> None:
    """A24: in a put only items come; what came whole before is kept."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.send(file("a", b"hi"))
    peer.frame(message)
    replies = peer.replies("error")
    assert replies[-1]["code"] == "out_of_order"
    peer.finish()
    assert peer.reply() is None
    assert it.names() == {"a"}


@pytest.mark.case("A24")
@pytest.mark.parametrize("when", ["opening", "idle", "put", "body", "get"])
@pytest.mark.parametrize("code", ["denied", "busy", "bad_header", "nonsense"])
def test_errors_that_answer_nothing(it: Host, when: str, code: str) -> None:
    """A24: an error that is not meant to end the talk ends it where nothing was asked."""
    (it.folder / "a").write_bytes(b"hi")
    peer = it.peer() if when == "opening" else it.guest()
    if when in ("put", "body"):
        peer.frame({"kind": "put"})
    if when == "body":
        peer.send(framed({"kind": "file", "name": "b", "algorithm": "md5"}) + bytes(4))
    if when == "get":
        peer.frame({"kind": "get", "names": ["a"], "fresh": True})
    peer.frame({"kind": "error", "code": code, "text": "x\x1b", "fatal": False})
    peer.finish()
    peer.sock.settimeout(5)
    while peer.read(1 << 16):
        pass
    it.settle()
    assert it.names() == {"a"}


@pytest.mark.case("A24", "C25")
@pytest.mark.parametrize(
    "message",
    [
        {"kind": "received", "count": 99},
        {"kind": "done", "count": 99},
        {"kind": "outcome", "item": 99, "result": "failed"},
        {"kind": "answer", "verdicts": "s", "refused": []},
        {"kind": "file", "name": "a"},
        {"kind": "end"},
    ],
)
def test_inside_a_get(it: Host, message: Reply) -> None:
    """A24, C25: confirmations of what was never sent end the connection."""
    (it.folder / "a").write_bytes(b"hi")
    peer = it.guest()
    peer.frame({"kind": "get", "names": ["a"], "fresh": True, "hash": "md5"})
    sent = peer.reply()
    assert sent
    assert peer.read(sent["size"]) == b"hi"
    peer.frame(message)
    replies = peer.replies("error")
    assert replies[-1]["code"] in ("out_of_order", "bad_header")


@pytest.mark.case("A24")
def test_after_the_end(it: Host) -> None:
    """A24: after the goodbye nothing is heard any more."""
    peer = it.guest()
    peer.frame({"kind": "end"})
    peer.frame({"kind": "mkdir", "name": "a"})
    assert peer.reply() is None
    assert it.names() == set()


@pytest.mark.case("A25")
@pytest.mark.parametrize("version", [0, 2, 2**63 - 1])
def test_other_versions(it: Host, version: int) -> None:
    """A25: another version is refused, and both are named."""
    peer = it.peer()
    peer.frame({"kind": "hello", "version": version})
    text = refused(peer, "unsupported")
    assert "version 1 " in text
    assert str(version) in text


@pytest.mark.case("A25")
@pytest.mark.parametrize("version", [None, "1", 1.0, -1, True])
def test_no_version(it: Host, version: Any) -> None:
    """A25: a greeting without a version is none."""
    peer = it.peer()
    peer.frame({"kind": "hello"} if version is None else {"kind": "hello", "version": version})
    assert "version" in refused(peer, "bad_header")


@pytest.mark.case("A14")
def test_unknown_kinds(it: Host) -> None:
    """A kind of message that this version does not know is named in the refusal."""
    peer = it.guest()
    peer.frame({"kind": "chmod\x1b", "name": "a"})
    assert "'chmod\\x1b'" in refused(peer, "unsupported")


@pytest.mark.slow  # fills buffers
@pytest.mark.case("A27")
@pytest.mark.parametrize("good", [True, False])
def test_replies_that_nobody_reads(it: Host, good: bool) -> None:
    """A27: ten thousand files by a client that reads no reply before all is sent."""
    number = 10_000
    peer = it.guest()
    prefix = "d/" if good else ".fx-"
    items = [file(f"{prefix}{index}", b"%d" % index) for index in range(number)]
    peer.send(framed({"kind": "put"}) + b"".join(items) + framed({"kind": "end"}))
    replies = peer.replies()
    assert replies[-1]["kind"] == "end"
    assert max(reply.get("count", 0) for reply in replies) == number
    outcomes = [reply["code"] for reply in replies if reply["kind"] == "outcome"]
    assert outcomes == ([] if good else ["bad_name"] * number)
    if good:
        assert len(os.listdir(it.folder / "d")) == number
        assert (it.folder / "d" / "9999").read_bytes() == b"9999"
        shutil.rmtree(it.folder / "d")  # so that it does not lie about for days


@pytest.mark.slow  # as above
@pytest.mark.case("A27")
def test_plain_replies_that_nobody_reads(it: Host) -> None:
    """A27: the same with files one by one."""
    number = 1000
    peer = it.peer()
    peer.send(b"".join(plain(f"{index}", b"hi") for index in range(number)))
    peer.frame({"kind": "end"})
    replies = peer.replies("never")
    assert [reply["name"] for reply in replies] == [str(index) for index in range(number)]


def memory() -> int:
    """Return the bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.slow  # as above
@pytest.mark.case("A27")
def test_replies_that_are_never_read(
    host: Callable[..., Host], caplog: pytest.LogCaptureFixture
) -> None:
    """A27: who never reads is soon read no more, takes no memory, and is given up in the end."""
    caplog.set_level(logging.WARNING, "filexfer.transfers")  # a line kept for each would take some
    it = host(timeout=0.5)
    peer = it.guest()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    peer.frame({"kind": "put"})
    many = file(".fx-" + "x" * 20, b"") * 1000
    before = memory() if os.path.exists("/proc/self/statm") else 0
    sent = 0
    peer.sock.settimeout(0.3)
    try:
        while sent < 1 << 27:  # twice of what is dropped after an error
            sent += peer.sock.send(many)
    except (TimeoutError, ConnectionError):
        pass  # as it must be, before that many bytes
    assert sent < 1 << 27
    if before:
        assert memory() - before < 16 << 20
    it.settle()
    assert it.names() == set()


@pytest.mark.case("A28")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_sessions(it: Host, data: st.DataObject) -> None:
    """A28: a session damaged anywhere ends somehow, and nothing but that session."""
    peer = it.peer()
    peer.send(oracles.damaged(a_session(), data))
    peer.finish()
    while peer.read(1 << 20):
        pass
    peer.close()
    assert leftovers(it.folder) == []


@pytest.mark.case("A28")
@given(st.lists(st.binary(max_size=40), max_size=6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example([b'{"kind":"put"}', b'{"kind":"file","name":"a","size":5}', b"\0"])
def test_any_frames(it: Host, frames: list[bytes]) -> None:
    """A28: any frames after a greeting end in an error or in nothing."""
    peer = it.guest()
    peer.send(b"".join(struct.pack("!I", len(each)) + each for each in frames))
    peer.finish()
    for reply in peer.replies("never"):
        assert reply["kind"] in ("error", "entries", "ok", "received", "done", "outcome", "end")
    peer.close()


SIZES = [0, 1, PLAIN_MAX - 1, PLAIN_MAX, PLAIN_MAX + 1, BUFFER - 1, BUFFER + 1, (2 << 20) + 1]


@pytest.mark.case("A29")
def test_sizes_both_ways(it: Host, tmp_path: Path) -> None:
    """A29: files of every awkward size arrive as they were, up and down."""
    source = tmp_path / "sizes"
    source.mkdir()
    for size in SIZES:
        (source / str(size)).write_bytes(random.Random(size).randbytes(size))
    with it.served.client() as client:
        assert client.put([source]).files == len(SIZES)
        options = Options(durability="none", algorithm="md5")
        assert client.get(["sizes"], tmp_path / "back", options).files == len(SIZES)
    assert tree_state(tmp_path / "back" / "sizes") == tree_state(source)


@pytest.mark.case("A29")
@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**32 + 1])
def test_holes_both_ways(it: Host, tmp_path: Path, size: int) -> None:
    """A29: a hole as large as fits into one length, and larger ones: no size is cut to 32 bits."""

    def make(path: Path) -> None:
        with open(path, "wb") as made:
            made.truncate(size)
            made.seek(size)
            made.write(b"end")

    def check(path: Path) -> None:
        status = path.stat()
        assert status.st_size == size + 3
        assert status.st_blocks * 512 < 1 << 20
        with open(path, "rb") as found:
            found.seek(size - 1)
            assert found.read() == b"\0end"

    make(tmp_path / "hole")
    with it.served.client() as client:
        assert client.put([tmp_path / "hole"]).files == 1
        assert client.get(["hole"], tmp_path / "back", Options(durability="none")).files == 1
    check(it.folder / "hole")
    check(tmp_path / "back")


# B. Hostile clients

TRAVERSALS = [
    *("../x", "a/../../x", "/x", "//x", "./x", "a//b", "a/", ".", "..", "../canary/precious"),
    *("/etc/passwd", "a/../../canary/precious", "a/..", "/", "..//x", "d/../d/x", "../served/d"),
]
LITERALS = [
    "...",
    "C:\\x",
    "\\\\s\\h",
    "..\\x",
    "%2e%2e",
    "%2e%2e%2fx",
    "..%2fx",
    "~",
    "-rf",
    "$HOME",
]

# Each request that takes a name, and where its refusal is.
REQUESTS: dict[str, Callable[[Host, Any], str]] = {}


def request(take: Callable[[Host, Any], str]) -> Callable[[Host, Any], str]:
    REQUESTS[take.__name__.strip("_")] = take
    return take


def simple(it: Host, message: Reply) -> str:
    reply = ask(it.guest(), message)
    if reply["kind"] == "error":
        assert reply["fatal"] is False
        return str(reply["code"])
    return ""


@request
def stat_(it: Host, name: Any) -> str:
    return simple(it, {"kind": "stat", "name": name})


@request
def list_(it: Host, name: Any) -> str:
    return simple(it, {"kind": "list", "name": name, "recursive": True})


@request
def mkdir(it: Host, name: Any) -> str:
    return simple(it, {"kind": "mkdir", "name": name})


@request
def remove(it: Host, name: Any) -> str:
    return simple(it, {"kind": "remove", "name": name, "recursive": True})


@request
def move(it: Host, name: Any) -> str:
    return simple(it, {"kind": "move", "name": name, "to": "x"})


@request
def move_to(it: Host, name: Any) -> str:
    (it.folder / "movable").touch()
    try:
        return simple(it, {"kind": "move", "name": "movable", "to": name})
    finally:
        (it.folder / "movable").unlink()


@request
def get(it: Host, name: Any) -> str:
    return getting(it, name, fresh=False)


@request
def get_fresh(it: Host, name: Any) -> str:
    return getting(it, name, fresh=True)


def getting(it: Host, name: Any, *, fresh: bool) -> str:
    peer = it.guest()
    reply = ask(peer, {"kind": "get", "names": [name], "fresh": fresh})
    if reply["kind"] == "unsent":
        peer.frame({"kind": "done", "count": 1})
        peer.frame({"kind": "end"})
        assert peer.replies()[-1]["kind"] == "end"
    return str(reply.get("code", ""))


@request
def fetch(it: Host, name: Any) -> str:
    reply = ask(it.peer(), {"kind": "fetch", "name": name})
    return str(reply.get("code", ""))


@request
def store(it: Host, name: Any) -> str:
    peer = it.peer()
    peer.send(plain(name, b"hi"))
    reply = peer.reply()
    assert reply
    return str(reply.get("code", ""))


def putting(it: Host, item: bytes) -> str:
    outcomes = put(it.guest(), item, if_exists="overwrite")
    return str(outcomes[0].get("code", "")) if outcomes else ""


@request
def put_file(it: Host, name: Any) -> str:
    return putting(it, file(name, b"hi"))


@request
def put_parts(it: Host, name: Any) -> str:
    return putting(it, parts(name, b"h", b"i"))


@request
def put_folder(it: Host, name: Any) -> str:
    return putting(it, framed({"kind": "folder", "name": name, "mode": 0o777, "mtime": 5}))


@request
def put_link(it: Host, name: Any) -> str:
    return putting(it, framed({"kind": "link", "name": name, "target": "x"}))


@request
def ask_(it: Host, name: Any) -> str:
    peer = it.guest()
    peer.frame({"kind": "put"})
    reply = ask(peer, {"kind": "ask", "entries": [[name, "file", 2, 0, 420, ""]]})
    peer.frame({"kind": "end"})
    assert peer.replies()[-1]["kind"] == "end"
    return str(reply["refused"][0][1]) if reply["verdicts"] == "r" else ""


NO_ID = "0" * 32
DIGEST_OF_HI = "md5:49f68a5c8493ec2c0bf489821c21fc3b"


@request
def begin(it: Host, name: Any) -> str:
    return simple(it, {"kind": "begin", "name": name, "size": 2, "if_exists": "overwrite"})


@request
def range_(it: Host, name: Any) -> str:
    peer = it.guest()
    head = {"kind": "range", "name": name, "id": NO_ID, "offset": 0, "size": 2}
    peer.send(framed({**head, "hash": DIGEST_OF_HI}) + b"hi")
    reply = peer.reply() or {}
    assert reply["fatal"] is False
    return str(reply["code"])


@request
def slice_(it: Host, name: Any) -> str:
    wanted = {"offset": 0, "size": 1, "total": 9, "mtime": 0}
    return simple(it, {"kind": "slice", "name": name, **wanted})


@request
def digest(it: Host, name: Any) -> str:
    return simple(it, {"kind": "digest", "name": name, "total": 9, "mtime": 0})


requests = pytest.mark.parametrize("make", REQUESTS.values(), ids=REQUESTS)
ALL = ["overwrite", "delete"]


@pytest.mark.case("B25")
def test_every_request_is_here() -> None:
    """B25: whatever the server does for a peer that gives a name is in the table above."""
    from filexfer.wire.protocol import KINDS, TRANSITIONS, State  # noqa: PLC0415 - only here

    to_server = {
        cls
        for state in (State.OPENING, State.PLAIN, State.IDLE, State.TAKING)
        for cls in TRANSITIONS[state]
    }
    named = {cls.kind for cls in to_server if {"name", "names", "entries"} & set(cls.checks)}
    assert named == {
        *("", "fetch", "stat", "list", "mkdir", "remove", "move", "get"),
        *("file", "folder", "link", "unsent", "ask"),
        *("begin", "range", "slice", "digest"),
        "later",  # as "unsent": nothing is done under its name
    }
    assert set(KINDS) > named


@pytest.mark.case("B1", "B25")
@requests
def test_traversals(host: Callable[..., Host], make: Callable[[Host, Any], str]) -> None:
    """B1, B25: no request takes a name that leads anywhere but down."""
    it = host(allow=ALL)
    (it.folder / "d").mkdir()
    (it.folder / "d" / "x").write_bytes(b"x")
    before = tree_state(it.folder)
    for name in TRAVERSALS:
        assert make(it, name) == "bad_name", name
    assert tree_state(it.folder) == before


@pytest.mark.case("B1", "B3")
@pytest.mark.parametrize("name", LITERALS)
def test_literal_names(it: Host, name: str) -> None:
    """B1, B3: what only looks like a way out is a file in the folder."""
    assert store(it, name) == ""
    assert it.names() == set(os.listdir(it.folder))
    assert ask(it.guest(), {"kind": "stat", "name": name})["entries"][0][0] == name
    assert fetch(it, name) == ""


@pytest.mark.case("D1", "D2")
@requests
def test_no_way_through_links(
    host: Callable[..., Host], canary: Path, make: Callable[[Host, Any], str]
) -> None:
    """D1, D2: links in the folder lead no request out of it."""
    it = host(allow=ALL)
    (it.folder / "out").symlink_to(canary)
    (it.folder / "up").symlink_to("../canary/sub")
    for name in ("out/precious", "out/sub/secret", "up/secret", "out/sub", "out/new"):
        code = make(it, name)
        assert code in ("not_a_folder", "not_regular", "not_found"), (name, code)
    assert os.readlink(it.folder / "out") == str(canary)


HARMFUL = [
    *(
        "\x1b[31mred",
        "\x9b31m",
        "a\r\nb",
        "tab\t",
        "del\x7f",
        "\u202egpj.exe",
        "a\u200bb",
        "a\u2028b",
    ),
    *("CON", "nul.txt", "COM1", "LPT\u00b9", "x.", "x ", " x", "a:b"),
]


@pytest.mark.case("B2", "B3")
@pytest.mark.parametrize("name", [*HARMFUL, "not UTF-8 \udcff"])
def test_harmful_names(it: Host, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """B2, B3: such names are kept to the byte; in errors and logs they are escaped."""
    written: Any = name
    if "\udcff" in name:
        written = {"raw": "bm90IFVURi04IP8="}
    peer = it.peer()
    peer.send(plain(written, b"hi") + plain(written, b"other"))
    first, second = peer.reply(), peer.reply()
    assert first
    assert second
    assert (first["kind"], first["name"]) == ("stored", written)
    assert second["code"] == "exists"
    assert second["text"].isprintable()
    assert os.listdir(os.fsencode(it.folder)) == [os.fsencode(name)]
    listed = ask(it.guest(), {"kind": "list", "name": ""})["entries"]
    assert [entry[0] for entry in listed] == [written]
    logged = [record.getMessage() for record in caplog.records if " put " in record.getMessage()]
    assert logged
    assert all(text.isprintable() for text in logged)


@pytest.mark.case("B4")
@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("x" * 255, True),
        ("x" * 256, False),
        ("é" * 127, True),
        ("é" * 128, False),
        ("/".join(["x" * 204] * 5), True),
        ("/".join(["x" * 204] * 4 + ["x" * 205]), False),
        ("/".join("d" * 64), True),
        ("/".join("d" * 65), False),
        ("/".join("d" * 300), False),
        ("x" * 60_000, False),
    ],
)
def test_limits(host: Callable[..., Host], name: str, good: bool) -> None:
    """B4: the limits are exact; what is beyond is a bad name and no fault."""
    it = host(allow=ALL)
    for make in (put_folder, mkdir) if good else REQUESTS.values():
        assert make(it, name) == ("" if good else "bad_name")
    if good:
        assert (it.folder / name).is_dir()
    else:
        assert it.names() == set()


@pytest.mark.case("B5")
@requests
def test_temporary_names(host: Callable[..., Host], make: Callable[[Host, Any], str]) -> None:
    """B5: names of temporary files are nobody's, in any case of letters."""
    it = host(allow=ALL)
    planted = it.folder / ".fx-planted"
    planted.write_bytes(b"x")
    for name in (".fx-planted", ".FX-planted", "d/.fx-1", ".fx-d/x"):
        assert make(it, name) == "bad_name"
    listed = ask(it.guest(), {"kind": "list", "name": "", "recursive": True})["entries"]
    assert listed == []
    assert planted.read_bytes() == b"x"
    planted.unlink()


@pytest.mark.case("B6")
@pytest.mark.parametrize(
    ("if_exists", "allow", "code", "content"),
    [
        ("error", [], "exists", b"old"),
        ("error", ["overwrite"], "exists", b"old"),
        ("overwrite", [], "denied", b"old"),
        ("overwrite", ["overwrite"], "", b"new!"),
        ("update", [], "denied", b"old"),
        ("skip", ["overwrite"], "", b"old"),
        ("keep-both", [], "", b"old"),
    ],
)
@pytest.mark.parametrize("how", [file, parts])
def test_existing_files(
    host: Callable[..., Host],
    if_exists: str,
    allow: list[str],
    code: str,
    content: bytes,
    how: Callable[..., bytes],
) -> None:
    """B6: what is there is replaced only by who wishes to and may."""
    it = host(allow=allow)
    (it.folder / "a").write_bytes(b"old")
    outcomes = put(it.guest(), how("a", b"new!", mtime=2**62), if_exists=if_exists)
    assert "".join(each["code"] for each in outcomes) == code
    assert (it.folder / "a").read_bytes() == content
    if if_exists == "keep-both":
        (kept,) = outcomes
        assert kept["result"] == "kept"
        assert (it.folder / kept["name"]).read_bytes() == b"new!"


@pytest.mark.case("B6")
def test_unknown_wishes(it: Host) -> None:
    """B6: an unknown wish is not taken for any other."""
    peer = it.guest()
    peer.frame({"kind": "put", "if_exists": "destroy"})
    assert "if_exists" in refused(peer, "bad_header")


@pytest.mark.case("B6")
def test_a_plain_client_replaces_nothing(host: Callable[..., Host]) -> None:
    """B6: a plain client has no way to say that it wishes to."""
    it = host(allow=ALL)
    (it.folder / "a").write_bytes(b"old")
    assert store(it, "a") == "exists"
    assert (it.folder / "a").read_bytes() == b"old"


@pytest.mark.case("B7")
def test_files_and_folders_of_one_name(host: Callable[..., Host]) -> None:
    """B7: a file is no folder and a folder no file, whatever is wished."""
    it = host(allow=ALL)
    (it.folder / "d").mkdir()
    (it.folder / "d" / "x").write_bytes(b"x")
    (it.folder / "f").write_bytes(b"f")
    before = tree_state(it.folder)
    for item, code in (
        (file("f/x", b"hi"), "not_a_folder"),
        (file("f/x/y", b"hi"), "not_a_folder"),
        (framed({"kind": "folder", "name": "f"}), "not_a_folder"),
        (framed({"kind": "folder", "name": "f/x"}), "not_a_folder"),
        (file("d", b"hi"), "is_a_folder"),
        (parts("d", b"hi"), "is_a_folder"),
        (framed({"kind": "link", "name": "d", "target": "f"}), "is_a_folder"),
    ):
        for if_exists in ("error", "overwrite", "update", "skip", "keep-both"):
            outcomes = put(it.guest(), item, if_exists=if_exists)
            assert [each["code"] for each in outcomes] == [code]
    assert mkdir(it, "f") == "not_a_folder"
    assert mkdir(it, "f/x") == "not_a_folder"
    assert tree_state(it.folder) == before


@pytest.mark.case("B7")
def test_file_then_folder(it: Host) -> None:
    """B7: also when both come in one put, through what is cached."""
    outcomes = put(
        it.guest(), file("a", b"hi"), file("a/b", b"hi"), file("c/d", b"hi"), file("c", b"")
    )
    assert [(each["item"], each["code"]) for each in outcomes] == [
        (2, "not_a_folder"),
        (4, "is_a_folder"),
    ]
    assert it.names() == {"a", "c", "c/d"}


RIGHTS: dict[str, dict[str, Any]] = {
    "read_only": {"read_only": True},
    "default": {},
    "overwrite": {"allow": ["overwrite"]},
    "delete": {"allow": ["delete"]},
    "all": {"allow": ALL},
}
# Which request succeeds with which of them.
ALLOWED = {
    "stat": {*RIGHTS},
    "list": {*RIGHTS},
    "get": {*RIGHTS},
    "get_fresh": {*RIGHTS},
    "fetch": {*RIGHTS},
    "mkdir": {*RIGHTS} - {"read_only"},
    "store": {*RIGHTS} - {"read_only"},
    "put_file": {*RIGHTS} - {"read_only"},
    "put_parts": {*RIGHTS} - {"read_only"},
    "put_folder": {*RIGHTS} - {"read_only"},
    "put_link": {*RIGHTS} - {"read_only"},
    "ask": {*RIGHTS} - {"read_only"},
    "remove": {"delete", "all"},
}


@pytest.mark.parametrize("rights", RIGHTS)
@pytest.mark.parametrize("what", ALLOWED)
def test_rights(host: Callable[..., Host], rights: str, what: str) -> None:
    """B8: each request by each set of rights: done, or denied and nothing changed."""
    it = host(**RIGHTS[rights])
    (it.folder / "a").write_bytes(b"old")
    before = tree_state(it.folder)
    name = "a" if what in ("stat", "list", "get", "get_fresh", "fetch", "remove") else "new"
    if rights in ALLOWED[what]:
        assert REQUESTS[what](it, name) == ""
        return
    if what.startswith("put_") or what == "ask":
        peer = it.guest()
        peer.frame({"kind": "put"})
        refused(peer, "denied")
    else:
        assert REQUESTS[what](it, name) == "denied"
    assert tree_state(it.folder) == before


def test_the_welcome_tells_the_rights(host: Callable[..., Host]) -> None:
    """B8: a client hears beforehand what it may do."""
    for options in RIGHTS.values():
        it = host(**options)
        assert it.peer().greet()["rights"] == [
            right for right in access.RIGHTS if right in it.served.server.rights
        ]


def test_a_denied_plain_client_is_heard_out(host: Callable[..., Host]) -> None:
    """B8, E13: the refusal arrives, though the body was on its way already."""
    it = host(read_only=True)
    peer = it.peer()
    peer.send(plain("a", b"x" * (1 << 20)))
    refused(peer, "denied")


def asked(peer: Raw, entry: list[Any]) -> str:
    """Ask about one entry and return the letter."""
    return str(ask(peer, {"kind": "ask", "entries": [entry]})["verdicts"])


@pytest.mark.case("B15")
@pytest.mark.parametrize("checksum", [False, True])
def test_claimed_digests(it: Host, checksum: bool) -> None:
    """B15: what is there is identical only if the server's own hash says so."""
    (it.folder / "a").write_bytes(b"old")
    real, claimed = md5(b"old"), md5(b"new")
    peer = it.guest()
    peer.frame({"kind": "put", "checksum": checksum})
    assert asked(peer, ["a", "file", 3, 5, 420, ""]) == "d"
    assert asked(peer, ["a", "file", 3, 5, 420, claimed]) == "r"
    assert asked(peer, ["a", "file", 3, 5, 420, real]) == "i"
    assert asked(peer, ["a", "file", 4, 5, 420, real]) == "r"
    if checksum:
        mtime = (it.folder / "a").stat().st_mtime_ns
        assert asked(peer, ["a", "file", 3, mtime, 420, ""]) == "d"
        assert asked(peer, ["a", "file", 3, mtime, 420, claimed]) == "r"
    peer.frame({"kind": "end"})
    assert peer.replies()[-1]["kind"] == "end"


@pytest.mark.case("B15", "A18")
@pytest.mark.parametrize(
    "digest",
    ["x", ":", "none:", "sha1:" + "0" * 40, "md5", "__init__:", "md5:" + "0" * 31, "a" * 300],
)
def test_claimed_digests_of_no_algorithm(it: Host, digest: str) -> None:
    """B15, A18: a claimed digest that is none ends no more than the connection, with a reason."""
    (it.folder / "a").write_bytes(b"old")
    peer = it.guest()
    peer.frame({"kind": "put"})
    reply = ask(peer, {"kind": "ask", "entries": [["a", "file", 3, 5, 420, digest]]})
    if reply["kind"] == "error":
        assert reply["code"] == "bad_header"
    else:
        assert reply["verdicts"] in ("r", "d")


@pytest.mark.case("B16")
@pytest.mark.parametrize("size", [2**50, 2**62, 2**63 - 1])
def test_enormous_files(it: Host, size: int) -> None:
    """B16: a size that cannot fit is refused at once, before a byte of the body."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.frame({"kind": "file", "name": "a", "size": size, "algorithm": "md5"})
    outcome = peer.reply()
    assert outcome
    assert (outcome["item"], outcome["code"]) == (1, "no_space")
    assert it.names() == set()
    peer.send(bytes(4) + framed({"kind": "trailer", "code": "aborted", "text": "not wanted"}))
    peer.send(file("b", b"hi"))
    peer.frame({"kind": "end"})
    assert [reply["kind"] for reply in peer.replies()][-1] == "end"
    assert it.names() == {"b"}


@pytest.mark.case("B16")
def test_enormous_plain_files(it: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """B16: a plain client learns it too."""
    monkeypatch.setattr(staging, "LARGE", 1 << 20)
    monkeypatch.setattr(reservations, "free_bytes", lambda _: 1 << 20)
    peer = it.peer()
    peer.send(plain("a", bytes((1 << 20) + 1)))
    reply = peer.reply()
    assert reply
    assert reply["code"] == "no_space"
    assert it.names() == set()


@pytest.mark.case("B17")
def test_announced_sizes_are_promises(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B17: space that others were promised is not promised again; it is given back at the end."""
    it = host(limits=Limits(min_free=0))
    monkeypatch.setattr(reservations, "free_bytes", lambda _: 10 << 30)
    ledger = it.served.server.folder.reservations
    added: queue.Queue[int] = queue.Queue()
    add = ledger.add

    def noted(size: int) -> None:
        add(size)
        if size > 0:
            added.put(size)

    monkeypatch.setattr(ledger, "add", noted)
    peers = []
    for index in range(20):
        peers.append(it.guest())
        peers[-1].frame({"kind": "put"})
        peers[-1].frame({"kind": "file", "name": f"{index}", "size": 1 << 30, "algorithm": "md5"})
        assert added.get(timeout=SECONDS) == 1 << 30
        if index >= 10:
            outcome = peers[-1].reply()
            assert outcome
            assert outcome["code"] == "no_space"
    assert ledger.total() == 10 << 30


@pytest.mark.case("B18")
@pytest.mark.parametrize("where", ["frame", "body", "large body", "part"])
def test_trickles(host: Callable[..., Host], where: str) -> None:
    """Who sends a byte now and then is given up, and what came of the file is removed."""
    it = host(limits=Limits(least_rate=1 << 20, least_span=0.1))
    peer = it.guest()
    peer.frame({"kind": "put"})
    size = PLAIN_MAX if where == "body" else 1 << 20
    if where == "frame":
        peer.send(struct.pack("!I", FRAME_MAX))
    elif where == "part":
        peer.frame({"kind": "file", "name": "a", "size": size, "algorithm": "md5"})
        peer.send(struct.pack("!I", size))
    else:
        peer.frame({"kind": "file", "name": "a", "size": size, "hash": md5(b"")})
    trickle(peer)
    refused(peer, "timeout")
    assert it.names() == set()


def trickle(peer: Raw) -> None:
    """Send a space every hundredth of a second, until something comes back."""
    poll = select.poll()
    poll.register(peer.sock, select.POLLIN)
    while not poll.poll(10):
        peer.send(b" ")


@pytest.mark.case("H2")
@pytest.mark.parametrize("says", [b"", b"\0", framed({"kind": "hello", "version": 1})[:-1]])
def test_the_first_frame_has_a_deadline(host: Callable[..., Host], says: bytes) -> None:
    """The first frame must be there in time, however much of it came."""
    it = host(limits=Limits(opening_timeout=0.1))
    peer = it.peer()
    peer.send(says)
    refused(peer, "timeout")


@pytest.mark.case("H2")
def test_the_first_frame_in_a_trickle(host: Callable[..., Host]) -> None:
    """A byte now and then does not put the deadline off."""
    it = host(limits=Limits(opening_timeout=0.1))
    peer = it.peer()
    peer.send(struct.pack("!I", FRAME_MAX))
    trickle(peer)
    refused(peer, "timeout")


def test_a_client_that_never_reads(
    host: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """E10: who asks for much and reads nothing is given up; the check finds the thread ended."""
    it = host(timeout=0.5)
    monkeypatch.setattr(connection, "DRAIN_SECONDS", 0.1)
    (it.folder / "a").write_bytes(bytes(32 << 20))
    peer = it.guest()
    peer.frame({"kind": "get", "names": ["a"], "fresh": True})
    it.settle()


@pytest.mark.case("H1")
def test_too_many_connections(host: Callable[..., Host]) -> None:
    """Above the limit a client is told to come again, and those inside are served."""
    it = host(limits=Limits(connections=3))
    inside = [it.guest() for _ in range(3)]
    refused(it.peer(), "busy")
    assert ask(inside[0], {"kind": "mkdir", "name": "a"}) == {"kind": "ok"}
    for peer in inside:
        peer.frame({"kind": "end"})
        assert peer.reply() is None
    it.settle()
    it.guest()


def test_an_honest_client_meanwhile(it: Host) -> None:
    """I5: who stalls at any point holds up nobody else."""
    for sent in (b"", b"\0\0", struct.pack("!I", 100) + b" " * 40, plain("x", bytes(100))[:-1]):
        for _ in range(5):
            it.peer().send(sent)
            it.guest().send(framed({"kind": "put"}) + file("y", bytes(100))[:-1])
    oracles.is_served(it.served, it._home)


@pytest.mark.case("H7")
def test_connect_and_abort(it: Host) -> None:
    """Probes that come and go leave no descriptor and no thread behind."""
    it.guest().close()
    before = len(os.listdir("/proc/self/fd"))
    for index in range(200):
        peer = it.peer()
        if index % 2:
            peer.send(b"\0")
        if index % 4 < 2:
            peer.reset()
        else:
            peer.close()
    it.settle()
    assert ask(it.guest(), {"kind": "stat", "name": ""})["kind"] == "entries"
    assert len(os.listdir("/proc/self/fd")) <= before + 6


@pytest.mark.case("B20")
@pytest.mark.parametrize("mode", [0o7777, 0o4755, 0o2755, 0o1777])
def test_modes(it: Host, mode: int) -> None:
    """B20: no set-user bit, set-group bit or sticky bit is ever set."""
    items = (
        file("a", b"hi", mode=mode),
        parts("b", b"hi", mode=mode),
        framed({"kind": "folder", "name": "d", "mode": mode}),
    )
    assert put(it.guest(), *items) == []
    umask = os.umask(0o077)
    os.umask(umask)
    for name in ("a", "b", "d"):
        assert stat.S_IMODE((it.folder / name).stat().st_mode) == mode & 0o777 & ~umask


@pytest.mark.case("B20")
@pytest.mark.parametrize("kind", ["device", "special", "fifo", "hardlink"])
def test_odd_types(it: Host, kind: str) -> None:
    """B20: there is no message that makes anything but files, folders and links."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.frame({"kind": kind, "name": "a"})
    refused(peer, "unsupported")


@pytest.mark.case("B20")
@pytest.mark.parametrize(
    "target", ["../canary", "/etc/passwd", "d/../../x", "", "..", "a\0b", "../../../../etc/passwd"]
)
def test_links_that_lead_out(it: Host, target: str) -> None:
    """B20: a link that could lead out of the folder is not made."""
    (outcome,) = put(it.guest(), framed({"kind": "link", "name": "l", "target": target}))
    assert (outcome["result"], outcome["code"]) == ("failed", "denied")
    assert it.names() == set()


@pytest.mark.case("B21")
@pytest.mark.parametrize("mtime", [-1, -(2**63), 2**63 - 1, 253402300799 * 10**9 % 2**63, 2**62])
def test_odd_times(it: Host, mtime: int) -> None:
    """B21: a time that the disk cannot keep fails that file at most."""
    items = (
        file("a", b"hi", mtime=mtime),
        parts("b", b"hi", mtime=mtime),
        framed({"kind": "folder", "name": "d", "mtime": mtime}),
        framed({"kind": "link", "name": "l", "target": "a", "mtime": mtime}),
        file("good", b"hi"),
    )
    outcomes = put(it.guest(), *items)
    assert all(each["result"] == "failed" and each["code"] for each in outcomes)
    assert (it.folder / "good").read_bytes() == b"hi"


@pytest.mark.case("B21")
@pytest.mark.parametrize("mtime", ["1e9", "NaN", str(2**63), str(-(2**63) - 1), '"now"', "null"])
def test_times_that_are_none(it: Host, mtime: str) -> None:
    """B21: a time is a whole number of 64 bits."""
    peer = it.peer()
    header = plain("a", b"hi", mtime="PLACE")[4:-2].replace(b'"PLACE"', mtime.encode())
    peer.send(framed(header) + b"hi")
    refused(peer, "bad_header")
    assert it.names() == set()


@pytest.mark.case("B23")
def test_removing(host: Callable[..., Host], canary: Path) -> None:
    """B23: the root stays, a folder with something in it too unless that was meant."""
    it = host(allow=ALL)
    (it.folder / "d" / "e").mkdir(parents=True)
    (it.folder / "d" / "out").symlink_to(canary)
    peer = it.guest()
    for recursive in (False, True):
        reply = ask(peer, {"kind": "remove", "name": "", "recursive": recursive})
        assert reply["code"] == "denied"
    assert ask(peer, {"kind": "remove", "name": "d"})["code"] == "not_empty"
    assert ask(peer, {"kind": "remove", "name": "x"})["code"] == "not_found"
    assert it.names() == {"d", "d/e", "d/out"}
    assert ask(peer, {"kind": "remove", "name": "d", "recursive": True}) == {"kind": "ok"}
    assert it.names() == set()


@pytest.mark.case("B24")
@pytest.mark.parametrize(("share", "shares"), [(0, 0), (1, 1), (5, 2), (2**63 - 1, 2**63 - 1)])
def test_shares(it: Host, share: int, shares: int) -> None:
    """B24: a share that does not exist is refused."""
    peer = it.guest()
    peer.frame({"kind": "get", "names": [""], "share": share, "shares": shares})
    assert "share" in refused(peer, "bad_header")


@pytest.mark.case("B24")
def test_enormous_shares(it: Host) -> None:
    """B24: into however many shares the work is divided, nothing is made for each."""
    (it.folder / "a").write_bytes(b"hi")
    peer = it.guest()
    peer.frame({"kind": "get", "names": [""], "share": 1, "shares": 2**63 - 1, "fresh": True})
    assert peer.reply() == {"kind": "end"}


@pytest.mark.case("B23")
@pytest.mark.parametrize("flags", [{}, {"again": True}, {"shared": True}])
def test_the_root_is_no_item(host: Callable[..., Host], flags: Reply) -> None:
    """B23: whoever may replace all that is in it does not get to shut the root, or to date it."""
    it = host(allow=ALL)
    os.chmod(it.folder, 0o750)
    os.utime(it.folder, ns=(5, 5))
    root = {"kind": "folder", "name": "", "mode": 0, "mtime": 7, **flags}
    outcomes = put(it.guest(), framed(root), if_exists="overwrite")
    assert [each["code"] for each in outcomes] == ([] if flags else ["bad_name"])
    status = it.folder.stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o750, 5)


# Cuts and leftovers


@pytest.mark.parametrize("ending", ["finish", "close", "reset"])
def test_a_cut_put(it: Host, ending: str) -> None:
    """E1, E2: of a put that is cut, what came whole may be there, and nothing else."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.send(file("whole", b"hi"))
    done = peer.replies("done")
    assert done[-1]["count"] == 1
    peer.send(parts("large", b"x" * (1 << 20), b"y")[: 1 << 19])
    getattr(peer, ending)()
    it.settle()
    assert it.names() == {"whole"}


@pytest.mark.case("A20")
def test_parts_longer_than_announced(it: Host) -> None:
    """A body in parts that goes on beyond its size ends the connection."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.send(parts("a", b"x" * 100, size=50))
    replies = peer.replies("error")
    assert replies[-1]["code"] == "bad_header"
    assert it.names() == set()


@pytest.mark.case("A19")
def test_parts_shorter_than_announced(it: Host) -> None:
    """One that ends before its size fails that file."""
    (outcome, *rest) = put(it.guest(), parts("a", b"x" * 100, size=150), file("b", b"hi"))
    assert (outcome["code"], rest) == ("size_mismatch", [])
    assert it.names() == {"b"}


def test_enormous_holes(it: Host) -> None:
    """Holes beyond the announced size are not even hashed."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.frame({"kind": "file", "name": "a", "size": 1000, "algorithm": "md5"})
    peer.send(struct.pack("!I", 0xFFFFFFFF))
    assert peer.replies("error")[-1]["code"] == "bad_header"
    assert it.names() == set()


def hole(size: int) -> bytes:
    return struct.pack("!I", HOLE | size)


def test_holes_of_an_unknown_size(it: Host) -> None:
    """Four bytes are no two gigabytes of work: only what was announced has holes."""
    peer = it.guest()
    peer.frame({"kind": "put"})
    peer.frame({"kind": "file", "name": "a", "algorithm": "md5"})
    peer.send(hole(HOLE - 1))
    text = peer.replies("error")[-1]["text"]
    assert "holes" in text
    assert it.names() == set()


def test_holes_that_the_disk_cannot_hold(it: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not hashed. (No disk here says so soon that a file is too large for it.)"""
    hashed: list[int] = []
    new = hashing.new

    class Noted:
        def __init__(self, algorithm: str) -> None:
            self._made = new(algorithm)

        def update(self, data: Any) -> None:
            hashed.append(len(data))
            self._made.update(data)

        def hexdigest(self) -> str:
            return self._made.hexdigest()

    def too_far(made: draft.Draft, size: int) -> None:
        raise FileError(Code.TOO_LARGE, made.staged.entry.name, f"{size} bytes are too many")

    monkeypatch.setattr(hashing, "new", Noted)
    monkeypatch.setattr(draft.Draft, "skip", too_far)
    outcomes = put(it.guest(), parts("a", b"x" * 100, 3 << 20), file("b", b"hi"))
    assert [(each["item"], each["code"]) for each in outcomes] == [(1, "too_large")]
    assert it.names() == {"b"}
    assert hashed == [100, 2]


@pytest.mark.case("D15")
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_holes_of_a_client_that_has_gone(
    it: Host, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    """What it left behind in a few bytes does not keep the server busy for minutes."""
    monkeypatch.setattr(protocol, "ALIVE_EVERY", 0.05)
    peer = it.guest()
    peer.frame({"kind": "put"})
    head = {"kind": "file", "name": "a", "size": 2**43, "sparse": True, "algorithm": "md5"}
    peer.send(framed(head) + hole(HOLE - 1) * 4000)
    getattr(peer, ending)()
    it.settle()
    assert it.names() == set()


# Plain clients


def test_a_plain_client(it: Host) -> None:
    """Twenty lines of anything: name, size and md5, then the bytes; and the same way back."""
    data = b"x" * 700_000
    peer = it.peer()
    digest = hashlib.md5(data).hexdigest()
    for name in ("a.txt", "sub/b.txt"):
        peer.frame({"name": name, "size": len(data), "md5": digest, "token": "unused"})
        peer.send(data)
        reply = peer.reply()
        assert reply == {
            "kind": "stored",
            "name": name,
            "size": len(data),
            "hash": "md5:" + digest,
            "result": "stored",
        }
    for algorithm in ("md5", "sha256", "blake2b", None):
        message = {"kind": "fetch", "name": "sub/b.txt"}
        sent = ask(peer, message if algorithm is None else {**message, "hash": algorithm})
        assert sent["kind"] == "file"
        assert (
            sent["hash"]
            == f"{algorithm or 'sha256'}:{hashlib.new(algorithm or 'sha256', data).hexdigest()}"
        )
        assert peer.read(sent["size"]) == data
    peer.frame({"kind": "end"})
    assert peer.reply() is None


def test_a_plain_client_without_a_time(it: Host) -> None:
    """A file whose sender says no time is of the time at which it came."""
    before = time.time_ns()
    peer = it.peer()
    peer.send(plain("a", b"hi") + plain("b", b"hi", mtime=5))
    assert len([peer.reply(), peer.reply()]) == 2
    assert before - 10**9 <= (it.folder / "a").stat().st_mtime_ns <= time.time_ns()
    assert (it.folder / "b").stat().st_mtime_ns == 5


def test_a_plain_client_that_repeats_itself(it: Host) -> None:
    """A second try finds the first one's file, and that is success."""
    peer = it.peer()
    results = []
    for data in (b"hi", b"hi", b"ho"):
        peer.send(plain("a", data))
        reply = peer.reply()
        assert reply
        results.append(reply.get("result") or reply["code"])
    assert results == ["stored", "identical", "exists"]


def test_a_plain_client_gets_what_it_may(it: Host) -> None:
    """What cannot be fetched is told, and the connection goes on."""
    (it.folder / "d").mkdir()
    (it.folder / "a").write_bytes(b"hi")
    peer = it.peer()
    codes = []
    for name in ("none", "d", "", "a/b", "../canary/precious", ".fx-1"):
        reply = ask(peer, {"kind": "fetch", "name": name})
        assert reply["fatal"] is False
        codes.append(reply["code"])
    assert codes == ["not_found", "not_regular", "bad_name", "not_a_folder", "bad_name", "bad_name"]
    sent = ask(peer, {"kind": "fetch", "name": "a", "hash": "md5"})
    assert sent["hash"] == md5(b"hi")
    assert peer.read(2) == b"hi"


def test_a_plain_client_that_half_closes(it: Host) -> None:
    """A client that ends its side after its last word is still answered, at any length."""
    data = random.Random(5).randbytes(16 << 20)
    (it.folder / "a").write_bytes(data)
    peer = it.peer()
    peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    peer.send(plain("b", b"hi"))
    peer.frame({"kind": "fetch", "name": "a", "hash": "md5"})
    peer.finish()
    stored, sent = peer.reply(), peer.reply()
    assert stored
    assert stored["kind"] == "stored"
    assert sent
    assert sent["hash"] == md5(data)
    assert peer.read(len(data)) == data
    assert peer.reply() is None


@pytest.mark.parametrize("length", ["!I", "<i"])
def test_the_spelling_of_the_tutorial(it: Host, length: str) -> None:
    """Who followed the tutorial to the letter is told the right fields and the right length."""
    header = json.dumps({"file_name": "a", "file_size": 2, "md5": md5(b"hi")[4:]}).encode()
    peer = it.peer()
    peer.send(struct.pack(length, len(header)) + header + b"hi")
    text = refused(peer, "bad_header")
    for word in ("'name'", "'size'", "'md5'", "'!I'", "'i'"):
        assert word in text
    assert it.names() == set()


@pytest.mark.case("A18")
@pytest.mark.parametrize("algorithm", ["none", "sha1", "", 5, None])
def test_fetching_by_no_algorithm(it: Host, algorithm: Any) -> None:
    """A18: a digest is by one of the algorithms there are."""
    (it.folder / "a").write_bytes(b"hi")
    peer = it.peer()
    peer.frame({"kind": "fetch", "name": "a", "hash": algorithm})
    assert "hash" in refused(peer, "bad_header")
