"""Tests of what is not served because secrets lie in it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from test_cli_process import Service, environment, fx, is_one_line

from filexfer import Server, TrustError
from filexfer.serving.roots import check_root
from filexfer.storage.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the user live in a folder of the test."""
    (tmp_path / "home" / "inbox").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def check(path: os.PathLike[str] | str, *files: os.PathLike[str] | str) -> None:
    """Check a folder."""
    with Folder(path) as folder:
        check_root(folder, [os.fspath(file) for file in files])


@pytest.mark.case("B22")
def test_the_whole_file_system_is_not_served(tmp_path: Path) -> None:
    """Neither ``/`` nor anything that leads there is served, by the library or the command."""
    (tmp_path / "link").symlink_to("/")
    for path in ("/", "//", "/usr/..", tmp_path / "link"):
        with pytest.raises(TrustError, match="whole file system"):
            Server(path)
    run = fx("serve", "/", "--port", "0")
    assert run.returncode == 4
    assert is_one_line(run.stderr)


@pytest.mark.case("B22")
@pytest.mark.parametrize(
    "folder", [".", "..", ".local", ".local/state", ".local/state/filexfer", ".config/filexfer"]
)
def test_a_folder_with_our_secrets_is_not_served(folder: str, home: Path) -> None:
    """What holds our state or configuration is not served."""
    (home / ".local/state/filexfer").mkdir(parents=True)
    (home / ".config/filexfer").mkdir(parents=True)
    with pytest.raises(TrustError, match="filexfer belongs in it"):
        Server(home / folder)


def test_what_would_hold_secrets_is_served_to_everybody_alone(home: Path) -> None:
    """Where nothing is stored yet, a server without secrets may begin, and says what it means."""
    with pytest.raises(TrustError, match="filexfer belongs in it"):
        Server(home, tokens=home.parent / "tokens")
    with Folder(home) as folder:
        assert check_root(folder, is_for_everybody=True) == [
            f"{home}/.local/state/filexfer",
            f"{home}/.config/filexfer",
        ]
        with pytest.raises(TrustError, match="key belongs in it"):
            check_root(folder, [f"{home}/key"], is_for_everybody=True)
    with Service(home, env=environment(HOME=str(home))) as service:
        assert fx("ls", service.address).returncode == 0
    warnings = [line for line in service.said if "would lie in the folder" in line]
    assert len(warnings) == 2
    assert not (home / ".local").exists()


def test_a_folder_beside_our_secrets_is_served(home: Path) -> None:
    """A folder in the home folder is served, also one in the state folder, as for a service."""
    check(home / "inbox", home / "key", home / "inbox2" / "key")
    (home / ".local/state/filexfer/files").mkdir(parents=True)
    check(home / ".local/state/filexfer/files")


def test_login_keys_are_not_served(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a client could put a key to log in with, nothing is served; without one it is."""
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, "/nowhere")
    check(home)
    (home / ".ssh").mkdir()
    with pytest.raises(TrustError, match=r"/home/\.ssh belongs in it"):
        check(home)


@pytest.mark.case("B22")
@pytest.mark.parametrize(
    "way", ["plain", "dots", "relative", "link to it", "link in it", "link through it", "missing"]
)
def test_files_that_must_not_lie_in_it(
    way: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the path of a key is written, it is seen to lie in the folder or lead through it."""
    inbox, other = home / "inbox", tmp_path / "other"
    (inbox / "sub").mkdir()
    other.mkdir()
    (other / "key").touch()
    (inbox / "sub" / "key").touch()
    monkeypatch.chdir(inbox)
    (tmp_path / "to").symlink_to(inbox / "sub" / "key")
    (inbox / "from").symlink_to(other)
    (tmp_path / "through").symlink_to("home/inbox/from")
    paths: dict[str, Path | str] = {
        "plain": inbox / "sub" / "key",
        "dots": f"{tmp_path}/home/../home/./inbox//sub/key",
        "relative": "sub/key",
        "link to it": tmp_path / "to",
        "link in it": inbox / "from" / "key",
        "link through it": tmp_path / "through" / "key",
        "missing": inbox / "not" / "yet",
    }
    with pytest.raises(TrustError, match="belongs in it"):
        check(inbox, paths[way])
    check(inbox / "sub" if way in ("link in it", "link through it") else other, paths[way])


def test_the_folder_may_be_a_link(home: Path, tmp_path: Path) -> None:
    """A link to a folder with secrets is no way round; nor are links that go in circles."""
    (tmp_path / "link").symlink_to(home)
    with pytest.raises(TrustError, match="belongs in it"):
        check(tmp_path / "link")
    (tmp_path / "circle").symlink_to("circle")
    check(home / "inbox", tmp_path / "circle" / "key")


@pytest.fixture
def mounted(home: Path, tmp_path: Path) -> Iterator[Path]:
    """Show the home folder at a second place."""
    place = tmp_path / "mounted"
    place.mkdir()
    done = subprocess.run(
        ["mount", "--bind", str(home), str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert os.path.ismount(place) or os.path.samefile(place, home)
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.case("B22")
def test_a_second_mount_is_no_way_round(mounted: Path) -> None:
    """The same folder, mounted at another place, is the same folder."""
    with pytest.raises(TrustError, match="belongs in it"):
        check(mounted)


def test_a_service_keeps_its_state_where_systemd_says(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state folder of a service is the first that systemd has made for it."""
    from filexfer.security import private  # noqa: PLC0415 - only here

    monkeypatch.setenv("STATE_DIRECTORY", f"{tmp_path}/state:{tmp_path}/state/files")
    assert private.state_folder() == f"{tmp_path}/state"
    monkeypatch.setenv("STATE_DIRECTORY", "relative")
    assert private.state_folder() == f"{home}/.local/state/filexfer"


def test_a_refusal_says_what_to_do(home: Path) -> None:
    """The command refuses to serve the home folder in one line, with the exit code for trust."""
    (home / ".config" / "filexfer").mkdir(parents=True)
    run = fx("serve", home, env=environment(HOME=str(home)))
    assert run.returncode == 4
    assert is_one_line(run.stderr)
    assert "serve a folder in it, or keep that elsewhere" in run.stderr
