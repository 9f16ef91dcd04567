"""What a mirror removes at the target, and what keeps it from removing anything."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Served, tree_state
from test_transfer import SECOND, TIME, Route, failures, lay

from filexfer import FileError, Filter, Mirror, Options, RefusedError, Report, Trust, UsageError
from filexfer.entry import FILE, FOLDER, Entry
from filexfer.errors import Code
from filexfer.mirroring.extraneous import Refusal, extraneous
from filexfer.security import granted
from filexfer.security.tokens import Store
from filexfer.storage.folder import Folder
from filexfer.wire import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer.choice.judge import Judge

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("canary")


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Route:
    """Lay a tree, transfer it, and let the target have more than the source."""
    made = Route(request.param, serve(allow=["overwrite", "delete"]), tmp_path / "local")
    for name in ("a", "d/b", "d/e/f", "gone/x"):
        lay(made.source / "tree" / name)
    (made.source / "tree" / "hollow").mkdir()
    made.send("tree", to="to/")
    os.remove(made.source / "tree" / "gone" / "x")
    os.rmdir(made.source / "tree" / "gone")
    target = made.target / "to" / "tree"
    for name in ("old", "d/old", "d/more/deep/x", "hollow/\x1b[31m", "log/a.log", "log/a"):
        lay(target / name)
    (target / "link").symlink_to(tmp_path / "canary")
    (target / "d" / "dangling").symlink_to("nowhere")
    os.mkfifo(target / "pipe")
    for number, (path, _, _) in enumerate(os.walk(made.source / "tree", topdown=False)):
        os.utime(path, ns=(TIME, TIME + number * SECOND))
    return made


EXTRA = {
    *("gone", "gone/x", "old", "d/old", "d/more", "d/more/deep", "d/more/deep/x", "link", "pipe"),
    *("hollow/\x1b[31m", "log", "log/a.log", "log/a", "d/dangling"),
}


def mirror(route: Route, **how: Any) -> tuple[Report, set[str]]:
    """Mirror the tree; return the report, and the names that were removed."""
    report = Report()
    removed: list[str] = []
    report.on_deleted = removed.append
    names = how.pop("names", ["tree"])
    route.send(*names, to="to/", report=report, **{"mirror": Mirror(), **how})
    assert report.deleted == len(set(removed)) == len(removed)
    return report, {name.partition("tree/")[2] for name in removed}


def names_at(top: Path) -> set[str]:
    return set(tree_state(top))


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_target_becomes_as_the_source(route: Route, jobs: int) -> None:
    """With all modes and times; links go themselves, and not where they lead."""
    report, removed = mirror(route, jobs=jobs)
    assert removed == EXTRA
    assert not failures(report)
    assert not report.undeleted
    assert tree_state(route.target / "to" / "tree") == tree_state(route.source / "tree")
    assert stat.S_ISDIR((route.target / "to").stat().st_mode)
    again, removed = mirror(route, jobs=jobs)
    assert (again.files, again.folders, removed) == (0, 0, set())


def test_only_the_folders_that_were_transferred_are_looked_at(route: Route) -> None:
    """What lies beside them is nobody's business; several sources are mirrored each by itself."""
    lay(route.target / "to" / "beside")
    lay(route.source / "other" / "x")
    lay(route.target / "to" / "other" / "y")
    report, _ = mirror(route, names=["tree", "other"])
    assert report.deleted == len(EXTRA) + 1
    assert names_at(route.target / "to") >= {"beside", "other/x"}


def test_temporary_files_stay(route: Route) -> None:
    """Nobody sees them, so nobody removes them."""
    temporary = lay(route.target / "to" / "tree" / ".fx-0123456789abcdef-1.part")
    mirror(route)
    assert temporary.exists()


def test_what_is_left_out_stays(route: Route) -> None:
    """With the folders it lies in, and whether the source has it or not."""
    lay(route.source / "tree" / "log" / "b.log")
    report, removed = mirror(route, filter=Filter(["*.log", "/d/more", "pipe", "/hollow"]))
    assert not failures(report)
    assert removed == EXTRA - {
        *("log", "log/a.log", "d/more", "d/more/deep", "d/more/deep/x"),
        *("pipe", "hollow/\x1b[31m"),
    }


def test_of_what_is_included_the_rest_goes(route: Route) -> None:
    """A folder that is made only for what is in it goes with the last of that."""
    for name in ("one/x.py", "two/x.py", "two/y", "d/z.py"):
        lay(route.target / "to" / "tree" / name)
    (route.target / "to" / "tree" / "bare" / "deep").mkdir(parents=True)
    lay(route.source / "tree" / "d" / "k.py")
    report, removed = mirror(route, filter=Filter(["!*.py"]))
    assert not failures(report)
    assert removed == {"one", "one/x.py", "two/x.py", "d/z.py"}


def test_ignore_files_of_the_source_protect(route: Route) -> None:
    """Also what lies where the source has nothing."""
    lay(route.source / "tree" / ".gitignore", b"old\nx\n")
    _, removed = mirror(route, filter=Filter(ignore_files=[".gitignore"]))
    assert removed == EXTRA - {
        "old",
        "d/old",
        "d/more",
        "d/more/deep",
        "d/more/deep/x",
        "gone",
        "gone/x",
    }


def test_a_small_file_at_the_target_is_left_out_too(route: Route) -> None:
    """Sizes and times are those of what would be removed."""
    lay(route.target / "to" / "tree" / "long", b"x" * 100)
    _, removed = mirror(route, filter=Filter(min_size=50), mirror=Mirror(allow_empty_source=True))
    assert "long" in removed
    assert "old" not in removed


# What keeps it from removing anything


def untouched(route: Route, report: Report, reason: str) -> None:
    assert reason in report.undeleted
    assert report.deleted == 0
    assert names_at(route.target / "to" / "tree") >= EXTRA


def test_a_file_that_failed(route: Route) -> None:
    """Then something may be missing at the target, and all else stays there."""
    lay(route.source / "tree" / "a", b"other bytes")
    report, _ = mirror(route)
    assert len(failures(report)) == 1
    untouched(route, report, "not everything is there")
    assert not mirror(route, if_exists="overwrite")[0].undeleted
    assert tree_state(route.target / "to" / "tree") == tree_state(route.source / "tree")


@pytest.mark.parametrize("there", ["folder", "file"])
def test_another_type(route: Route, there: str) -> None:
    """A file in the place of a folder fails, and so does a folder in that of a file."""
    if there == "folder":
        lay(route.source / "tree" / "old")
        os.remove(route.target / "to" / "tree" / "old")
        lay(route.target / "to" / "tree" / "old" / "within")
    else:
        lay(route.source / "tree" / "old" / "within")
    report, _ = mirror(route, if_exists="overwrite")
    assert set(failures(report).values()) <= {"is_a_folder", "not_a_folder"}
    untouched(route, report, "not everything is there")


def test_a_link_in_the_place_of_a_folder(route: Route, tmp_path: Path) -> None:
    """It is not followed, and nothing behind it is removed."""
    lay(route.source / "tree" / "link" / "x")
    report, _ = mirror(route)
    assert report.failed
    untouched(route, report, "not everything is there")


@pytest.mark.parametrize("visit", [1, 2])
def test_a_folder_that_cannot_be_read(
    serve: Serve, tmp_path: Path, visit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while it is sent, nor when it is looked through once more."""
    route = Route("up", serve(allow=["delete"]), tmp_path / "local")
    lay(route.source / "tree" / "shut" / "x")
    route.send("tree", to="to/")
    lay(route.target / "to" / "tree" / "old")
    scandir = os.scandir
    shut = os.stat(route.source / "tree" / "shut")
    visits = 0

    def refuse(fd: int) -> object:
        nonlocal visits
        if os.path.samestat(os.fstat(fd), shut):
            visits += 1
            if visits >= visit:
                raise PermissionError(13, "Permission denied")
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", refuse)
    report, _ = mirror(route, jobs=1)
    assert report.undeleted.startswith("nothing was deleted")
    assert bool(report.failed) == (visit == 1)
    assert ("shut: permission denied" in report.undeleted) == (visit == 2)
    assert (route.target / "to" / "tree" / "old").exists()
    assert (route.target / "to" / "tree" / "shut" / "x").exists()


def test_a_limit(route: Route) -> None:
    """One more than it allows, and nothing is removed; the number is told."""
    most = len(EXTRA) - 1
    report, _ = mirror(route, mirror=Mirror(most=most))
    untouched(route, report, f"it would be {most + 1} files and folders, and {most} may be")
    assert report.failed == 0
    assert mirror(route, mirror=Mirror(most=most + 1))[0].deleted == most + 1


def test_a_limit_counts_all_sources(route: Route) -> None:
    """Together, whichever comes first."""
    lay(route.source / "other" / "x")
    lay(route.target / "to" / "other" / "y")
    report, _ = mirror(route, names=["other", "tree"], mirror=Mirror(most=len(EXTRA)))
    untouched(route, report, f"{len(EXTRA) + 1} files")


def test_an_empty_source(route: Route) -> None:
    """It is more often a disk that is not mounted than meant so."""
    lay(route.target / "to" / "void" / "x")
    (route.source / "void").mkdir()
    report, _ = mirror(route, names=["tree", "void"])
    untouched(route, report, "there is nothing at the source")
    report, _ = mirror(route, names=["void"], mirror=Mirror(allow_empty_source=True))
    assert report.deleted == 1
    assert names_at(route.target / "to" / "void") == set()


def test_a_source_of_which_all_is_left_out(route: Route) -> None:
    """That is an empty one too."""
    lay(route.target / "to" / "tree" / "x.py")
    report, _ = mirror(route, filter=Filter(["!*.py"]))
    untouched(route, report, "there is nothing at the source")


def test_the_right_to_delete(serve: Serve, tmp_path: Path) -> None:
    """Without it the whole upload is refused before its first byte; a download needs none."""
    route = Route("up", serve(allow=["overwrite"]), tmp_path / "local")
    lay(route.source / "tree" / "a")
    with pytest.raises(RefusedError, match="needs the right to delete there") as caught:
        mirror(route)
    assert caught.value.exit_code == 7
    assert os.listdir(route.target) == []
    lay(route.target / "tree" / "a")
    route.client.get(["tree"], tmp_path / "into", Options(mirror=Mirror()))


def test_a_drop_box(serve: Serve, tmp_path: Path) -> None:
    """It shows nobody what is in it, so it cannot be mirrored."""
    store = Store(tmp_path / "tokens")
    token = store.add("box", rights=["create"])
    served = serve(tokens=tmp_path / "tokens")
    lay(tmp_path / "tree" / "a")
    client = served.client(trust=Trust(token=token, insecure=True))
    with pytest.raises(RefusedError, match="drop box cannot be mirrored"):
        client.put([tmp_path / "tree"], "", Options(mirror=Mirror()))
    assert os.listdir(served.folder) == []


def test_what_cannot_be_mirrored(route: Route) -> None:
    """Single files, sources in one another, lists, and two versions of a file."""
    lay(route.source / "file")
    for names in (["file"], ["tree", "file"]):
        with pytest.raises(UsageError, match="only folders"):
            mirror(route, names=names)
    lay(route.source / "other" / "d" / "x")
    for names in (["tree/", "tree/d"], ["tree/d/", "other/"], ["tree/d", "other/d"]):
        with pytest.raises(UsageError, match="place of its own"):
            mirror(route, names=names)
    with pytest.raises(UsageError, match="keep-both"):
        Options(mirror=Mirror(), if_exists="keep-both")
    with pytest.raises(UsageError, match="list of names"):
        Options(mirror=Mirror(), filter=Filter(names=["a"]))
    with pytest.raises(UsageError, match="negative"):
        Mirror(most=-1)
    assert names_at(route.target / "to" / "tree") >= EXTRA


# Removing


def test_many(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, they go in portions that cannot block the connection."""
    monkeypatch.setattr(requests, "_TOGETHER", 3)
    report, _ = mirror(route)
    assert report.deleted == len(EXTRA)


def test_what_cannot_be_removed_fails(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named; the others are removed. What somebody else has removed is no failure."""

    def refuse(name: str) -> None:
        if name.endswith("/old"):
            raise FileError(Code.DENIED, name, "operation not permitted")
        if name.endswith("/pipe"):
            raise FileError(Code.NOT_FOUND, name, "no such file or folder")

    remove, remove_granted = Folder.remove, granted.remove

    def here(folder: Folder, name: str, **how: Any) -> None:
        refuse(name)
        remove(folder, name, **how)

    def there(grant: Any, name: str, **how: Any) -> None:
        refuse(name)
        remove_granted(grant, name, **how)

    if route.is_up:
        monkeypatch.setattr(granted, "remove", there)
    else:
        monkeypatch.setattr(Folder, "remove", here)
    report, removed = mirror(route)
    assert removed == EXTRA - {"old", "d/old", "pipe"}
    assert set(failures(report).values()) == {"denied"}
    assert report.failed == 2


def entries(*names: str) -> Iterator[Entry]:
    return (Entry(name.rstrip("/"), FOLDER if name.endswith("/") else FILE, 1, 1) for name in names)


def found(source: list[str], target: list[str], judge: Judge | None = None) -> list[str]:
    return extraneous(lambda: entries(*source), entries(*target), judge, Mirror())


def test_other_spellings_of_what_is_there() -> None:
    """A file system may show a file under another name; where both are there, one is too many."""
    assert found(["README", "é", "a"], ["readme", "e\u0301", "a"]) == []
    assert found(["README", "a"], ["readme", "README", "a"]) == ["readme"]
    assert found(["D/x"], ["d/", "d/x", "d/y"]) == ["d/y"]


def test_the_innermost_go_first() -> None:
    """So that each folder is empty when its turn comes."""
    assert found(["k"], ["x/", "x/y/", "x/y/z", "k"]) == ["x/y/z", "x/y", "x"]


def test_nothing_at_the_source() -> None:
    """It is refused by whatever finds out what goes."""
    with pytest.raises(Refusal, match="nothing at the source"):
        found([], ["a"])
