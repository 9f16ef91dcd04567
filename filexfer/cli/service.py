"""``filexfer service``: the systemd units that run a server for good.

This module must not know what stands in the units.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys

import filexfer
from filexfer import LocalError, UsageError
from filexfer.address import DEFAULT_PORT, is_loopback
from filexfer.cli import output, serve
from filexfer.cli.parsing import Parser
from filexfer.names import shown
from filexfer.serving import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer.cli.json_lines import Lines

EPILOG = """\
examples:
  filexfer service                                       look at the units
  filexfer service --output /etc/systemd/system          write them for systemd
  filexfer service /srv/inbox --user you --output /etc/systemd/system
  filexfer service /srv/pub --serve='--read-only -v' --unit

Then, as root, one of:
  systemctl daemon-reload && systemctl enable --now filexfer.service
  systemctl daemon-reload && systemctl enable --now filexfer.socket

With the second, systemd listens from the start, also on a port below 1024, and starts the server
for its first client. The server runs without any rights but those to its folder.
"""
_PATHS = ("access_log", "cert", "key", "tokens")  # options of serve that name a file


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder",
        nargs="?",
        metavar="DIR",
        help="what to offer (default: /var/lib/NAME/files, which systemd makes)",
    )
    parser.add_argument(
        "--user",
        default="",
        help="run as this user, who owns DIR (default: as a user that systemd makes up)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="listen here (default: 127.0.0.1)")
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"TCP port (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--serve",
        default="",
        metavar="OPTIONS",
        help="more options of 'filexfer serve': --serve='--allow overwrite'",
    )
    parser.add_argument(
        "--name", default="filexfer", help="what the units are called (default: filexfer)"
    )
    what = parser.add_argument_group("what to do with them").add_mutually_exclusive_group()
    what.add_argument("--unit", action="store_true", help="print the service unit alone")
    what.add_argument("--socket", action="store_true", help="print the socket unit alone")
    what.add_argument("--output", metavar="FOLDER", help="write both into FOLDER")


def run(arguments: Namespace) -> int:
    """Print or write the units, and return the exit code."""
    name = arguments.name
    units.check_name("--name", name)
    if arguments.user:
        units.check_name("--user", arguments.user)
    if not 1 <= arguments.port <= 65535:
        raise UsageError(f"--port must be 1 to 65535, not {arguments.port}")
    host = _numeric(arguments.host)
    folder = os.path.realpath(arguments.folder or f"{units.STATE}/{name}/files")
    made = {
        f"{name}.service": _service(arguments, host, folder),
        f"{name}.socket": units.socket_unit(host, arguments.port, folder),
    }
    if arguments.output is not None:
        return _write(arguments.output, made, arguments.json)
    for file, text in made.items():
        if arguments.unit or arguments.socket:
            if file.endswith(".socket") != arguments.socket:
                continue
            lines = [text.rstrip("\n")]
        else:
            lines = [f"# {file}", text]
        if arguments.json:
            arguments.json.emit("unit", name=file, path=None, text=text)
        else:
            output.print_data(lines)
    return 0


def _service(arguments: Namespace, host: str, folder: str) -> str:
    """Return the service unit; the options for the server are checked as it would check them."""
    try:
        more = shlex.split(arguments.serve)
    except ValueError as error:
        raise UsageError(f"--serve: {error}: {shown(arguments.serve)}") from error
    words = [folder, "--host", host, "--port", str(arguments.port), *more]
    parser = Parser("serve", "")
    serve.configure(parser)
    options = parser.parse_args(words)
    if (options.folder, options.host, options.port) != (folder, host, arguments.port):
        raise UsageError("--serve does not take DIR, --host and --port: name them before it")
    files = [path for each in _PATHS if (path := getattr(options, each, None))]
    for path in files:
        if not os.path.isabs(path):
            raise UsageError(f"a service has no folder of its own: write {shown(path)} from / on")
    log = options.access_log
    package = os.path.dirname(os.path.realpath(filexfer.__file__))
    return units.service_unit(
        [*_program(), "serve", *words],
        folder,
        name=arguments.name,
        user=arguments.user,
        writable=not options.read_only,
        local=is_loopback(host),
        needs=tuple(dict.fromkeys([sys.prefix, sys.base_prefix, package])),
        writes=(os.path.dirname(log),) if log else (),
    )


def _program() -> list[str]:
    """Return what starts this program, whatever the PATH."""
    script = os.path.join(os.path.dirname(sys.executable), "filexfer")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "filexfer"]


def _numeric(host: str) -> str:
    """Return an address in numbers: a socket unit takes no name."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {shown(host)}: {error}") from error
    return str(found[0][4][0])


def _write(folder: str, made: dict[str, str], lines: Lines | None) -> int:
    """Write the units, both or none; what is there is not changed."""
    paths = {os.path.join(folder, file): text for file, text in made.items()}
    for path in paths:
        if os.path.lexists(path):
            raise LocalError(f"{shown(path)} is there already; remove it first")
    for path, text in paths.items():
        try:
            with open(path, "x", encoding="utf-8") as unit:
                unit.write(text)
        except OSError as error:
            raise LocalError(f"cannot write {shown(path)}: {error.strerror}") from error
        output.say(f"wrote {shown(path)}")
        if lines:
            lines.emit("unit", name=os.path.basename(path), path=path, text=text)
    return 0
