"""Looks whether filexfer can work here and with a server, one thing after the other.

Only the libraries that Python has are loaded before it was looked whether the others are there.

This module must not know how the findings are shown, or transfer anything.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from time import time_ns

from filexfer import __version__
from filexfer.errors import ExitCode, FilexferError, TrustError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door
    from filexfer.wire.protocol import Welcome

LIBRARIES = ("xxhash", "tqdm", "cryptography")
SPACE_LEAST = 100_000_000  # bytes
CLOCK_MOST = 60  # seconds between two clocks
_FOR_EVER = 9999  # the year in which our own certificates end
_RENEW_DAYS = 14
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
    yield _space_here()
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


def _space_here() -> Finding:
    try:
        found = os.statvfs(".")
    except OSError as error:
        return Finding("space here", f"not known: {error.strerror}")
    free = found.f_bavail * found.f_frsize
    if free >= SPACE_LEAST or not found.f_blocks:  # some file systems say nothing but zeros
        return Finding("space here", f"{_size(free)} are free")
    mend = "make room, or download to another disk"
    return Finding("space here", f"only {_size(free)} are free", mend, ExitCode.LOCAL)


def _size(number: int) -> str:
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return f"{number:,} bytes"


def _limit(number: int) -> str:
    return "any number" if number == resource.RLIM_INFINITY else str(number)


def of_server(door: Door) -> Iterator[Finding]:
    """Yield what is found of a server, up to what makes the rest impossible."""
    from filexfer.wire import dial  # noqa: PLC0415 - needs the libraries that come first

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
        connection = door.begin()
    except FilexferError as error:
        yield Finding("TLS", str(error), _mend(error), error.exit_code)
        return
    try:
        yield from _of_talk(door, connection)
    finally:
        connection.close()


def _of_talk(door: Door, connection: Connection) -> Iterator[Finding]:
    from filexfer.wire import protocol  # noqa: PLC0415 - as above

    is_encrypted = bool(door.trust and door.trust.seen)
    began = time_ns()
    try:
        door.greet(connection)
    except FilexferError as error:
        what = "server"
        if isinstance(error, TrustError):
            what = "token" if is_encrypted or "TLS" not in str(error) else "TLS"
        if is_encrypted:
            yield _of_encryption(door)
        mend = _mend_token(door) if what == "token" else _mend(error)
        yield Finding(what, str(error), mend, error.exit_code)
        return
    ended = time_ns()
    yield _of_encryption(door)
    yield Finding("server", f"{shown(door.program[:80])}, protocol version {protocol.VERSION}")
    assert door.welcome  # noqa: S101 - it was taken just now
    yield from _of_welcome(door, door.welcome)
    yield _of_clock(door.welcome.time, began, ended)
    yield _of_round_trip(connection)


def _of_encryption(door: Door) -> Finding:
    trust = door.trust
    if trust is None or not trust.seen:
        if door.is_own:
            return Finding("TLS", "none: the server is on this machine")
        text = "none: everybody on the way can read the files and change them"
        return Finding("TLS", text, "leave out --insecure, where the server talks TLS")
    ends = _end_of(trust.certificate)
    until = "for ever" if ends.year >= _FOR_EVER else f"until {ends:%Y-%m-%d}"
    if trust.is_pinned:  # then neither name nor date counts
        text = f"the certificate is the one that is expected, valid {until}: {trust.seen}"
        return Finding("TLS", text)
    is_short = (ends - datetime.now(UTC)).days < _RENEW_DAYS
    mend = "renew it at the server: filexfer serve --cert FILE" if is_short else ""
    return Finding("TLS", f"an authority vouches for the certificate, valid {until}", mend)


def _end_of(certificate: bytes) -> datetime:
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:  # another library takes it; what it means is for that to judge
        return datetime.max.replace(tzinfo=UTC)


def _of_welcome(door: Door, welcome: Welcome) -> Iterator[Finding]:
    trust = door.trust
    has_token = bool(trust and trust.token(over_tls=bool(trust.seen)))
    yield Finding("token", "accepted" if has_token else "none was asked for")
    if door.rights:
        yield Finding("rights", shown(", ".join(sorted(door.rights))))
    else:
        text = "this server lets you do nothing"
        yield Finding("rights", text, "ask whoever runs the server", ExitCode.TRUST)
    if welcome.free is None:
        yield Finding("space there", "not told")
    elif welcome.free:
        yield Finding("space there", f"{_size(welcome.free)} can be stored")
    else:
        mend = "ask whoever runs the server for more, or remove something: filexfer rm"
        text = "nothing can be stored: the disk is full, or your quota is used up"
        yield Finding("space there", text, mend, ExitCode.REFUSED)
    if welcome.max_file_size is not None:
        yield Finding("largest file", f"{welcome.max_file_size:,} bytes")


def _of_clock(there: int | None, began: int, ended: int) -> Finding:
    """Compare the clocks; the server looked at its own between two looks at ours."""
    if there is None:
        return Finding("clock", "not told: the server is older than this program")
    ahead = there - (began + ended) // 2
    unsure = (ended - began) // 2
    if abs(ahead) - unsure <= CLOCK_MOST * 1_000_000_000:
        return Finding("clock", f"differs by {abs(ahead) / 1e9:.1f} s")
    text = f"the server's is {_duration(abs(ahead) / 1e9)} "
    text += "ahead" if ahead > 0 else "behind"
    mend = "set the wrong one of the two: --update compares times, and tokens end by the server's"
    return Finding("clock", text, mend, ExitCode.LOCAL)


def _duration(seconds: float) -> str:
    """The nearest whole number: what was measured may fall short by the way of one message."""
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{round(seconds / unit):,} {name}"
    return f"{round(seconds)} seconds"


def _of_round_trip(connection: Connection) -> Finding:
    from filexfer.measure import probe  # noqa: PLC0415 - as above

    try:
        seconds = probe.round_trip(connection)
    except FilexferError as error:
        return Finding("round trip", str(error), _mend(error), error.exit_code)
    return Finding("round trip", f"{seconds * 1000:.2f} ms")


def _mend_token(door: Door) -> str:
    if door.trust and door.trust.token(over_tls=bool(door.trust.seen)):
        return "ask for a new one (filexfer token add), and store it: filexfer login NAME"
    return "store the connect string that the server shows: filexfer login NAME"


def _mend(error: FilexferError) -> str:
    if error.exit_code == ExitCode.TRUST:
        return "store the connect string that the server shows: filexfer login NAME"
    if error.exit_code == ExitCode.REFUSED:
        return "ask whoever runs the server"
    return "look whether a filexfer of this version serves there: filexfer serve"
