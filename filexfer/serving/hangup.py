"""What SIGHUP means: that the terminal has gone, or that files shall be read again.

A server in a terminal ends when its window is closed, as any program there does; a service, and a
server that was started with nohup, goes on.

This module must not know how anything ends or is read.
"""

from __future__ import annotations

import os
import signal


class Hangup:
    """Tells one SIGHUP from the other; made when the server starts."""

    def __init__(self) -> None:
        is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # as nohup does
        self._ends = not is_ignored and _has_terminal()

    def is_the_end(self) -> bool:
        """Tell, when the signal has come, whether the terminal has gone."""
        return self._ends and not _has_terminal()


def _has_terminal() -> bool:
    """Tell whether there is a terminal that this process belongs to."""
    try:
        fd = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    os.close(fd)
    return True
