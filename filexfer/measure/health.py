"""Looks whether filexfer can work here and with a server, one thing after the other.

Only the libraries that Python has are loaded before it was looked whether the others are there.

This module must not know how the findings are shown, or transfer anything.
"""

from __future__ import annotations

import resource
import socket
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from filexfer import __version__
from filexfer.errors import ExitCode, FilexferError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

LIBRARIES = ("xxhash", "tqdm")
FILES_LEAST = 256  # open files; a transfer needs some dozens, and a few for each connection


class Finding:
    """One thing that was looked at.

    Attributes:
        what: What it is.
        text: What was found.
        mend: What to do about it; empty if all is well.
        code: What a command ends with that is stopped by it.

    """

    def __init__(self, what: str, text: str, mend: str = "", code: ExitCode = ExitCode.OK) -> None:
        self.what = what
        self.text = text
        self.mend = mend
        self.code = code


def of_this_machine() -> Iterator[Finding]:
    """Yield what is found without a server; after a library that is missing nothing more works."""
    yield Finding("filexfer", __version__)
    yield Finding("Python", sys.version.partition(" ")[0])
    for name in LIBRARIES:
        yield _library(name)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= FILES_LEAST:
        yield Finding("open files", f"{_limit(soft)} of at most {_limit(hard)}")
    else:
        text = f"no more than {soft} are allowed"
        yield Finding("open files", text, "run: ulimit -n 1024", ExitCode.LOCAL)


def _library(name: str) -> Finding:
    try:
        import_module(name)
        return Finding(name, version(name))
    except PackageNotFoundError:
        return Finding(name, "of an unknown version")
    except ImportError as error:
        mend = f"install filexfer again, or run: pip install {name}"
        return Finding(name, shown(str(error)), mend, ExitCode.FAULT)


def _limit(number: int) -> str:
    return "any number" if number == resource.RLIM_INFINITY else str(number)


def of_server(door: Door) -> Iterator[Finding]:
    """Yield what is found of a server, up to what makes the rest impossible."""
    from filexfer.wire import dial, protocol  # noqa: PLC0415 - needs the libraries that come first

    try:
        found = socket.getaddrinfo(door.host, door.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        text = f"the host {shown(door.host)} is not known: {reason}"
        yield Finding("name", text, "look at the spelling of the address", ExitCode.NETWORK)
        return
    addresses = dict.fromkeys(str(address[0]) for *_, address in found)
    yield Finding("name", f"{shown(door.host)} is {', '.join(addresses)}")
    try:
        dial.connect(door.host, door.port, door.timeout).close()
    except FilexferError as error:
        mend = "start the server there, and let it through what guards the way: filexfer serve"
        yield Finding("port", str(error), mend, error.exit_code)
        return
    yield Finding("port", f"{door.port} can be reached")
    try:
        connection = door.open()
    except FilexferError as error:
        yield Finding("server", str(error), _mend(error), error.exit_code)
        return
    try:
        yield Finding("server", f"{shown(door.program[:80])}, protocol version {protocol.VERSION}")
        yield from _of_talk(door, connection)
    finally:
        connection.close()


def _of_talk(door: Door, connection: Connection) -> Iterator[Finding]:
    from filexfer.measure import probe  # noqa: PLC0415 - as above

    if door.trust and door.trust.seen:
        yield Finding("TLS", f"the certificate is that of the server: {door.trust.seen}")
    if door.rights:
        yield Finding("rights", shown(", ".join(sorted(door.rights))))
    else:
        text = "this server lets you do nothing"
        yield Finding("rights", text, "ask whoever runs the server", ExitCode.TRUST)
    try:
        seconds = probe.round_trip(connection)
    except FilexferError as error:
        yield Finding("round trip", str(error), _mend(error), error.exit_code)
        return
    yield Finding("round trip", f"{seconds * 1000:.2f} ms")


def _mend(error: FilexferError) -> str:
    if error.exit_code == ExitCode.TRUST:
        return "store the connect string that the server shows: filexfer login NAME"
    if error.exit_code == ExitCode.REFUSED:
        return "ask whoever runs the server"
    return "look whether a filexfer of this version serves there: filexfer serve"
