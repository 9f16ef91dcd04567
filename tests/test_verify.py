"""``filexfer verify``: what a manifest says held against what is there, here and on a server."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_process import scripted, welcome

from filexfer import Client, LocalError, ProtocolError, Receipt, RefusedError, Report
from filexfer.cli import main
from filexfer.hashing import ALGORITHMS, digest_of
from filexfer.receipts import manifest
from filexfer.receipts.manifest import Record
from filexfer.receipts.verify import DIFFERS, MISSING, SAME, UNREAD, verify_local, verify_remote
from filexfer.security.access import Anybody
from filexfer.wire import digests
from filexfer.wire.protocol import PART_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from conftest import Raw, Served

    Found = dict[str, tuple[str, str]]
    Look = Callable[[Iterable[Record]], Found]

TIME = 1_600_000_000_000_000_000


def lay(path: Path, data: bytes = b"data") -> Path:
    """Write a file with its folders, of one time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(TIME, TIME))
    return path


def record(name: str, data: bytes = b"data", algorithm: str = "xxh3_128") -> Record:
    """Return what a manifest says of a file."""
    return Record(name, digest_of(algorithm)(data), len(data), TIME, "stored")


@pytest.fixture(params=["local", "remote"])
def look(request: pytest.FixtureRequest, served: Served) -> Look:
    """Return a function that verifies records at ``served/in``, from this side or by the server."""

    def find(records: Iterable[Record]) -> Found:
        path = served.folder / "in"
        if request.param == "local":
            findings = verify_local(records, str(path))
        else:
            findings = verify_remote(records, served.client(), "in")
        return {each.name: (each.result, each.text) for each in findings}

    return find


def test_everything_that_can_be_found(look: Look, served: Served) -> None:
    """Each wrong file is found, and in what it is wrong; also one of the same size and time."""
    top = served.folder / "in"
    for name in ("same", "odd\n\udcff\\", "sub/deep/same", "longer", "changed"):
        lay(top / name)
    lay(top / "empty", b"")
    lay(top / "longer", b"longer")
    lay(top / "changed", b"DATA")
    (top / "folder").mkdir()
    (top / "link").symlink_to("same")
    os.mkfifo(top / "pipe")
    records = [
        *map(record, ("same", "odd\n\udcff\\", "sub/deep/same", "longer", "changed", "none")),
        *map(record, ("none/below", "same/below", "folder", "link", "pipe")),
        record("empty", b""),
        *map(record, ("../up", "/absolute", "a\0b", "x" * 300, "y/" * 100 + "z", ".fx-1.part")),
        Record("skipped", "", 1, TIME, "skipped"),
        Record("failed", result="failed", type="", code="exists"),
    ]
    found = look(records)
    same = {name for name, (result, _) in found.items() if result == SAME}
    assert same == {"same", "odd\n\udcff\\", "sub/deep/same", "empty"}
    assert {name: text for name, (result, text) in found.items() if result == DIFFERS} == {
        "longer": "has 6 bytes, not 4",
        "changed": "has other contents",
        "folder": "is a folder now, and no file",
        "link": "is a symbolic link now, and no file",
        "pipe": "is a pipe, socket or device now, and no file",
    }
    missing = {name for name, (result, _) in found.items() if result == MISSING}
    assert missing == {"none", "none/below", "same/below"}
    unread = {name for name, (result, _) in found.items() if result == UNREAD}
    assert unread == {"../up", "/absolute", "a\0b", "x" * 300, "y/" * 100 + "z", ".fx-1.part"}
    assert len(found) == len(records) - 2


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(look: Look, served: Served, algorithm: str) -> None:
    """Small and large files are hashed by the hash of their record."""
    lay(served.folder / "in" / "small")
    large = os.urandom(PART_MAX + 5)
    lay(served.folder / "in" / "large", large)
    records = [record("small", b"data", algorithm), record("large", large, algorithm)]
    assert {result for result, _ in look(records).values()} == {SAME}
    records = [record("small", b"DATA", algorithm), record("large", large[::-1], algorithm)]
    assert {result for result, _ in look(records).values()} == {DIFFERS}


def test_names_as_other_programs_write_them(look: Look, served: Served) -> None:
    """A name may begin with ``./``; of a file with no size in its record, the digest decides."""
    lay(served.folder / "in" / "sub" / "a")
    (served.folder / "in" / "link").symlink_to("sub/a")
    digest = digest_of("md5")(b"data")
    found = look([Record("./sub//a", digest), Record("link", digest)])
    assert found["./sub//a"][0] == SAME
    assert found["link"] == (UNREAD, "is a symbolic link, and no file")


def test_many_files_are_asked_for_at_once(served: Served) -> None:
    """A server is asked for many digests before the first is there, and for few enough."""
    count = 3 * digests.UNDER_WAY
    for number in range(count):
        lay(served.folder / str(number), b"%d" % number)
    taken = 0
    ahead = []

    def records() -> Any:
        nonlocal taken
        for number in range(count):
            taken += 1
            yield record(str(number), b"%d" % number)

    for number, found in enumerate(verify_remote(records(), served.client())):
        assert found.result == SAME
        ahead.append(taken - number)
    assert len(ahead) == count
    assert max(ahead) <= digests.UNDER_WAY + 1
    assert ahead[0] == digests.UNDER_WAY


def test_the_server_must_let_us_read(served: Served) -> None:
    """Without that right, the whole command is refused, and nothing is said of any file."""
    rights = frozenset({"list", "create"})
    served.server._access = Anybody(served.server.folder, rights)
    lay(served.folder / "a")
    with pytest.raises(RefusedError, match="does not let you read files"):
        list(verify_remote([record("a"), record("b")], served.client()))


STATED = {"kind": "entries", "entries": [["a", "file", 4, TIME, 0o644, ""]]}


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ([STATED, {"kind": "hashed", "hash": "md5:" + "0f" * 16}], "of another algorithm"),
        ([STATED, STATED], "the answer is a entries"),
        ([{"kind": "hashed", "hash": "md5:" + "0f" * 16}], "the answer is a hashed"),
    ],
)
def test_answers_that_do_not_fit(answers: list[dict[str, Any]], text: str) -> None:
    """What a server says is taken for an answer only if it is one to what was asked."""

    def serve(peer: Raw) -> None:
        welcome(peer)
        for answer in answers:
            peer.reply()
            peer.frame(answer)
        peer.reply()

    with (
        scripted(serve) as address,
        Client("127.0.0.1", port_of(address)) as client,
        pytest.raises(ProtocolError, match=text),
    ):
        list(verify_remote([record("a")], client))


def test_a_file_that_changes_between_two_questions() -> None:
    """It is told as one that could not be read, in words that a terminal can show."""

    def serve(peer: Raw) -> None:
        welcome(peer)
        peer.reply()
        peer.frame(STATED)
        peer.reply()
        text = "a: has changed since it was looked at\x1b[31m"
        peer.frame({"kind": "error", "code": "changed", "text": text, "fatal": False})
        peer.reply()

    with scripted(serve) as address, Client("127.0.0.1", port_of(address)) as client:
        (found,) = verify_remote([record("a")], client)
    assert (found.result, found.text) == (UNREAD, r"has changed since it was looked at\x1b[31m")


def port_of(address: str) -> int:
    return int(address.rstrip("/").rpartition(":")[2])


def test_no_such_folder(tmp_path: Path) -> None:
    """Where there is no folder, nothing is said of files."""
    lay(tmp_path / "file")
    for name in ("none", "file"):
        with pytest.raises(LocalError, match="cannot use the folder"):
            list(verify_local([record("a")], str(tmp_path / name)))


# The command


@pytest.fixture
def tree(served: Served, tmp_path: Path) -> Path:
    """Put a tree with a manifest, and return the manifest."""
    for name in ("a", "sub/b", "odd\x1b"):
        lay(tmp_path / "tree" / name)
    os.symlink("a", tmp_path / "tree" / "link")
    report = Report()
    path = tmp_path / "manifest"
    with Receipt(report, manifest=path) as receipt:
        served.client().put([tmp_path / "tree"], "in/", report=report)
        receipt.write()
    return path


@pytest.mark.parametrize("side", ["local", "remote"])
def test_exit_codes(
    side: str, tree: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 if all is the same, 3 if something is missing, 5 if something differs; each is named."""
    remote = served.server.address + "in"
    words = ["verify", str(tree), str(served.folder / "in") if side == "local" else remote]
    assert main([*words, "-v"]) == 0
    *lines, last = capsys.readouterr().err.splitlines()
    assert sorted(lines) == [
        f"ok              4 B  tree/{name}" for name in ("a", r"odd\x1b", "sub/b")
    ]
    assert last.startswith("3 files the same, 12 B in ")
    assert last.endswith(" s, 1 without a digest")
    (served.folder / "in" / "tree" / "odd\x1b").unlink()
    assert main(words) == 3
    said = capsys.readouterr().err
    assert said.startswith("filexfer: tree/odd\\x1b: is missing\n2 files the same, ")
    lay(served.folder / "in" / "tree" / "a", b"DATA")
    assert main([*words, "-q"]) == 5
    out, err = capsys.readouterr()
    assert sorted(err.splitlines()) == [
        "filexfer: tree/a: has other contents",
        r"filexfer: tree/odd\x1b: is missing",
    ]
    assert not out


def test_a_damaged_manifest_is_told_before_anything_else(
    tree: Path, served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of files in the lines before the damage, nothing is said."""
    lay(served.folder / "in" / "tree" / "a", b"DATA")
    tree.write_bytes(tree.read_bytes()[:-3])
    assert main(["verify", str(tree), str(served.folder / "in")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"filexfer: error: {tree}, line ")
    tree.write_text("# nothing\n")
    assert main(["verify", str(tree)]) == 2
    assert "has no digest in it" in capsys.readouterr().err


def test_what_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A manifest or a folder that is not there is the local disk's matter."""
    assert main(["verify", str(tmp_path / "none")]) == 8
    assert main(["verify", str(tmp_path)]) == 8
    manifest_of(tmp_path / "good")
    assert main(["verify", str(tmp_path / "good"), str(tmp_path / "none")]) == 8
    assert len(capsys.readouterr().err.splitlines()) == 3


def manifest_of(path: Path) -> None:
    lay(path.parent / "a")
    path.write_bytes(manifest.head({}) + manifest.lines(record("a")) + manifest.end(1))


def test_standard_input_and_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``-`` reads from a pipe too, and without a place it is the current folder that is meant."""
    manifest_of(tmp_path / "good")
    monkeypatch.chdir(tmp_path)
    near, far = os.pipe()
    os.write(far, (tmp_path / "good").read_bytes())
    os.close(far)
    with open(near, encoding="utf-8") as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert main(["verify", "-"]) == 0
    assert capsys.readouterr().err.startswith("1 file the same, 4 B in ")


def test_untagged_digests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--hash`` says what digests are that do not say it themselves."""
    lay(tmp_path / "a")
    digits = digest_of("xxh3_128")(b"data").partition(":")[2]
    (tmp_path / "sums").write_text(f"{digits}  a\n")
    words = ["verify", str(tmp_path / "sums"), str(tmp_path)]
    assert main(words) == 5
    assert main([*words, "--hash", "xxh3_128"]) == 0
    capsys.readouterr()
