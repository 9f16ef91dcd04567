"""Running a command at the other end and getting its output whole, framed in three ways.

What the tutorials get wrong: their server runs whatever arrives with shell=True. Whoever reaches
its port owns the machine: never expose it. This one is on the loopback address only (which every
user of the machine reaches), has no shell, runs only what is in ALLOWED, and stops what takes too
long or prints too much. Requests and answers are JSON frames. The output's length comes before it:
- text: digits, whose end nothing marks, so the server waits for "ready" before it goes on;
- length: four bytes, which need no waiting but have room for nothing else;
- json: "size" in the answer, a header with room for anything.

To run it, with filexfer installed or the folder above this one in PYTHONPATH:
    python samples/remote_command.py server --port 9003
    python samples/remote_command.py client --port 9003 --framing text "seq 1 1000000"
"""

import argparse
import json
import shlex
import socket
import sys
from contextlib import suppress
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from threading import Thread, Timer

from filexfer.wire import framing

ALLOWED = ("echo", "printf", "seq", "sleep", "uname")  # not date: it can set the clock
MAX_OUTPUT = 64 * 1024 * 1024


def run(command: str, seconds: float) -> tuple[bytes, int]:
    """Run a command; return what it printed, errors included, and its exit code."""
    if not (words := shlex.split(command)) or words[0] not in ALLOWED:
        raise ValueError(f"only these commands are allowed: {', '.join(ALLOWED)}")
    with Popen(words, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT) as process:
        timer = Timer(seconds, process.kill)
        timer.start()
        output = process.stdout.read(MAX_OUTPUT + 1) if process.stdout else b""
    timer.cancel()  # a command with more to print has ended by now: its output was closed
    if process.returncode < 0 or len(output) > MAX_OUTPUT:
        raise ValueError(f"stopped after {seconds:g} seconds or {MAX_OUTPUT} bytes of output")
    return output, process.returncode


def frame(**message: object) -> bytes:
    """Return a JSON object as a frame."""
    return framing.pack(json.dumps(message).encode())


def serve(conn: socket.socket, seconds: float) -> None:
    """Answer one client."""
    with conn, suppress(OSError, ValueError):  # it left, or what it sent makes no sense
        try:
            match json.loads(framing.read_frame(conn) or b"null"):
                case {"command": str(command), "framing": "text" | "length" | "json" as way}:
                    output, code = run(command, seconds)
                case _:
                    raise ValueError("this is not a request")
        except (OSError, ValueError, RecursionError) as error:
            conn.sendall(frame(error=str(error)))
            return
        size = len(output)
        header = frame(code=code, size=size) if way == "json" else frame(code=code)
        number = {"text": b"%20d" % size, "length": framing.LENGTH.pack(size), "json": b""}
        conn.sendall(header + number[way])
        if way == "text" and framing.read_exactly(conn, 5) != b"ready":
            return
        conn.sendall(output)


def ask(sock: socket.socket, command: str, way: str) -> None:
    """Have a command run and copy its output to standard output."""
    sock.sendall(frame(command=command, framing=way))
    answer = json.loads(framing.read_frame(sock) or b"{}")
    if "code" not in answer:
        raise ValueError(answer.get("error", "the connection was closed"))
    size = answer.get("size", 0)
    if way == "text":
        size = int(framing.read_exactly(sock, 20))
        sock.sendall(b"ready")
    elif way == "length":
        (size,) = framing.LENGTH.unpack(framing.read_exactly(sock, framing.LENGTH.size))
    while size > 0:
        size -= sys.stdout.buffer.write(framing.read_exactly(sock, min(size, 65_536)))
        sys.stdout.flush()
    if answer["code"]:
        raise ValueError(f"the command ended with code {answer['code']}")


def main() -> None:
    """Read the arguments and run; an error ends the program with one sentence."""
    parser = argparse.ArgumentParser(description="Run a command at the other end.")
    parser.add_argument("side", choices=("server", "client"))
    parser.add_argument("command", nargs="?", default="uname")
    parser.add_argument("--host", choices=("127.0.0.1", "localhost"), default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 on a server: any free port")
    parser.add_argument("--framing", choices=("text", "length", "json"), default="json")
    parser.add_argument("--time-limit", type=float, default=10, help="seconds, on a server")
    args = parser.parse_intermixed_args()
    if not (args.side == "client") <= args.port <= 65_535 or not 0 < args.time_limit <= 3600:
        parser.error("--port must be from 1 (server: 0) to 65535, --time-limit up to 3600")
    try:
        if args.side == "client":
            with socket.create_connection((args.host, args.port)) as sock:
                ask(sock, args.command, args.framing)
            return
        with socket.create_server((args.host, args.port)) as sock:  # sets SO_REUSEADDR
            print("listening on {}:{}".format(*sock.getsockname()), file=sys.stderr)
            while True:
                Thread(target=serve, args=(sock.accept()[0], args.time_limit), daemon=True).start()
    except KeyboardInterrupt:
        sys.exit(0 if args.side == "server" else 130)
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"error: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main()
