"""Servers that say nothing sensible, or lead on: damaged frames, endless lists, other machines.

Each test plays a server byte by byte and lets the real client meet it; what such a server says in
good order and with bad intent is in ``test_hostile_server.py``.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
from typing import TYPE_CHECKING, Any

import oracles
import pytest
from conftest import Raw, framed, leftovers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_hostile_client import NO_HEADERS
from test_hostile_server import (
    END,
    ONCE,
    TIME,
    entry,
    file,
    folder,
    get,
    greet,
    hostile,
    into,  # noqa: F401 - a fixture
    link,
    md5,
    parts,
    sends,
    silent,
    until,
)

from filexfer import (
    ConnectionLost,
    FilexferError,
    IntegrityError,
    ProtocolError,
)
from filexfer.cli import ls
from filexfer.entry import Entry
from filexfer.errors import Code, ExitCode
from filexfer.wire.protocol import FRAME_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from hypothesis.strategies import DataObject
    from test_hostile_server import Act

pytestmark = pytest.mark.usefixtures("canary", "no_leftovers")


# What is no message


def says(data: bytes, when: str) -> Act:
    """Return a script that says something instead of what is due, and no more."""

    def act(peer: Raw) -> None:
        if when == "greeting":
            peer.reply()
        else:
            greet(peer)
            if when == "get":
                until(peer, "get")
        peer.send(data)
        peer.finish()
        silent(peer)

    return act


def is_told(into: Path, data: bytes, when: str) -> FilexferError:  # noqa: F811 - its value
    """Check that a download ends by an error of the network, and that nothing is left of it."""
    with hostile(says(data, when)) as client, pytest.raises(FilexferError) as caught:
        get(client, "a", into)
    assert caught.value.exit_code == ExitCode.NETWORK
    oracles.is_harmless(str(caught.value))
    assert len(str(caught.value)) < 700
    assert os.listdir(into) == []
    return caught.value


WHENS = pytest.mark.parametrize("when", ["greeting", "stat", "get"])


@pytest.mark.case("A1", "A2")
@WHENS
@pytest.mark.parametrize("length", [0, FRAME_MAX + 1, 2**31, 0xFFFFFFFF])
def test_lengths(into: Path, when: str, length: int) -> None:  # noqa: F811
    """A length outside 1 to 65,536 ends the command."""
    error = is_told(into, struct.pack("!I", length) + b"{}" * 8, when)
    assert isinstance(error, ProtocolError)
    assert str(length) in str(error)


@pytest.mark.case("A7", "A8", "A9", "A10", "A11", "A15", "A26")
@WHENS
@pytest.mark.parametrize("number", range(len(NO_HEADERS)))
def test_no_headers(into: Path, when: str, number: int) -> None:  # noqa: F811
    """What is not a header ends the command, at any time."""
    assert isinstance(is_told(into, framed(NO_HEADERS[number]), when), ProtocolError)


@pytest.mark.case("A3", "A4")
@WHENS
@pytest.mark.parametrize("sent", [0, 1, 3, 4, 44])
def test_cut_frames(into: Path, when: str, sent: int) -> None:  # noqa: F811
    """A connection that ends inside a frame, or where one is due, was lost."""
    cut = (struct.pack("!I", 100) + b" " * 40)[:sent]
    assert isinstance(is_told(into, cut, when), ConnectionLost)


SIZES = ["-1", "1.0", "1e3", "1e400", "NaN", "-Infinity", "true", '"5"', "[]", str(2**63)]


@pytest.mark.case("A12")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", ["stat", "get"])
def test_sizes(into: Path, size: str, where: str) -> None:  # noqa: F811
    """A size that is none ends the command before anything of the file is made."""
    if where == "stat":
        header = f'{{"kind":"entries","entries":[["a","file",{size},5,420,""]]}}'
    else:
        header = f'{{"kind":"file","name":"a","size":{size},"hash":"{md5(b"hi")}"}}'
    assert isinstance(is_told(into, framed(header.encode()) + b"hi", where), ProtocolError)


@pytest.mark.case("A13")
def test_a_member_twice(into: Path) -> None:  # noqa: F811
    """Which of two names is meant is not guessed."""
    header = f'{{"kind":"file","name":"a","name":"b","size":2,"hash":"{md5(b"hi")}"}}'
    assert "twice" in str(is_told(into, framed(header.encode()) + b"hi", "get"))


@pytest.mark.case("A16", "A17", "A18")
@pytest.mark.parametrize(
    "member",
    [
        *('"name":5', '"name":null', '"name":["a"]', '"name":"\\ud800"', '"name":{"raw":"!"}'),
        *(f'"name":"a","hash":{value}' for value in ("5", "[]", '"none"', '"md5:x"')),
    ],
)
def test_members_of_a_wrong_kind(into: Path, member: str) -> None:  # noqa: F811
    """A file without a name, or with a digest that is none, ends the command."""
    header = f'{{"kind":"file","size":2,{member}}}'
    assert isinstance(is_told(into, framed(header.encode()) + b"hi", "get"), ProtocolError)


@pytest.mark.case("A5", "A6")
@pytest.mark.parametrize("how", ["byte by byte", "at once"])
def test_how_the_bytes_come_makes_no_difference(into: Path, how: str) -> None:  # noqa: F811
    """Also if all answers are there before anything was asked for."""

    def act(peer: Raw) -> None:
        data = a_download()
        if how == "at once":
            peer.send(data)
        else:
            for at in range(len(data)):
                peer.send(data[at : at + 1])
        silent(peer)

    with hostile(act) as client:
        assert get(client, "d", into).failed == 0
    assert {path.read_bytes() for path in (into / "d").rglob("*") if path.is_file()} == CONTENTS


# A recorded download, damaged

CONTENTS = {b"small", b"", b"l" * 1000 + b"rge", b"deep" * 50}


def a_download() -> bytes:
    """Return all that a server says while a folder is got from it."""
    return b"".join(
        (
            framed({"kind": "welcome", "version": 1, "rights": ["read", "list"]}),
            framed(entry("d", "folder", 0)),
            folder("d"),
            file("d/small", b"small"),
            parts("d/large", b"l" * 1000, b"rge"),
            link("d/link", "small"),
            folder("d/e"),
            file("d/e/deep", b"deep" * 50),
            file("d/empty", b""),
            END,
        )
    )


def meet(into: Path, data: bytes) -> None:  # noqa: F811
    """Let a client meet a server that says this, and check what came of it."""

    def act(peer: Raw) -> None:
        peer.send(data)
        peer.finish()
        silent(peer)

    shutil.rmtree(into)
    into.mkdir()
    with hostile(act) as client:
        try:
            report = get(client, "d", into)
        except FilexferError as error:
            oracles.is_harmless(str(error))
        else:
            for told in (*report.failures, *report.warnings):
                oracles.is_harmless(str(told))
    assert set(os.listdir(into)) <= {"d"}
    assert leftovers(into) == []
    oracles.are_whole(into, CONTENTS)


@pytest.mark.case("A28")
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_downloads(into: Path, data: DataObject) -> None:  # noqa: F811
    """A download damaged anywhere ends somehow; what is there is whole and was asked for."""
    meet(into, oracles.damaged(a_download(), data))


@pytest.mark.slow
@pytest.mark.case("A28")
@settings(max_examples=1200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_downloads_for_long(into: Path, data: DataObject) -> None:  # noqa: F811
    """The same, with much more of it."""
    meet(into, oracles.damaged(a_download(), data))


# What was asked for, and what for


@pytest.mark.case("C13")
@pytest.mark.parametrize("name", [".bashrc", ".ssh/authorized_keys", ".git/hooks/x", "a/../.x"])
def test_files_that_a_home_folder_takes_for_orders(into: Path, name: str) -> None:  # noqa: F811
    """They do not come in beside what was asked for."""
    with hostile(sends(file("a"), file(name))) as client:
        try:
            assert get(client, "a", into).failed
        except IntegrityError:
            pass  # nobody asked for it
    assert os.listdir(into) in ([], ["a"])


@pytest.mark.case("C12", "C13")
def test_files_with_orders_that_are_here_already_are_kept(into: Path) -> None:  # noqa: F811
    """Who asks for all that there is gets all, and yet keeps what is here."""
    (into / ".bashrc").write_bytes(b"ours")
    with hostile(sends(file("d/.bashrc"), file("d/.profile"), kind="folder")) as client:
        report = client.get(["d/"], into, ONCE)
    assert (report.files, [error.code for error in report.failures]) == (1, [Code.EXISTS])
    assert (into / ".bashrc").read_bytes() == b"ours"


@pytest.mark.case("C15")
@pytest.mark.parametrize("size", [2**50, 2**63 - 1])
@pytest.mark.parametrize("how", ["parts", "plain", "sparse"])
def test_files_larger_than_the_disk(into: Path, size: int, how: str) -> None:  # noqa: F811
    """They fail before a byte is written; the rest comes, unless the bytes have to be waited for."""
    head: dict[str, Any] = {"kind": "file", "name": "d/a", "size": size}
    if how == "plain":
        items = [framed({**head, "hash": md5(b"x")})]
    else:
        end = framed({"kind": "trailer", "code": "aborted", "text": "no"})
        items = [framed({**head, "sparse": how == "sparse"}), bytes(4), end, file("d/b"), END]

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "get", "folder")
        peer.send(folder("d") + b"".join(items))
        peer.finish()
        silent(peer)

    with hostile(act) as client:
        if how == "plain":
            with pytest.raises(ConnectionLost):
                get(client, "d", into)
        else:
            report = get(client, "d", into)
            code = Code.NO_SPACE if how == "parts" else Code.ABORTED
            assert [error.code for error in report.failures] == [code]
            assert os.listdir(into / "d") == ["b"]
    assert sum(path.stat().st_blocks for path in into.rglob("*") if path.is_file()) <= 8


@pytest.mark.case("C22")
def test_an_endless_listing_comes_piece_by_piece(into: Path) -> None:  # noqa: F811
    """Whoever lists decides how much of it is wanted."""

    def act(peer: Raw) -> None:
        greet(peer)
        until(peer, "list")
        frame = framed(
            {
                "kind": "entries",
                "entries": [[f"{number}", "file", 1, TIME, 420, ""] for number in range(500)],
                "more": True,
            }
        )
        while True:
            peer.send(frame)

    del into
    with hostile(act) as client:
        found = client.list("", recursive=True)
        assert [next(found).name for _ in range(10_000)][-1] == "499"


@pytest.mark.case("C22")
def test_a_listing_is_sorted_as_far_as_memory_goes() -> None:
    """An endless one is printed all the same, in pieces that are sorted each."""

    def endless() -> Any:
        number = 0
        while True:
            number += 1
            yield Entry(f"{number % 10:0{1 << 16}}", "file")

    found = ls.sorted_as_far_as_may_be(endless())
    names = [next(found).name[-1] for _ in range(3000)]
    assert names[0] == "0"
    assert names.index("9") < names.index("0", names.index("9"))


@pytest.mark.case("C22", "B4")
def test_folders_that_nest_without_an_end(into: Path) -> None:  # noqa: F811
    """They are made as deep as names go, and no deeper."""
    deep = ["/".join(["d"] * depth) for depth in range(1, 300)]
    with hostile(sends(*map(folder, deep), file(deep[-1] + "/x"), kind="folder")) as client:
        report = get(client, "d", into)
    assert {error.code for error in report.failures} == {Code.BAD_NAME}
    assert (into / deep[63]).is_dir()
    assert not (into / deep[64]).exists()


@pytest.mark.case("C23")
@pytest.mark.parametrize("when", ["greeting", "stat", "get"])
def test_nobody_is_sent_on_to_another_machine(into: Path, when: str) -> None:  # noqa: F811
    """There is no such message, and no connection is made."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        host, port = other.getsockname()[:2]
        words = {"kind": "redirect", "host": host, "port": port, "location": f"fx://{host}:{port}/"}
        is_told(into, framed(words), when)
        with pytest.raises(BlockingIOError):
            other.accept()
