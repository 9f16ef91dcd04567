"""Talking by turns between two terminals, over TCP or over UDP. Q (or q) ends the talk.

What the tutorials get wrong:
- They test for Q on one side, and the other waits for ever. Here the one who ends says Q to the
  other, and both end. The end of input says Q too.
- They take one recv(1024) for one message. A longer one is cut, perhaps inside a character, as a
  Chinese one is three bytes of UTF-8. Here a message is a frame over TCP and a datagram over UDP.
- Anybody can send to a UDP socket. Here the server tells its peers apart by their addresses, and
  answers each message to its sender.
A datagram can get lost, and then the talk stands still until Ctrl-C. TCP loses none.

To run it, with filexfer installed or the folder above this one in PYTHONPATH, here with UDP:
    python samples/chat.py server --port 9001 --udp
    python samples/chat.py client --port 9001 --udp
The client speaks first. A message is a line of standard input. A TCP server talks with one
client and ends. A UDP server talks with several; its Q ends the talk for all of them.
"""

import argparse
import json
import socket
import sys

from filexfer.wire import framing

END = ("Q", "q")
# Control characters, printed as they are, would let the other side rewrite the terminal.
CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], "?")


def from_user() -> str:
    """Return the next line of standard input, Q after the last."""
    print("> " if sys.stdin.isatty() else "", end="", file=sys.stderr, flush=True)
    return (sys.stdin.readline() or "Q").rstrip("\r\n")


def say(sock: socket.socket, text: str) -> None:
    """Send a message to the other side: as a datagram, or over TCP as a frame."""
    data = json.dumps({"text": text}, ensure_ascii=False).encode()
    sock.sendall(text.encode() if sock.type == socket.SOCK_DGRAM else framing.pack(data))


def hear(sock: socket.socket) -> str:
    """Return the next message of the other side."""
    if sock.type == socket.SOCK_DGRAM:
        return sock.recv(65_535).decode(errors="replace")  # no datagram is longer
    frame = framing.read_frame(sock)
    match json.loads(frame or b"null"):
        case {"text": str(text)}:
            return text
    raise ValueError("what came is not a message" if frame else "the other side left without a Q")


def talk(sock: socket.socket, *, my_turn: bool) -> None:
    """Speak and listen by turns until one of the two says Q."""
    text = ""
    while text not in END:
        text = from_user() if my_turn else hear(sock)
        if my_turn:
            say(sock, text)
        elif text not in END:
            print(text.translate(CONTROLS), flush=True)
        my_turn = not my_turn


def serve_udp(sock: socket.socket) -> None:
    """Answer each message to its sender; at the end say Q to all who are still there."""
    peers, answer = set(), ""
    try:
        while answer not in END:
            data, peer = sock.recvfrom(65_535)
            text = data.decode(errors="replace")
            if text in END:
                peers.discard(peer)
                continue
            peers.add(peer)
            print(f"{peer[0]}:{peer[1]} {text.translate(CONTROLS)}", flush=True)
            if (answer := from_user()) not in END:
                sock.sendto(answer.encode(), peer)
    finally:  # after Ctrl-C and errors too
        for peer in peers:
            sock.sendto(b"Q", peer)


def main() -> None:
    """Read the arguments and run; an error ends the program with one sentence."""
    parser = argparse.ArgumentParser(description="Talk by turns; Q ends.")
    parser.add_argument("side", choices=("server", "client"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 on a server: any free port")
    parser.add_argument("--udp", action="store_true")
    args = parser.parse_args()
    if not (args.side == "client") <= args.port <= 65_535:
        parser.error("--port must be from 1 to 65535, or 0 on a server")
    try:
        if args.side == "client":
            with socket.socket(type=socket.SOCK_DGRAM if args.udp else socket.SOCK_STREAM) as sock:
                sock.connect((args.host, args.port))
                talk(sock, my_turn=True)
        elif args.udp:
            with socket.socket(type=socket.SOCK_DGRAM) as sock:
                sock.bind((args.host, args.port))
                print(f"listening on {args.host}:{sock.getsockname()[1]}", file=sys.stderr)
                serve_udp(sock)
        else:
            with socket.create_server((args.host, args.port)) as sock:  # sets SO_REUSEADDR
                print(f"listening on {args.host}:{sock.getsockname()[1]}", file=sys.stderr)
                conn = sock.accept()[0]
            with conn:
                talk(conn, my_turn=False)
    except KeyboardInterrupt:
        sys.exit(0 if args.side == "server" else 130)
    except (OSError, ValueError, RecursionError) as error:
        sys.exit(f"error: {getattr(error, 'strerror', None) or error}")


if __name__ == "__main__":
    main()
