"""The certificate by which clients recognise a server; one is made at first use.

It says who the server is by its key alone: clients compare its fingerprint. So it has no end that
would matter, needs no authority, and holds also where a clock is wrong.

This module must not know who listens, or what clients do with a fingerprint.
"""

from __future__ import annotations

import os

from filexfer.errors import LocalError, UsageError
from filexfer.names import shown
from filexfer.security import private
from filexfer.wire.transport import ALPN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl

FILE = "server.pem"  # key and certificate, in the server's state folder
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


class Identity:
    """What a server shows.

    Attributes:
        context: To talk TLS by, with certificate and key; is never changed.
        fingerprint: Of the certificate.

    """

    __slots__ = ("context", "fingerprint")

    def __init__(self, context: ssl.SSLContext, fingerprint: str) -> None:
        self.context = context
        self.fingerprint = fingerprint


def load(certificate: str | None = None, key: str | None = None) -> Identity:
    """Return what the server shows.

    Args:
        certificate: PEM file with the certificate, and those of the authorities between it and
            the one that clients know; by default the server's own, which is made at first use.
        key: PEM file with the key, if it is not in the same file.

    Raises:
        LocalError: if a file cannot be read or made.
        TrustError: if others may read the file that the key is in.
        UsageError: if there is no certificate in the file, or the key is not that of it.

    """
    if certificate is None:
        if key is not None:
            raise UsageError("a key needs its certificate: --cert FILE")
        certificate = own_path()
        text = private.read(certificate)
        if text is None:
            private.write(certificate, _made(), new=True)
            text = private.read(certificate)  # that of another process, if it was the first
    elif key is None:
        text = private.read(certificate)
    else:
        text = _public(certificate)
        if private.read(key) is None:
            raise LocalError(f"cannot read {shown(key)}: no such file")
    if text is None:
        raise LocalError(f"cannot read {shown(certificate)}: no such file")
    context = _context(certificate, key)
    return Identity(context, fingerprint(_first(text, certificate)))


def own_path() -> str:
    """Return the file with the server's own key and certificate."""
    return os.path.join(private.state_folder(), FILE)


def fingerprint(der: bytes) -> str:
    """Return the fingerprint of a certificate: its SHA-256 in 43 URL-safe characters."""
    from base64 import urlsafe_b64encode  # noqa: PLC0415 - only TLS needs it
    from hashlib import sha256  # noqa: PLC0415 - as above

    return urlsafe_b64encode(sha256(der).digest()).rstrip(b"=").decode()


def _public(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(private.SIZE_MAX)
    except OSError as error:
        raise LocalError(f"cannot read {shown(path)}: {error.strerror}") from error


def _first(text: bytes, path: str) -> bytes:
    """Return the first certificate of the file, which is the server's own."""
    from ssl import PEM_cert_to_DER_cert  # noqa: PLC0415 - only TLS needs it

    _, begin, rest = text.decode("ascii", "replace").partition(_BEGIN)
    try:
        return PEM_cert_to_DER_cert(begin + rest.partition(_END)[0] + _END)
    except ValueError:
        raise UsageError(f"{shown(path)} has no certificate in it") from None


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    import ssl  # noqa: PLC0415 - costs 11 ms that only TLS needs

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # nothing is taken up again: a session has no use for it
    context.set_alpn_protocols([ALPN])
    try:
        context.load_cert_chain(certificate, key, password="")  # else it would ask
    except ssl.SSLError as error:
        where = f"{shown(certificate)} and {shown(key)}" if key else shown(certificate)
        why = {"KEY_VALUES_MISMATCH": "the key is not that of the certificate"}
        raise UsageError(
            f"{where}: "
            + why.get(error.reason or "", "no certificate and key as PEM, without a password")
        ) from None
    except OSError as error:
        raise LocalError(f"cannot read {shown(certificate)}: {error.strerror}") from error
    return context


def _made() -> bytes:
    """Return a new key and its certificate, as PEM."""
    import socket  # noqa: PLC0415 - once in the life of a server
    from datetime import UTC, datetime  # noqa: PLC0415 - as above

    from cryptography import x509  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - as above

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "filexfer")])
    host = socket.gethostname()
    names = ["localhost", host] if host.isascii() and host else ["localhost"]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in dict.fromkeys(names)]),
            critical=False,
        )
    )
    while True:
        made = builder.serial_number(x509.random_serial_number()).sign(key, hashes.SHA256())
        if fingerprint(made.public_bytes(serialization.Encoding.DER))[0].isalnum():
            break  # an option can be given it as it is; a '-' before it would make it one
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + made.public_bytes(serialization.Encoding.PEM)
