"""What lands where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filexfer.entry import FILE, FOLDER, LINK, Entry
from filexfer.errors import IntegrityError
from filexfer.transfer.landing import QUESTIONS_MAX, Placement, Upload, last_part, needs_folder


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("a", "a"),
        ("a/b", "b"),
        ("/a/b", "b"),
        ("a/", ""),
        ("a/b/", ""),
        ("", ""),
        ("/", ""),
        (".", ""),
        ("..", ""),
        ("a/.", ""),
        ("a/..", ""),
        ("...", "..."),
        (".a", ".a"),
    ],
)
def test_last_part(path: str, part: str) -> None:
    """A slash at the end, or no name at all, means the contents."""
    assert last_part(path) == part


@pytest.mark.parametrize(
    ("paths", "destination", "needed"),
    [
        (["a"], "b", False),
        (["a"], "b/", True),
        (["a"], "", True),
        (["a"], ".", True),
        (["a"], "..", True),
        (["a"], "b/..", True),
        (["a"], "/", True),
        (["a"], "b..", False),
        (["a", "b"], "c", True),
    ],
)
def test_needs_folder(paths: list[str], destination: str, needed: bool) -> None:
    """Several sources, or how the destination is written, make it a folder."""
    assert needs_folder(paths, destination) is needed


F, D = False, True  # whether a source is a folder


@pytest.mark.parametrize(
    ("paths", "are_folders", "destination", "there", "expected"),
    [
        (["f"], [F], "dst", None, ["dst"]),
        (["f"], [F], "dst", FILE, ["dst"]),
        (["f"], [F], "dst", LINK, ["dst"]),
        (["f"], [F], "dst", FOLDER, ["dst/f"]),
        (["f"], [F], "dst/", None, ["dst/f"]),
        (["f"], [F], "dst/", FILE, ["dst/f"]),
        (["x/f"], [F], "", None, ["f"]),
        (["x/f"], [F], "/", None, ["f"]),
        (["x/f"], [F], "/dst", None, ["dst"]),
        (["x/f"], [F], "a/b/c", None, ["a/b/c"]),
        (["x/d"], [D], "dst", None, ["dst/d"]),
        (["x/d"], [D], "dst", FOLDER, ["dst/d"]),
        (["x/d"], [D], "dst/", None, ["dst/d"]),
        (["x/d"], [D], "", None, ["d"]),
        (["x/d/"], [D], "dst", None, ["dst"]),
        (["x/d/"], [D], "dst", FOLDER, ["dst"]),
        (["x/d/"], [D], "", None, [""]),
        (["."], [D], "dst", None, ["dst"]),
        ([".."], [D], "dst", None, ["dst"]),
        (["f", "g"], [F, F], "dst", None, ["dst/f", "dst/g"]),
        (["f", "d"], [F, D], "dst", FOLDER, ["dst/f", "dst/d"]),
        (["f", "d/"], [F, D], "dst", None, ["dst/f", "dst"]),
        (["f", "g"], [F, F], "", None, ["f", "g"]),
    ],
)
def test_upload(
    paths: list[str],
    are_folders: list[bool],
    destination: str,
    there: str | None,
    expected: list[str],
) -> None:
    """A folder lands in the destination, its contents as the destination, a file as or in it."""
    mapping = Upload(paths, are_folders, destination)
    target = destination.strip("/")
    entries: dict[str, Entry | None] = dict.fromkeys(mapping.questions)
    if target in entries and there:
        entries[target] = Entry(target, there)
    assert mapping.resolve(entries) == expected


def test_upload_when_nothing_may_be_known() -> None:
    """To a server that answers no questions a file lands as the destination."""
    assert Upload(["f"], [False], "dst").resolve({}) == ["dst"]


def test_upload_asks_about_its_targets() -> None:
    """The names that decide are asked for in one go, and not without bound."""
    assert Upload(["f"], [False], "dst").questions == ["dst", "dst/f"]
    assert Upload(["d"], [True], "dst").questions == ["dst/d"]
    many = [f"f{index}" for index in range(1000)]
    assert len(Upload(many, [False] * 1000, "dst").questions) == QUESTIONS_MAX


@pytest.mark.parametrize(
    ("paths", "are_folders", "destination", "landed"),
    [
        (["f"], [False], "dst", ("dst", False)),
        (["f"], [False], "dst/", ("dst/f", False)),
        (["d"], [True], "dst", ("dst/d", True)),
        (["d/"], [True], "dst", ("dst", True)),
        (["f", "g"], [False, False], "dst", ("dst", True)),
        (["f", "g"], [False, False], "", ("", True)),
    ],
)
def test_landed(
    paths: list[str], are_folders: list[bool], destination: str, landed: tuple[str, bool]
) -> None:
    """The report says where it all is: as a file, or as a folder."""
    mapping = Upload(paths, are_folders, destination)
    mapping.resolve({})
    assert mapping.landed == landed


@pytest.mark.parametrize(
    ("targets", "name", "local"),
    [
        ({"f": "f"}, "f", "f"),
        ({"f": "g"}, "f", "g"),
        ({"a/b/f": "f"}, "a/b/f", "f"),
        ({"a/d": "d"}, "a/d", "d"),
        ({"a/d": "d"}, "a/d/x", "d/x"),
        ({"a/d": "d"}, "a/d/x/y/z", "d/x/y/z"),
        ({"a/d": ""}, "a/d", ""),
        ({"a/d": ""}, "a/d/x", "x"),
        ({"a/d": ""}, "a/d/x/y", "x/y"),
        ({"": ""}, "x", "x"),
        ({"": ""}, "x/y", "x/y"),
        ({"": "t"}, "x", "t/x"),
        ({"d": "d", "d/e": "e"}, "d/e/x", "e/x"),
        ({"d": "d", "d/e": "e"}, "d/x", "d/x"),
    ],
)
def test_placement(targets: dict[str, str], name: str, local: str) -> None:
    """What was asked for, and what lies below it, lands below its target."""
    place = Placement(targets)
    assert place(name) == local
    assert place(name) == local  # also when its folder is known already


@pytest.mark.case("C1", "C7")
@pytest.mark.parametrize(
    ("targets", "name"),
    [
        ({"a": "a"}, "b"),
        ({"a": "a"}, "b/a"),
        ({"a": "a"}, "aa"),
        ({"a": "a"}, "aa/x"),
        ({"a": "a"}, "A"),
        ({"a": "a"}, ""),
        ({"a": "a"}, "/a"),
        ({"a": "a"}, "../a"),
        ({"a": "a"}, "./a"),
        ({"a/b": "b"}, "a"),
        ({"a/b": "b"}, "a/c"),
        ({"a/b": "b"}, "b"),
        ({}, "a"),
        ({}, ""),
    ],
)
def test_unasked(targets: dict[str, str], name: str) -> None:
    """C1, C7: what was not asked for has no place."""
    place = Placement(targets)
    for _ in range(2):
        with pytest.raises(IntegrityError, match="not asked for"):
            place(name)


@pytest.mark.case("C2")
@pytest.mark.parametrize("name", ["/x", "//x", "/etc/passwd", "x/", "x//y", "/", "//"])
@pytest.mark.parametrize("target", ["", "t"])
def test_no_name_is_bent_into_shape(name: str, target: str) -> None:
    """C2: where everything was asked for, an absolute or doubled slash is not made good."""
    try:
        local = Placement({"": target})(name)
    except IntegrityError:
        return
    assert local.removeprefix(target + "/" if target else "") == name


parts = st.sampled_from(["a", "b", "c", "dd"])
paths = st.lists(parts, min_size=1, max_size=5).map("/".join)


@given(st.dictionaries(paths, parts, min_size=1, max_size=4), st.lists(paths, max_size=20))
def test_placement_is_a_prefix_rule(targets: dict[str, str], names: list[str]) -> None:
    """The nearest name above that was asked for decides, whatever was placed before."""
    place = Placement(targets)
    for name in names:
        above = [each for each in targets if name == each or name.startswith(each + "/")]
        if above:
            nearest = max(above, key=len)
            assert place(name) == targets[nearest] + name[len(nearest) :]
        else:
            with pytest.raises(IntegrityError):
                place(name)


def test_placement_forgets() -> None:
    """The folders that were met lately are remembered, but not all of them for ever."""
    place = Placement({"d": "t"})
    for index in range(3000):
        assert place(f"d/{index}/x") == f"t/{index}/x"
    assert len(place._folders) <= 1001
