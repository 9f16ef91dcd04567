"""What is measured of network, disk and hashes: that it ends in time, and leaves nothing."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import SECONDS, Served, tree_state
from test_cli_process import scripted, welcome

from filexfer import LocalError, NetworkError, ProtocolError, address
from filexfer.hashing import ALGORITHMS
from filexfer.measure import bench
from filexfer.wire.dial import Door

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Raw


def door(served: Served) -> Door:
    return Door(served.server.host, served.server.port, timeout=SECONDS)


@pytest.mark.parametrize("connections", [1, 3])
def test_network(served: Served, connections: int) -> None:
    """Both directions have a rate, over as many connections as were asked for."""
    with bench.Line(door(served), 0.02) as line:
        assert 0 < line.round_trip < SECONDS
        for rate, over in (line.up(connections), line.down(connections), line.up(connections)):
            assert rate > 0
            assert over == connections
    assert tree_state(served.folder) == {}


def test_server_that_knows_no_probes() -> None:
    """A server of an older program is told as that."""

    def script(peer: Raw) -> None:
        welcome(peer)
        while (request := peer.reply() or {})["kind"] == "stat":
            peer.frame({"kind": "entries", "entries": []})
        text = f"unknown kind of message {request['kind']!r}"
        peer.frame({"kind": "error", "code": "unsupported", "text": text})
        peer.finish()
        while peer.read(1 << 20):
            pass

    with scripted(script) as text:
        place = address.parse(text)
        with bench.Line(Door(place.host, place.port), 0.02) as line:
            with pytest.raises(ProtocolError, match="the server is too old") as caught:
                line.up(1)
            assert "unknown kind of message 'probe_up'" in str(caught.value)


def test_nobody_there() -> None:
    """What cannot be reached is a failure of the network."""
    with pytest.raises(NetworkError, match="Connection refused"):
        bench.Line(Door("127.0.0.1", 1), 0.02)


def test_disk(tmp_path: Path) -> None:
    """The disk has three speeds, within the bytes that were allowed; nothing is left of it."""
    most = bench.room(str(tmp_path))
    assert bench.DISK_LEAST <= most <= bench.DISK_MOST
    found = bench.disk(str(tmp_path), 0.05, 8 * bench.PIECE)
    assert min(found.read, found.write, found.flush) > 0
    assert found.dropped == hasattr(os, "posix_fadvise")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="files have a name for a moment elsewhere")
def test_nothing_is_to_be_removed(tmp_path: Path) -> None:
    """What is written never has a name, so that no sudden end can leave it."""
    seen: set[str] = set()
    thread = threading.Thread(target=bench.disk, args=(str(tmp_path), 0.05, 8 * bench.PIECE))
    thread.start()
    while thread.is_alive():
        seen.update(os.listdir(tmp_path))
        thread.join(0.001)
    assert seen == set()


@pytest.mark.parametrize("name", ["missing", "file", "zero\0"])
def test_no_folder(tmp_path: Path, name: str) -> None:
    """A folder that cannot be used is a failure of the local disk, and says how to take another."""
    (tmp_path / "file").touch()
    folder = f"{tmp_path}/{name}"
    with pytest.raises(LocalError, match=r"cannot measure in the folder .*: .*--dir"):
        bench.room(folder)
    with pytest.raises(LocalError, match=r"cannot measure in the folder .*: .*--dir"):
        bench.disk(folder, 0.05, bench.DISK_LEAST)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_hash_speed(algorithm: str) -> None:
    """Every hash has a speed."""
    assert bench.hash_speed(algorithm, 0.01) > 0
