"""Accepts connections and serves each in a thread of its own, until told to stop.

This module must not know what is said on a connection, or how many processes accept on the port.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from time import monotonic

from filexfer.address import written
from filexfer.errors import FilexferError, UsageError
from filexfer.options import DURABILITIES
from filexfer.security.access import CREATE, LIST, READ, RIGHTS, Anybody
from filexfer.serving.admission import Admission
from filexfer.serving.limits import Limits
from filexfer.serving.listening import check_reach, listen
from filexfer.serving.reception import Reception
from filexfer.serving.roots import check_root
from filexfer.serving.session import Session
from filexfer.storage.folder import Folder
from filexfer.wire.budget import Limit
from filexfer.wire.congestion import check_name, send_by
from filexfer.wire.paced import connected

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from typing import Self

    from filexfer.security.access import Access
    from filexfer.serving.admission import Ticket
    from filexfer.wire.connection import Connection

logger = logging.getLogger("filexfer")


class Server:
    """Serves a folder.

    As a context manager it serves in a thread; ``serve`` serves in the thread that calls it.

        with Server("inbox", allow=["overwrite"]) as server:
            print(server.address)

    Args:
        folder: The folder to serve.
        host: Name or address to listen on; any but this machine's own needs *tls* and *tokens*,
            or *insecure*.
        port: Port to listen on; 0 takes a free one.
        listener: A listening socket to use in place of *host* and *port*; what holds for *host*
            holds for its address.
        allow: Rights besides read, list and create: ``overwrite``, ``delete``.
        read_only: Give no right to create either.
        durability: ``none``, ``batch`` or ``file``: what a confirmation promises.
        timeout: In place of the ``idle_timeout`` of *limits*, in seconds.
        tls: A context with certificate, key, and ``filexfer/1`` as its ALPN, to talk TLS only.
        insecure: Serve other machines without encryption and tokens.
        tokens: File of tokens; nobody is let in without one of them, and each gives the rights
            that stand there (with *read_only*, no more than to read and list).
        bwlimit: Bytes per second, for each direction on its own and over all clients together;
            None for no limit.
        congestion: TCP congestion control of what is sent, on Linux; None for the system's.
        limits: What clients are granted at most; None for the usual ones.

    Attributes:
        host: Address it listens on.
        port: Port it listens on.
        limits: What clients are granted at most.

    Raises:
        LocalError: if the folder cannot be used.
        NetworkError: if the address cannot be listened on.
        TrustError: if it is not this machine's own, and not both *tls* and *tokens* are
            set, nor *insecure*; or if the folder has secrets in it that clients must not reach.
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
        timeout: float | None = None,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        bwlimit: float | None = None,
        congestion: str | None = None,
        limits: Limits | None = None,
        tokens: str | os.PathLike[str] | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.rights = _rights(allow, read_only=read_only)
        if durability not in DURABILITIES:
            raise UsageError(f"durability is none of {', '.join(DURABILITIES)}")
        self._limit = None if bwlimit is None else Limit(bwlimit)
        if congestion is not None:
            check_name(congestion)
        self._owns_folder = not isinstance(folder, Folder)
        self.folder = folder if isinstance(folder, Folder) else Folder(folder)
        self._access: Access = Anybody(self.folder, self.rights)
        try:
            files = [] if tokens is None else [os.fspath(tokens)]
            check_root(self.folder, files, is_for_everybody=not (tls or tokens))
            self._access = _access(self.folder, self.rights, tokens, read_only=read_only)
            is_safe = insecure or bool(tls and tokens)
            backlog = self.limits.backlog
            if listener is not None:
                check_reach(str(listener.getsockname()[0]), is_safe=is_safe)
            self._listener = listener or listen(host, port, is_safe=is_safe, backlog=backlog)
            if congestion is not None:
                send_by(self._listener, congestion)  # and so all that it accepts
        except BaseException:
            self._access.close()
            self._close_folder()
            raise
        self.folder.bounds.max_file_size = self.limits.max_file_size
        self.folder.bounds.min_free = self.limits.min_free
        self._admission = Admission(self.limits)
        self.host, self.port = self._listener.getsockname()[:2]
        self._durability = durability
        self._timeout = self.limits.idle_timeout if timeout is None else timeout
        self._tls = tls
        self._make_alarm()
        self._lock = threading.Lock()  # guards _sessions
        self._sessions: dict[Session, threading.Thread] = {}
        self._has_siblings = False
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._reloads: list[Callable[[], object]] = []
        self._reloading = threading.Lock()  # one after the other

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

    def share(self, workers: int) -> None:
        """Before so many worker processes are made: count together with them from now on."""
        self.folder.share()
        self._admission.share(workers)

    def after_fork(self, slot: int | None = None) -> None:
        """In a worker process: share nothing but the folder, the port and the counts with others.

        Args:
            slot: Which of the workers this is, from 0 on; None for one that counts by itself.

        """
        self._has_siblings = True
        self._wake.close()
        self._woken.close()
        self._make_alarm()
        if slot is None:
            self._admission.share(1)
        else:
            self._admission.use_slot(slot)
            self.folder.reservations.use_slot(slot)
            self._access.use_slot(slot)

    def _make_alarm(self) -> None:
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    @property
    def alarm(self) -> int:
        """A descriptor for ``signal.set_wakeup_fd``: each byte makes ``serve`` look up.

        Without it a handler may have to wait: for the next client, if its signal comes just when
        ``serve`` begins to wait.
        """
        return self._wake.fileno()

    def on_reload(self, read: Callable[[], object]) -> None:
        """Let ``reload`` call *read*, which raises a FilexferError if all stays as it was."""
        self._reloads.append(read)

    def reload(self) -> list[str]:
        """Read again what may have changed: for connections from now on, not those under way.

        May be called from any thread.

        Returns:
            What could not be read, in sentences; the old stays in use.

        """
        failures = []
        with self._reloading:
            for read in self._reloads:
                try:
                    read()
                except FilexferError as error:
                    failures.append(str(error))
        return failures

    def show_certificate(self, tls: ssl.SSLContext) -> None:
        """Talk TLS by another context from now on; connections under way keep theirs."""
        self._tls = tls

    def close_listener(self) -> None:
        """Give up the port; connections that are open go on."""
        self._listener.close()

    def serve(self, watch: int | None = None) -> None:
        """Accept connections until ``stop`` is called.

        Args:
            watch: A descriptor that also ends it, as soon as it can be read.

        """

        def stops(ready: set[int]) -> bool:
            if self._woken.fileno() in ready:
                self._woken.recv(1024)
            return self._stopping or watch in ready

        reception = Reception(
            self._listener,
            self._admission,
            connect=self._connect,
            begin=self._begin,
            drop=self._drop,
            is_tls=self._tls is not None,
        )
        reception.has_siblings = self._has_siblings
        reception.run(stops, [self._woken.fileno(), *([] if watch is None else [watch])])
        self._stopping = True

    def stop(self) -> None:
        """Accept no more connections; may be called from a signal handler or any thread."""
        self._stopping = True
        try:
            self._wake.send(b"x")
        except OSError:
            pass  # closed already

    def close(self, grace: float | None = None) -> None:
        """Stop, let requests that are under way finish, and close everything.

        Args:
            grace: Seconds to wait for them; then they are cut. None for those of the limits.

        """
        grace = self.limits.drain if grace is None else grace
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
        self._access.close()
        self._close_folder()

    def abort(self) -> None:
        """Cut all connections; a ``close`` that is waiting returns soon."""
        for session in self._running():
            session.abort()

    def _connect(self, sock: socket.socket) -> Connection:
        connection = connected(
            sock, self._limit, timeout=self._timeout, tls=self._tls, server_side=True
        )
        connection.begin_small()
        connection.least_rate = self.limits.least_rate
        connection.least_span = self.limits.least_span
        return connection

    def _begin(self, sock: socket.socket, ticket: Ticket) -> bool:
        """Serve a connection that has said something; False if that cannot be."""
        session = Session(self._connect(sock), self._access, self._durability, ticket)
        return self._start(session)

    def _drop(self) -> bool:
        """Cut the oldest connection that has not said yet who it is; False if there is none."""
        for session in self._running():
            if session.ticket.is_waiting:
                session.ticket.leave()
                session.abort()
                return True
        return False

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
            session.ticket.leave()

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


def _access(
    folder: Folder,
    rights: frozenset[str],
    tokens: str | os.PathLike[str] | None,
    *,
    read_only: bool,
) -> Access:
    """Return what decides about clients: their tokens, or nothing but *rights* for all."""
    if tokens is None:
        return Anybody(folder, rights)
    from filexfer.security.token_access import TokenAccess  # noqa: PLC0415 - only a server with tokens
    from filexfer.security.tokens import Store  # noqa: PLC0415 - as above

    return TokenAccess(folder, Store(tokens), rights if read_only else frozenset(RIGHTS))


def _rights(allow: Iterable[str], *, read_only: bool) -> frozenset[str]:
    wanted = set(allow)
    if wanted - set(RIGHTS):
        raise UsageError(f"a right is none of {', '.join(RIGHTS)}: {', '.join(wanted)}")
    if read_only and wanted - {READ, LIST}:
        raise UsageError("a read-only server cannot allow more")
    return frozenset({READ, LIST} | (set() if read_only else {CREATE}) | wanted)
