"""Starts, times and stops processes. Each is the first of a group, and is stopped with it.

It must not know what the processes do.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from figures import Run

HOST = "127.0.0.1"
PATIENCE = 10.0  # seconds for a server to start, and to end
STOPWATCH = [sys.executable, "-IS", str(Path(__file__).with_name("stopwatch.py"))]


class Failed(Exception):  # noqa: N818 - a tool's failure is a result here, no error of this program
    """A tool did not do what it was asked to; the text says what became of it."""


class Service:
    """A server process that listens on a port of this machine."""

    def __init__(self, command: list[str], port: int, home: Path) -> None:
        """Start it in the folder *home*, and wait until it answers."""
        log = home / "server.log"
        with open(log, "wb") as file:
            self._process = _start(command, file, file, home)
        try:
            self._wait(port, log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, and whatever it has started in its group; harmless when it has ended."""
        _stop(self._process)

    def _wait(self, port: int, log: Path) -> None:
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection((HOST, port), PATIENCE).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise Failed(f"its server does not start{_last_line(log)}")


def measured(command: list[str], limit: float, home: Path) -> Run:
    """Run a command to its end, with *home* for its messages, and tell what it took.

    Raises:
        Failed: It ended with an error, or was stopped after *limit* seconds.

    """
    log = home / "client.log"
    with open(log, "wb") as file:
        process = _start([*STOPWATCH, *command], subprocess.PIPE, file, home)
    try:
        said, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise Failed(f"stopped after {limit:.0f} s") from None
    finally:
        _stop(process)
    if process.returncode:
        raise Failed(f"cannot be run{_last_line(log)}")
    code, seconds, cpu, memory = said.split()
    if int(code):
        raise Failed(f"exit code {int(code)}{_last_line(log)}")
    known = not math.isnan(float(cpu))
    return Run(float(seconds), float(cpu) if known else None, int(memory))


def floor(home: Path) -> int:
    """Return the least that can be told of a client's memory: that of one which does nothing."""
    least = max(measured(["/bin/sh", "-c", ":"], PATIENCE, home).memory for _ in range(3))
    return least + least // 20  # it varies


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.create_server((HOST, 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _start(
    command: list[str], output: IO[bytes] | int, errors: IO[bytes], home: Path
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        cwd=home,
        start_new_session=True,  # a group of its own; Ctrl-C at the terminal does not reach it
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            _signal(process, number)
            try:
                process.wait(PATIENCE / 2)
            except subprocess.TimeoutExpired:
                pass  # the next signal is stronger
    _signal(process, signal.SIGKILL)  # what has outlived the first of the group
    if process.stdout:
        process.stdout.close()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # all of the group have ended; macOS says of zombies that they are not ours


def _last_line(log: Path) -> str:
    """Return the last line of a log in the form of a remark, nothing if there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    text = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return f": {text[:160]}" if text else ""
