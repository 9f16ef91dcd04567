"""Several processes that serve one folder on one port, and a parent that keeps them going.

The parent opens folder and port, forks, and only watches: it forwards signals, replaces a worker
that died, and gives up when that happens too often.

This module must not know what is said on a connection.
"""

from __future__ import annotations

import logging
import os
import signal
from collections import deque
from contextlib import contextmanager
from threading import Thread
from time import monotonic

from filexfer.server import GRACE_SECONDS, Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

DEATHS_MAX = 5
DEATHS_SECONDS = 60.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_AT_ONCE = signal.SIGUSR1  # from the parent to a worker: do not wait for what is under way

logger = logging.getLogger("filexfer")


def hold_signals() -> None:
    """Let signals wait until ``serve`` is ready for them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {*_SIGNALS, _AT_ONCE, signal.SIGCHLD})


def serve(server: Server, workers: int) -> int:
    """Serve until a signal ends it, and return the exit code.

    SIGTERM or Ctrl-C ends it after the transfers under way, or the grace time; a second one
    at once.

    Args:
        server: Is listening; the workers inherit its folder and its port.
        workers: Processes; with 1 the calling process serves itself.

    """
    hold_signals()
    if workers == 1:
        return _serve_alone(server)
    server.folder.share()
    return _Parent(server, workers).run()


def _serve_alone(server: Server) -> int:
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            server.stop()
        else:
            _cut(server)

    return _serve_here(server, dict.fromkeys(_SIGNALS, stop), None)


def _serve_as_worker(server: Server, watch: int) -> int:
    """Serve in a child; it may get SIGTERM twice, from its parent and from whoever ends both."""
    handlers = {
        signal.SIGINT: signal.SIG_IGN,  # a terminal sends it to all; the parent forwards it
        signal.SIGTERM: lambda *_: server.stop(),
        _AT_ONCE: lambda *_: _cut(server),
    }
    return _serve_here(server, handlers, watch)


def _serve_here(server: Server, handlers: dict[signal.Signals, Any], watch: int | None) -> int:
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_SIGNALS, _AT_ONCE, signal.SIGCHLD})
    server.serve(watch)
    server.close(GRACE_SECONDS)
    return 0


def _cut(server: Server) -> None:
    """Cut all connections; in another thread, because a handler must not wait for a lock."""
    Thread(target=server.abort, daemon=True).start()


class _Parent:
    """Takes signals one by one when it waits for them, never in the middle of something."""

    def __init__(self, server: Server, workers: int) -> None:
        self._server = server
        self._workers = workers
        self._slots: dict[int, int] = {}  # process id to slot
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._is_ending = False
        self._exit_code = 0
        self._life, self._held = os.pipe()  # ends for the workers when this process ends

    def run(self) -> int:
        signal.signal(signal.SIGCHLD, lambda *_: None)  # some systems drop it otherwise
        for slot in range(self._workers):
            self._fork(slot)
        while self._slots:
            if signal.sigwait({*_SIGNALS, signal.SIGCHLD}) == signal.SIGCHLD:
                self._bury()
            else:
                self._end()
        return self._exit_code

    def _bury(self) -> None:
        """Take note of the workers that have ended, and replace them."""
        for pid in list(self._slots):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended:
                continue
            slot = self._slots.pop(pid)
            if self._is_ending:
                continue
            logger.error("a worker ended (%s)", _how(status))
            if self._may_replace():
                self._fork(slot)
            else:
                logger.error("workers die too often; giving up")
                self._exit_code = 1
                self._end()

    def _may_replace(self) -> bool:
        now = monotonic()
        self._deaths.append(now)
        return len(self._deaths) < DEATHS_MAX or now - self._deaths[0] > DEATHS_SECONDS

    def _fork(self, slot: int) -> None:
        pid = os.fork()
        if pid:
            self._slots[pid] = slot
            return
        code = 1
        try:
            os.close(self._held)
            self._server.after_fork()
            self._server.folder.reservations.use_slot(slot)
            code = _serve_as_worker(self._server, self._life)
        except BaseException:
            logger.exception("a worker failed")
        finally:
            os._exit(code)

    def _end(self) -> None:
        """Let the workers end after what is under way; the second time, at once."""
        self._server.close_listener()
        for pid in self._slots:
            os.kill(pid, _AT_ONCE if self._is_ending else signal.SIGTERM)
        self._is_ending = True


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"


@contextmanager
def beside(server: Server, workers: int) -> Iterator[None]:
    """Serve in child processes while the block runs; they end with it or with this process.

    They are cut off in whatever they do. The server's port and folder are given up here.
    """
    life, held = os.pipe()
    children: list[int] = []
    try:
        try:
            while len(children) < workers:
                children.append(_serve_until_closed(server, life, held))
        finally:
            server.close()
        yield
    finally:
        os.close(held)
        os.close(life)
        for child in children:
            os.waitpid(child, 0)


def _serve_until_closed(server: Server, life: int, held: int) -> int:
    """Fork a process that serves until nobody holds the other end of *life*; return its number."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        pid = os.fork()
        if pid:
            return pid
        try:
            for number in _SIGNALS:  # a terminal sends them to all; the parent decides
                signal.signal(number, signal.SIG_IGN)
            os.close(held)
            server.after_fork()
            server.serve(life)
        finally:
            os._exit(0)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
