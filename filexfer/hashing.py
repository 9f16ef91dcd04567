"""Hash algorithms by name, and digests as text.

A digest is written ``algorithm:hex``, so that it says what it is wherever it stands. The default
finds damage by networks, memory and disks at more than 10 GB/s a core; it is not made to resist
somebody who forges files. ``sha256`` and ``blake2b`` are.

This module must not know files or sockets.
"""

from __future__ import annotations

from importlib import import_module

import xxhash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    Data = bytes | bytearray | memoryview

    class Hash(Protocol):
        """An incremental hash, as hashlib and xxhash make them."""

        def update(self, data: Data, /) -> object:
            """Take in more bytes."""

        def hexdigest(self) -> str:
            """Return the digest of all that was taken in."""

    class Hashing(Protocol):
        """What an exchange uses of this module."""

        def new(self, algorithm: str) -> Hash:
            """Return a fresh hash."""

        def digest_of(self, algorithm: str) -> Callable[[Data], str]:
            """Return a function from bytes to their digest as ``algorithm:hex``."""


DEFAULT = "xxh3_128"
HEX_SIZES = {"xxh3_128": 32, "sha256": 64, "blake2b": 128, "md5": 32}
ALGORITHMS = tuple(HEX_SIZES)
STRONG = ("sha256", "blake2b")  # nobody can make other bytes of the same digest


def new(algorithm: str) -> Hash:
    """Return a fresh hash.

    Raises:
        KeyError: if *algorithm* is none of ``ALGORITHMS``.

    """
    if algorithm == DEFAULT:
        return xxhash.xxh3_128()
    if algorithm not in HEX_SIZES:
        raise KeyError(algorithm)
    # hashlib loads OpenSSL, which the default does not need.
    made: Hash = getattr(import_module("hashlib"), algorithm)(usedforsecurity=False)
    return made


def digest_of(algorithm: str) -> Callable[[Data], str]:
    """Return a function from bytes to their digest as ``algorithm:hex``."""
    if algorithm == DEFAULT:
        whole = xxhash.xxh3_128_hexdigest
        return lambda data: "xxh3_128:" + whole(data)

    def digest(data: Data) -> str:
        made = new(algorithm)
        made.update(data)
        return text(algorithm, made)

    return digest


def text(algorithm: str, made: Hash) -> str:
    """Return the digest in *made* as ``algorithm:hex``."""
    return f"{algorithm}:{made.hexdigest()}"


def algorithm_of(digest: str) -> str:
    """Return the algorithm of a digest written ``algorithm:hex``.

    Raises:
        ValueError: if the text is no digest of a known algorithm.

    """
    algorithm, _, digits = digest.partition(":")
    if HEX_SIZES.get(algorithm) != len(digits) or digits.strip("0123456789abcdef"):
        raise ValueError(f"is not a digest of {', '.join(ALGORITHMS)}")
    return algorithm
