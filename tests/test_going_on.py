"""Comparisons and listings that go on where they were when the connection is lost."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from conftest import SECONDS, Served
from test_cli_process import scripted, welcome
from test_retry import DOWN, UP, Pauses, Proxy, lay, pauses

from filexfer import Client, ConnectionLost, ExitCode, UsageError
from filexfer.cli import main
from filexfer.hashing import digest_of
from filexfer.receipts.compare import Comparison
from filexfer.receipts.manifest import Record
from filexfer.receipts.verify import SAME, verify_remote
from filexfer.serving import session
from filexfer.shared.ranges import Ranges
from filexfer.wire import digests, protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Raw

__all__ = ["pauses"]  # a fixture: nobody waits before another try

TIME = 1_700_000_000_123_456_789
COUNT = 60


@pytest.fixture
def proxy(served: Served) -> Iterator[Proxy]:
    """Stand between a client and the server."""
    made = Proxy(served.server.port)
    yield made
    made.close()


@pytest.fixture
def client(proxy: Proxy, hashed: list[str]) -> Iterator[Client]:
    """Return a client that has talked to the server, through the proxy."""
    assert not hashed
    with Client("127.0.0.1", proxy.port, timeout=SECONDS) as made:
        made.stat("")
        yield made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of files that the server has hashed, in a list that grows."""
    names: list[str] = []
    before = Ranges.digest

    def noted(self: Ranges, message: Any) -> None:
        names.append(message.name)
        before(self, message)

    monkeypatch.setattr(Ranges, "digest", noted)
    return names


def lay_files(served: Served) -> list[Record]:
    for number in range(COUNT):
        lay(served.folder / str(number), b"%d" % number)
    digest = digest_of("xxh3_128")
    return [Record(str(number), digest(b"%d" % number)) for number in range(COUNT)]


@pytest.mark.parametrize("how", ["reset", "finish"])
@pytest.mark.parametrize("way", [UP, DOWN])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_verify_goes_on(  # noqa: PLR0917 - fixtures
    served: Served,
    proxy: Proxy,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    hashed: list[str],
    share: float,
    way: int,
    how: str,
) -> None:
    """Each file is found once, wherever the connection is cut; few are hashed again."""
    monkeypatch.setattr(digests, "UNDER_WAY", 5)
    records = lay_files(served)
    before = proxy.passed[way]
    assert len([*verify_remote(records, client)]) == len(hashed) == COUNT
    proxy.arm(way, max(1, int((proxy.passed[way] - before) * share)), how)
    found = [*verify_remote(records, client)]
    assert not proxy.disarm()
    assert proxy.connections == 2
    assert sorted(each.name for each in found) == sorted(each.name for each in records)
    assert {each.result for each in found} == {SAME}
    assert len(hashed) <= 2 * COUNT + 5  # of both times


def test_verify_goes_on_as_long_as_anything_is_found(
    served: Served, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, pauses: Pauses
) -> None:
    """Tries count from the last file that was found: a line that breaks often is good enough."""
    monkeypatch.setattr(digests, "UNDER_WAY", 5)
    records = lay_files(served)
    proxy.cut_each(DOWN, 2000, "reset")
    with Client("127.0.0.1", proxy.port, timeout=SECONDS, retries=1) as client:
        found = [*verify_remote(records, client)]
    assert len({each.name for each in found}) == len(found) == COUNT
    assert proxy.connections > 3
    assert len(pauses) == proxy.connections - 1


ACTS: list[Callable[[Client], object]] = [
    lambda client: client.stat(""),
    lambda client: client.list(""),
    lambda client: [*verify_remote([Record("a", "md5:" + "0" * 32)], client)],
]


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("act", ACTS)
def test_retries_are_counted(
    served: Served, pauses: Pauses, act: Callable[[Client], object], retries: int
) -> None:
    """A request, a listing and a verification end after as many tries as the client may make."""
    proxy = Proxy(served.server.port)
    with Client("127.0.0.1", proxy.port, timeout=SECONDS, retries=retries) as client:
        client.stat("")  # somebody has answered
        assert client._connection
        client._connection.interrupt()
        proxy.close()  # nobody will answer again
        with pytest.raises(ConnectionLost):
            act(client)
    assert len(pauses) == retries


def test_less_than_no_retry() -> None:
    """A negative number of retries makes no sense, and is refused at once."""
    with pytest.raises(UsageError, match="retries must not be negative"):
        Client(retries=-1)


def test_somebody_is_told(served: Served, proxy: Proxy, client: Client) -> None:
    """Before each pause it is said that the connection was lost."""
    told: list[int] = []
    client.on_lost = lambda: told.append(proxy.connections)
    proxy.cut()
    client.stat("")
    assert told == [1]


# Listings


@pytest.fixture
def here(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lay two trees that differ in every way, which take many frames to list."""
    monkeypatch.setattr(session, "LISTING_PAGE", 3)
    top, there = tmp_path / "here", served.folder / "there"
    for folder in ("", "a", "a/b", "a/b/c", "d", "e/f"):
        for name in "12345":
            lay(top / folder / name, b"data")
    shutil.copytree(top, there)
    for folder in ("", "a", "a/b/c", "e/f"):
        (top / folder / "1").unlink()
        (there / folder / "2").unlink()
        lay(there / folder / "3", b"longer")
        lay(there / folder / "only" / "4", b"below")
        lay(top / folder / "mine" / "4", b"below")
        lay(there / folder / "5", b"DATA")
    return top


def told(here: Path, client: Client, **how: Any) -> list[tuple[str, str]]:
    """Return the differences, sorted."""
    return sorted((each.what, each.name) for each in Comparison(str(here), client, "there", **how))


@pytest.mark.parametrize("checksum", [False, True])
def test_diff_goes_on(
    here: Path,
    proxy: Proxy,
    client: Client,
    hashed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    checksum: bool,
) -> None:
    """Every difference is told once, wherever the connection is cut; few files are hashed again."""
    monkeypatch.setattr(digests, "UNDER_WAY", 5)
    before = proxy.passed[DOWN]
    expected = told(here, client, checksum=checksum)
    size = proxy.passed[DOWN] - before
    assert len(expected) == (24 if checksum else 20)
    at_once = len(hashed)
    for number, how in enumerate(("reset", "finish") * 8):
        del hashed[:]
        proxy.arm(DOWN, 1 + size * number // 20, how)
        assert told(here, client, checksum=checksum) == expected
        assert not proxy.disarm()
        assert len(hashed) <= at_once + 5
    assert proxy.connections == 17


def test_ls_goes_on(here: Path, proxy: Proxy, client: Client) -> None:
    """Every name is told once, also if the connection is cut in the middle of a listing."""
    before = proxy.passed[DOWN]
    expected = [*client.list("there", recursive=True)]
    size = proxy.passed[DOWN] - before
    for number in range(8):
        proxy.arm(DOWN, 1 + size * number // 10, "reset")
        assert [*client.list("there", recursive=True)] == expected
        assert not proxy.disarm()
    assert proxy.connections == 9


def shuffled(tree: dict[str, Any], chance: random.Random, above: str = "") -> Iterator[list[Any]]:
    """Yield the entries of a tree as a server lists them, in any order that it may have."""
    names = [*tree]
    chance.shuffle(names)
    for name in sorted(names, key=lambda name: isinstance(tree[name], dict)):
        kind = "folder" if isinstance(tree[name], dict) else "file"
        yield [above + name, kind, 0, TIME, 0o755, ""]
        if kind == "folder":
            yield from shuffled(tree[name], chance, f"{above}{name}/")


def grown(chance: random.Random, depth: int = 3) -> dict[str, Any]:
    """Return a tree: names, with a dict for a folder."""
    names = chance.sample("abcdefg", chance.randrange(1, 6))
    return {
        name: grown(chance, depth - 1) if depth and chance.random() < 0.5 else None
        for name in names
    }


def lay_tree(top: Path, tree: dict[str, Any]) -> None:
    top.mkdir()
    for name, below in tree.items():
        if below is None:
            lay(top / name, b"")
        else:
            lay_tree(top / name, below)


@pytest.mark.parametrize("seed", range(25))
def test_another_order(tmp_path: Path, seed: int) -> None:
    """A second and a third listing may have another order than the first; nothing is told twice."""
    chance = random.Random(seed)
    lay_tree(tmp_path / "here", grown(chance))
    tree = grown(chance)
    whole = [*shuffled(tree, chance)]

    def play(count: int, *, is_first: bool) -> Callable[[Raw], None]:
        def serve(peer: Raw) -> None:
            welcome(peer)
            if is_first:
                assert (peer.reply() or {})["kind"] == "stat"
                peer.frame({"kind": "entries", "entries": [["", "folder", 0, TIME, 0o755, ""]]})
            assert (peer.reply() or {})["kind"] == "list"
            entries = [*shuffled(tree, chance)]
            for entry in entries[:count]:
                peer.frame({"kind": "entries", "entries": [entry], "more": True})
            if count >= len(entries):
                peer.frame({"kind": "entries", "entries": []})
                peer.reply()

        return serve

    def compared(*counts: int) -> list[tuple[str, str]]:
        scripts = [play(count, is_first=not number) for number, count in enumerate(counts)]
        with (
            scripted(*scripts) as address,
            Client("127.0.0.1", int(address.rstrip("/").rpartition(":")[2])) as client,
        ):
            found = [*Comparison(str(tmp_path / "here"), client, "")]
        return sorted((each.what, each.name) for each in found)

    first, second = (chance.randrange(len(whole)) for _ in range(2))
    assert compared(first, second, len(whole)) == compared(len(whole))


def test_a_folder_that_goes_meanwhile(tmp_path: Path) -> None:
    """If a folder in which the listing was cut off has gone, what was left in it is only here."""
    lay_tree(tmp_path / "here", {"a": {"b": None, "c": None}, "d": None})

    def entry(name: str, kind: str) -> list[Any]:
        return [name, kind, 0, TIME, 0o755, ""]

    def first(peer: Raw) -> None:
        welcome(peer)
        peer.reply()
        peer.frame({"kind": "entries", "entries": [entry("", "folder")]})
        peer.reply()
        entries = [entry("a", "folder"), entry("a/b", "file")]
        peer.frame({"kind": "entries", "entries": entries, "more": True})

    def second(peer: Raw) -> None:
        welcome(peer)
        peer.reply()
        peer.frame({"kind": "entries", "entries": [entry("d", "file")]})
        peer.reply()

    with (
        scripted(first, second) as address,
        Client("127.0.0.1", int(address.rstrip("/").rpartition(":")[2])) as client,
    ):
        found = [*Comparison(str(tmp_path / "here"), client, "")]
    assert [(each.what, each.name) for each in found] == [("only local", "a/c")]


def test_a_connection_that_is_lost_while_we_hash(
    here: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server is told meanwhile may not reach it; the comparison goes on all the same."""
    monkeypatch.setattr(protocol, "ALIVE_EVERY", 0.0)
    expected = told(here, client, checksum=True)
    comparison = Comparison(str(here), client, "there", checksum=True)
    cuts = 0

    def cut(_: Comparison) -> None:
        nonlocal cuts
        if comparison.hashed and cuts < 3 and client._connection:
            cuts += 1
            client._connection.interrupt()  # from now on nothing can be sent

    comparison.on_progress = cut
    assert sorted((each.what, each.name) for each in comparison) == expected
    assert cuts == 3


# The commands


def arm(proxy: Proxy) -> None:
    """Cut the next connection soon; bytes of those before count no more."""
    for thread in proxy._threads:
        thread.join(SECONDS)
    proxy.arm(DOWN, 400, "reset")


@pytest.mark.parametrize("command", ["verify", "diff"])
def test_the_option(
    here: Path, proxy: Proxy, command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """--retries says how often the connection is opened again; 0 ends with the first loss."""
    address = f"fx://127.0.0.1:{proxy.port}/there"
    digest = digest_of("md5")(b"data").partition(":")[2]
    sums = tmp_path / "SUMS"
    sums.write_text("".join(f"{digest}  d/{name}\n" for name in "12345"))
    words = {"verify": [str(sums), address], "diff": ["-c", str(here / "d"), address + "/d"]}[
        command
    ]
    assert main([command, *words]) == ExitCode.OK
    expected = capsys.readouterr()
    arm(proxy)
    assert main([command, *words, "--retries", "0"]) == ExitCode.NETWORK
    assert not proxy.disarm()
    assert "filexfer: error: the connection was lost" in capsys.readouterr().err
    arm(proxy)
    assert main([command, *words, "--retries", "1"]) == ExitCode.OK
    assert not proxy.disarm()
    assert capsys.readouterr().out == expected.out
    assert main([command, *words, "--retries", "-1"]) == ExitCode.USAGE
