"""The samples that use the library or the wire, each run from end to end as its user runs it."""

from __future__ import annotations

import ast
import hashlib
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, Served, tree_state
from test_cli_process import ROOT, SECONDS, environment, scripted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = ROOT / "samples"
LINES_MAX = {
    "minimal_peer": 60,
    "upload_folder": 40,
    "download_folder": 40,
    "serve_in_thread": 40,
    "progress": 40,
}


def run(name: str, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a sample."""
    return subprocess.run(
        [sys.executable, str(SAMPLES / f"{name}.py"), *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def good(name: str, *words: object, cwd: Path | None = None) -> list[str]:
    """Run a sample that must succeed in silence but for standard output; return its lines."""
    result = run(name, *words, cwd=cwd)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a small folder."""
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "one").write_text("one")
    (folder / "sub" / "two").write_text("two" * 100_000)
    return folder


@pytest.mark.parametrize(("name", "limit"), LINES_MAX.items())
def test_is_short_and_explained(name: str, limit: int) -> None:
    """Each is short, and its first text says how to run it."""
    text = (SAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= limit
    assert f"python samples/{name}.py" in (ast.get_docstring(ast.parse(text)) or "")


def test_minimal_peer_needs_the_standard_library_only() -> None:
    """The plainest peer imports nothing that does not come with Python."""
    tree = ast.parse((SAMPLES / "minimal_peer.py").read_text(encoding="utf-8"))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add(str(node.module))
    assert modules <= sys.stdlib_module_names


@pytest.mark.parametrize("kind", ["md5", "sha256"])
@pytest.mark.parametrize("size", [0, 1, 300_000, 5_000_000])
def test_minimal_peer(kind: str, size: int, served: Served, tmp_path: Path) -> None:
    """The plainest peer stores a file and fetches it again, with either hash."""
    data = os.urandom(size)
    (tmp_path / "plain").write_bytes(data)
    place = ("127.0.0.1", served.server.port, *(["md5"] if kind == "md5" else []))
    good("minimal_peer", "put", tmp_path / "plain", *place)
    assert (served.folder / "plain").read_bytes() == data
    (tmp_path / "back").mkdir()
    good("minimal_peer", "get", "plain", *place, cwd=tmp_path / "back")
    assert os.listdir(tmp_path / "back") == ["plain"]
    assert (tmp_path / "back" / "plain").read_bytes() == data


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_minimal_peer_sends_the_tutorials_header(kind: str, tmp_path: Path) -> None:
    """On the wire is what the tutorial sends: name, size and md5, or the same with ``hash``."""
    (tmp_path / "a.txt").write_text("hi")
    digest = hashlib.new(kind, b"hi").hexdigest()
    seen: list[Any] = []

    def script(peer: Raw) -> None:
        seen.append(peer.reply())
        seen.append(peer.read(2))
        peer.frame({"kind": "stored", "name": "a.txt", "size": 2, "hash": f"{kind}:{digest}"})

    with scripted(script) as address:
        port = address.rstrip("/").rpartition(":")[2]
        words = ["md5"] if kind == "md5" else []
        good("minimal_peer", "put", tmp_path / "a.txt", "127.0.0.1", port, *words)
    field = {"md5": digest} if kind == "md5" else {"hash": f"sha256:{digest}"}
    assert seen == [{"name": "a.txt", "size": 2, **field}, b"hi"]


def test_minimal_peer_refuses_forged_bytes(tmp_path: Path) -> None:
    """Bytes that are not what their hash says never get the file's name."""

    def script(peer: Raw) -> None:
        assert peer.reply() == {"kind": "fetch", "name": "x", "hash": "sha256"}
        peer.frame({"kind": "file", "name": "x", "size": 4, "hash": "sha256:" + "0" * 64})
        peer.send(b"data")

    with scripted(script) as address:
        port = address.rstrip("/").rpartition(":")[2]
        result = run("minimal_peer", "get", "x", "127.0.0.1", port, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr == "error: the bytes that came do not match their hash\n"
    assert not (tmp_path / "x").exists()


def test_minimal_peer_tells_errors(served: Served, tmp_path: Path) -> None:
    """What the server refuses, a missing file and no server are one line each."""
    (served.folder / "taken").write_text("taken")
    (tmp_path / "taken").write_text("other")
    place = ("127.0.0.1", served.server.port)
    wrong = [
        (("put", tmp_path / "taken", *place), "error: taken: exists and differs"),
        (("get", "missing", *place), "error: missing: no such file or folder"),
        (("get", "../x", *place), "error: ../x: the name has a component '..'"),
        (("put", tmp_path / "missing", *place), "No such file or directory"),
        (("get", "x", "127.0.0.1", 1), "Connection refused"),
        (("get", "x"), "usage: minimal_peer.py put|get NAME HOST PORT [md5]"),
        (("steal", "x", *place), "usage: minimal_peer.py put|get NAME HOST PORT [md5]"),
        (("get", "x", "127.0.0.1", "port"), "error: invalid literal for int()"),
    ]
    for words, text in wrong:
        result = run("minimal_peer", *words, cwd=tmp_path)
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1
        assert text in result.stderr
    assert (served.folder / "taken").read_text() == "taken"


def test_upload_folder(serve: Callable[..., Served], tree: Path) -> None:
    """A folder is uploaded; a second run sends nothing; failures are named."""
    served = serve(allow=["overwrite"])
    port = served.server.port
    line = "{} files sent, {} there already, {} failed".format
    assert good("upload_folder", tree, port) == [line(2, 0, 0)]
    assert tree_state(served.folder / "tree") == tree_state(tree)
    assert good("upload_folder", tree, port) == [line(0, 2, 0)]
    (tree / "one").write_text("changed")
    result = run("upload_folder", tree, port)
    assert result.returncode == 3
    assert result.stderr == "tree/one: exists and differs\n"
    assert result.stdout.splitlines() == [line(0, 1, 1)]
    assert good("upload_folder", tree, port, "--overwrite") == [line(1, 1, 0)]
    assert (served.folder / "tree" / "one").read_text() == "changed"


def test_download_folder(served: Served, tree: Path, tmp_path: Path) -> None:
    """A folder is looked at and downloaded; a second run fetches nothing."""
    tree.rename(served.folder / "tree")
    words = ("tree", served.server.port, tmp_path / "back")
    seen = "tree: 2 files, 300003 bytes"
    assert good("download_folder", *words) == [seen, "2 files came, 0 were here already"]
    assert tree_state(tmp_path / "back" / "tree") == tree_state(served.folder / "tree")
    assert good("download_folder", *words) == [seen, "0 files came, 2 were here already"]
    (tmp_path / "back" / "tree" / "one").write_text("changed")
    result = run("download_folder", *words)
    assert result.returncode == 3
    assert result.stderr == "tree/one: exists and differs\n"


def test_serve_in_thread() -> None:
    """A server in a thread takes a file, and is gone at the end."""
    first, second, third = good("serve_in_thread")
    assert re.fullmatch(r"serving fx://127\.0\.0\.1:\d+/", first)
    assert second == "stored ['serve_in_thread.py']"
    assert third == "in the folder: ['serve_in_thread.py']"


def test_progress(served: Served, tree: Path) -> None:
    """Progress comes as percents up to 100, and each file as it is settled."""
    lines = good("progress", tree, served.server.port)
    percents = [int(line.split()[0]) for line in lines if " % of " in line]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert {line for line in lines if " % " not in line} == {
        "tree/one stored",
        "tree/sub/two stored",
    }
    again = good("progress", tree, served.server.port)
    assert {"tree/one identical", "tree/sub/two identical"} < set(again)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("upload_folder", ["{here}", "1"]),
        ("download_folder", ["x", "1", "{here}"]),
        ("progress", ["{here}", "1"]),
        ("upload_folder", []),
        ("upload_folder", ["{here}", "1", "--nonsense"]),
        ("download_folder", ["x"]),
        ("progress", ["x", "port"]),
    ],
)
def test_errors_are_one_line(name: str, words: list[str], tmp_path: Path) -> None:
    """No server, and words that make no sense, end a sample with one line."""
    result = run(name, *[word.format(here=tmp_path) for word in words])
    assert result.returncode == 1
    assert re.fullmatch(r"(error: cannot connect to|usage: \w+\.py) .*\n", result.stderr)
    assert result.stdout == ""


def test_all_samples_are_known() -> None:
    """Every sample is run by a test: here, or beside the tutorial."""
    from test_samples_tutorial import NAMES  # noqa: PLC0415 - only this test needs it

    assert {path.stem for path in SAMPLES.glob("*.py")} == {*LINES_MAX, *NAMES}
