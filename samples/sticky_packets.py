"""The "sticky packets" of TCP, the cut datagrams of UDP, and the cure: a length goes first.

What the tutorials get wrong: they blame Nagle's algorithm, and switch it off or sleep between two
sends. But TCP carries a stream of bytes, and how many of them one recv() returns has nothing to do
with how they were sent:
- Small sends arrive glued, in one recv(), when they lie waiting.
- A recv() that asks for too little leaves the rest, and the next one begins with it.
- A datagram never sticks to another. But what does not fit in the receiver's buffer is lost.
- With its length before each message the receiver knows how much to wait for, and gets each
  message whole, whether they arrive glued or in pieces.

To run it, with filexfer installed or the folder above this one in PYTHONPATH:
    python samples/sticky_packets.py                        both sides: prints what arrived
    python samples/sticky_packets.py server --port 9002     one side in each of two terminals
    python samples/sticky_packets.py client --port 9002
A sender sends everything and closes; a receiver first waits until everything is there. So the
result is the same every time.
"""

import argparse
import socket
import sys
from typing import NamedTuple

from filexfer.wire import framing

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
SHORT = (b"one", b"two", b"three")
LONG = (b"begin", b"x" * 3000, b"end")


class Case(NamedTuple):
    """What is sent, each item with one send(), and how it is received."""

    title: str
    kind: socket.SocketKind
    sends: tuple[bytes, ...]
    reads: tuple[int, ...]  # the sizes asked of recv(); with none, frames are read


CASES = (
    Case("TCP, three small sends, then recv(1024)", TCP, SHORT, (1024,)),
    Case("TCP, the same sends, but first recv(2)", TCP, SHORT, (2, 1024)),
    Case("TCP, a message longer than recv(1024)", TCP, LONG, (1024, 1024, 1024)),
    Case("UDP, three small datagrams, recv(1024) for each", UDP, SHORT, (1024, 1024, 1024)),
    Case("UDP, the same datagrams, recv(2) for each", UDP, SHORT, (2, 2, 2)),
    Case("TCP with lengths, three small sends", TCP, tuple(map(framing.pack, SHORT)), ()),
    Case("TCP with lengths, a long message", TCP, tuple(map(framing.pack, LONG)), ()),
)


def send(case: Case, address: tuple[str, int]) -> None:
    """Send what the case sends."""
    with socket.socket(type=case.kind) as sock:
        sock.connect(address)
        for data in case.sends:
            sock.sendall(data)


def show(data: bytes) -> None:
    """Print what arrived; of something long its ends."""
    text = repr(data) if len(data) <= 20 else f"{data[:8]!r} ... {data[-8:]!r}, {len(data)} bytes"
    print("   ", text)


def receive(case: Case, tcp: socket.socket, udp: socket.socket) -> None:
    """Receive as the case does, and print what arrived."""
    print(case.title)
    if case.kind == UDP:
        for size in case.reads:
            show(udp.recv(size))
        return
    with tcp.accept()[0] as conn:
        size = sum(map(len, case.sends))
        conn.recv(size, socket.MSG_PEEK | socket.MSG_WAITALL)  # wait for it, and leave it there
        for size in case.reads:
            show(conn.recv(size))
        while not case.reads and (message := framing.read_frame(conn)) is not None:
            show(message)


def main() -> None:
    """Read the arguments and run; an error ends the program with one sentence."""
    parser = argparse.ArgumentParser(description="Show how messages stick together, and the cure.")
    parser.add_argument("side", nargs="?", choices=("both", "server", "client"), default="both")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 unless a client: any free port")
    args = parser.parse_args()
    if not (args.side == "client") <= args.port <= 65_535:
        parser.error("--port must be from 1 to 65535, or 0 unless for a client")
    try:
        if args.side == "client":
            for case in CASES:
                send(case, (args.host, args.port))
            return
        with socket.create_server((args.host, args.port)) as tcp, socket.socket(type=UDP) as udp:
            udp.bind(tcp.getsockname())  # the same port number, for both
            udp.settimeout(10)  # a datagram can get lost
            print("listening on {}:{}".format(*tcp.getsockname()), file=sys.stderr)
            for case in CASES:
                if args.side == "both":
                    send(case, tcp.getsockname())
                receive(case, tcp, udp)
    except KeyboardInterrupt:
        sys.exit(130 if args.side == "client" else 0)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main()
