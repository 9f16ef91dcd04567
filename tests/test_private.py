"""Tests of files that nobody else may read."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from filexfer import LocalError, TrustError
from filexfer.security import private

if TYPE_CHECKING:
    from pathlib import Path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """The folder is made on the way; both are the owner's alone, whatever the umask."""
    path = str(tmp_path / "state" / "key")
    before = os.umask(0)
    try:
        assert private.write(path, b"one")
    finally:
        os.umask(before)
    assert private.read(path) == b"one"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "state").st_mode) == 0o700


def test_nothing_is_no_file(tmp_path: Path) -> None:
    """A file that is not there is None, not an error."""
    assert private.read(str(tmp_path / "key")) is None


def test_a_new_file_replaces_nothing(tmp_path: Path) -> None:
    """Of two that make the same file, one wins; nothing else is left in the folder."""
    path = str(tmp_path / "key")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: private.write(path, b"%d" % n, new=True), range(8)))
    assert made.count(True) == 1
    assert private.read(path) == b"%d" % made.index(True)
    assert os.listdir(tmp_path) == ["key"]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """A reader sees the old or the new, and no other file is left."""
    path = str(tmp_path / "key")
    private.write(path, b"old" * 1000)
    private.write(path, b"new")
    assert private.read(path) == b"new"
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_what_others_may_read_or_change_is_not_used(tmp_path: Path, mode: int) -> None:
    """A secret that others may have seen is none."""
    path = tmp_path / "key"
    path.write_bytes(b"x")
    path.chmod(mode)
    with pytest.raises(TrustError, match="chmod 600"):
        private.read(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file another user's")
def test_what_belongs_to_another_user_is_not_used(tmp_path: Path) -> None:
    """Its owner could change it."""
    path = tmp_path / "key"
    private.write(str(path), b"x")
    os.chown(path, 12345, 12345)
    with pytest.raises(TrustError, match="another user"):
        private.read(str(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder another user's")
def test_what_root_writes_for_a_service_is_the_services(tmp_path: Path) -> None:
    """In another user's folder root makes files that this user can use."""
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with private.locked(str(folder / "key")):
        private.write(str(folder / "key"), b"x")
    for name in ("key", "key.lock"):
        status = os.stat(folder / name)
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (12345, 0o600)
    assert private.read(str(folder / "key")) == b"x"


def test_a_pipe_in_its_place_does_not_hang(tmp_path: Path) -> None:
    """What is no regular file is refused at once."""
    os.mkfifo(tmp_path / "key")
    with pytest.raises(LocalError, match="regular"):
        private.read(str(tmp_path / "key"))


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    """A folder is told in a sentence, and is not left open."""
    free = os.dup(0)
    os.close(free)
    with pytest.raises(LocalError, match="is not a regular file"):
        private.read(str(tmp_path))
    assert os.dup(0) == free
    os.close(free)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The reason is told."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LocalError, match="cannot write"):
        private.write(str(tmp_path / "file" / "key"), b"x")


def test_changes_under_the_lock_are_not_lost(tmp_path: Path) -> None:
    """Processes that read, add and write one after the other lose nothing."""
    path = str(tmp_path / "list")
    script = (
        "import sys; from filexfer.security import private; path = sys.argv[1]\n"
        "for _ in range(20):\n"
        "    with private.locked(path):\n"
        "        private.write(path, (private.read(path) or b'') + b'x')\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(3)]
    assert [each.wait(30) for each in running] == [0, 0, 0]
    assert private.read(path) == b"x" * 60


def test_folders_are_where_the_system_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute variable counts; a relative one does not."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert private.state_folder() == "/var/state/filexfer"
    assert private.config_folder() == "/home/somebody/.config/filexfer"
