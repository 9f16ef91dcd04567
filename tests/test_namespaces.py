"""The kernel's own network, made to fail: two namespaces of this test, and a cable between them.

The server stands in the one, the client in the other. Needs root, Linux and iproute2; most tests
also nftables. What is made here is removed at the end, and nothing else is touched.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from socket import create_connection
from typing import TYPE_CHECKING

import pytest
from conftest import Raw, Served, leftovers, tree_state

from filexfer import Client, ConnectionLost, Limits, Options, Report, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="namespaces are a thing of Linux"),
    pytest.mark.usefixtures("no_leftovers"),
]

NEAR, FAR = "10.9.0.1", "10.9.0.2"
_NEW_NETWORK = 0x40000000  # CLONE_NEWNET of <linux/sched.h>
TIME = 1_700_000_000_123_456_789


class Cable:
    """Two namespaces, ``near`` for clients and ``far`` for the server, with a cable between."""

    def __init__(self) -> None:
        self._names = {side: f"fx{os.getpid()}{side}" for side in ("near", "far")}

    def lay(self) -> None:
        """Make them."""
        near, far = self._names.values()
        for name in (near, far):
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", "v0", "netns", near, "type", "veth", "peer", "v1", "netns", far)
        for name, device, address in ((near, "v0", NEAR), (far, "v1", FAR)):
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", device)
            _run("ip", "-n", name, "link", "set", device, "up")

    def remove(self) -> None:
        """Remove them, and all that was set in them."""
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    @contextmanager
    def side(self, side: str) -> Iterator[None]:
        """Let this thread make its sockets in a namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self._names[side]}", os.O_RDONLY)
        try:
            assert libc.setns(there, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
            yield
        finally:
            assert libc.setns(home, _NEW_NETWORK) == 0, os.strerror(ctypes.get_errno())
            os.close(there)
            os.close(home)

    def lose(self, percent: int) -> None:
        """Lose so many of a hundred packets in each direction; 100 makes a black hole."""
        rule = f"numgen random mod 100 < {percent} drop" if percent < 100 else "drop"
        text = (
            f"table inet fx {{\nchain in {{\ntype filter hook input priority 0;\n{rule}\n}}\n}}\n"
        )
        for name in self._names.values():
            _run("ip", "netns", "exec", name, "nft", "-f", "-", text=text)

    def heal(self) -> None:
        """Lose nothing any more."""
        for name in self._names.values():
            _run("ip", "netns", "exec", name, "nft", "delete", "table", "inet", "fx")

    def plug(self, state: str) -> None:
        """Set the far end ``down`` or ``up``."""
        _run("ip", "-n", self._names["far"], "link", "set", "v1", state)

    def kill_sockets(self) -> bool:
        """End all connections from without, as an administrator can; tell whether there were any."""
        command = ["ip", "netns", "exec", self._names["near"], "ss", "-HK", "dst", FAR]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        return bool(result.stdout.strip())


def _run(*command: str, text: str | None = None) -> None:
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"{' '.join(command)}: {result.stderr.strip()}")


@pytest.fixture
def cable() -> Iterator[Cable]:
    """Lay a cable, where that can be done."""
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    if not shutil.which("ip"):
        pytest.skip("iproute2 is not installed")
    made = Cable()
    try:
        made.lay()
        yield made
    finally:
        made.remove()


@pytest.fixture
def lossy(cable: Cable) -> Cable:
    """Return a cable that can lose packets."""
    if not shutil.which("nft"):
        pytest.skip("nftables is not installed")
    cable.lose(0)  # the kernel may have none
    cable.heal()
    return cable


@pytest.fixture
def serve_far(cable: Cable, tmp_path: Path, cleanup: ExitStack) -> Callable[..., Served]:
    """Return a function that starts a server at the far end."""

    def start(**options: object) -> Served:
        folder = tmp_path / "served"
        folder.mkdir()
        with cable.side("far"):
            server = Server(folder, FAR, insecure=True, durability="none", **options)  # type: ignore[arg-type] # as any
        return Served(cleanup.enter_context(server), folder, cleanup)

    return start


def lay(top: Path, count: int, size: int) -> None:
    """Lay a tree of random files."""
    for number in range(count):
        path = top / f"{number % 7}" / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        os.utime(path, ns=(TIME, TIME))
    for folder, _, _ in os.walk(top, topdown=False):
        os.utime(folder, ns=(TIME, TIME))


def there_and_back(
    cable: Cable, served: Served, top: Path, *, report: Report | None = None, **how: object
) -> None:
    """Upload a tree and download it again; check that it is the same all the way."""
    options = Options(durability="none", retries=10, **how)  # type: ignore[arg-type] # as any
    server = served.server
    with cable.side("near"), Client(server.host, server.port, insecure=True) as client:
        client.stat("")
        up = client.put([top / "tree"], "", options, report)
        down = client.get(["tree"], top / "back/", options)
    assert [str(failure) for failure in (*up.failures, *down.failures)] == []
    assert tree_state(served.folder / "tree") == tree_state(top / "tree")
    assert tree_state(top / "back" / "tree") == tree_state(top / "tree")


@pytest.mark.slow  # waits for time-outs
@pytest.mark.case("E4", "E10", "E3")
def test_the_power_goes(
    lossy: Cable, serve_far: Callable[..., Served], cleanup: ExitStack, tmp_path: Path
) -> None:
    """A side that is gone without a word is given up in time, whatever it was about to do."""
    served = serve_far(timeout=1.0)
    (served.folder / "large").write_bytes(bytes(32 << 20))
    server = served.server
    lay(tmp_path / "tree", 20, 1000)
    failures: list[BaseException] = []
    cut = threading.Event()

    def put() -> None:
        def stop(report: Report) -> None:
            if report.moved > 4 << 20 and not cut.is_set():
                lossy.lose(100)
                cut.set()

        (tmp_path / "huge").write_bytes(bytes(64 << 20))
        with (
            lossy.side("near"),
            Client(server.host, server.port, insecure=True, timeout=1) as client,
        ):
            try:
                client.put([tmp_path / "huge"], "", Options(retries=0), Report(stop))
            except ConnectionLost as error:
                failures.append(error)

    with lossy.side("near"):
        idle, full = (Raw(create_connection((server.host, server.port))) for _ in range(2))
    cleanup.callback(idle.close)
    cleanup.callback(full.close)
    idle.greet()
    full.greet()
    full.frame({"kind": "get", "names": ["large"], "fresh": True})  # and is not read: no window
    sending = threading.Thread(target=put)
    sending.start()
    sending.join()
    assert len(failures) == 1
    until = time.monotonic() + 20
    while server._sessions:
        assert time.monotonic() < until
        time.sleep(0.05)
    lossy.heal()
    assert leftovers(served.folder) == []
    assert not (served.folder / "huge").exists()
    there_and_back(lossy, served, tmp_path)


@pytest.mark.case("E5")
@pytest.mark.parametrize(
    ("percent", "count"),
    [
        (5, 60),
        pytest.param(30, 8, marks=[pytest.mark.slow, pytest.mark.timeout(300)]),
    ],
)
def test_packets_are_lost(
    lossy: Cable, serve_far: Callable[..., Served], tmp_path: Path, percent: int, count: int
) -> None:
    """What is lost on the way is TCP's business; everything arrives."""
    # TCP doubles its pauses: a greeting that is lost four times may take half a minute.
    served = serve_far(limits=Limits(opening_timeout=120.0))
    lay(tmp_path / "tree", count, 5000)
    lossy.lose(percent)
    there_and_back(lossy, served, tmp_path, jobs=2)


@pytest.mark.case("E16")
def test_the_cable_is_out_for_a_moment(
    cable: Cable, serve_far: Callable[..., Served], tmp_path: Path
) -> None:
    """It goes on when the cable is in again."""
    served = serve_far()
    lay(tmp_path / "tree", 50, 200_000)
    timers: list[threading.Timer] = []

    def pull(report: Report) -> None:
        if report.moved > 1 << 20 and not timers:
            cable.plug("down")
            timers.append(threading.Timer(0.5, cable.plug, ["up"]))
            timers[0].start()

    there_and_back(cable, served, tmp_path, report=Report(pull))
    assert timers


@pytest.mark.slow  # as above
@pytest.mark.case("E18")
def test_sockets_are_killed(cable: Cable, serve_far: Callable[..., Served], tmp_path: Path) -> None:
    """Connections that somebody ends again and again bring every file all the same."""
    served = serve_far()
    lay(tmp_path / "tree", 1000, 3000)
    over = threading.Event()
    kills: list[bool] = []

    def kill() -> None:
        while not over.wait(0.1):
            kills.append(cable.kill_sockets())
            if kills.count(True) >= 6:
                return

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        there_and_back(cable, served, tmp_path)
    finally:
        over.set()
        thread.join()
    if not any(kills):
        pytest.skip("this kernel lets nobody end connections")
