"""Connect strings: ``fx://TOKEN@HOST:PORT/PATH#FINGERPRINT``, all that a client needs in one line.

The token is a secret: it never shows in what is printed of a place. The fingerprint is that of the
server's certificate, as ``certificate.fingerprint`` gives it.

This module must not know where such lines are kept, or how a server is talked to.
"""

from __future__ import annotations

from filexfer.address import SCHEME, Remote, parse, written
from filexfer.errors import UsageError

FINGERPRINT_LENGTH = 43  # characters: 256 bits in base64 without padding
TOKEN_MAX = 1024  # characters; ours have far fewer
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


class SecretRemote(Remote):
    """A place on a server, with what is needed to be let in.

    Attributes:
        token: What the client shows; ``""`` for nothing.
        fingerprint: Of the certificate that the server must have; ``""`` if it is not known.
        ca: The authorities that must vouch for the server in its place, as ``Trust`` takes them.
        name: The name that the server is stored under, or ``""``.
        rights: What a stored server let this client do when it was last asked.

    """

    __slots__ = ("ca", "fingerprint", "name", "rights", "token")

    def __init__(
        self, host: str, port: int, path: str, *, token: str = "", fingerprint: str = ""
    ) -> None:
        super().__init__(host, port, path)
        self.token = token
        self.fingerprint = fingerprint
        self.ca = ""
        self.name = ""
        self.rights: tuple[str, ...] = ()


def format_connect_string(token: str, host: str, port: int, fingerprint: str) -> str:
    """Return the line to paste at a client: ``fx://TOKEN@HOST:PORT/#FINGERPRINT``.

    Args:
        token: Made of the URL-safe characters A-Z a-z 0-9 - and _; ``""`` for none.
        host: Name or address, as the client reaches it.
        port: TCP port.
        fingerprint: Of the server's certificate; ``""`` for none.

    """
    user = f"{token}@" if token else ""
    pin = f"#{fingerprint}" if fingerprint else ""
    return f"{SCHEME}{user}{written(host)}:{port}/{pin}"


def is_connect_string(text: str) -> bool:
    """Tell whether *text* is an address with a token or a fingerprint in it."""
    if not text.startswith(SCHEME):
        return False
    return "@" in _authority(text) or is_fingerprint(text.rpartition("#")[2])


def parse_connect_string(text: str) -> SecretRemote:
    """Return the place that *text* names, and what is needed to be let in.

    Raises:
        UsageError: if it is not a connect string; the text of the error has no secret in it.

    """
    if not is_connect_string(text):
        raise UsageError("that is no connect string: fx://TOKEN@HOST:PORT/#FINGERPRINT")
    place, hash_sign, fingerprint = text.rpartition("#")
    if not hash_sign:
        place, fingerprint = text, ""
    elif not is_fingerprint(fingerprint):
        raise UsageError(
            "the fingerprint at the end of the connect string has not the "
            f"{FINGERPRINT_LENGTH} characters of one: copy the whole line again"
        )
    authority = _authority(place)
    token, at, address = authority.rpartition("@")
    if at and not is_token(token):
        raise UsageError(
            "the token of the connect string, between fx:// and @, may have letters, digits, "
            "- and _ only: copy the whole line again"
        )
    rest = place[len(SCHEME) + len(authority) :]
    where = parse(f"{SCHEME}{address}{rest}")
    slash = "/" if where.is_folder else ""
    return SecretRemote(
        where.host, where.port, where.path + slash, token=token, fingerprint=fingerprint
    )


def is_fingerprint(text: str) -> bool:
    """Tell whether *text* can be the fingerprint of a certificate."""
    return len(text) == FINGERPRINT_LENGTH and _LETTERS.issuperset(text)


def is_token(text: str) -> bool:
    """Tell whether *text* can be a token."""
    return 0 < len(text) <= TOKEN_MAX and _LETTERS.issuperset(text)


def _authority(text: str) -> str:
    return text[len(SCHEME) :].partition("/")[0].partition("#")[0]
