"""What all tools that are compared have in common: they need programs, and may have a server.

It must not know any of them, nor how anything is measured.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from processes import PATIENCE, Service, free_port

PLACES = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/local/sbin")
)
VERSION_OPTIONS = {"ssh": "-V", "nginx": "-v", "socat": "-V"}  # the others have --version
PARTS_OF_SSH = {"sshd", "ssh-keygen", "scp"}  # their version is that of ssh


class Tool:
    """One way to move a folder; without a server, and with one command for both directions.

    Attributes:
        key: Its name on the command line.
        title: Its name in tables.
        needs: The programs that must be there.
        skips: Whether it sends only what is missing, if it is asked again.

    """

    key = ""
    title = ""
    needs: tuple[str, ...] = ()
    skips = False

    def __init__(self, work: Path) -> None:
        self.work = work
        self.home = work / "tools" / self.key
        self.port = free_port()
        self._service: Service | None = None

    @classmethod
    def missing(cls) -> str:
        """Return what it needs and is not there; nothing if all is."""
        return " and ".join(name for name in cls.needs if not find(name))

    def start(self) -> None:
        """Start its server."""
        self.home.mkdir(parents=True, exist_ok=True)
        if command := self.server():
            self._service = Service(command, self.port, self.home)

    def prepare(self) -> None:
        """Do what its server needs before each run."""

    def stop(self) -> None:
        """Stop its server."""
        if self._service:
            self._service.stop()

    def server(self) -> list[str]:
        """Write the server's settings, and return its command; it runs in ``home``."""
        return []

    def up(self, source: Path, landing: Path) -> list[str]:
        """Return the command that uploads the folder *source* into the folder *landing*."""
        raise NotImplementedError

    def down(self, source: Path, landing: Path) -> list[str]:
        """Return the command that downloads the folder *source* into the folder *landing*."""
        raise NotImplementedError

    def remote(self, path: Path) -> str:
        """Return how the server calls a path."""
        return str(path.relative_to(self.work))


def find(program: str) -> str:
    """Return where a program is, nothing if it is not there."""
    beside = Path(sys.executable).with_name(program)
    if program == "filexfer" and beside.exists():  # the one that belongs to this Python
        return str(beside)
    return shutil.which(program, path=PLACES) or ""


def versions(tools: list[Tool]) -> dict[str, str]:
    """Return the versions of the tools' programs, of those that tell."""
    found = {}
    for name in dict.fromkeys(name for tool in tools for name in tool.needs):
        said = "" if name in PARTS_OF_SSH else output(name, VERSION_OPTIONS.get(name, "--version"))
        if version := re.search(r"\d+\.\d+[\w.-]*", said):
            found[name] = version[0]
    return found


def output(program: str, *words: str) -> str:
    """Return what a program says; nothing if it cannot be run."""
    try:
        result = subprocess.run(
            [find(program), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.decode(errors="replace")
