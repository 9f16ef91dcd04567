"""Attempts to use up what a server has: connections by the thousand, while an honest client works."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Raw
from test_cli_process import SECONDS, Service
from test_workers import workers_of

from filexfer import Client, Options

LINUX = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts by /proc")
FLOOD = Path(__file__).with_name("flood.py")
HONEST = os.urandom(1 << 20)
HONEST_SECONDS = SECONDS / 2
MEMORY = 5 << 20  # for threads, which keep some
LEAK = 1 << 10  # less than what belongs to a connection


class Usage:
    """What the processes of a server use."""

    def __init__(self, pids: list[int]) -> None:
        self.files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)
        self.threads = self.memory = 0
        for pid in pids:
            for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
                name, _, value = line.partition(":")
                if name == "Threads":
                    self.threads += int(value)
                elif name == "VmRSS":
                    self.memory += int(value.split()[0]) << 10

    def __str__(self) -> str:
        return f"{self.memory / 1e6:.1f} MB, {self.threads} threads, {self.files} descriptors"


def be_honest(port: int, home: Path, number: int) -> float:
    """Upload and download a file; return the seconds that took."""
    there, here = home / f"mine{number}", home / f"returned{number}"
    there.write_bytes(HONEST)
    began = time.monotonic()
    with Client("127.0.0.1", port, timeout=SECONDS) as client:
        assert client.put([there]).files == 1
        assert client.get([there.name], here, Options(durability="none")).files == 1
    took = time.monotonic() - began
    assert here.read_bytes() == HONEST
    return took


@LINUX
@pytest.mark.case("H1", "H2", "H7", "H13")
@pytest.mark.parametrize(
    ("each", "floods", "rounds"),
    [(100, 1, 3), pytest.param(1000, 3, 40, marks=[pytest.mark.slow, pytest.mark.alone])],
    ids=["small", "whole"],
)
def test_flood(each: int, floods: int, rounds: int, tmp_path: Path) -> None:
    """Idle, trickling and senseless connections hold up nobody, and leave nothing behind."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        service = stack.enter_context(Service(tmp_path / "in", "--workers", "2"))
        pids = [service.process.pid, *workers_of(service, 2)]
        warm_up(service.port, tmp_path)
        with attack(service.port, each // floods, each // floods) as attacker:
            assert attacker.stdout
            assert attacker.stdout.readline() == "ready\n"
            attacker.communicate(timeout=SECONDS)
        before = settled(pids, Usage(pids))
        attackers = [
            stack.enter_context(attack(service.port, each // floods, each // floods))
            for _ in range(floods)
        ]
        for attacker in attackers:
            assert attacker.stdout
            assert attacker.stdout.readline() == "ready\n"
        seconds, most = [], before
        for number in range(rounds):
            seconds.append(be_honest(service.port, tmp_path, 100 + number))
            most = max(most, Usage(pids), key=lambda usage: usage.memory)
        connections = sum(int(attacker.communicate(timeout=SECONDS)[0]) for attacker in attackers)
        seconds.append(be_honest(service.port, tmp_path, 1000))
        after = settled(pids, before)
        sys.stdout.write(
            f"{connections} connections more; an honest client {max(seconds):.2f} s at most; "
            f"before {before}; at most {most}; after {after}\n"
        )
        assert max(seconds) < HONEST_SECONDS
        assert after.memory <= before.memory + MEMORY + connections * LEAK
        assert service.end() == 0
        assert "Traceback" not in service.rest()


def warm_up(port: int, home: Path) -> None:
    """Let a server have had some clients, also at the same time: threads keep some memory ready."""
    with ExitStack() as stack:
        for _ in range(60):
            sock = socket.create_connection(("127.0.0.1", port), SECONDS)
            Raw(stack.enter_context(sock)).greet()
    for number in range(8):
        be_honest(port, home, number)


def attack(port: int, idle: int, trickle: int) -> subprocess.Popen[str]:
    """Start an attack, which ends with its standard input."""
    words = [sys.executable, str(FLOOD), *map(str, (port, idle, trickle))]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def settled(pids: list[int], before: Usage) -> Usage:
    """Return the usage when it is as before, in threads and descriptors."""
    until = time.monotonic() + SECONDS
    while (usage := Usage(pids)).threads > before.threads or usage.files > before.files:
        assert time.monotonic() < until, usage
        time.sleep(0.01)
    return usage
