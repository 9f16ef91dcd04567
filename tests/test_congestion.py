"""The choice of a TCP congestion control, by the library and by the commands."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import tcp_pair
from test_cli_process import Service, environment, fx, is_one_line

from filexfer import Client, Server, UsageError
from filexfer.wire.congestion import check_name, send_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Served

FOLDER = Path("/proc/sys/net/ipv4")
linux = pytest.mark.skipif(not hasattr(socket, "TCP_CONGESTION"), reason="not Linux")


def names(which: str) -> list[str]:
    return (FOLDER / f"tcp_{which}_congestion_control").read_text(encoding="ascii").split()


def used(sock: socket.socket) -> str:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


@pytest.fixture
def other() -> str:
    """Return one that everybody may use and that is not the one used anyway, if there is one."""
    usual = (FOLDER / "tcp_congestion_control").read_text(encoding="ascii").strip()
    return next((name for name in names("allowed") if name != usual), usual)


@linux
def test_it_is_used(other: str) -> None:
    """What is chosen is what the socket uses from then on."""
    near, far = tcp_pair()
    with near, far:
        send_by(near, other)
        assert used(near) == other


@linux
def test_client_and_server(serve: Callable[..., Served], other: str, tmp_path: Path) -> None:
    """A server's connections and a client's use what was chosen for them."""
    served = serve(congestion=other)
    (tmp_path / "a").write_text("x")
    client = served.client(congestion=other)
    assert client.put([tmp_path / "a"]).files == 1
    (session,) = served.server._sessions
    assert used(session._connection._sock) == other
    assert client._connection
    assert used(client._connection._sock) == other


@linux
@pytest.mark.parametrize("name", ["", "nonsense", "ren", "reno\0x", "x" * 40, "é\x1b", "\udcff"])
def test_unknown(name: str, tmp_path: Path) -> None:
    """A name that the system does not know is refused before anything is opened; it says which."""
    for make in (
        lambda: check_name(name),
        lambda: Client(congestion=name),
        lambda: Server(tmp_path, congestion=name),
    ):
        with pytest.raises(UsageError, match="is not known to this system") as caught:
            make()
        text = str(caught.value)
        assert text.isprintable()
        for which in ("available", "allowed"):
            assert f"{', '.join(names(which))}, by {FOLDER}/tcp_{which}_congestion_control" in text


@linux
def test_the_beginning_of_a_known_name_is_not_enough() -> None:
    """The system takes the first 15 letters of a name; a longer one is refused all the same."""
    with pytest.raises(UsageError, match="not known"):
        check_name("reno" + "\0" * 20)


@linux
def test_not_permitted() -> None:
    """A name that only the administrator may choose is refused as that."""
    reserved = set(names("available")) - set(names("allowed"))
    if not reserved:
        pytest.skip("everybody may choose all of them")
    name = min(reserved)
    script = f"""
import os
from filexfer import Client, UsageError
from filexfer.wire.congestion import check_name
if not os.geteuid():
    os.setuid(65534)
try:
    check_name({name!r})
except UsageError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{name!r} is not permitted to this user ({', '.join(names('allowed'))}" in result.stdout


def test_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be chosen, that is said."""
    monkeypatch.delattr(socket, "TCP_CONGESTION", raising=False)
    with pytest.raises(UsageError, match="on Linux only"):
        check_name("reno")


@linux
def test_commands(tmp_path: Path, other: str) -> None:
    """The commands take it too, and refuse what is not known in one line."""
    (tmp_path / "a").write_text("x")
    with Service(tmp_path / "in", "--workers", "2", "--congestion", other) as service:
        result = fx("put", "--congestion", other, tmp_path / "a", service.address)
        assert result.returncode == 0, result.stderr
        result = fx("get", "--congestion", other, service.address + "a", tmp_path / "b")
        assert result.returncode == 0, result.stderr
    for words in (
        ("put", tmp_path / "a", service.address),
        ("get", service.address + "a", tmp_path / "c"),
        ("serve", tmp_path, "--port", "0"),
    ):
        result = fx(*words, "--congestion", "nonsense")
        assert result.returncode == 2
        assert f"'nonsense' is not known to this system (available: {names('available')[0]}" in (
            result.stderr
        )
        assert is_one_line(result.stderr)
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "in"]
