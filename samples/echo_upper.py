"""An echo server that answers in upper case, and its client, over TCP or UDP.

What the tutorials get wrong:
- They take what recv(1024) returns for one message. TCP may glue messages together or split them.
  Here each message is a frame: its length, then its bytes.
- An empty message puts no bytes on a TCP connection, so both sides wait for ever. Here the frame
  of an empty text has bytes all the same. An empty datagram is sent as it is.
- A client that vanishes ends the server (ConnectionResetError). Here it ends its connection only.
- A silent client keeps all others waiting, as --one-at-a-time shows. Here each has a thread.
- A restarted server fails with "Address already in use": the side that closes a TCP connection
  first keeps it for about a minute in the state TIME_WAIT, and its port counts as in use.
  SO_REUSEADDR allows the port all the same, though not a second server beside the first.

To run it, with filexfer installed or the folder above this one in PYTHONPATH:
    python samples/echo_upper.py server --port 9000 [--one-at-a-time | --udp]
    python samples/echo_upper.py client --port 9000 [--udp] hello "" 你好
Without texts the client sends the lines of its standard input. Ctrl-C ends the server.
"""

import argparse
import contextlib
import json
import socket
import sys
import threading

from filexfer.wire import framing


def encode(text: str) -> bytes:
    """Return the frame of a text."""
    return framing.pack(json.dumps({"text": text}, ensure_ascii=False).encode())


def decode(frame: bytes | None) -> str:
    """Return the text of a frame."""
    match json.loads(frame or b"null"):
        case {"text": str(text)}:
            return text
    raise ValueError("the frame holds no text" if frame else "the connection was closed")


def serve_client(conn: socket.socket, peer: object) -> None:
    """Answer one TCP client until it leaves, properly or not."""
    with conn:
        try:
            while (frame := framing.read_frame(conn)) is not None:
                conn.sendall(encode(decode(frame).upper()))
        except (OSError, ValueError, RecursionError) as error:  # the last: JSON nested too deeply
            print(f"{peer}: {error}", file=sys.stderr)


def serve_tcp(sock: socket.socket, *, one_at_a_time: bool) -> None:
    """Answer TCP clients, all at once or one after another."""
    while True:
        with contextlib.suppress(ConnectionAbortedError):  # the client left before its turn
            work = threading.Thread(target=serve_client, args=sock.accept(), daemon=True)
            work.start()
            if one_at_a_time:
                work.join()


def serve_udp(sock: socket.socket) -> None:
    """Answer each datagram. There are no connections, so nobody waits for a silent client."""
    while True:
        data, peer = sock.recvfrom(65_535)  # no datagram is longer, so none is cut
        try:
            sock.sendto(data.decode(errors="replace").upper().encode(), peer)
        except OSError as error:  # upper case can be longer, and then too long for a datagram
            print(f"{peer}: {error}", file=sys.stderr)


def run(sock: socket.socket, args: argparse.Namespace) -> None:
    """Run the side asked for."""
    if args.side == "client":
        sock.settimeout(10)  # a datagram can get lost, a server can hang
        sock.connect((args.host, args.port))
        for text in args.text or (line.rstrip("\n") for line in sys.stdin):
            sock.sendall(text.encode() if args.udp else encode(text))
            answer = sock.recv(65_535).decode() if args.udp else decode(framing.read_frame(sock))
            print(answer, flush=True)
        return
    if not args.udp:  # with UDP it would let a second server take the datagrams of the first
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((args.host, args.port))
    if not args.udp:
        sock.listen()
    print(f"listening on {args.host}:{sock.getsockname()[1]}", file=sys.stderr)
    if args.udp:
        serve_udp(sock)
    else:
        serve_tcp(sock, one_at_a_time=args.one_at_a_time)


def main() -> None:
    """Read the arguments and run; an error ends the program with one sentence."""
    parser = argparse.ArgumentParser(description="Answer texts in upper case.")
    parser.add_argument("side", choices=("server", "client"))
    parser.add_argument("text", nargs="*", help="what the client sends")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 on a server: any free port")
    parser.add_argument("--udp", action="store_true")
    parser.add_argument("--one-at-a-time", action="store_true")
    args = parser.parse_intermixed_args()
    if not (args.side == "client") <= args.port <= 65_535:
        parser.error("--port must be from 1 to 65535, or 0 on a server")
    try:
        with socket.socket(type=socket.SOCK_DGRAM if args.udp else socket.SOCK_STREAM) as sock:
            run(sock, args)
    except KeyboardInterrupt:
        sys.exit(0 if args.side == "server" else 130)
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"error: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main()
