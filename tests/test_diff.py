"""``filexfer diff``: a local tree held against one on a server."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_process import scripted, welcome

from filexfer import Client, FileError, LocalError, ProtocolError
from filexfer.cli import main
from filexfer.hashing import digest_of
from filexfer.receipts.compare import Comparison
from filexfer.wire import protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Raw, Served

TIME = 1_600_000_000_000_000_000
LATER = TIME + 90_000_000_001


def lay(path: Path, data: bytes = b"data", mtime: int = TIME) -> Path:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime, mtime))
    return path


@pytest.fixture
def here(tmp_path: Path, served: Served) -> Path:
    """Make a tree, and the same in ``there`` on the server."""
    top = tmp_path / "here"
    for name in ("a", "b", "sub/c", "sub/deep/d", "sub/deep/e", "odd\n\udcff\x1b", "z/last"):
        lay(top / name)
    (top / "empty").mkdir()
    (top / "link").symlink_to("a")
    shutil.copytree(top, served.folder / "there", symlinks=True)
    return top


def differences(here: Path, served: Served, **options: Any) -> set[tuple[str, str]]:
    """Return what differs, and in what."""
    found = [*Comparison(str(here), served.client(), "there", **options)]
    assert len({each.name for each in found}) == len(found)
    return {(each.what, each.name) for each in found}


@pytest.mark.parametrize("checksum", [False, True])
def test_nothing_differs(here: Path, served: Served, checksum: bool) -> None:
    """Two trees that are the same have no difference, by time or by digest."""
    comparison = Comparison(str(here), served.client(), "there", checksum=checksum)
    assert not [*comparison]
    assert comparison.compared == 8
    assert comparison.hashed == (28 if checksum else 0)


@pytest.mark.parametrize("checksum", [False, True])
def test_everything_that_can_differ(here: Path, served: Served, checksum: bool) -> None:
    """Each difference is found, and nothing else; of a folder on one side, only its own name."""
    there = served.folder / "there"
    (here / "a").unlink()
    (there / "b").unlink()
    lay(there / "sub" / "c", b"longer")
    lay(there / "sub" / "deep" / "d", b"data", LATER)
    lay(there / "sub" / "deep" / "e", b"DATA")
    (there / "link").unlink()
    (there / "link").symlink_to("b")
    (there / "empty").rmdir()
    lay(there / "empty")
    shutil.rmtree(here / "z")
    lay(here / "z")
    for name in ("new/deeper/f", "new/g"):
        lay(there / name)
    for name in ("old/deeper/f", "sub/deep/old/g"):
        lay(here / name)
    expected = {
        *{("only remote", "a"), ("only local", "b"), ("size", "sub/c"), ("target", "link")},
        *{("type", "empty"), ("type", "z"), ("only remote", "new")},
        *{("only local", "old"), ("only local", "sub/deep/old")},
        ("digest", "sub/deep/e") if checksum else ("time", "sub/deep/d"),
    }
    assert differences(here, served, checksum=checksum) == expected


def test_pipes_and_devices(here: Path, served: Served) -> None:
    """What is never transferred is passed over on either side; a file is another type."""
    there = served.folder / "there"
    os.mkfifo(here / "pipe")
    assert differences(here, served) == {("passed over", "pipe")}
    os.mkfifo(there / "pipe")
    os.mkfifo(there / "z" / "pipe")
    os.utime(here / "pipe", ns=(LATER, LATER))
    passed_over = {("passed over", "pipe"), ("passed over", "z/pipe")}
    assert differences(here, served, checksum=True) == passed_over
    (there / "pipe").unlink()
    lay(there / "pipe")
    assert ("type", "pipe") in differences(here, served)


def test_what_is_passed_over_is_no_difference(
    here: Path, served: Served, capfd: pytest.CaptureFixture[str]
) -> None:
    """A pipe is warned about, and counted, and the exit code stays 0; --quiet says nothing."""
    os.mkfifo(here / "pipe\x1b")
    words = ["diff", str(here), served.server.address + "there"]
    assert main(words) == 0
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "filexfer: pipe\\x1b: is a pipe, socket or device; passed over",
        "0 differences, 8 files on both sides, 1 passed over",
    ]
    assert main([*words, "-q"]) == 0
    assert capfd.readouterr() == ("", "")
    assert main([*words, "--json"]) == 0
    warning, result = map(json.loads, capfd.readouterr().out.splitlines())
    assert (warning["type"], warning["error_kind"]) == ("warning", "passed_over")
    assert (warning["name"], result["exit_code"]) == ("pipe\x1b", 0)


def test_a_time_that_was_cut(here: Path, served: Served) -> None:
    """Times are compared at the coarser one's resolution."""
    lay(here / "a", mtime=TIME + 123_456_789)
    assert ("time", "a") not in differences(here, served)
    lay(here / "a", mtime=TIME + 1_000_000_000)
    assert ("time", "a") in differences(here, served)


def test_single_files(here: Path, served: Served) -> None:
    """A file is compared with a file, also by a link in the local path; a folder is another type."""
    client = served.client()
    (here / "sub" / "way").symlink_to("deep/d")
    for checksum in (False, True):
        for path in ("a", "sub/way"):
            assert not [*Comparison(str(here / path), client, "there/a", checksum=checksum)]
        lay(served.folder / "there" / "a", b"DATA", LATER)
        (found,) = Comparison(str(here / "a"), client, "there/a", checksum=checksum)
        assert (found.what, found.name) == ("digest" if checksum else "time", "")
        lay(served.folder / "there" / "a")
    (found,) = Comparison(str(here / "a"), client, "there/sub")
    assert found.what == "type"


def test_what_is_not_there(here: Path, served: Served) -> None:
    """Neither side can be compared with nothing."""
    client = served.client()
    with pytest.raises(FileError, match="no such file or folder on the server"):
        list(Comparison(str(here), client, "nowhere"))
    with pytest.raises(FileError, match="no such file or folder"):
        list(Comparison(str(here / "nowhere"), client, "there"))
    with pytest.raises(LocalError, match="cannot use the folder"):
        list(Comparison(str(here / "no" / "where"), client, "there"))


def test_the_whole_of_a_server(here: Path, served: Served) -> None:
    """The folder that is served is a tree like any other."""
    shutil.move(here, here.parent / "moved")
    (here.parent / "outer").mkdir()
    shutil.move(here.parent / "moved", here.parent / "outer" / "there")
    assert not [*Comparison(str(here.parent / "outer"), served.client(), "", checksum=True)]


@pytest.mark.parametrize(
    "names", [["sub/below"], ["d", "d/e", "other", "d/f"], ["../up"], ["d", "d"]]
)
def test_listings_out_of_order(tmp_path: Path, names: list[str]) -> None:
    """A server that names things whose folder is not open ends the comparison, or is harmless."""
    lay(tmp_path / "here" / "d" / "e")

    def serve(peer: Raw) -> None:
        welcome(peer)
        peer.reply()
        peer.frame({"kind": "entries", "entries": [["", "folder", 0, TIME, 0o755, ""]]})
        peer.reply()
        kinds = {"d": "folder"}
        entries = [[name, kinds.get(name, "file"), 4, TIME, 0o644, ""] for name in names]
        peer.frame({"kind": "entries", "entries": entries})
        peer.reply()

    with scripted(serve) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with Client("127.0.0.1", port) as client:
            if names == ["d", "d"]:
                what = [each.what for each in Comparison(str(tmp_path / "here"), client, "")]
                assert what == ["only local", "only remote"]
                return
            with pytest.raises(ProtocolError, match="whose folder it did not name"):
                list(Comparison(str(tmp_path / "here"), client, ""))


def test_the_server_waits_for_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a file is hashed here, the server hears that somebody is still there."""
    monkeypatch.setattr(protocol, "ALIVE_EVERY", 0.0)
    lay(tmp_path / "here")
    entry = ["a", "file", 4, TIME, 0o644, ""]
    heard: list[bytes] = []

    def serve(peer: Raw) -> None:
        welcome(peer)
        for _ in range(2):
            peer.reply()
            peer.frame({"kind": "entries", "entries": [entry]})
        peer.reply()
        peer.frame({"kind": "hashed", "hash": digest_of("xxh3_128")(b"data")})
        heard.append(peer.read(4 + len(b'{"kind":"alive"}'))[4:])

    with scripted(serve) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        with Client("127.0.0.1", port) as client:
            assert not [*Comparison(str(tmp_path / "here"), client, "a", checksum=True)]
    assert heard == [b'{"kind":"alive"}']


# The command


def test_what_is_printed(here: Path, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each difference, sorted and escaped; either may come first; the exit code is 3."""
    remote = served.server.address + "there"
    for words in ([str(here), remote], [remote, str(here)]):
        assert main(["diff", *words]) == 0
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == "0 differences, 8 files on both sides\n"
    (served.folder / "there" / "odd\n\udcff\x1b").unlink()
    shutil.rmtree(here / "z")
    lay(here / "b", b"longer")
    lay(here / "a", mtime=LATER)
    assert main(["diff", str(here), remote]) == 3
    said = capsys.readouterr()
    one, two, three, four = said.out.splitlines()
    assert one.startswith("time         a: 2020-")
    assert two == "size         b: 6 bytes here, 4 bytes there"
    assert three == r"only local   odd\x0a\xff\x1b"
    assert four == "only remote  z/"
    assert said.err == "4 differences, 6 files on both sides\n"
    assert main(["diff", "-q", str(here), remote]) == 3
    assert main(["diff", "-cq", remote, str(here)]) == 3
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("here there", "both local"),
        ("fx://127.0.0.1:1/ fx://127.0.0.1:1/a", "both remote"),
        ("a:b c:d", "both remote"),
    ],
)
def test_two_of_a_kind(words: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Which side is wrong is said before any server is looked for."""
    assert main(["diff", *words.split()]) == 2
    assert text in capsys.readouterr().err


def test_a_tree_that_is_long(serve: Callable[..., Served], tmp_path: Path) -> None:
    """More folders than a listing has in one piece, on either side, come to the same."""
    served = serve()
    for number in range(40):
        for name in "abcdefghijklmnopqrstuvwxyz":
            lay(tmp_path / "here" / str(number) / name, b"")
    shutil.copytree(tmp_path / "here", served.folder / "there")
    (served.folder / "there" / "7" / "q").unlink()
    assert differences(tmp_path / "here", served) == {("only local", "7/q")}
