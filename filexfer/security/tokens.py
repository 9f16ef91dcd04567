"""The tokens that a server knows: one file, with what the bearer of each may do.

A token is random and long, so of each its SHA-256 is enough, and needs no slow hash. The file is
written whole, under a lock, and nobody else may read it. What is not understood in it makes all of
it unusable: a slip of the pen must not let anybody in.

    {"version": 1, "tokens": [{"name": "ann", "sha256": "...", "rights": ["read", "list"],
      "root": "photos", "expires": 1893456000, "max_file_size": null, "quota": null,
      "created": 1767225600}]}

This module must not know who shows tokens, or how a folder is served.
"""

from __future__ import annotations

import json
import os
import re
import time
from hashlib import sha256

from filexfer import names
from filexfer.errors import LocalError, UsageError
from filexfer.names import shown
from filexfer.security import private
from filexfer.security.access import RIGHTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE = "tokens.json"
VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
NAME_RULE = "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"
_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MAX = 2**63 - 1


class Token:
    """What is known of a token; the token itself is not.

    Args:
        name: Whose it is.
        sha256: Of the token, in hex.
        rights: Some of ``RIGHTS``.
        root: Folder below the one that is served, to which its bearer is held.
        expires: Seconds since 1970; None for never.
        max_file_size: Bytes of one file; None for no limit.
        quota: Bytes of all files below *root*; None for no limit.
        created: Seconds since 1970.

    Raises:
        UsageError: if something of this cannot be.

    """

    __slots__ = (
        "created",
        "expires",
        "max_file_size",
        "name",
        "quota",
        "rights",
        "root",
        "sha256",
    )

    def __init__(
        self,
        name: str,
        sha256: str,
        rights: list[str],
        *,
        root: str = "",
        expires: int | None = None,
        max_file_size: int | None = None,
        quota: int | None = None,
        created: int = 0,
    ) -> None:
        if type(name) is not str or not NAME.fullmatch(name):
            raise UsageError(f"a token's name has {NAME_RULE}, not {shown(str(name))!r}")
        if type(sha256) is not str or not _DIGEST.fullmatch(sha256):
            raise UsageError(f"the token {name} has no SHA-256")
        if type(rights) is not list or not rights or not all(each in RIGHTS for each in rights):
            raise UsageError(f"the rights of a token are some of {', '.join(RIGHTS)}")
        if type(root) is not str:
            raise UsageError(f"the root of the token {name} is no name")
        if root.startswith("/"):
            raise UsageError(
                f"{shown(root)!r} cannot be the root of a token: it is relative to the folder that "
                "is served"
            )
        try:
            names.split(root)
        except names.BadName as error:
            raise UsageError(f"{shown(root)!r} cannot be the root of a token: {error}") from None
        for value in (expires, max_file_size, quota, created):
            if value is not None and not (type(value) is int and 0 <= value <= _MAX):
                raise UsageError(f"the token {name} has a number that cannot be")
        if created is None:
            raise UsageError(f"the token {name} was never made")
        self.name = name
        self.sha256 = sha256
        self.rights = frozenset(rights)
        self.root = root
        self.expires = expires
        self.max_file_size = max_file_size
        self.quota = quota
        self.created = created

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and time.time() >= self.expires

    def written(self) -> dict[str, Any]:
        """Return it as it stands in the file."""
        made = {each: getattr(self, each) for each in self.__slots__}
        return {**made, "rights": [right for right in RIGHTS if right in self.rights]}


class Store:
    """A file of tokens.

    Args:
        path: The file; by default ``tokens.json`` in the server's state folder.

    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = os.fspath(path or os.path.join(private.state_folder(), FILE))

    def read(self) -> list[Token] | None:
        """Return the tokens, or None if there is no file.

        Raises:
            LocalError: if it cannot be read, or is not wholly understood.
            TrustError: if others may read or change it.

        """
        data = private.read(self.path)
        if data is None:
            return None
        try:
            return _parsed(data)
        except (ValueError, UsageError, RecursionError) as error:
            raise LocalError(
                f"{shown(self.path)} is not a file of tokens that this version understands, so "
                f"nobody is let in by it: {shown(str(error))}"
            ) from None

    def add(self, name: str, rights: list[str], *, only_first: bool = False, **more: Any) -> str:
        """Make a token, and return it: it cannot be had again.

        Args:
            name: Whose it is.
            rights: Some of ``RIGHTS``.
            only_first: Make none if there is any already, and return ``""``.
            more: Further arguments of ``Token``.

        Raises:
            LocalError, TrustError: as ``read`` does, or if the file cannot be written.
            UsageError: if there is one of that name, or something of it cannot be.

        """
        from secrets import token_urlsafe  # noqa: PLC0415 - seldom needed

        secret = token_urlsafe(24)  # 192 bits
        made = Token(name, digest(secret), rights, created=int(time.time()), **more)
        with private.locked(self.path):
            there = self.read() or []
            if only_first and there:
                return ""
            if any(each.name == name for each in there):
                raise UsageError(f"there is a token {name} already; revoke it first")
            self._write([*there, made])
        return secret

    def revoke(self, name: str) -> None:
        """Forget a token: running servers refuse it from its next request on.

        Raises:
            LocalError, TrustError: as ``add`` does.
            UsageError: if there is none of that name.

        """
        with private.locked(self.path):
            there = self.read() or []
            left = [each for each in there if each.name != name]
            if len(left) == len(there):
                raise UsageError(f"there is no token {shown(name)}")
            self._write(left)

    def _write(self, tokens: list[Token]) -> None:
        made = {"version": VERSION, "tokens": [each.written() for each in tokens]}
        private.write(self.path, json.dumps(made, indent=1).encode() + b"\n")


def digest(secret: str) -> str:
    """Return what is stored of a token."""
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _parsed(data: bytes) -> list[Token]:
    made = json.loads(data, object_pairs_hook=_distinct)
    if type(made) is not dict or set(made) != {"version", "tokens"}:
        raise ValueError("it must have 'version' and 'tokens', and nothing else")
    if type(made["version"]) is not int or made["version"] != VERSION:
        raise ValueError(f"its version is not {VERSION}")
    if type(made["tokens"]) is not list:
        raise ValueError("'tokens' is not a list")
    tokens = []
    for each in made["tokens"]:
        if type(each) is not dict or set(each) != set(Token.__slots__):
            raise ValueError(f"a token must have {', '.join(Token.__slots__)}, and nothing else")
        tokens.append(Token(**each))
    for what in ("name", "sha256"):
        if len({getattr(each, what) for each in tokens}) != len(tokens):
            raise ValueError(f"two tokens have the same {what}")
    return tokens


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("something stands in it twice")
    return made
