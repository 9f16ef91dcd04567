"""Forks processes of filexfer for tests that kill, starve and trace them.

A ``Nursery`` is a process that has filexfer loaded. What it forks does its work at once, a server
or a client, and nothing else: so a tool that is attached to it sees the calls of a transfer and
not those of an interpreter that starts.

Run as a program this module is that process: it reads orders from standard input and answers on
standard output, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Self

PATIENCE = 20.0  # seconds; no wait in a passing test comes near it


class Child:
    """A process that a nursery has forked.

    Attributes:
        pid: Its number.
        port: Of a server.

    """

    def __init__(self, nursery: Nursery, pid: int, port: int = 0) -> None:
        self._nursery = nursery
        self.pid = pid
        self.port = port
        self._code: int | None = None

    def go(self) -> None:
        """Let a client begin, or a server come to its orderly end."""
        self._nursery.order(do="go", pid=self.pid)

    def signal(self, number: int) -> None:
        """Send a signal; harmless when it has ended."""
        if self._code is None:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass  # a tool that was attached to it has taken its remains

    def wait(self) -> int:
        """Wait for its end; return the exit code, for a signal its number less than 0."""
        if self._code is None:
            self._code = self._nursery.order(do="wait", pid=self.pid)["code"]
        return self._code

    def kill(self) -> int:
        """End it the hard way; harmless when it has ended."""
        self.signal(signal.SIGKILL)
        return self.wait()


class Nursery:
    """A process with filexfer loaded; a context manager."""

    def __init__(self) -> None:
        words = [sys.executable, os.path.abspath(__file__)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(words, text=True, **pipes)
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for child in self._children:
            child.kill()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def order(self, **words: Any) -> dict[str, Any]:
        """Have something done, and return the answer."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def serve(self, folder: Path, **how: Any) -> Child:
        """Fork a server of *folder*; *how* has its options, and what ``get`` says."""
        return self._child(do="serve", folder=str(folder), how=how)

    def get(self, port: int, names: list[str], into: Path, log: Path, **how: Any) -> Child:
        """Fork a client that waits for ``go``, then gets *names*.

        It writes the name of each file that is confirmed to *log*. It ends with 0 if all arrived,
        with 3 if not. *how* has its options; ``group``, the files that are flushed together at
        most; and ``limits`` of the process, such as ``{"NOFILE": 20}``.
        """
        places = {"into": str(into), "log": str(log)}
        return self._child(do="get", port=port, names=names, how=how, **places)

    def put(self, port: int, paths: list[str], log: Path, **how: Any) -> Child:
        """Fork a client that waits for ``go``, then puts *paths* to the root of the server."""
        return self._child(do="put", port=port, names=paths, how=how, log=str(log))

    def _child(self, **words: Any) -> Child:
        answer = self.order(**words)
        child = Child(self, answer["pid"], answer.get("port", 0))
        self._children.append(child)
        return child


# Tracing


def status_of(pid: int, thread: str = "") -> dict[str, str]:
    """Return what Linux tells of a process or of one of its threads; empty if it is gone."""
    where = f"{pid}/task/{thread}" if thread else f"{pid}"
    try:
        with open(f"/proc/{where}/status", encoding="utf-8", errors="replace") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    except (FileNotFoundError, ProcessLookupError):
        return {}


@contextmanager
def traced(pid: int, *injections: str) -> Iterator[subprocess.Popen[bytes]]:
    """Attach strace to a process, its threads and its children while the block runs.

    Args:
        pid: Of the process.
        injections: As of ``strace -e inject=``; each thread counts for itself.

    """
    words = [word for each in injections for word in ("-e", f"inject={each}")]
    names = ",".join(each.partition(":")[0] for each in injections)
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={names}", *words]
    process = subprocess.Popen([*command, "-p", str(pid)])
    try:
        wait_for(lambda: _is_traced_or_dead(pid))
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # it lets go of what it traces
        process.wait(PATIENCE)


def _is_traced_or_dead(pid: int) -> bool:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return True
    known = [status_of(pid, thread) for thread in threads]  # strace takes one after the other
    return all(
        status.get("TracerPid", "0") != "0" or status.get("State", "Z")[0] in "ZX"
        for status in known
    )


@cache
def why_no_tracing() -> str:
    """Return why strace cannot be used here; empty if it can."""
    if sys.platform != "linux" or not shutil.which("strace"):
        return "needs strace"
    probe = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=sync:retval=0", "sync"]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return "strace does not run here"
    if done.returncode:
        return "strace may not trace here"
    if os.geteuid():  # what the nursery forks is no child of strace
        try:
            with open("/proc/sys/kernel/yama/ptrace_scope", encoding="ascii") as file:
                if file.read().strip() != "0":
                    return "only root may trace a process that runs already"
        except OSError:
            pass  # the kernel has no such rule
    return ""


def wait_for(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.001)


# The process itself


def _main() -> None:
    from filexfer import client, server  # noqa: F401, PLC0415 - loaded here, and only here
    from filexfer.storage import system  # noqa: PLC0415
    from filexfer.transfer import download, upload  # noqa: F401, PLC0415 - loaded here, and only here

    system.umask()
    if sys.platform == "linux":
        system.flush_file_system(os.open("/proc", os.O_RDONLY))
    gates: dict[int, int] = {}
    for line in sys.stdin:
        words = json.loads(line)
        if words["do"] == "go":
            if gate := gates.pop(words["pid"], 0):
                os.close(gate)
            answer = {}
        elif words["do"] == "wait":
            _, status = os.waitpid(words["pid"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        else:
            answer = _forked(words, gates)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _forked(words: dict[str, Any], gates: dict[int, int]) -> dict[str, int]:
    reading, writing = os.pipe()
    opened, gate = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(reading)
            os.close(gate)
            for each in gates.values():
                os.close(each)
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(null, 1)
            os.close(null)
            if words["do"] == "serve":
                code = _serve(words, writing, opened)
            else:
                code = _move(words, opened)
        finally:
            os._exit(code)
    os.close(writing)
    os.close(opened)
    with open(reading, "rb") as file:
        port = file.read() if words["do"] == "serve" else b""
    gates[pid] = gate
    return {"pid": pid, "port": int(port or b"0")}


def _serve(words: dict[str, Any], writing: int, gate: int) -> int:
    from filexfer.server import Server  # noqa: PLC0415 - as above
    from filexfer.serving.limits import Limits  # noqa: PLC0415 - as above

    options = _limited(words["how"])
    server = Server(words["folder"], limits=Limits(min_free=0), **options)  # the disks are small
    os.write(writing, str(server.port).encode())
    os.close(writing)
    server.serve(gate)
    server.close(1.0)
    return 0


def _move(words: dict[str, Any], gate: int) -> int:
    from filexfer.client import Client  # noqa: PLC0415 - as above
    from filexfer.options import Options  # noqa: PLC0415
    from filexfer.report import FileResult, Report  # noqa: PLC0415

    log = os.open(words["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(file: FileResult) -> None:
        if file.result != "failed":
            os.write(log, file.name.encode() + b"\n")

    report = Report(on_file=note)
    client = Client("127.0.0.1", words["port"], timeout=PATIENCE)
    options = Options(**_limited(words["how"]))
    os.read(gate, 1)
    if words["do"] == "get":
        client.get(words["names"], words["into"], options, report)
    else:
        client.put(words["names"], "", options, report)
    client.close()
    return 3 if report.failed else 0


def _limited(how: dict[str, Any]) -> dict[str, Any]:
    """Set what is said of this process, and return the other options."""
    import resource  # noqa: PLC0415 - as above

    from filexfer.storage import publishing  # noqa: PLC0415

    publishing.GROUP_ITEMS = how.pop("group", 0) or publishing.GROUP_ITEMS
    for name, value in how.pop("limits", {}).items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    return how


if __name__ == "__main__":
    _main()
