"""What a command says of itself is true, and its exit code says the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import oracles
import pytest
from test_cli_process import Service, environment, fx

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANY = 1000
NOWHERE = "/proc/self" if os.path.isdir("/proc/self") else "/"  # nobody can write there


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path / "in", "--workers", "1", "--durability", "none") as running:
        yield running


@pytest.mark.case("L1")
@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", ["put", "get"])
def test_one_of_a_thousand_fails(service: Service, tmp_path: Path, way: str, jobs: str) -> None:
    """The code is 3, the one is named with its reason, and the others are there."""
    source, target = tmp_path / "tree", service.folder / "tree"
    words = ["put", "-j", jobs, str(source), service.address]
    if way == "get":
        source, target = service.folder / "tree", tmp_path / "back" / "tree"
        words = ["get", "-j", jobs, f"{service.address}tree", str(target.parent)]
        words += ["--durability", "none"]
    for number in range(MANY):
        folder = source / f"{number % 10}"
        if number < 10:
            folder.mkdir(parents=True)
        (folder / f"{number}").write_bytes(b"%d" % number)
    (target / "7").mkdir(parents=True)
    (target / "7" / "777").write_bytes(b"another")
    done = fx(*words)
    oracles.is_harmless(done.stderr)
    assert done.returncode == 3
    reason, summary = done.stderr.splitlines()
    assert reason == "filexfer: tree/7/777: exists and differs"
    assert f"{MANY - 1} files" in summary
    assert "1 failed" in summary
    assert (target / "7" / "777").read_bytes() == b"another"
    found = {path.name: path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert len(found) == MANY
    assert all(data == name.encode() for name, data in found.items() if name != "777")
    again = fx(*words)
    assert again.returncode == 3
    assert f"{MANY - 1} skipped, 1 failed" in again.stderr


@pytest.mark.case("L1")
def test_a_name_fails_once_and_is_counted_once(service: Service, tmp_path: Path) -> None:
    """However many sources lead to it."""
    (tmp_path / "a").write_bytes(b"ours")
    (service.folder / "a").write_bytes(b"theirs!")
    done = fx("put", tmp_path / "a", tmp_path / "a", service.address)
    assert done.returncode == 3
    assert done.stderr.count("exists and differs") == 1
    assert "1 failed" in done.stderr


@pytest.mark.case("L4")
@pytest.mark.parametrize(
    "home",
    ["/proc/nowhere", *(pytest.param(home, marks=pytest.mark.slow) for home in ("", None))],
)
def test_no_home(tmp_path: Path, home: str | None) -> None:
    """No command needs a home folder, a configuration, or a folder to work in that can be written."""
    env = environment()
    for name in [name for name in env if name == "HOME" or name.startswith("XDG_")]:
        del env[name]
    if home is not None:
        env["HOME"] = home
    (tmp_path / "a").write_bytes(b"data")
    words = ("--workers", "1", "--durability", "none", "--allow", "delete")
    with Service(tmp_path / "in", *words, env=env, cwd=NOWHERE) as service:
        commands: list[tuple[object, ...]] = [
            ("put", tmp_path / "a", service.address),
            ("get", service.address + "a", tmp_path / "back"),
            ("ls", service.address),
            ("stat", service.address + "a"),
            ("cat", service.address + "a"),
            ("mkdir", service.address + "d"),
            ("mv", service.address + "d", service.address + "e"),
            ("rm", service.address + "e"),
            ("doctor", service.address),
        ]
        for each in commands:
            done = fx(*each, env=env, cwd=NOWHERE)
            assert done.returncode == 0, done.stderr
    assert (tmp_path / "back").read_bytes() == b"data"
    assert sorted(os.listdir(tmp_path)) == ["a", "back", "in"]
