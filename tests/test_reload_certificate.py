"""A server whose certificate and tokens are exchanged while it runs."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS
from test_cli_process import Service
from test_trust import made

from filexfer import Client, Trust, TrustError
from filexfer.security import certificate
from filexfer.security.tokens import Store

if TYPE_CHECKING:
    from pathlib import Path


def shown_by(port: int) -> str:
    """Return the fingerprint of the certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["filexfer/1"])
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS) as sock,
        context.wrap_socket(sock) as wrapped,
    ):
        return certificate.fingerprint(wrapped.getpeercert(binary_form=True) or b"")


@pytest.mark.case("G13")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_another_certificate(tmp_path: Path, workers: str) -> None:
    """SIGHUP lets new connections see the new certificate; those under way go on with theirs."""
    for name in ("old", "new", "in"):
        (tmp_path / name).mkdir()
    old, new = made(tmp_path / "old"), made(tmp_path / "new")
    file, tokens = tmp_path / "old" / "all.pem", tmp_path / "tokens"
    secret = Store(str(tokens)).add("all", ["read", "list", "create"])
    known = Trust(token=secret, fingerprint=old.fingerprint)
    words = ("-v", "--workers", workers, "--cert", str(file), "--tokens", str(tokens))
    with Service(tmp_path / "in", *words) as service:
        assert shown_by(service.port) == old.fingerprint
        client = Client("127.0.0.1", service.port, trust=known)
        with client:
            client.make_folder("before")
            os.replace(tmp_path / "new" / "all.pem", file)
            service.process.send_signal(signal.SIGHUP)
            while not service.line().endswith(" INFO reloaded"):
                pass
            assert {shown_by(service.port) for _ in range(6)} == {new.fingerprint}
            client.make_folder("after")
        with (
            pytest.raises(TrustError),
            Client("127.0.0.1", service.port, trust=known) as late,
        ):
            late.make_folder("never")
        assert sorted(os.listdir(tmp_path / "in")) == ["after", "before"]
        assert service.end() == 0


@pytest.mark.case("G13")
def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    """The old one stays in use, and the reason is logged."""
    (tmp_path / "in").mkdir()
    (tmp_path / "old").mkdir()
    old = made(tmp_path / "old")
    file = tmp_path / "old" / "all.pem"
    with Service(tmp_path / "in", "-v", "--cert", str(file)) as service:
        file.write_bytes(b"nothing")
        service.process.send_signal(signal.SIGHUP)
        while "all.pem" not in (line := service.line()):
            pass
        assert "no certificate" in line
        assert shown_by(service.port) == old.fingerprint
        assert service.end() == 0
