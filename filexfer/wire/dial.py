"""Opens a connection to a server and exchanges the greetings.

The first request goes out with the client's greeting, before the server has answered it: that
saves a round trip.

This module must not know what the connection is for.
"""

from __future__ import annotations

import select
import socket
import sys
from errno import EINPROGRESS
from os import strerror
from time import monotonic

from filexfer import __version__
from filexfer.address import is_loopback
from filexfer.errors import Code, ConnectionLost, NetworkError, ProtocolError, TimedOut, TrustError
from filexfer.names import shown
from filexfer.wire import protocol
from filexfer.wire.paced import connected
from filexfer.wire.protocol import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Any

    from filexfer.security.trust import Trust
    from filexfer.wire.budget import Limit
    from filexfer.wire.connection import Connection

FIRST_PAUSE = 0.2  # seconds before the second try; doubled for each further one
LONGEST_PAUSE = 30.0
LOOK_EVERY = 1.0  # seconds between two looks at signals: a command waits in the main thread
_TCP_INFO_SIZE = 104
_RTT_AT = 68


class Door:
    """Where a server is and how to come in.

    Args:
        host: Name or address.
        port: TCP port.
        timeout: Seconds, for connecting and for any wait without progress.
        trust: How the server is known, and what it is shown; by default as ``Trust()``.

    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout: float = 60.0,
        trust: Trust | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self.trust = trust
        self.rights: frozenset[str] = frozenset()  # known after the first greeting
        self.program = ""  # what the server calls itself; the same
        self.welcome: protocol.Welcome | None = None  # all that it has told; the same
        self.round_trip = 0.0  # seconds; known after the first connection, where the system tells
        self.is_met = False  # whether anything has ever answered there
        self.is_own = False  # whether the server is this machine; the same
        self.limit: Limit | None = None
        self._congestion: str | None = None

    def shape(self, bwlimit: float | None, congestion: str | None) -> None:
        """Set how fast and in which way all connections send and receive; before the first.

        Args:
            bwlimit: Bytes per second of each direction, over all of them together; None for no
                limit. Processes forked from this one share it.
            congestion: TCP congestion control of what is sent; None for the system's.

        Raises:
            UsageError: if either cannot be.

        """
        if bwlimit is not None:
            from filexfer.wire.budget import Limit  # noqa: PLC0415 - seldom needed

            self.limit = Limit(bwlimit)
        if congestion is not None:
            from filexfer.wire.congestion import check_name  # noqa: PLC0415 - seldom needed

            check_name(congestion)
        self._congestion = congestion

    def check(self, connections: int) -> None:
        """Refuse a limit that so many connections cannot live on.

        Raises:
            UsageError: if it is too low.

        """
        if self.limit:
            self.limit.check(connections)

    def open(self) -> Connection:
        """Return a connection on which the greetings were exchanged.

        Raises:
            NetworkError: as ``begin`` does, and as the first reading of a connection may.

        """
        connection = self.begin()
        try:
            self.greet(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def greet(self, connection: Connection) -> None:
        """Wait for the server's greeting on a connection that has begun.

        Raises:
            NetworkError: as the first reading of a connection may.

        """
        connection.flush()
        while not self._take_welcome(connection):
            connection.fill(inside=connection.has_input)

    def begin(self) -> Connection:
        """Return a connection on which requests can be made; the server's greeting is to come.

        Whoever reads the first message also finds out that what answers is no filexfer server of
        this version (ProtocolError), or has no room (ConnectionLost).

        Raises:
            ConnectionLost: if nobody answers there, or not in time.
            TrustError: if it is not the server that is expected, or not known.

        """
        sock = connect(self.host, self.port, self.timeout)
        self.is_met = True
        try:
            address = str(sock.getpeername()[0])
        except OSError as error:  # it went as it came
            sock.close()
            raise ConnectionLost(f"{self} closed the connection at once") from error
        if self._congestion is not None:
            self._choose(sock, self._congestion)
        found = self._recognised(sock, is_own=is_loopback(address))
        if found is None:  # somebody was asked, and the server has not waited
            return self.begin()
        connection, token = found
        self.round_trip = round_trip(sock)
        self.is_own = address == sock.getsockname()[0]
        hello = protocol.Hello(version=protocol.VERSION, program=f"filexfer {__version__}")
        if token:
            hello.token = token
        connection.send(hello)
        connection.greeting = lambda: self._take_welcome(connection)
        return connection

    def _recognised(self, sock: socket.socket, *, is_own: bool) -> tuple[Connection, str] | None:
        """Return a connection to the right server, with nothing said yet, and the token."""
        trust = self.trust
        if trust is None:
            if is_own:
                return self._connected(sock), ""
            from filexfer.security.trust import Trust  # noqa: PLC0415 - nothing to know on this machine

            trust = self.trust = Trust()
        try:
            tls = trust.context_for(self.host, self.port, is_loopback=is_own)
        except BaseException:
            sock.close()
            raise
        # Where no name is checked, none is sent along.
        name = self.host if tls and tls.check_hostname else ""
        connection = self._connected(sock, tls, name)
        is_fresh = True
        if tls:
            try:
                connection.deadline = monotonic() + self.timeout
                is_fresh = trust.check(connection.handshake(), self.host, self.port)
            except TrustError as error:
                connection.close()
                raise TrustError(f"{self}: {error}") from error
            except BaseException:
                connection.close()
                raise
            connection.deadline = None
        if not is_fresh:
            connection.close()
            return None
        return connection, trust.token(over_tls=tls is not None)

    def _connected(
        self, sock: socket.socket, tls: ssl.SSLContext | None = None, hostname: str = ""
    ) -> Connection:
        connection = connected(sock, self.limit, timeout=self.timeout, tls=tls, hostname=hostname)
        connection.waiting.longest = LOOK_EVERY
        return connection

    def _take_welcome(self, connection: Connection) -> bool:
        """Take the server's greeting, and return whether it was there."""
        to_come, connection.greeting = connection.greeting, None
        welcome = None
        try:
            welcome = connection.message(State.GREETING)
            if welcome is None:
                return False
            assert isinstance(welcome, protocol.Welcome)  # noqa: S101 - the table allows no other
            if welcome.version != protocol.VERSION:
                raise ProtocolError(
                    f"the server speaks version {welcome.version} of the protocol, "
                    f"not {protocol.VERSION}",
                    Code.UNSUPPORTED,
                )
        except ProtocolError as error:
            raise ProtocolError(f"{self}: {error}", error.code) from error
        finally:
            if welcome is None:
                connection.greeting = to_come
        self.rights, self.program = frozenset(welcome.rights), welcome.program
        self.welcome, connection.file_max = welcome, welcome.max_file_size
        return True

    @staticmethod
    def _choose(sock: socket.socket, congestion: str) -> None:
        from filexfer.wire.congestion import send_by  # noqa: PLC0415 - seldom needed

        try:
            send_by(sock, congestion)
        except BaseException:
            sock.close()
            raise

    def __str__(self) -> str:
        return f"{shown(self.host)} port {self.port}"


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Return a connected socket; every address of *host* is tried in turn.

    Raises:
        NetworkError: if the host is not known.
        ConnectionLost: if none of its addresses answers; says why.

    """
    # An ASCII name given as bytes spares the loading of the tables for other scripts.
    name = host.encode() if host.isascii() else host
    try:
        return _first_that_answers(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM), timeout)
    except socket.gaierror as error:
        text = f"the host {shown(host)} is not known: {error.strerror}"
        if host.isalnum():  # it may have been meant for a name
            text += "; 'filexfer remotes' lists the servers that are stored under a name"
        raise NetworkError(text) from error
    except TimeoutError as error:
        raise TimedOut(f"{shown(host)} port {port} did not answer in {timeout:g} s") from error
    except (OSError, UnicodeError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConnectionLost(f"cannot connect to {shown(host)} port {port}: {reason}") from error


def _first_that_answers(found: list[Any], timeout: float) -> socket.socket:
    """Return a socket connected to the first address that answers, each within *timeout* seconds.

    As ``socket.create_connection``, but for signals: one that comes just before a wait begins is
    noticed only after it, so no wait is long.
    """
    failure: OSError | None = None
    for family, kind, proto, _, address in found:
        try:
            sock = socket.socket(family, kind, proto)
        except OSError as error:  # this system has no such family
            failure = error
            continue
        try:
            _connect(sock, address, timeout)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure or OSError("no address was found")


def _connect(sock: socket.socket, address: object, timeout: float) -> None:
    sock.setblocking(False)
    code = sock.connect_ex(address)  # type: ignore[arg-type] # as the resolver gave it
    if code == EINPROGRESS:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        until = monotonic() + timeout
        while not poll.poll(max(0.0, min(LOOK_EVERY, until - monotonic())) * 1000):
            if monotonic() >= until:
                raise TimeoutError
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, strerror(code))


def round_trip(sock: socket.socket) -> float:
    """Return the seconds of a round trip as TCP has measured it; 0 where the system does not tell.

    The figure is ``tcpi_rtt`` of Linux's ``struct tcp_info``, in microseconds.
    """
    if not sys.platform.startswith("linux"):
        return 0.0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return 0.0
    return int.from_bytes(info[_RTT_AT : _RTT_AT + 4], sys.byteorder) / 1e6


def pause_before(tries: int) -> float:
    """Return the seconds before the next try, spread so that clients do not come all at once."""
    from random import uniform  # noqa: PLC0415 - seldom needed

    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (tries - 1))
    return longest * uniform(0.5, 1.0)  # noqa: S311 - no secret
