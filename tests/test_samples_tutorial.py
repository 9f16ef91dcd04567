"""The tutorial samples, each run as its user runs it, and the framing they are built on."""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from filexfer.wire import framing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples"
DATA = SAMPLES / "data"
NAMES = ("echo_upper", "chat", "sticky_packets", "remote_command", "struct_lengths")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    "PYTHONUTF8": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
HELLO = "你好"
GROWING = "\N{LATIN SMALL LETTER N PRECEDED BY APOSTROPHE}"  # 2 bytes, in upper case 3
SECONDS = 20  # no wait of these tests comes near it
QUIET = 0.2  # how long nothing must come where nothing ever comes


class Sample:
    """A running sample."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.interrupted = False
        command = [sys.executable, str(SAMPLES / f"{name}.py"), *map(str, arguments)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env=ENVIRONMENT,
            text=True,
            encoding="utf-8",
        )

    def port(self) -> int:
        """Wait for the printed address and return its port."""
        line = self.error_line()
        found = re.fullmatch(r"listening on 127\.0\.0\.1:(\d+)", line)
        assert found, line
        return int(found[1])

    def line(self) -> str:
        """Wait for the next line of standard output."""
        assert self.process.stdout
        return self.process.stdout.readline().removesuffix("\n")

    def error_line(self) -> str:
        """Wait for the next line of standard error."""
        assert self.process.stderr
        return self.process.stderr.readline().removesuffix("\n")

    def type(self, *lines: str) -> None:
        """Write lines to standard input."""
        assert self.process.stdin
        self.process.stdin.write("".join(f"{line}\n" for line in lines))
        self.process.stdin.flush()

    def interrupt(self) -> None:
        """Do what Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.interrupted = True

    def finish(self, text: str | None = None) -> tuple[int, str, str]:
        """Give the rest of standard input, wait for the end; return status, output and errors."""
        try:
            output, errors = self.process.communicate(text, SECONDS / 2)
        except subprocess.TimeoutExpired:
            # Python notices a signal that comes just before a blocking call only after that call,
            # so now and then a person presses Ctrl-C twice.
            if self.interrupted:
                self.interrupt()
            output, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, output, errors

    def stop(self) -> None:
        """End it if it still runs, and close the pipes."""
        self.process.kill()
        with self.process:
            pass


@pytest.fixture
def start() -> Iterator[Callable[..., Sample]]:
    """Start samples, and end those that still run after the test."""
    running: list[Sample] = []

    def start_one(name: str, *arguments: object) -> Sample:
        running.append(Sample(name, *arguments))
        return running[-1]

    # Under a shell that ignores Ctrl-C for us, the samples would inherit that.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield start_one
    signal.signal(signal.SIGINT, handler)
    for sample in running:
        sample.stop()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
        yield sock


def text_frame(text: str) -> bytes:
    return framing.pack(json.dumps({"text": text}).encode())


def read_json(sock: socket.socket) -> object:
    frame = framing.read_frame(sock)
    assert frame is not None
    loaded: object = json.loads(frame)
    return loaded


def is_quiet(sock: socket.socket) -> bool:
    """Tell that nothing arrives, neither data nor an end."""
    return not select.select([sock], [], [], QUIET)[0]


def vanish(sock: socket.socket) -> None:
    """Close a connection with a reset instead of an end."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def closed_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nobody listens on."""
    with socket.socket(type=kind) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# The framing of the library


class OneByte(socket.socket):
    """A socket on which each receive returns a single byte, as TCP may."""

    def recv_into(self, buffer: bytearray | memoryview, nbytes: int = 0, flags: int = 0) -> int:  # type: ignore[override] # narrower is enough here
        return super().recv_into(memoryview(buffer)[:1], nbytes, flags)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection; the second gives up after a while, rather than hang."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(SECONDS)
        theirs.settimeout(SECONDS)
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


def test_a_frame_is_its_length_big_endian_and_its_bytes() -> None:
    assert framing.pack(b"hello") == b"\x00\x00\x00\x05hello"
    assert framing.pack(bytes(65_536))[:4] == b"\x00\x01\x00\x00"


@pytest.mark.parametrize("size", [0, 65_537])
def test_an_empty_or_too_long_payload_is_not_packed(size: int) -> None:
    with pytest.raises(framing.TooLong):
        framing.pack(bytes(size))


def test_frames_that_arrive_glued_are_read_one_by_one(pair: Pair) -> None:
    sender, receiver = pair
    sender.sendall(framing.pack(b"one") + framing.pack(b"two") + framing.pack(b"three"))
    assert [framing.read_frame(receiver) for _ in range(3)] == [b"one", b"two", b"three"]


def test_a_frame_that_arrives_byte_by_byte_is_read_whole(pair: Pair) -> None:
    sender, receiver = pair
    sender.sendall(framing.pack(b"a longer message") + framing.pack(b"next"))
    with OneByte(fileno=receiver.detach()) as slow:
        assert slow.recv_into(bytearray(9), 0, socket.MSG_PEEK) == 1
        assert framing.read_frame(slow) == b"a longer message"
        assert framing.read_exactly(slow, 8) == b"\x00\x00\x00\x04next"


def test_the_longest_frame_is_read(pair: Pair) -> None:
    sender, receiver = pair
    payload = bytes(range(256)) * 256
    sending = threading.Thread(target=sender.sendall, args=(framing.pack(payload),))
    sending.start()
    assert framing.read_frame(receiver) == payload
    sending.join()


def test_the_end_before_a_length_is_a_clean_end(pair: Pair) -> None:
    sender, receiver = pair
    sender.sendall(framing.pack(b"last"))
    sender.close()
    assert framing.read_frame(receiver) == b"last"
    assert framing.read_frame(receiver) is None


@pytest.mark.parametrize("count", range(1, 9))
def test_the_end_inside_a_frame_is_no_clean_end(pair: Pair, count: int) -> None:
    sender, receiver = pair
    sender.sendall(framing.pack(b"hello")[:count])
    sender.close()
    with pytest.raises(framing.Closed):
        framing.read_frame(receiver)


def test_read_exactly_says_how_much_was_missing(pair: Pair) -> None:
    sender, receiver = pair
    sender.sendall(b"abc")
    sender.close()
    with pytest.raises(framing.Closed, match=r"after 3 of 5 bytes"):
        framing.read_exactly(receiver, 5)


def test_closed_is_caught_as_an_end_of_file_and_as_a_connection_error() -> None:
    assert issubclass(framing.Closed, EOFError)
    assert issubclass(framing.Closed, ConnectionError)
    assert issubclass(framing.TooLong, ValueError)


@pytest.mark.parametrize("size", [0, 65_537, 0x7FFF_FFFF, 0xFFFF_FFFF])
def test_a_length_out_of_range_is_refused_before_anything_is_allocated(
    pair: Pair, size: int
) -> None:
    sender, receiver = pair
    sender.sendall(struct.pack("!I", size) + b"rest")
    tracemalloc.start()
    try:
        with pytest.raises(framing.TooLong, match=str(size)):
            framing.read_frame(receiver)
        assert tracemalloc.get_traced_memory()[1] < 65_536
    finally:
        tracemalloc.stop()
    assert receiver.recv(100) == b"rest"


def test_a_caller_can_set_a_lower_limit(pair: Pair) -> None:
    sender, receiver = pair
    sender.sendall(framing.pack(b"12345") + framing.pack(b"123456"))
    assert framing.read_frame(receiver, limit=5) == b"12345"
    with pytest.raises(framing.TooLong):
        framing.read_frame(receiver, limit=5)


def test_framing_imports_nothing_but_struct_when_it_runs() -> None:
    assert framing.__file__
    tree = ast.parse(Path(framing.__file__).read_text(encoding="utf-8"))
    found = {
        ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert found == {"from __future__ import annotations", "import struct"}
    assert framing.TYPE_CHECKING is False


# All samples


@pytest.mark.parametrize("name", NAMES)
def test_every_sample_explains_itself(start: Callable[..., Sample], name: str) -> None:
    """--help works, and the docstring says what was wrong and how to run it."""
    status, output, errors = start(name, "--help").finish()
    assert (status, errors) == (0, "")
    assert output.startswith(f"usage: {name}.py")
    docstring = ast.get_docstring(ast.parse((SAMPLES / f"{name}.py").read_text(encoding="utf-8")))
    assert docstring
    assert "What the tutorials get wrong:" in docstring
    assert f"python samples/{name}.py" in docstring


SERVERS = [
    ("echo_upper", "server"),
    ("echo_upper", "server", "--udp"),
    ("echo_upper", "server", "--one-at-a-time"),
    ("chat", "server"),
    ("chat", "server", "--udp"),
    ("sticky_packets", "server"),
    ("remote_command", "server"),
]


@pytest.mark.parametrize("arguments", SERVERS, ids=" ".join)
def test_ctrl_c_ends_a_server_quietly(
    start: Callable[..., Sample], arguments: tuple[str, ...]
) -> None:
    server = start(*arguments)
    server.port()
    server.interrupt()
    status, _, errors = server.finish()
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("arguments", SERVERS, ids=" ".join)
def test_a_second_server_on_the_port_is_refused_in_one_sentence(
    start: Callable[..., Sample], arguments: tuple[str, ...]
) -> None:
    port = start(*arguments).port()
    status, output, errors = start(*arguments, "--port", port).finish()
    assert (status, output) == (1, "")
    assert re.fullmatch(r"error: Address already in use\b.*\n", errors)


@pytest.mark.parametrize(
    "arguments",
    [
        ("echo_upper", "client", "hello"),
        ("echo_upper", "client", "hello", "--udp"),
        ("chat", "client"),
        ("chat", "client", "--udp"),
        ("sticky_packets", "client"),
        ("remote_command", "client"),
    ],
    ids=" ".join,
)
def test_nobody_at_the_port_is_one_sentence_and_status_1(
    start: Callable[..., Sample], arguments: tuple[str, ...]
) -> None:
    port = closed_port(socket.SOCK_DGRAM if "--udp" in arguments else socket.SOCK_STREAM)
    assert start(*arguments, "--port", port).finish("hello\n") == (
        1,
        "",
        "error: Connection refused\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("echo_upper",),
        ("echo_upper", "client", "hello"),
        ("echo_upper", "server", "--port", "65536"),
        ("chat", "client"),
        ("chat", "server", "--port", "-1"),
        ("sticky_packets", "client"),
        ("sticky_packets", "neither"),
        ("remote_command", "client", "uname"),
        ("remote_command", "server", "--time-limit", "nan"),
        ("remote_command", "server", "--host", "0.0.0.0"),
        ("remote_command", "client", "--host", "192.0.2.1", "--port", "9"),
        ("struct_lengths", "anything"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_status_2(start: Callable[..., Sample], arguments: tuple[str, ...]) -> None:
    status, output, errors = start(*arguments).finish()
    assert (status, output) == (2, "")
    assert errors.startswith(f"usage: {arguments[0]}.py")
    assert f"\n{arguments[0]}.py: error: " in errors


# echo_upper.py


@pytest.mark.parametrize("option", [[], ["--one-at-a-time"], ["--udp"]], ids=str)
def test_texts_come_back_in_upper_case_the_empty_one_too(
    start: Callable[..., Sample], option: list[str]
) -> None:
    port = start("echo_upper", "server", *option).port()
    client = start("echo_upper", "client", "--port", port, *option, "hello", "", HELLO, "straße")
    assert client.finish() == (0, f"HELLO\n\n{HELLO}\nSTRASSE\n", "")


def test_without_texts_the_lines_of_standard_input_are_sent(start: Callable[..., Sample]) -> None:
    port = start("echo_upper", "server").port()
    client = start("echo_upper", "client", "--port", port)
    assert client.finish("one\n\nthree") == (0, "ONE\n\nTHREE\n", "")


def test_many_clients_are_answered_at_once(start: Callable[..., Sample]) -> None:
    """Forty connections are open, and the last to come is answered first."""
    port = start("echo_upper", "server").port()
    with ExitStack() as stack:
        socks = [stack.enter_context(connected(port)) for _ in range(40)]
        for number, sock in reversed(list(enumerate(socks))):
            sock.sendall(text_frame(f"number {number}"))
            assert read_json(sock) == {"text": f"NUMBER {number}"}


def test_one_at_a_time_a_silent_client_keeps_the_next_waiting(start: Callable[..., Sample]) -> None:
    port = start("echo_upper", "server", "--one-at-a-time").port()
    with connected(port) as silent, connected(port) as waiting:
        waiting.sendall(text_frame("me too"))
        assert is_quiet(waiting)
        silent.close()
        assert read_json(waiting) == {"text": "ME TOO"}


def test_glued_and_split_messages_are_told_apart(start: Callable[..., Sample]) -> None:
    port = start("echo_upper", "server").port()
    with connected(port) as sock:
        glued = text_frame("one") + text_frame("") + text_frame("three")
        sock.sendall(glued + text_frame("four")[:2])
        assert [read_json(sock) for _ in range(3)] == [
            {"text": "ONE"},
            {"text": ""},
            {"text": "THREE"},
        ]
        assert is_quiet(sock)
        sock.sendall(text_frame("four")[2:])
        assert read_json(sock) == {"text": "FOUR"}


@pytest.mark.parametrize("option", [[], ["--one-at-a-time"]], ids=str)
def test_a_client_that_vanishes_ends_its_connection_only(
    start: Callable[..., Sample], option: list[str]
) -> None:
    server = start("echo_upper", "server", *option)
    port = server.port()
    with connected(port) as sock:
        sock.sendall(text_frame("a"))
        assert read_json(sock) == {"text": "A"}
        sock.sendall(text_frame("b")[:6])
        vanish(sock)
    assert "reset" in server.error_line()
    assert start("echo_upper", "client", "--port", port, "still here?").finish()[:2] == (
        0,
        "STILL HERE?\n",
    )


@pytest.mark.parametrize(
    "data",
    [
        framing.pack(b"no json"),
        framing.pack(b'{"text": 5}'),
        framing.pack(b"[" * 60_000),
        framing.pack(b'{"text": "\xff"}'),
        framing.pack(json.dumps({"text": "\ud800"}).encode()),
        struct.pack("!I", 0xFFFF_FFFF),
        framing.pack(f'{{"text": "{GROWING * 30_000}"}}'.encode()),
    ],
    ids=["text", "number", "deep", "bytes", "surrogate", "length", "growing"],
)
def test_a_client_that_talks_nonsense_ends_its_connection_only(
    start: Callable[..., Sample], data: bytes
) -> None:
    server = start("echo_upper", "server")
    port = server.port()
    with connected(port) as sock:
        sock.sendall(data)
        assert framing.read_frame(sock) is None
    assert server.error_line().startswith("('127.0.0.1', ")
    with connected(port) as sock:
        sock.sendall(text_frame("a"))
        assert read_json(sock) == {"text": "A"}
    server.interrupt()
    assert server.finish()[2] == ""


def test_a_server_restarts_at_once_on_its_port(start: Callable[..., Sample]) -> None:
    """The server closes first, which leaves its port in TIME_WAIT; SO_REUSEADDR gets it back."""
    server = start("echo_upper", "server")
    port = server.port()
    with connected(port) as sock:
        sock.sendall(text_frame("a"))
        assert read_json(sock) == {"text": "A"}
        server.stop()
        assert sock.recv(1) == b""
    assert start("echo_upper", "server", "--port", port).port() == port


def test_a_datagram_of_any_bytes_is_answered(start: Callable[..., Sample]) -> None:
    port = start("echo_upper", "server", "--udp").port()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.1", port))
        for data, answer in ((b"", b""), (b"a\xffb", b"A\xef\xbf\xbdB"), (b"last", b"LAST")):
            sock.send(data)
            assert sock.recv(100) == answer


def test_an_answer_too_long_for_a_datagram_does_not_end_the_server(
    start: Callable[..., Sample],
) -> None:
    server = start("echo_upper", "server", "--udp")
    port = server.port()
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.1", port))
        sock.send(GROWING.encode() * (4_500 if sys.platform == "darwin" else 30_000))
        assert "too long" in server.error_line()
        sock.send(b"still here?")
        assert sock.recv(100) == b"STILL HERE?"


def test_a_text_too_long_for_a_frame_is_one_sentence(start: Callable[..., Sample]) -> None:
    port = start("echo_upper", "server").port()
    client = start("echo_upper", "client", "--port", port)
    status, output, errors = client.finish("x" * 65_536)
    assert (status, output) == (1, "")
    assert errors == "error: a frame of 65548 bytes is outside 1 to 65536\n"


def test_an_output_that_is_closed_is_one_sentence(start: Callable[..., Sample]) -> None:
    port = start("echo_upper", "server").port()
    client = start("echo_upper", "client", "--port", port)
    assert client.process.stdout
    client.process.stdout.close()
    client.type("hello")
    assert client.error_line() == "error: Broken pipe"
    assert client.process.wait(SECONDS) == 1
    assert client.error_line() == ""


# chat.py


def test_over_tcp_two_talk_by_turns_in_any_language(start: Callable[..., Sample]) -> None:
    server = start("chat", "server")
    client = start("chat", "client", "--port", server.port())
    client.type(HELLO)
    assert server.line() == HELLO
    server.type("Grüß dich, мир 🌍")
    assert client.line() == "Grüß dich, мир 🌍"
    client.type("")
    assert server.line() == ""
    server.type("字" * 20_000)
    assert client.line() == "字" * 20_000
    client.type("Q")
    assert server.finish() == (0, "", "")
    assert client.finish() == (0, "", "")


@pytest.mark.parametrize("end", ["Q\n", "q\n", ""], ids=["Q", "q", "end of input"])
@pytest.mark.parametrize("option", [[], ["--udp"]], ids=str)
def test_the_server_ends_the_talk_on_both_sides(
    start: Callable[..., Sample], option: list[str], end: str
) -> None:
    server = start("chat", "server", *option)
    client = start("chat", "client", *option, "--port", server.port())
    client.type("hello")
    assert server.line().endswith("hello")
    assert server.finish(end) == (0, "", "")
    assert client.finish() == (0, "", "")


@pytest.mark.parametrize("end", ["Q\n", "q\n", ""], ids=["Q", "q", "end of input"])
def test_the_client_ends_the_talk_on_both_sides(start: Callable[..., Sample], end: str) -> None:
    server = start("chat", "server")
    client = start("chat", "client", "--port", server.port())
    assert client.finish(end) == (0, "", "")
    assert server.finish() == (0, "", "")


def test_control_characters_are_not_printed(start: Callable[..., Sample]) -> None:
    server = start("chat", "server")
    with connected(server.port()) as sock:
        sock.sendall(text_frame("a\x1b[2Jb\nc\x9bd") + text_frame("q"))
        assert server.line() == "a?[2Jb?c?d"
        server.type("ok")
        assert read_json(sock) == {"text": "ok"}
        assert server.finish() == (0, "", "")


def test_a_peer_that_leaves_without_q_is_one_sentence(start: Callable[..., Sample]) -> None:
    server = start("chat", "server")
    client = start("chat", "client", "--port", server.port())
    client.type("hello")
    assert server.line() == "hello"
    client.stop()
    status, output, errors = server.finish("anybody there?\n")
    assert (status, output) == (1, "")
    assert re.fullmatch(
        r"error: (the other side left without a Q|Connection reset by peer|Broken pipe)\n", errors
    )


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"[]", "what came is not a message"),
        (b'{"text": 5}', "what came is not a message"),
        (b"[" * 60_000, ".+"),
    ],
    ids=["list", "number", "deep"],
)
def test_what_is_no_message_is_one_sentence(
    start: Callable[..., Sample], payload: bytes, sentence: str
) -> None:
    server = start("chat", "server")
    with connected(server.port()) as sock:
        sock.sendall(framing.pack(payload))
        status, output, errors = server.finish()
    assert (status, output) == (1, "")
    assert re.fullmatch(f"error: {sentence}\n", errors)


def test_ctrl_c_in_a_client_is_status_130_without_a_word(start: Callable[..., Sample]) -> None:
    server = start("chat", "server")
    client = start("chat", "client", "--port", server.port())
    client.type("hello")
    assert server.line() == "hello"
    client.interrupt()
    assert client.finish() == (130, "", "")


def test_over_udp_each_peer_gets_its_own_answers(start: Callable[..., Sample]) -> None:
    """Two peers write to one socket; q ends the talk of one, the server's Q that of the other."""
    server = start("chat", "server", "--udp")
    port = server.port()
    first = start("chat", "client", "--udp", "--port", port)
    second = start("chat", "client", "--udp", "--port", port)
    first.type(f"{HELLO} 1")
    name_of_first, text = server.line().split(" ", 1)
    assert text == f"{HELLO} 1"
    second.type(f"{HELLO} 2")
    server.type("to the first", "to the second")
    name_of_second, text = server.line().split(" ", 1)
    assert text == f"{HELLO} 2"
    assert first.line() == "to the first"
    assert second.line() == "to the second"
    assert len({name_of_first, name_of_second}) == 2
    assert name_of_first.startswith("127.0.0.1:")
    assert first.finish("q\n") == (0, "", "")
    second.type("only me now")
    assert server.line() == f"{name_of_second} only me now"
    assert server.finish("Q\n") == (0, "", "")
    assert second.finish() == (0, "", "")


def test_over_udp_the_servers_q_goes_to_all_peers_but_those_who_left(
    start: Callable[..., Sample],
) -> None:
    server = start("chat", "server", "--udp")
    address = ("127.0.0.1", server.port())
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(3)]
        for number, sock in enumerate(socks):
            sock.settimeout(SECONDS)
            sock.sendto(b"hello %d" % number, address)
            assert server.line().endswith(f" hello {number}")
            server.type(f"answer {number}")
            assert sock.recv(100) == b"answer %d" % number
        socks[1].sendto(b"q", address)
        socks[0].sendto(b"bye", address)
        assert server.line().endswith(" bye")
        assert server.finish("Q\n") == (0, "", "")
        assert socks[0].recv(100) == b"Q"
        assert socks[2].recv(100) == b"Q"
        assert is_quiet(socks[1])


# sticky_packets.py

ARRIVED = """\
TCP, three small sends, then recv(1024)
    b'onetwothree'
TCP, the same sends, but first recv(2)
    b'on'
    b'etwothree'
TCP, a message longer than recv(1024)
    b'beginxxx' ... b'xxxxxxxx', 1024 bytes
    b'xxxxxxxx' ... b'xxxxxxxx', 1024 bytes
    b'xxxxxxxx' ... b'xxxxxend', 960 bytes
UDP, three small datagrams, recv(1024) for each
    b'one'
    b'two'
    b'three'
UDP, the same datagrams, recv(2) for each
    b'on'
    b'tw'
    b'th'
TCP with lengths, three small sends
    b'one'
    b'two'
    b'three'
TCP with lengths, a long message
    b'begin'
    b'xxxxxxxx' ... b'xxxxxxxx', 3000 bytes
    b'end'
"""


def test_messages_stick_on_tcp_are_cut_on_udp_and_are_whole_with_lengths(
    start: Callable[..., Sample],
) -> None:
    both = start("sticky_packets")
    both.port()
    assert both.finish() == (0, ARRIVED, "")


def test_the_same_arrives_in_two_processes(start: Callable[..., Sample]) -> None:
    server = start("sticky_packets", "server")
    client = start("sticky_packets", "client", "--port", server.port())
    assert client.finish() == (0, "", "")
    assert server.finish() == (0, ARRIVED, "")


def test_a_slow_sender_changes_nothing(start: Callable[..., Sample]) -> None:
    """The receiver waits until everything is there, so what it prints does not depend on time."""
    server = start("sticky_packets", "server")
    address = ("127.0.0.1", server.port())
    for number, case in enumerate(runpy.run_path(str(SAMPLES / "sticky_packets.py"))["CASES"]):
        with socket.socket(type=case.kind) as sock:
            sock.connect(address)
            for data in case.sends:
                assert number > 0 or is_quiet(sock)
                sock.sendall(data)
    assert server.finish() == (0, ARRIVED, "")


# remote_command.py

FRAMINGS = ("text", "length", "json")


def ask(port: int, command: str, framed: str = "json") -> tuple[int, bytes, str]:
    """Run a client; return its status, the bytes of its output, and its errors."""
    script = str(SAMPLES / "remote_command.py")
    done = subprocess.run(
        [sys.executable, script, "client", "--port", str(port), "--framing", framed, command],
        env=ENVIRONMENT,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("framed", FRAMINGS)
def test_an_output_of_megabytes_comes_whole(start: Callable[..., Sample], framed: str) -> None:
    port = start("remote_command", "server").port()
    expected = subprocess.run(["seq", "1", "500000"], capture_output=True, check=True).stdout
    assert len(expected) > 3_000_000
    assert ask(port, "seq 1 500000", framed) == (0, expected, "")


@pytest.mark.parametrize("framed", FRAMINGS)
def test_an_output_of_any_bytes_comes_untouched(start: Callable[..., Sample], framed: str) -> None:
    port = start("remote_command", "server").port()
    assert ask(port, r"printf '\377\376\000\r\n\344'", framed) == (0, b"\xff\xfe\x00\r\n\xe4", "")
    assert ask(port, "printf ''", framed) == (0, b"", "")


def test_no_shell_reads_the_command(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server").port()
    line = "echo 'two  words' $HOME `uname` * ; ls | cat > file && echo $(id)"
    assert ask(port, line) == (
        0,
        b"two  words $HOME `uname` * ; ls | cat > file && echo $(id)\n",
        "",
    )


@pytest.mark.parametrize("framed", FRAMINGS)
@pytest.mark.parametrize(
    "command", ["rm -rf x", "/bin/echo x", "../echo", "sh -c echo", "date", ""]
)
def test_other_commands_are_refused(
    start: Callable[..., Sample], command: str, framed: str
) -> None:
    port = start("remote_command", "server").port()
    sentence = "error: only these commands are allowed: echo, printf, seq, sleep, uname\n"
    assert ask(port, command, framed) == (1, b"", sentence)


def test_a_quotation_without_end_is_one_sentence(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server").port()
    assert ask(port, "echo 'a") == (1, b"", "error: No closing quotation\n")


def test_a_command_that_fails_is_told_with_what_it_printed(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server").port()
    status, output, errors = ask(port, "seq nonsense")
    assert status == 1
    assert b"nonsense" in output
    assert re.fullmatch(r"error: the command ended with code [1-9]\d*\n", errors)


def test_a_command_that_takes_too_long_is_stopped(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server", "--time-limit", "0.3").port()
    sentence = "error: stopped after 0.3 seconds or 67108864 bytes of output\n"
    assert ask(port, "sleep 1000") == (1, b"", sentence)


def test_a_command_that_prints_too_much_is_stopped(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server", "--time-limit", "1000").port()
    sentence = "error: stopped after 1000 seconds or 67108864 bytes of output\n"
    assert ask(port, "seq 1 99999999999") == (1, b"", sentence)


def request(sock: socket.socket, framed: str, command: str) -> None:
    message = {"command": command, "framing": framed}
    sock.sendall(framing.pack(json.dumps(message).encode()))


def rest(sock: socket.socket) -> bytes:
    with sock.makefile("rb") as file:
        return file.read()


def test_length_as_text_waits_for_ready(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server").port()
    with connected(port) as sock:
        request(sock, "text", "echo hello")
        assert read_json(sock) == {"code": 0}
        assert framing.read_exactly(sock, 20) == b"6".rjust(20)
        assert is_quiet(sock)
        sock.sendall(b"ready")
        assert rest(sock) == b"hello\n"


def test_length_in_four_bytes_waits_for_nothing(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server").port()
    with connected(port) as sock:
        request(sock, "length", "echo hello")
        assert read_json(sock) == {"code": 0}
        assert rest(sock) == b"\x00\x00\x00\x06hello\n"


def test_length_in_a_json_header_stands_beside_the_code(start: Callable[..., Sample]) -> None:
    port = start("remote_command", "server").port()
    with connected(port) as sock:
        request(sock, "json", "echo hello")
        assert read_json(sock) == {"code": 0, "size": 6}
        assert rest(sock) == b"hello\n"


@pytest.mark.parametrize(
    "data",
    [
        framing.pack(b'{"command": "uname", "framing": "none"}'),
        framing.pack(b'{"command": ["uname"], "framing": "json"}'),
        framing.pack(b"[" * 60_000),
        struct.pack("!I", 0xFFFF_FFFF),
    ],
    ids=["framing", "list", "deep", "length"],
)
def test_a_request_that_is_none_is_answered_with_an_error(
    start: Callable[..., Sample], data: bytes
) -> None:
    port = start("remote_command", "server").port()
    with connected(port) as sock:
        sock.sendall(data)
        answer = read_json(sock)
        assert isinstance(answer, dict)
        assert list(answer) == ["error"]
        assert rest(sock) == b""


def test_a_client_that_vanishes_does_not_end_the_server(start: Callable[..., Sample]) -> None:
    server = start("remote_command", "server")
    port = server.port()
    with connected(port) as sock:
        request(sock, "length", "seq 1 2000000")
        assert read_json(sock) == {"code": 0}
        vanish(sock)
    assert ask(port, "echo still here") == (0, b"still here\n", "")
    server.interrupt()
    assert server.finish() == (0, "", "")


@pytest.mark.parametrize(
    ("data", "output", "sentence"),
    [
        (b"", b"", "the connection was closed"),
        (
            framing.pack(b'{"code": 0, "size": 9}') + b"cut",
            b"",
            "the connection was closed after 3 of 9 bytes",
        ),
        (b"SSH-2.0-something", b"", "a frame of 1397966893 bytes is outside 1 to 65536"),
    ],
    ids=["nothing", "cut", "other"],
)
def test_a_server_that_vanishes_is_one_sentence(data: bytes, output: bytes, sentence: str) -> None:
    def answer() -> None:
        with listener.accept()[0] as sock:
            framing.read_frame(sock)
            sock.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=answer)
        server.start()
        result = ask(listener.getsockname()[1], "uname")
        server.join()
    assert result == (1, output, f"error: {sentence}\n")


# struct_lengths.py


def test_what_fits_what_overflows_and_in_which_order(start: Callable[..., Sample]) -> None:
    status, output, errors = start("struct_lengths").finish()
    assert (status, errors) == (0, "")
    lines = [line.strip() for line in output.splitlines()]
    assert [
        line for line in lines if re.match(r"(4294967295|4294967296|1099511627776) as !", line)
    ] == [
        "4294967295 as !I: ff ff ff ff",
        "4294967295 as !Q: 00 00 00 00 ff ff ff ff",
        next(line for line in lines if line.startswith("4294967296 as !I: struct.error: ")),
        "4294967296 as !Q: 00 00 00 01 00 00 00 00",
        next(line for line in lines if line.startswith("1099511627776 as !I: struct.error: ")),
        "1099511627776 as !Q: 00 00 01 00 00 00 00 00",
    ]
    for size in (2**31 - 1, 1000):
        assert f"{size} as i : {size.to_bytes(4, sys.byteorder).hex(' ')}" in lines
    for size in (2**31, 1024**4):
        assert any(line.startswith(f"{size} as i : struct.error: ") for line in lines)
    for line in (
        "1000 as <i: e8 03 00 00",
        "1000 as !I: 00 00 03 e8",
        f"The order of the bytes (this machine is {sys.byteorder}-endian)",
        f"1000 packed as '!I' and unpacked as '<I' is {0xE803_0000}",
        "the first again: (7, 1099511627776, 1700000000)",
        "the second again: (8, 5, 0)",
        "0 bytes: refused: a frame of 0 bytes is outside 1 to 65536",
        "65536 bytes: 00 01 00 00",
        "65537 bytes: refused: a frame of 65537 bytes is outside 1 to 65536",
    ):
        assert line in lines
    record = "0700000100000000006553f10008000000000000000500000000"
    assert f"two records of '!BQI', 13 bytes each: {bytes.fromhex(record).hex(' ')}" in lines


# samples/data


def test_the_sample_files_are_a_small_tree_with_a_chinese_name() -> None:
    files = {
        path.relative_to(DATA).as_posix(): path.read_bytes()
        for path in DATA.rglob("*")
        if path.is_file()
    }
    assert set(files) == {
        "readme.txt",
        "languages/你好.txt",
        "languages/more/empty.txt",
        "pictures/sunrise.png",
    }
    assert files["languages/more/empty.txt"] == b""
    assert files["languages/你好.txt"].decode().startswith("你好")
    assert all(name in files["readme.txt"].decode() for name in set(files) - {"readme.txt"})
    assert sum(map(len, files.values())) < 10_000


def test_the_picture_is_a_real_png() -> None:
    data = (DATA / "pictures" / "sunrise.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks = {}
    place = 8
    while place < len(data):
        (size,) = struct.unpack_from("!I", data, place)
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert struct.unpack_from("!I", data, place + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        place += size + 12
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colours = struct.unpack_from("!IIBB", chunks[b"IHDR"])
    assert (width, height, depth, colours) == (96, 64, 8, 2)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert len(rows) == height * (1 + 3 * width)
    assert len(set(rows)) > 50
