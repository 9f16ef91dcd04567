"""What a server may do to a client: nothing outside what was asked for, and never unnoticed.

Each test writes a server's part frame by frame and lets the real client meet it.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import stat
import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, framed, leftovers, tree_state

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
from filexfer.wire import connection
from filexfer.wire.protocol import PART_MAX, PLAIN_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Act = Callable[[Raw], object]

pytestmark = pytest.mark.usefixtures("canary", "no_leftovers")

TIME = 1_700_000_000_000_000_000
ONCE = Options(retries=0, durability="none")


@contextmanager
def hostile(*acts: Act) -> Iterator[Client]:
    """Serve one connection after another by a script each, and give a client of that server."""
    faults: list[BaseException] = []
    done = threading.Event()

    def serve() -> None:
        try:
            for act in acts:
                sock, _ = listener.accept()
                peer = Raw(sock)
                try:
                    act(peer)
                except (ConnectionError, BrokenPipeError):
                    pass  # the client would have no more of it
                finally:
                    peer.close()
        except TimeoutError:
            if not done.is_set():
                faults.append(AssertionError("the client said nothing more"))
        except BaseException as error:  # noqa: BLE001 - raised again below
            faults.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with Client(*listener.getsockname()[:2], timeout=SECONDS) as client:
            try:
                yield client
            finally:
                done.set()
                client.close()
                listener.shutdown(socket.SHUT_RDWR)
                thread.join(SECONDS)
    if faults and not isinstance(faults[0], OSError):
        raise faults[0]


def greet(peer: Raw, **more: object) -> None:
    """Answer the hello."""
    hello = peer.reply()
    assert hello
    assert hello["kind"] == "hello"
    rights = ["read", "list", "create", "overwrite", "delete"]
    peer.frame({"kind": "welcome", "version": 1, "rights": rights, **more})


def entry(name: str, kind: str = "file", size: int = 4) -> dict[str, Any]:
    return {"kind": "entries", "entries": [[name, kind, size, TIME, 0o644, ""]]}


def until(peer: Raw, kind: str, answers: str = "file") -> dict[str, Any]:
    """Answer questions after names (there is something of that kind) until a frame of *kind*."""
    while frame := peer.reply():
        if frame["kind"] == kind:
            return frame
        assert frame["kind"] == "stat"
        if answers == "nothing":
            peer.frame({"kind": "entries", "entries": []})
        else:
            peer.frame(entry(frame["name"], answers))
    raise ConnectionResetError("the client has gone")


def md5(data: bytes) -> str:
    return "md5:" + hashlib.md5(data).hexdigest()


def file(name: str, data: bytes = b"evil", **more: object) -> bytes:
    """Return a file with a plain body."""
    header = {"kind": "file", "name": name, "size": len(data), "hash": md5(data), **more}
    return framed(header) + data


def parts(name: str, *pieces: bytes, **more: object) -> bytes:
    """Return a file with a body in parts and an honest trailer."""
    data = b"".join(pieces)
    header = {"kind": "file", "name": name, "size": len(data), "algorithm": "md5", **more}
    body = b"".join(struct.pack("!I", len(piece)) + piece for piece in pieces)
    return framed(header) + body + bytes(4) + framed({"kind": "trailer", "hash": md5(data)})


def folder(name: str, mode: int = 0o755) -> bytes:
    return framed({"kind": "folder", "name": name, "mtime": TIME, "mode": mode})


def link(name: str, target: str) -> bytes:
    return framed({"kind": "link", "name": name, "target": target, "mtime": TIME})


END = framed({"kind": "end"})


def sends(*items: bytes, kind: str = "file", hangs: bool = False) -> Act:
    """Return a script that answers a download with these items."""

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "get", kind)
        peer.send(b"".join(items))
        if not hangs:
            peer.send(END)
        while peer.sock.recv(1 << 16):  # till the client goes
            pass

    return act


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Return the folder to download into."""
    path = tmp_path / "into"
    path.mkdir(mode=0o755)
    return path


def get(client: Client, name: str, into: Path, **how: Any) -> Report:
    return client.get([name], f"{into}/", Options(**{"retries": 0, "durability": "none", **how}))


# Names


BAD = ["b", "/etc/x", "../x", "../../x", "aa", "a/../b", "./a", "A", "", ".", "..", "/", "a\0"]


@pytest.mark.case("C1", "C2", "C3")
@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("make", [file, parts, folder, lambda name: link(name, "x")])
def test_c1_c2_c3_for_a_file_another_name_comes(
    into: Path, tmp_path: Path, name: str, make: Callable[[str], bytes]
) -> None:
    """Nothing is written, and it is told as what it is: a lie."""
    before = sorted(os.listdir(tmp_path))
    with hostile(sends(make(name))) as client:
        if name == "a/../b":  # below a name that was asked for: one file that fails
            assert get(client, "a", into).failed
        elif "\0" in name:
            with pytest.raises((IntegrityError, ProtocolError)):
                get(client, "a", into)
        else:
            with pytest.raises(IntegrityError) as caught:
                get(client, "a", into)
            assert caught.value.exit_code == ExitCode.INTEGRITY
    assert os.listdir(into) in ([], ["a"])  # the folder that the name is said to lie in
    assert leftovers(into) == []
    assert sorted(os.listdir(tmp_path)) == before


NESTED = {
    "absolute": [folder("d"), folder("/tmp/evil"), file("/tmp/evil/x")],
    "climbing": [folder("d"), folder("d/.."), file("d/../x")],
    "climbing at once": [folder("d"), file("d/../../x")],
    "step by step": [folder("d"), folder(".."), folder("../.."), file("../../x")],
    "a neighbour": [folder("d"), folder("e"), file("e/x")],
    "a longer name": [folder("d"), file("d2/x"), file("dx")],
    "nothing": [folder("d"), file("d/"), folder("d//e"), file("d//e/x")],
    "the parent": [file("x")],
    "dots": [folder("d/."), file("d/./x"), folder("d/..")],
    "temporary": [folder("d"), folder("d/.fx-x"), file("d/.fx-x/y"), file("d/.FX-y")],
    "itself as a file": [file("d"), folder("d"), file("d/..")],
}


@pytest.mark.case("C4", "C5", "C7")
@pytest.mark.parametrize("what", NESTED)
@pytest.mark.parametrize("durability", ["none", "batch"])
def test_c4_c5_c7_for_a_folder_things_outside_it_come(
    into: Path, tmp_path: Path, what: str, durability: str
) -> None:
    before = sorted(os.listdir(tmp_path))
    with hostile(sends(*NESTED[what], kind="folder")) as client:
        try:
            report = get(client, "d", into, durability=durability)
        except IntegrityError:
            pass  # nobody asked for that
        else:
            assert report.failed
    assert set(os.listdir(into)) <= {"d"}
    assert set(tree_state(into)) <= {"d"}
    assert sorted(os.listdir(tmp_path)) == before
    assert not os.path.exists("/tmp/evil")


@pytest.mark.case("C6")
@pytest.mark.parametrize("asked", ["", "d/"])
@pytest.mark.parametrize("name", ["", ".", "d/.", "d/", "/", "..", "d/.."])
def test_c6_the_folder_downloaded_into_is_not_the_servers(
    into: Path, asked: str, name: str
) -> None:
    """Not its mode either; of the contents of a folder, the folder itself is none."""
    before = stat.S_IMODE(into.stat().st_mode)
    with hostile(sends(folder(name, 0o7000), kind="folder")) as client:
        try:
            report = client.get([asked], into, Options(retries=0, if_exists="overwrite"))
        except IntegrityError:
            pass
        else:
            assert report.failed
    assert stat.S_IMODE(into.stat().st_mode) == before
    assert os.listdir(into) == []


@pytest.mark.case("C8")
@pytest.mark.parametrize("durability", ["none", "batch", "file"])
@pytest.mark.parametrize("if_exists", ["error", "overwrite"])
@pytest.mark.parametrize("target", ["sub", "../canary", "../../canary", "/etc"])
def test_c8_nothing_is_written_through_a_link_sent_before(
    into: Path, durability: str, if_exists: str, target: str
) -> None:
    (into / "d" / "sub").mkdir(parents=True)
    (into / "canary").mkdir()
    items = [folder("d"), link("d/l", target), file("d/l/precious"), parts("d/l/more", b"x")]
    with hostile(sends(*items, kind="folder")) as client:
        report = get(client, "d", into, durability=durability, if_exists=if_exists)
    assert report.failed
    assert os.listdir(into / "d" / "sub") == []
    assert os.listdir(into / "canary") == []


@pytest.mark.case("C8")
def test_c8_a_folder_asked_for_comes_as_a_link(into: Path) -> None:
    (into / "other").mkdir()
    with hostile(sends(link("d", "other"), file("d/x"), kind="folder")) as client:
        assert get(client, "d", into).failed == 1
    assert os.listdir(into / "other") == []


@pytest.mark.case("C9")
@pytest.mark.parametrize("durability", ["none", "batch", "file"])
def test_c9_a_name_that_comes_twice_stays_as_it_came_first(into: Path, durability: str) -> None:
    items = [file("a", b"first"), file("a", b"second one"), parts("a", b"the third")]
    with hostile(sends(*items)) as client:
        report = get(client, "a", into, durability=durability)
    assert (report.files, report.failed) == (1, 1)  # a name fails once
    assert {error.code for error in report.failures} == {Code.EXISTS}
    assert (into / "a").read_bytes() == b"first"


@pytest.mark.case("C10")
@pytest.mark.parametrize("durability", ["none", "batch", "file"])
@pytest.mark.parametrize("swapped", [False, True])
def test_c10_a_name_and_one_below_it(into: Path, durability: str, swapped: bool) -> None:
    """One of them takes the name, whichever comes first; the other fails."""
    items = [file("d/p", b"file"), file("d/p/c", b"below")]
    with hostile(sends(folder("d"), *(items[::-1] if swapped else items), kind="folder")) as client:
        report = get(client, "d", into, durability=durability)
    assert (report.files, report.failed) == (1, 1)
    assert report.failures[0].code in (Code.IS_A_FOLDER, Code.NOT_A_FOLDER)
    assert os.listdir(into / "d") == ["p"]


@pytest.mark.case("C10")
def test_c10_names_that_this_file_system_tells_apart(into: Path) -> None:
    """Others may not: then the second of each is refused as any name that is taken."""
    names = ["README", "readme", "e\u0301", "\u00e9"]
    with hostile(
        sends(*(file(f"d/{name}", name.encode()) for name in names), kind="folder")
    ) as client:
        report = get(client, "d", into)
    found = {name: path.read_bytes() for name in names if (path := into / "d" / name).exists()}
    assert len(os.listdir(into / "d")) == report.files
    assert report.files + report.failed == len(names)
    assert set(found.values()) <= {name.encode() for name in names}
    if report.files == len(names):
        assert found == {name: name.encode() for name in names}


@pytest.mark.case("C11")
@pytest.mark.parametrize("if_exists", ["error", "overwrite", "update", "keep-both"])
def test_c11_links_at_the_target_are_not_followed(into: Path, canary: Path, if_exists: str) -> None:
    (into / "d").mkdir()
    (into / "d" / "leaf").symlink_to(canary / "precious")
    (into / "d" / "way").symlink_to(canary)
    items = [folder("d"), file("d/leaf"), file("d/way/precious"), folder("d/way/new")]
    with hostile(sends(*items, kind="folder")) as client:
        assert get(client, "d", into, if_exists=if_exists).failed >= 2
    assert (into / "d" / "way").is_symlink()


@pytest.mark.case("C12")
def test_c12_a_file_of_ours_is_kept_whatever_the_server_sends(into: Path) -> None:
    """It does not even ask."""
    (into / "a").write_bytes(b"ours")
    with hostile(sends(file("a", b"theirs"))) as client:
        report = get(client, "a", into)
    assert [error.code for error in report.failures] == [Code.EXISTS]
    assert (into / "a").read_bytes() == b"ours"


# Bodies


def endless(peer: Raw, head: bytes) -> None:
    """Send a head and then bytes for ever."""
    greet(peer)
    until(peer, "get")
    peer.send(head)
    while True:
        peer.send(bytes(1 << 20))


@pytest.mark.case("C14")
@pytest.mark.parametrize(
    "head",
    [
        file("a", b"0123456789"),
        parts("a", b"0123456789"),
        framed({"kind": "file", "name": "a", "size": 10}) + struct.pack("!I", PART_MAX),
        framed({"kind": "file", "name": "a", "size": 10}) + struct.pack("!I", PART_MAX + 1),
        framed({"kind": "file", "name": "a"}) + struct.pack("!I", PART_MAX + 1),
        framed({"kind": "file", "name": "a"}) + struct.pack("!I", 1 << 31),
        framed({"kind": "file", "name": "a", "size": 10}) + struct.pack("!I", (1 << 31) + 11),
    ],
    ids=["plain", "parts", "part beyond size", "part", "no size", "empty hole", "hole"],
)
def test_c14_no_more_is_read_than_was_announced(into: Path, head: bytes) -> None:
    """What follows is no frame, and ends it."""
    with hostile(lambda peer: endless(peer, head)) as client, pytest.raises(ProtocolError):
        get(client, "a", into)
    assert [path.read_bytes() for path in into.iterdir()] in ([], [b"0123456789"])


@pytest.mark.case("C14")
def test_c14_four_bytes_do_not_make_two_gigabytes(into: Path) -> None:
    """Without an announced size there are no holes: neither work nor zeros by the gigabyte."""
    head = framed({"kind": "file", "name": "a", "algorithm": "md5"})
    none = pytest.raises(ProtocolError, match="no holes")
    with hostile(sends(head, b"\xff" * 4, hangs=True)) as client, none:
        get(client, "a", into)
    assert os.listdir(into) == []


@pytest.mark.case("C14")
@pytest.mark.parametrize("what", ["parts", "holes"])
def test_c14_a_body_longer_than_announced_is_not_read_to_its_end(into: Path, what: str) -> None:
    """However well it ends."""
    size = 8 << 20
    part = struct.pack("!I", PART_MAX) + bytes(PART_MAX)
    pieces = (
        [part] * (size // PART_MAX) if what == "parts" else [struct.pack("!I", size + (1 << 31))]
    )
    head = framed({"kind": "file", "name": "a", "size": 10, "algorithm": "md5", "sparse": True})
    tail = bytes(4) + framed({"kind": "trailer", "hash": md5(bytes(size))})
    longer = pytest.raises(ProtocolError, match="longer")
    with hostile(sends(head, *pieces, tail)) as client, longer:
        get(client, "a", into)
    assert os.listdir(into) == []


@pytest.mark.case("C16")
@pytest.mark.parametrize(
    "header",
    [
        {"hash": "none:"},
        {"hash": "none"},
        {"hash": "md5"},
        {"hash": "md5:"},
        {"hash": "md5:" + "0" * 31},
        {"hash": "md5:" + "g" * 32},
        {"hash": "crc32:00000000"},
        {"hash": "sha1:" + "0" * 40},
        {"algorithm": "none"},
        {"algorithm": "crc32"},
        {"hash": None},
        {"size": -1, "hash": md5(b"evil")},
        {"size": 4.0, "hash": md5(b"evil")},
        {"size": None, "hash": md5(b"evil")},
        {"size": 1 << 63, "hash": md5(b"evil")},
    ],
    ids=repr,
)
def test_c16_a_body_that_cannot_be_verified_is_not_taken(
    into: Path, header: dict[str, object]
) -> None:
    head = framed({"kind": "file", "name": "a", "size": 4, **header})
    with hostile(sends(head, b"evil")) as client, pytest.raises(ProtocolError):
        get(client, "a", into)
    assert os.listdir(into) == []


@pytest.mark.case("C16")
def test_c16_a_weaker_hash_than_the_one_asked_for_is_not_taken(into: Path) -> None:
    """Whoever asks for SHA-256 wants to know that it is that which was checked."""
    with hostile(sends(file("a", b"evil"))) as client:
        try:
            report = get(client, "a", into, algorithm="sha256")
        except (IntegrityError, ProtocolError):
            pass
        else:
            assert report.failed == 1
    assert os.listdir(into) == []


TRAILERS = {
    "no hash": ({}, Code.ABORTED),
    "wrong hash": ({"hash": md5(b"other")}, Code.HASH_MISMATCH),
    "another algorithm": (
        {"hash": "sha256:" + hashlib.sha256(b"evil").hexdigest()},
        "hash_mismatch",
    ),
    "gave up": ({"hash": md5(b"evil"), "code": "changed", "text": "x\x1b[31m"}, Code.CHANGED),
}


@pytest.mark.case("C16")
@pytest.mark.parametrize("what", TRAILERS)
def test_c16_a_body_in_parts_ends_with_its_hash_or_is_not_taken(into: Path, what: str) -> None:
    trailer, code = TRAILERS[what]
    head = framed({"kind": "file", "name": "a", "size": 4, "algorithm": "md5"})
    body = struct.pack("!I", 4) + b"evil" + bytes(4) + framed({"kind": "trailer", **trailer})
    with hostile(sends(head, body)) as client:
        report = get(client, "a", into)
    assert [error.code for error in report.failures] == [code]
    assert str(report.failures[0]).isprintable()
    assert os.listdir(into) == []


@pytest.mark.case("A21")
@pytest.mark.parametrize("size", [4, PLAIN_MAX + 4], ids=["small", "large"])
def test_a21_a_body_that_is_not_what_its_hash_says(into: Path, size: int) -> None:
    """The next file is not affected, nor what was there of that name."""
    (into / "d").mkdir()
    (into / "d" / "a").write_bytes(b"ours")
    wrong = framed({"kind": "file", "name": "d/a", "size": size, "hash": md5(b"x")}) + bytes(size)
    with hostile(sends(wrong, file("d/b"), kind="folder")) as client:
        report = get(client, "d", into, if_exists="overwrite")
    assert [error.code for error in report.failures] == [Code.HASH_MISMATCH]
    assert report.files == 1
    assert {path.name: path.read_bytes() for path in (into / "d").iterdir()} == {
        "a": b"ours",
        "b": b"evil",
    }


@pytest.mark.case("A19")
def test_a_body_in_parts_shorter_than_announced_is_not_taken(into: Path) -> None:
    with hostile(sends(parts("a", b"evil", size=5))) as client:
        report = get(client, "a", into)
    assert [error.code for error in report.failures] == [Code.SIZE_MISMATCH]
    assert os.listdir(into) == []


@pytest.mark.case("A21")
@pytest.mark.parametrize("size", [4, 5 << 20], ids=["small", "large"])
def test_standard_output_with_a_wrong_hash_is_told_aloud(size: int) -> None:
    """Of a small file nothing is written; of a large one the end shows it."""
    head = {"kind": "file", "name": "a", "size": size}
    if size == 4:
        wrong = framed({**head, "hash": md5(b"x")}) + bytes(size)
    else:
        body = [struct.pack("!I", 1 << 20) + bytes(1 << 20)] * 5
        trailer = framed({"kind": "trailer", "hash": "xxh3_128:" + "0" * 32})
        wrong = framed(head) + b"".join(body) + bytes(4) + trailer
    reading, writing = os.pipe()
    got: list[bytes] = []

    def drain() -> None:
        with open(reading, "rb") as file:
            got.append(file.read())

    reader = threading.Thread(target=drain)
    reader.start()
    with hostile(sends(wrong)) as client:
        if size == 4:
            report = client.get_stream("a", writing, ONCE)
            assert [error.code for error in report.failures] == [Code.HASH_MISMATCH]
        else:
            with pytest.raises(IntegrityError, match="must not be used"):
                client.get_stream("a", writing, ONCE)
    os.close(writing)
    reader.join()
    assert len(got[0]) == (0 if size == 4 else size)


@pytest.mark.case("C1")
@pytest.mark.parametrize("name", ["b", "a/b", "../a"])
def test_c1_standard_output_gets_nothing_that_was_not_asked_for(name: str) -> None:
    reading, writing = os.pipe()
    with hostile(sends(file(name))) as client:
        try:
            assert not client.get_stream("a", writing, ONCE).files
        except IntegrityError:
            pass
    os.close(writing)
    assert os.read(reading, 100) == b""
    os.close(reading)


# Words


EVIL = "\x1b]0;evil\x07\x9b31m\r\n\u202eevil" + "x" * 3900


@pytest.mark.case("C18")
@pytest.mark.parametrize(
    "answer",
    [
        {"kind": "error", "code": "denied", "text": EVIL},
        {"kind": "error", "code": EVIL[:200], "text": EVIL},
        {"kind": "error", "code": "busy", "text": EVIL},
        {"kind": "error", "code": "bad_header", "text": EVIL},
        {"kind": "error", "code": "timeout", "text": EVIL},
        {"kind": EVIL * 10},
        {"kind": "welcome", "version": 1, "rights": EVIL},
        {"kind": "welcome", "version": EVIL, "rights": []},
        {"kind": "welcome", "version": 2**60, "rights": []},
        {EVIL * 10: 1},
    ],
    ids=repr,
)
def test_c18_what_a_server_says_is_told_in_one_short_line(answer: dict[str, object]) -> None:
    def act(peer: Raw) -> None:
        peer.reply()
        peer.frame(answer)
        peer.sock.recv(1)

    with hostile(act) as client, pytest.raises(FilexferError) as caught:
        client.put([__file__], "x", ONCE)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700


@pytest.mark.case("C18")
def test_c18_what_it_says_of_a_file_is_told_in_one_short_line(into: Path) -> None:
    unsent = {"kind": "unsent", "name": EVIL, "code": "denied", "text": EVIL}
    passed = {**unsent, "code": "passed_over"}
    with hostile(sends(framed(unsent), framed(passed))) as client:
        report = get(client, "a", into)
    assert (len(report.failures), len(report.warnings)) == (1, 1)
    for error in (*report.failures, *report.warnings):
        assert str(error).isprintable()
        assert len(str(error)) < 1200


@pytest.mark.case("C18")
def test_c18_what_it_says_of_an_upload_is_told_in_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "put")
        ask = peer.reply()
        assert ask
        assert ask["kind"] == "ask"
        peer.frame({"kind": "answer", "verdicts": "r", "refused": [[0, EVIL[:200], EVIL]]})
        outcome = {"kind": "outcome", "item": 0, "result": "failed", "code": "x", "text": EVIL}
        peer.frame({**outcome, "name": EVIL[:1000]})
        peer.send(END)

    with hostile(act) as client:
        report = client.put([tmp_path / "a"], "x", ONCE)
    assert report.failed == 2
    for error in report.failures:
        assert str(error).isprintable()
        assert len(str(error)) < 1200


@pytest.mark.case("C20")
def test_c20_a_server_does_not_set_our_limits(into: Path) -> None:
    """What a welcome or a file says beyond the protocol is dropped."""
    wishes = {"timeout": 0, "idle": 2**31, "buffer": 2**40, "jobs": 10_000, "retries": 10**9}

    def act(peer: Raw) -> None:
        greet(peer, **wishes)
        until(peer, "get")
        peer.send(file("a", b"data", **wishes) + END)
        peer.replies()

    with hostile(act) as client:
        assert get(client, "a", into).files == 1


# Silence


def silent(peer: Raw) -> None:
    while peer.sock.recv(1 << 16):
        pass


def deaf(peer: Raw) -> None:
    greet(peer)
    silent(peer)


@pytest.mark.case("C19")
@pytest.mark.parametrize(
    "act",
    [
        silent,
        deaf,
        sends(hangs=True),
        sends(file("a")[:-2], hangs=True),
        sends(file("a")[:7], hangs=True),
        sends(parts("a", bytes(100_000))[:-70], hangs=True),
        sends(parts("a", bytes(100_000))[:-2], hangs=True),
        sends(file("a"), hangs=True),
    ],
    ids=["accept", "welcome", "get", "body", "frame", "parts", "trailer", "file"],
)
def test_c19_a_server_that_stalls_is_given_up(into: Path, act: Act) -> None:
    with hostile(act) as client:
        client._door.timeout = 0.2
        with pytest.raises(TimedOut) as caught:
            get(client, "a", into)
    assert caught.value.exit_code == ExitCode.NETWORK
    assert os.listdir(into) in ([], ["a"])


@pytest.mark.case("C19")
@pytest.mark.parametrize("what", ["header", "body", "parts"])
def test_c19_a_server_that_trickles_is_given_up(
    into: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """One byte now and then keeps no transfer alive; the span is shortened for the test."""
    monkeypatch.setattr(connection, "LEAST_SPAN", 0.2)
    header = {"kind": "file", "name": "a", "size": 1 << 20}
    head = {
        "header": struct.pack("!I", 60_000),
        "body": framed({**header, "hash": md5(b"x")}),
        "parts": framed(header) + struct.pack("!I", 1 << 20),
    }[what]

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "get")
        peer.send(head)
        peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not select.select([peer.sock], [], [], 0.01)[0]:
            peer.send(b" ")

    with hostile(act) as client, pytest.raises(TimedOut, match="less than"):
        get(client, "a", into)
    assert os.listdir(into) == []


# Requests, and replies to what was not sent


REQUESTS: list[dict[str, Any]] = [
    {"kind": "stat", "name": "precious"},
    {"kind": "list", "name": ""},
    {"kind": "get", "names": ["precious"]},
    {"kind": "fetch", "name": "precious"},
    {"kind": "put"},
    {"kind": "mkdir", "name": "x"},
    {"kind": "remove", "name": "precious"},
    {"kind": "hello", "version": 1},
    {"name": "x", "size": 0, "md5": hashlib.md5(b"").hexdigest()},
    {"kind": "ask", "entries": [["precious", "file", 12, 0, 420, ""]]},
]


@pytest.mark.case("C21")
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.get("kind", "store"))
@pytest.mark.parametrize("when", ["greeting", "stat", "get", "put"])
def test_c21_a_server_cannot_ask_for_anything(
    canary: Path, monkeypatch: pytest.MonkeyPatch, when: str, request_: dict[str, Any]
) -> None:
    """Whenever it tries; the client stands in the very folder."""
    monkeypatch.chdir(canary)
    (canary.parent / "mine").write_bytes(b"data")
    said = bytearray()

    def act(peer: Raw) -> None:
        if when == "greeting":
            peer.reply()
        else:
            greet(peer)
            if when in ("get", "put"):
                until(peer, when, "file" if when == "get" else "nothing")
        peer.frame(request_)
        while data := peer.sock.recv(1 << 16):
            said.extend(data)

    is_question = (when, request_.get("kind")) == ("get", "ask")
    with hostile(act) as client:
        call = client.put if when == "put" else client.get
        paths = ("../mine", "x") if when == "put" else ("a", "../into/")
        with pytest.raises(IntegrityError if is_question else ProtocolError):
            call([paths[0]], paths[1], ONCE)
    for word in (b"entries", b"answer", b'"ok"', b"stored", b"do not"):
        assert word not in said


@pytest.mark.case("C21")
def test_c21_a_question_is_answered_for_what_was_asked_for_only(into: Path) -> None:
    (into / "a").write_bytes(b"ours")
    (into / "b").write_bytes(b"secret")
    entries = [[name, "file", 6, 0, 420, md5(b"secret")] for name in ("a", "b")]
    answers: list[dict[str, Any]] = []

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "get")
        peer.frame({"kind": "ask", "entries": entries})
        answers.extend(peer.replies("answer"))

    with hostile(act) as client, pytest.raises(IntegrityError):
        get(client, "a", into)
    assert [each["kind"] for each in answers] in ([], ["error"])


REPLIES: dict[str, list[dict[str, Any]]] = {
    "early done": [{"kind": "done", "count": 1}],
    "early received": [{"kind": "received", "count": 1}],
    "far done": [{"kind": "done", "count": 2**62}],
    "outcome of nothing": [{"kind": "outcome", "item": 1, "result": "stored"}],
    "answer to nothing": [{"kind": "answer", "verdicts": "", "refused": []}] * 2,
    "short answer": [{"kind": "answer", "verdicts": "", "refused": []}],
    "long answer": [{"kind": "answer", "verdicts": "ss", "refused": []}],
    "unknown letter": [{"kind": "answer", "verdicts": "x", "refused": []}],
    "digest for ever": [{"kind": "answer", "verdicts": "d", "refused": []}] * 2,
    "items": [{"kind": "folder", "name": "x"}],
}


@pytest.mark.case("C25")
@pytest.mark.parametrize("what", REPLIES)
def test_c25_replies_to_what_was_not_sent_end_it(tmp_path: Path, what: str) -> None:
    (tmp_path / "a").write_bytes(b"data")

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "put")
        peer.reply()
        for reply in REPLIES[what]:
            peer.frame(reply)
        peer.replies("error")

    with hostile(act) as client, pytest.raises(ProtocolError):
        client.put([tmp_path / "a"], "x", ONCE)


@pytest.mark.case("C25", "A24")
@pytest.mark.parametrize("when", ["greeting", "put", "get", "body"])
def test_c25_an_error_that_answers_nothing_ends_it(into: Path, tmp_path: Path, when: str) -> None:
    """It says that it is not meant to; but nothing was asked that it could answer."""
    (tmp_path / "a").write_bytes(b"data")

    def act(peer: Raw) -> None:
        if when == "greeting":
            peer.reply()
        else:
            greet(peer)
            until(peer, "put" if when == "put" else "get", "file")
        if when == "body":
            peer.send(framed({"kind": "file", "name": "a", "algorithm": "md5"}) + bytes(4))
        peer.frame({"kind": "error", "code": "denied", "text": "no\x1b", "fatal": False})
        peer.finish()
        silent(peer)

    words = (str(tmp_path / "a"), "x") if when == "put" else ("a", f"{into}/")
    with hostile(act) as client, pytest.raises(RefusedError, match=r"no\\x1b"):
        (client.put if when == "put" else client.get)([words[0]], words[1], ONCE)
    assert os.listdir(into) == []


LATER: dict[str, list[dict[str, Any]]] = {
    "end without done": [{"kind": "received", "count": 1}, {"kind": "end"}],
    "end at once": [{"kind": "end"}],
    "too many": [{"kind": "done", "count": 2}],
    "unknown result": [{"kind": "outcome", "item": 1, "result": "lost"}],
    "another item": [{"kind": "outcome", "item": 2, "result": "stored"}],
    "item settled already": [
        {"kind": "done", "count": 1},
        {"kind": "outcome", "item": 1, "result": "failed"},
    ],
    "back again": [{"kind": "done", "count": 1}, {"kind": "received", "count": 2}],
}


@pytest.mark.case("C25")
@pytest.mark.parametrize("what", LATER)
def test_c25_a_file_is_there_only_when_that_was_said_in_order(tmp_path: Path, what: str) -> None:
    (tmp_path / "a").write_bytes(b"data")
    report = Report()

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "put", "nothing")
        sent = peer.reply()
        assert sent
        assert sent["kind"] == "file"
        peer.read(4)
        for reply in LATER[what]:
            peer.frame(reply)
        peer.replies("error")

    with hostile(act) as client, pytest.raises(ProtocolError):
        client.put([tmp_path / "a"], "x", ONCE, report)
    assert report.files <= (1 if {"kind": "done", "count": 1} in LATER[what] else 0)


@pytest.mark.case("C25")
def test_c25_a_file_cannot_be_there_before_its_last_byte(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(50 << 20))
    report = Report()

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "put", "nothing")
        peer.reply()
        peer.frame({"kind": "done", "count": 1})
        ended.wait(20)  # nothing more is read, so that all of it cannot be sent

    ended = threading.Event()

    with hostile(act) as client:
        client._door.timeout = 0.3
        with pytest.raises((ProtocolError, TimedOut)):
            client.put([tmp_path / "a"], "x", ONCE, report)
        ended.set()
    assert report.files == 0


@pytest.mark.case("C26")
def test_c26_without_a_confirmation_a_file_is_sent_again_and_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there all along: the second try asks, and counts it once."""
    monkeypatch.setattr("filexfer.wire.dial.FIRST_PAUSE", 0.0)
    (tmp_path / "a").write_bytes(b"data")
    asked: list[dict[str, Any]] = []

    def first(peer: Raw) -> None:
        greet(peer)
        until(peer, "put", "nothing")
        peer.reply()
        peer.read(4)

    def second(peer: Raw) -> None:
        greet(peer)
        until(peer, "put")
        asked.extend(peer.replies("ask"))
        peer.frame({"kind": "answer", "verdicts": "i", "refused": []})
        peer.send(END)
        silent(peer)

    with hostile(first, second) as client:
        report = client.put([tmp_path / "a"], "x")
    assert [each["kind"] for each in asked] == ["ask"]
    assert (report.files, report.skipped, report.failed, report.uncertain) == (1, 0, 0, 0)


@pytest.mark.case("C26")
def test_c26_without_a_confirmation_and_another_try_it_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"data")
    report = Report()

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "put", "nothing")
        peer.reply()
        peer.read(4)

    with hostile(act) as client, pytest.raises(ConnectionLost):
        client.put([tmp_path / "a"], "x", ONCE, report)
    assert (report.files, report.uncertain) == (0, 1)


@pytest.mark.case("C27")
def test_c27_modes_and_times_are_made_harmless(into: Path) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    items = [
        folder("d", 0o7777),
        file("d/a", mode=0o7777, mtime=2**63 - 1),
        parts("d/b", b"x", mode=0o6777, mtime=-(2**63)),
        folder("d/sub", 0o1777),
    ]
    with hostile(sends(*items, kind="folder")) as client:
        assert get(client, "d", into).files == 2
    for name, (_, mode, _, _) in tree_state(into).items():
        assert mode == 0o777 & ~umask, name


@pytest.mark.parametrize("code", ["denied", "no_space", "anything"])
def test_a_refusal_of_the_whole_command_is_told(tmp_path: Path, code: str) -> None:
    (tmp_path / "a").write_bytes(b"data")

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "put")
        peer.frame({"kind": "error", "code": code, "text": "not today"})
        silent(peer)

    with hostile(act) as client, pytest.raises(RefusedError, match="not today") as caught:
        client.put([tmp_path / "a"], "x", ONCE)
    assert caught.value.code == code
    assert caught.value.exit_code == ExitCode.REFUSED


@pytest.mark.case("A23")
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n",
        bytes(100),
        b"\xff" * 100,
        b"\x16\x03\x01",
    ],
    ids=["http", "ssh", "zeros", "ones", "tls"],
)
def test_what_is_no_server_of_ours_is_told(data: bytes) -> None:
    def act(peer: Raw) -> None:
        peer.send(data)
        peer.finish()
        silent(peer)

    with hostile(act) as client, pytest.raises(FilexferError) as caught:
        client.stat("x")
    assert caught.value.exit_code == ExitCode.NETWORK
