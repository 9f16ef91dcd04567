"""Names: what a peer may call a file, where a link may point, and what a terminal gets to see."""

from __future__ import annotations

import itertools
import os
import unicodedata
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filexfer import names
from filexfer.names import BadName

if TYPE_CHECKING:
    from pathlib import Path

# Names as bytes on disk, so that those that are not UTF-8 occur too.
on_disk = st.binary(max_size=300).map(os.fsdecode)
pieces = st.sampled_from(
    [
        "a",
        "b.c",
        ".",
        "..",
        "...",
        "",
        ".fx-1",
        ".FX-",
        ".fx",
        "é",
        "\udcff",
        "\ud800",
        "\0",
        "x" * 256,
    ]
)
built = st.lists(pieces, max_size=70).map("/".join)
any_name = st.one_of(on_disk, built, st.text(max_size=50))

DIGEST = "xxh3_128:3f9a1c7e00112233445566778899aabb"


def is_good(name: str) -> bool:
    try:
        names.split(name)
    except BadName:
        return False
    return True


# The corpus of traversals

BAD = [
    *("../x", "a/../../x", "/x", "//x", "./x", "a//b", "a/", ".", "..", "a/.", "a/..", "/", "//"),
    *("../", "./", "a/./b", "a/../b", "/etc/passwd", "a/b/../../../c", "x/..", "..//x"),
]
LITERAL = [
    *("...", "..\\x", "C:\\x", "C:x", "\\\\s\\h", "\\", "%2e%2e", "%2e%2e%2fx", "..%2fx", "%2e./x"),
    *("..;", ".. ", " ..", "~", "~/x", "$HOME", "-rf", "a\\..\\b", "..\u2215x", "\uff0e\uff0e"),
]


@pytest.mark.case("B1")
@pytest.mark.parametrize("name", BAD)
def test_traversals_are_refused(name: str) -> None:
    """B1: what could lead anywhere but down is no name."""
    with pytest.raises(BadName):
        names.split(name)


@pytest.mark.case("B1")
@pytest.mark.parametrize("name", LITERAL)
def test_lookalikes_are_ordinary_names(name: str) -> None:
    """B1: nothing is decoded: backslashes, percent signs and other dots mean themselves."""
    assert names.split(name) == name.split("/")


@pytest.mark.case("B1")
@pytest.mark.parametrize("most", [5, pytest.param(7, marks=pytest.mark.slow)])
def test_products_stay_inside(most: int) -> None:
    """B1: of all products of these pieces each is refused, or names something below the root."""
    refused = kept = 0
    for length in range(1, most + 1):
        for each in itertools.product(("%", "25", "2e", "2f", ".", "/", "\\"), repeat=length):
            name = "".join(each)
            if is_good(name):
                kept += 1
                assert os.path.normpath(f"/root/{name}") == f"/root/{name}"
            else:
                refused += 1
    assert refused > 1000
    assert kept > 1000


@given(any_name)
def test_a_good_name_is_its_path(name: str) -> None:
    """A name that passes is already normal: joined to a root it says where it lies."""
    if is_good(name) and name:
        assert os.path.normpath(f"/root/{name}") == f"/root/{name}"
        assert b"\0" not in os.fsencode(name)


# Components


def test_the_root() -> None:
    """The empty name is the root and has no components; it has no last one either."""
    assert names.split("") == []
    with pytest.raises(BadName):
        names.locate("")


@pytest.mark.case("B5")
@pytest.mark.parametrize(
    "part", [".fx-", ".fx-1", ".FX-1", ".Fx-1.part", ".fX-" + "0" * 200, ".fx-é", ".fx-\udcff"]
)
def test_reserved(part: str) -> None:
    """B5: names of temporary files belong to filexfer, in any case of letters, at any depth."""
    assert names.is_reserved(part)
    for name in (part, f"a/{part}", f"{part}/a"):
        with pytest.raises(BadName):
            names.split(name)


@pytest.mark.parametrize(
    "part", [".fx", ".fxx-", "fx-", "..fx-", " .fx-", ".f-x", ".fx_1", "a.fx-1"]
)
def test_not_reserved(part: str) -> None:
    """Only the whole prefix reserves a name."""
    assert not names.is_reserved(part)
    assert names.split(part) == [part]


@pytest.mark.case("A17")
@pytest.mark.parametrize("part", ["a\0b", "\0", "a/b"])
def test_no_nul_or_slash_in_a_component(part: str) -> None:
    """A17: what the system cannot write as one component is refused."""
    with pytest.raises(BadName):
        names.check_part(part)


@pytest.mark.case("A17")
@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC00, 0xDC7F, 0xDD00, 0xDFFF])
def test_half_a_surrogate_pair(code: int) -> None:
    """A17: a surrogate that stands for no byte is refused, wherever it is."""
    half = chr(code)
    for name in (half, f"a{half}b", f"{half}/a", f"a/{half}", "x/" * 30 + half, half + "x" * 250):
        with pytest.raises(BadName, match="surrogate"):
            names.split(name)


@pytest.mark.parametrize("byte", [0x80, 0x9B, 0xFF])
def test_bytes_that_are_not_utf8(byte: int) -> None:
    """A byte that is not UTF-8 may be in a name."""
    name = os.fsdecode(b"a" + bytes([byte]))
    assert names.split(name) == [name]


@pytest.mark.case("B2")
@pytest.mark.parametrize(
    "part", ["\x1b[31m", "\r\n", "\t", "\x7f", "\x9b", "\u202e", "\u200b", "\u2028"]
)
def test_control_characters_are_legal(part: str) -> None:
    """B2: such a file can be copied; it is what is shown that is escaped."""
    assert names.split(part) == [part]


@pytest.mark.case("B3")
@pytest.mark.parametrize("part", ["CON", "nul.txt", "COM1", "LPT\u00b9", "x.", "x ", "a:b", "a*?"])
def test_names_of_other_systems_are_legal(part: str) -> None:
    """B3: what only another system cannot write is no reason to refuse."""
    assert names.split(part) == [part]


# Limits


@pytest.mark.case("B4")
@pytest.mark.parametrize(
    ("unit", "size"), [("a", 1), ("é", 2), ("€", 3), ("\U0001f600", 4), ("\udcff", 1)]
)
def test_component_limit(unit: str, size: int) -> None:
    """B4: a component has at most 255 bytes, not characters."""
    longest = unit * (255 // size)
    fill = "a" * (255 - size * len(longest))
    assert names.split(longest + fill) == [longest + fill]
    assert names.locate(longest + fill) == ("", longest + fill)
    for check in (names.split, names.locate, names.check_part):
        with pytest.raises(BadName, match="255"):
            check(longest + fill + "a")


@pytest.mark.case("B4")
@pytest.mark.parametrize("unit", ["a", "é", "\U0001f600", "\udcff"])
def test_name_limit(unit: str) -> None:
    """B4: a name has at most 1,024 bytes."""
    size = len(unit.encode("utf-8", "surrogateescape"))
    part = unit * (200 // size)
    name = "/".join([part] * 5)  # 1,004 bytes
    assert is_good(name + "/" + "b" * 19)
    assert names.locate(name + "/" + "b" * 19) == (name, "b" * 19)
    for check in (names.split, names.locate):
        with pytest.raises(BadName, match="1024"):
            check(name + "/" + "b" * 20)


@pytest.mark.case("B4")
def test_depth_limit() -> None:
    """B4: a name has at most 64 components."""
    deepest = "/".join("d" * 64)
    assert len(names.split(deepest)) == 64
    assert names.locate(deepest) == ("/".join("d" * 63), "d")
    for check in (names.split, names.locate):
        for more in (1, 236):
            with pytest.raises(BadName, match="64"):
                check(deepest + "/d" * more)


# The quick way


def located(name: str) -> list[str]:
    """Take a name apart by ``locate`` alone, as the storage does."""
    parts = []
    while name:
        name, part = names.locate(name)
        parts.append(part)
    return parts[::-1]


@given(any_name)
@example("/x")
@example("a//b")
@example("/".join("d" * 65))
@example("x" * 256 + "/a")
@example("\ud800/a")
def test_split_and_locate_agree(name: str) -> None:
    """Going up by ``locate`` finds the same components as ``split``, or also refuses."""
    try:
        parts = names.split(name)
    except BadName:
        with pytest.raises(BadName):
            located(name)
    else:
        assert located(name) == parts
        assert "/".join(parts) == name


@given(any_name.filter(is_good), any_name.filter(is_good))
def test_join(folder: str, part: str) -> None:
    """``join`` puts a slash only between two names."""
    assert names.split(names.join("", part)) == names.split(part)
    assert names.join(folder, "") == folder
    if folder and part:
        assert names.join(folder, part).split("/") == folder.split("/") + part.split("/")


# Derived names


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("photo.jpg", "photo~3f9a1c7e.jpg"),
        ("photo", "photo~3f9a1c7e"),
        ("a.tar.gz", "a.tar~3f9a1c7e.gz"),
        (".bashrc", ".bashrc~3f9a1c7e"),
        (".config.json", ".config~3f9a1c7e.json"),
        ("a.", "a~3f9a1c7e."),
        ("...", "..~3f9a1c7e."),
        (".fx", ".fx~3f9a1c7e"),
        ("x" * 255, "x" * 246 + "~3f9a1c7e"),
        ("x" * 255 + ".jpg", "x" * 242 + "~3f9a1c7e.jpg"),
        ("é" * 127, "é" * 123 + "~3f9a1c7e"),
        ("a." + "s" * 253, "a." + "s" * 244 + "~3f9a1c7e"),
        ("a." + "s" * 244, "a~3f9a1c7e." + "s" * 244),
        ("a." + "s" * 245, "a." + "s" * 244 + "~3f9a1c7e"),
        ("\udcff.jpg", "\udcff~3f9a1c7e.jpg"),
        ("\udcff" * 255, "\udcff" * 246 + "~3f9a1c7e"),
    ],
)
def test_derived(part: str, expected: str) -> None:
    """The mark stands before the suffix; what is too long is cut before the mark."""
    assert names.derived(part, DIGEST) == expected


parts = any_name.filter(lambda name: is_good(name) and name and "/" not in name)


@given(parts, st.sampled_from([DIGEST, "md5:00000000ffff"]))
@example("a." + "s" * 244, DIGEST)
@example("a." + "s" * 245, DIGEST)
@example("\U0001f600." + "s" * 244, DIGEST)
def test_derived_is_a_name(part: str, digest: str) -> None:
    """It is a name again, always the same, never the old one, and says the digest."""
    derived = names.derived(part, digest)
    names.check_part(derived)
    assert derived == names.derived(part, digest)
    assert derived != part
    assert "~" + digest.partition(":")[2][:8] in derived
    assert os.fsdecode(os.fsencode(derived)) == derived


# Links


@pytest.mark.parametrize(
    ("name", "target", "stays"),
    [
        ("link", "file", True),
        ("link", "folder/file", True),
        ("link", "./file", True),
        ("link", "folder//file/", True),
        ("link", ".", True),
        ("link", "...", True),
        ("link", "..", False),
        ("link", "../file", False),
        ("link", "./../file", False),
        ("link", "a/../../file", False),
        ("link", "a/..", False),
        ("link", "", False),
        ("link", "/", False),
        ("link", "/etc/passwd", False),
        ("link", "a\0b", False),
        ("a/link", "..", True),
        ("a/link", "../b", True),
        ("a/link", "./.././b", True),
        ("a/link", "../..", False),
        ("a/link", "../../b", False),
        ("a/link", "b/../c", False),
        ("a/b/link", "../../c", True),
        ("a/b/link", "../../../c", False),
        ("link", "\udcff", True),
    ],
)
def test_link(name: str, target: str, stays: bool) -> None:
    """A link may climb as far as its own depth, and only at its beginning."""
    assert names.link_stays_inside(name, target) is stays


@pytest.mark.parametrize(
    ("name", "target", "root", "stays"),
    [
        ("dst/link", "file", "dst", True),
        ("dst/link", "../file", "dst", False),
        ("dst/a/link", "../file", "dst", True),
        ("dst/a/link", "../../file", "dst", False),
        ("x/y/a/link", "../file", "x/y", True),
        ("x/y/a/link", "../../file", "x/y", False),
    ],
)
def test_link_below_a_root(name: str, target: str, root: str, stays: bool) -> None:
    """What counts is the depth below the folder that is sent."""
    assert names.link_stays_inside(name, target, root) is stays


FOLDERS = ("", "a/", "a/b/", "a/b/c/", "d/")
link_names = st.tuples(st.sampled_from(FOLDERS), st.sampled_from("lmn")).map("".join)
targets = st.lists(
    st.sampled_from(["..", ".", "", "a", "b", "c", "d", "l", "m", "n"]), min_size=1, max_size=5
).map("/".join)


def test_links_that_stay_inside_do(tmp_path: Path) -> None:
    """However many such links lead through one another, the system finds no way out of the root."""
    # Outside, at every height, lies something of each name, so that a way out leads somewhere.
    for folder in ("", "1", "1/2"):
        for name in "abcdlmn":
            (tmp_path / folder / name).mkdir(parents=True)
    root = os.path.realpath(tmp_path / "1/2/root")
    for folder in FOLDERS:
        os.makedirs(f"{root}/{folder}", exist_ok=True)

    @settings(max_examples=300)
    @given(st.dictionaries(link_names, targets, min_size=1, max_size=6))
    @example({"l": "d/l", "d/l": "../a/m", "a/m": ".."})
    @example({"a/b/l": "../..", "a/m": "b/l", "l": "a/m/d"})
    @example({"l": "a/b", "m": "l/../../l"})
    def check(links: dict[str, str]) -> None:
        made = [name for name in links if names.link_stays_inside(name, links[name])]
        for name in made:
            os.symlink(links[name], f"{root}/{name}")
        try:
            for name in made:
                found = resolved(f"{root}/{name}")
                assert found is None or found == root or found.startswith(root + "/")
        finally:
            for name in made:
                os.unlink(f"{root}/{name}")

    check()


def resolved(path: str) -> str | None:
    """Return where *path* leads, or None if that is nowhere or in a circle."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError:
        return None


# What is shown


def is_harmless(character: str) -> bool:
    return character in "\u200c\u200d" or unicodedata.category(character) not in (
        *("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"),
    )


@given(st.one_of(any_name, st.text(st.characters(), max_size=80)))
@example("\u202egpj.exe")
def test_shown_is_harmless(text: str) -> None:
    """I7: nothing that is shown can move the cursor, turn the writing or break the line."""
    shown = names.shown(text)
    assert all(map(is_harmless, shown))
    assert len(shown.splitlines()) <= 1
    shown.encode()


@pytest.mark.case("B2")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain name.txt", "plain name.txt"),
        ("größe 你好 \U0001f600", "größe 你好 \U0001f600"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc\x7f", "a\\x0d\\x0ab\\x09c\\x7f"),
        ("\u202e", "\\u202e"),
        ("\u200b\u2028", "\\u200b\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
    ],
)
def test_shown(text: str, expected: str) -> None:
    """B2: what is dangerous appears as an escape, everything else as it is."""
    assert names.shown(text) == expected


@pytest.mark.case("C18")
@given(st.text(max_size=40), st.integers(3, 20))
@example("x" * 20, 20)
@example("x" * 21, 20)
@example("\x1b" * 6, 20)
def test_shown_is_bounded(text: str, limit: int) -> None:
    """C18: what is too long is cut, dots included."""
    shown = names.shown(text, limit)
    assert len(shown) <= limit
    whole = names.shown(text, 1000)
    assert shown == whole or (shown.endswith("...") and whole.startswith(shown[:-3]))


@pytest.mark.case("C18")
def test_shown_by_default() -> None:
    """C18: 500 characters of a peer's text are enough."""
    assert len(names.shown("x" * 10_000)) == 500
    assert names.shown("x" * 500) == "x" * 500
