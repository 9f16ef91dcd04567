"""Attempts to use up one thing that a server has: places, threads, memory, its processor, its log."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, framed
from test_cli_process import Service, environment, fx
from test_workers import workers_of

from filexfer import Client, ConnectionLost, Limits, Options, RefusedError
from filexfer.errors import Busy, Code
from filexfer.security.access import Anybody, Grant
from filexfer.wire.protocol import FRAME_MAX

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from filexfer import Server

    Contexts = tuple[ssl.SSLContext, ssl.SSLContext]

HELLO = {"kind": "hello", "version": 1}
DATA = os.urandom(1 << 20)
HONEST_SECONDS = SECONDS / 2


def be_honest(served: Served, tmp_path: Path, **options: Any) -> None:
    """Upload and download 1 MiB in time."""
    (tmp_path / "mine").write_bytes(DATA)
    began = time.monotonic()
    with served.client(**options) as client:
        client.put([tmp_path / "mine"], options=Options(if_exists="skip"))
        how = Options(durability="none", if_exists="overwrite")
        assert client.get(["mine"], tmp_path / "returned", how).failed == 0
    assert time.monotonic() - began < HONEST_SECONDS
    assert (tmp_path / "returned").read_bytes() == DATA


def settle(served: Served) -> None:
    """Wait until no connection is counted."""
    until = time.monotonic() + SECONDS
    while served.server._admission.all:
        assert time.monotonic() < until
        time.sleep(0.005)


def says_busy(peer: Raw) -> bool:
    """Tell whether the connection ends, and the last word is that there is no room."""
    try:
        reply = peer.reply()
    except ConnectionResetError:
        return False
    return reply is not None and reply["code"] == "busy"


# Before a client has said who it is


@pytest.mark.case("H1")
def test_silent_connections_cost_a_descriptor(
    serve: Callable[..., Served], raw: Callable[[Server], Raw]
) -> None:
    """They have no thread, whatever part of a first frame they have sent; who speaks gets one."""
    served = serve(limits=Limits(opening_timeout=SECONDS))
    threads = threading.active_count()
    first = framed(HELLO)
    peers = [raw(served.server) for _ in range(40)]
    for number, peer in enumerate(peers):
        peer.send(first[: number % len(first)])
    until = time.monotonic() + SECONDS
    while served.server._admission.new < 40:
        assert time.monotonic() < until
    assert threading.active_count() == threads
    assert not served.server._sessions
    for number, peer in enumerate(peers):
        peer.send(first[number % len(first) :])
        reply = peer.reply()
        assert reply
        assert reply["kind"] == "welcome"
    assert served.server._admission.new == 0


@pytest.mark.case("H1")
def test_the_oldest_silent_connection_makes_room(
    serve: Callable[..., Served], raw: Callable[[Server], Raw], tmp_path: Path
) -> None:
    """A newcomer takes its place, and it is told why; who has said who it is keeps its own."""
    served = serve(limits=Limits(unauthenticated=4, early_drop=4, opening_timeout=SECONDS))
    guest = raw(served.server)
    guest.greet()
    peers = [raw(served.server) for _ in range(5)]
    assert says_busy(peers[0])
    be_honest(served, tmp_path)
    assert says_busy(peers[1])
    poll = select.poll()
    for peer in peers[3:]:
        poll.register(peer.sock, select.POLLIN)
    assert not poll.poll(0)
    guest.frame({"kind": "stat", "name": ""})
    assert guest.reply()


def test_a_first_frame_in_any_pieces(
    serve: Callable[..., Served], raw: Callable[[Server], Raw]
) -> None:
    """However it is cut, and even as the largest one, it is answered."""
    served = serve()
    largest = b'{"kind":"hello","version":1}'.ljust(FRAME_MAX)
    for first in (framed(HELLO), framed(largest)):
        for cut in (1, 3, 4, 5, 20, len(first) - 1):
            peer = raw(served.server)
            peer.send(first[:cut])
            while served.server._admission.new != 1:
                time.sleep(0.001)
            peer.send(first[cut:])
            reply = peer.reply()
            assert reply
            assert reply["kind"] == "welcome"


def test_a_client_that_leaves_before_it_spoke(
    serve: Callable[..., Served], raw: Callable[[Server], Raw]
) -> None:
    """It is forgotten; one that leaves in the middle of a frame is answered."""
    served = serve(limits=Limits(opening_timeout=SECONDS))
    for end in (Raw.close, Raw.reset, Raw.finish):
        peer = raw(served.server)
        while served.server._admission.new != 1:
            time.sleep(0.001)
        end(peer)
        settle(served)
    for sent in (b"\0", framed(HELLO)[:10]):
        peer = raw(served.server)
        peer.send(sent)
        peer.finish()
        reply = peer.reply()
        assert reply
        assert reply["code"] == "size_mismatch"
    settle(served)


@pytest.mark.case("H3")
def test_stalled_handshakes(
    serve: Callable[..., Served],
    raw: Callable[[Server], Raw],
    tls_contexts: Contexts,
    tmp_path: Path,
) -> None:
    """A hello of TLS that does not come whole costs no thread, holds up nobody, and ends in time."""
    served = serve(tls=tls_contexts[1], limits=Limits(opening_timeout=1.0, unauthenticated=20))
    threads = threading.active_count()
    hello = client_hello(tls_contexts[0])
    peers = [raw(served.server) for _ in range(30)]
    began = time.monotonic()
    for number, peer in enumerate(peers):
        with contextlib.suppress(OSError):
            peer.send(hello[: (0, 3, 5, len(hello) - 1)[number % 4]])
    be_honest(served, tmp_path, tls=tls_contexts[0])
    assert threading.active_count() <= threads + 1
    for peer in peers:
        with contextlib.suppress(ConnectionResetError):
            assert peer.read(1) == b""
    assert time.monotonic() - began < HONEST_SECONDS
    settle(served)


@pytest.mark.slow  # waits for time-outs
@pytest.mark.case("H3")
def test_handshakes_that_stall_later(
    serve: Callable[..., Served],
    raw: Callable[[Server], Raw],
    tls_contexts: Contexts,
    tmp_path: Path,
) -> None:
    """Those that have said hello have threads; but not more than there are places, nor for longer."""
    served = serve(tls=tls_contexts[1], limits=Limits(opening_timeout=2.0, unauthenticated=10))
    threads = threading.active_count()
    hello = client_hello(tls_contexts[0])
    peers = [raw(served.server) for _ in range(40)]
    for peer in peers:
        with contextlib.suppress(OSError):
            peer.send(hello)
    be_honest(served, tmp_path, tls=tls_contexts[0])
    assert threading.active_count() <= threads + 15
    for peer in peers:
        with contextlib.suppress(ConnectionResetError):
            while peer.read(1 << 16):
                pass
    settle(served)
    be_honest(served, tmp_path, tls=tls_contexts[0])


def client_hello(context: ssl.SSLContext) -> bytes:
    """Return what a client of TLS says first."""
    import ssl  # noqa: PLC0415 - only TLS tests need it

    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


@pytest.mark.case("H14", "H17")
def test_a_flood_of_handshakes_and_tiny_records(
    serve: Callable[..., Served], tls_contexts: Contexts, tmp_path: Path
) -> None:
    """Whole handshakes that lead to nothing, and records of a byte, hold up nobody."""
    served = serve(tls=tls_contexts[1])
    stop = threading.Event()

    def flood() -> None:
        address = (served.server.host, served.server.port)
        while not stop.is_set():
            with (
                contextlib.suppress(OSError),
                socket.create_connection(address, SECONDS) as sock,
                tls_contexts[0].wrap_socket(sock, server_hostname="127.0.0.1") as tls,
            ):
                for byte in framed(HELLO)[:-1]:
                    tls.sendall(bytes([byte]))

    threads = [threading.Thread(target=flood) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        be_honest(served, tmp_path, tls=tls_contexts[0])
    finally:
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
    settle(served)


# One too many


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_client_is_told_that_there_is_no_room(
    serve: Callable[..., Served], tls_contexts: Contexts, tls: bool
) -> None:
    """The reason reaches it, over TLS too, and it says so after the tries that it has."""
    contexts = tls_contexts if tls else (None, None)
    served = serve(tls=contexts[1], limits=Limits(connections=1))
    with served.client(tls=contexts[0]) as inside:
        inside.make_folder("a")
        with served.client(tls=contexts[0]) as late, pytest.raises(Busy) as caught:
            late.put([__file__], options=Options(retries=1))
        assert str(caught.value) == (
            "the other side says: the server has too many connections; try again later"
        )


def test_a_client_comes_again_when_there_was_no_room(
    serve: Callable[..., Served], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first connection too is tried once more when somebody has answered."""
    served = serve(limits=Limits(connections=1))
    inside = served.client()
    inside.make_folder("a")
    pauses = []

    def pause(tries: int) -> float:
        pauses.append(tries)
        inside.close()
        settle(served)
        return 0.0

    monkeypatch.setattr("filexfer.lasting.pause_before", pause)
    with served.client() as late:
        late.make_folder("b")
    assert pauses == [1]


class Bearers(Anybody):
    """Knows every token but wrong ones, by its first letter."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.folder, server.rights)

    def admit(self, token: str) -> Grant:
        """Return the grant of the token."""
        if token.startswith("wrong"):
            raise RefusedError(Code.AUTH_FAILED, "this token is not known")
        grant = super().admit(token)
        return Grant(grant.folder, grant.rights, token[:1])


@pytest.mark.case("H5")
def test_connections_by_one_token(
    serve: Callable[..., Served], raw: Callable[[Server], Raw]
) -> None:
    """One too many is refused with the reason; the others and other tokens go on."""
    served = serve(limits=Limits(per_token=2))
    served.server._access = Bearers(served.server)

    def greet(token: str) -> tuple[Raw, dict[str, Any]]:
        peer = raw(served.server)
        peer.frame({**HELLO, "token": token})
        reply = peer.reply()
        assert reply
        return peer, reply

    first, second = greet("a1"), greet("a2")
    assert (first[1]["kind"], second[1]["kind"]) == ("welcome", "welcome")
    _, third = greet("a3")
    assert (third["code"], "this token has 2" in third["text"]) == ("busy", True)
    assert greet("b1")[1]["kind"] == "welcome"
    first[0].frame({"kind": "stat", "name": ""})
    assert first[0].reply()
    first[0].close()
    while served.server._admission.all > 2:
        time.sleep(0.001)
    assert greet("a4")[1]["kind"] == "welcome"


NO_THREADS = """
import sys, threading
from filexfer import Server
server = Server(sys.argv[1], durability="none")
start, left = threading.Thread.start, [2]
def limited(thread):
    if thread.name == "filexfer-session":
        if not left[0]:
            raise RuntimeError("can't start new thread")
        left[0] -= 1
    start(thread)
threading.Thread.start = limited
with server:
    print(server.port, flush=True)
    for line in sys.stdin:
        left[0] += 1
        print("more", flush=True)
"""


@pytest.mark.case("H6")
def test_no_more_threads(tmp_path: Path) -> None:
    """Who would need one is told that there is no room, and gets in when there is one again."""
    with subprocess.Popen(
        [sys.executable, "-c", NO_THREADS, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            port = int(process.stdout.readline())
            inside = []
            for _ in range(2):
                inside.append(Raw(socket.create_connection(("127.0.0.1", port), SECONDS)))
                inside[-1].greet()
            for _ in range(3):
                late = Raw(socket.create_connection(("127.0.0.1", port), SECONDS))
                late.frame(HELLO)
                assert says_busy(late)
                late.close()
            process.stdin.write("\n")
            process.stdin.flush()
            process.stdout.readline()
            late = Raw(socket.create_connection(("127.0.0.1", port), SECONDS))
            late.greet()
            late.close()
            for peer in inside:
                peer.frame({"kind": "stat", "name": ""})
                assert peer.reply()
                peer.close()
        finally:
            process.stdin.close()
            assert process.wait(SECONDS) == 0


def test_limits_hold_over_all_workers(tmp_path: Path) -> None:
    """However connections fall to the workers, there are so many and no more; a death frees places."""
    words = ("--workers", "3", "--max-connections", "5")
    with Service(tmp_path, *words) as service:
        workers = workers_of(service, 3)

        def fill() -> list[Raw]:
            inside: list[Raw] = []
            for _ in range(20):
                peer = Raw(socket.create_connection(("127.0.0.1", service.port), SECONDS))
                peer.frame(HELLO)
                reply = peer.reply()
                assert reply
                if reply["kind"] == "welcome":
                    inside.append(peer)
                else:
                    assert reply["code"] == "busy"
                    peer.close()
            return inside

        first = fill()
        assert len(first) == 5
        for pid in workers:
            os.kill(pid, 9)
        for _ in workers:
            assert service.line().endswith(" ERROR a worker ended (signal 9)")
        workers_of(service, 3)
        for peer in first:
            peer.close()
        until = time.monotonic() + SECONDS
        while len(second := fill()) < 5:  # until the last successor has begun
            assert time.monotonic() < until
            for peer in second:
                peer.close()
        for peer in second:
            peer.close()


@pytest.mark.case("H13")
def test_a_thousand_connections_at_the_same_moment(served: Served) -> None:
    """The system holds them all until they are accepted, and none is refused."""
    address = (served.server.host, served.server.port)
    socks = []
    for _ in range(1000):
        sock = socket.socket()
        sock.setblocking(False)
        socks.append(sock)
    try:
        for sock in socks:
            assert sock.connect_ex(address) in (0, 115, 36)  # in progress, on Linux and macOS
        poll = select.poll()
        for sock in socks:
            poll.register(sock, select.POLLOUT)
        waiting = {sock.fileno() for sock in socks}
        until = time.monotonic() + SECONDS
        while waiting:
            assert time.monotonic() < until
            for fd, _ in poll.poll(100):
                poll.unregister(fd)
                waiting.discard(fd)
        errors = {sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for sock in socks}
        assert errors <= {0, 104, 54}  # sent away again is not refused
    finally:
        for sock in socks:
            sock.close()


MAPPED = """
import select, socket, sys, time
from filexfer import Client, Limits, RefusedError, Server
from filexfer.security.access import Anybody, Grant
from filexfer.errors import Code

def connect(source, target, port):
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    sock = socket.socket(family)
    sock.settimeout(10)
    sock.bind((source, 0))
    sock.connect((target, port))
    return sock

def busy(sock):
    word = sock.recv(1000)
    return b'"busy"' in word and b"your address" in word

def waits(sock):
    return not select.select([sock], [], [], 0.05)[0]

limits = Limits(unauthenticated_per_address=10, per_address=20, penalty=2.0)
with Server(sys.argv[1], "::", insecure=True, durability="none", limits=limits) as server:
    port = server.port
    count = lambda n: wait(lambda: server._admission.new == n)
    def wait(true):
        until = time.monotonic() + 10
        while not true():
            assert time.monotonic() < until
    held = [connect("10.9.0.2", "10.9.0.1", port) for _ in range(10)]
    count(10)
    assert all(map(waits, held))
    assert busy(connect("10.9.0.2", "10.9.0.1", port))
    assert busy(connect("::ffff:10.9.0.2", "::ffff:10.9.0.1", port))
    held.append(connect("10.9.0.3", "10.9.0.1", port))
    count(11)
    held += [connect(f"2001:db8:0:1::{n + 2}", "2001:db8:0:1::1", port) for n in range(10)]
    count(21)
    assert busy(connect("2001:db8:0:1::99", "2001:db8:0:1::1", port))
    held.append(connect("2001:db8:0:2::2", "2001:db8:0:1::1", port))
    held += [connect("127.0.0.1", "127.0.0.1", port) for _ in range(15)]
    count(37)
    for sock in held:
        sock.close()
    count(0)
    with Client("10.9.0.1", port, insecure=True) as client:
        client.make_folder("honest")
    inside = []
    for _ in range(20):
        inside.append(connect("10.9.0.2", "10.9.0.1", port))
        inside[-1].sendall(b"\\0\\0\\0\\x1c" + b'{"kind":"hello","version":1}')
        assert b"welcome" in inside[-1].recv(1000)
    assert busy(connect("10.9.0.2", "10.9.0.1", port))
    for sock in inside:
        sock.close()
    wait(lambda: not server._admission.all)

    class Bearers(Anybody):
        def admit(self, token):
            if token == "wrong":
                raise RefusedError(Code.AUTH_FAILED, "no")
            return Grant(server.folder, server.rights)
    server._access = Bearers(server.folder, server.rights)
    def greet(token, source="10.9.0.2"):
        sock = connect(source, "127.0.0.1" if source == "127.0.0.1" else "10.9.0.1", port)
        hello = b'{"kind":"hello","version":1,"token":"' + token + b'"}'
        sock.sendall(len(hello).to_bytes(4, "big") + hello)
        return sock.recv(1000)
    assert b"auth_failed" in greet(b"wrong")
    assert b"wrong tokens came" in greet(b"right")
    assert b"welcome" in greet(b"right", "10.9.0.3")
    for _ in range(5):
        assert b"auth_failed" in greet(b"wrong", "127.0.0.1")
    assert b"welcome" in greet(b"right", "127.0.0.1")
    wait(lambda: b"welcome" in greet(b"right"))
print("good")
"""


def can_unshare() -> bool:
    """Tell whether a network of our own can be had."""
    if os.geteuid() or not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return (
        subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.case("H4")
@pytest.mark.skipif(not can_unshare(), reason="needs root, unshare and ip")
def test_addresses_in_a_network_of_its_own(tmp_path: Path) -> None:
    """Places are limited for an address in both spellings, for 64 bits, and never on this machine."""
    setup = (
        "ip link set lo up && ip addr add 10.9.0.1/16 dev lo && ip addr add 10.9.0.2/16 dev lo && "
        "ip addr add 10.9.0.3/16 dev lo && "
        "ip -6 route add local 2001:db8::/32 dev lo && "
        "sysctl -qw net.ipv6.ip_nonlocal_bind=1 && "
        'exec "$0" -c "$1" "$2"'
    )
    result = subprocess.run(
        ["unshare", "-n", "sh", "-c", setup, sys.executable, MAPPED, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.stdout == "good\n", result.stderr


# Memory, the processor, the log


@pytest.mark.case("H8")
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="counts by /proc")
def test_many_headers_of_the_largest_size(tmp_path: Path) -> None:
    """A thousand at once, each short of its last byte, cost the server none of its memory."""
    with Service(tmp_path, "--workers", "1") as service:

        def memory() -> int:
            with open(f"/proc/{service.process.pid}/status", encoding="utf-8") as status:
                (line,) = [each for each in status if each.startswith("VmRSS")]
            return int(line.split()[1]) << 10

        assert fx("ls", service.address).returncode == 0
        before = memory()
        header = struct.pack("!I", FRAME_MAX) + b" " * (FRAME_MAX - 1)
        peers = []
        for _ in range(1000):
            peers.append(socket.create_connection(("127.0.0.1", service.port), SECONDS))
            peers[-1].setblocking(False)
            with contextlib.suppress(OSError):
                peers[-1].send(header)
        assert fx("ls", service.address).returncode == 0
        assert memory() - before < 8 << 20
        for peer in peers:
            peer.close()


@pytest.mark.case("H10")
def test_a_flood_of_questions(served: Served, raw: Callable[[Server], Raw], tmp_path: Path) -> None:
    """Who asks for listings and digests without end, and reads no answer, holds up nobody."""
    (served.folder / "large").write_bytes(bytes(8 << 20))
    for number in range(200):
        (served.folder / f"{number:050}").touch()
    wanted = framed({"kind": "list", "name": ""}) * 2000
    digests = framed(
        {"kind": "digest_of", "name": "large", "total": 8 << 20, "mtime": 0, "hash": "sha256"}
    )
    peers = [raw(served.server) for _ in range(8)]
    for number, peer in enumerate(peers):
        peer.greet()
        peer.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            peer.send(wanted if number % 2 else digests * 100)
    be_honest(served, tmp_path)
    for peer in peers:
        peer.close()
    settle(served)


@pytest.mark.case("H15")
@pytest.mark.parametrize("kind", ["frames", "folders"])
def test_time_grows_with_the_work(served: Served, raw: Callable[[Server], Raw], kind: str) -> None:
    """Four times as much takes about four times as long, not sixteen times; processor time counts."""

    def seconds(count: int) -> float:
        peer = raw(served.server)
        peer.greet()
        peer.frame({"kind": "put"})
        began = time.process_time()
        if kind == "frames":
            entries = [[f"{n:06}", "file", 1, 0, 420, ""] for n in range(400)]
            asked = framed({"kind": "ask", "entries": entries}) * (count // 400)
        else:
            asked = b"".join(
                framed({"kind": "folder", "name": f"{count}-{n}"}) for n in range(count)
            )
        sender = threading.Thread(target=peer.send, args=(asked + framed({"kind": "end"}),))
        sender.start()
        replies = peer.replies()
        sender.join(SECONDS)
        assert replies[-1]["kind"] == "end"
        peer.close()
        return time.process_time() - began

    def grows(start: int) -> float:
        few = min(seconds(start + n) for n in range(3))
        return min(seconds(1600 + start + n) for n in range(2)) / few

    seconds(400)
    # A busy machine may spoil one measurement, or two; what grows by the square never passes.
    assert any(grows(start) < 2.5 * 4 for start in range(401, 426, 5))


@pytest.mark.case("H12")
def test_a_flood_of_log_lines(tmp_path: Path) -> None:
    """Each address gets so many lines a second; how many were left out is told."""
    with Service(tmp_path, "--workers", "1", "-v") as service:
        for _ in range(200):
            with socket.create_connection(("127.0.0.1", service.port), SECONDS) as sock:
                sock.sendall(struct.pack("!I", 5) + b"false")
                while sock.recv(1000):
                    pass
        told: list[str] = []
        while not (told and "left out" in told[-1]):
            told.append(service.line())
        assert service.end() == 0
        lines = [*told, *service.rest().splitlines()]
    left_out = [line for line in lines if line.endswith("more lines in a second were left out")]
    counts = sum(int(line.split(": ")[-1].split()[0]) for line in left_out)
    assert all(" WARNING 127.0.0.1: " in line for line in left_out)
    assert len(lines) - len(left_out) + counts == 200
    assert len(lines) < 100


@pytest.mark.case("B24")
def test_a_client_cannot_ask_for_more(served: Served, raw: Callable[[Server], Raw]) -> None:
    """Whatever limits a greeting or request names, the server's own hold."""
    names = ("workers", "threads", "jobs", "level", "idle_timeout", "buffer", "window", "part")
    wishes: dict[str, Any] = dict.fromkeys((*names, "connections", "max_file_size"), 2**62)
    wishes |= {"timeout": 0, "min_free": 0, "limits": {"header": 10**9}}
    threads = threading.active_count()
    peer = raw(served.server)
    peer.frame({**HELLO, **wishes})
    reply = peer.reply()
    assert reply
    assert reply["kind"] == "welcome"
    while not served.server._sessions:  # it may answer before it is entered there
        time.sleep(0.001)
    (session,) = served.server._sessions
    connection = session._connection
    assert connection.timeout == SECONDS
    assert (connection.least_rate, connection.least_span) == (1024, 30.0)
    assert threading.active_count() == threads + 1
    peer.frame({"kind": "put", **wishes})
    peer.send(struct.pack("!I", FRAME_MAX + 1))
    replies = peer.replies("error")
    assert replies[-1]["code"] == "bad_header"


def test_idle_clients_are_sent_away(serve: Callable[..., Served]) -> None:
    """The limit for idle clients ends a connection without a request."""
    served = serve(timeout=None, limits=Limits(idle_timeout=0.2))
    client = served.client()
    client.make_folder("a")
    settle(served)
    assert client.stat("a")
    with pytest.raises(ConnectionLost), Client("127.0.0.1", 1) as nobody:
        nobody.stat("a")


def test_messages_of_the_log_name_the_client(
    serve: Callable[..., Served], raw: Callable[[Server], Raw], caplog: pytest.LogCaptureFixture
) -> None:
    """Who is refused, dropped or too late stands in the log with the reason, in one line."""
    caplog.set_level(logging.INFO, "filexfer")
    served = serve(limits=Limits(connections=2, unauthenticated=1, early_drop=1))
    hasty = serve(limits=Limits(opening_timeout=0.1))
    first, second = raw(served.server), raw(served.server)
    assert says_busy(first)
    reply = raw(hasty.server).reply()
    assert reply
    assert reply["code"] == "timeout"
    settle(hasty)
    second.greet()
    raw(served.server).greet()
    assert says_busy(raw(served.server))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    for line, words in zip(lines, ("new connections", "too long", "connections"), strict=True):
        assert line.startswith("127.0.0.1:")
        assert words in line
