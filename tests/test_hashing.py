"""Hash algorithms by name, and digests as text."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filexfer import hashing

# Of nothing and of "abc", as published with the algorithms.
KNOWN = {
    "xxh3_128": ("99aa06d3014798d86001c324468d497f", "06b05ab6733a618578af5f94892f3950"),
    "md5": ("d41d8cd98f00b204e9800998ecf8427e", "900150983cd24fb0d6963f7d28e17f72"),
    "sha256": (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ),
    "blake2b": (
        (
            "786a02f742015903c6c6fd852552d272912f4740e15847618a86e217f71f5419"
            "d25e1031afee585313896444934eb04b903a685b1448b755d56f701afe9be2ce"
        ),
        (
            "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
            "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
        ),
    ),
}


def test_algorithms() -> None:
    """The words of the wire do not change."""
    assert hashing.ALGORITHMS == ("xxh3_128", "sha256", "blake2b", "md5")
    assert hashing.DEFAULT == "xxh3_128"


@pytest.mark.parametrize("algorithm", hashing.ALGORITHMS)
def test_known_digests(algorithm: str) -> None:
    """Each is the algorithm that its name says."""
    digest = hashing.digest_of(algorithm)
    for data, known in zip((b"", b"abc"), KNOWN[algorithm], strict=True):
        assert digest(data) == f"{algorithm}:{known}"
        assert digest(bytearray(data)) == digest(memoryview(data)) == digest(data)
        assert hashing.algorithm_of(digest(data)) == algorithm
        assert len(known) == hashing.HEX_SIZES[algorithm]


@pytest.mark.parametrize("algorithm", hashing.ALGORITHMS)
@given(pieces=st.lists(st.binary(max_size=50), max_size=6))
def test_in_pieces(algorithm: str, pieces: list[bytes]) -> None:
    """Pieces give the digest of the whole."""
    made = hashing.new(algorithm)
    for piece in pieces:
        made.update(memoryview(piece))
    assert hashing.text(algorithm, made) == hashing.digest_of(algorithm)(b"".join(pieces))


@pytest.mark.case("A18")
@pytest.mark.parametrize("algorithm", ["", "none", "xxh3", "XXH3_128", "sha1", "__class__", "new"])
def test_unknown_algorithms(algorithm: str) -> None:
    """A18: nothing but the four is ever looked up."""
    with pytest.raises(KeyError):
        hashing.new(algorithm)


@pytest.mark.case("A18")
@pytest.mark.parametrize(
    "digest",
    [
        "",
        ":",
        "md5",
        "md5:",
        "md5:" + "0" * 31,
        "md5:" + "0" * 33,
        "md5:" + "0" * 31 + "g",
        "md5:" + "0" * 15 + "zz" + "0" * 15,
        "md5:" + "A" * 32,
        "md5:" + "0" * 31 + " ",
        "md5:" + "0" * 31 + "\u0663",
        "MD5:" + "0" * 32,
        "sha256:" + "0" * 32,
        "none:",
        "sha1:" + "0" * 40,
        "0" * 32,
        ":" + "0" * 32,
        "md5::" + "0" * 32,
    ],
)
def test_no_digests(digest: str) -> None:
    """A18: a digest has a known algorithm, and exactly its length in lower-case hex digits."""
    with pytest.raises(ValueError, match="not a digest"):
        hashing.algorithm_of(digest)


def test_the_default_needs_no_hashlib() -> None:
    """A command that hashes with the default does not load OpenSSL."""
    code = (
        "import sys; before = set(sys.modules); from filexfer import hashing;"
        "hashing.new('xxh3_128').update(b'x'); hashing.digest_of('xxh3_128')(b'x');"
        "assert not {'hashlib', '_hashlib'} & (set(sys.modules) - before)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
