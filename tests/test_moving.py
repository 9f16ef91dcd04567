"""Giving things on a server another name: where they land, what is refused, and what is left."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, tree_state
from nursery import traced
from test_access_log import found  # noqa: F401 - a fixture
from test_cli_process import Service, fx, scripted, welcome
from test_disk_faults import Put, tracing
from test_odd_files import folding  # noqa: F401 - a fixture
from test_quotas import house  # noqa: F401 - a fixture

from filexfer import Client, ConnectionLost, FileError, ProtocolError, RefusedError
from filexfer.errors import Code
from filexfer.storage.folder import Folder
from filexfer.storage.moving import Move

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nursery import Nursery
    from test_access_log import Found
    from test_quotas import House

    Serve = Callable[..., Served]

ALL = ["overwrite", "delete"]


@pytest.fixture
def there(serve: Serve) -> Served:
    """Serve a tree, with all rights."""
    served = serve(allow=ALL)
    top = served.folder
    (top / "dir" / "sub").mkdir(parents=True)
    (top / "other").mkdir()
    for name in ("file", "taken", "dir/in", "dir/sub/deep", "other/file"):
        (top / name).write_text(name)
    (top / "link").symlink_to("dir")
    os.mkfifo(top / "pipe")
    return served


def refused(served: Served, name: str, to: str, **how: Any) -> FileError:
    """Check that a move changes nothing, and return why."""
    before = tree_state(served.folder)
    with pytest.raises(FileError) as caught:
        served.client().move(name, to, **how)
    assert tree_state(served.folder) == before
    return caught.value


def client_of(address: str) -> Client:
    return Client("127.0.0.1", int(address.rstrip("/").rpartition(":")[2]))


# Where it lands


@pytest.mark.parametrize(
    ("name", "to", "landed"),
    [
        ("file", "new", "new"),
        ("file", "dir", "dir/file"),
        ("file", "dir/", "dir/file"),
        ("file", "new/", "new/file"),
        ("file", "new/deep/er", "new/deep/er"),
        ("file", "new/deep/er/", "new/deep/er/file"),
        ("dir/in", "", "in"),
        ("dir/in", "/", "in"),
        ("dir/sub/", "", "sub"),
        ("dir", "other", "other/dir"),
        ("dir", "renamed", "renamed"),
        ("link", "other", "other/link"),
        ("link", "new", "new"),
        ("pipe", "other/", "other/pipe"),
    ],
)
def test_where_it_lands(there: Served, name: str, to: str, landed: str, native: bool) -> None:
    """As ``mv`` does it, and missing folders are made; what is moved is the same as before."""
    top = there.folder
    plain = name.rstrip("/")
    before = {
        each.removeprefix(plain): state
        for each, state in tree_state(top).items()
        if each == plain or each.startswith(plain + "/")
    }
    inode = os.lstat(top / plain).st_ino
    assert there.client().move(name, to) == landed
    assert os.lstat(top / landed).st_ino == inode
    assert not os.path.lexists(top / plain)
    assert {
        each.removeprefix(landed): state
        for each, state in tree_state(top).items()
        if each == landed or each.startswith(landed + "/")
    } == before


@pytest.mark.parametrize(
    ("name", "to", "how", "code"),
    [
        ("file", "taken", {}, Code.EXISTS),
        ("file", "link", {}, Code.EXISTS),
        ("file", "pipe", {}, Code.EXISTS),
        ("file", "other", {}, Code.EXISTS),
        ("dir", "taken", {}, Code.EXISTS),
        ("dir", "taken", {"overwrite": True}, Code.NOT_A_FOLDER),
        ("file", "taken/", {}, Code.NOT_A_FOLDER),
        ("file", "taken/x", {}, Code.NOT_A_FOLDER),
        ("file", "file", {}, Code.EXISTS),
        ("other/file", "other", {"overwrite": True}, Code.EXISTS),
        ("dir", "dir", {}, Code.BAD_NAME),
        ("dir", "dir/new/deep", {}, Code.BAD_NAME),
        ("dir", "dir/sub", {}, Code.BAD_NAME),
        ("missing", "new", {}, Code.NOT_FOUND),
        ("missing/file", "new", {}, Code.NOT_FOUND),
        ("file/x", "new", {}, Code.NOT_A_FOLDER),
        ("link/in", "new", {}, Code.NOT_A_FOLDER),
        ("file", "link/new", {}, Code.NOT_A_FOLDER),
        ("file", "link/", {}, Code.NOT_A_FOLDER),
        ("", "new", {}, Code.DENIED),
    ],
)
def test_what_is_refused(
    there: Served, name: str, to: str, how: dict[str, Any], code: str, native: bool
) -> None:
    """What cannot be, would lose something, or goes through a link, changes nothing at all."""
    assert refused(there, name, to, **how).code == code


def test_a_folder_of_the_name_in_the_folder(there: Served) -> None:
    """A folder is neither merged with another nor replaced, also an empty one."""
    (there.folder / "other" / "dir").mkdir()
    (there.folder / "dir" / "other").mkdir()
    for name, to in (("dir", "other"), ("other", "dir")):
        for overwrite in (False, True):
            assert refused(there, name, to, overwrite=overwrite).code == Code.IS_A_FOLDER


@pytest.mark.parametrize("name", ["file", "link", "pipe"])
@pytest.mark.parametrize("to", ["taken", "link", "pipe"])
def test_replacing(there: Served, name: str, to: str) -> None:
    """With ``overwrite`` a file, link or pipe takes the place of another; what a link names stays."""
    if name == to:
        return
    inode = os.lstat(there.folder / name).st_ino
    assert there.client().move(name, to, overwrite=True) == to
    assert os.lstat(there.folder / to).st_ino == inode
    assert not os.path.lexists(there.folder / name)
    assert (there.folder / "dir" / "in").read_text() == "dir/in"


def test_two_names_of_one_file(there: Served) -> None:
    """A rename of one onto the other would do nothing and call it done: it is refused."""
    os.link(there.folder / "file", there.folder / "second")
    assert "same file" in refused(there, "file", "second", overwrite=True).text


def test_names_of_which_the_file_system_takes_two_for_one(
    tmp_path: Path,
    folding: dict[str, str],  # noqa: F811 - the fixture
) -> None:
    """A file that is there under another spelling is not replaced unseen."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "README").write_bytes(b"precious")
    (tmp_path / "in" / "other").write_bytes(b"other")
    words = ("--workers", "1", "--durability", "none", "--allow", "overwrite,delete")
    with Service(tmp_path / "in", *words, env=folding) as service:
        done = fx("mv", "--overwrite", f"{service.address}other", f"{service.address}readme")
        assert fx("mv", f"{service.address}README", f"{service.address}readme").returncode == 0
    assert done.returncode == 3
    assert "README exists, and this file system takes the names for one" in done.stderr
    assert (tmp_path / "in" / "README").read_bytes() == b"precious"
    assert (tmp_path / "in" / "other").read_bytes() == b"other"


# What an upload could not make


@pytest.mark.case("B4")
def test_no_name_gets_too_long(there: Served) -> None:
    """Neither what is moved nor what is in it gets a name that nobody could use any more."""
    client, top = there.client(), there.folder
    deep = "/".join("d" * 40)
    client.make_folder(deep)
    client.make_folder("x/" * 30 + "x")
    assert refused(there, "d", "x/" * 30 + "x").code == Code.BAD_NAME
    assert client.move("d", "x/" * 20 + "x") == "x/" * 21 + "d"
    assert (top / ("x/" * 21 + deep)).is_dir()
    client.make_folder("/".join(["n" * 200] * 4))
    assert refused(there, "n" * 200, "m" * 250 + "/").code == Code.BAD_NAME
    assert refused(there, "file", "m" * 256).code == Code.BAD_NAME


@pytest.mark.case("D2")
def test_no_link_leads_out_by_being_moved(there: Served) -> None:
    """A link that climbs is not moved to where it would climb out, by itself or in a folder."""
    client, top = there.client(), there.folder
    (top / "dir" / "sub" / "up").symlink_to("../../file")
    (top / "dir" / "near").symlink_to("in")
    (top / "dir" / "absolute").symlink_to("/etc")
    assert refused(there, "dir/sub/up", "up").code == Code.DENIED
    assert refused(there, "dir/sub", "").code == Code.DENIED
    assert client.move("dir/sub/up", "other/new/up") == "other/new/up"
    assert client.move("dir/absolute", "") == "absolute"
    assert client.move("dir/sub", "") == "sub"
    assert client.move("dir/near", "") == "near"


# Who is asked, and what is told


def test_rights_of_the_two_places(serve: Serve) -> None:
    """It takes the rights to delete and to create, and to overwrite if that is asked for."""
    served = serve(allow=["delete"])
    (served.folder / "a").touch()
    assert "overwrite" in refused(served, "a", "b", overwrite=True).text
    assert served.client().move("a", "b") == "b"
    served = serve(folder=served.folder)
    assert "delete" in refused(served, "b", "c").text


@pytest.mark.case("B13")
def test_a_drop_box_tells_nothing(house: House) -> None:  # noqa: F811 - the fixture
    """Also with the right to delete, nothing moves, and every answer is the same."""
    house.folder.mkdir()
    (house.folder / "there").write_text("there")
    peer = house.enter(house.token(rights=["create", "delete", "overwrite"]))
    answers = []
    for name, to in (("there", "x"), ("nothing", "x"), ("nothing", "there"), ("../x", "..")):
        peer.frame({"kind": "move", "name": name, "to": to, "overwrite": True})
        answers.append(peer.reply())
    assert (answers[0] or {})["code"] == "denied"
    assert all(answer == answers[0] for answer in answers)
    assert os.listdir(house.folder) == ["there"]


def test_it_is_logged(there: Served, found: Found) -> None:  # noqa: F811 - the fixture
    """The log has both names of what was moved, and nothing of what was refused."""
    client = there.client()
    client.move("file", "dir")
    with pytest.raises(FileError):
        client.move("file", "dir")
    there.server.close()
    assert found == [["move", "file", 0, "", "done", "now dir/file"]]


def test_an_old_server() -> None:
    """A server that does not know it is told in a sentence."""

    def script(peer: Raw) -> None:
        welcome(peer)
        assert (peer.reply() or {})["kind"] == "stat"
        peer.frame({"kind": "entries", "entries": []})
        assert (peer.reply() or {})["kind"] == "move"
        text = "unknown kind of message 'move'"
        peer.frame({"kind": "error", "code": "unsupported", "text": text})
        peer.finish()
        while peer.read(1 << 16):
            pass

    with scripted(script) as address:
        result = fx("mv", f"{address}a", f"{address}b")
    assert result.returncode == 6
    assert "the server is too old to move anything: update filexfer there" in result.stderr


@pytest.mark.case("E11")
def test_it_is_not_tried_twice() -> None:
    """Where the answer is lost, nobody can know: that is told, and nothing is tried again."""
    moves = []

    def script(peer: Raw) -> None:
        welcome(peer)
        assert (peer.reply() or {})["kind"] == "stat"
        peer.frame({"kind": "entries", "entries": []})
        moves.append(peer.reply())

    with (
        scripted(script) as address,
        client_of(address) as client,
        pytest.raises(ConnectionLost),
    ):
        client.move("a", "b")
    assert len(moves) == 1


def test_after_a_long_pause(there: Served) -> None:
    """A connection that was closed meanwhile is opened again before anything is moved."""
    client = there.client()
    client.stat("file")
    assert client._connection
    client._connection.interrupt()
    assert client.move("file", "new") == "new"


# Quotas


def test_a_quota_sees_no_change(house: House) -> None:  # noqa: F811 - the fixture
    """What moves below one root takes no more than before; what is replaced is given back."""
    token = house.token(quota=1000)
    peer = house.enter(token)
    for name in ("a", "b"):
        (house.folder / name).write_bytes(bytes(500))
    for name, to, overwrite in (("a", "sub/a", False), ("sub/a", "c", False), ("c", "b", True)):
        peer.frame({"kind": "move", "name": name, "to": to, "overwrite": overwrite})
        assert peer.reply() == {"kind": "moved", "name": to}
    assert house.used() == 500
    begin = {"kind": "begin", "name": "new", "size": 500, "mtime": 1}
    peer.frame(begin)
    assert (peer.reply() or {})["kind"] == "begun"
    peer.frame({**begin, "name": "more", "size": 1})
    assert (peer.reply() or {})["code"] == "quota"


@pytest.mark.case("H11")
def test_nothing_hides_from_a_count(house: House, tmp_path: Path) -> None:  # noqa: F811
    """While the bytes are counted nothing moves: it could be missed, to get round a quota."""
    house.enter(house.token(quota=1000)).close()
    access: Any = house.served.server._access
    with Folder(house.folder) as folder:
        (house.folder / "a").touch()
        account = access._quotas.account(folder.fd)
        move = Move(folder, "a", "b")
        move.alone = account.while_not_counted
        thread = threading.Thread(target=move.run, daemon=True)
        with access._quotas.counting:
            thread.start()
            thread.join(0.1)
            assert (house.folder / "a").exists()
        thread.join(SECONDS)
        assert (house.folder / "b").exists()


# Durability


@tracing
@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_flush_that_fails(step: int, quick: Path, nursery: Nursery) -> None:
    """The contents, the new name and the old one are flushed; without that nothing is promised."""
    target = quick / "served"
    (target / "to").mkdir(parents=True)
    (target / "a").write_bytes(b"data")
    with Put(quick, target, nursery, durability="batch", allow=ALL) as put:
        with traced(put.server.pid, f"fsync:error=EIO:when={step}"), pytest.raises(FileError) as e:
            put.client.move("a", "to")
        assert e.value.code == Code.IO_ERROR
        assert (target / "a").exists() is (step == 1)
        with pytest.raises(RefusedError, match="until the server is started anew"):
            put.client.move("a" if step == 1 else "to/a", "b")


@tracing
@pytest.mark.case("F6")
@pytest.mark.parametrize(
    ("call", "name"), [("readlinkat", "link"), ("getdents64", "e"), ("renameat2", "e")]
)
def test_a_disk_that_fails(call: str, name: str, quick: Path, nursery: Nursery) -> None:
    """Whatever the disk refuses on the way is a failure of this move, and of nothing else."""
    target = quick / "served"
    (target / "d" / "e").mkdir(parents=True)
    (target / "d" / "link").symlink_to("e")
    with Put(quick, target, nursery, durability="none", allow=ALL) as put:
        with (
            traced(put.server.pid, f"{call}:error=EIO:when=1+"),
            pytest.raises(FileError) as caught,
        ):
            put.client.move(f"d/{name}", name)
        assert caught.value.code == Code.IO_ERROR
        assert os.path.lexists(target / "d" / name)
        assert put.client.move(f"d/{name}", name) == name


@tracing
def test_no_flush_without_a_promise(quick: Path, nursery: Nursery) -> None:
    """A server that promises nothing flushes nothing."""
    target = quick / "served"
    target.mkdir()
    (target / "a").write_bytes(b"data")
    with (
        Put(quick, target, nursery, durability="none", allow=ALL) as put,
        traced(put.server.pid, "fsync,syncfs:error=EIO:when=1+"),
    ):
        assert put.client.move("a", "b") == "b"


# The command


def test_mv(there: Served) -> None:
    """One gets another name, several go into a folder; each that fails is told with its reason."""
    at = there.server.address
    result = fx("mv", f"{at}file", f"{at}missing", f"{at}taken", f"{at}new")
    assert result.returncode == 3
    assert result.stderr == "filexfer: missing: no such file or folder\n"
    assert sorted(os.listdir(there.folder / "new")) == ["file", "taken"]
    result = fx("mv", f"{at}new/file", f"{at}other/file")
    assert result.stderr == "filexfer: new/file: other/file: exists already\n"
    assert fx("mv", "--overwrite", f"{at}new/file", f"{at}other/file").returncode == 0
    assert (there.folder / "other" / "file").read_text() == "file"


def test_mv_of_what_makes_no_sense(there: Served) -> None:
    """Two servers, or the folder that is served, are a wrong usage; nothing is done."""
    at = there.server.address
    before = tree_state(there.folder)
    two = fx("mv", f"{at}file", "fx://127.0.0.1:1/file")
    assert two.returncode == 2
    assert "all places must be on one server" in two.stderr
    top = fx("mv", at, f"{at}file")
    assert top.returncode == 2
    assert "the folder that is served cannot be moved" in top.stderr
    assert tree_state(there.folder) == before


def test_old_servers_and_protocol_errors_differ(there: Served) -> None:
    """Other faults of the protocol are not taken for the age of a server."""

    def script(peer: Raw) -> None:
        welcome(peer)
        peer.reply()
        peer.frame({"kind": "entries", "entries": []})
        peer.reply()
        peer.frame({"kind": "ok"})
        peer.finish()
        while peer.read(1 << 16):
            pass

    with (
        scripted(script) as address,
        client_of(address) as client,
        pytest.raises(ProtocolError, match="the answer is a ok"),
    ):
        client.move("a", "b")
