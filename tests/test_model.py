"""A real server against a model of a few lines, step by step, as Hypothesis thinks them up.

The model knows for each name what it may hold: one thing, or, when a command was cut off, what was
there before or what was being sent. Steps: put, overwrite, get, remove, list, several files at
once, connections cut at any byte, the server killed between two steps or in the middle of one, and
a disk that is full. A longer run takes another seed each time and says which; FILEXFER_SEED repeats
it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from chaos import DOWN, UP, Chaos, Fault
from conftest import SECONDS, leftovers
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from test_cli_process import Service

from filexfer import Client, FileError, FileResult, NetworkError, Options, Report
from filexfer.errors import Code
from filexfer.wire.protocol import PLAIN_MAX

NAMES = ("a", "b", "d/c", "d/e/f")
TIME = 1_700_000_000 * 10**9
# Some are of the same size; each has a time of its own.
VALUES = {
    "empty": b"",
    "small": b"small",
    "other": b"other",
    "xx": b"x" * 5000,
    "yy": b"y" * 5000,
    "large": b"large" * (PLAIN_MAX // 4),
}
DISK = 4 << 20  # bytes
SERVER = ("--workers", "1", "--durability", "none", "--allow", "overwrite,delete")

names = st.sampled_from(NAMES)
values = st.sampled_from(list(VALUES))
faults = st.builds(
    Fault,
    st.sampled_from(["reset", "finish", "half"]),
    st.sampled_from([UP, DOWN]),
    st.one_of(st.integers(0, 700), st.integers(0, PLAIN_MAX + 5000)),
)


def can_mount() -> bool:
    """Tell whether a disk of our own can be had."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("mount") is not None


class Files(RuleBasedStateMachine):
    """The server, the model, and the steps."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._top = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._folder = self._top / "served"
        self._folder.mkdir()
        self._is_mounted = self._mount()
        self._filler = self._folder / "filler"
        self._is_full = False
        for number, (what, value) in enumerate(VALUES.items()):
            path = self._top / what
            path.write_bytes(value)
            os.utime(path, ns=(TIME + number * 3 * 10**9,) * 2)
        self._may_hold: dict[str, set[bytes | None]] = {name: {None} for name in NAMES}
        self._service: Service | None = None

    def _mount(self) -> bool:
        if not can_mount():
            return False
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "test", str(self._folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return False  # not every root may
        self._stack.callback(subprocess.run, ["umount", "-l", str(self._folder)], check=True)
        assert os.path.ismount(self._folder)
        return True

    @initialize()
    def begin(self) -> None:
        """Start the server, and a proxy before it."""
        self._service = Service(self._folder, *SERVER)
        self._stack.callback(self._end)
        self._threads = self._count_threads()
        self._chaos = self._stack.enter_context(Chaos(self._service.port))

    def teardown(self) -> None:
        """Look at everything once more, after a restart, and close."""
        try:
            if self._service:
                if self._is_full:
                    self.free()
                self.kill()
                for name in NAMES:
                    self.get(name)
                self.overwrite("a", "small")  # sweeps where it writes
                self.overwrite("d/c", "small")
                self.overwrite("d/e/f", "small")
                assert leftovers(self._folder) == []
                assert self._service.end() == 0
                assert self._service.rest() == ""
        finally:
            self._stack.close()

    # Steps

    @rule(name=names, value=values)
    def put(self, name: str, value: str) -> None:
        """Upload without leave to replace."""
        self._upload({name: value}, "error")

    @rule(name=names, value=values)
    def overwrite(self, name: str, value: str) -> None:
        """Upload with it."""
        self._upload({name: value}, "overwrite")

    @rule(files=st.dictionaries(names, values, min_size=2), fault=st.none() | faults)
    def put_many(self, files: dict[str, str], fault: Fault | None) -> None:
        """Upload several at once, perhaps cut."""
        self._upload(files, "overwrite", fault)

    @rule(name=names, value=values, fault=faults)
    def put_and_cut(self, name: str, value: str, fault: Fault) -> None:
        """Upload, and be cut."""
        self._upload({name: value}, "overwrite", fault)

    @rule(name=names, value=values, way=st.sampled_from([UP, DOWN]), at=st.integers(0, 700))
    def put_and_kill(self, name: str, value: str, way: int, at: int) -> None:
        """Upload, while the server is killed."""
        assert self._service
        self._upload({name: value}, "overwrite", Fault("call", way, at, 0, self._kill_only))
        self.kill()

    @rule(name=names)
    def get(self, name: str) -> None:
        """Download."""
        target = self._top / "got"
        with self._client() as client:
            report = client.get([name], target, Options(if_exists="overwrite", durability="none"))
        found = target.read_bytes() if report.files + report.skipped else None
        if found is None:
            assert [failure.code for failure in report.failures] == [Code.NOT_FOUND]
        self._saw(name, found)

    @rule(name=names, fault=faults)
    def get_and_cut(self, name: str, fault: Fault) -> None:
        """Download in one command that is cut and tries again."""
        self._chaos.plan(fault)
        with contextlib.suppress(NetworkError):  # the first connection is not tried twice
            self.get(name)
        self._chaos.plan()
        self._wait_until_quiet()

    @rule(name=names)
    def remove(self, name: str) -> None:
        """Remove."""
        may_hold = self._may_hold[name]
        try:
            with self._client() as client:
                client.remove(name)
        except FileError as error:
            if error.code != Code.NOT_FOUND:
                raise
            assert None in may_hold
        else:
            assert may_hold != {None}
        self._may_hold[name] = {None}

    @rule()
    def list(self) -> None:
        """List, and see neither more nor less than there is."""
        with self._client() as client:
            found = {
                entry.name for entry in client.list("", recursive=True) if entry.type == "file"
            }
        found -= {"filler"}
        assert found <= set(NAMES)
        for name, may_hold in self._may_hold.items():
            if name in found:
                may_hold.discard(None)
            else:
                assert None in may_hold
                self._may_hold[name] = {None}
            assert self._may_hold[name]

    @rule()
    def kill(self) -> None:
        """Kill the server, and start it again."""
        self._kill_only()
        self._restart()

    @precondition(lambda self: self._is_mounted and not self._is_full)
    @rule(left=st.sampled_from([0, 4096, 100_000]))
    def fill(self, left: int) -> None:
        """Fill the disk, nearly."""
        state = os.statvfs(self._folder)
        size = max(0, state.f_bavail * state.f_frsize - left)
        self._filler.write_bytes(bytes(size))
        self._is_full = True

    @precondition(lambda self: self._is_full)
    @rule()
    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()
        self._is_full = False

    @invariant()
    def names_hold_whole_files(self) -> None:
        """Look at the disk itself: what is under a name is one of the things it may hold."""
        for name, may_hold in self._may_hold.items():
            path = self._folder / name
            found = path.read_bytes() if path.exists() else None
            assert found in may_hold, (name, found and found[:10])

    # Below the steps

    def _client(self) -> Client:
        return Client("127.0.0.1", self._chaos.port, timeout=SECONDS)

    def _upload(self, files: dict[str, str], if_exists: str, fault: Fault | None = None) -> None:
        told: dict[str, str] = {}

        def note(file: FileResult) -> None:
            assert file.name not in told, "told twice"
            told[file.name] = file.text or file.result

        report = Report(on_file=note)
        is_cut = False
        if fault:
            self._chaos.plan(fault)
        options: dict[str, Any] = {"if_exists": if_exists, "durability": "none", "retries": 0}
        try:
            with self._client() as client:
                if len(files) == 1:
                    ((name, value),) = files.items()
                    client.put([self._top / value], name, Options(**options), report)
                else:
                    client.put([f"{self._tree(files)}/"], "", Options(**options), report)
        except NetworkError:
            assert fault
            is_cut = True
        self._chaos.plan()
        for name, value in files.items():
            self._take_result(name, VALUES[value], told.get(name, ""), if_exists, is_cut=is_cut)
        assert set(told) <= set(files)
        if is_cut and not (fault and fault.what == "call"):
            self._wait_until_quiet()

    def _tree(self, files: dict[str, str]) -> Path:
        """Lay files as a tree, with their times."""
        tree = self._top / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        for name, value in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self._top / value, tree / name)
        return tree

    def _take_result(
        self, name: str, value: bytes, told: str, if_exists: str, *, is_cut: bool
    ) -> None:
        """Bring the model up to date with what was told of a file."""
        before = self._may_hold[name]
        if told == "stored":
            assert if_exists == "overwrite" or None in before
            self._may_hold[name] = {value}
        elif told == "identical":
            assert value in before
            self._may_hold[name] = {value}
        elif told == "exists and differs":
            assert if_exists == "error"
            self._may_hold[name] = before - {None, value}
            assert self._may_hold[name]
        elif told:
            assert "no space" in told, told
            assert self._is_full
        else:
            assert is_cut, "nothing was told"
            self._may_hold[name] = before | {value}

    def _saw(self, name: str, found: bytes | None) -> None:
        assert found in self._may_hold[name], name
        self._may_hold[name] = {found}

    def _kill_only(self) -> None:
        assert self._service
        self._service.process.kill()
        self._service.process.wait()

    def _end(self) -> None:
        if self._service:
            self._service.__exit__()

    def _restart(self) -> None:
        assert self._service
        self._service.__exit__()
        self._service = Service(self._folder, *SERVER)
        self._chaos.aim(self._service.port)

    def _count_threads(self) -> int:
        assert self._service
        return len(os.listdir(f"/proc/{self._service.process.pid}/task"))

    def _wait_until_quiet(self) -> None:
        """Wait until the server works on nothing any more: what was cut is settled then."""
        until = time.monotonic() + SECONDS
        while self._count_threads() > self._threads:
            assert time.monotonic() < until, "a session did not end"
            time.sleep(0.001)


BOUNDS = settings(
    stateful_step_count=25,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.generate],  # what failed is short enough; to try parts of it takes minutes
    suppress_health_check=list(HealthCheck),
)
linux_only = pytest.mark.skipif(
    not os.path.isdir("/proc/self/task"), reason="needs /proc, to see that a server is quiet"
)


@linux_only
def test_a_server_does_as_the_model() -> None:
    """The same steps every time."""
    run_state_machine_as_test(Files, settings=settings(BOUNDS, max_examples=5, derandomize=True))


@linux_only
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_a_server_does_as_the_model_for_long(part: int) -> None:
    """Other steps every time."""
    number = int(os.environ.get("FILEXFER_SEED") or part + time.time_ns() % 10**9)
    print(f"to repeat it: FILEXFER_SEED={number}")  # noqa: T201 - shown when it fails
    machine = seed(number)(Files)
    bounds = settings(BOUNDS, max_examples=15, stateful_step_count=40, derandomize=False)
    run_state_machine_as_test(machine, settings=bounds)
