"""Tests of the server's certificate: how it is made, kept and read."""

from __future__ import annotations

import hashlib
import os
import signal
import ssl
import stat
import subprocess
import sys
from base64 import urlsafe_b64decode
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from test_cli_process import environment

from filexfer import LocalError, TrustError, UsageError
from filexfer.security import certificate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the key in this test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "filexfer"


def test_it_is_made_once(state: Path) -> None:
    """The first use makes it, in one file of mode 0600; later ones read it."""
    before = os.umask(0)
    try:
        made = certificate.load()
    finally:
        os.umask(before)
    assert os.listdir(state) == ["server.pem"]
    assert stat.S_IMODE(os.stat(state / "server.pem").st_mode) == 0o600
    assert certificate.load().fingerprint == made.fingerprint


def test_what_it_is(state: Path) -> None:
    """An EC key on P-256, no authority, for any time; the fingerprint is the SHA-256 of it."""
    from cryptography import x509  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - only here

    made = certificate.load()
    text = (state / "server.pem").read_text()
    found = x509.load_pem_x509_certificate(text.encode())
    key = found.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"
    constraints = found.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert found.not_valid_before_utc.year == 2000
    assert found.not_valid_after_utc.year == 9999
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    der = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") :])
    assert urlsafe_b64decode(made.fingerprint + "=") == hashlib.sha256(der).digest()
    assert len(made.fingerprint) == 43
    assert made.fingerprint[0].isalnum()  # else an option could not be given it


@pytest.mark.case("K2")
def test_only_the_newest_tls() -> None:
    """The server's context has TLS 1.3, gives no tickets, and so takes up no session again."""
    context = certificate.load().context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert context.num_tickets == 0


def test_two_at_once_have_the_same() -> None:
    """Of servers that start together the first time, one makes it and all show it."""
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: certificate.load().fingerprint, range(4)))
    assert len(set(made)) == 1


@pytest.mark.case("G16")
@pytest.mark.parametrize("moment", ["os.fsync", "os.link", "os.unlink"])
def test_a_kill_while_it_is_made(state: Path, moment: str) -> None:
    """The file is whole or not there, never readable for others, and the next start mends it."""
    script = (
        "import os, signal, stat, sys\n"
        "from filexfer.security import certificate\n"
        f"real = {moment}\n"
        "def die(*args, **options):\n"
        "    for name in os.listdir(sys.argv[1]):\n"
        "        mode = os.stat(os.path.join(sys.argv[1], name)).st_mode\n"
        "        if stat.S_IMODE(mode) != 0o600: os._exit(9)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{moment} = die\n"
        "certificate.load()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, state], env=environment(), check=False, timeout=30
    )
    assert run.returncode == -signal.SIGKILL
    was_there = (state / "server.pem").exists()
    assert was_there == (moment == "os.unlink")
    first = certificate.load().fingerprint
    assert certificate.load().fingerprint == first


@pytest.mark.case("K14")
def test_a_key_that_others_may_read_is_not_used(state: Path, tmp_path: Path) -> None:
    """Neither the server's own nor one that is given; a certificate without a key may be read."""
    certificate.load()
    own = state / "server.pem"
    text = own.read_text()
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text(text[text.index("-----BEGIN CERT") :])
    key.write_text(text[: text.index("-----BEGIN CERT")])
    for path in (own, cert, key):
        path.chmod(0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        certificate.load()
    with pytest.raises(TrustError, match="chmod 600"):
        certificate.load(str(own))
    with pytest.raises(TrustError, match="chmod 600"):
        certificate.load(str(cert), str(key))
    key.chmod(0o600)
    assert certificate.load(str(cert), str(key)).fingerprint


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")
@pytest.mark.case("K14")
def test_a_key_of_another_user_is_not_used(state: Path) -> None:
    """Its owner could change it."""
    certificate.load()
    os.chown(state / "server.pem", 12345, 12345)
    with pytest.raises(TrustError, match="another user"):
        certificate.load()


def test_a_given_certificate(tmp_path: Path) -> None:
    """The first certificate of a chain is the server's own; the key may be in the same file."""
    import trustme  # noqa: PLC0415 - only here

    issued = trustme.CA().create_child_ca().issue_cert("nas.example.org")
    together = tmp_path / "all.pem"
    together.write_bytes(issued.private_key_and_cert_chain_pem.bytes())
    together.chmod(0o600)
    der = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    assert certificate.load(str(together)).fingerprint == certificate.fingerprint(der)
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("x").private_key_pem.bytes())
    other.chmod(0o600)
    with pytest.raises(UsageError, match="not that of the certificate"):
        certificate.load(str(together), str(other))


def test_what_is_no_certificate(tmp_path: Path) -> None:
    """Each fault has its sentence; a key with a password asks nobody for it."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - only here
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - only here

    path, locked = tmp_path / "x.pem", tmp_path / "locked.pem"
    path.write_text("nonsense")
    path.chmod(0o600)
    with pytest.raises(LocalError, match="no such file"):
        certificate.load(str(tmp_path / "none"))
    with pytest.raises(LocalError, match="No such file"):
        certificate.load(str(tmp_path / "none"), str(path))
    with pytest.raises(UsageError, match="as PEM"):
        certificate.load(str(path))
    with pytest.raises(LocalError, match="no such file"):
        certificate.load(str(path), str(tmp_path / "none"))
    with pytest.raises(UsageError, match="needs its certificate"):
        certificate.load(None, str(path))
    certificate.load()
    own = (tmp_path / "state" / "filexfer" / "server.pem").read_text()
    path.write_text(own[own.index("-----BEGIN CERT") :])
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    locked.write_bytes(key)
    locked.chmod(0o600)
    with pytest.raises(UsageError, match="without a password"):
        certificate.load(str(path), str(locked))
