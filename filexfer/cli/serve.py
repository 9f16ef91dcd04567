"""``filexfer serve``: offer a folder to clients.

This module must not know how connections are served.
"""

from __future__ import annotations

import logging
import os
import socket
import sys

from filexfer import Server, UsageError, workers
from filexfer.access import RIGHTS
from filexfer.address import DEFAULT_PORT, format_url, is_loopback
from filexfer.cli import options, output
from filexfer.names import shown
from filexfer.server import raise_file_limit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = f"""\
examples:
  filexfer serve                         this folder, on 127.0.0.1 port {DEFAULT_PORT}
  filexfer serve inbox --port 0          another folder, on any free port
  filexfer serve --read-only             nobody can write
  filexfer serve --allow overwrite,delete

Every user of this machine has the rights that are printed at the start. Ctrl-C or SIGTERM ends
it after the transfers under way (at most 30 s); a second one at once.
"""
WORKERS_MAX = 256


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="DIR", help="what to offer (default: .)"
    )
    where = parser.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="listen here (default: 127.0.0.1)")
    where.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"TCP port; 0 takes a free one (default: {DEFAULT_PORT})",
    )
    where.add_argument(
        "--insecure",
        action="store_true",
        help="serve other machines without encryption: everybody who can reach the address "
        "has the rights given here",
    )
    rights = parser.add_argument_group("rights (by default: read, list, create)")
    rights.add_argument("--read-only", action="store_true", help="do not let clients create")
    rights.add_argument(
        "--allow",
        default="",
        metavar="RIGHT,...",
        help="let clients do more: overwrite, delete",
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes (default: one per core)",
    )
    options.add_shape(how, "all clients")
    options.add_durability(parser)
    options.add_verbosity(parser)


def run(arguments: Namespace) -> int:
    """Serve until told to stop, and return the exit code."""
    if not 1 <= arguments.workers <= WORKERS_MAX:
        raise UsageError(f"--workers must be 1 to {WORKERS_MAX}, not {arguments.workers}")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port must be 0 to 65535, not {arguments.port}")
    allow = [word for word in arguments.allow.split(",") if word]
    if set(allow) - {"overwrite", "delete"}:
        raise UsageError("--allow takes overwrite and delete, with a comma between")
    level = logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(
        level=logging.ERROR if arguments.quiet else level,
        format="%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    raise_file_limit()
    server = Server(
        arguments.folder,
        arguments.host,
        arguments.port,
        allow=allow,
        read_only=arguments.read_only,
        durability=arguments.durability,
        insecure=arguments.insecure,
        bwlimit=arguments.bwlimit,
        congestion=arguments.congestion,
    )
    workers.hold_signals()  # who reads the address may send one at once
    if not arguments.quiet:
        _announce(server, insecure=arguments.insecure)
    return workers.serve(server, arguments.workers)


def _announce(server: Server, *, insecure: bool) -> None:
    rights = [right for right in RIGHTS if right in server.rights]
    output.say(f"folder   {shown(server.folder.path)}")
    output.say(f"address  {server.address}")
    whom, flag, address = "every user of this machine", "", server.address
    if insecure and not is_loopback(server.host):
        whom, flag = "everybody who can reach the address, unencrypted", "--insecure "
        address = format_url(_seen_from_outside(server.host), server.port, "", is_folder=True)
    output.say(f"rights   {', '.join(rights)}, for {whom}")
    if "create" in rights:
        output.say(f"upload   filexfer put {flag}FILE... {address}")
    output.say(f"download filexfer get {flag}{address}NAME .")


def _seen_from_outside(host: str) -> str:
    """Return an address of this machine in the place of one that means all of them."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104 - compared, not listened on
        return host
    family, other = (
        (socket.AF_INET6, "2001:db8::1") if ":" in host else (socket.AF_INET, "192.0.2.1")
    )
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((other, 9))  # sends nothing: it only chooses the way to other machines
        except OSError:
            return socket.gethostname()
        return str(sock.getsockname()[0])
