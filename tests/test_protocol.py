"""The wire protocol: every message both ways, and which may come when."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filexfer.entry import TYPES, Entry
from filexfer.errors import Code, ProtocolError, UsageError
from filexfer.hashing import ALGORITHMS
from filexfer.wire import codec, framing, header, moving, protocol, ranged, schema
from filexfer.wire.codec import decode, encode
from filexfer.wire.protocol import FRAME_MAX, KINDS, TRANSITIONS, State

if TYPE_CHECKING:
    from filexfer.wire.schema import Message

DIGEST = "xxh3_128:99aa06d3014798d86001c324468d497f"
MD5 = "49f68a5c8493ec2c0bf489821c21fc3b"  # of "hi"
NO_SIZES = [  # as JSON
    *("-1", str(2**63), str(2**64), "1.0", "1e3", "1e400"),
    *("NaN", "-Infinity", "true", '"5"', "null", "[]"),
]

# Each kind of message as it is written, and what it is.
MESSAGES: list[tuple[str, Message]] = [
    (
        '{"kind":"hello","version":1,"program":"x","token":"t"}',
        protocol.Hello(version=1, program="x", token="t"),
    ),
    (
        '{"kind":"welcome","version":1,"program":"x","rights":["read","list"],"time":-5,"free":0,"max_file_size":9}',
        protocol.Welcome(
            version=1, program="x", rights=["read", "list"], time=-5, free=0, max_file_size=9
        ),
    ),
    ('{"kind":"stat","name":"a/b","count":9}', protocol.Stat(name="a/b", count=9)),
    ('{"kind":"list","name":"","recursive":true}', protocol.List(name="", recursive=True)),
    (
        '{"kind":"entries","entries":[["a","file",1,-2,420,""],["l","link",0,0,511,"a"]],"more":true,"files":9}',
        protocol.Entries(
            entries=[Entry("a", "file", 1, -2, 0o644), Entry("l", "link", 0, 0, 0o777, "a")],
            more=True,
            files=9,
        ),
    ),
    ('{"kind":"mkdir","name":"a"}', protocol.MakeFolder(name="a")),
    ('{"kind":"remove","name":"a","recursive":true}', protocol.Remove(name="a", recursive=True)),
    (
        '{"kind":"move","name":"a","to":"b/c","into":true,"overwrite":true}',
        moving.Move(name="a", to="b/c", into=True, overwrite=True),
    ),
    ('{"kind":"moved","name":"b/c/a"}', moving.Moved(name="b/c/a")),
    ('{"kind":"ok"}', protocol.Ok()),
    ('{"kind":"probe_up","size":5}', protocol.ProbeUp(size=5)),
    ('{"kind":"probe_down","size":0}', protocol.ProbeDown(size=0)),
    (
        '{"kind":"put","if_exists":"skip","checksum":true,"plan":true}',
        protocol.Put(if_exists="skip", checksum=True, plan=True),
    ),
    (
        '{"kind":"get","names":["a","b/c"],"hash":"sha256","fresh":true,"share":1,"shares":2,"by_range":9,"plan":true}',
        protocol.Get(
            names=["a", "b/c"], hash="sha256", fresh=True, share=1, shares=2, by_range=9, plan=True
        ),
    ),
    (
        '{"kind":"file","name":"é\\"\\\\","size":2,"hash":"md5:' + MD5 + '","mtime":5,"mode":384}',
        protocol.File(name='é"\\', size=2, hash="md5:" + MD5, mtime=5, mode=0o600),
    ),
    (
        '{"kind":"file","name":"q","size":2,"hash":"' + DIGEST + '","mtime":5,"mode":420}',
        protocol.File(name="q", size=2, hash=DIGEST, mtime=5, mode=0o644),
    ),
    (
        '{"kind":"file","name":"a","algorithm":"blake2b","sparse":true}',
        protocol.File(name="a", algorithm="blake2b", sparse=True),
    ),
    (
        '{"kind":"folder","name":"a","mtime":5,"mode":448,"again":true,"shared":true}',
        protocol.Folder(name="a", mtime=5, mode=0o700, again=True, shared=True),
    ),
    (
        '{"kind":"link","name":{"raw":"Yf8="},"target":"..","mtime":5}',
        protocol.Link(name="a\udcff", target="..", mtime=5),
    ),
    (
        '{"kind":"unsent","name":"a","code":"denied","text":"no"}',
        protocol.Unsent(name="a", code="denied", text="no"),
    ),
    (
        '{"kind":"later","name":"a","size":9,"mtime":5,"mode":384}',
        ranged.Later(name="a", size=9, mtime=5, mode=0o600),
    ),
    (
        '{"kind":"begin","name":"a","size":9,"mtime":5,"mode":384,"if_exists":"skip","checksum":true}',
        ranged.Begin(name="a", size=9, mtime=5, mode=0o600, if_exists="skip", checksum=True),
    ),
    ('{"kind":"begun","id":"x","result":"identical"}', ranged.Begun(id="x", result="identical")),
    (
        '{"kind":"range","name":"a","id":"x","offset":4,"size":5,"hash":"' + DIGEST + '"}',
        ranged.Range(name="a", id="x", offset=4, size=5, hash=DIGEST),
    ),
    (
        '{"kind":"finish","id":"x","hash":"' + DIGEST + '"}',
        ranged.Finish(id="x", hash=DIGEST),
    ),
    ('{"kind":"abandon","id":"x"}', ranged.Abandon(id="x")),
    (
        '{"kind":"slice","name":"a","offset":4,"size":5,"total":9,"mtime":5,"hash":"md5"}',
        ranged.Slice(name="a", offset=4, size=5, total=9, mtime=5, hash="md5"),
    ),
    (
        '{"kind":"digest","name":"a","total":9,"mtime":5,"hash":"md5"}',
        ranged.DigestOf(name="a", total=9, mtime=5, hash="md5"),
    ),
    ('{"kind":"hashed","hash":"' + DIGEST + '"}', ranged.Hashed(hash=DIGEST)),
    ('{"kind":"trailer","hash":"' + DIGEST + '"}', protocol.Trailer(hash=DIGEST)),
    (
        '{"kind":"trailer","code":"changed","text":"no"}',
        protocol.Trailer(code="changed", text="no"),
    ),
    (
        '{"kind":"ask","entries":[[{"raw":"/w=="},"folder",0,0,493,""]]}',
        protocol.Ask(entries=[Entry("\udcff", "folder", 0, 0, 0o755)]),
    ),
    (
        '{"kind":"answer","verdicts":"sr","refused":[[1,"denied","no"]]}',
        protocol.Answer(verdicts="sr", refused=[(1, "denied", "no")]),
    ),
    ('{"kind":"received","count":12}', protocol.Received(count=12)),
    ('{"kind":"received","count":12,"part":5}', protocol.Received(count=12, part=5)),
    (
        '{"kind":"outcome","item":3,"result":"kept","code":"","text":"","name":"a~1"}',
        protocol.Outcome(item=3, result="kept", code="", text="", name="a~1"),
    ),
    ('{"kind":"done","count":12}', protocol.Done(count=12)),
    ('{"kind":"alive"}', protocol.Alive()),
    ('{"kind":"end"}', protocol.End()),
    (
        '{"kind":"error","code":"busy","text":"later","fatal":false}',
        protocol.Error(code="busy", text="later", fatal=False),
    ),
    (
        '{"name":"a","size":2,"hash":"md5:' + MD5 + '","mtime":5,"mode":384,"token":"t"}',
        protocol.Store(name="a", size=2, hash="md5:" + MD5, mtime=5, mode=0o600, token="t"),
    ),
    (
        '{"kind":"fetch","name":"a","hash":"md5","token":"t"}',
        protocol.Fetch(name="a", hash="md5", token="t"),
    ),
    (
        '{"kind":"stored","name":"a","size":2,"hash":"md5:' + MD5 + '","result":"identical"}',
        protocol.Stored(name="a", size=2, hash="md5:" + MD5, result="identical"),
    ),
]
kinds = pytest.mark.parametrize(
    ("text", "message"), MESSAGES, ids=[message.kind or "store" for _, message in MESSAGES]
)


def state_for(message: Message) -> State:
    """Return a state in which *message* may come."""
    cls = type(message)
    return next(state for state in State if cls in TRANSITIONS[state] or cls is protocol.Error)


# Both ways


@kinds
def test_both_ways(text: str, message: Message) -> None:
    """Each message is written as it always was, and read as what it was."""
    frame = encode(message)
    assert frame == struct.pack("!I", len(text.encode())) + text.encode()
    assert decode(frame[4:], state_for(message)) == message
    assert decode(memoryview(frame)[4:], state_for(message)) == message


def test_the_table_has_every_kind() -> None:
    """No message is left out here, and every field of every message occurs."""
    assert {message.kind for _, message in MESSAGES} == set(KINDS)
    for kind, cls in KINDS.items():
        given_fields = {field for _, each in MESSAGES if each.kind == kind for field in vars(each)}
        assert given_fields == set(cls.checks)


@pytest.mark.case("A14")
@kinds
def test_unknown_members(text: str, message: Message) -> None:
    """A14: members that this version does not know are passed over."""
    members = json.loads(text)
    more = {**members, "must_have": {"a": [1.5, None]}, "": 0, "checks": 1, "write": 2}
    assert decode(json.dumps(more).encode(), state_for(message)) == message


@kinds
def test_missing_members(text: str, message: Message) -> None:
    """Without a member that has no default a message is refused."""
    members = json.loads(text)
    for name in type(message).required:
        less = {key: value for key, value in members.items() if key != name}
        with pytest.raises(ProtocolError, match="missing") as caught:
            decode(json.dumps(less).encode(), state_for(message))
        assert caught.value.code == Code.BAD_HEADER


raw_names = st.binary(max_size=12).map(lambda data: data.decode("utf-8", "surrogateescape"))
some_names = st.text(st.characters(codec="utf-8"), max_size=12) | raw_names
plain_texts = st.text(st.characters(codec="utf-8"), max_size=12)
digests = st.sampled_from(list(ALGORITHMS)).flatmap(
    lambda algorithm: st.just(f"{algorithm}:{'0f' * 64}").map(
        lambda text: text[: len(algorithm) + 1 + {"sha256": 64, "blake2b": 128}.get(algorithm, 32)]
    )
)
sizes = st.integers(0, 2**63 - 1)
times = st.integers(-(2**63), 2**63 - 1)
modes = st.integers(0, 0o7777)
BY_WORD: dict[str, st.SearchStrategy[Any]] = {
    "Name": some_names,
    "Word": plain_texts,
    "Text": plain_texts,
    "Secret": plain_texts,
    "Digest": digests,
    "Algorithm": st.sampled_from(list(ALGORITHMS)),
    "Size": sizes,
    "Time": times,
    "Mode": modes,
    "Flag": st.booleans(),
    "list[Name]": st.lists(some_names, max_size=3),
    "list[Word]": st.lists(plain_texts, max_size=3),
    "list[Entry]": st.lists(
        st.builds(Entry, some_names, st.just("file"), sizes, times, modes, st.just("") | digests)
        | st.builds(Entry, some_names, st.sampled_from(TYPES[1:]), sizes, times, modes, some_names),
        max_size=3,
    ),
    "list[Refusal]": st.lists(st.tuples(sizes, plain_texts, plain_texts), max_size=3),
}


def messages_of(cls: type[Message]) -> st.SearchStrategy[Message]:
    """Return a strategy for the messages of a class, made from what it declares."""
    fields = {
        name: BY_WORD[word.removesuffix(" | None")] for name, word in cls.__annotations__.items()
    }
    return st.fixed_dictionaries(
        {name: fields[name] for name in cls.required},
        optional={name: fields[name] for name in fields if name not in cls.required},
    ).map(lambda values: cls(**values))


@settings(max_examples=400)
@given(st.one_of([messages_of(cls) for cls in KINDS.values()]))
def test_round_trip(message: Message) -> None:
    """Whatever a message says arrives as it was said."""
    frame = encode(message)
    assert struct.unpack_from("!I", frame) == (len(frame) - 4,)
    assert decode(frame[4:], state_for(message)) == message


@given(some_names, sizes, digests, times, modes)
@example('\0\x1f\x7f"\\/\u2028\U0001f600', 0, DIGEST, 0, 0)
@example("a\udcff", 0, DIGEST, 0, 0)
def test_the_quick_way_to_write_a_file(
    name: str, size: int, digest: str, mtime: int, mode: int
) -> None:
    """``file_frame`` writes what ``encode`` would."""
    message = protocol.File(name=name, size=size, hash=digest, mtime=mtime, mode=mode)
    assert codec.file_frame(name, size, digest, mtime, mode) == encode(message)


@settings(max_examples=300)
@given(some_names, sizes, times, modes, st.data())
def test_the_quick_way_to_read_a_file(
    name: str, size: int, mtime: int, mode: int, data: st.DataObject
) -> None:
    """Whatever is read the quick way is read alike the long way, also with a byte changed."""
    written = bytearray(codec.file_frame(name, size, DIGEST, mtime, mode)[4:])
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(written) - 1))
        written[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from(
                [b"", b"0", b"9", b" ", b'"', b"\\", b"-", b"\xff", b"\0", b"A", b",", b"."]
            )
        )
    quick = header.read(bytes(written))
    assert quick == header.read(memoryview(written))
    if quick is not None:
        members = schema.read_object(bytes(written))
        assert members.pop("kind") == "file"
        long = protocol.File.read(members)
        assert quick == (long.name, long.size, long.hash, long.mtime, long.mode)


QUICK = '{"kind":"file","name":"a","size":2,"hash":"' + DIGEST + '","mtime":5,"mode":420}'


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"a"', '""'),
        ('"a"', '"\\u0061"'),
        ('"a"', '"\\ud800"'),
        ('"a"', '"\t"'),
        ('"a"', '"a","name":"b"'),
        ('"a"', '{"raw":"YQ=="}'),
        ("2,", "02,"),
        ("2,", "-2,"),
        ("2,", "2.0,"),
        ("2,", "9223372036854775808,"),
        ("2,", "10000000000000000000,"),
        ("2,", "2 ,"),
        ("99aa", "99AA"),
        ("99aa", "99a"),
        ("99aa", "99ag"),
        (DIGEST, "md5:" + MD5),
        ("5,", "05,"),
        ("5,", "-5,"),
        ("5,", "9223372036854775808,"),
        ("5,", "2000000000000000000,"),
        ("420", "0420"),
        ("420", "4095"),
        ("420", "4096"),
        ("420", "9999"),
        ("420", "420,"),
        ("420}", "420,}"),
        ("420}", "420}}"),
        ("420}", "420} "),
        ("420}", "420}\n"),
        ("420}", "420"),
        ("file", "link"),
        ('{"kind"', ' {"kind"'),
    ],
)
def test_not_the_quick_way(old: str, new: str) -> None:
    """What differs in the least is left to the long way, which knows what it is worth."""
    assert header.read(QUICK.encode()) is not None
    assert QUICK.count(old) == 1
    assert header.read(QUICK.replace(old, new).encode()) is None


@pytest.mark.parametrize("mode", [0, 7, 10, 99, 999, 1000, 3999])
def test_modes_the_quick_way(mode: int) -> None:
    """No mode that is out of range is let through."""
    assert header.read(QUICK.replace("420", str(mode)).encode()) == ("a", 2, DIGEST, 5, mode)


@pytest.mark.parametrize(
    ("size", "mtime", "mode"), [(0, 0, 0), (7000, 1_700_000_000_123_456_789, 0o644)]
)
def test_the_quick_way_is_taken(size: int, mtime: int, mode: int) -> None:
    """What our own senders write about most files is read the quick way."""
    written = codec.file_frame("a/é b,c:d{}.txt", size, DIGEST, mtime, mode)[4:]
    assert header.read(written) == ("a/é b,c:d{}.txt", size, DIGEST, mtime, mode)


# Frames


def test_frame_limit() -> None:
    """A message that does not fit into a frame is never sent."""
    empty = len(encode(protocol.Stat(name=""))) - 4
    longest = protocol.Stat(name="x" * (FRAME_MAX - empty))
    assert len(encode(longest)) == 4 + FRAME_MAX == 65_540
    for name in ("x" * (FRAME_MAX - empty + 1), "é" * FRAME_MAX, "\udcff" * FRAME_MAX):
        with pytest.raises(ProtocolError, match="stat frame"):
            encode(protocol.Stat(name=name))


@pytest.mark.case("A1", "A2")
@pytest.mark.parametrize("size", [0, FRAME_MAX + 1])
def test_no_frame(size: int) -> None:
    """A1, A2: a frame holds something, and not too much."""
    with pytest.raises(framing.TooLong):
        framing.pack(b"x" * size)


# The specification


def vectors() -> dict[str, bytes]:
    """Return the hex vectors in the specification, by their labels."""
    found = re.findall(r"^ +(\w+): +((?:[0-9a-f]{2,} ?)+)$", protocol.__doc__ or "", re.MULTILINE)
    return {label: bytes.fromhex(digits) for label, digits in found}


def test_the_vectors_are_all_read() -> None:
    """The specification has these vectors, whole; the next test would miss none."""
    assert set(vectors()) == {"end", "received", "store", "body"}


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("end", protocol.End()),
        ("received", protocol.Received(count=12)),
        ("store", protocol.Store(name="a.txt", size=2, hash="md5:" + MD5)),
    ],
)
def test_vectors(label: str, message: Message) -> None:
    """The bytes in the specification are frames that say what they are said to say."""
    frame = vectors()[label]
    assert struct.unpack_from("!I", frame) == (len(frame) - 4,)
    assert decode(frame[4:], state_for(message)) == message
    if label != "store":  # a plain client's spelling, which is only read
        assert encode(message) == frame


def test_the_body_vector() -> None:
    """The body in the specification is the one whose digest its header has."""
    import hashlib  # noqa: PLC0415 - only here

    header = json.loads(vectors()["store"][4:])
    body = vectors()["body"]
    assert len(body) == header["size"]
    assert hashlib.md5(body).hexdigest() == header["md5"]


def test_the_numbers_of_the_specification() -> None:
    """The limits in the text are the limits in the code."""
    doc = protocol.__doc__ or ""
    assert f"1 to {protocol.FRAME_MAX:,}" in doc
    assert f"1 to {protocol.PART_MAX:,}" in doc
    assert f"at most {protocol.PROBE_MAX:,}, which" in doc
    assert f"{protocol.HOLE:#x} + zeros" in doc
    assert f"every {protocol.ALIVE_EVERY:g} seconds" in doc
    assert protocol.VERSION == 1
    for letter in "snidkr":
        assert re.search(rf"^    .*\b{letter}  ", doc, re.MULTILINE)
    assert set("snidkr") == {
        *(protocol.SEND, protocol.NEW_FOLDER, protocol.SAME),
        *(protocol.SKIP, protocol.WANT_DIGEST, protocol.REFUSE),
    }


# What may come when

LEGAL = {
    State.OPENING: "hello  fetch",
    State.PLAIN: " fetch end",
    State.IDLE: "stat list mkdir remove probe_up probe_down alive put get end"
    " begin range finish abandon slice digest move",
    State.GREETING: "welcome",
    State.ANSWERING: "entries ok stored file begun hashed moved alive end",
    State.TAKING: "file folder link later unsent ask alive end",
    State.BODY: "trailer",
    State.GIVING: "answer received outcome done alive end",
    State.CLOSED: None,
}


@pytest.mark.case("A24")
@pytest.mark.parametrize("state", State)
@kinds
def test_transitions(state: State, text: str, message: Message) -> None:
    """A24: in each state each message is either legal or out of order; an error always may come."""
    words = LEGAL[state]
    legal = words is not None and message.kind in words.split(" ")
    if legal or message.kind == "error":
        assert decode(text.encode(), state) == message
    else:
        with pytest.raises(ProtocolError, match=f"while waiting for {state.value}") as caught:
            decode(text.encode(), state)
        assert caught.value.code == Code.OUT_OF_ORDER


def test_every_state_can_be_left() -> None:
    """The table leads from the first frame of each side to the end, over every state."""
    reached = {State.OPENING, State.GREETING, State.BODY}
    while more := {to for state in reached for to in TRANSITIONS[state].values()} - reached:
        reached |= more
    assert reached == set(State)
    for state in set(State) - {State.CLOSED}:
        assert set(TRANSITIONS[state].values()) - {state}


# Plain clients


@pytest.mark.parametrize(
    "members",
    [
        {"name": "a", "size": 2, "md5": MD5},
        {"name": "a", "size": 2, "md5": MD5.upper()},
        {"name": "a", "size": 2, "hash": "md5:" + MD5},
        {"name": "a", "size": 2, "hash": "MD5:" + MD5.upper()},
        {"kind": "", "name": "a", "size": 2, "md5": MD5},
        {"name": "a", "size": 2, "md5": "x", "hash": "md5:" + MD5},
    ],
)
def test_plain_spellings(members: dict[str, Any]) -> None:
    """``md5`` alone, or ``hash`` with its algorithm, in either case of letters."""
    expected = protocol.Store(name="a", size=2, hash="md5:" + MD5)
    for state in (State.OPENING, State.PLAIN):
        assert decode(json.dumps(members).encode(), state) == expected


@pytest.mark.case("A18")
@pytest.mark.parametrize(
    "members",
    [
        {"name": "a", "size": 2},
        {"name": "a", "size": 2, "md5": None},
        {"name": "a", "size": 2, "md5": 5},
        {"name": "a", "size": 2, "md5": ""},
        {"name": "a", "size": 2, "md5": [MD5]},
        {"name": "a", "size": 2, "md5": MD5[1:]},
        {"name": "a", "size": 2, "md5": "md5:" + MD5},
        {"name": "a", "size": 2, "hash": ""},
        {"name": "a", "size": 2, "hash": None},
        {"name": "a", "size": 2, "hash": MD5},
        {"name": "a", "size": 2, "hash": None, "md5": MD5},
        {"name": "a", "size": 2, "sha1": "0" * 40},
        {"name": "a", "md5": MD5},
        {"size": 2, "md5": MD5},
        {},
    ],
)
def test_plain_mistakes(members: dict[str, Any]) -> None:
    """A18: a plain client cannot store without a digest that can be checked."""
    with pytest.raises(ProtocolError) as caught:
        decode(json.dumps(members).encode(), State.OPENING)
    assert caught.value.code == Code.BAD_HEADER


@pytest.mark.parametrize(
    "members",
    [
        {"file_name": "a", "file_size": 2, "md5": MD5},
        {"file_name": "a", "size": 2, "md5": MD5},
        {"name": "a", "file_size": 2},
        {"file_name": "a"},
    ],
)
def test_the_spelling_of_the_tutorial(members: dict[str, Any]) -> None:
    """Somebody who followed the tutorial is told the right fields and the right length."""
    with pytest.raises(ProtocolError) as caught:
        decode(json.dumps(members).encode(), State.OPENING)
    for word in ("'name'", "'size'", "'md5'", "'hash'", "'!I'", "'i'"):
        assert word in str(caught.value)


# Malformed headers


@pytest.mark.case("A12")
@pytest.mark.parametrize(
    "kind", ["", "put", "file", "fetch", "stat", "received", "probe_up", "probe_down"]
)
@pytest.mark.parametrize("size", NO_SIZES)
def test_numbers(kind: str, size: str) -> None:
    """A12: no number but a whole one in its range is taken, wherever there is one."""
    cls = KINDS[kind]
    found = [name for name, word in cls.__annotations__.items() if word.startswith("Size")]
    for name in found:
        members: dict[str, Any] = {"name": "a", "hash": DIGEST, "count": 1, "size": 1}
        if kind:
            members["kind"] = kind
        text = json.dumps({**members, name: "PLACE"}).replace('"PLACE"', size)
        with pytest.raises(ProtocolError) as caught:
            decoded_in_order(text, cls)
        assert caught.value.code == Code.BAD_HEADER


def decoded_in_order(text: str, cls: type[Message]) -> Message:
    return decode(text.encode(), next(state for state in State if cls in TRANSITIONS[state]))


@pytest.mark.case("A16", "A17")
@pytest.mark.parametrize("name", ["5", "null", "[]", "{}", "true", '"\\ud800"', '{"raw":"!"}'])
@pytest.mark.parametrize(
    "kind", ["", "stat", "list", "mkdir", "remove", "file", "folder", "link", "fetch"]
)
def test_names(kind: str, name: str) -> None:
    """A16, A17: what is no text, or no text that a name could be, is refused where it arrives."""
    members = {"kind": kind, "name": "PLACE", "size": 1, "hash": "md5", "target": "a"}
    text = json.dumps(members).replace('"PLACE"', name)
    with pytest.raises(ProtocolError, match="name") as caught:
        decoded_in_order(text, KINDS[kind])
    assert caught.value.code == Code.BAD_HEADER


@pytest.mark.case("A15")
@pytest.mark.parametrize(
    "kind", ["null", "5", "[]", "{}", '"HELLO"', '"hello "', '"store"', '"__class__"']
)
def test_unknown_kinds(kind: str) -> None:
    """A15: a kind that this version does not know is refused by name."""
    for state in State:
        with pytest.raises(ProtocolError, match="unknown kind") as caught:
            decode(f'{{"kind":{kind}}}'.encode(), state)
        assert caught.value.code == Code.UNSUPPORTED


def test_a_long_kind_is_cut() -> None:
    """The refusal of an unknown kind fits into a frame, whatever came."""
    with pytest.raises(ProtocolError) as caught:
        decode(json.dumps({"kind": "\x1b" * 10_000}).encode(), State.OPENING)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()
    encode(protocol.Error(code=caught.value.code, text=str(caught.value)))


@pytest.mark.case("A13")
def test_a_member_twice() -> None:
    """A13: which of two sizes is meant is not guessed."""
    text = '{"name":"a","size":1,"md5":"' + MD5 + '","size" :2}'
    with pytest.raises(ProtocolError, match="twice"):
        decode(text.encode(), State.OPENING)


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
member_names = sorted({name for cls in KINDS.values() for name in cls.checks})
headers = st.fixed_dictionaries(
    {"kind": st.sampled_from(sorted(KINDS)) | json_like},
    optional=dict.fromkeys(member_names, json_like),
).map(lambda members: json.dumps(members).encode())


@pytest.mark.case("A28")
@settings(max_examples=200)
@given(st.binary(max_size=80) | headers, st.sampled_from(State))
def test_any_header(written: bytes, state: State) -> None:
    """A28: any bytes are a message or a ProtocolError, and nothing else happens."""
    try:
        message = decode(written, state)
    except ProtocolError:
        return
    assert decode(encode(message)[4:], state) == message


@pytest.mark.case("A28")
@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.data())
def test_one_byte_changed(case: tuple[str, Message], data: st.DataObject) -> None:
    """A28: a header with one byte changed, lost or added is a message or a ProtocolError."""
    text, message = case
    written = bytearray(text.encode())
    at = data.draw(st.integers(0, len(written) - 1))
    change = data.draw(st.sampled_from(["set", "lose", "add", "cut"]))
    byte = data.draw(st.integers(0, 255))
    if change == "set":
        written[at] = byte
    elif change == "add":
        written.insert(at, byte)
    else:
        del written[at : at + 1 if change == "lose" else None]
    try:
        found = decode(bytes(written), state_for(message))
    except ProtocolError:
        return
    encode(found)


def test_states_have_words() -> None:
    """Each state says what is waited for, for the error that names it."""
    assert len({state.value for state in State}) == len(State)


def test_a_name_that_no_system_has() -> None:
    """Half a surrogate pair is the caller's mistake, and told as such."""
    with pytest.raises(UsageError, match="no file can have this name"):
        encode(protocol.Stat(name="a\ud800"))
