"""Accepts connections and serves each in a thread of its own, until told to stop.

This module must not know what is said on a connection, or how many processes accept on the port.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
from time import monotonic, sleep

from filexfer import protocol
from filexfer.access import CREATE, LIST, READ, RIGHTS, Anybody
from filexfer.address import is_loopback, written
from filexfer.budget import Limit
from filexfer.congestion import check_name, send_by
from filexfer.errors import Code, NetworkError, TrustError, UsageError
from filexfer.names import shown
from filexfer.options import DURABILITIES
from filexfer.paced import connected
from filexfer.session import Session
from filexfer.storage.folder import Folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Iterable
    from typing import Self

    from filexfer.access import Access
    from filexfer.connection import Connection

BACKLOG = 1024
CONNECTIONS_MAX = 1024  # of one process
GRACE_SECONDS = 30.0
# The machine is short of something; it passes.
_OVERLOAD = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
# Of one connection only; accept(2) of Linux passes on what happened to it.
_OF_ONE = {errno.EPROTO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
_OVERLOAD_PAUSE = 0.1  # seconds
_PAUSE = 0.005  # seconds, longer than the system takes to let another worker run
_FEW = 8  # sessions; with more, they fall evenly to the workers by themselves

logger = logging.getLogger("filexfer")


class Server:
    """Serves a folder.

    As a context manager it serves in a thread; ``serve`` serves in the thread that calls it.

        with Server("inbox", allow=["overwrite"]) as server:
            print(server.address)

    Args:
        folder: The folder to serve.
        host: Name or address to listen on; any but this machine's own needs *insecure*.
        port: Port to listen on; 0 takes a free one.
        listener: A listening socket to use in place of *host* and *port*.
        allow: Rights besides read, list and create: ``overwrite``, ``delete``.
        read_only: Give no right to create either.
        durability: ``none``, ``batch`` or ``file``: what a confirmation promises.
        timeout: Seconds without progress after which a connection is given up.
        tls: A context with certificate and key, to talk TLS only.
        insecure: Serve other machines without encryption and tokens.
        bwlimit: Bytes per second, for each direction on its own and over all clients together;
            None for no limit.
        congestion: TCP congestion control of what is sent, on Linux; None for the system's.

    Attributes:
        host: Address it listens on.
        port: Port it listens on.

    Raises:
        LocalError: if the folder cannot be used.
        NetworkError: if the address cannot be listened on.
        TrustError: if it is not this machine's own and *insecure* is not set.
        UsageError: if an argument makes no sense.

    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Folder = ".",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        listener: socket.socket | None = None,
        allow: Iterable[str] = (),
        read_only: bool = False,
        durability: str = "batch",
        timeout: float = 60.0,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        bwlimit: float | None = None,
        congestion: str | None = None,
    ) -> None:
        self.rights = _rights(allow, read_only=read_only)
        if durability not in DURABILITIES:
            raise UsageError(f"durability is none of {', '.join(DURABILITIES)}")
        self._limit = None if bwlimit is None else Limit(bwlimit)
        if congestion is not None:
            check_name(congestion)
        self._owns_folder = not isinstance(folder, Folder)
        self.folder = folder if isinstance(folder, Folder) else Folder(folder)
        try:
            self._listener = listener or listen(host, port, insecure=insecure)
            if congestion is not None:
                send_by(self._listener, congestion)  # and so all that it accepts
        except BaseException:
            self._close_folder()
            raise
        self._access: Access = Anybody(self.folder, self.rights)
        self.host, self.port = self._listener.getsockname()[:2]
        self._durability = durability
        self._timeout = timeout
        self._tls = tls
        self._wake, self._woken = socket.socketpair()
        self._lock = threading.Lock()  # guards _sessions
        self._sessions: dict[Session, threading.Thread] = {}
        self._has_siblings = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Where clients find it, as ``fx://HOST:PORT/``."""
        return f"fx://{written(self.host)}:{self.port}/"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve, name="filexfer-server", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self.close(grace=1.0)

    def after_fork(self) -> None:
        """In a worker process: share nothing but the folder and the port with the others."""
        self._has_siblings = True
        self._wake.close()
        self._woken.close()
        self._wake, self._woken = socket.socketpair()

    def close_listener(self) -> None:
        """Give up the port; connections that are open go on."""
        self._listener.close()

    def serve(self, watch: int | None = None) -> None:
        """Accept connections until ``stop`` is called.

        Args:
            watch: A descriptor that also ends it, as soon as it can be read.

        """
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        if watch is not None:
            poll.register(watch, select.POLLIN)
        self._listener.setblocking(False)
        while not self._stopping:
            ready = {fd for fd, _ in poll.poll()}
            if watch in ready or self._woken.fileno() in ready:
                break
            self._accept()
        self._stopping = True

    def stop(self) -> None:
        """Accept no more connections; may be called from a signal handler or any thread."""
        self._stopping = True
        try:
            self._wake.send(b"x")
        except OSError:
            pass  # closed already

    def close(self, grace: float = GRACE_SECONDS) -> None:
        """Stop, let requests that are under way finish, and close everything.

        Args:
            grace: Seconds to wait for them; then they are cut.

        """
        self.stop()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join()
        self._listener.close()
        for session in self._running():
            session.end()
        self._join(grace)
        for session in self._running():
            session.abort()
        self._join(1.0)
        self._wake.close()
        self._woken.close()
        self._close_folder()

    def abort(self) -> None:
        """Cut all connections; a ``close`` that is waiting returns soon."""
        for session in self._running():
            session.abort()

    def _accept(self) -> None:
        if self._has_siblings and 0 < len(self._sessions) < _FEW:
            sleep(_PAUSE)  # another worker that has nothing to do is faster then
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # a sibling process was faster, or the client has gone
        except OSError as error:
            if error.errno in _OF_ONE:
                return
            if error.errno not in _OVERLOAD:
                raise
            logger.warning("cannot accept a connection: %s", error.strerror)
            sleep(_OVERLOAD_PAUSE)
            return
        connection = connected(
            sock, self._limit, timeout=self._timeout, tls=self._tls, server_side=True
        )
        session = Session(connection, self._access, self._durability)
        with self._lock:
            is_full = len(self._sessions) >= CONNECTIONS_MAX
        if is_full or not self._start(session):
            self._turn_away(connection)

    def _start(self, session: Session) -> bool:
        thread = threading.Thread(
            target=self._run, args=(session,), name="filexfer-session", daemon=True
        )
        with self._lock:
            try:
                thread.start()
            except RuntimeError:  # no more threads are to be had
                return False
            self._sessions[session] = thread
        return True

    def _run(self, session: Session) -> None:
        try:
            session.run()
        finally:
            with self._lock:
                self._sessions.pop(session, None)

    def _turn_away(self, connection: Connection) -> None:
        try:
            if not self._tls:
                text = "the server has too many connections; try again later"
                connection.send(protocol.Error(code=Code.BUSY, text=text))
                connection.deadline = monotonic()
                connection.flush()
        except NetworkError:
            pass  # it was a courtesy
        connection.close()

    def _running(self) -> list[Session]:
        with self._lock:
            return list(self._sessions)

    def _join(self, seconds: float) -> None:
        until = monotonic() + seconds
        while (left := until - monotonic()) > 0:
            with self._lock:
                thread = next(iter(self._sessions.values()), None)
            if thread is None:
                return
            thread.join(min(left, 0.1))

    def _close_folder(self) -> None:
        if self._owns_folder:
            self.folder.close()


def listen(host: str, port: int, *, insecure: bool) -> socket.socket:
    """Return a listening socket; quick restarts on the same port are possible.

    Raises:
        NetworkError: if the host is not known or the address cannot be had.
        TrustError: if the address is not this machine's own and *insecure* is not set.

    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise NetworkError(f"cannot listen on {shown(host)}: {error}") from error
    family, _, _, _, address = found[0]
    if not insecure and not is_loopback(str(address[0])):
        raise TrustError(
            f"{shown(host)} can be reached by other machines, and there is no encryption yet: "
            "listen on 127.0.0.1, or add --insecure if everybody who can reach it may use it"
        )
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise NetworkError(
            f"cannot listen on {shown(host)} port {port}: {error.strerror}"
        ) from error
    return sock


def _rights(allow: Iterable[str], *, read_only: bool) -> frozenset[str]:
    wanted = set(allow)
    if wanted - set(RIGHTS):
        raise UsageError(f"a right is none of {', '.join(RIGHTS)}: {', '.join(wanted)}")
    if read_only and wanted - {READ, LIST}:
        raise UsageError("a read-only server cannot allow more")
    return frozenset({READ, LIST} | (set() if read_only else {CREATE}) | wanted)


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it to."""
    import resource  # noqa: PLC0415 - only a server needs it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS reports a limit that it does not grant
        logger.debug("the limit of open files stays at %d", soft)
