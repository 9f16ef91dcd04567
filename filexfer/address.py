"""Addresses as people write them: ``fx://HOST[:PORT]/PATH`` and ``HOST:PATH``.

This module must not know what is done at an address.
"""

from __future__ import annotations

from filexfer.errors import UsageError
from filexfer.names import shown

DEFAULT_PORT = 17177
SCHEME = "fx://"


class Remote:
    """A place on a server.

    Attributes:
        host: Name or address.
        port: TCP port.
        path: Name below the folder that is served; ``""`` is that folder.
        is_folder: Whether it was written as a folder: empty, or with a slash at its end.

    """

    __slots__ = ("host", "is_folder", "path", "port")

    def __init__(self, host: str, port: int, path: str) -> None:
        self.host = host
        self.port = port
        self.is_folder = path in ("", ".") or path.endswith(("/", "/."))
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"{shown(path)}: a path on a server cannot have '..' in it")
        self.path = "/".join(parts)

    def __str__(self) -> str:
        return format_url(self.host, self.port, self.path, is_folder=self.is_folder)


def is_remote(text: str) -> bool:
    """Tell whether *text* is a place on a server: ``fx://``, or a ``:`` before any ``/``."""
    if text.startswith(SCHEME):
        return True
    if text.startswith("["):
        return "]:" in text.partition("/")[0]
    return ":" in text.partition("/")[0]


def parse(text: str) -> Remote:
    """Return the place that *text* names.

    Raises:
        UsageError: if it names none.

    """
    if text.startswith(SCHEME):
        authority, _, path = text[len(SCHEME) :].partition("/")
        host, port = _host_and_port(authority, text)
        return Remote(host, port, _decoded(path))
    if not is_remote(text):
        raise UsageError(
            f"{shown(text)} is a local path; a remote one is HOST:PATH or fx://HOST/PATH"
        )
    if text.startswith("["):
        host, _, path = text[1:].partition("]:")
    else:
        host, _, path = text.partition(":")
    if not host:
        raise UsageError(f"{shown(text)} has no host")
    if path.startswith("//") and host.isalnum():
        raise UsageError(f"{shown(text)} is an address of another kind; one here is fx://HOST/PATH")
    return Remote(host, DEFAULT_PORT, path)


def format_url(host: str, port: int, path: str, *, is_folder: bool) -> str:
    """Return an address as ``fx://``, which ``parse`` understands."""
    port_text = "" if port == DEFAULT_PORT else f":{port}"
    if (
        path
        and not path.replace("/", "").replace(".", "").replace("-", "").replace("_", "").isalnum()
    ):
        from urllib.parse import quote  # noqa: PLC0415 - seldom needed

        if not path.isprintable() or any(character in path for character in "%#? "):
            path = quote(path, safe="/~+=,@:!$&'()*;", errors="surrogateescape")
    slash = "/" if is_folder and path else ""
    return f"{SCHEME}{written(host)}{port_text}/{path}{slash}"


def written(host: str) -> str:
    """Return *host* as it stands in an address: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(address: str) -> bool:
    """Tell whether only this machine can reach the numeric *address*."""
    if address.startswith("127.") or address == "::1":
        return True
    from ipaddress import IPv6Address, ip_address  # noqa: PLC0415 - costs 5 ms, seldom needed

    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped.is_loopback
    return parsed.is_loopback


def _host_and_port(authority: str, text: str) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise UsageError(f"{shown(text)}: an IPv6 address stands in brackets: fx://[::1]:PORT/")
        port_text = rest[1:]
        has_port = bool(rest)
    else:
        host, colon, port_text = authority.partition(":")
        has_port = bool(colon)
    if not host:
        raise UsageError(f"{shown(text)} has no host")
    if not has_port:
        return host, DEFAULT_PORT
    is_number = port_text.isascii() and port_text.isdigit() and len(port_text) <= 5
    if not (is_number and 0 < int(port_text) < 65536):
        raise UsageError(f"{shown(text)}: a port is a number from 1 to 65535")
    return host, int(port_text)


def _decoded(path: str) -> str:
    if "%" not in path:
        return path
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - seldom needed

    return unquote_to_bytes(path.encode("utf-8", "surrogateescape")).decode(
        "utf-8", "surrogateescape"
    )
