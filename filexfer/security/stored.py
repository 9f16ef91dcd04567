"""What a client has stored of servers: those it was given a name for, and those it has met.

``remotes.json`` has a place, a token and a fingerprint for each name; ``known_servers.json`` has
the fingerprint of each other server that somebody said yes to. Both are the owner's alone.

This module must not know how a server is talked to, or how people are asked.
"""

from __future__ import annotations

import os

from filexfer.address import SCHEME, Remote, parse, written
from filexfer.errors import LocalError, UsageError
from filexfer.names import shown
from filexfer.security import private
from filexfer.security.connect_string import (
    SecretRemote,
    is_connect_string,
    is_fingerprint,
    is_token,
    parse_connect_string,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME_MAX = 100  # characters
_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")


# Servers by name


def resolve(text: str) -> Remote:
    """Return the place that *text* names: ``NAME:PATH``, ``fx://HOST/PATH`` or ``HOST:PATH``.

    A stored name wins over a host's.

    Raises:
        LocalError, TrustError: if the stored names cannot be read, or others may read them.
        UsageError: if it is no remote place.

    """
    if is_connect_string(text):
        return parse_connect_string(text)
    name, colon, path = text.partition(":")
    if colon and is_name(name) and not text.startswith(SCHEME):
        found = _read(_remotes_path(), _is_stored).get(name)
        if found:
            return _stored(name, found, path)
    return parse(text)


def is_name(text: str) -> bool:
    """Tell whether a server can be stored under this name."""
    return 0 < len(text) <= NAME_MAX and _NAME.issuperset(text) and text[0] not in "-."


def check_name(text: str) -> None:
    """Find out whether a server can be stored under this name.

    Raises:
        UsageError: if not.

    """
    if not is_name(text):
        raise UsageError(
            f"{shown(text)} cannot be the name of a server: it has letters, digits, - _ and . "
            f"only, at most {NAME_MAX}, and does not begin with - or ."
        )


def remotes() -> dict[str, SecretRemote]:
    """Return the stored servers by their names.

    Raises:
        LocalError: if they cannot be read.
        TrustError: if others may read them.

    """
    found = _read(_remotes_path(), _is_stored)
    return {name: _stored(name, each) for name, each in sorted(found.items())}


def store(name: str, remote: SecretRemote) -> None:
    """Store a server under a name, with what *remote* has of it but the path.

    One that has the name is replaced.

    Raises:
        LocalError, TrustError: as ``remotes`` does.
        UsageError: if the name cannot be one.

    """
    check_name(name)
    _change(
        _remotes_path(),
        _is_stored,
        name,
        {
            "host": remote.host,
            "port": remote.port,
            "token": remote.token,
            "fingerprint": remote.fingerprint,
            "ca": remote.ca,
            "rights": list(remote.rights),
        },
    )


def forget(name: str) -> bool:
    """Forget the server of that name, and return whether there was one."""
    return _change(_remotes_path(), _is_stored, name, None)


# Servers by address


def known(host: str, port: int) -> str:
    """Return the fingerprint of a server that was met before, or ``""``.

    Raises:
        LocalError, TrustError: as ``remotes`` does.

    """
    return str(_read(_known_path(), _is_known).get(_key(host, port), ""))


def all_known() -> dict[str, str]:
    """Return the fingerprints of the servers that were met before, by ``HOST:PORT``."""
    return {key: str(value) for key, value in _read(_known_path(), _is_known).items()}


def remember(host: str, port: int, fingerprint: str) -> None:
    """Take the fingerprint for that server's from now on."""
    _change(_known_path(), _is_known, _key(host, port), fingerprint)


def forget_known(key: str) -> bool:
    """Forget a server by its ``HOST:PORT``, and return whether it was known."""
    return _change(_known_path(), _is_known, key.lower(), None)


def _key(host: str, port: int) -> str:
    return f"{written(host)}:{port}".lower()


# Files


def _remotes_path() -> str:
    return os.path.join(private.config_folder(), "remotes.json")


def _known_path() -> str:
    return os.path.join(private.config_folder(), "known_servers.json")


def _read(path: str, is_valid: Callable[[object], bool]) -> dict[str, object]:
    data = private.read(path)
    if data is None:
        return {}
    import json  # noqa: PLC0415 - only who has stored something needs it

    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(map(is_valid, found.values())):
        raise LocalError(
            f"{shown(path)} is damaged: remove it, and store what it had again (filexfer login)"
        )
    return found


def _change(path: str, is_valid: Callable[[object], bool], key: str, value: object) -> bool:
    """Set or, with None, take away an entry; return whether it was there."""
    import json  # noqa: PLC0415 - as above

    with private.locked(path):
        found = _read(path, is_valid)
        was_there = key in found
        if value is None:
            if not was_there:
                return False
            del found[key]
        else:
            found[key] = value
        private.write(path, json.dumps(found, indent=2, sort_keys=True).encode() + b"\n")
    return was_there


def _is_known(value: object) -> bool:
    return isinstance(value, str) and is_fingerprint(value)


def _is_stored(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    host, port = value.get("host"), value.get("port")
    token, fingerprint = value.get("token"), value.get("fingerprint")
    rights, ca = value.get("rights"), value.get("ca")
    return (
        (isinstance(host, str) and host != "")
        and (type(port) is int and 0 < port < 65536)
        and (isinstance(token, str) and (not token or is_token(token)))
        and (isinstance(fingerprint, str) and (not fingerprint or is_fingerprint(fingerprint)))
        and isinstance(ca, str)
        and (isinstance(rights, list) and all(isinstance(right, str) for right in rights))
    )


def _stored(name: str, value: object, path: str = "") -> SecretRemote:
    assert isinstance(value, dict)  # noqa: S101 - it was checked when it was read
    made = SecretRemote(
        value["host"], value["port"], path, token=value["token"], fingerprint=value["fingerprint"]
    )
    made.ca, made.name, made.rights = value["ca"], name, tuple(value["rights"])
    return made
