"""Tells the service manager how the server is getting on, by the protocol of systemd's sd_notify.

Each message is one datagram to the socket that the environment names; without one, nothing is
said. A manager that does not listen stops no server.

This module must not know what is told, or when.
"""

from __future__ import annotations

import logging
import os
import socket
from time import CLOCK_MONOTONIC, clock_gettime_ns

from filexfer.names import shown

_SECONDS = 1.0  # a manager that is stuck must not stick us

logger = logging.getLogger("filexfer")


class Notifier:
    """The way to the service manager; what is told over it is believed of this process alone.

    Args:
        place: A path, or a name of Linux behind an ``@``; nothing if there is no manager.

    """

    def __init__(self, place: str = "") -> None:
        if place[:1] not in ("", "/", "@"):
            logger.warning("NOTIFY_SOCKET is not of a kind that is known: %s", shown(place))
            place = ""
        self._place = "\0" + place[1:] if place[:1] == "@" else place

    @classmethod
    def from_environment(cls) -> Notifier:
        """Return the way that the environment names, and take it out of there for children."""
        return cls(os.environ.pop("NOTIFY_SOCKET", ""))

    def ready(self, status: str) -> None:
        """Tell that clients are served, with a line for people."""
        self._tell(f"READY=1\nSTATUS={shown(status)}")

    def reloading(self) -> None:
        """Tell that files are being read again; ``ready`` ends it."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        """Tell that the end has begun, with a line for people."""
        self._tell(f"STOPPING=1\nSTATUS={shown(status)}")

    def _tell(self, text: str) -> None:
        if not self._place:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_SECONDS)
                sock.sendto(text.encode("utf-8", "replace"), self._place)
        except OSError as error:
            logger.warning("cannot tell the service manager: %s", error.strerror or error)
