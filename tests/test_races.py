"""A local user who swaps folders and links while files move gets nobody to follow a link.

Each test has a budget of time, in ``FILEXFER_RACE_SECONDS``. That it finds nothing proves
little, so a longer budget is for a quiet night; what it finds is a hole.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from conftest import Served, tree_state

from filexfer import FileError, Options
from filexfer.shared import pieces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Served]

SHORT = float(os.environ.get("FILEXFER_RACE_SECONDS", "0.3"))
LONG = float(os.environ.get("FILEXFER_RACE_SECONDS", "2"))
FORCE = Options(if_exists="overwrite", durability="none", jobs=1)
HOWS = {
    "one connection": FORCE,
    "pieces": Options(if_exists="overwrite", durability="none", jobs=2, pieces=True),
}
OUTSIDE = {b"do not touch", b"do not read"}  # what is in the canary's files
_EXCHANGE = 2  # RENAME_EXCHANGE of <linux/fs.h>


def swap(one: Path, other: Path) -> None:
    """Exchange two names, so that there is never a moment without either."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = -100  # AT_FDCWD
    if not hasattr(libc, "renameat2"):
        pytest.skip("names can be exchanged on Linux only")
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), _EXCHANGE):
        raise OSError(ctypes.get_errno(), "cannot exchange names")


FLIPPER = """
import ctypes, os, select, sys
exchange = ctypes.CDLL(None).renameat2
one, other = (os.fsencode(path) for path in sys.argv[1:])
flips = 0
while not (flips % 64 == 0 and select.select([0], [], [], 0)[0]):
    flips += exchange(-100, one, -100, other, 2) == 0
    if flips == 128:
        print(flush=True)
print(flips)
"""


@contextmanager
def flipping(folder: Path, canary: Path) -> Iterator[None]:
    """Let a folder or file be now itself, now a link to the canary or to a file in it.

    Another process does it, so that it happens between any two of our steps.
    """
    link = folder.with_name(folder.name + "-other")
    link.symlink_to(canary)
    swap(folder, link)
    swap(folder, link)
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", FLIPPER, str(folder), str(link)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == b"\n"
        try:
            yield
        finally:
            flips, _ = process.communicate(b"enough")
            if folder.is_symlink():
                swap(folder, link)
            link.unlink()
    assert int(flips) > 100


@pytest.fixture(params=["short", pytest.param("long", marks=pytest.mark.slow)])
def budget(request: pytest.FixtureRequest) -> float:
    """Return the seconds that a test has."""
    return SHORT if request.param == "short" else LONG


def until_it_is_spent(
    budget: float, is_enough: Callable[[], object] = lambda: True
) -> Iterator[int]:
    """Count as long as the budget lasts, and then until it is enough."""
    end = monotonic() + budget
    turn = 0
    while monotonic() < end or not is_enough():
        yield turn
        turn += 1


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files move in pieces soon."""
    monkeypatch.setattr(pieces, "LEAST", 100_000)


def lay(path: Path, data: bytes = b"ours") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def lay_tree(top: Path) -> None:
    """Lay a tree with the names of the canary, so that a link followed would fit."""
    lay(top / "dir" / "precious")
    lay(top / "dir" / "sub" / "secret")
    lay(top / "dir" / "sub" / "large", b"ours" * 30_000)
    lay(top / "leaf")


def bytes_in(top: Path) -> set[object]:
    return {entry[3] for entry in tree_state(top).values() if entry[0] == "file"}


@pytest.mark.case("D3")
@pytest.mark.parametrize("durability", ["none", "batch"])
@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_d3_uploads_into_a_folder_that_flips(
    serve: Serve, tmp_path: Path, canary: Path, budget: float, durability: str, how: Options
) -> None:
    served = serve(allow=["overwrite"], durability=durability)
    lay_tree(served.folder)
    lay_tree(tmp_path / "local")
    client = served.client()
    with flipping(served.folder / "dir", canary):
        for turn in until_it_is_spent(budget):
            for name in ("precious", "sub/large"):
                os.utime(tmp_path / "local" / "dir" / name, (turn, turn))
            lay(tmp_path / "local" / "dir" / "sub" / f"{turn % 5}", b"%d" % turn)
            client.put([tmp_path / "local" / "dir"], "", how)
            client.put([tmp_path / "local" / "dir" / "precious"], f"dir/new/{turn}", how)


@pytest.mark.case("D3")
@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_d3_downloads_into_a_folder_that_flips(
    served: Served, tmp_path: Path, canary: Path, budget: float, how: Options
) -> None:
    lay_tree(served.folder)
    lay_tree(tmp_path / "local")
    client = served.client()
    with flipping(tmp_path / "local" / "dir", canary):
        for turn in until_it_is_spent(budget):
            lay(served.folder / "dir" / "sub" / f"{turn % 5}", b"%d" % turn)
            for name in ("precious", "sub/large"):
                os.utime(served.folder / "dir" / name, (turn, turn))
            client.get(["dir"], tmp_path / "local", how)


@pytest.mark.case("D3", "D1")
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("size", [4, 1_000_000])
def test_d3_files_onto_one_that_flips(
    serve: Serve, tmp_path: Path, canary: Path, budget: float, way: str, size: int
) -> None:
    """A link of the name is replaced or met, and what it leads to stays as it is."""
    served = serve(allow=["overwrite"])
    source, target = tmp_path / "local", served.folder
    if way == "down":
        source, target = target, source
    lay(target / "leaf")
    lay(source / "leaf", b"o" * size)
    client = served.client()
    link = target / "leaf-other"
    over = threading.Event()

    def flip() -> None:
        while not over.is_set():
            link.symlink_to(canary / "precious")
            link.rename(target / "leaf")

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for turn in until_it_is_spent(budget):
            os.utime(source / "leaf", (turn, turn))
            if way == "up":
                client.put([source / "leaf"], "leaf", FORCE)
            else:
                client.get(["leaf"], target / "leaf", FORCE)
    finally:
        over.set()
        thread.join()


@pytest.mark.case("D3")
def test_d3_folders_made_and_listed_in_a_folder_that_flips(
    served: Served, canary: Path, budget: float
) -> None:
    (served.folder / "dir").mkdir()
    client = served.client()
    with flipping(served.folder / "dir", canary):
        for turn in until_it_is_spent(budget):
            try:
                client.make_folder(f"dir/new/{turn % 50}")
                found = {entry.name for entry in client.list("dir", recursive=True)}
            except FileError:
                continue
            assert not found & {"precious", "sub", "sub/secret"}


@pytest.mark.case("D3")
def test_d3_removals_in_a_folder_that_flips(serve: Serve, canary: Path, budget: float) -> None:
    served = serve(allow=["delete"])
    client = served.client()
    (served.folder / "dir").mkdir()
    inside = os.open(served.folder / "dir", os.O_RDONLY)  # the real one, wherever it is
    with flipping(served.folder / "dir", canary):
        for _ in until_it_is_spent(budget):
            for name in ("precious", "sub"):
                try:
                    if name == "sub":
                        os.mkdir("sub", dir_fd=inside)
                        os.mkdir("sub/secret", dir_fd=inside)
                    else:
                        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=inside))
                except FileExistsError:
                    pass  # the last removal met the link
                try:
                    client.remove(f"dir/{name}", recursive=True)
                except FileError:
                    pass  # it met the link
    os.close(inside)


@pytest.mark.case("D4")
@pytest.mark.case("D3", "D24")
def test_d3_leftovers_are_not_cleaned_elsewhere(
    serve: Serve, tmp_path: Path, budget: float
) -> None:
    """Removing a folder cleans what dead transfers left in it, and in no other."""
    served = serve(allow=["delete"])
    outside = tmp_path / "outside"
    lay(outside / ".fx-precious")
    lay(outside / "sub" / ".fx-secret")
    before = tree_state(outside)
    client = served.client()
    (served.folder / "dir").mkdir()
    inside = os.open(served.folder / "dir", os.O_RDONLY)
    removals: list[str] = []
    with flipping(served.folder / "dir", outside):
        for _ in until_it_is_spent(budget, lambda: removals):
            try:
                os.mkdir("sub", dir_fd=inside)
                os.mkdir("sub/.fx-left", dir_fd=inside)
            except FileExistsError:
                pass  # the last removal met the link
            try:
                client.remove("dir/sub")
                removals.append("dir/sub")
            except FileError:
                pass  # it met the link
    os.close(inside)
    assert tree_state(outside) == before


@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_d4_uploads_from_a_folder_and_a_file_that_flip(
    served: Served, tmp_path: Path, canary: Path, budget: float, how: Options
) -> None:
    """What lies outside is not sent."""
    local = tmp_path / "local"
    lay_tree(local)
    client = served.client()
    with flipping(local / "dir", canary), flipping(local / "leaf", canary / "precious"):
        for turn in until_it_is_spent(budget):
            client.put([local], f"{turn}/", how)
    assert not bytes_in(served.folder) & OUTSIDE


@pytest.mark.case("D4")
@pytest.mark.parametrize("how", HOWS.values(), ids=HOWS)
def test_d4_downloads_from_a_folder_and_a_file_that_flip(
    served: Served, tmp_path: Path, canary: Path, budget: float, how: Options
) -> None:
    top = served.folder
    lay_tree(top)
    client = served.client()
    with flipping(top / "dir", canary), flipping(top / "leaf", canary / "precious"):
        for turn in until_it_is_spent(budget):
            try:
                client.get(["dir", "leaf", "dir/precious"], tmp_path / "got" / f"{turn}", how)
            except FileError:
                continue  # the first look met the link
    assert not bytes_in(tmp_path / "got") & OUTSIDE
