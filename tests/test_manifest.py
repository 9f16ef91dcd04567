"""Manifests: their form, what the usual checkers say of it, and what is said of damaged ones."""

from __future__ import annotations

import io
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filexfer import UsageError
from filexfer.hashing import ALGORITHMS, HEX_SIZES, digest_of
from filexfer.receipts import manifest
from filexfer.receipts.manifest import LINE_MAX, Manifest, Record
from filexfer.wire.protocol import PLAIN_MAX

TIME = 1_700_000_000_123_456_789
ODD = [
    *("plain", " leading", "trailing ", "*star", "# hash", "-dash", "a  b", "x) = 00", "(x"),
    *(
        "new\nline",
        "back\\slash",
        "\\n",
        "carriage\rreturn",
        "tab\t",
        "a\udcffb",
        "你好",
        "sub/x y",
    ),
]
TOOLS = {"xxh3_128": "xxhsum", "sha256": "sha256sum", "blake2b": "b2sum", "md5": "md5sum"}


def written(*records: Record) -> bytes:
    """Return a manifest."""
    parts = [manifest.head({"to": "here", "root": "there"}), *map(manifest.lines, records)]
    return b"".join([*parts, manifest.end(len(records))])


def read(data: bytes, algorithm: str = "") -> list[Record]:
    """Return the records of a manifest."""
    return list(Manifest(io.BytesIO(data), "FILE", algorithm))


def parts(record: Record) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in Record.__slots__)


SAMPLE = [
    Record("a", "sha256:" + "0f" * 32, 3, TIME, "stored"),
    Record("b\n\\\r", "xxh3_128:" + "1e" * 16, 0, -1, "identical"),
    Record("c\udcff", "blake2b:" + "2d" * 64, 2**63 - 1, 0, "kept"),
    Record("  d", "", 5, TIME, "skipped"),
    Record("e ", "", 0, TIME, "stored", "link"),
    Record(" f\n", result="failed", type="", code="exists"),
]


def test_what_is_written_is_read() -> None:
    """Every field of every kind of record comes back, and so does the head."""
    made = Manifest(io.BytesIO(written(*SAMPLE)), "FILE")
    assert made.is_own
    assert made.fields == {"to": "here", "root": "there"}
    for _ in range(2):  # it can be read again
        assert [parts(each) for each in made] == [parts(each) for each in SAMPLE]


names = st.binary(min_size=1, max_size=60).filter(lambda data: b"\0" not in data)


@given(name=names, algorithm=st.sampled_from(ALGORITHMS), mtime=st.integers(-(2**63), 2**63 - 1))
def test_any_name_and_time_come_back(name: bytes, algorithm: str, mtime: int) -> None:
    """Names are kept byte for byte, whatever they are, with and without a digest."""
    text = name.decode("utf-8", "surrogateescape")
    digest = f"{algorithm}:{'a' * HEX_SIZES[algorithm]}"
    records = [Record(text, digest, 1, mtime, "stored"), Record(text, "", 1, mtime, "skipped")]
    assert [parts(each) for each in read(written(*records))] == [parts(each) for each in records]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_checkers_take_it(algorithm: str, tmp_path: Path) -> None:
    """The checker of each hash finds every file the same, and has nothing to say of the rest."""
    tool = TOOLS[algorithm]
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool} here")
    is_old = tool == "xxhsum" and _xxhsum_is_old()
    found = [name for name in ODD if not (is_old and set(name) & set("\n\r\\"))]
    records = []
    for number, name in enumerate(found):
        data = b"%d" % number
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        records.append(Record(name, digest_of(algorithm)(data), len(data), TIME, "stored"))
    data = written(*records, *(each for each in SAMPLE if not each.digest))
    options = ["-c"] if is_old else ["--strict", "--warn", "-c"]
    result = subprocess.run(
        [tool, *options], input=data, cwd=tmp_path, capture_output=True, timeout=20, check=False
    )
    assert result.returncode == 0, result
    assert result.stdout.count(b": OK\n") == len(found)
    assert is_old or not result.stderr
    (tmp_path / found[0]).write_bytes(b"?")
    result = subprocess.run(
        [tool, "-c"], input=data, cwd=tmp_path, capture_output=True, timeout=20, check=False
    )
    assert result.returncode == 1
    assert result.stdout.count(b": FAILED\n") == 1


def _xxhsum_is_old() -> bool:
    """Tell whether it is from before 0.8.2, which neither takes comments nor escapes."""
    result = subprocess.run(["xxhsum", "--version"], capture_output=True, timeout=20, check=True)
    said = (result.stdout + result.stderr).split()
    version = next(word for word in said if word[:1].isdigit())
    return tuple(map(int, version.decode().split("."))) < (0, 8, 2)


def test_no_cut_goes_unnoticed() -> None:
    """Whatever is missing at the end of a manifest, it is not taken for a whole one."""
    data = written(*SAMPLE)
    for size in range(len(manifest.FIRST), len(data)):
        with pytest.raises(UsageError, match=r"^FILE, line \d+: "):
            read(data[:size])


HEAD = b"# filexfer manifest 1\n"
META = b"#: stored file 3 2026-03-01T08:30:00.000000000Z"
DIGEST = b"0f" * 32 + b"  a\n"
DAMAGED = [
    (b"# filexfer manifest 2\n", 1, "of version 2, not 1"),
    (b"# filexfer manifest x\x1b[31m\n", 1, r"of version x\x1b[31m, not 1"),
    (HEAD, 1, "its last line, '#: end', is missing"),
    (HEAD + b"#: end 1\n", 2, "has 0 files, and says otherwise"),
    (HEAD + META + b"\n" + DIGEST + b"#: end 0\n", 4, "has 1 files, and says otherwise"),
    (HEAD + b"#: end 0\n# more\n", 3, "something follows the end"),
    (HEAD + b"\n#: end 0\n", 2, "the line is empty"),
    (HEAD + DIGEST + b"#: end 0\n", 2, "neither '# ' nor '#:'"),
    (HEAD + META + b"\n#: end 1\n", 3, "has no digest and name"),
    (HEAD + META + b"\nnonsense\n#: end 1\n", 3, "has no digest and name"),
    (HEAD + META.replace(b" 3 ", b" -3 ") + b"\n" + DIGEST, 2, "-3 is no size"),
    (HEAD + META.replace(b" 3 ", b" %d " % 2**63) + b"\n" + DIGEST, 2, "is no size"),
    (HEAD + META.replace(b" 3 ", b" " + b"9" * 5000 + b" ") + b"\n" + DIGEST, 2, "is no size"),
    (HEAD + META.replace(b"-03-", b"-13-") + b"\n" + DIGEST, 2, "is no time"),
    (HEAD + META.replace(b"Z", b"") + b"\n" + DIGEST, 2, "is no time"),
    (HEAD + META.replace(b"stored", b"st\x1b[ored") + b"\n", 2, "no result and type"),
    (HEAD + META.replace(b"file", b"folder") + b"\n", 2, "no result and type"),
    (HEAD + b"#: stored file\n", 2, "does not say type, size and time"),
    (HEAD + b"#: failed exists\n", 2, "no reason or no name"),
    (HEAD + META + b" a\\tb\n", 2, "a backslash in a name"),
    (HEAD + META + b" a\0b\n", 2, "a name has a NUL"),
    (HEAD + META + b"\n\\" + DIGEST.replace(b" a", b" a\\"), 3, "a backslash in a name"),
    (HEAD + META + b"\nSHA1 (a) = " + b"0f" * 20 + b"\n", 3, "of SHA1 are none that filexfer"),
    (HEAD + META + b"\nSHA256 (a) = 0f0f0f0f\n", 3, "of 8 digits is no digest of sha256"),
    (b"0f" * 20 + b"  a\n", 1, "a digest of 40 digits is none that filexfer knows"),
    (DIGEST + b"\x7fELF\n", 2, "has no digest and name"),
    (b"\0" * (LINE_MAX + 1), 1, f"longer than {LINE_MAX} bytes"),
    (DIGEST + b"a" * (1 << 20), 2, f"longer than {LINE_MAX} bytes"),
]


@pytest.mark.parametrize(("data", "line", "text"), DAMAGED)
def test_damage_is_told_with_its_line(data: bytes, line: int, text: str) -> None:
    """What is wrong is said in one line that a terminal can show, with the number of the line."""
    with pytest.raises(UsageError) as caught:
        read(data)
    said = str(caught.value)
    assert said.startswith(f"FILE, line {line}: ")
    assert text in said
    assert said.isprintable()
    assert len(said) < 800


def test_files_of_checksums_from_elsewhere() -> None:
    """Plain and tagged lines, comments, line ends of DOS and capital digits are understood."""
    md5, sha, b2 = "0F" * 16, "1e" * 32, "2d" * 64
    text = f"# made by hand\n\n{md5}  a\n{sha} *b c\r\nBLAKE2b (d) = {b2}\nXXH128 (e) = {md5}"
    assert [(each.name, each.digest) for each in read(text.encode())] == [
        ("a", "md5:" + md5.lower()),
        ("b c", "sha256:" + sha),
        ("d", "blake2b:" + b2),
        ("e", "xxh3_128:" + md5.lower()),
    ]
    (only,) = read(f"{md5}  a\n".encode(), "xxh3_128")
    assert only.digest == "xxh3_128:" + md5.lower()
    assert (only.size, only.mtime, only.result) == (None, None, "")
    with pytest.raises(UsageError, match="a digest of 32 digits is no digest of sha256"):
        read(f"{md5}  a\n".encode(), "sha256")
    assert read(b"") == []


def test_the_example_of_the_readme() -> None:
    """It is a manifest, of files that have these digests, and the limit beside it is the program's."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    part = text.partition("## After: the receipt\n")[2].partition("\n## ")[0]
    example = part.partition("```text\n")[2].partition("```")[0]
    one, two, three = read(example.encode())
    assert (one.digest, two.digest) == (digest_of("sha256")(b"one"), digest_of("sha256")(b"two"))
    assert (three.name, three.code) == ("photos/3.jpg", "exists")
    assert f"more than {PLAIN_MAX >> 10} KiB" in part


def test_reading_takes_no_memory() -> None:
    """However long a manifest is, one line of it is held."""
    digest = digest_of("sha256")(b"")
    records = [Record(f"folder/{number}", digest, 0, TIME, "stored") for number in range(1500)]
    file = io.BytesIO(written(*records))
    del records
    tracemalloc.start()
    try:
        assert sum(1 for _ in Manifest(file, "FILE")) == 1500
        assert tracemalloc.get_traced_memory()[1] < 150_000
    finally:
        tracemalloc.stop()
