"""Addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filexfer import names
from filexfer.address import DEFAULT_PORT, format_url, is_loopback, is_remote, parse, written
from filexfer.errors import UsageError


@pytest.mark.parametrize(
    ("text", "host", "port", "path", "is_folder"),
    [
        ("fx://h", "h", DEFAULT_PORT, "", True),
        ("fx://h/", "h", DEFAULT_PORT, "", True),
        ("fx://h/.", "h", DEFAULT_PORT, "", True),
        ("fx://h/a", "h", DEFAULT_PORT, "a", False),
        ("fx://h/a/", "h", DEFAULT_PORT, "a", True),
        ("fx://h/a/.", "h", DEFAULT_PORT, "a", True),
        ("fx://h/./a//b", "h", DEFAULT_PORT, "a/b", False),
        ("fx://h//a", "h", DEFAULT_PORT, "a", False),
        ("fx://h:80/a", "h", 80, "a", False),
        ("fx://h:65535", "h", 65535, "", True),
        ("fx://h:00080/", "h", 80, "", True),
        ("fx://[::1]/a", "::1", DEFAULT_PORT, "a", False),
        ("fx://[::1]:80/a", "::1", 80, "a", False),
        ("fx://h/a%20b%25", "h", DEFAULT_PORT, "a b%", False),
        ("fx://h/%ff", "h", DEFAULT_PORT, "\udcff", False),
        ("fx://h/%C3%A9", "h", DEFAULT_PORT, "é", False),
        ("fx://h/a%2Fb", "h", DEFAULT_PORT, "a/b", False),
        ("fx://h/100%", "h", DEFAULT_PORT, "100%", False),
        ("fx://h/a?b#c", "h", DEFAULT_PORT, "a?b#c", False),
        ("fx://h/a:b", "h", DEFAULT_PORT, "a:b", False),
        ("h:", "h", DEFAULT_PORT, "", True),
        ("h:.", "h", DEFAULT_PORT, "", True),
        ("h:a", "h", DEFAULT_PORT, "a", False),
        ("h:/a/", "h", DEFAULT_PORT, "a", True),
        ("h:a%20b", "h", DEFAULT_PORT, "a%20b", False),
        ("h:a:b", "h", DEFAULT_PORT, "a:b", False),
        ("h:80/a", "h", DEFAULT_PORT, "80/a", False),
        ("[::1]:a", "::1", DEFAULT_PORT, "a", False),
        ("[::1]:", "::1", DEFAULT_PORT, "", True),
        ("10.0.0.1:x/..y", "10.0.0.1", DEFAULT_PORT, "x/..y", False),
    ],
)
def test_parse(text: str, host: str, port: int, path: str, is_folder: bool) -> None:
    """``fx://`` is percent-decoded and may have a port; ``HOST:PATH`` is literal."""
    assert is_remote(text)
    found = parse(text)
    assert (found.host, found.port, found.path, found.is_folder) == (host, port, path, is_folder)


@pytest.mark.parametrize(
    "text",
    [
        "fx://",
        "fx:///a",
        "fx://:80/a",
        "fx://h:/a",
        "fx://h:0/a",
        "fx://h:65536/a",
        "fx://h:00655360/a",
        "fx://h:1000000000000/a",
        "fx://h:-1/a",
        "fx://h:+80/a",
        "fx://h: 80/a",
        "fx://h:\u0668\u0660/a",
        "fx://h:80:90/a",
        "fx://::1/a",
        "fx://[::1/a",
        "fx://[::1]80/a",
        "fx://[]/a",
        "fx://h/../a",
        "fx://h/a/..",
        "fx://h/%2e%2e/a",
        "fx://h/a%2f..%2fb",
        "h:../a",
        "h:a/..",
        ":a",
        "[]:a",
        "a",
        "a/b:c",
        "./a:b",
        "/a:b",
        "",
        "[::1]",
    ],
)
def test_no_address(text: str) -> None:
    """What names no place on a server is a mistake in the command."""
    with pytest.raises(UsageError):
        parse(text)


@pytest.mark.parametrize("text", ["a", "a/b:c", "./a:b", "/a:b", "", "..", "[::1]", "[a/b]:c"])
def test_local(text: str) -> None:
    """A path with a slash before any colon, or without a colon, is a local one."""
    assert not is_remote(text)


def test_a_mistake_is_shown_harmless() -> None:
    """The address is escaped where the error repeats it."""
    with pytest.raises(UsageError) as caught:
        parse("\x1b[31m")
    assert "\x1b" not in str(caught.value)


good_names = st.text(st.characters(codec="utf-8"), max_size=30) | st.binary(max_size=20).map(
    lambda data: data.decode("utf-8", "surrogateescape")
)


def is_good(name: str) -> bool:
    try:
        return bool(names.split(name))
    except names.BadName:
        return False


@given(
    st.sampled_from(["h", "127.0.0.1", "::1", "example.org"]),
    st.integers(1, 65535) | st.just(DEFAULT_PORT),
    good_names.filter(is_good),
    st.booleans(),
)
@example("h", 1, "a%41", False)
@example("h", 1, "-._/0", True)
@example("h", 1, "a b", False)
@example("h", 1, "\udcff%", False)
@example("h", 1, "é?", False)
@example("h", 1, "?", False)
@example("h", 1, "...", False)
def test_round_trip(host: str, port: int, name: str, is_folder: bool) -> None:
    """An address that is shown can be pasted: it names the same place, in one printable line."""
    url = format_url(host, port, name, is_folder=is_folder)
    found = parse(url)
    assert (found.host, found.port, found.path, found.is_folder) == (host, port, name, is_folder)
    assert str(found) == url
    assert url.isprintable()
    assert " " not in url


def test_the_default_port_is_left_out() -> None:
    """What need not be said is not."""
    assert format_url("h", DEFAULT_PORT, "a", is_folder=False) == "fx://h/a"
    assert format_url("h", 80, "", is_folder=True) == "fx://h:80/"
    assert format_url("::1", 80, "a", is_folder=True) == "fx://[::1]:80/a/"
    assert (written("::1"), written("h")) == ("[::1]", "h")


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("0:0:0:0:0:0:0:1", True),
        ("::ffff:127.0.0.1", True),
        ("::1%lo", True),
        ("0.0.0.0", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("128.0.0.1", False),
        ("169.254.1.1", False),
        ("fe80::1%eth0", False),
        ("2001:db8::1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    """K20: only what no other machine can reach counts, however it is written."""
    assert is_loopback(address) is loopback
