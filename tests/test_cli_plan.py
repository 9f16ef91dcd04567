"""``--dry-run`` and ``--preflight``: what is printed, exit codes, and that nothing is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import oracles
import pytest
import test_cli_process
from conftest import tree_state
from test_cli_process import SECONDS, Service, environment, fx
from test_odd_files import PAIRS, folding  # noqa: F401 - a fixture
from test_transfer import TIME, lay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = ("--workers", "1", "--durability", "none", "--allow", "overwrite")
SUMS = re.compile(
    r"nothing was written; to send: \d+ files?, [\d.]+ [kMGTP]?B(, \d+ folders?)?"
    r"(, \d+ skipped)?(, \d+ refused)?(, \d+ left out)? -> \S.*"
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module."""
    with Service(tmp_path_factory.mktemp("served"), *WORDS) as running:
        yield running


def lay_mixed(here: Path, there: Path) -> None:
    """Lay a tree, and what is there of it already."""
    lay(here / "new", b"12345")
    lay(here / "sub" / "x\x1b[31m\n", b"1")
    lay(here / "same", b"abc")
    lay(here / "other", b"abcd")
    os.mkfifo(here / "pipe")
    lay(there / "same", b"abc")
    lay(there / "other", b"abc")


@pytest.mark.case("L2")
@pytest.mark.parametrize("way", ["up", "down"])
def test_what_is_printed(service: Service, tmp_path: Path, way: str) -> None:
    """The mapping, a line for each name, and the sums; names are escaped; nothing is written."""
    served = service.folder / f"print-{way}"
    local = tmp_path / "local"
    (served if way == "up" else local).mkdir()
    here, there = (local, served / "local") if way == "up" else (served, local / served.name)
    lay_mixed(here, there)
    before = tree_state(there)
    url = f"{service.address}print-{way}"
    words = (local, url) if way == "up" else (url, local)
    done = fx("put" if way == "up" else "get", "-n", *words)
    assert done.returncode == 3
    top = f"print-{way}/local" if way == "up" else f"print-{way}"
    source, target = (local, f"{url}/local") if way == "up" else (url, local / served.name)
    mapping, *lines = done.stdout.splitlines()
    assert mapping == f"{source} -> {target}"
    assert {*lines} - {f"send              -  {top}/"} == {  # its time may have to be set
        f"send            5 B  {top}/new",
        f"send              -  {top}/sub/",
        f"send            1 B  {top}/sub/x\\x1b[31m\\x0a",
        f"identical       3 B  {top}/same",
        f"refused         4 B  {top}/other: exists and differs",
        f"left out          -  {top}/pipe: is a pipe, socket or device",
    }
    (sums,) = done.stderr.splitlines()
    assert SUMS.fullmatch(sums), sums
    assert "to send: 2 files, 6 B" in sums
    assert "1 skipped, 1 refused, 1 left out" in sums
    assert tree_state(there) == before


def test_how_much_is_printed(service: Service, tmp_path: Path) -> None:
    """Quiet: what would fail; --preflight: the same, with the sums; with -v: every name."""
    served = service.folder / "much"
    served.mkdir()
    lay_mixed(tmp_path / "local", served / "local")
    url = f"{service.address}much"
    failure = "filexfer: much/local/other: exists and differs\n"
    done = fx("put", "-nq", tmp_path / "local", url)
    assert (done.returncode, done.stdout, done.stderr) == (3, "", failure)
    done = fx("put", "--preflight", tmp_path / "local", url)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(failure)
    assert SUMS.fullmatch(done.stderr.removeprefix(failure).strip())
    assert not (served / "local" / "new").exists()
    done = fx("put", "--preflight", "-v", tmp_path / "local", url)
    assert done.returncode == 3
    assert len(done.stdout.splitlines()) >= 7
    done = fx("put", "--preflight", "-v", "--overwrite", tmp_path / "local", url)
    assert done.returncode == 0
    assert "\nsend            4 B  much/local/other\n" in done.stdout
    assert "\nstored          4 B  much/local/other\n" in done.stderr
    assert "1 skipped -> " in done.stderr
    assert (served / "local" / "new").read_bytes() == b"12345"


def test_exit_codes(service: Service, tmp_path: Path) -> None:
    """A plan ends as the transfer would."""
    lay(tmp_path / "a")
    lay(service.folder / "codes" / "a")
    url = f"{service.address}codes/"
    assert fx("put", "-n", tmp_path / "a", url).returncode == 0
    assert fx("get", "-n", url + "a", tmp_path / "b").returncode == 0
    assert fx("get", "-n", url + "nothing", tmp_path).returncode == 3
    assert fx("put", "-n", tmp_path / "nothing", url).returncode == 3
    assert fx("put", "-n", "-", url + "x", input="x").returncode == 2
    assert fx("get", "--preflight", url + "a", "-").returncode == 2
    assert fx("get", "-n", url + "a", tmp_path / "a" / "x" / "y").returncode == 8
    assert fx("put", "-n", tmp_path / "a", "fx://127.0.0.1:1/").returncode == 6
    with Service(tmp_path / "closed", "--read-only", "--workers", "1") as other:
        for option in ("-n", "--preflight"):
            done = fx("put", option, tmp_path / "a", other.address)
            assert (done.returncode, done.stdout.count("\n")) == (7, option == "-n")
            assert "does not let you upload files" in done.stderr


def test_many_sources(service: Service, tmp_path: Path) -> None:
    """Of many sources, the mapping of the first is printed, and how many more there are."""
    files = [lay(tmp_path / f"{number}") for number in range(25)]
    lines = fx("put", "-n", *files, f"{service.address}many/").stdout.splitlines()
    assert lines[19] == f"{files[19]} -> {service.address}many/19"
    assert lines[20] == "... and 5 more sources"
    assert len(lines) == 46


def test_no_reader(service: Service, tmp_path: Path) -> None:
    """Where nobody takes the output, the disk's exit code says so."""
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no device that is always full")
    lay(tmp_path / "a")
    with open("/dev/full", "w") as full:
        done = fx("put", "-n", tmp_path / "a", f"{service.address}x/", stdout=full)
    assert done.returncode == 8
    assert "standard output" in done.stderr


OLD_SERVER = """
from filexfer.wire import protocol
for kind in (protocol.Put, protocol.Get):
    del kind.checks["plan"]
from filexfer.cli import console
console()
"""


def test_an_old_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not know plans answers its questions all the same; nothing is written."""
    lay_mixed(tmp_path / "local", tmp_path / "in" / "local")
    lay_mixed(tmp_path / "in" / "back", tmp_path / "here" / "back")
    monkeypatch.setattr(test_cli_process, "COMMAND", (sys.executable, "-c", OLD_SERVER))
    service = Service(tmp_path / "in", *WORDS)
    monkeypatch.undo()
    with service:
        before = tree_state(tmp_path)
        for words in (
            ("put", "-n", tmp_path / "local", service.address),
            ("get", "-n", service.address + "back", tmp_path / "here"),
        ):
            done = fx(*words)
            assert done.returncode == 3, done.stderr
            assert "to send: 2 files, 6 B" in done.stderr
            assert "1 skipped, 1 refused, 1 left out" in done.stderr
    assert tree_state(tmp_path) == before


@pytest.mark.case("D17")
@pytest.mark.parametrize("way", ["up", "down"])
def test_names_that_the_target_takes_for_one(
    tmp_path: Path,
    folding: dict[str, str],  # noqa: F811 - the fixture
    way: str,
) -> None:
    """Where it does, the second of two spellings is refused, and so is one of what is there."""
    tree = tmp_path / ("local" if way == "up" else "in") / "tree"
    for name in [name for pair in PAIRS[:2] for name in pair]:
        lay(tree / name, name.encode() * 5)
    lay(tree / "Theirs", b"mine")
    lay(tree / "alone", b"alone")
    target = tmp_path / ("in" if way == "up" else "back") / "tree"
    lay(target / "tHEIRS", b"theirs", TIME + 10**9)
    env = {"env": folding}
    with Service(tmp_path / "in", *WORDS, **(env if way == "up" else {})) as service:
        if way == "up":
            words: tuple[Any, ...] = ("put", "-n", "--overwrite", tree, service.address)
        else:
            words = ("get", "-n", "--overwrite", service.address + "tree", target.parent)
        done = fx(*words, **(env if way == "down" else {}))
    oracles.is_harmless(done.stderr)
    assert done.returncode == 3, done.stdout
    refused = [line for line in done.stdout.splitlines() if line.startswith("refused")]
    assert len(refused) == 3, done.stdout
    assert sum("another name that is offered" in line for line in refused) == 2
    assert sum("tree/Theirs: tHEIRS exists" in line for line in refused) == 1
    assert [*os.listdir(target)] == ["tHEIRS"]


# That nothing is written

CALLS = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,fchmodat2,chown,fchown,"
    "fchownat,lchown,truncate,ftruncate,fallocate,utime,utimes,utimensat,futimesat,setxattr,"
    "fsetxattr,lsetxattr,removexattr,write,writev,pwrite64,pwritev,pwritev2,sendfile,"
    "copy_file_range,splice,sync,syncfs,fsync,fdatasync"
)
_CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (.+)$")
_NO_FILE = re.compile(r"^\d+<(socket:|pipe:|anon_inode:|TCP|UNIX|/dev/(null|pts))")


def tracing(output: Path) -> list[str]:
    """Return the words that trace a command from its start, as its grandchild."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not there")
    words = [strace, "-D", "-f", "-y", "-qq", "-o", str(output), "-e", "trace=?" + CALLS.replace(",", ",?")]  # fmt: skip
    probe = subprocess.run([*words, "true"], check=False, capture_output=True, timeout=SECONDS)
    if probe.returncode:
        pytest.skip("nothing can be traced here")
    return words


def traced(output: Path, last: str) -> list[str]:
    """Return what a traced program did, once *last* is among it."""
    until = time.monotonic() + SECONDS
    while last not in (found := output.read_text(errors="surrogateescape")):
        assert time.monotonic() < until, found[-2000:]
        time.sleep(0.01)
    return found.splitlines()


def writing(lines: list[str]) -> list[str]:
    """Return the calls that write, or make or change names."""
    found = []
    for line in lines:
        match = _CALL.match(line)
        if not match or match[3].startswith("-1"):
            continue
        call, words = match[1], match[2]
        if call.startswith("open"):
            is_writing = re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)", words)
            if not is_writing or '"/dev/null"' in words:
                continue
        elif "write" in call and _NO_FILE.match(words):
            continue
        found.append(line)
    return found


@pytest.mark.case("L3")
def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No call of a client or a server writes anything while both ways are planned.

    A transfer after them shows that the calls would be seen.
    """
    here, there = tmp_path / "client.trace", tmp_path / "server.trace"
    words = tracing(there)
    lay_mixed(tmp_path / "local", tmp_path / "in" / "local")
    lay_mixed(tmp_path / "in" / "back", tmp_path / "here" / "back")
    lay(tmp_path / "in" / ".fx-0123456789ab0123456789ab00000001.part")
    monkeypatch.setattr(test_cli_process, "COMMAND", (*words, sys.executable, "-m", "filexfer"))
    service = Service(tmp_path / "in", *WORDS)
    monkeypatch.setattr(
        test_cli_process, "COMMAND", (*tracing(here), sys.executable, "-m", "filexfer")
    )
    with service:
        begun = len(traced(there, ""))
        before = tree_state(tmp_path / "in"), tree_state(tmp_path / "here")
        for how in (
            ("put", "-n", tmp_path / "local", service.address),
            ("put", "-n", "-c", "--keep-both", tmp_path / "local", service.address),
            ("get", "-n", "--overwrite", service.address + "back", tmp_path / "here"),
            ("get", "-n", service.address + "back", tmp_path / "missing" / "x"),
        ):
            here.write_text("")
            done = fx(*how, env=environment(PYTHONDONTWRITEBYTECODE="1"))
            assert done.returncode in (0, 3), done.stderr
            lines = traced(here, "to send")
            assert not writing(lines)
        assert (tree_state(tmp_path / "in"), tree_state(tmp_path / "here")) == before
        assert not (tmp_path / "missing").exists()
        fx("ls", service.address + "marker/x")  # what the server did before is traced by then
        assert not writing(traced(there, '"marker"')[begun:])
        fx("put", "--overwrite", tmp_path / "local", service.address)
        assert any("rename" in line for line in writing(traced(there, "rename")[begun:]))
