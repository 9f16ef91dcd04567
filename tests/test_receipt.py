"""The receipt of a transfer: what is in it, both ways, and that it is there whole or not at all."""

from __future__ import annotations

import io
import os
import resource
import shutil
import signal
import stat
import subprocess
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_process import Service, fx, running, scripted, take_get, welcome

from filexfer import Client, FileResult, LocalError, Manifest, Options, Receipt, Report, UsageError
from filexfer.entry import entry_of_file
from filexfer.errors import Code, FileError
from filexfer.hashing import digest_of
from filexfer.receipts.receipt import STDOUT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Raw, Served

TIME = 1_600_000_000_000_000_000
NONE = Options(durability="none")


def lay(path: Path, data: bytes = b"data", mtime: int = TIME) -> Path:
    """Write a file with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, ns=(mtime, mtime))
    return path


def xxh(data: bytes) -> str:
    return digest_of("xxh3_128")(data)


def records(path: Path) -> dict[str, tuple[str, str]]:
    """Return the result and the digest of each name in a manifest; no name is in it twice."""
    with path.open("rb") as file:
        found = list(Manifest(file, str(path)))
    assert len({each.name for each in found}) == len(found)
    return {each.name: (each.result + each.code, each.digest) for each in found}


class Wire:
    """Puts and gets with a receipt."""

    def __init__(self, client: Client, folder: Path) -> None:
        self.client = client
        self.manifest = folder / "manifest"
        self.failed = folder / "failed"

    def __call__(self, way: str, *words: Any, options: Options = NONE) -> Report:
        report = Report()
        with Receipt(report, manifest=self.manifest, failed=self.failed) as receipt:
            getattr(self.client, way)(*words, options, report)
            receipt.write()
        return report

    @property
    def records(self) -> dict[str, tuple[str, str]]:
        """What the manifest says."""
        return records(self.manifest)

    @property
    def fields(self) -> dict[str, str]:
        """What its head says."""
        with self.manifest.open("rb") as file:
            return Manifest(file, "").fields


@pytest.fixture
def wire(serve: Callable[..., Served], tmp_path: Path) -> Wire:
    """Return what puts to and gets from ``tmp_path/served``, with a receipt in ``tmp_path``."""
    return Wire(serve(allow=["overwrite"]).client(), tmp_path)


# What is in it


@pytest.mark.parametrize("jobs", [1, 3])
def test_put_and_get(wire: Wire, tmp_path: Path, jobs: int) -> None:
    """Every file is in it once with its digest, also where several connections share the work.

    So is a file that needed no sending; its digest is had from this side.
    """
    top = tmp_path / "tree"
    data = {f"{folder}/{name}": f"{folder}{name}".encode() for folder in "abcd" for name in "xyz"}
    data |= {"large": bytes(300_000), "odd\n\udcff\\": b"odd", "empty": b""}
    for name, content in data.items():
        lay(top / name, content)
    os.symlink("large", top / "link")
    options = Options(durability="none", jobs=jobs)
    for way, words, result in (
        ("put", ([top], "up/"), "stored"),
        ("put", ([top], "up/"), "identical"),
        ("get", (["up/tree"], tmp_path / "down/"), "stored"),
        ("get", (["up/tree"], tmp_path / "down/"), "identical"),
    ):
        wire(way, *words, options=options)
        expected = {"tree/" + name: (result, xxh(content)) for name, content in data.items()}
        assert wire.records == expected | {"tree/link": (result, "")}
        assert wire.failed.read_bytes() == b""
    assert wire.fields["root"] == f"{tmp_path}/down/"
    assert wire.fields["to"] == f"{tmp_path}/down/tree/"


@pytest.mark.parametrize(
    ("sources", "destination", "names", "root"),
    [
        (["tree"], "", ["tree/a", "tree/sub/b"], ""),
        (["tree/"], "new", ["a", "sub/b"], "new/"),
        (["tree/a"], "new.txt", ["new.txt"], ""),
        (["tree/a"], "in/new.txt", ["new.txt"], "in/"),
        (["tree/a"], "in/", ["a"], "in/"),
        (["tree/a", "tree/sub"], "in", ["a", "sub/b"], "in/"),
    ],
)
def test_names_are_relative_to_the_folder_that_all_went_into(
    wire: Wire, tmp_path: Path, sources: list[str], destination: str, names: list[str], root: str
) -> None:
    """The head says which folder that is; the same up and down, and when all is identical."""
    data = {"tree/a": b"one", "tree/sub/b": b"two"}
    for name, content in data.items():
        lay(tmp_path / name, content)
        lay(tmp_path / "served" / "from" / name, content)
    digests = [xxh(b"two" if name.endswith("b") else b"one") for name in names]
    for result in ("stored", "identical"):
        paths = [str(tmp_path / name) + "/" * name.endswith("/") for name in sources]
        wire("put", paths, destination)
        expected = {name: (result, digest) for name, digest in zip(names, digests, strict=True)}
        assert wire.records == expected
        assert wire.fields["root"] == wire.client.url(root.rstrip("/"), is_folder=True)
        wire("get", ["from/" + name for name in sources], f"{tmp_path}/down/{destination}")
        assert wire.records == expected
        assert wire.fields["root"] == f"{tmp_path}/down/{root}"


def test_sha256sum_checks_a_download(wire: Wire, tmp_path: Path) -> None:
    """In the folder that a download went into, the checker finds everything as it came."""
    lay(tmp_path / "served" / "tree" / "a\nb")
    lay(tmp_path / "served" / "tree" / "sub" / "c", b"")
    wire("get", ["tree"], tmp_path / "down/", options=Options(algorithm="sha256"))
    result = subprocess.run(
        [shutil.which("sha256sum") or "sha256sum", "--strict", "--warn", "-c", wire.manifest],
        cwd=tmp_path / "down",
        capture_output=True,
        timeout=20,
        check=True,
    )
    assert result.stdout.count(b": OK\n") == 2
    assert not result.stderr


@pytest.mark.parametrize("way", ["put", "get"])
def test_skipped_kept_and_failed(wire: Wire, tmp_path: Path, way: str) -> None:
    """Of a file that did not arrive there is no digest; one that was kept has its new name."""
    ours, theirs = tmp_path / "here" / "tree", tmp_path / "served" / "tree"
    source, target = (ours, theirs) if way == "put" else (theirs, ours)
    lay(source / "same")
    lay(target / "same")
    lay(source / "other", b"new")
    lay(target / "other", b"older")
    words = ([ours], "") if way == "put" else (["tree"], f"{tmp_path}/here/")
    same = {"tree/same": ("identical", xxh(b"data"))}
    wire(way, *words, options=Options(if_exists="skip"))
    assert wire.records == same | {"tree/other": ("skipped", "")}
    assert wire.failed.read_bytes() == b""
    wire(way, *words)
    assert wire.records == same | {"tree/other": ("failedexists", "")}
    assert wire.failed.read_bytes() == b"other\n"
    for result in ("kept", "identical"):  # the second finds what the first has left
        wire(way, *words, options=Options(if_exists="keep-both", durability="none"))
        digest = xxh(b"new")
        kept = f"tree/other~{digest.partition(':')[2][:8]}"
        assert wire.records == same | {kept: (result, digest)}
        assert (target.parent / kept).read_bytes() == b"new"
    assert wire.failed.read_bytes() == b""


def test_a_file_that_was_changed_meanwhile_has_no_digest(wire: Wire, tmp_path: Path) -> None:
    """A digest is computed only of the file that was found to be identical."""
    lay(tmp_path / "tree" / "a")
    wire("put", [tmp_path / "tree"], "")
    report = Report()
    with Receipt(report, manifest=wire.manifest) as receipt:
        wire.client.put([tmp_path / "tree"], "", NONE, report)
        lay(tmp_path / "tree" / "a", b"DATA", TIME + 7_000_000_001)
        receipt.write()
    assert wire.records == {"tree/a": ("identical", "")}


def test_standard_input(wire: Wire) -> None:
    """What came from a stream is in it under the name that it got."""
    near, far = os.pipe()
    os.write(far, b"streamed")
    os.close(far)
    wire("put_stream", near, "in/x")
    os.close(near)
    assert wire.records == {"in/x": ("stored", xxh(b"streamed"))}


# More than one try


def test_another_try_takes_back_what_the_first_one_said(tmp_path: Path) -> None:
    """After a lost connection no file is named twice, and what arrived then has not failed."""
    report = Report()
    told: list[str] = []
    report.on_file = lambda file: told.append(file.result)
    path, failed = tmp_path / "manifest", tmp_path / "failed"
    entry = entry_of_file("", 1, TIME, 0o644, "md5:" + "0f" * 16)
    with Receipt(report, manifest=path, failed=failed) as receipt:
        report.arrived("first", entry, "stored")
        report.skip("same", entry, "identical")
        report.fail(FileError(Code.CHANGED, "changing", "changed"))
        report.fail(FileError(Code.EXISTS, "taken", "exists"))
        report.doubt(["doubtful"])
        report.restart()
        report.skip("first", entry, "identical")
        report.skip("same", entry, "identical")
        report.skip("doubtful", entry, "identical")
        report.arrived("changing", entry, "stored")
        report.fail(FileError(Code.EXISTS, "taken", "exists"))
        receipt.write()
    assert {name: result for name, (result, _) in records(path).items()} == {
        "first": "stored",
        "same": "identical",
        "doubtful": "stored",
        "changing": "stored",
        "taken": "failedexists",
    }
    assert failed.read_bytes() == b"taken\n"
    assert told.count("failed") == 3  # whoever listened before still does


# What failed


@pytest.mark.parametrize("way", ["put", "get"])
@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["tree"], ["a", "sub/b"]),
        (["tree/"], ["a", "sub/b"]),
        (["tree/sub/", "tree/a"], ["FROM/tree/a", "FROM/tree/sub/b"]),
        (["tree/a"], ["FROM/tree/a"]),
    ],
)
def test_what_failed_is_named_as_its_source(
    wire: Wire, tmp_path: Path, way: str, sources: list[str], expected: list[str]
) -> None:
    """Names are relative to the one folder that is the source, else they begin as it was written."""
    ours, theirs = tmp_path / "here", tmp_path / "served" / "there"
    source, target = (ours, theirs) if way == "put" else (theirs, ours)
    for name in ("tree/a", "tree/sub/b", "a", "sub/b", "b"):
        lay(target / name, b"something else")
    for name in ("tree/a", "tree/sub/b"):
        lay(source / name)
    above = str(ours) if way == "put" else "there"
    wire(way, [f"{above}/{name}" for name in sources], "there/" if way == "put" else f"{ours}/")
    found = sorted(wire.failed.read_text().splitlines())
    assert found == [name.replace("FROM", above) for name in expected]


def test_folders_that_land_as_one(wire: Wire, tmp_path: Path) -> None:
    """What failed is named by the source that it is in; its digest is had from there, too."""
    for name, data in (("one/a", b"1"), ("one/x", b"11"), ("two/b", b"2"), ("two/x", b"222")):
        lay(tmp_path / name, data, TIME + len(data) * 10**9)
    lay(tmp_path / "served" / "b", b"something else")
    lay(tmp_path / "served" / "x", b"222", TIME + 3 * 10**9)
    sources = [f"{tmp_path}/one/", f"{tmp_path}/two/"]
    wire("put", sources, "")
    assert wire.failed.read_text() == f"{tmp_path}/one/x\n{tmp_path}/two/b\n"
    with wire.manifest.open("rb") as file:
        found = [(each.name, each.result, each.digest) for each in Manifest(file, "")]
    assert ("x", "identical", xxh(b"222")) in found


def test_names_that_a_line_cannot_hold(wire: Wire, tmp_path: Path) -> None:
    """If a line feed is in a name, all names end with a NUL; bytes that are no text are kept."""
    for name in ("a", "b\udcff"):
        lay(tmp_path / "tree" / name)
        lay(tmp_path / "served" / "tree" / name, b"something else")
    wire("put", [tmp_path / "tree"], "")
    assert sorted(wire.failed.read_bytes().splitlines()) == [b"a", b"b\xff"]
    lay(tmp_path / "tree" / "c\nd")
    lay(tmp_path / "served" / "tree" / "c\nd", b"something else")
    wire("put", [tmp_path / "tree"], "")
    assert sorted(wire.failed.read_bytes().split(b"\0")) == [b"", b"a", b"b\xff", b"c\nd"]


def test_sources_that_are_missing(wire: Wire, tmp_path: Path) -> None:
    """A source that is not there is named as it was written, and the one that is the folder by a dot."""
    lay(tmp_path / "there")
    wire("put", [tmp_path / "none", tmp_path / "there"], "")
    assert wire.failed.read_text() == f"{tmp_path}/none\n"
    wire("get", ["none", "deep/none", "there"], f"{tmp_path}/down/")
    assert wire.failed.read_text() == "none\ndeep/none\n"
    (tmp_path / "served" / "taken").mkdir()
    lay(tmp_path / "down" / "taken")
    wire("get", ["taken"], f"{tmp_path}/down/")
    assert wire.failed.read_text() == ".\n"


def test_what_the_server_could_not_send(tmp_path: Path) -> None:
    """It is told, and listed, by the name it would have had here and at the source."""

    def serve(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"deep/tree": ["folder", 0, TIME, 0o755, ""]})
        peer.frame({"kind": "unsent", "name": "deep/tree/x", "code": "denied", "text": "no"})
        peer.frame({"kind": "end"})
        peer.replies()
        peer.reply()

    manifest, failed = tmp_path / "manifest", tmp_path / "failed"
    with scripted(serve) as address:
        port = int(address.rstrip("/").rpartition(":")[2])
        report = Report()
        with (
            Client("127.0.0.1", port) as client,
            Receipt(report, manifest=manifest, failed=failed) as receipt,
        ):
            client.get(["deep/tree"], f"{tmp_path}/down/", Options(jobs=1), report)
            receipt.write()
    assert [error.name for error in report.failures] == ["tree/x"]
    assert records(manifest) == {"tree/x": ("faileddenied", "")}
    assert failed.read_bytes() == b"x\n"


# Whole or not at all


def test_a_transfer_that_is_broken_off_leaves_what_was_there(wire: Wire, tmp_path: Path) -> None:
    """Without ``write``, both files are as before, and nothing else is left."""
    wire.manifest.write_text("old")
    with pytest.raises(RuntimeError), Receipt(Report(), manifest=wire.manifest):
        raise RuntimeError
    assert wire.manifest.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["manifest", "served"]


def test_a_manifest_that_cannot_be_finished(wire: Wire, tmp_path: Path) -> None:
    """What goes wrong while it is written leaves the old one, and no temporary file."""
    lay(tmp_path / "tree" / "a")
    wire.manifest.write_text("old")
    report = Report()
    with Receipt(report, manifest=wire.manifest) as receipt:
        wire.client.put([tmp_path / "tree"], "", NONE, report)
        wire.manifest.unlink()
        wire.manifest.mkdir()
        with pytest.raises(LocalError, match=r"cannot write .*/manifest: Is a directory"):
            receipt.write()
    assert sorted(os.listdir(tmp_path)) == ["manifest", "served", "tree"]


def test_a_full_disk_leaves_the_old_manifest(wire: Wire, tmp_path: Path) -> None:
    """What can only be written in part is not there at all, nor anything temporary."""
    lay(tmp_path / "tree" / "a")
    wire.manifest.write_text("old")
    report = Report()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Receipt(report, manifest=wire.manifest, failed=wire.failed) as receipt:
        wire.client.put([tmp_path / "tree"], "", NONE, report)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
        try:
            with pytest.raises(LocalError, match=r"too large|receipt"):
                receipt.write()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert wire.manifest.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["manifest", "served", "tree"]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    """A peer may tell of one that is half a surrogate pair; it is written in escapes."""
    report = Report()
    with Receipt(report, manifest=tmp_path / "m", failed=tmp_path / "f") as receipt:
        report.fail(FileError("made\n up", "a\ud800\n", "text"))
        receipt.write()
    assert (tmp_path / "f").read_bytes() == b"a\\ud800\\x0a\0"
    assert records(tmp_path / "m") == {"a\\ud800\\x0a": ("failedmade\\x0a_up", "")}


def test_where_nothing_can_be_written(wire: Wire, tmp_path: Path) -> None:
    """That is found out before anything is moved."""
    lay(tmp_path / "file")
    for path in ("none/x", "file/x", ".", "none/", "a\0b"):
        with pytest.raises(LocalError, match=r"^cannot write "):
            wire_path(wire, tmp_path, path)
    with pytest.raises(UsageError, match="must be two files"):
        Receipt(Report(), manifest="x", failed="x")
    assert os.listdir(tmp_path / "served") == []


def wire_path(wire: Wire, tmp_path: Path, path: str) -> None:
    wire.manifest = f"{tmp_path}/{path}"  # type: ignore[assignment] # a NUL is in no Path
    wire("put", [tmp_path / "file"], "")


def test_mode_links_and_pipes(wire: Wire, tmp_path: Path) -> None:
    """The mode is by the umask; a link leads to what is replaced; a pipe is written into."""
    lay(tmp_path / "file")
    before = os.umask(0o027)
    try:
        wire("put", [tmp_path / "file"], "")
    finally:
        os.umask(before)
    assert stat.S_IMODE(wire.manifest.stat().st_mode) == 0o640
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    link.symlink_to("manifest")
    wire.manifest.write_text("")
    os.mkfifo(pipe)
    came: list[bytes] = []
    reader = threading.Thread(target=lambda: came.append(pipe.read_bytes()), daemon=True)
    reader.start()
    real, wire.manifest, wire.failed = wire.manifest, link, pipe
    lay(tmp_path / "served" / "file", b"something else")
    wire("put", [tmp_path / "file"], "")
    reader.join(20)
    assert came == [f"{tmp_path}/file\n".encode()]
    assert link.is_symlink()
    assert "file" in records(real)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_an_interrupt_leaves_the_old_manifest(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a transfer leaves no half receipt, and nothing temporary beside it."""
    manifest = tmp_path / "manifest"
    manifest.write_text("old")
    lay(tmp_path / "tree" / "a")
    begun = threading.Event()

    def serve(peer: Raw) -> None:
        welcome(peer)
        while (request := peer.reply()) and request["kind"] != "put":
            peer.frame({"kind": "entries", "entries": []})
        begun.set()
        while peer.sock.recv(1 << 16):
            pass

    words = ("put", tmp_path / "tree")
    options = ("--manifest", manifest, "--failed", tmp_path / "failed", "--retries", "0")
    with scripted(serve) as address, running(*words, address, *options) as process:
        assert begun.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert manifest.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["manifest", "tree"]


def test_a_receipt_takes_no_memory(tmp_path: Path) -> None:
    """However many files there are, what is told of them waits on disk."""
    count = 1000
    report = Report()
    entry = entry_of_file("", 1, TIME, 0o644, "md5:" + "0f" * 16)
    with Receipt(report, manifest=tmp_path / "manifest", failed=tmp_path / "failed") as receipt:
        assert report.on_file
        tracemalloc.start()
        try:
            for number in range(count):
                report.on_file(
                    FileResult(f"folder/{number}", "stored", "file", 1, TIME, entry.extra)
                )
            receipt.write()
            assert tracemalloc.get_traced_memory()[1] < 150_000
        finally:
            tracemalloc.stop()
    assert len(records(tmp_path / "manifest")) == count


# The command


def test_the_commands(tmp_path: Path) -> None:
    """Both options work with ``put`` and ``get``, over processes too; ``-`` is standard output."""
    for folder in "abcde":
        lay(tmp_path / "tree" / folder / "file", folder.encode())
    expected = {f"tree/{each}/file": ("stored", xxh(each.encode())) for each in "abcde"}
    with Service(tmp_path / "in", "--workers", "2", "--durability", "none") as service:
        result = fx("put", tmp_path / "tree", service.address, "-j", "3", "--manifest", "-")
        assert result.returncode == 0, result.stderr
        said = result.stdout.encode("utf-8", "surrogateescape")
        found = {each.name: (each.result, each.digest) for each in Manifest(io.BytesIO(said), "")}
        assert found == expected
        words = ("--manifest", "m", "--failed", "f", "-j", "2")
        result = fx("get", service.address + "tree", "down/", *words, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert records(tmp_path / "m") == expected
        assert (tmp_path / "f").read_bytes() == b""
        for more, text in (
            (("-", "--manifest", "-"), "standard output cannot take a manifest too"),
            (("x", "--failed", "-"), "--failed needs a file"),
            (("x", "--manifest", "m", "--failed", "m"), "must be two files"),
        ):
            result = fx("get", service.address + "tree/a/file", *more, cwd=tmp_path)
            assert result.returncode == 2
            assert text in result.stderr
        assert not (tmp_path / "x").exists()
    assert STDOUT == "-"
