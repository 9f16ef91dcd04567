"""Several processes that serve one folder on one port, and a parent that keeps them going.

The parent opens folder and port, forks, and only watches: it forwards signals, replaces a worker
that died, and gives up when that happens too often. What is reloaded it reads itself first, so that
workers that are made later have it too.

This module must not know what is said on a connection.
"""

from __future__ import annotations

import logging
import os
import select
import signal
from collections import deque
from contextlib import contextmanager
from threading import Thread
from time import monotonic

from filexfer.names import shown
from filexfer.serving.hangup import Hangup
from filexfer.serving.loglimit import LogLimit
from filexfer.serving.notify import Notifier

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from filexfer.server import Server

DEATHS_MAX = 5
DEATHS_SECONDS = 60.0
_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_AT_ONCE = signal.SIGUSR1  # from the parent to a worker: do not wait for what is under way
_RELOAD = signal.SIGUSR2  # from the parent to a worker; SIGHUP may come to all of them
_HELD = {*_SIGNALS, _AT_ONCE, _RELOAD, signal.SIGHUP, signal.SIGCHLD}
_RELOAD_SECONDS = 2.0  # for all workers together
_RELOADED, _KEPT = b"+", b"-"
_ENDING = "finishing the transfers under way"

logger = logging.getLogger("filexfer")


def hold_signals() -> Hangup:
    """Let signals wait until ``serve`` is ready for them; return what it is to know of SIGHUP."""
    hangup = Hangup()  # as things are before a signal can wait
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    return hangup


def serve(
    server: Server,
    workers: int,
    notifier: Notifier | None = None,
    hangup: Hangup | None = None,
) -> int:
    """Serve until a signal ends it, and return the exit code.

    SIGTERM or Ctrl-C ends it after the transfers under way, or the grace time; a second one
    at once. SIGHUP reloads what the server can reload.

    Args:
        server: Is listening; the workers inherit its folder and its port.
        workers: Processes; with 1 the calling process serves itself.
        notifier: Is told when the server is ready, reloads, and ends.
        hangup: What ``hold_signals`` returned, if it was called before.

    """
    hangup = hangup or hold_signals()
    notifier = notifier or Notifier()
    if workers == 1:
        return _serve_alone(server, notifier, hangup)
    server.share(workers)
    return _Parent(server, workers, notifier, hangup).run()


def _serve_alone(server: Server, notifier: Notifier, hangup: Hangup) -> int:
    calls = 0

    def stop(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            notifier.stopping(_ENDING)
            server.stop()
        else:
            _cut(server)

    def reload() -> None:
        notifier.reloading()
        if _read_again(server):
            logger.info("reloaded")
        notifier.ready(_status(server, 1))

    def hang_up(*_: object) -> None:
        if not hangup.is_the_end():
            Thread(target=reload, daemon=True).start()
        elif not calls:
            stop()

    notifier.ready(_status(server, 1))
    return _serve_here(server, {**dict.fromkeys(_SIGNALS, stop), signal.SIGHUP: hang_up}, None)


def _serve_as_worker(server: Server, watch: int, answer: int) -> int:
    """Serve in a child; it may get SIGTERM twice, from its parent and from whoever ends both."""

    def reload() -> None:
        os.write(answer, _KEPT if server.reload() else _RELOADED)

    handlers = {
        signal.SIGINT: signal.SIG_IGN,  # a terminal sends it to all; the parent forwards it
        signal.SIGHUP: signal.SIG_IGN,  # the same
        signal.SIGTERM: lambda *_: server.stop(),
        _AT_ONCE: lambda *_: _cut(server),
        _RELOAD: lambda *_: Thread(target=reload, daemon=True).start(),
    }
    return _serve_here(server, handlers, watch)


def _serve_here(server: Server, handlers: dict[signal.Signals, Any], watch: int | None) -> int:
    for number, handler in handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    signal.set_wakeup_fd(server.alarm, warn_on_full_buffer=False)
    try:
        server.serve(watch)
    finally:
        signal.set_wakeup_fd(-1)
    server.close()
    LogLimit.finish()
    return 0


def _cut(server: Server) -> None:
    """Cut all connections; in another thread, because a handler must not wait for a lock."""
    Thread(target=server.abort, daemon=True).start()


def _read_again(server: Server) -> bool:
    """Reload; log what failed, and return whether all went well."""
    failures = server.reload()
    for failure in failures:
        logger.error("not reloaded, what was read before stays in use: %s", failure)
    return not failures


def _status(server: Server, workers: int) -> str:
    count = "1 process" if workers == 1 else f"{workers} processes"
    return f"serving {shown(server.folder.path)} at {server.address} by {count}"


class _Parent:
    """Takes signals one by one when it waits for them, never in the middle of something."""

    def __init__(self, server: Server, workers: int, notifier: Notifier, hangup: Hangup) -> None:
        self._server = server
        self._workers = workers
        self._notifier = notifier
        self._hangup = hangup
        self._slots: dict[int, int] = {}  # process id to slot
        self._deaths: deque[float] = deque(maxlen=DEATHS_MAX)
        self._is_ending = False
        self._exit_code = 0
        self._life, self._held = os.pipe()  # ends for the workers when this process ends
        self._answers, self._answer = os.pipe()  # of workers that were told to reload
        os.set_blocking(self._answers, False)

    def run(self) -> int:
        for each in (signal.SIGCHLD, signal.SIGHUP):
            signal.signal(each, lambda *_: None)  # some systems drop it otherwise
        for slot in range(self._workers):
            self._fork(slot)
        self._notifier.ready(_status(self._server, self._workers))
        while self._slots:
            number = signal.sigwait({*_SIGNALS, signal.SIGHUP, signal.SIGCHLD})
            if number == signal.SIGCHLD:
                self._bury()
            elif number != signal.SIGHUP or (self._hangup.is_the_end() and not self._is_ending):
                self._end()
            elif not self._is_ending:
                self._reload()
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
            self._server.after_fork(slot)
            code = _serve_as_worker(self._server, self._life, self._answer)
        except BaseException:
            logger.exception("a worker failed")
        finally:
            os._exit(code)

    def _end(self) -> None:
        """Let the workers end after what is under way; the second time, at once."""
        if not self._is_ending:
            self._notifier.stopping(_ENDING)
        self._server.close_listener()
        for pid in self._slots:
            os.kill(pid, _AT_ONCE if self._is_ending else signal.SIGTERM)
        self._is_ending = True

    def _reload(self) -> None:
        """Reload here and in all workers; it holds for every client when it is reported."""
        self._notifier.reloading()
        is_good = _read_again(self._server)
        self._collect(0.0, 1 << 16)  # what came too late the last time
        for pid in self._slots:
            os.kill(pid, _RELOAD)
        said = self._collect(_RELOAD_SECONDS, len(self._slots))
        if is_good and said.count(_RELOADED) < len(self._slots):
            logger.error("not all workers have reloaded; reload again, or restart")
        elif is_good:
            logger.info("reloaded")
        self._notifier.ready(_status(self._server, self._workers))

    def _collect(self, seconds: float, count: int) -> bytes:
        """Return what workers have answered: *count* bytes, or fewer when the time is over."""
        said = b""
        until = monotonic() + seconds
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        while len(said) < count and poll.poll(max(0.0, until - monotonic()) * 1000):
            said += os.read(self._answers, count - len(said))
        return said


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


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows it to."""
    import resource  # noqa: PLC0415 - only a server needs it

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS reports a limit that it does not grant
        logger.debug("the limit of open files stays at %d", soft)
