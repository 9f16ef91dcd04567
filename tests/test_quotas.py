"""Limits of a token: the bytes of one file, and of all files below its root."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Raw, Served, framed, leftovers
from test_cli_process import Service, environment
from test_ranges import LEAST, small  # noqa: F401 - a fixture
from test_rights import file, md5

from filexfer import Options, Trust
from filexfer.security.token_access import TokenAccess
from filexfer.security.tokens import Store
from filexfer.storage import quotas
from filexfer.storage.quotas import ACCOUNTS_MAX, Quotas, counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

QUOTA = 1000
ALL = ["read", "list", "create", "overwrite", "delete"]
END = framed({"kind": "end"})


def data(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


class House:
    """A server, and tokens with limits."""

    def __init__(self, served: Served, store: Store, raw: Callable[..., Raw]) -> None:
        self.served = served
        self.store = store
        self.folder = served.folder / "mine"
        self._raw = raw

    def token(self, name: str = "mine", rights: list[str] = ALL, **limits: Any) -> str:
        return self.store.add(name, rights, root="mine", **limits)

    def enter(self, token: str) -> Raw:
        peer = self._raw(self.served.server)
        peer.frame({"kind": "hello", "version": 1, "token": token})
        assert (peer.reply() or {})["kind"] == "welcome"
        return peer

    def counted(self) -> tuple[int, int]:
        """Return the bytes that the server counts as used and promised."""
        access = self.served.server._access
        assert isinstance(access, TokenAccess)
        fd = os.open(self.folder, os.O_RDONLY)
        try:
            return access._quotas.account(fd).used()
        finally:
            os.close(fd)

    def used(self) -> int:
        """Return the bytes of all files below the root, temporary ones too."""
        return sum(
            os.lstat(os.path.join(place, each)).st_size
            for place, _, files in os.walk(self.folder)
            for each in files
        )


@pytest.fixture
def house(serve: Callable[..., Served], raw: Callable[..., Raw], tmp_path: Path) -> House:
    store = Store(tmp_path / "state" / "tokens.json")
    store.add("nobody", ["list"])
    return House(serve(tokens=store.path), store, raw)


def put(peer: Raw, *items: bytes, if_exists: str = "error") -> list[str]:
    """Put items, and return the codes of those that failed, and other results."""
    peer.frame({"kind": "put", "if_exists": if_exists})
    for item in items:
        peer.send(item)
    peer.send(END)
    return [
        reply.get("code") or reply["result"]
        for reply in peer.replies()
        if reply["kind"] == "outcome"
    ]


def parts(name: str, contents: bytes, size: int | None = None, hole: int = 0) -> bytes:
    """Return a file with a body in parts, of unknown size unless that is given."""
    header = {"kind": "file", "name": name, "algorithm": "md5"}
    if size is not None:
        header["size"] = size  # type: ignore[assignment] # a mixed header
    body = b"".join(
        len(each).to_bytes(4, "big") + each
        for each in (contents[at : at + 100] for at in range(0, len(contents), 100))
    )
    body += (hole | 1 << 31).to_bytes(4, "big") if hole else b""
    trailer = {"kind": "trailer", "hash": md5(contents)}
    return framed(header) + body + bytes(4) + framed(trailer)


def ask(peer: Raw, *entries: tuple[str, int], if_exists: str = "error") -> dict[str, Any]:
    peer.frame({"kind": "put", "if_exists": if_exists})
    asked = [[name, "file", size, 5, 420, ""] for name, size in entries]
    peer.frame({"kind": "ask", "entries": asked})
    peer.send(END)
    return peer.replies()[0]


def begin(peer: Raw, name: str, size: int, **how: Any) -> dict[str, Any]:
    peer.frame({"kind": "begin", "name": name, "size": size, "mtime": 1, **how})
    return peer.reply() or {}


def finish(peer: Raw, name: str, number: str, contents: bytes) -> dict[str, Any]:
    piece = {"name": name, "id": number, "hash": md5(contents)}
    peer.frame({"kind": "range", "offset": 0, "size": len(contents), **piece})
    peer.send(contents)
    assert (peer.reply() or {})["kind"] == "ok"
    peer.frame({"kind": "finish", **piece})
    return peer.reply() or {}


# One file


@pytest.mark.parametrize("quota", [None, 10**6])
def test_one_file(house: House, quota: int | None) -> None:
    """A file above the limit fails by itself, however it comes; the others go on."""
    peer = house.enter(house.token(max_file_size=500, quota=quota))
    good = [file("a", data(500)), parts("b", data(500)), parts("c", data(500), 500)]
    bad = [
        file("d", data(501)),
        parts("e", data(501)),
        parts("f", data(501), 501),
        parts("g", data(100), 100 + 10**9, hole=10**9),
    ]
    assert put(peer, *bad, *good, file("h", data(1))) == ["too_large"] * len(bad)
    assert sorted(os.listdir(house.folder)) == ["a", "b", "c", "h"]
    answer = ask(peer, ("x", 500), ("y", 501), ("a", 501))
    assert answer["verdicts"] == "srr"
    assert [each[1] for each in answer["refused"]] == ["too_large", "exists"]
    assert begin(peer, "x", 501)["code"] == "too_large"
    begun = begin(peer, "x", 500)
    assert finish(peer, "x", begun["id"], data(500))["kind"] == "stored"
    assert leftovers(house.folder) == []


def test_one_file_of_a_plain_client(house: House) -> None:
    """A plain client is told that its file is too large, and may send another."""
    token = house.token(max_file_size=500)
    peer = house._raw(house.served.server)
    for size, kind in ((501, "error"), (300_000, "error"), (500, "stored")):
        peer.frame({"name": "a", "size": size, "md5": md5(data(size))[4:], "token": token})
        peer.send(data(size))
        reply = peer.reply() or {}
        assert reply["kind"] == kind
        assert reply.get("code", "too_large") == "too_large"
    assert os.listdir(house.folder) == ["a"]


# All files


def test_the_quota(house: House) -> None:
    """Files fit until the quota is full; what does not fit fails by itself."""
    peer = house.enter(house.token(quota=QUOTA))
    items = [file("a", data(600)), file("b", data(401)), file("c", data(399)), file("d", b"xy"),
             file("e", b"x"), file("empty", b"")]  # fmt: skip
    assert put(peer, *items) == ["quota", "quota"]
    assert house.used() == QUOTA
    assert put(peer, parts("f", data(1)), parts("g", data(300), 300)) == ["quota", "quota"]
    assert leftovers(house.folder) == []
    assert begin(peer, "h", 1)["code"] == "quota"
    answer = ask(peer, ("i", 0), ("j", 1))
    assert answer["verdicts"] == "sr"
    assert answer["refused"][0][1] == "quota"


def test_what_is_there_counts(house: House) -> None:
    """Files that were there before the server started count, wherever below the root."""
    (house.folder / "deep" / "er").mkdir(parents=True)
    (house.folder / "deep" / "er" / "old").write_bytes(data(900))
    (house.folder / "deep" / "link").symlink_to("er/old")
    peer = house.enter(house.token(quota=QUOTA))
    assert put(peer, file("a", data(101)), file("b", data(100))) == ["quota"]


def test_overwriting_counts_the_difference(house: House) -> None:
    """A file in the place of another takes only what it has more; less is given back."""
    peer = house.enter(house.token(quota=QUOTA))
    assert put(peer, file("a", data(900)), file("b", data(50))) == []
    for size, codes in ((950, []), (951, ["quota"]), (100, []), (901, []), (952, ["quota"])):
        assert put(peer, file("a", data(size)), if_exists="overwrite") == codes, size
    assert put(peer, file("c", data(49)), file("d", b"x")) == ["quota"]
    assert ask(peer, ("a", 900), ("a", 902), if_exists="overwrite")["verdicts"] == "sr"
    begun = begin(peer, "a", 901, if_exists="overwrite")
    assert finish(peer, "a", begun["id"], data(901, 1))["kind"] == "stored"
    assert put(peer, parts("a", data(800), 800), if_exists="overwrite") == []
    assert put(peer, file("e", data(101))) == []
    assert house.used() == QUOTA


@pytest.mark.parametrize("is_gone", [True, False])
def test_what_was_to_be_replaced_is_less(house: House, is_gone: bool) -> None:
    """Who counts on replacing a file that is removed or shrinks gets no more than the quota."""
    token = house.token(quota=QUOTA)
    peer, other = house.enter(token), house.enter(token)
    assert put(peer, file("a", data(900))) == []
    begun = begin(peer, "a", 950, if_exists="overwrite")
    if is_gone:
        other.frame({"kind": "remove", "name": "a"})
        assert (other.reply() or {})["kind"] == "ok"
        assert put(other, file("b", data(900))) == []
    else:
        assert put(other, file("a", data(100)), if_exists="overwrite") == []
        assert put(other, file("b", data(800))) == []
    assert finish(peer, "a", begun["id"], data(950))["code"] == "quota"
    assert house.used() == 900
    assert put(other, file("c", data(100))) == []


def test_credit_has_an_end(house: House) -> None:
    """Many who replace the same file at once take no more than the quota once again."""
    token = house.token(quota=QUOTA)
    peers = [house.enter(token) for _ in range(4)]
    assert put(peers[0], file("a", data(900))) == []
    answers = [begin(peer, "a", 900, if_exists="overwrite") for peer in peers]
    assert [answer.get("code", "begun") for answer in answers] == ["begun"] + ["quota"] * 3


@pytest.mark.parametrize("is_tree", [False, True])
def test_removing_gives_back(house: House, is_tree: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is removed can be stored again, at once, however long a count takes."""
    monkeypatch.setattr(quotas, "_PRESSING", 1e9)
    peer = house.enter(house.token(quota=QUOTA))
    for turn in range(20):
        assert put(peer, file("d/a", data(500)), file("d/b", data(500)), file("c", b"x")) == [
            "quota"
        ], turn
        for name in ["d"] if is_tree else ["d/a", "d/b"]:
            peer.frame({"kind": "remove", "name": name, "recursive": True})
            assert (peer.reply() or {})["kind"] == "ok"


@pytest.mark.parametrize("how", ["abandon", "close", "bad", "cut"])
def test_what_does_not_come_gives_back(house: House, how: str) -> None:
    """A file that is promised and does not come leaves the quota as it was."""
    token = house.token(quota=QUOTA)
    for _ in range(3):
        peer = house.enter(token)
        if how == "bad":
            assert put(peer, file("a", data(QUOTA), hash=md5(b""))) == ["hash_mismatch"]
            whole = parts("a", data(QUOTA)).replace(md5(data(QUOTA)).encode(), md5(b"").encode())
            assert put(peer, whole) == ["hash_mismatch"]
        elif how == "cut":
            peer.frame({"kind": "put"})
            peer.send(parts("a", data(QUOTA), QUOTA)[:-200])
            peer.finish()
            peer.replies()
        else:
            begun = begin(peer, "a", QUOTA)
            if how == "abandon":
                peer.frame({"kind": "abandon", "id": begun["id"]})
                assert (peer.reply() or {})["kind"] == "ok"
            else:
                peer.finish()
                assert peer.reply() is None
        peer.close()
    assert put(house.enter(token), file("b", data(QUOTA))) == []


def test_the_same_again_takes_nothing(house: House) -> None:
    """A file that is there already, or is kept beside, takes what is stored of it."""
    peer = house.enter(house.token(quota=QUOTA))
    assert put(peer, file("a", data(300)), if_exists="keep-both") == []
    assert put(peer, file("a", data(300)), if_exists="keep-both") == ["identical"]
    assert put(peer, file("a", data(300, 1)), if_exists="keep-both") == ["kept"]
    assert put(peer, file("a", data(300, 1)), if_exists="keep-both") == ["identical"]
    assert put(peer, file("b", data(400))) == []
    assert house.used() == QUOTA


def test_a_drop_box_with_limits(house: House) -> None:
    """The limits hold in a drop box too; the same twice is stored and counted once."""
    peer = house.enter(house.token(rights=["create"], quota=QUOTA, max_file_size=600))
    for _ in range(3):
        assert put(peer, file("a", data(300))) == []
    assert house.counted() == (300, 0)
    assert put(peer, file("a", data(300, 1)), file("b", data(401)), file("c", data(601))) == [
        "quota",
        "too_large",
    ]
    assert house.used() == 600


def test_two_tokens_with_one_root(house: House) -> None:
    """Tokens that share a root share what is used of it; each has its own quota."""
    mine, yours = house.token(quota=QUOTA), house.token("yours", quota=500)
    assert put(house.enter(mine), file("a", data(450))) == []
    assert put(house.enter(yours), file("b", data(51)), file("c", data(50))) == ["quota"]
    assert put(house.enter(mine), file("d", data(500))) == []


def test_a_quota_that_changes(house: House) -> None:
    """A token without a quota that gets one is held to it from its next request on."""
    peer = house.enter(house.token())
    assert put(peer, file("a", data(900))) == []
    with open(house.store.path, encoding="utf-8") as source:
        text = source.read()
    with open(house.store.path, "w", encoding="utf-8") as target:
        target.write(text.replace('"quota": null', '"quota": 1000'))
    assert put(peer, file("b", data(101)), file("c", data(100))) == ["quota"]


@pytest.mark.case("H11")
def test_abandoned_files(house: House) -> None:
    """Temporary files that killed processes left are removed by a count; living ones are not."""
    left = house.folder / "e" / f".fx-{'0' * 32}.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(data(900))
    token = house.token(quota=QUOTA)
    peer = house.enter(token)
    begun = begin(peer, "d/a", 400)
    assert not left.exists()
    assert put(house.enter(token), file("b", data(600)), file("c", b"x")) == ["quota"]
    left.write_bytes(data(900))
    assert put(house.enter(token), file("c", b"x")) == ["quota"]
    assert finish(peer, "d/a", begun["id"], data(400))["kind"] == "stored"
    assert house.used() - (900 if left.exists() else 0) == QUOTA


@pytest.mark.case("H11")
def test_abandoned_files_among_living_ones(tmp_path: Path) -> None:
    """A temporary file that cannot be removed, beside one that lives, counts."""
    import fcntl  # noqa: PLC0415 - for this test only

    (tmp_path / ".fx-1.part").write_bytes(data(700))
    (tmp_path / "a").write_bytes(data(10))
    fd = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)  # as somebody who writes there
    ledger = Quotas()
    try:
        assert counted(fd) == (10, 700)
        account = ledger.account(fd)
        assert account.promise(291, QUOTA) is None
        assert account.promise(290, QUOTA) == (290, 0)
        fcntl.flock(fd, fcntl.LOCK_UN)
        account.note_removed()  # as after any removal by a client
        assert account.promise(500, QUOTA) == (500, 0)
        assert not (tmp_path / ".fx-1.part").exists()
    finally:
        ledger.close()
        os.close(fd)


def test_a_count_that_was_disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored during a count may be counted twice; then nothing is refused by that count."""
    fd = os.open(tmp_path, os.O_RDONLY)
    ledger = Quotas()
    account = ledger.account(fd)

    def disturbed(folder: int, **how: bool) -> tuple[int, int]:
        monkeypatch.setattr(quotas, "counted", counted)
        (tmp_path / "a").write_bytes(data(600))
        account.give_back(0, 0, 600)
        return counted(folder, **how)

    monkeypatch.setattr(quotas, "_PRESSING", 1e9)
    monkeypatch.setattr(quotas, "counted", disturbed)
    try:
        account.count()
        assert account.used() == (1200, 0)
        assert account.promise(400, QUOTA) == (400, 0)
        assert account.promise(1, QUOTA) is None
    finally:
        ledger.close()
        os.close(fd)


def test_counting(tmp_path: Path) -> None:
    """All regular files count, also in hidden folders and many levels down; nothing else does."""
    deep = tmp_path
    for _ in range(100):
        deep = deep / "d"
        deep.mkdir()
    (deep / "a").write_bytes(data(7))
    (tmp_path / "b").write_bytes(data(5))
    (tmp_path / "link").symlink_to("b")
    os.mkfifo(tmp_path / "pipe")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        before = len(os.listdir("/dev/fd"))
        assert counted(fd) == (12, 0)
        assert len(os.listdir("/dev/fd")) == before
    finally:
        os.close(fd)


def test_too_many_accounts(tmp_path: Path) -> None:
    """There is an end to the number of folders with a quota; the others go on."""
    ledger = Quotas()
    fds = []
    try:
        for number in range(1, ACCOUNTS_MAX):
            at = quotas._HEAD.size + number * quotas._SIZE
            quotas._KEY.pack_into(ledger.memory, at, 1, number)
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            fds.append(os.open(tmp_path / name, os.O_RDONLY))
        assert ledger.account(fds[0]).promise(1, 1)
        assert ledger.account(fds[0]).promise(1, 1) is None
        with pytest.raises(OverflowError):
            ledger.account(fds[1])
    finally:
        ledger.close()
        for fd in fds:
            os.close(fd)


# Many at once


@pytest.mark.case("I11")
@pytest.mark.parametrize("how", ["put", "parts", "pieces"])
def test_many_at_once(house: House, how: str) -> None:
    """Uploads at the same moment, each of which would fit alone, never exceed the quota."""
    token = house.token(quota=QUOTA)
    count = 12
    peers = [house.enter(token) for _ in range(count)]
    gate = threading.Barrier(count)
    results: list[str] = []

    def run(number: int, peer: Raw) -> None:
        contents, name = data(300, number), f"f{number}"
        gate.wait(SECONDS)
        if how == "pieces":
            begun = begin(peer, name, 300)
            if "id" in begun:
                results.append(finish(peer, name, begun["id"], contents)["kind"])
        else:
            results.extend(put(peer, (parts if how == "parts" else file)(name, contents)))

    threads = [
        threading.Thread(target=run, args=(number, peer)) for number, peer in enumerate(peers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    # Of those that come in parts all may have begun, so that none of them could be finished.
    assert house.used() in ((0, 300, 600, 900) if how == "parts" else (900,))
    assert leftovers(house.folder) == []
    assert put(house.enter(token), file("last", data(QUOTA - house.used()))) == []


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tuple[Service, str]]:
    """Start a server of three workers with a token that has a quota."""
    store = Store(tmp_path / "tokens.json")
    secret = store.add("mine", ALL, quota=QUOTA, root="mine")
    state = environment(XDG_STATE_HOME=str(tmp_path / "state"))
    words = ("--tokens", store.path, "--workers", "3", "--durability", "none")
    with Service(tmp_path / "served", *words, env=state) as running:
        yield running, secret


def _enter(service: Service, secret: str) -> Raw:
    import socket  # noqa: PLC0415 - for this helper only

    peer = Raw(socket.create_connection(("127.0.0.1", service.port), SECONDS))
    peer.frame({"kind": "hello", "version": 1, "token": secret})
    assert (peer.reply() or {})["kind"] == "welcome"
    return peer


@pytest.mark.case("I11")
def test_over_all_workers(service: tuple[Service, str], tmp_path: Path) -> None:
    """What is promised by one worker counts for the others; a killed one gives back its own."""
    running, secret = service
    peers = [_enter(running, secret) for _ in range(12)]
    answers = [begin(peer, f"f{number}", 300) for number, peer in enumerate(peers)]
    begun = [number for number, answer in enumerate(answers) if "id" in answer]
    assert len(begun) == 3
    first = begun[0]
    stored = finish(peers[first], f"f{first}", answers[first]["id"], data(300, first))
    assert stored["kind"] == "stored"
    children = _children(running.process.pid)
    assert len(children) == 3
    for child in children:
        os.kill(child, signal.SIGKILL)
    for peer in peers:
        assert not peer.read(1)  # they have all gone
        peer.close()
    for _ in children:
        assert "signal 9" in running.line()
    new = _enter(running, secret)
    assert put(new, file("big", data(701)), file("rest", data(700))) == ["quota"]
    new.close()
    assert leftovers(tmp_path / "served" / "mine") == []


def _children(pid: int) -> list[int]:
    import subprocess  # noqa: PLC0415 - for this helper only

    found = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    )
    pairs = [list(map(int, line.split())) for line in found.stdout.splitlines()]
    return [child for child, parent in pairs if parent == pid]


@pytest.mark.usefixtures("small")
def test_the_client(house: House, tmp_path: Path) -> None:
    """The client reports what did not fit, file by file, also over several connections."""
    top = tmp_path / "tree"
    (top / "d").mkdir(parents=True)
    for number, size in enumerate((LEAST * 2, 50_000, 60_000, 400)):
        (top / "d" / f"f{number}").write_bytes(data(size, number))
    token = house.token(quota=100_000)
    for jobs in (1, 3):
        with house.served.client(trust=Trust(token=token)) as client:
            report = client.put([top], "", Options(jobs=jobs, pieces=jobs > 1))
        assert {failure.code for failure in report.failures} == {"quota"}
        assert report.failed == 2
        assert house.used() <= 100_000
