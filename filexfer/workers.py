"""Several processes that serve one folder on one port, and a parent that keeps them going.

The parent opens folder and port, forks, and only watches: it forwards signals, replaces a worker
that died, and gives up when that happens too often.

This module must not know what is said on a connection.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections import deque
from time import monotonic

from filexfer.server import GRACE_SECONDS, Server

DEATHS_MAX = 5
DEATHS_SECONDS = 60.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT}

logger = logging.getLogger("filexfer")


def serve(server: Server, workers: int) -> int:
    """Serve until a signal ends it, and return the exit code.

    SIGTERM or Ctrl-C ends it after the transfers under way, or the grace time; a second one
    at once.

    Args:
        server: Is listening; the workers inherit its folder and its port.
        workers: Processes; with 1 the calling process serves itself.

    """
    if workers == 1:
        return _serve_here(server, None)
    server.folder.reservations.share()
    return _Parent(server, workers).run()


def _serve_here(server: Server, watch: int | None) -> int:
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            server.stop()
        else:
            server.abort()

    signal.signal(signal.SIGTERM, stop)
    if watch is None:
        signal.signal(signal.SIGINT, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    server.serve(watch)
    server.close(GRACE_SECONDS)
    return 0


class _Parent:
    def __init__(self, server: Server, workers: int) -> None:
        self._server = server
        self._workers = workers
        self._slots: dict[int, int] = {}  # process id to slot
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._signals = 0
        self._life, self._held = os.pipe()  # ends for the workers when this process ends

    def run(self) -> int:
        signal.signal(signal.SIGTERM, self._forward)
        signal.signal(signal.SIGINT, self._forward)
        for slot in range(self._workers):
            self._fork(slot)
        exit_code = 0
        while self._slots:
            try:
                pid, status = os.wait()
            except ChildProcessError:
                break
            slot = self._slots.pop(pid, -1)
            if slot < 0 or self._signals:
                continue
            logger.error("a worker ended (%s)", _how(status))
            if not self._may_replace():
                logger.error("workers die too often; giving up")
                exit_code = 1
                self._forward()
                continue
            self._fork(slot)
        return exit_code

    def _may_replace(self) -> bool:
        now = monotonic()
        self._deaths.append(now)
        return len(self._deaths) < DEATHS_MAX or now - self._deaths[0] > DEATHS_SECONDS

    def _fork(self, slot: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        # A signal that comes while there is a child that does not listen yet must wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork() if not self._signals else -1
        if pid > 0:
            self._slots[pid] = slot
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        code = 1
        try:
            os.close(self._held)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent forwards it
            self._server.after_fork()
            self._server.folder.reservations.use_slot(slot)
            code = _serve_here(self._server, self._life)
        except BaseException:
            logger.exception("a worker failed")
        finally:
            os._exit(code)

    def _forward(self, *_: object) -> None:
        self._signals += 1
        self._server.close_listener()
        for pid in list(self._slots):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                pass  # it ended just now


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"
