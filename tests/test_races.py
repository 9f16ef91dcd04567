"""A local user who swaps folders and links while files move gets nobody to follow a link.

Each test has a budget of time, in ``FILEXFER_RACE_SECONDS``. That it finds nothing proves
little, so a longer budget is for a quiet night; what it finds is a hole.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from conftest import Served, tree_state

from filexfer import FileError, Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Serve = Callable[..., Served]

SECONDS = float(os.environ.get("FILEXFER_RACE_SECONDS", "0.7"))
FORCE = Options(if_exists="overwrite", durability="none")
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


@contextmanager
def flipping(folder: Path, canary: Path) -> Iterator[None]:
    """Let a folder or file be now itself, now a link to the canary or to a file in it."""
    link = folder.with_name(folder.name + "-other")
    link.symlink_to(canary)
    swap(folder, link)
    swap(folder, link)
    over = threading.Event()
    flips = 0

    def flip() -> None:
        nonlocal flips
        while not over.is_set():
            swap(folder, link)
            flips += 1

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if folder.is_symlink():
            swap(folder, link)
        link.unlink()
        assert flips > 10


def until_the_time_is_up() -> Iterator[int]:
    """Count as long as the budget lasts."""
    end = monotonic() + SECONDS
    turn = 0
    while monotonic() < end:
        yield turn
        turn += 1


def lay(path: Path, data: bytes = b"ours") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def lay_tree(top: Path) -> None:
    """Lay a tree with the names of the canary, so that a link followed would fit."""
    lay(top / "dir" / "precious")
    lay(top / "dir" / "sub" / "secret")
    lay(top / "dir" / "sub" / "large", b"ours" * 100_000)
    lay(top / "leaf")


def bytes_in(top: Path) -> set[object]:
    return {entry[3] for entry in tree_state(top).values() if entry[0] == "file"}


@pytest.mark.case("D3")
@pytest.mark.parametrize("durability", ["none", "batch"])
def test_d3_uploads_into_a_folder_that_flips(
    serve: Serve, tmp_path: Path, canary: Path, durability: str
) -> None:
    served = serve(allow=["overwrite"], durability=durability)
    lay_tree(served.folder)
    lay_tree(tmp_path / "local")
    client = served.client()
    with flipping(served.folder / "dir", canary):
        for turn in until_the_time_is_up():
            os.utime(tmp_path / "local" / "dir" / "precious", (turn, turn))
            lay(tmp_path / "local" / "dir" / "sub" / f"{turn % 5}", b"%d" % turn)
            client.put([tmp_path / "local" / "dir"], "", FORCE)
            client.put([tmp_path / "local" / "dir" / "precious"], f"dir/new/{turn}", FORCE)


@pytest.mark.case("D3")
def test_d3_downloads_into_a_folder_that_flips(
    served: Served, tmp_path: Path, canary: Path
) -> None:
    lay_tree(served.folder)
    lay_tree(tmp_path / "local")
    client = served.client()
    with flipping(tmp_path / "local" / "dir", canary):
        for turn in until_the_time_is_up():
            lay(served.folder / "dir" / "sub" / f"{turn % 5}", b"%d" % turn)
            os.utime(served.folder / "dir" / "precious", (turn, turn))
            client.get(["dir"], tmp_path / "local", FORCE)


@pytest.mark.case("D3")
def test_d3_folders_made_and_listed_in_a_folder_that_flips(served: Served, canary: Path) -> None:
    (served.folder / "dir").mkdir()
    client = served.client()
    with flipping(served.folder / "dir", canary):
        for turn in until_the_time_is_up():
            try:
                client.make_folder(f"dir/new/{turn % 50}")
                found = {entry.name for entry in client.list("dir", recursive=True)}
            except FileError:
                continue
            assert not found & {"precious", "sub", "sub/secret"}


@pytest.mark.case("D3")
def test_d3_removals_in_a_folder_that_flips(serve: Serve, canary: Path) -> None:
    served = serve(allow=["delete"])
    client = served.client()
    (served.folder / "dir").mkdir()
    inside = os.open(served.folder / "dir", os.O_RDONLY)  # the real one, wherever it is
    with flipping(served.folder / "dir", canary):
        for _ in until_the_time_is_up():
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
def test_d4_uploads_from_a_folder_and_a_file_that_flip(
    served: Served, tmp_path: Path, canary: Path
) -> None:
    """What lies outside is not sent."""
    local = tmp_path / "local"
    lay_tree(local)
    client = served.client()
    with flipping(local / "dir", canary), flipping(local / "leaf", canary / "precious"):
        for turn in until_the_time_is_up():
            client.put([local], f"{turn}/", FORCE)
    assert not bytes_in(served.folder) & OUTSIDE


@pytest.mark.case("D4")
def test_d4_downloads_from_a_folder_and_a_file_that_flip(
    served: Served, tmp_path: Path, canary: Path
) -> None:
    top = served.folder
    lay_tree(top)
    client = served.client()
    with flipping(top / "dir", canary), flipping(top / "leaf", canary / "precious"):
        for turn in until_the_time_is_up():
            try:
                client.get(["dir", "leaf", "dir/precious"], tmp_path / "got" / f"{turn}", FORCE)
            except FileError:
                continue  # the first look met the link
    assert not bytes_in(tmp_path / "got") & OUTSIDE
