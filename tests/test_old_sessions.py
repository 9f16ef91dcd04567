"""Sessions whose client has gone: what they still do harms no later try, which may be faster.

The client that has gone is scripted here, so that it can stop at any point; the later try is an
honest one, which has finished before the session of the first notices anything.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, framed, leftovers, tree_state
from test_parallel import wait_until
from test_storage_reading import powerless

from filexfer import Options
from filexfer.transfer.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from filexfer import Server
    from filexfer.wire import protocol

    Serve = Callable[..., Served]
    Connect = Callable[[Server], Raw]

TIME = 1_700_000_000_123_456_789
LARGE = 1 << 20  # bytes of a body that is written as it comes
ALONE = Options(jobs=1)
every_durability = pytest.mark.parametrize("durability", ["none", "batch", "file"])


def lay(top: Path, *, folder_mode: int) -> Path:
    """Lay a tree: a folder with a small file and a large one."""
    (top / "d").mkdir(parents=True)
    for name, data in (("d/a", b"data"), ("d/b", bytes(LARGE))):
        (top / name).write_bytes(data)
        os.utime(top / name, ns=(TIME, TIME))
    os.chmod(top / "d", folder_mode)
    for folder in ("d", ""):
        os.utime(top / folder, ns=(TIME, TIME))
    return top


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[None]:
    """Let everything be removed at the end."""
    yield
    for path, _, _ in os.walk(tmp_path):
        os.chmod(path, 0o755)


def begin(served: Served, peer: Raw, mode: int, **how: Any) -> None:
    """Bring the session so far that it is writing a file in the folder."""
    data = b"data"
    digest = "md5:" + hashlib.md5(data).hexdigest()
    file = {"kind": "file", "mtime": TIME}
    peer.greet()
    peer.frame({"kind": "put"})
    peer.frame({"kind": "folder", "name": "tree", "mtime": TIME, "mode": 0o755, **how})
    peer.frame({"kind": "folder", "name": "tree/d", "mtime": TIME, "mode": mode, **how})
    peer.frame({**file, "name": "tree/d/a", "size": len(data), "hash": digest})
    peer.send(data)
    peer.frame({**file, "name": "tree/d/b", "size": LARGE})
    peer.send((b"\0\0\1\0" + bytes(256)) * 2)
    wait_until(lambda: any(size_of(name) >= 256 for name in leftovers(served.folder)))


def size_of(name: str | os.PathLike[str]) -> int:
    """Return the bytes of a file, or 0 if it has got another name meanwhile."""
    try:
        return os.stat(name).st_size
    except FileNotFoundError:
        return 0


def end(served: Served, peer: Raw, how: str) -> None:
    """Let the client be gone, and wait until its session has noticed."""
    peer.finish() if how == "finish" else peer.reset()
    served.wait()


def is_as_sent(served: Served, tmp_path: Path) -> bool:
    """Tell whether the tree is there, in every respect, and nothing else."""
    assert leftovers(served.folder) == []
    expected = {
        name: each for name, each in tree_state(tmp_path).items() if name.startswith("tree")
    }
    return tree_state(served.folder) == expected


@every_durability
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_a_read_only_folder_stays_as_a_later_try_has_left_it(
    serve: Serve, raw: Connect, tmp_path: Path, writable: None, durability: str, how: str
) -> None:
    """It is not made writable again, its time stays, and no temporary file is left in it."""
    lay(tmp_path / "tree", folder_mode=0o555)
    with powerless():
        served = serve(durability=durability)
        peer = raw(served.server)
        begin(served, peer, 0o555)
        with served.client() as client:
            report = client.put([tmp_path / "tree"], "", ALONE)
        assert (report.files + report.skipped, report.failed) == (2, 0)
        end(served, peer, how)
    assert is_as_sent(served, tmp_path)


@every_durability
@pytest.mark.parametrize("how", ["finish", "reset"])
def test_a_folder_that_several_fill_keeps_the_time_that_a_later_try_gave_it(
    serve: Serve, raw: Connect, tmp_path: Path, durability: str, how: str
) -> None:
    """Nobody would name it again."""
    lay(tmp_path / "tree", folder_mode=0o755)
    served = serve(durability=durability)
    peer = raw(served.server)
    begin(served, peer, 0o755, shared=True)
    with served.client() as client:
        report = client.put([tmp_path / "tree"], "", ALONE)
    assert report.files + report.skipped == 2
    assert report.failed == 0
    end(served, peer, how)
    assert is_as_sent(served, tmp_path)


def test_a_folder_made_by_two_keeps_its_time(serve: Serve, raw: Connect, tmp_path: Path) -> None:
    """Also when the one that came later goes, hidden until then."""
    lay(tmp_path / "tree", folder_mode=0o755)
    served = serve(durability="batch")
    (served.folder / "tree").mkdir()
    peer = raw(served.server)
    begin(served, peer, 0o755)
    with served.client() as client:
        report = client.put([tmp_path / "tree"], "", ALONE)
    assert (report.files + report.skipped, report.failed) == (2, 0)
    end(served, peer, "finish")
    assert is_as_sent(served, tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems tell only when all is read")
@pytest.mark.parametrize("is_whole", [False, True])
def test_what_a_client_that_has_gone_still_sent_is_left(
    served: Served, raw: Connect, monkeypatch: pytest.MonkeyPatch, is_whole: bool
) -> None:
    """Whoever has gone may be back already; but not who has said all, and only closed its side."""
    gone = threading.Event()
    take_folder = Receiver._take_folder

    def slowly(self: Receiver, message: protocol.Folder) -> None:
        take_folder(self, message)
        assert gone.wait(SECONDS)

    monkeypatch.setattr(Receiver, "_take_folder", slowly)
    peer = raw(served.server)
    peer.greet()
    peer.frame({"kind": "put"})
    peer.frame({"kind": "folder", "name": "d"})
    wait_until((served.folder / "d").exists)
    empty = {"kind": "file", "size": 0, "hash": "md5:" + hashlib.md5(b"").hexdigest()}
    peer.send(b"".join(framed({**empty, "name": f"d/{number}"}) for number in range(100)))
    if is_whole:
        peer.frame({"kind": "end"})
    peer.finish()
    gone.set()
    replies = peer.replies("end" if is_whole else "error")
    assert replies[-1]["kind"] == ("end" if is_whole else "error")
    assert len(os.listdir(served.folder / "d")) == (100 if is_whole else 0)
