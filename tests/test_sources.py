"""Walking sources: what each of several connections offers of them."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filexfer.entry import FOLDER
from filexfer.report import Report
from filexfer.storage.folder import Folder
from filexfer.transfer.sources import Offer, Source, walk

if TYPE_CHECKING:
    from pathlib import Path

    from filexfer.errors import FileError

Tree = dict[str, "Tree | str | None"]  # folders, links with their targets, files
Seen = tuple[str, str, int, int, str]

NAMES = st.sampled_from(
    ["a", "b", "c", "d e", "f.txt", "你好", os.fsdecode(b"raw \xff"), "e\u0301", "\n", "%00"]
)
LEAVES = st.one_of(st.none(), st.sampled_from(["a", "../b", "/etc"]))
TREES = st.recursive(
    st.dictionaries(NAMES, LEAVES, max_size=3),
    lambda below: st.dictionaries(NAMES, st.one_of(below, below, LEAVES), max_size=4),
    max_leaves=25,
)


def lay(top: str, tree: Tree) -> None:
    os.mkdir(top)
    for name, what in tree.items():
        path = os.path.join(top, name)
        if isinstance(what, dict):
            lay(path, what)
        elif what is None:
            with open(path, "wb") as file:
                file.write(os.fsencode(name))
        else:
            os.symlink(what, path)


def seen(offer: Offer) -> Seen:
    entry = offer.entry
    return offer.wire_name, entry.type, entry.size, entry.mode, entry.extra


class Walks:
    """The whole walk over some sources, and those of the shares."""

    def __init__(self, sources: list[Source], shares: int) -> None:
        self.whole = self._walk(sources)
        self.shares = [self._walk(sources, share, shares) for share in range(shares)]

    @staticmethod
    def _walk(
        sources: list[Source], share: int = 0, shares: int = 1
    ) -> tuple[list[Offer], Counter[str], tuple[int, int]]:
        failures: list[FileError] = []
        report = Report()
        offers = list(walk(sources, report, failures.append, share=share, shares=shares))
        return (
            offers,
            Counter(error.name for error in failures),
            (report.found, report.found_bytes),
        )

    def check(self) -> None:
        whole, failures, found = self.whole
        assert not any(offer.is_shared or offer.in_shared for offer in whole)
        offers = [offer for each, _, _ in self.shares for offer in each]
        assert Counter(map(seen, offers)) == Counter(map(seen, whole))
        assert sum((each for _, each, _ in self.shares), Counter()) == failures
        assert tuple(map(sum, zip(*(each for _, _, each in self.shares), strict=True))) == found


def with_folders(whole: list[Offer]) -> set[str]:
    """Return the folders that have folders in them."""
    folders = [offer.wire_name for offer in whole if offer.entry.type == FOLDER]
    return {name.rpartition("/")[0] for name in folders}


def check_what_is_shared(walks: Walks, top: str) -> None:
    """Folders with folders are the first share's; each other is filled by one share only."""
    shared = with_folders(walks.whole[0])
    owners: dict[str, set[int]] = {}
    for share, (offers, _, _) in enumerate(walks.shares):
        for offer in offers:
            name = offer.wire_name
            above = name.rpartition("/")[0]
            if offer.entry.type == FOLDER:
                assert offer.is_shared == (name in shared)
                assert offer.in_shared  # there is this folder in it
                assert not (share and offer.is_shared)
                owners.setdefault(name, set()).add(share)
            elif name != top:
                assert not offer.is_shared
                assert offer.in_shared == (above in shared)
                if above not in shared:
                    owners.setdefault(above, set()).add(share)
    assert all(len(each) == 1 for each in owners.values())


@given(tree=TREES, shares=st.integers(1, 8), slash=st.booleans())
def test_shares_are_together_the_whole_and_never_overlap(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, shares: int, slash: bool
) -> None:
    """Every share offers its own, whatever the tree; a failure is told by one of them."""
    top = tmp_path_factory.getbasetemp() / "random"
    lay(str(top), tree)
    try:
        with Folder(top) as folder:
            wire_name = "" if slash else "top"
            walks = Walks([Source(folder, "", wire_name, fresh=True)], shares)
            walks.check()
            if shares > 1:
                check_what_is_shared(walks, wire_name)
    finally:
        shutil.rmtree(top)


def test_a_folder_comes_before_what_lies_in_it_in_every_share(tmp_path: Path) -> None:
    """Of what one share offers; folders that it does not offer are made on the way."""
    lay(str(tmp_path / "top"), {"a": {"b": {"c": None}, "d": None}, "e": {"f": {"g": {}}}})
    with Folder(tmp_path / "top") as folder:
        walks = Walks([Source(folder, "", "t", fresh=True)], 3)
        for offers, _, _ in walks.shares:
            names = [offer.wire_name for offer in offers]
            assert all(
                names.index(above) < names.index(name)
                for name in names
                if (above := name.rpartition("/")[0]) in names
            )


@pytest.mark.parametrize("shares", [1, 2, 8])
def test_several_sources_are_shared_each_for_itself(tmp_path: Path, shares: int) -> None:
    """Files and folders side by side; a single file goes with the first share."""
    lay(str(tmp_path / "top"), {"file": None, "d": {"x": {"y": None}, "z": None}})
    with ExitStack() as stack:
        folder = stack.enter_context(Folder(tmp_path / "top"))
        inner = stack.enter_context(Folder(tmp_path / "top" / "d"))
        sources = [
            Source(folder, "file", "one", fresh=True),
            Source(inner, "", "two/deep", fresh=True),
            Source(folder, "d/x", "three", fresh=True),
            Source(folder, "missing", "four", fresh=True),
        ]
        walks = Walks(sources, shares)
    whole = Counter(map(seen, walks.whole[0]))
    assert len(whole) == 1 + 4 + 2
    assert Counter(seen(offer) for each, _, _ in walks.shares for offer in each) == whole
    (one,) = (offer for offer in walks.shares[0][0] if offer.wire_name == "one")
    assert (one.is_shared, one.in_shared) == (False, False)
    assert all(failures == {"four": 1} for _, failures, _ in walks.shares)


def test_what_cannot_be_listed_is_no_shared_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It belongs to one share, and every walk that comes by says that it cannot be read."""
    lay(str(tmp_path / "top"), {"shut": {"in": {}}, "open": {"file": None}})
    scandir = os.scandir
    shut = os.stat(tmp_path / "top" / "shut")

    def refuse(fd: int) -> object:
        if os.path.samestat(os.fstat(fd), shut):
            raise PermissionError(13, "Permission denied")
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", refuse)
    with Folder(tmp_path / "top") as folder:
        walks = Walks([Source(folder, "", "top", fresh=True)], 3)
    offers = [offer for each, _, _ in walks.shares for offer in each]
    (found,) = (offer for offer in offers if offer.wire_name == "top/shut")
    assert not found.is_shared
    assert all(failures == {"top/shut": 1} for _, failures, _ in walks.shares)
