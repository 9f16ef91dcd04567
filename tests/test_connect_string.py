"""Tests of connect strings, and of the servers that are stored under a name."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from filexfer import Client, LocalError, TrustError, UsageError
from filexfer.address import DEFAULT_PORT
from filexfer.address import Remote as PlainRemote
from filexfer.security import stored
from filexfer.security.connect_string import (
    SecretRemote,
    format_connect_string,
    is_connect_string,
    parse_connect_string,
)

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "S3cret-S3cret_S3cret"
PIN = "Ab-_" * 10 + "xyz"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what is stored in this test's folder."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path / "filexfer"


@given(
    token=st.text(LETTERS, max_size=60),
    host=st.sampled_from(["h", "192.0.2.7", "::1", "2001:db8::7", "nas.example.org"]),
    port=st.integers(1, 65535),
    fingerprint=st.just("") | st.text(LETTERS, min_size=43, max_size=43),
)
def test_what_is_written_is_read(token: str, host: str, port: int, fingerprint: str) -> None:
    """Every connect string comes back as it went in, with a path also."""
    line = format_connect_string(token, host, port, fingerprint)
    assert is_connect_string(line) == bool(token or fingerprint)
    if not (token or fingerprint):
        return
    for each in (line, line.replace("/#", "/a/b%23c/#") if fingerprint else f"{line}a/b%23c/"):
        found = parse_connect_string(each)
        assert (found.host, found.port) == (host, port)
        assert (found.token, found.fingerprint) == (token, fingerprint)
        assert found.is_folder
    assert found.path == "a/b#c"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"fx://{SECRET}@h:1/#{PIN[1:]}", "fingerprint"),
        (f"fx://{SECRET}@h:1/#{PIN}x", "fingerprint"),
        (f"fx://{SECRET}@h:1/#", "fingerprint"),
        (f"fx://{SECRET}@h:1/#{PIN[1:]}=", "fingerprint"),
        (f"fx://{SECRET}%41@h:1/#{PIN}", "token"),
        (f"fx://{SECRET}:pw@h:1/#{PIN}", "token"),
        (f"fx://@h:1/#{PIN}", "token"),
        (f"fx://{SECRET}@h@h:1/#{PIN}", "token"),
        (f"fx://{SECRET * 100}@h:1/#{PIN}", "token"),
        (f"fx://{SECRET}@/#{PIN}", "host"),
        (f"fx://{SECRET}@h:0/#{PIN}", "port"),
        (f"fx://{SECRET}@h:1/../x#{PIN}", r"\.\."),
        ("fx://h/", "no connect string"),
        ("nas:", "no connect string"),
        ("", "no connect string"),
    ],
)
@pytest.mark.case("K8")
def test_what_is_none(text: str, why: str) -> None:
    """A line that was copied badly is refused with the reason, which has no secret in it."""
    with pytest.raises(UsageError, match=why) as caught:
        parse_connect_string(text)
    assert SECRET not in str(caught.value)
    assert PIN[1:] not in str(caught.value)


@pytest.mark.case("K8")
def test_a_place_does_not_show_its_token() -> None:
    """Neither as a text nor as a representation."""
    found = parse_connect_string(f"fx://{SECRET}@h:1/a#{PIN}")
    assert str(found) == "fx://h:1/a"
    assert SECRET not in repr(found)


def test_a_number_sign_without_a_fingerprint_is_a_name() -> None:
    """As it was before there were fingerprints."""
    assert not is_connect_string("fx://h/a#b")
    assert not is_connect_string("h:a@b")
    assert stored.resolve("fx://h/a#b").path == "a#b"


# Stored servers


def remote(token: str = SECRET, **changes: str) -> SecretRemote:
    """Return a server as a login has it."""
    made = SecretRemote("nas.example.org", 17, "", token=token, fingerprint=PIN)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_a_stored_name_is_a_place(config: Path) -> None:
    """It wins over a host of that name, has all it was stored with, and takes any path."""
    assert type(stored.resolve("nas:a/b/")) is PlainRemote
    stored.store("nas", remote(ca="system"))
    found = stored.resolve("nas:a/b/")
    assert isinstance(found, SecretRemote)
    assert (found.host, found.port, found.path, found.is_folder) == (
        "nas.example.org",
        17,
        "a/b",
        True,
    )
    assert (found.token, found.fingerprint, found.ca, found.name) == (SECRET, PIN, "system", "nas")
    assert stored.resolve("nas:a%20#b").path == "a%20#b"
    for other in ("fx://nas/a", "nas.example.org:a", "NAS:a"):
        assert type(stored.resolve(other)) is PlainRemote
    with pytest.raises(UsageError, match="local path"):
        stored.resolve("nas")
    assert [*stored.remotes()] == ["nas"]


@pytest.mark.case("K14")
def test_what_is_stored_is_the_owners_alone(config: Path) -> None:
    """Both files have mode 0600; one that others may read is not used."""
    stored.store("nas", remote())
    stored.remember("H", 17, PIN)
    for name in ("remotes.json", "known_servers.json"):
        assert stat.S_IMODE(os.stat(config / name).st_mode) == 0o600
        os.chmod(config / name, 0o644)
    with pytest.raises(TrustError, match="chmod 600"):
        stored.resolve("nas:")
    with pytest.raises(TrustError, match="chmod 600"):
        stored.known("h", 17)


def test_known_servers() -> None:
    """One is known by host and port, however the host is written, until it is forgotten."""
    assert stored.known("Host", 17) == ""
    stored.remember("Host", 17, PIN)
    stored.remember("::1", 17, PIN[::-1])
    assert stored.known("hOST", 17) == PIN
    assert stored.known("::1", 17) == PIN[::-1]
    assert stored.known("host", 18) == ""
    assert stored.all_known() == {"host:17": PIN, "[::1]:17": PIN[::-1]}
    assert stored.forget_known("HOST:17")
    assert not stored.forget_known("host:17")
    assert stored.known("host", 17) == ""


def test_a_name_is_forgotten() -> None:
    """It is a host's again; another stays."""
    stored.store("nas", remote())
    stored.store("other", remote())
    assert stored.forget("nas")
    assert not stored.forget("nas")
    assert [*stored.remotes()] == ["other"]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "-a", ".a", "..", "ä", "a" * 101, "a\n"])
def test_names_that_cannot_be(name: str) -> None:
    """A name must be told from an option, a path and an address."""
    with pytest.raises(UsageError, match="cannot be the name"):
        stored.store(name, remote())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"nas": 1}',
        '{"nas": {}}',
        *(
            json.dumps({"nas": {**entry, key: value}})
            for entry in [
                {"host": "h", "port": 1, "token": "t", "fingerprint": "", "ca": "", "rights": []}
            ]
            for key, value in [
                ("host", ""),
                ("port", True),
                ("port", 70000),
                ("token", "a b"),
                ("fingerprint", "x"),
                ("ca", 1),
                ("rights", [1]),
            ]
        ),
    ],
)
def test_a_damaged_file(config: Path, text: str) -> None:
    """Nothing of it is used, and nothing in it is shown."""
    config.mkdir()
    (config / "remotes.json").write_text(text)
    (config / "remotes.json").chmod(0o600)
    with pytest.raises(LocalError, match="damaged"):
        stored.resolve("nas:")
    with pytest.raises(LocalError, match="damaged"):
        stored.store("other", remote())


def test_a_client_of_a_stored_server() -> None:
    """The library knows names and connect strings; a place on a server is none."""
    stored.store("nas", remote())
    for text in ("nas:", f"fx://{SECRET}@nas.example.org:17/#{PIN}"):
        client = Client.from_remote(text, timeout=3)
        assert client.url("a") == "fx://nas.example.org:17/a"
        assert client._door.timeout == 3
        assert client._door.trust
        assert client._door.trust.token(over_tls=False) == SECRET
    plain = Client.from_remote("fx://127.0.0.1/")
    assert plain.url("") == f"fx://127.0.0.1:{DEFAULT_PORT}/".replace(f":{DEFAULT_PORT}", "")
    with pytest.raises(UsageError, match="path on a server"):
        Client.from_remote("nas:photos")
