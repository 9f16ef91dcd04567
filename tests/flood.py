"""A program that attacks a port of this machine, for a test: ``python flood.py PORT IDLE TRICKLE``.

It opens IDLE connections that say nothing and TRICKLE ones that say a byte now and then, prints
``ready``, and then opens more as fast as it can until its standard input ends. Some of these say
nothing either, some are closed at once, some are reset, and some say what makes no sense. At the
end it prints how many these were.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import time
from collections import deque

HELD = 200  # of the flood, open at the same time
SECONDS_MAX = 60.0  # whatever happens
TRICKLE_EVERY = 0.05  # seconds


def tell(word: object) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def opened(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 10)
    sock.setblocking(False)
    return sock


def hit(sock: socket.socket, number: int) -> bool:
    """Do what the connection of this number does; return whether it stays open."""
    if number % 4 == 1:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if number % 4 == 2:
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
    if number % 4 < 2:
        sock.close()
        return False
    return True


def main(port: int, idle: int, trickle: int) -> None:
    until = time.monotonic() + SECONDS_MAX
    silent = [opened(port) for _ in range(idle)]
    trickling = [opened(port) for _ in range(trickle)]
    for sock in trickling:
        with contextlib.suppress(OSError):
            sock.send(struct.pack("!I", 60_000))
    tell("ready")
    held: deque[socket.socket] = deque()
    number = 0
    last = time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0] and time.monotonic() < until:
        with contextlib.suppress(OSError):
            sock = opened(port)
            number += 1
            if hit(sock, number):
                held.append(sock)
        if len(held) > HELD:
            held.popleft().close()
        if trickling and time.monotonic() - last > TRICKLE_EVERY:
            last = time.monotonic()
            for sock in trickling:
                with contextlib.suppress(OSError):
                    sock.send(b" ")
    for sock in (*silent, *trickling, *held):
        sock.close()
    tell(number)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
