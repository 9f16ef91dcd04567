"""What ``filexfer doctor`` finds of a server that something is wrong with, by real causes."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest
from test_cli_doctor import findings
from test_cli_process import Service, fx, scripted, welcome
from test_clock import clock  # noqa: F401 - a fixture

from filexfer import Client, Limits, Trust
from filexfer.cli import main
from filexfer.measure import health
from filexfer.security import certificate
from filexfer.security.access import RIGHTS
from filexfer.security.connect_string import format_connect_string
from filexfer.security.tokens import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Raw, Served
    from test_clock import Jumping

    Serve = Callable[..., Served]
    Found = dict[str, tuple[str, str]]

OTHER = "x" * 43
TEN_YEARS = 10 * 365 * 86400


class House:
    """A server that talks TLS and asks for tokens."""

    def __init__(self, serve: Serve, store: Store, **options: Any) -> None:
        store.add("nobody", ["list"])
        self.identity = certificate.load()
        self.served = serve(tls=self.identity.context, tokens=store.path, **options)
        self.store = store

    def line(self, token: str, fingerprint: str = "") -> str:
        server = self.served.server
        pin = fingerprint or self.identity.fingerprint
        return format_connect_string(token, server.host, server.port, pin)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys and what is stored in this test's folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def house(homes: None, serve: Serve, tmp_path: Path) -> House:
    return House(serve, Store(tmp_path / "state" / "tokens.json"))


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Found, str]]:
    """Return a function that runs the doctor: its exit code, findings, and all it prints."""

    def run(*words: str) -> tuple[int, Found, str]:
        code = main(["doctor", *words])
        printed = capsys.readouterr().out
        return code, findings(printed), printed

    return run


# TLS and tokens


def test_a_server_with_all_that_is_needed(house: House, doctor: Any) -> None:
    """Certificate and token are told as good, and for how long."""
    code, found, _ = doctor(house.line(house.store.add("ann", list(RIGHTS))))
    assert code == 0
    pin = house.identity.fingerprint
    assert found["TLS"] == (
        "ok",
        f"the certificate is the one that is expected, valid for ever: {pin}",
    )
    assert found["token"] == ("ok", "accepted")
    assert found["rights"] == ("ok", "create, delete, list, overwrite, read")


@pytest.mark.case("K3")
def test_another_certificate(house: House, doctor: Any) -> None:
    """A certificate that is not the expected one ends the looking before anything is said."""
    code, found, printed = doctor(house.line(house.store.add("ann", ["read"]), OTHER))
    assert code == 4
    word, text = found["TLS"]
    assert word == "WRONG"
    assert OTHER in text
    assert house.identity.fingerprint in text
    assert "filexfer login" in printed
    assert "token" not in found


@pytest.mark.case("K13")
def test_a_token_that_was_revoked(house: House, doctor: Any) -> None:
    """A token that does not count any more is told, and how to get a new one."""
    line = house.line(house.store.add("ann", ["read"]))
    house.store.revoke("ann")
    code, found, printed = doctor(line)
    assert code == 4
    assert found["TLS"][0] == "ok"
    assert found["token"][0] == "WRONG"
    assert "the token is not one that this server knows" in found["token"][1]
    assert "filexfer token add" in printed


@pytest.mark.case("K16")
def test_in_the_clear_to_a_server_with_tls(house: House, doctor: Any) -> None:
    """Who talks in the clear to a server with TLS is told that, and what to do."""
    code, found, printed = doctor(house.served.server.address)
    assert code == 4
    assert found["TLS"][0] == "WRONG"
    assert "this server talks TLS only" in found["TLS"][1]
    assert "filexfer login NAME" in printed


@pytest.mark.case("K1")
def test_with_tls_to_a_server_in_the_clear(house: House, serve: Serve, doctor: Any) -> None:
    """Where a certificate is expected, a server without one is told as that."""
    plain = serve(folder=house.served.folder / "plain").server
    line = format_connect_string("t", plain.host, plain.port, house.identity.fingerprint)
    code, found, _ = doctor(line)
    assert (code, found["TLS"][0]) == (4, "WRONG")
    assert "token" not in found


def test_an_authority_that_vouches(house: House, serve: Serve, tmp_path: Path, doctor: Any) -> None:
    """Of a certificate by an authority the end is told, and when it is near, what to do."""
    import ssl  # noqa: PLC0415 - only here
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - only here

    import trustme  # noqa: PLC0415 - only here

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    soon = datetime.now(UTC) + timedelta(days=5)
    for ends, has_hint in ((soon, True), (soon + timedelta(days=100), False)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", not_after=ends).configure_cert(context)
        context.set_alpn_protocols(["filexfer/1"])
        served = serve(tls=context, tokens=house.store.path)
        token = house.store.add(f"ann{has_hint}", ["list"])
        line = format_connect_string(token, served.server.host, served.server.port, "")
        code, found, printed = doctor(line, "--ca", str(tmp_path / "ca.pem"))
        assert code == 0
        text = f"an authority vouches for the certificate, valid until {ends:%Y-%m-%d}"
        assert found["TLS"] == ("ok", text)
        assert ("renew it at the server" in printed) is has_hint


# What the server tells


def test_an_old_server(doctor: Any) -> None:
    """What a server does not tell is no fault."""

    def script(peer: Raw) -> None:
        welcome(peer)
        while (peer.reply() or {}).get("kind") == "stat":
            peer.frame({"kind": "entries", "entries": []})

    with scripted(lambda peer: peer.reply(), script) as address:
        code, found, _ = doctor(address)
    assert code == 0
    assert found["clock"] == ("ok", "not told: the server is older than this program")
    assert found["space there"] == ("ok", "not told")
    assert "largest file" not in found


def test_a_clock_that_is_wrong(
    clock: Jumping,  # noqa: F811 - the fixture
    tmp_path: Path,
) -> None:
    """A server whose clock is far from ours is told, and by how much; a minute is nothing."""
    with Service(tmp_path / "in", "--workers", "1", env=clock.env) as service:
        results = []
        for seconds in (30, TEN_YEARS, -7200 - 600):
            clock.set(seconds)
            results.append(fx("doctor", service.address))
    near, ahead, behind = results
    assert near.returncode == 0
    assert findings(near.stdout)["clock"][0] == "ok"
    assert ahead.returncode == 8
    assert findings(ahead.stdout)["clock"] == ("WRONG", "the server's is 3,650 days ahead")
    assert findings(behind.stdout)["clock"] == ("WRONG", "the server's is 2 hours behind")
    assert "set the wrong one of the two" in behind.stdout


def test_time_that_passes_on_the_way(doctor: Any) -> None:
    """A server that is slow to answer does not seem to have another time."""
    now = time.time_ns()
    there = now + 100 * 10**9
    assert health._of_clock(there, now, now + 200 * 10**9).code == 0
    assert health._of_clock(there + 100 * 10**9, now, now + 200 * 10**9).code == 0
    assert health._of_clock(there + 170 * 10**9, now, now + 200 * 10**9).code == 8
    years = TEN_YEARS * 10**9
    told = health._of_clock(now + years, now, now + 10**9)  # half a second less than was set
    assert told.text == "the server's is 3,650 days ahead"


def test_room_and_limits(serve: Serve, doctor: Any) -> None:
    """The room that is there, and the largest file, are told where the server has limits."""
    served = serve(limits=Limits(max_file_size=12345))
    status = os.statvfs(served.folder)
    code, found, _ = doctor(served.server.address)
    assert code == 0
    assert found["largest file"] == ("ok", "12,345 bytes")
    number, unit, *_ = found["space there"][1].split()
    told = float(number) * {"MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert 0 < told <= status.f_bavail * status.f_frsize + 1e9
    full = serve(limits=Limits(min_free=1 << 60), folder=served.folder / "full")
    code, found, printed = doctor(full.server.address)
    assert (code, found["space there"][0]) == (7, "WRONG")
    assert "ask whoever runs the server" in printed


@pytest.mark.parametrize(
    ("rights", "told"),
    [
        (["read", "list", "create"], "1,000 bytes can be stored"),
        (["read", "list"], "not told"),
        (["create"], "not told"),
    ],
)
def test_room_of_a_token(house: House, doctor: Any, rights: list[str], told: str) -> None:
    """The room is that of the quota; who may store nothing, and a drop box, is told nothing."""
    token = house.store.add("ann", rights, root="ann", quota=1000, max_file_size=10)
    code, found, _ = doctor(house.line(token))
    assert code == 0
    assert found["space there"] == ("ok", told)
    assert ("largest file" in found) is ("create" in rights)


def test_a_quota_that_is_used_up(house: House, doctor: Any) -> None:
    """A quota in which nothing fits any more is wrong, though the disk has room."""
    token = house.store.add("ann", ["read", "list", "create"], root="ann", quota=4)
    server = house.served.server
    trust = Trust(token=token, fingerprint=house.identity.fingerprint)
    (house.served.folder / "four").write_bytes(b"1234")
    with Client(server.host, server.port, trust=trust) as client:
        assert client.put([str(house.served.folder / "four")]).files == 1
    code, found, _ = doctor(house.line(token))
    assert (code, found["space there"][0]) == (7, "WRONG")


# This machine


def test_little_space_here(doctor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Little free space where one stands is wrong."""
    monkeypatch.setattr(health, "SPACE_LEAST", 1 << 62)
    code, found, printed = doctor()
    assert (code, found["space here"][0]) == (8, "WRONG")
    assert "make room, or download to another disk" in printed
