"""Reading and checking JSON objects."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filexfer.entry import Entry
from filexfer.wire import schema
from filexfer.wire.schema import (
    CHECKS,
    ITEMS_MAX,
    SECRET_MAX,
    SIZE_MAX,
    TEXT_MAX,
    WORD_MAX,
    SchemaError,
    read_object,
)

if TYPE_CHECKING:
    from random import Random

    from filexfer.wire.schema import (
        Algorithm,
        Digest,
        Flag,
        Mode,
        Name,
        Refusal,
        Size,
        Text,
        Time,
        Word,
    )


class Sample(schema.Message, kind="sample"):
    """A message with every type of field; it is not one of the protocol's."""

    name: Name
    size: Size | None = None
    mtime: Time = 0
    mode: Mode = 0o644
    flag: Flag = False
    word: Word = ""
    text: Text = ""
    hash: Digest = ""
    algorithm: Algorithm = "md5"
    words: list[Word]
    names: list[Name]
    entries: list[Entry]
    refused: list[Refusal]


# One JSON object and nothing else


@pytest.mark.case("A7", "A15")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b'{"a"',
        b'{"a":',
        b'{"a":1',
        b'{"a":1,',
        b'{"a":1,}',
        b'{"a" 1}',
        b"{a:1}",
        b"{'a':1}",
        b'{"a":1} x',
        b'{"a":1}{"b":2}',
        b'{"a":1}\0',
        b'{"a":1}\xc2\xa0',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12"}',
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":0x10}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":[NaN]}',
        b'{"a":True}',
        b"[]",
        b'[{"a":1}]',
        b'"a"',
        b"5",
        b"null",
        b"true",
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_no_object(data: bytes) -> None:
    """A7, A15: everything but one JSON object is refused."""
    with pytest.raises(SchemaError):
        read_object(data)


@pytest.mark.case("A8")
@pytest.mark.parametrize(
    "encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7"]
)
def test_other_encodings(encoding: str) -> None:
    """A8: JSON in anything but UTF-8, or with a byte order mark, is refused."""
    text = '{"a":"+é"}'
    if encoding == "utf-7":
        assert read_object(text.encode(encoding)) != {"a": "+é"}  # read as UTF-8
        return
    with pytest.raises(SchemaError):
        read_object(text.encode(encoding))


@pytest.mark.case("A9")
@pytest.mark.parametrize(
    "junk", [b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"]
)
def test_invalid_utf8(junk: bytes) -> None:
    """A9: bytes that are not strict UTF-8 are refused, overlong forms and surrogates too."""
    for data in (b'{"a":"' + junk + b'"}', b'{"' + junk + b'":1}', junk, b"{}" + junk):
        with pytest.raises(SchemaError, match="UTF-8"):
            read_object(data)


@pytest.mark.case("A10")
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_deep_nesting(opening: bytes) -> None:
    """A10: what nests too deeply is refused, and the thread lives."""
    with pytest.raises(SchemaError):
        read_object(b'{"a":' + opening * (65_000 // len(opening)))
    with pytest.raises(SchemaError, match="nest"):
        read_object(b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}")


@pytest.mark.case("A11")
def test_long_numbers() -> None:
    """A11: a number of 5,000 digits is refused; one of 4,000 is no size."""
    with pytest.raises(SchemaError):
        read_object(b'{"a":' + b"9" * 5000 + b"}")
    members = read_object(b'{"a":' + b"9" * 4000 + b"}")
    with pytest.raises(ValueError, match="whole number"):
        CHECKS["Size"](members["a"])


@pytest.mark.case("A26")
def test_large_headers() -> None:
    """A26: the largest frame of spaces, or of members, is just an object."""
    assert read_object(b"{" + b" " * 65_534 + b"}") == {}
    assert read_object(b"{}" + b" \t\r\n" * 16_383) == {}
    many = {f"{index:04}": 1 for index in range(8000)}
    assert read_object(json.dumps(many, separators=(",", ":")).encode()) == many


def test_a_view_will_do() -> None:
    """A header is read where it lies in the buffer."""
    assert read_object(memoryview(b'xx{"a":1}xx')[2:-2]) == {"a": 1}


# No member twice

Pairs = list[tuple[str, Any]]

keys = st.sampled_from(["a", "b", "", ":", " ", '":', ",", "\\", "é"]) | st.text(
    st.characters(codec="utf-8", max_codepoint=0xFFFF), max_size=2
)
scalars = st.none() | st.booleans() | st.integers(-99, 99) | keys
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(st.tuples(keys, inner), max_size=3).map(tuple)
    ),
    max_leaves=6,
)
objects = st.lists(st.tuples(keys, values), max_size=4)


def has_twins(value: Any) -> bool:
    """Tell whether an object in *value* has a member twice; objects are tuples of pairs."""
    if isinstance(value, list):
        return any(map(has_twins, value))
    if not isinstance(value, tuple):
        return False
    names = [name for name, _ in value]
    return len(set(names)) < len(names) or any(has_twins(each) for _, each in value)


def meant(value: Any) -> Any:
    """Return what *value* is as JSON."""
    if isinstance(value, list):
        return list(map(meant, value))
    return {name: meant(each) for name, each in value} if isinstance(value, tuple) else value


def written(value: Any, random: Random) -> str:
    """Write *value* with spaces and escapes wherever JSON allows them."""

    def space() -> str:
        return random.choice(["", "", "", " ", "\t", "\n", "\r\n"])

    if isinstance(value, str):
        if random.random() < 0.3:
            return '"' + "".join(f"\\u{ord(each):04x}" for each in value) + '"'
        return json.dumps(value, ensure_ascii=random.random() < 0.5)
    if isinstance(value, list):
        items = [space() + written(each, random) + space() for each in value]
        return "[" + ",".join(items) + "]"
    if isinstance(value, tuple):
        items = [
            space() + written(name, random) + space() + ":" + space() + written(each, random)
            for name, each in value
        ]
        return "{" + ",".join(items) + space() + "}"
    return json.dumps(value)


@pytest.mark.case("A13")
@settings(max_examples=300)
@given(objects, st.randoms(use_true_random=False))
def test_twins(pairs: Pairs, random: Random) -> None:
    """A13: an object is refused exactly if it, or one inside it, has a member twice."""
    value = tuple(pairs)
    data = written(value, random).encode()
    if has_twins(value):
        with pytest.raises(SchemaError, match="twice"):
            read_object(data)
    else:
        assert read_object(data) == meant(value)


@pytest.mark.case("A13")
@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":1,"a":2}',
        '{"a":1, "a":2}',
        '{"a":1,"a" :2}',
        '{"a" :1,"a":2}',
        '{"a" :1,"a" :2}',
        '{"a"\t:1,"a":2}',
        '{"a"\n:1,"a":2}',
        '{"a"\r:1,"a":2}',
        '{"a":1,"\\u0061":2}',
        '{"\\u0061":1,"\\u0061":2}',
        '{"a":1,"b":":","a" :2}',
        '{"a" :1,"a" :2,"b":3}',
        '{"a" :1,"a" :2,"b" :{"c":1,"d":2}}',
        '{"":1,"":2}',
        '{":":1,":":2}',
        '{"b":{"a":1,"a":2}}',
        '{"b":{"a":1,"a" :2}}',
        '{"b":[{"a":1,"a":2}]}',
        '{"b":[[{"c":{"a":1,"a" :2}}]],"d":0,"e":1}',
        '{"é":1,"\\u00e9":2}',
        '{"/":1,"\\/":2}',
        '{"name":"a","size":1,"hash":"x","size" :5}',
    ],
)
def test_known_twins(text: str) -> None:
    """A13: spaces, escapes and nesting hide no second member."""
    with pytest.raises(SchemaError, match="twice"):
        read_object(text.encode())


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
).filter(lambda value: "inf" not in repr(value))


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(max_size=4), json_values, max_size=4),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_what_others_write(value: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    """What an honest JSON writer makes of an object is read as that object."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert read_object(text.encode("utf-8", "surrogatepass")) == value


@pytest.mark.case("A28")
@given(st.binary(max_size=60) | st.text('{}[]":,\\ua0 \n', max_size=40).map(str.encode))
@example(b'{"a":1')
def test_any_bytes(data: bytes) -> None:
    """A28: any bytes give an object or a SchemaError."""
    try:
        found = read_object(data)
    except SchemaError:
        return
    assert found == json.loads(data)


# Types of fields

NOT_NUMBERS = [-1, 2**63, 2**64, 1.0, 1e3, float("inf"), True, False, "5", None, [], {}, 10**30]


@pytest.mark.case("A12")
@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
def test_sizes_refused(value: Any) -> None:
    """A12: a size is a whole number from 0 to 2**63-1, and neither true nor a text."""
    with pytest.raises(ValueError, match="whole number"):
        CHECKS["Size"](value)


@pytest.mark.parametrize(
    ("word", "good", "bad"),
    [
        ("Size", [0, 1, 2**31, 2**32 + 1, SIZE_MAX], [SIZE_MAX + 1, -1]),
        ("Time", [0, -1, -(2**63), 2**63 - 1], [-(2**63) - 1, 2**63, 0.0, True, "0", None]),
        ("Mode", [0, 0o644, 0o7777], [-1, 0o10000, 0o100644, 420.0, True, "0644", None]),
        ("Flag", [True, False], [0, 1, "true", "", None, []]),
        ("Word", ["", "x" * WORD_MAX], ["x" * (WORD_MAX + 1), 1, None, [], {}, True]),
        ("Text", ["", "x" * TEXT_MAX], ["x" * (TEXT_MAX + 1), 1, None, [], {}, True]),
        ("Secret", ["", "x" * SECRET_MAX], ["x" * (SECRET_MAX + 1), 1, None, [], {}, True]),
        (
            "Algorithm",
            ["xxh3_128", "sha256", "blake2b", "md5"],
            ["", "none", "MD5", "sha1", 1, None],
        ),
        ("list[Word]", [[], ["a"] * ITEMS_MAX], [["a"] * (ITEMS_MAX + 1), "a", {}, None, [1]]),
        ("list[Name]", [[], ["a"], [{"raw": "/w=="}]], ["a", {}, None, [1], [None], [["a"]]]),
    ],
)
def test_ranges(word: str, good: list[Any], bad: list[Any]) -> None:
    """Each type takes what its range allows, and nothing beside it."""
    for value in good:
        CHECKS[word](value)
    for value in bad:
        with pytest.raises(ValueError, match=r"^(is|has) "):
            CHECKS[word](value)


# Names


@pytest.mark.case("A16")
@pytest.mark.parametrize("value", [None, 5, 1.5, True, [], ["a"], {}, {"raw": 5}, {"raw": None}])
def test_names_refused(value: Any) -> None:
    """A16: a name is a text, or the base64 of one that is not UTF-8."""
    with pytest.raises(ValueError, match="is not a text"):
        CHECKS["Name"](value)


@pytest.mark.case("A17")
@pytest.mark.parametrize("half", ["\\ud800", "\\udfff", "\\udcff", "a\\ud83d", "\\ude00\\ud83d"])
def test_half_pairs_in_json(half: str) -> None:
    """A17: half a surrogate pair, which JSON can write, is no name in any place."""
    member = json.loads(f'"{half}"')
    with pytest.raises(UnicodeEncodeError):
        CHECKS["Name"](member)
    for members in ({"name": member}, {"name": "a", "names": [member]}):
        with pytest.raises(SchemaError, match="half a surrogate pair"):
            Sample.read(cast("dict[str, object]", members))
    with pytest.raises(SchemaError, match="half a surrogate pair"):
        Sample.read({"name": "a", "entries": [["a", "link", 0, 0, 0, member]]})


@given(st.binary(max_size=20))
def test_raw_names(data: bytes) -> None:
    """A name that is not UTF-8 travels as base64 and keeps its bytes."""
    name = CHECKS["Name"]({"raw": base64.b64encode(data).decode()})
    assert name == data.decode("utf-8", "surrogateescape")
    assert os.fsencode(name) == data


@pytest.mark.parametrize(
    "text", ["!", "YQ", "YQ=", "YQ==x", " YQ==", "YQ==\n", "Y Q==", "é", "=", "YQ==="]
)
def test_raw_names_that_are_not_base64(text: str) -> None:
    """Base64 is taken strictly, so that no two texts are one name by accident."""
    with pytest.raises(SchemaError, match="name"):
        Sample.read({"name": {"raw": text}})


def test_a_raw_name_can_be_utf8() -> None:
    """The same name either way is the same name."""
    raw = base64.b64encode("é/b".encode()).decode()
    assert CHECKS["Name"]({"raw": raw, "more": 1}) == "é/b"


def test_texts_are_made_printable() -> None:
    """Half a surrogate pair in a text for people becomes an escape: a text is no name."""
    assert CHECKS["Text"]("a\ud800") == "a\\ud800"
    assert CHECKS["Word"]("a\udcff") == "a\\udcff"


# Digests


@pytest.mark.case("A18")
@pytest.mark.parametrize(
    "value",
    [
        "",
        "none",
        "none:",
        "md5:" + "0" * 31,
        "md5:" + "0" * 33,
        "md5:" + "g" * 32,
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "0" * 63 + "x",
        "sha1:" + "0" * 40,
        "0" * 64,
        "xxh3:" + "0" * 16,
        "xxh3_128:" + "0" * 31,
        "xxh3_128:" + "0" * 33,
        "xxh3_128:" + "0" * 31 + "g",
        "xxh3_128:" + "0" * 31 + "\u0663",
        "xxh3_128:",
        "crc32:00000000",
        5,
        None,
        [],
    ],
)
def test_digests_refused(value: Any) -> None:
    """A18: a digest is of a known algorithm and as long as that makes it."""
    with pytest.raises(ValueError, match="not a"):
        CHECKS["Digest"](value)


@pytest.mark.case("A18")
@pytest.mark.parametrize(
    ("algorithm", "size"),
    [("md5", 32), ("sha256", 64), ("blake2b", 128), ("xxh3_128", 32)],
)
def test_digests_are_brought_to_lower_case(algorithm: str, size: int) -> None:
    """A18: upper-case hex is the same digest."""
    lower = f"{algorithm}:{'ab01' * (size // 4)}"
    assert CHECKS["Digest"](lower) == lower
    assert CHECKS["Digest"](lower.upper()) == lower


# Entries and refusals


@pytest.mark.case("B20", "B21")
@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "a",
        [],
        ["a", "file", 0, 0, 0],
        ["a", "file", 0, 0, 0, "", ""],
        ["a", "door", 0, 0, 0, ""],
        ["a", ["file"], 0, 0, 0, ""],
        ["a", None, 0, 0, 0, ""],
        [5, "file", 0, 0, 0, ""],
        ["a", "file", -1, 0, 0, ""],
        ["a", "file", 0, 2**63, 0, ""],
        ["a", "file", 0, 0, 0o10000, ""],
        ["a", "file", 0, 0, 0, None],
        ["a", "file", True, 0, 0, ""],
        ["a", "file", 0, 0, 0, "md5"],
        ["a", "file", 0, 0, 0, "sha1:" + "0" * 40],
        ["a", "file", 0, 0, 0, {"raw": "/w=="}],
    ],
)
def test_entries_refused(value: Any) -> None:
    """B20, B21: an entry has six fields, each of its type and in its range."""
    with pytest.raises(SchemaError, match="entries"):
        Sample.read({"name": "a", "entries": [value]})


def test_an_entry() -> None:
    """An entry is read into its own class."""
    found = CHECKS["list[Entry]"]([["a", "link", 0, -5, 0o777, {"raw": "/w=="}]])
    assert found == [Entry("a", "link", 0, -5, 0o777, "\udcff")]


@pytest.mark.parametrize(
    "value", [None, [], [1, "a"], [1, "a", "b", "c"], ["1", "a", "b"], [1, 2, 3]]
)
def test_refusals_refused(value: Any) -> None:
    """A refusal has an index, a code and a text."""
    with pytest.raises(SchemaError, match="refused"):
        Sample.read({"name": "a", "refused": [value]})


# Messages


def members_of(**changes: Any) -> dict[str, Any]:
    lists: dict[str, Any] = {"words": [], "names": [], "entries": [], "refused": []}
    return {"name": "a", **lists, **changes}


def test_defaults() -> None:
    """What may be absent has its default, and is not written unless it was given."""
    found = Sample.read(members_of())
    assert (found.size, found.mode, found.flag, found.algorithm) == (None, 0o644, False, "md5")
    assert json.loads(found.write()) == {"kind": "sample", **members_of()}
    assert found == Sample(name="a", words=[], names=[], entries=[], refused=[], mode=0o644)


@pytest.mark.parametrize("missing", ["name", "words", "names", "entries", "refused"])
def test_missing(missing: str) -> None:
    """What has no default must be there; the error names it."""
    members = members_of()
    del members[missing]
    with pytest.raises(SchemaError, match=f"sample: '{missing}' is missing"):
        Sample.read(members)


@pytest.mark.case("A14")
def test_unknown_members_are_dropped() -> None:
    """A14: later versions may add some."""
    found = Sample.read(members_of(must_see=1, checks=2, kind=3, __dict__=4))
    assert found == Sample.read(members_of())
    assert not hasattr(found, "must_see")
    assert found.kind == "sample"


@pytest.mark.parametrize(
    "wrong", [{"size": -1}, {"mode": "x"}, {"flag": 1}, {"word": 1}, {"hash": "x"}, {"mtime": 0.5}]
)
def test_the_error_names_the_member(wrong: dict[str, Any]) -> None:
    """An error says which member it is about, and not what was in it."""
    (name,) = wrong
    with pytest.raises(SchemaError, match=f"^sample: '{name}' is "):
        Sample.read(members_of(**wrong))


def test_a_message_takes_its_fields_only() -> None:
    """Our own mistakes are found where they are made."""
    with pytest.raises(TypeError):
        Sample(name="a")  # type: ignore[call-arg] # what is tested
    with pytest.raises(TypeError):
        Sample(**members_of(nonsense=1))


def test_a_message_is_a_value() -> None:
    """Equal by its fields, no key, and printed with its fields."""
    one = Sample(**members_of())
    assert one == Sample(**members_of())
    assert one != Sample(**members_of(name="b"))
    assert one != "a"
    assert repr(one).startswith("Sample(name='a', words=[]")
    with pytest.raises(TypeError):
        hash(one)


def test_nothing_but_the_declared_is_written() -> None:
    """A value of a foreign type is a mistake of ours, and not turned into anything."""
    with pytest.raises(TypeError):
        Sample(**members_of(text=object())).write()
