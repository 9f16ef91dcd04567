"""The server's half of a connection: which right each request needs."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import framed

from filexfer.security.access import Anybody
from filexfer.serving.admission import Admission
from filexfer.serving.limits import Limits
from filexfer.serving.session import Session
from filexfer.storage.folder import Folder
from filexfer.wire.connection import Connection

if TYPE_CHECKING:
    from pathlib import Path

HELLO = {"kind": "hello", "version": 1}


@pytest.mark.parametrize(
    "requests",
    [
        [HELLO, {"kind": "stat", "name": "file"}, {"kind": "get", "names": ["file"]}],
        [{"kind": "fetch", "name": "file"}],
        [HELLO, {"kind": "probe_down", "size": 8}],
    ],
    ids=["get", "fetch", "probe_down"],
)
def test_who_may_list_may_not_read(tmp_path: Path, requests: list[dict[str, Any]]) -> None:
    """With the right to list alone, names can be looked at, and no byte of a file comes out."""
    (tmp_path / "file").write_bytes(b"contents")
    ours, theirs = socket.socketpair()
    with Folder(tmp_path) as folder, ours:
        ticket = Admission(Limits()).enter(0)
        session = Session(Connection(theirs), Anybody(folder, frozenset({"list"})), "none", ticket)
        thread = threading.Thread(target=session.run)
        thread.start()
        ours.sendall(b"".join(map(framed, requests)))
        ours.shutdown(socket.SHUT_WR)
        said = b"".join(iter(lambda: ours.recv(65536), b""))
        thread.join(20)
    assert b'"code":"denied"' in said
    assert b"contents" not in said
