"""What is left out of a transfer: patterns, sizes, times, ignore files and lists of names."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Served, tree_state
from test_hostile_server import file, folder, hostile, sends
from test_transfer import SECOND, TIME, Route, failures, lay

from filexfer import FileError, Filter, IntegrityError, Options, Report, UsageError
from filexfer.choice import filtered_upload
from filexfer.choice.filter import parse_moment, read_names
from filexfer.choice.judge import IGNORE_MAX, Judge
from filexfer.choice.patterns import last_match, rules, rules_of_file
from filexfer.errors import Code
from filexfer.rates import parse_size
from filexfer.shared import pieces
from filexfer.storage.folder import Folder
from filexfer.transfer import questions
from filexfer.transfer.sources import Source, walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Serve = Callable[..., Served]

pytestmark = pytest.mark.usefixtures("no_leftovers")

TREE = (
    *("a.o", "keep.o", "a.py", "build/x.py", "build/deep/y.o", "sub/build/z.py", "sub/b.o"),
    *("sub/c.py", "private/deep/er/d.py", "private/deep/e.o", "other/f.o", "tmp", "sub/tmp/g"),
)


def lay_tree(top: Path) -> None:
    """Lay the files of ``TREE``, each as long as its name, in folders of odd modes and times."""
    for name in TREE:
        lay(top / name, name.encode())
    (top / "hollow" / "deep").mkdir(parents=True)
    (top / "sub" / "link.o").symlink_to("b.o")
    (top / "sub" / "link").symlink_to("c.py")
    os.chmod(top / "private", 0o700)
    os.chmod(top / "private" / "deep" / "er", 0o555)
    for number, (path, _, _) in enumerate(os.walk(top, topdown=False)):
        os.utime(path, ns=(TIME, TIME + number * 10**9))


def taken(*left: str, without: tuple[str, ...] = ()) -> set[str]:
    """Return the names of the tree without some, and without what lies below others."""
    everything = {*TREE, "sub/link.o", "sub/link"}
    for name in TREE:
        everything.update(name.rsplit("/", count)[0] for count in range(1, name.count("/") + 1))
    everything |= {"hollow", "hollow/deep"}
    return {
        name
        for name in everything
        if name not in left and not any(f"{name}/".startswith(f"{top}/") for top in without)
    }


CASES: dict[str, tuple[Filter, set[str]]] = {
    "exclude": (
        Filter(["*.o", "/build", "tmp/"]),
        taken(
            *("a.o", "keep.o", "sub/b.o", "sub/link.o", "private/deep/e.o", "other/f.o"),
            without=("build", "sub/tmp"),
        ),
    ),
    "again": (
        Filter(["*.o", "!keep.o"]),
        taken(*("a.o", "build/deep/y.o", "sub/b.o", "sub/link.o", "private/deep/e.o", "other/f.o")),
    ),
    "include": (
        Filter(["!*.py"]),
        {
            *("a.py", "build", "build/x.py", "sub", "sub/build", "sub/build/z.py", "sub/c.py"),
            *("private", "private/deep", "private/deep/er", "private/deep/er/d.py"),
        },
    ),
    "include folders": (
        Filter(["!tmp", "!/private/deep", "!hollow"]),
        {
            *("tmp", "sub", "sub/tmp", "sub/tmp/g", "private", "private/deep", "private/deep/e.o"),
            *("private/deep/er", "private/deep/er/d.py", "hollow", "hollow/deep"),
        },
    ),
    "not all of it again": (
        Filter(["/private/*", "!/private/deep/er"]),
        taken(without=("private/deep",)),
    ),
    "list": (
        Filter(names=["a.py", "sub/build", "./private//deep/er/d.py"]),
        {
            *("a.py", "sub", "sub/build", "sub/build/z.py", "private", "private/deep"),
            *("private/deep/er", "private/deep/er/d.py"),
        },
    ),
    "list and rules": (
        Filter(["build", "*.o"], names=["sub", "build", "private/deep"]),
        {
            *("sub", "sub/c.py", "sub/link", "sub/tmp", "sub/tmp/g", "private", "private/deep"),
            *("private/deep/er", "private/deep/er/d.py"),
        },
    ),
    "sizes": (
        Filter(min_size=6, max_size=12),
        taken(
            "a.o",
            "a.py",
            "tmp",
            "sub/build/z.py",
            "build/deep/y.o",
            "private/deep/er/d.py",
            "private/deep/e.o",
        ),
    ),
}


@pytest.fixture(params=["up", "down"])
def route(request: pytest.FixtureRequest, serve: Serve, tmp_path: Path) -> Route:
    return Route(request.param, serve(allow=["overwrite"]), tmp_path / "local")


def send(route: Route, chosen: Filter, **how: Any) -> tuple[Report, dict[str, str]]:
    """Transfer the tree; return the report, and what was left out with its reason."""
    report, told = Report(), {}

    def tell(name: str, reason: str) -> None:
        assert name not in told
        told[name.partition("tree/")[2]] = reason

    report.on_left_out = tell
    route.send("tree", to="to/", report=report, filter=chosen, **how)
    assert report.left_out == len(told)
    return report, told


# Patterns

PATTERNS = (
    *("a", "*.o", "/a", "a/", "a/b", "a/**", "a/**/", "**/b", "**/a/", "a/**/b", "*", "*/", "/*"),
    *("/*/", "**", "**/", "**/*", "!a", "!a/", "!*.py", "!*/", "[ab]", "[!a]*", "[[:alpha:]]"),
    *("[[:digit:][:upper:]]*", "[^a]", "a/*", "a/*/b", "/a/**/c.o", r"\!x", r"\#c", "#c", "  "),
    *("a ", r"a\ ", r"a\ b", "b*", "[z-a]", "[a", "é", "*o*", "!b/", "b/", "!a/b/**", "/**", "/"),
    *("//a", "a//b", "**a", "a**", "a/**b", "[]]", "[[]", "a\\", "!**/", "!/**", "***", "a/***"),
    *(
        "x\t",
        "a  ",
        "a\\  ",
        "a\\\\ ",
        "[a",
        "*.[oh]",
        "?a",
        "c.?",
        "!/a/b",
        "!/*",
        "a\r",
        "\ufeffa",
    ),
)


def ignored_by_us(lines: list[str], names: dict[str, bool]) -> set[str]:
    made = rules_of_file("\n".join(lines).encode())
    left: set[str] = set()
    for name in sorted(names):
        rule = last_match(made, name, is_folder=names[name])
        above = name.rpartition("/")[0]
        if above in left or (rule and not rule.is_include):
            left.add(name)
    return left


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_patterns_mean_what_they_mean_to_git(tmp_path: Path) -> None:
    """Every pattern, alone and among others, leaves out what ``git check-ignore`` names."""
    some = random.Random(1)
    parts = ("a", "b", "c.o", "x.py", "A1", "[", "a b", "!x", "#c", "a ", "x\t")
    for _ in range(60):
        path = "/".join(some.choice(parts) for _ in range(some.randint(1, 4)))
        try:
            lay(tmp_path / path)
        except (NotADirectoryError, IsADirectoryError, FileExistsError):
            pass  # another made it already, as something else
    names = {str(path.relative_to(tmp_path)): path.is_dir() for path in tmp_path.rglob("*")}
    assert len(names) > 60
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    cases = [[each] if each[0] != "!" else ["*", each] for each in PATTERNS]
    cases += [some.choices(PATTERNS, k=some.randint(2, 5)) for _ in range(60)]
    for lines in cases:
        (tmp_path / ".gitignore").write_text("\n".join(lines) + "\n", newline="")
        found = subprocess.run(
            ["git", "-C", tmp_path, "check-ignore", "--stdin", "-z", "--no-index"],
            input="\0".join(names),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ignored_by_us(lines, names) == set(found.stdout.split("\0")) - {""}, lines


@pytest.mark.parametrize("name", ["a\nb", "\n", os.fsdecode(b"\xff"), "\u2028"])
def test_patterns_match_odd_names(name: str) -> None:
    """A line's end or a byte that is not UTF-8 is a character as any other."""
    for pattern in ("*", "**/*", "x/**", "/x/*", "?" * len(name), f"x/{name}"):
        assert last_match(rules([pattern]), f"x/{name}", is_folder=False), pattern
    assert not last_match(rules(["a"]), "a\n", is_folder=False)


@pytest.mark.parametrize("pattern", ["a\\", "[z-a]", "!a\\"])
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    """A pattern that cannot match is an error where the user has written it."""
    with pytest.raises(UsageError, match="is no pattern"):
        Filter(["*.o", pattern])


def test_an_exclude_of_everything_at_the_end_is_refused() -> None:
    """It would make the includes before it useless, which other programs' users do not expect."""
    with pytest.raises(UsageError, match="comes last"):
        Filter(["!*.py", "*"])
    Filter(["*", "!*.py"])


# Transfers


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_what_is_taken_arrives_as_it_is(route: Route, case: str, jobs: int) -> None:
    """And nothing else, with all modes and times; a second run sends nothing."""
    chosen, expected = CASES[case]
    lay_tree(route.source / "tree")
    report, told = send(route, chosen, jobs=jobs)
    assert not failures(report)
    found, whole = tree_state(route.target / "to" / "tree"), tree_state(route.source / "tree")
    assert found == {name: whole[name] for name in expected}
    assert (route.target / "to" / "tree").stat().st_mtime_ns == (
        route.source / "tree"
    ).stat().st_mtime_ns
    assert not set(told) & expected
    if chosen.names is None:
        assert {name for name in whole if name not in expected} >= set(told)
    again, _ = send(route, chosen, jobs=jobs)
    assert (again.files, again.left_out, again.failed) == (0, report.left_out, 0)


def test_reasons(route: Route) -> None:
    """Each says what has left the name out; what lies in a folder is not counted besides it."""
    lay_tree(route.source / "tree")
    (route.source / "tree" / "sub" / ".ignored").write_text("# first\n\nc.*\n")
    how = Filter(["*.o", "/build"], ignore_files=[".ignored"], min_size=3, max_size=10)
    _, told = send(route, how)
    assert told == {
        **dict.fromkeys(
            ("a.o", "keep.o", "sub/b.o", "sub/link.o", "private/deep/e.o", "other/f.o"),
            "excluded by '*.o'",
        ),
        "build": "excluded by '/build'",
        "sub/c.py": ".ignored in sub, line 3",
        "sub/build/z.py": "larger than 10 bytes",
        "private/deep/er/d.py": "larger than 10 bytes",
        "sub/.ignored": "larger than 10 bytes",
    }
    assert send(route, Filter(["!*.py"]))[1]["tmp"] == "not included"
    assert send(route, Filter(min_size=1000))[1]["tmp"] == "smaller than 1 kB"
    assert send(route, Filter(newer_than=time.time()))[1]["tmp"] == "not new enough"


@pytest.mark.parametrize("jobs", [1, 3])
def test_newer_than(route: Route, jobs: int) -> None:
    """Only files that were modified after a moment are taken; folders come along."""
    lay(route.source / "tree" / "old", mtime=TIME - SECOND)
    lay(route.source / "tree" / "d" / "new", mtime=TIME + SECOND)
    send(route, Filter(newer_than=TIME / 1e9), jobs=jobs)
    assert set(tree_state(route.target / "to" / "tree")) == {"d", "d/new"}


@pytest.mark.parametrize("jobs", [1, 3])
def test_ignore_files(route: Route, jobs: int) -> None:
    """Each rules its folder and what lies below; the nearest that says something decides."""
    top = route.source / "tree"
    for name in ("a.o", "b.log", "d/a.o", "d/e/a.o", "d/e/b.log", "d/out/x", "out/x", "d/e/f/g.o"):
        lay(top / name)
    lay(top / ".gitignore", b"\xef\xbb\xbf*.o\r\n*.log\r\n/out\n")
    lay(top / "d" / ".gitignore", b"!a.o\nignored in no folder\n/e/f/\n")
    lay(top / "d" / "e" / ".gitignore", b"a.o\n!*.log\n")
    report, _ = send(route, Filter(ignore_files=[".gitignore", ".none"]), jobs=jobs)
    assert not failures(report)
    assert set(tree_state(route.target / "to" / "tree")) == {
        *(".gitignore", "d", "d/.gitignore", "d/e", "d/e/.gitignore"),
        *("d/a.o", "d/out", "d/out/x", "d/e/b.log"),
    }


def test_an_ignore_file_that_cannot_be_heeded(route: Route) -> None:
    """It is told, and what it is about does not go out unfiltered; a link is none."""
    lay(route.source / "tree" / "a")
    lay(route.source / "tree" / "d" / ".gitignore", b"#" * (IGNORE_MAX + 1))
    lay(route.source / "tree" / "d" / "secret")
    (route.source / "tree" / "l").mkdir()
    (route.source / "tree" / "l" / ".gitignore").symlink_to("../a")
    lay(route.source / "tree" / "l" / "data")
    if route.is_up:
        report, _ = send(route, Filter(ignore_files=[".gitignore"]))
        assert failures(report) == {"to/tree/d/.gitignore": "too_large"}
        assert set(tree_state(route.target / "to" / "tree")) >= {"a", "l/data"}
    else:  # without it nothing is fetched
        with pytest.raises(FileError, match=r"tree/d/\.gitignore: is larger") as caught:
            send(route, Filter(ignore_files=[".gitignore"]))
        assert caught.value.code == Code.TOO_LARGE
    assert not list(route.target.rglob("secret"))


def test_what_is_left_out_cannot_fail(route: Route) -> None:
    """A pipe in a folder that is left out is nobody's business."""
    lay(route.source / "tree" / "a")
    (route.source / "tree" / "run").mkdir()
    os.mkfifo(route.source / "tree" / "run" / "pipe")
    os.mkfifo(route.source / "tree" / "pipe.o")
    report, told = send(route, Filter(["/run", "*.o"]))
    assert (report.failed, report.warnings) == (0, [])
    assert "run" in told


def test_folders_that_are_left_out_are_not_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks into them, so they may be as slow or as shut as they like."""
    lay_tree(tmp_path / "tree")
    looked: list[int] = []
    scandir = os.scandir

    def look(fd: int) -> object:
        looked.append(os.fstat(fd).st_ino)
        return scandir(fd)

    monkeypatch.setattr(os, "scandir", look)
    with Folder(tmp_path / "tree") as root:
        source = Source(root, "", "tree", fresh=True)
        filtered_upload.choose([source], Options(filter=Filter(["build"])), ())
        for _ in walk([source], Report(), lambda _: None):
            pass
    top = tmp_path / "tree"
    assert (top / "sub").stat().st_ino in looked
    assert not {(top / "build").stat().st_ino, (top / "sub/build").stat().st_ino} & set(looked)


def test_new_folders_need_questions_too(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks about little at a time asks about all that a new folder has."""
    monkeypatch.setattr(questions, "_ENTRIES_MAX", 2)
    monkeypatch.setattr(questions, "OPEN_MAX", 1)
    lay_tree(route.source / "tree")
    how, expected = CASES["exclude"]
    report, _ = send(route, how)
    assert not failures(report)
    assert set(tree_state(route.target / "to" / "tree")) == expected


def test_files_named_by_themselves(route: Route) -> None:
    """Their last component counts, and their size."""
    for name in ("d/a.py", "d/b.o", "large"):
        lay(route.source / name, name.encode() * 10)
    report = route.send(
        *("d/a.py", "d/b.o", "large"), to="to/", filter=Filter(["/b.o"], min_size=51)
    )
    assert set(tree_state(route.target / "to")) == {"a.py"}
    assert (report.files, report.left_out, report.failed) == (1, 2, 0)


@pytest.mark.parametrize("large", [False, True])
def test_large_files_in_pieces(route: Route, large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left out is left out, whether it would move in pieces or not."""
    monkeypatch.setattr(pieces, "LEAST", 64 << 10)
    data = os.urandom(100_000) if large else b"small"
    for name in ("tree/a.o", "tree/a.py", "tree/d/b.py", "tree/build/c.py", "alone.o", "alone.py"):
        lay(route.source / name, data)
    lay(route.source / "tree" / "little")
    how: dict[str, Any] = {"jobs": 2, "pieces": True, "filter": Filter(["*.o", "build/"])}
    report = route.send("tree", "alone.o", "alone.py", to="to/", **how)
    assert set(tree_state(route.target / "to")) == {
        *("tree", "tree/a.py", "tree/d", "tree/d/b.py", "tree/little", "alone.py")
    }
    assert (report.files, report.left_out, report.failed) == (4, 3, 0)
    report = route.send("alone.o", to="as", **how)
    assert (report.files, report.left_out, report.failed) == (0, 1, 0)
    assert not (route.target / "as").exists()


def test_shares_agree(tmp_path: Path) -> None:
    """However the work is divided, the shares are the whole, and each name is told once."""
    lay_tree(tmp_path / "tree")
    for chosen_here, _ in CASES.values():
        for shares in (1, 2, 5):
            with Folder(tmp_path / "tree") as root:
                source = Source(root, "", "tree", fresh=True)
                missing = filtered_upload.choose([source], Options(filter=chosen_here), ())
                told: list[FileError] = []
                offers: list[str] = []
                for share in range(shares):
                    found = walk([source], Report(), told.append, share=share, shares=shares)
                    offers += [offer.wire_name for offer in found]
                assert {error.code for error in told} <= {Code.LEFT_OUT}
                names = sorted(error.name for error in told)
            if shares == 1:
                whole, whole_names = sorted(offers), names
            assert sorted(offers) == whole
            assert names == whole_names
            assert not missing


def test_with_stats(route: Route) -> None:
    """Where the time went can be measured with a filter too."""
    lay_tree(route.source / "tree")
    report, _ = send(route, Filter(["!*.py"]), stats=True)
    assert report.stats
    assert report.files == 5


# Lists of names


def test_a_list_with_odd_names(route: Route) -> None:
    """Names with line ends, and bytes that are not UTF-8, can be listed; links come as they are."""
    odd = ["a\nb", os.fsdecode(b"\xff"), "你好", " x ", "d/\x1b[31m"]
    for name in [*odd, "other"]:
        lay(route.source / "tree" / name)
    names = read_names("\0".join(odd).encode("utf-8", "surrogateescape") + b"\0", "it", nul=True)
    report, _ = send(route, Filter(names=names))
    assert not failures(report)
    assert set(tree_state(route.target / "to" / "tree")) == {*odd, "d"}


def test_what_is_listed_and_not_there_fails(route: Route) -> None:
    """The others arrive; a name in a folder that is listed too comes once."""
    lay(route.source / "tree" / "a")
    lay(route.source / "tree" / "d" / "b")
    lay(route.source / "tree" / "d" / "c")
    wanted = Filter(names=["a", "gone", "d", "d/b", "a", "a/below", "no/where"])
    report, _ = send(route, wanted, if_exists="overwrite")
    assert {name.partition("tree/")[2] for name in failures(report)} == {
        *("gone", "a/below", "no/where")
    }
    assert (report.files, report.skipped) == (3, 0)


def test_a_list_that_has_the_source_itself(route: Route) -> None:
    """A dot means all of it."""
    lay_tree(route.source / "tree")
    send(route, Filter(names=["."]))
    assert tree_state(route.target / "to" / "tree") == tree_state(route.source / "tree")


def test_a_list_of_anything_but_one_folder_is_refused(route: Route) -> None:
    """A file has nothing in it, and of two folders nobody knows which is meant."""
    lay(route.source / "file")
    lay(route.source / "d" / "a")
    lay(route.source / "e" / "a")
    for names in (["file"], ["d", "e"]):
        with pytest.raises(UsageError, match="one folder"):
            route.send(*names, to="to/", filter=Filter(names=["a"]))
    assert not (route.target / "to").exists()


@pytest.mark.parametrize(
    ("data", "nul", "text"),
    [
        (b"a\n/etc/passwd\n", False, "list, line 2: '/etc/passwd' is absolute"),
        (b"a\n\nb/../../c", False, "list, line 3: 'b/../../c' leads out"),
        (b"a\0..", True, "list, name 2: '..' leads out"),
        (b"a\nb\0c\n", False, "line 2.*for names that end with NUL: -0"),
        (b"x" * 300, False, "line 1.* longer"),
        (b".fx-1", False, "kept for temporary files"),
        (b"\x1b/../x", False, r"'\\x1b/../x' leads out"),
    ],
)
def test_lists_that_are_refused(data: bytes, nul: bool, text: str) -> None:
    """What leads out of the folder, or cannot be a name, is named with its line."""
    with pytest.raises(UsageError, match=text) as caught:
        read_names(data, "list", nul=nul)
    assert str(caught.value).isprintable()


# A server that does not heed the answers


@pytest.mark.parametrize(
    "items",
    [
        [file("d/x.o")],
        [folder("d/build")],
        [folder("d/build"), file("d/build/x")],
        [folder("d/sub"), file("d/sub/y.o")],
    ],
)
def test_a_server_that_sends_what_is_left_out(items: list[bytes], tmp_path: Path) -> None:
    """It is found out, and nothing of it is there."""
    into = tmp_path / "into"
    how = Options(retries=0, filter=Filter(["*.o", "build/"]))
    with (
        hostile(sends(folder("d"), *items, kind="folder")) as client,
        pytest.raises(IntegrityError, match="was not asked for"),
    ):
        client.get(["d"], into, how)
    assert set(tree_state(into)) <= {"d", "d/sub"}


def test_a_server_that_names_what_belongs_to_nothing(tmp_path: Path) -> None:
    """It is found out as without a filter."""
    with (
        hostile(sends(file("e/x"), kind="folder")) as client,
        pytest.raises(IntegrityError, match="was not asked for"),
    ):
        client.get(["d"], tmp_path / "into", Options(retries=0, filter=Filter(["*.o"])))


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 910.0),
        ("15m", 100.0),
        ("0d", 1000.0),
        ("1970-01-01T00:01:00+00:00", 60.0),
        ("1970-01-01T00:01:00Z", 60.0),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    """An age counts back from now; a date is what ISO 8601 says."""
    assert parse_moment(text, 1000.0) == seconds


def test_a_date_without_a_zone_is_local() -> None:
    """As people mean it."""
    assert parse_moment("2026-01-31T12:00", 0) == time.mktime((2026, 1, 31, 12, 0, 0, 0, 0, -1))
    assert parse_moment("2026-01-31", 0) == time.mktime((2026, 1, 31, 0, 0, 0, 0, 0, -1))


@pytest.mark.parametrize(
    "text", ["", "d", "2", "-1d", "2y", "²d", "1" * 12 + "d", "tomorrow", "1d "]
)
def test_wrong_moments(text: str) -> None:
    """Anything else is refused, with examples."""
    with pytest.raises(UsageError, match="2026-01-31"):
        parse_moment(text, 1000.0)


def test_sizes() -> None:
    """Sizes are written as rates are, but without bits and seconds."""
    assert (parse_size("500K"), parse_size("20MB"), parse_size("1KiB")) == (
        512_000,
        20_000_000,
        1024,
    )
    for text in ("80Mbit", "20MB/s", "much"):
        with pytest.raises(UsageError, match="is no size"):
            parse_size(text)


@pytest.mark.parametrize(
    "how",
    [
        {"min_size": 2, "max_size": 1},
        {"min_size": -1},
        {"ignore_files": ["a/b"]},
        {"ignore_files": [""]},
        {"names": ["/a"]},
    ],
)
def test_filters_that_make_no_sense(how: dict[str, Any]) -> None:
    """They are refused before anything is asked of a server."""
    with pytest.raises(UsageError):
        Filter(**how)


def test_the_judge_forgets_and_finds_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many folders there are, few are remembered, and all are judged the same."""
    monkeypatch.setattr("filexfer.choice.judge._FOLDERS_MAX", 2)
    files = {"a/.i": b"x\n", "a/b/.i": b"!x\n"}
    judge = Judge(Filter(["no"], ignore_files=[".i"]), files.get)
    for _ in range(2):
        assert judge.other("a/x").reason == ".i in a, line 1"
        assert judge.other("a/b/x").is_taken
        assert judge.other("a/no/b/c/d").is_left
        assert judge.other("c/d/e/x").is_taken
        assert len(judge._folders) <= 2
        assert len(judge._ignore_rules) <= 2
