"""``get --expect``: a file appears only if it has the digest that was known beforehand."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest
from conftest import tree_state

from filexfer import ExitCode, IntegrityError, Options, UsageError
from filexfer.cli import main
from filexfer.hashing import ALGORITHMS, digest_of
from filexfer.shared import pieces

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Served

pytestmark = pytest.mark.usefixtures("no_leftovers")

SMALL = b"small"
LARGE = random.Random(3).randbytes(600_000)
WRONG = "sha256:" + "0f" * 32


def expecting(digest: str, **options: object) -> Options:
    return Options(expect=digest, durability="none", **options)  # type: ignore[arg-type] # all are


@pytest.fixture
def there(served: Served) -> Served:
    """Lay a small and a large file on the server."""
    (served.folder / "small").write_bytes(SMALL)
    (served.folder / "large").write_bytes(LARGE)
    return served


@pytest.mark.parametrize("stats", [False, True])
@pytest.mark.parametrize(("name", "data"), [("small", SMALL), ("large", LARGE)])
def test_only_what_is_expected_appears(
    there: Served, tmp_path: Path, name: str, data: bytes, stats: bool
) -> None:
    """With the right digest of any hash the file comes, with another nothing does."""
    client = there.client()
    target = tmp_path / "down" / name
    for algorithm in ALGORITHMS:
        wrong = f"{algorithm}:{digest_of(algorithm)(b'other').partition(':')[2]}"
        with pytest.raises(IntegrityError, match=f"{name}: has the digest {algorithm}:.*, not "):
            client.get([name], target, expecting(wrong, stats=stats))
        assert os.listdir(tmp_path / "down") == []
    for algorithm in ALGORITHMS:
        report = client.get([name], target, expecting(digest_of(algorithm)(data), stats=stats))
        assert (report.files, report.skipped) == ((1, 0) if algorithm == ALGORITHMS[0] else (0, 1))
        assert target.read_bytes() == data


@pytest.mark.parametrize("if_exists", ["error", "overwrite", "keep-both"])
def test_what_exists_is_looked_at(there: Served, tmp_path: Path, if_exists: str) -> None:
    """A file of the same size and time is not taken for the one expected, nor changed for another."""
    client = there.client()
    target = tmp_path / "down" / "small"
    target.parent.mkdir()
    target.write_bytes(b"SMALL")
    status = os.stat(there.folder / "small")
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))
    before = tree_state(target.parent)
    with pytest.raises(IntegrityError):
        client.get(["small"], target, expecting(WRONG, if_exists=if_exists))
    digest = digest_of("sha256")(b"SMALL")
    with pytest.raises(IntegrityError):  # it is what is here, and not what is there
        client.get(["small"], target, expecting(digest, if_exists=if_exists))
    assert tree_state(target.parent) == before
    report = client.get(
        ["small"], target, expecting(digest_of("sha256")(SMALL), if_exists=if_exists)
    )
    assert report.failed == (if_exists == "error")
    assert (target.read_bytes() == SMALL) == (if_exists == "overwrite")
    assert len(os.listdir(target.parent)) == 1 + (if_exists == "keep-both")


def test_in_pieces(there: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that comes in pieces over several connections is held to the same."""
    monkeypatch.setattr(pieces, "LEAST", 64 << 10)
    client = there.client()
    options = {"jobs": 2, "pieces": True}
    target = tmp_path / "down" / "large"
    with pytest.raises(IntegrityError, match="large: has the digest"):
        client.get(["large"], target, expecting(WRONG, **options))
    assert os.listdir(tmp_path / "down") == []
    client.get(["large"], target, expecting(digest_of("md5")(LARGE), **options))
    assert target.read_bytes() == LARGE


@pytest.mark.parametrize(("name", "data"), [("small", SMALL), ("large", LARGE)])
def test_to_a_stream(there: Served, tmp_path: Path, name: str, data: bytes) -> None:
    """Nothing of a small file goes out; of a large one it is said that it must not be used."""
    client = there.client()
    with open(tmp_path / "out", "w+b") as out:
        with pytest.raises(IntegrityError) as caught:
            client.get_stream(name, out.fileno(), expecting(WRONG))
        assert ("must not be used" in str(caught.value)) is (name == "large")
        assert os.fstat(out.fileno()).st_size == (len(data) if name == "large" else 0)
    with open(tmp_path / "out", "w+b") as out:
        client.get_stream(name, out.fileno(), expecting(digest_of("blake2b")(data)))
    assert (tmp_path / "out").read_bytes() == data


def test_what_makes_no_sense(there: Served, tmp_path: Path) -> None:
    """No digest, one of another hash, several files, a folder, or to keep what exists anyhow."""
    good = digest_of("sha256")(SMALL)
    for text in ("sha256", "sha256:12", "sha1:" + "0f" * 20, good.upper(), "\x1b[31m"):
        with pytest.raises(UsageError, match="is not a digest of xxh3_128, sha256") as caught:
            Options(expect=text)
        assert str(caught.value).isprintable()
    with pytest.raises(UsageError, match="md5 cannot be used"):
        Options(expect=good, algorithm="md5")
    for if_exists in ("skip", "update"):
        with pytest.raises(UsageError, match="what exists cannot be kept"):
            Options(expect=good, if_exists=if_exists)
    assert Options(expect=good).algorithm == "sha256"
    (there.folder / "folder").mkdir()
    for names in (["small", "large"], ["folder"], [""]):
        with pytest.raises(UsageError, match="of one file only"):
            there.client().get(names, tmp_path / "down", expecting(good))
    assert not (tmp_path / "down").exists()


def test_a_missing_file(there: Served, tmp_path: Path) -> None:
    """What is not there fails as ever: nothing was wrong with it."""
    report = there.client().get(["none"], tmp_path, expecting(WRONG))
    assert [each.code for each in report.failures] == ["not_found"]


def test_the_command(
    there: Served,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    with_signals: Callable[..., int],
) -> None:
    """The exit code says it; hex digits may be capitals, as some programs print them."""
    address, target = there.server.address, tmp_path / "file"
    words = ["get", address + "small", str(target), "--expect"]
    assert with_signals([*words, WRONG]) == ExitCode.INTEGRITY
    assert not target.exists()
    algorithm, _, digits = digest_of("sha256")(SMALL).partition(":")
    assert with_signals([*words, f"{algorithm}:{digits.upper()}"]) == 0
    assert target.read_bytes() == SMALL
    assert with_signals(["get", address + "small", "-", "--expect", WRONG]) == ExitCode.INTEGRITY
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.count(": has the digest sha256:") == 2


@pytest.fixture
def with_signals() -> Callable[..., int]:
    """Return the command in this process, with the signals as they were when it is over."""
    import signal  # noqa: PLC0415 - for this alone

    def run(words: list[str]) -> int:
        before = [(each, signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)]
        try:
            return main(words)
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    return run
