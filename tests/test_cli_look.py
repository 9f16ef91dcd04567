"""``filexfer stat`` and ``filexfer cat``: what something on a server is, and what is in it."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_process import CHUNK, SECONDS, environment, fx, fx_bytes, running, scripted
from test_cli_transfer import forged

from filexfer import FileError
from filexfer.cli import main
from filexfer.errors import Code
from filexfer.hashing import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Served

    Serve = Callable[..., Served]

MOMENT = 1_700_000_000_123_456_789


@pytest.fixture
def tree(served: Served) -> Served:
    """Serve a file, a link, a pipe, and a folder with three files."""
    top = served.folder
    (top / "dir" / "sub").mkdir(parents=True)
    for name in ("one", "two", "sub/three"):
        (top / "dir" / name).write_text(name)
    (top / "file").write_bytes(bytes(1500))
    (top / "file").chmod(0o640)
    (top / "link").symlink_to("file")
    os.mkfifo(top / "pipe")
    os.utime(top / "file", ns=(MOMENT, MOMENT))
    return served


def facts(text: str) -> dict[str, str]:
    """Return what is told, by the words before it."""
    return {line[:10].strip(): line[10:] for line in text.splitlines()}


# stat


def test_stat(tree: Served) -> None:
    """All that is known of a file is told, its size and time also exactly."""
    at = tree.server.address
    result = fx("stat", f"{at}file", env=environment(TZ="UTC"))
    assert (result.returncode, result.stderr) == (0, "")
    assert facts(result.stdout) == {
        "name": f"{at}file",
        "type": "file",
        "size": "1.5 kB (1,500 bytes)",
        "mode": "-rw-r----- (640)",
        "modified": "2023-11-14 22:13:20.123456789 +0000",
    }


def test_stat_of_other_types(tree: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A link is told with its target, a folder with its files; several with a line between."""
    at = tree.server.address
    assert main(["stat", f"{at}link", f"{at}dir/", at, f"{at}pipe"]) == 0
    link, folder, top, pipe = map(facts, capsys.readouterr().out.split("\n\n"))
    assert (link["type"], link["target"]) == ("link", "file")
    assert "size" not in link
    assert (folder["type"], folder["files"]) == ("folder", "3")
    assert top["files"] == "4"
    assert pipe["type"] == "special"


def test_stat_of_many_files(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """The server counts up to 1,000, and it is told that there may be more."""
    served = serve()
    for number in range(1001):
        (served.folder / str(number)).touch()
    assert main(["stat", served.server.address]) == 0
    assert facts(capsys.readouterr().out)["files"] == "1,000 or more"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_stat_with_digests(
    tree: Served, capsys: pytest.CaptureFixture[str], algorithm: str
) -> None:
    """With ``-c`` the server makes the digest of a file; of other types there is none."""
    at = tree.server.address
    assert main(["stat", "-c", "--hash", algorithm, f"{at}file", f"{at}link", f"{at}dir"]) == 0
    file, *others = map(facts, capsys.readouterr().out.split("\n\n"))
    assert file["digest"].startswith(f"{algorithm}:")
    if algorithm in ("md5", "sha256"):
        assert file["digest"] == f"{algorithm}:{hashlib.new(algorithm, bytes(1500)).hexdigest()}"
    assert not any("digest" in each for each in others)


def test_stat_of_nothing(tree: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing is told, and the others are looked at; the code is 3."""
    at = tree.server.address
    assert main(["stat", f"{at}no/such", f"{at}file/x", f"{at}file"]) == 3
    printed = capsys.readouterr()
    assert facts(printed.out)["type"] == "file"
    assert printed.err.splitlines() == [
        "filexfer: no/such: no such file or folder",
        "filexfer: file/x: no such file or folder",
    ]


def test_stat_without_the_right_to_list(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where folders may not be listed, their files are not counted as none."""
    served = serve()
    monkeypatch.setattr(served.server._access._grant, "rights", frozenset({"read"}))  # type: ignore[attr-defined] # of Anybody
    assert main(["stat", served.server.address]) == 0
    assert facts(capsys.readouterr().out)["files"] == "not told: they may not be listed"


@pytest.mark.parametrize(
    ("name", "code"),
    [("dir", Code.NOT_REGULAR), ("link", Code.NOT_REGULAR), ("nothing", Code.NOT_FOUND)],
)
def test_digest_of_what_has_none(tree: Served, name: str, code: str) -> None:
    """In the library a digest is of a file alone; a link is not followed."""
    with pytest.raises(FileError) as caught:
        tree.client().digest(name)
    assert caught.value.code == code


# cat


def test_cat(tree: Served) -> None:
    """The bytes of several files stand one after the other, and nothing else does."""
    large = os.urandom(3 * CHUNK + 1)
    (tree.folder / "large").write_bytes(large)
    at = tree.server.address
    result = fx_bytes("cat", f"{at}dir/one", f"{at}large", f"{at}dir/two")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == b"one" + large + b"two"


def test_cat_of_what_is_no_file(tree: Served) -> None:
    """What is missing or no file is told, and the others are written; the code is 3."""
    at = tree.server.address
    words = [f"{at}{name}" for name in ("missing", "dir", "link", "pipe", "dir/two")]
    result = fx("cat", *words)
    assert (result.returncode, result.stdout) == (3, "two")
    assert len(result.stderr.splitlines()) == 4
    assert result.stderr.startswith("filexfer: missing: no such file or folder")
    refused = fx("cat", f"{at}dir/")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "is a folder; cat takes files" in refused.stderr
    local = fx("cat", "-")
    assert (local.returncode, local.stdout) == (2, "")


@forged
def test_cat_of_forged_bytes(script: Any, said: bytes) -> None:
    """Bytes that are wrong are told by the code 5; a small file's are not written at all."""
    with scripted(script) as address:
        result = fx_bytes("cat", address + "x")
    assert (result.returncode, result.stdout) == (5, said)
    assert b"do not match their hash" in result.stderr


def test_cat_to_who_has_enough(tree: Served) -> None:
    """Where the reader goes before the end, it ends without a word."""
    (tree.folder / "large").write_bytes(bytes(8 * CHUNK))
    at = tree.server.address
    with running("cat", f"{at}large", f"{at}dir/one") as process:
        assert process.stdout
        assert process.stdout.read(1)
        process.stdout.close()
        assert process.wait(SECONDS) == 0
        assert process.stderr
        assert process.stderr.read() == b""


@pytest.mark.case("F13")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_cat_to_a_full_disk(tree: Served) -> None:
    """Output that the disk does not take is a failure of the local disk."""
    with open("/dev/full", "w", encoding="ascii") as full:
        result = fx("cat", f"{tree.server.address}file", stdout=full)
    assert result.returncode == 8
    assert re.fullmatch(r"filexfer: error: -: no space left on the disk\n", result.stderr)
