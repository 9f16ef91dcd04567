"""A client of a filexfer server in the standard library alone: stores or fetches one file.

A frame is its length, 4 bytes with the most significant first, and a JSON object. To store, send a
frame with name, size and hash, then the bytes; one frame answers. To fetch, send a frame with the
name; a frame with size and hash answers, then the bytes. The tutorial's hash is an "md5" field.

    python samples/minimal_peer.py put|get NAME HOST PORT [md5]
"""

import hashlib
import json
import os
import struct
import sys
from socket import MSG_WAITALL, create_connection, socket
from typing import IO, Any


def ask(sock: socket, header: dict[str, object], body: IO[bytes] | None = None) -> dict[str, Any]:
    """Send a frame and the bytes that belong to it; return the header that answers."""
    data = json.dumps(header).encode()
    sock.sendall(struct.pack("!I", len(data)) + data)
    if body:
        sock.sendfile(body)
    (size,) = struct.unpack("!I", sock.recv(4, MSG_WAITALL))
    reply: dict[str, Any] = json.loads(sock.recv(size, MSG_WAITALL))
    if reply.get("kind") == "error":
        raise ValueError(reply["text"])
    return reply


def put(sock: socket, path: str, kind: str) -> None:
    """Store a file; the server answers when it is verified and in its place."""
    with open(path, "rb") as file:
        digest, size = hashlib.file_digest(file, kind).hexdigest(), file.tell()
        field = {"md5": digest} if kind == "md5" else {"hash": f"{kind}:{digest}"}
        ask(sock, {"name": os.path.basename(path), "size": size, **field}, file)


def get(sock: socket, name: str, kind: str) -> None:
    """Fetch a file; it gets its name when it is verified."""
    header = ask(sock, {"kind": "fetch", "name": name, "hash": kind})
    path, left, made = os.path.basename(name), header["size"], hashlib.new(kind)
    with open(path + ".part", "wb") as file:
        while left and (piece := sock.recv(min(left, 1 << 20))):
            made.update(piece)
            left -= file.write(piece)
    if header["hash"] != f"{kind}:{made.hexdigest()}":
        raise ValueError("the bytes that came do not match their hash")
    os.replace(path + ".part", path)


if __name__ == "__main__":
    try:
        with create_connection((sys.argv[3], int(sys.argv[4]))) as server:
            {"put": put, "get": get}[sys.argv[1]](server, sys.argv[2], (*sys.argv[5:], "sha256")[0])
    except LookupError:
        sys.exit("usage: minimal_peer.py put|get NAME HOST PORT [md5]")
    except (OSError, ValueError, struct.error) as error:
        sys.exit(f"error: {error}")
