"""What lands where: files, folders and several sources, for every kind of destination, both ways.

The table in the README says the same.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from test_cli_process import SUMMARY, Service, fx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Sources: the file 'f', the folder 'd' with 'one' and 'sub/two', the file 'g'. At the destination:
# the folder 'old' with 'kept', the file 'taken'; 'new' is not there. What comes is what is added;
# the address in the summary is what the last column says.
LANDINGS = [
    # a file
    ("f", "", ["f"], "f"),
    ("f", "new", ["new"], "new"),
    ("f", "new/", ["new/f"], "new/f"),
    ("f", "old", ["old/f"], "old/f"),
    ("f", "old/", ["old/f"], "old/f"),
    ("f", "new/deep/er", ["new/deep/er"], "new/deep/er"),
    ("f", "new/deep/", ["new/deep/f"], "new/deep/f"),
    # a folder
    ("d", "", ["d/one", "d/sub/two"], "d/"),
    ("d", "new", ["new/d/one", "new/d/sub/two"], "new/d/"),
    ("d", "new/", ["new/d/one", "new/d/sub/two"], "new/d/"),
    ("d", "old", ["old/d/one", "old/d/sub/two"], "old/d/"),
    ("d", "new/deep", ["new/deep/d/one", "new/deep/d/sub/two"], "new/deep/d/"),
    # the contents of a folder
    ("d/", "", ["one", "sub/two"], ""),
    ("d/", "new", ["new/one", "new/sub/two"], "new/"),
    ("d/", "new/", ["new/one", "new/sub/two"], "new/"),
    ("d/", "old", ["old/one", "old/sub/two"], "old/"),
    # several
    ("f g", "", ["f", "g"], ""),
    ("f g", "new", ["new/f", "new/g"], "new/"),
    ("f g", "old/", ["old/f", "old/g"], "old/"),
    ("f d", "new", ["new/d/one", "new/d/sub/two", "new/f"], "new/"),
    ("d/ f", "new", ["new/f", "new/one", "new/sub/two"], "new/"),
]
IDS = [f"{sources} to {destination or 'the root'}" for sources, destination, *_ in LANDINGS]


def make_sources(folder: Path) -> None:
    """Make what is transferred."""
    (folder / "d" / "sub").mkdir(parents=True)
    for name in ("f", "g", "d/one", "d/sub/two"):
        (folder / name).write_text(name)


def make_destination(folder: Path) -> None:
    """Make what is there before."""
    (folder / "old").mkdir(parents=True)
    (folder / "old" / "kept").write_text("kept")
    (folder / "taken").write_text("taken")


def files_in(folder: Path) -> list[str]:
    """Return the names of the files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def check(folder: Path, expected: list[str]) -> None:
    """Check that exactly these files came, each with its own contents."""
    assert files_in(folder) == sorted([*expected, "old/kept", "taken"])
    for name in expected:
        text = (folder / name).read_text()
        assert text.rpartition("/")[2] == name.rpartition("/")[2] or expected == [name]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module; each begins with an empty folder."""
    folder = tmp_path_factory.mktemp("served")
    with Service(folder, "--workers", "1", "--durability", "none") as running_service:
        yield running_service


@pytest.fixture
def empty(service: Service) -> Service:
    """Return the server, its folder empty again."""
    for name in os.listdir(service.folder):
        path = service.folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return service


@pytest.mark.parametrize(("sources", "destination", "expected", "landed"), LANDINGS, ids=IDS)
def test_put(
    sources: str, destination: str, expected: list[str], landed: str, tmp_path: Path, empty: Service
) -> None:
    """An upload lands as the table says, and the summary names the place."""
    make_sources(tmp_path)
    make_destination(empty.folder)
    result = fx("put", *sources.split(), empty.address + destination, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    check(empty.folder, expected)
    assert SUMMARY.fullmatch(result.stderr.strip())
    assert result.stderr.endswith(f" -> {empty.address}{landed}\n")


@pytest.mark.parametrize(("sources", "destination", "expected", "landed"), LANDINGS, ids=IDS)
def test_get(
    sources: str, destination: str, expected: list[str], landed: str, tmp_path: Path, empty: Service
) -> None:
    """A download lands as the table says, and the summary names the place."""
    make_sources(empty.folder)
    make_destination(tmp_path)
    remotes = [empty.address + source for source in sources.split()]
    result = fx("get", *remotes, destination or ".", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    check(tmp_path, expected)
    assert SUMMARY.fullmatch(result.stderr.strip())
    assert os.path.normpath(result.stderr.split(" -> ")[1].strip()) == os.path.normpath(
        landed or "."
    )


def test_put_of_this_folder(tmp_path: Path, empty: Service) -> None:
    """``.`` has no name of its own: its contents land in the destination."""
    make_sources(tmp_path)
    result = fx("put", ".", empty.address + "new", cwd=tmp_path)
    assert result.returncode == 0
    assert files_in(empty.folder) == ["new/d/one", "new/d/sub/two", "new/f", "new/g"]


def test_get_of_everything(tmp_path: Path, empty: Service) -> None:
    """The address of the server alone means the contents of the folder that is served."""
    make_sources(empty.folder)
    result = fx("get", empty.address, tmp_path / "new")
    assert result.returncode == 0
    assert files_in(tmp_path) == ["new/d/one", "new/d/sub/two", "new/f", "new/g"]


def test_get_to_a_path_outside(tmp_path: Path, empty: Service) -> None:
    """A local destination may be absolute, or lead up and back down."""
    make_sources(empty.folder)
    (tmp_path / "here").mkdir()
    result = fx("get", empty.address + "f", "../there/", cwd=tmp_path / "here")
    assert result.returncode == 0
    assert files_in(tmp_path) == ["there/f"]


def test_empty_folder(tmp_path: Path, empty: Service) -> None:
    """A folder with nothing in it is made."""
    (tmp_path / "hollow" / "below").mkdir(parents=True)
    assert fx("put", tmp_path / "hollow", empty.address).returncode == 0
    assert (empty.folder / "hollow" / "below").is_dir()
    assert fx("get", empty.address + "hollow", tmp_path / "back").returncode == 0
    assert (tmp_path / "back" / "hollow" / "below").is_dir()


@pytest.mark.parametrize(
    ("sources", "destination", "reason"),
    [
        ("f", "taken/", "not a folder"),
        ("d", "taken", "not a folder"),
        ("f g", "taken", "not a folder"),
        ("f", "taken/deeper", "not a folder"),
        ("clash f", "", "a folder of that name exists"),
    ],
)
def test_put_onto_another_kind(
    sources: str, destination: str, reason: str, tmp_path: Path, empty: Service
) -> None:
    """A file never becomes a folder, nor a folder a file; the upload of it fails."""
    make_sources(tmp_path)
    (tmp_path / "clash").write_text("a file")
    make_destination(empty.folder)
    (empty.folder / "clash").mkdir()
    result = fx("put", "--overwrite", *sources.split(), empty.address + destination, cwd=tmp_path)
    assert result.returncode == 3
    assert reason in result.stderr
    assert (empty.folder / "taken").read_text() == "taken"
    assert (empty.folder / "clash").is_dir()


@pytest.mark.parametrize(
    ("sources", "destination", "code"),
    [("f", "taken/", 8), ("d", "taken", 8), ("f g", "taken", 8), ("f", "taken/deeper", 8)],
)
def test_get_onto_another_kind(
    sources: str, destination: str, code: int, tmp_path: Path, empty: Service
) -> None:
    """A destination that would have to be a folder and is a file stops a download."""
    make_sources(empty.folder)
    make_destination(tmp_path)
    remotes = [empty.address + source for source in sources.split()]
    result = fx("get", "--overwrite", *remotes, destination, cwd=tmp_path)
    assert result.returncode == code
    assert result.stderr.startswith("filexfer: error: cannot use the folder ")
    assert result.stderr.count("\n") == 1
    assert files_in(tmp_path) == ["old/kept", "taken"]


def test_two_sources_of_one_name(tmp_path: Path, empty: Service) -> None:
    """Of two different files that would land under one name, the second fails."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same").write_text(folder)
    result = fx("put", "a/same", "b/same", empty.address, cwd=tmp_path)
    assert result.returncode == 3
    assert "same: exists and differs" in result.stderr
    assert (empty.folder / "same").read_text() == "a"
