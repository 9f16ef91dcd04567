"""Tokens: how they are kept, who is let in by them, where to, and for how long."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from conftest import Raw, Served, framed
from test_cli_process import Service, environment, fx
from test_rights import md5

from filexfer import LocalError, RefusedError, Server, TrustError, UsageError
from filexfer.security.access import RIGHTS
from filexfer.security.token_access import TokenAccess
from filexfer.security.tokens import Store, digest
from filexfer.storage.folder import Folder
from filexfer.wire.protocol import FRAME_MAX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALL = list(RIGHTS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with one token that may do everything."""
    made = Store(tmp_path / "state" / "tokens.json")
    made.add("first", ALL)
    return made


@pytest.fixture
def enter(
    serve: Callable[..., Served], raw: Callable[..., Raw], store: Store
) -> Callable[..., Raw]:
    """Return a function that says hello with a token, to a server that asks for one."""
    served = serve(tokens=store.path)

    def say(token: str) -> Raw:
        peer = raw(served.server)
        peer.frame({"kind": "hello", "version": 1, "token": token})
        return peer

    return say


def is_let_in(peer: Raw) -> bool:
    return (peer.reply() or {}).get("kind") == "welcome"


# How they are kept


def test_what_was_added_is_read(store: Store) -> None:
    """All that a token gives is read as it was added; the token itself is not in the file."""
    secret = store.add("ann", ["list", "read"], root="a/b", expires=2**40, max_file_size=5, quota=0)
    _, ann = store.read() or []
    assert (ann.name, ann.rights, ann.root) == ("ann", frozenset({"read", "list"}), "a/b")
    assert (ann.expires, ann.max_file_size, ann.quota) == (2**40, 5, 0)
    assert ann.sha256 == digest(secret)
    assert abs(ann.created - time.time()) < 60
    with open(store.path, encoding="utf-8") as file:
        assert secret not in file.read()
    assert os.stat(store.path).st_mode & 0o777 == 0o600


def test_tokens_cannot_be_guessed(store: Store) -> None:
    """A token has at least 128 random bits, in characters that a connect string can hold."""
    from filexfer.security.connect_string import is_token  # noqa: PLC0415 - for this test only

    secrets = {store.add(f"t{number}", ["list"]) for number in range(5)}
    assert len(secrets) == 5
    assert all(is_token(each) and len(each) * 6 >= 128 for each in secrets)


@pytest.mark.case("B11")
@pytest.mark.parametrize(
    "name", ["", ".", "..", "../../etc", "a/b", "a\0b", "a\nb", "-a", "a b", "\u00e4", "a" * 300]
)
def test_names_that_are_none(store: Store, name: str) -> None:
    """A token's name is a plain word: nothing that could be a path or deceive in a log."""
    with pytest.raises(UsageError, match="name"):
        store.add(name, ["list"])
    assert len(store.read() or []) == 1


@pytest.mark.case("B9", "B11")
@pytest.mark.parametrize("root", ["..", "a/../b", "/etc", "a//b", "./a", "a/.", ".fx-a", "a\0"])
def test_roots_that_are_none(store: Store, root: str) -> None:
    """A token's root is held to the same rules as any name; a hand-written one too."""
    with pytest.raises(UsageError, match="root"):
        store.add("ann", ["list"], root=root)
    _change(store, root=root)
    with pytest.raises(LocalError, match="nobody is let in"):
        store.read()


def _change(store: Store, **members: Any) -> None:
    """Change the first token in the file by hand."""
    with open(store.path, encoding="utf-8") as file:
        made = json.load(file)
    made["tokens"][0].update(members)
    _write(store, json.dumps(made))


def _write(store: Store, text: str) -> None:
    with open(store.path, "w", encoding="utf-8") as file:
        file.write(text)


@pytest.mark.parametrize(
    "members",
    [
        {"rights": ["read", "everything"]},
        {"rights": []},
        {"rights": "read"},
        {"right": ["read"]},
        {"name": "../x"},
        {"name": 5},
        {"sha256": "5"},
        {"sha256": None},
        {"expires": "never"},
        {"expires": 1.5},
        {"expires": True},
        {"quota": -1},
        {"max_file_size": 2**63},
        {"created": None},
        {"root": None},
    ],
    ids=str,
)
def test_tokens_that_are_none(store: Store, members: dict[str, Any]) -> None:
    """A file with anything in it that is not understood is not used at all."""
    _change(store, **members)
    with pytest.raises(LocalError, match="nobody is let in"):
        store.read()
    with pytest.raises(LocalError):
        store.add("ann", ["list"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 2, "tokens": []}',
        '{"version": true, "tokens": []}',
        '{"version": 1, "tokens": {}}',
        '{"version": 1, "tokens": [], "more": 1}',
        '{"version": 1, "tokens": [], "tokens": []}',
        '{"version": 1, "tokens": [5]}',
        "[" * 100_000,
        "\udc80",
    ],
    ids=range(13),
)
def test_files_that_are_none(store: Store, text: str) -> None:
    """A file that is damaged, or of a later version, is not used, and is left as it is."""
    with open(store.path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    with pytest.raises(LocalError, match="nobody is let in"):
        store.read()
    with pytest.raises(LocalError):
        store.revoke("first")


def test_two_of_the_same_are_none(store: Store) -> None:
    """Two tokens of one name cannot be added, and a file with two is not used."""
    with pytest.raises(UsageError, match="already"):
        store.add("first", ["list"])
    with open(store.path, encoding="utf-8") as file:
        made = json.load(file)
    made["tokens"] *= 2
    _write(store, json.dumps(made))
    with pytest.raises(LocalError, match="same name"):
        store.read()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o622])
def test_what_others_may_read_is_not_used(store: Store, tmp_path: Path, mode: int) -> None:
    """A server does not start with a file of tokens that others may read or change."""
    os.chmod(store.path, mode)
    with Folder(tmp_path) as folder, pytest.raises(TrustError):
        TokenAccess(folder, store)


def test_no_file_is_no_server(tmp_path: Path) -> None:
    """A server that is to ask for tokens does not start without any file of them."""
    with Folder(tmp_path) as folder, pytest.raises(LocalError):
        TokenAccess(folder, Store(tmp_path / "nothing"))


# Who is let in


@pytest.mark.case("K7", "B19")
@pytest.mark.parametrize(
    "token",
    ["", " ", "x", "\0", "first", "\u00e4" * 40, "0" * 64, "a" * (FRAME_MAX - 100)],
    ids=range(8),
)
def test_strangers(
    enter: Callable[..., Raw], store: Store, token: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Any wrong token gets the same answer, which ends the connection, and one line in the log."""
    caplog.set_level(logging.WARNING, "filexfer")
    peer, empty = enter(token), enter("")
    assert peer.replies() == empty.replies() != []
    assert peer.reply() is None
    secret = store.add("second", ["list"])
    for wrong in (secret[:-1], secret + "\0", secret.swapcase(), digest(secret)):
        reply = enter(wrong).reply() or {}
        assert reply["code"] == "auth_failed"
        assert secret not in caplog.text
    assert is_let_in(enter(secret))


@pytest.mark.case("K7")
def test_a_token_as_long_as_no_frame(enter: Callable[..., Raw]) -> None:
    """A token of a megabyte is not even read."""
    peer = enter("")
    peer.close()
    peer = enter("a" * 1_000_000)
    assert (peer.reply() or {})["kind"] == "error"


@pytest.mark.case("K7", "B19")
@pytest.mark.parametrize("kind", ["put", "fetch"])
def test_plain_strangers(
    serve: Callable[..., Served], raw: Callable[..., Raw], store: Store, kind: str
) -> None:
    """A plain client needs its token in every frame; the first wrong one ends the connection."""
    served = serve(tokens=store.path)
    secret = store.add("plain", ["create", "read", "list"])
    store_it = {"name": "a", "size": 2, "md5": md5(b"hi")[4:]}
    fetch = {"kind": "fetch", "name": "a", "hash": "md5"}
    for wrong in ({}, {"token": "x"}):
        peer = raw(served.server)
        peer.frame({**store_it, "token": secret})
        peer.send(b"hi")
        assert (peer.reply() or {})["kind"] == "stored"
        peer.frame({**(store_it if kind == "put" else fetch), **wrong})
        assert (peer.reply() or {})["code"] == "auth_failed"
        assert peer.reply() is None
    assert (served.folder / "a").read_bytes() == b"hi"


def test_a_token_that_has_expired(enter: Callable[..., Raw], store: Store) -> None:
    """A token ends at its time, also for a connection that it has opened before."""
    secret = store.add("brief", ["list"], expires=int(time.time()) + 3600)
    peer = enter(secret)
    assert is_let_in(peer)
    with open(store.path, encoding="utf-8") as file:
        made = json.load(file)
    made["tokens"][1]["expires"] = int(time.time()) - 1
    _write(store, json.dumps(made))
    peer.frame({"kind": "stat", "name": "a"})
    assert (peer.reply() or {})["code"] == "auth_failed"
    assert (enter(secret).reply() or {})["code"] == "auth_failed"


@pytest.mark.case("K13")
@pytest.mark.parametrize("request_", ["stat", "mkdir", "begin", "range"])
def test_a_token_that_is_revoked(enter: Callable[..., Raw], store: Store, request_: str) -> None:
    """After a token is revoked the next request fails, on a connection that is open too."""
    secret = store.add("ann", ALL)
    peer = enter(secret)
    assert is_let_in(peer)
    peer.frame({"kind": "begin", "name": "f", "size": 3, "mtime": 1})
    begun = peer.reply() or {}
    store.revoke("ann")
    requests: dict[str, bytes] = {
        "stat": framed({"kind": "stat", "name": "a"}),
        "mkdir": framed({"kind": "mkdir", "name": "a"}),
        "begin": framed({"kind": "begin", "name": "g", "size": 3}),
        "range": framed(
            {
                "kind": "range",
                "name": "f",
                "id": begun["id"],
                "offset": 0,
                "size": 3,
                "hash": md5(b"abc"),
            }
        )
        + b"abc",
    }
    peer.send(requests[request_])
    assert (peer.reply() or {})["code"] == "auth_failed"
    assert peer.reply() is None


@pytest.mark.case("K13")
def test_a_token_of_the_same_name(enter: Callable[..., Raw], store: Store) -> None:
    """A token that is revoked and made anew under its name gives the old bearer nothing."""
    peer = enter(store.add("ann", ALL))
    assert is_let_in(peer)
    store.revoke("ann")
    secret = store.add("ann", ALL)
    peer.frame({"kind": "stat", "name": "a"})
    assert (peer.reply() or {})["code"] == "auth_failed"
    assert is_let_in(enter(secret))


def test_rights_that_change(enter: Callable[..., Raw], store: Store) -> None:
    """Rights that are taken from a token in the file are gone at the next request."""
    secret = store.add("ann", ALL)
    peer = enter(secret)
    assert is_let_in(peer)
    with open(store.path, encoding="utf-8") as file:
        made = json.load(file)
    made["tokens"][1]["rights"] = ["list"]
    _write(store, json.dumps(made))
    peer.frame({"kind": "mkdir", "name": "a"})
    assert (peer.reply() or {})["code"] == "denied"
    peer.frame({"kind": "stat", "name": "a"})
    assert (peer.reply() or {})["kind"] == "entries"


@pytest.mark.case("K13")
@pytest.mark.parametrize("how", ["gone", "damaged", "readable"])
def test_a_store_that_breaks(
    enter: Callable[..., Raw], store: Store, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the file cannot be used nobody is let in, and nobody goes on; the log says so."""
    secret = store.add("ann", ALL)
    peer = enter(secret)
    assert is_let_in(peer)
    with open(store.path, encoding="utf-8") as file:
        text = file.read()
    if how == "gone":
        os.rename(store.path, store.path + ".away")
    elif how == "damaged":
        _write(store, text[:-5])
    else:
        os.chmod(store.path, 0o644)
    peer.frame({"kind": "stat", "name": "a"})
    assert (peer.reply() or {})["code"] == "auth_failed"
    assert (enter(secret).reply() or {})["code"] == "auth_failed"
    assert "nobody is let in" in caplog.text
    if how == "gone":
        os.rename(store.path + ".away", store.path)
    _write(store, text)
    os.chmod(store.path, 0o600)
    assert is_let_in(enter(secret))


# Where to


@pytest.mark.case("B9")
@pytest.mark.parametrize(
    "name",
    ["../private/secret", "pub/../../private/secret", "/private/secret", "pub//in", "pub/./in",
     "./pub/in", "..", "../pub/in", "PUB/in", "pub/in/", "private/secret"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["fetch", "stat", "put"])
def test_no_way_out_of_a_root(
    serve: Callable[..., Served], raw: Callable[..., Raw], store: Store, name: str, kind: str
) -> None:
    """No spelling of a name leads out of a token's root, or past the rules for names."""
    served = serve(tokens=store.path)
    for place in ("ann/pub/in", "private/secret"):
        (served.folder / place).parent.mkdir(parents=True, exist_ok=True)
        (served.folder / place).write_bytes(b"secret")
    secret = store.add("ann", ALL, root="ann")
    peer = raw(served.server)
    if kind == "fetch":
        peer.frame({"kind": "fetch", "name": name, "hash": "md5", "token": secret})
        assert (peer.reply() or {})["kind"] == "error"
    elif kind == "put":
        peer.frame({"name": name, "size": 2, "md5": md5(b"hi")[4:], "token": secret})
        peer.send(b"hi")
        peer.finish()
        peer.reply()
        assert (served.folder / "private" / "secret").read_bytes() == b"secret"
        assert set(os.listdir(served.folder)) == {"ann", "private"}
    else:
        peer.frame({"kind": "hello", "version": 1, "token": secret})
        peer.reply()
        peer.frame({"kind": "stat", "name": name})
        reply = peer.reply() or {}
        assert reply["kind"] == "error" or reply["entries"] == []


@pytest.mark.case("B9")
@pytest.mark.parametrize("what", ["link", "file", "link above"])
def test_roots_that_cannot_be(
    serve: Callable[..., Served], raw: Callable[..., Raw], store: Store, tmp_path: Path, what: str
) -> None:
    """A root that is no folder, or that a link leads to, lets nobody in."""
    served = serve(tokens=store.path)
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    if what == "file":
        (served.folder / "ann").write_bytes(b"")
    else:
        (served.folder / "ann").symlink_to(tmp_path / "outside")
    secret = store.add("ann", ALL, root="ann/sub" if what == "link above" else "ann")
    peer = raw(served.server)
    peer.frame({"kind": "hello", "version": 1, "token": secret})
    assert (peer.reply() or {})["code"] == "denied"
    assert os.listdir(tmp_path / "outside" / "sub") == []


def test_a_root_that_is_made_again(
    serve: Callable[..., Served], raw: Callable[..., Raw], store: Store
) -> None:
    """A root that is missing is made; one that was removed and made again is found again."""
    served = serve(tokens=store.path)
    secret = store.add("ann", ALL, root="a/b")
    for _ in range(2):
        peer = raw(served.server)
        peer.frame({"name": "f", "size": 2, "md5": md5(b"hi")[4:], "token": secret})
        peer.send(b"hi")
        assert (peer.reply() or {})["kind"] == "stored"
        (served.folder / "a/b/f").unlink()
        (served.folder / "a/b").rmdir()


# The command


def tokens(path: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    state = environment(XDG_STATE_HOME=str(path / "state"), XDG_CONFIG_HOME=str(path / "config"))
    return fx("token", *words, env=state, **options)


def test_the_command(tmp_path: Path) -> None:
    """What is added is listed without its secret, and is gone when it is revoked."""
    added = tokens(
        *(tmp_path, "add", "ann", "--rights", "read,list", "--root", "photos/", "--quota", "1.5K"),
        *("--max-file-size", "2MB", "--expires", "30d", "--host", "127.0.0.1", "--output", "-"),
    )
    assert added.returncode == 0, added.stderr
    secret = added.stdout.removeprefix("fx://").partition("@")[0]
    store = Store(tmp_path / "state" / "filexfer" / "tokens.json")
    (ann,) = store.read() or []
    assert ann.sha256 == digest(secret)
    assert (ann.root, ann.quota, ann.max_file_size) == ("photos", 1536, 2_000_000)
    assert ann.expires
    assert abs(ann.expires - time.time() - 30 * 86400) < 60
    listed = tokens(tmp_path, "list")
    assert "ann   read,list  photos" in listed.stdout
    assert secret not in listed.stdout + listed.stderr + added.stderr
    assert tokens(tmp_path, "revoke", "ann").returncode == 0
    assert store.read() == []
    assert tokens(tmp_path, "revoke", "ann").returncode == 2


def test_where_the_connect_string_goes(tmp_path: Path) -> None:
    """Without a terminal the connect string goes into a private file, and is not printed."""
    near = ("--host", "127.0.0.1")
    added = tokens(tmp_path, "add", "ann", *near)
    usual = tmp_path / "state" / "filexfer" / "connect-ann.txt"
    assert (added.returncode, added.stdout) == (0, "")
    assert str(usual) in added.stderr
    mine = tmp_path / "mine.txt"
    assert tokens(tmp_path, "add", "ben", *near, "--output", str(mine)).returncode == 0
    for file in (usual, mine):
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.read_text().startswith("fx://")
    again = tokens(tmp_path, "add", "cid", *near, "--output", str(mine))
    assert again.returncode == 2
    unknown = tokens(tmp_path, "add", "cid", "--cert", str(tmp_path / "nothing"))
    assert unknown.returncode == 8
    assert "cid" not in tokens(tmp_path, "list").stdout
    assert tokens(tmp_path, "revoke", "ann").returncode == 0
    assert not usual.exists()


@pytest.mark.parametrize(
    "words",
    [
        "add", "revoke", "list ann", "add ../x", "add a --rights all", "add a --rights ,",
        "add a --rights create,delete", "add a --root /etc", "add a --rights overwrite,read", "add a --root ..",
        "add a --expires soon", "add a --expires 2030-02-31", "add a --quota 5Mbit",
        "add a --quota -1", "add a --max-file-size 5/s", "add a --port 0", "revoke nobody",
    ],
)  # fmt: skip
def test_wrong_words(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    """What makes no sense is told in a sentence, and makes no token."""
    from filexfer.cli import main  # noqa: PLC0415 - a process for each would take longer

    path = str(tmp_path / "tokens.json")
    assert main(["token", *words.split(), "--tokens", path]) == 2
    assert capsys.readouterr().err.startswith("filexfer: error: ")
    assert not os.path.exists(path)


# The server's command


@pytest.mark.case("K13")
def test_the_first_token(tmp_path: Path) -> None:
    """A server that needs tokens makes the first one; all its workers know what is revoked."""
    path = str(tmp_path / "tokens.json")
    state = environment(XDG_STATE_HOME=str(tmp_path / "state"))
    words = ("--tokens", path, "--workers", "2", "--allow", "overwrite")
    with Service(tmp_path / "served", *words, env=state) as service:
        assert service.told("tokens") == "default"
        kept = service.told("connect").removeprefix("in ").partition(",")[0]
        with open(kept, encoding="utf-8") as file:
            line = file.read()
        secret = line.removeprefix("fx://").partition("@")[0]
        assert line == f"fx://{secret}@127.0.0.1:{service.port}/\n"
        assert secret not in "".join(service.said)
        store = Store(path)
        (default,) = store.read() or []
        assert default.rights == {"read", "list", "create", "overwrite"}
        peers = [_connected(service.port, secret) for _ in range(6)]  # to both workers, surely
        store.revoke("default")
        for peer in peers:
            peer.frame({"kind": "stat", "name": "a"})
            assert (peer.reply() or {})["code"] == "auth_failed"
            peer.close()
    with Service(tmp_path / "served", *words, env=state) as service:
        assert service.told("tokens") == "default"  # for there was none again
    assert (Store(path).read() or [])[0].sha256 != default.sha256


def _connected(port: int, token: str) -> Raw:
    import socket  # noqa: PLC0415 - for this helper only

    peer = Raw(socket.create_connection(("127.0.0.1", port), 20))
    peer.frame({"kind": "hello", "version": 1, "token": token})
    assert is_let_in(peer)
    return peer


def test_a_server_that_cannot_start_leaves_no_token(tmp_path: Path) -> None:
    """Where the server does not start, the first token is not left behind unknown to all."""
    path = tmp_path / "tokens.json"
    started = fx("serve", tmp_path / "nothing", "--port", "0", "--tokens", path)
    assert started.returncode == 8
    assert Store(path).read() == []


def test_loading_is_light() -> None:
    """A server that asks for no token loads nothing of tokens."""
    code = "import sys, filexfer.server; print('filexfer.security.tokens' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_refused_error_is_for_strangers(tmp_path: Path, store: Store) -> None:
    """The library's access says the same by its own exception."""
    with Folder(tmp_path) as folder:
        access = TokenAccess(folder, store)
        with pytest.raises(RefusedError, match="token"):
            access.admit("x")
        access.close()


def test_tokens_in_the_folder_that_is_served(tmp_path: Path) -> None:
    """Clients could read them, or put others in their place: no server begins so."""
    (tmp_path / "sub").mkdir()
    path = tmp_path / "sub" / "tokens"
    Store(str(path)).add("ann", ["read"])
    with pytest.raises(TrustError, match="clients must not reach"):
        Server(tmp_path, tokens=path)
