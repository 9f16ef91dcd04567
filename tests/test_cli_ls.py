"""``filexfer ls`` for people: columns, colours, units, and the order of names."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from test_cli_process import COMMAND, SECONDS, environment

from filexfer import Entry
from filexfer.cli import listing, main

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Served

    Serve = Callable[..., Served]

DAY = 86400
NAMES = [f"name-{number:02}" for number in range(20)]


@pytest.fixture
def tree(served: Served) -> Served:
    """Serve files of several kinds, sizes and times."""
    folder = served.folder
    for number, (name, size) in enumerate((("b", 1_500_000), ("c", 0), ("a", 999))):
        (folder / name).write_bytes(bytes(size))
        os.utime(folder / name, (DAY * number, DAY * number))
    (folder / "dir").mkdir()
    (folder / "dir" / "in").touch()
    (folder / "run").write_text("#!")
    (folder / "run").chmod(0o755)
    (folder / "to").symlink_to("run")
    for name in ("dir", "run", "to"):
        os.utime(folder / name, (10 * DAY, 10 * DAY), follow_symlinks=False)
    return served


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Return the lines that ``ls`` prints."""
    assert main(["ls", *words]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    return printed.out.splitlines()


def on_terminal(*words: str, **variables: str) -> str:
    """Return what a command prints to a terminal of 60 columns."""
    leader, follower = pty.openpty()
    changes = {"TERM": "xterm", "COLUMNS": "60", "NO_COLOR": "", **variables}
    try:
        run = subprocess.run(
            [*COMMAND, *words],
            stdin=subprocess.DEVNULL,
            stdout=follower,
            stderr=subprocess.PIPE,
            env=environment(**changes),
            timeout=SECONDS,
            check=False,
        )
        assert (run.returncode, run.stderr) == (0, b"")
        os.write(follower, b"\0")  # so that reading has an end
        text = b""
        while not text.endswith(b"\0"):
            text += os.read(leader, 1 << 16)
        return text[:-1].decode()
    finally:
        os.close(leader)
        os.close(follower)


# Order and units


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "a b c dir/ run to"),
        (["-r"], "to run dir/ c b a"),
        (["--sort", "size"], "b a run c dir/ to"),
        (["--sort", "size", "-r"], "to dir/ c run a b"),
        (["--sort", "time"], "dir/ run to a c b"),
        (["--sort", "time", "--reverse"], "b c a to run dir/"),
        (["-R", "--sort", "name"], "a b c dir/ dir/in run to"),
        (["-R", "-r"], "to run dir/in dir/ c b a"),
    ],
)
def test_order(
    tree: Served, capsys: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    """By name, the largest first, the newest first, and each the other way round."""
    assert listed(capsys, *words, tree.server.address) == expected.split()


def test_no_order(tree: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an order everything is there, and there is nothing to turn round."""
    there = listed(capsys, "--sort", "none", tree.server.address)
    assert sorted(there) == ["a", "b", "c", "dir/", "run", "to"]
    assert main(["ls", "--sort", "none", "-r", tree.server.address]) == 2
    assert "leave out --sort none" in capsys.readouterr().err


def test_units(tree: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes have units with ``-l``, and are in bytes with ``--bytes``, which needs ``-l``."""
    line = listed(capsys, "-l", tree.server.address)[1]
    assert re.fullmatch(r"-[rwx-]{9}   1\.5 MB 1970-01-01 \d\d:\d\d:\d\d b", line)
    line = listed(capsys, "-l", "--bytes", tree.server.address)[1]
    assert re.fullmatch(r"-[rwx-]{9}        1500000 1970-01-01 \d\d:\d\d:\d\d b", line)
    assert main(["ls", "--bytes", tree.server.address]) == 2
    assert "--bytes goes with --long only" in capsys.readouterr().err


# Columns


def entries(*names: str) -> list[Entry]:
    return [Entry(name, "file") for name in names]


@pytest.mark.parametrize(
    ("names", "most", "expected"),
    [
        ([], 80, []),
        (["one"], 2, ["one"]),
        (["a", "b", "c"], 7, ["a  b  c"]),
        (["a", "b", "c"], 6, ["a  c", "b"]),
        (["a", "b", "c"], 3, ["a", "b", "c"]),
        (["a", "long", "b", "c"], 10, ["a     b", "long  c"]),
        (["a", "bb", "c", "dd", "e"], 10, ["a   c   e", "bb  dd"]),
        (["far too long for it", "b"], 10, ["far too long for it", "b"]),
    ],
)
def test_columns(names: list[str], most: int, expected: list[str]) -> None:
    """Names stand in as few lines as fit, read downwards; one that is too long has its line."""
    assert list(listing.columns(entries(*names), most=most)) == expected


def test_columns_of_very_many() -> None:
    """Of very many names the columns are equally wide, which takes no time to find out."""
    names = [f"{number:0{5 if number < 50_000 else 8}}" for number in range(100_000)]
    lines = list(listing.columns(entries(*names), most=100))
    assert " ".join(lines).split() != names
    assert sorted(" ".join(lines).split()) == sorted(names)
    assert max(map(len, lines)) <= 100
    assert {lines[0].index(each) % 10 for each in lines[0].split()} == {0}


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("plain", 5),
        ("äöü", 3),
        ("你好", 4),
        ("e\u0301", 1),
        ("한", 2),
        ("\uff21", 2),
        ("👩\u200d💻", 4),
    ],
)
def test_width(text: str, columns: int) -> None:
    """Characters of the East are two columns wide, accents that go onto another one none."""
    assert listing.width(text) == columns


def test_columns_of_wide_names() -> None:
    """Wide names move what is beside them to where it stands in other lines."""
    lines = list(listing.columns(entries("你好", "a", "x", "y"), most=8))
    assert lines == ["你好  x", "a     y"]


def test_on_a_terminal(serve: Serve) -> None:
    """On a terminal names stand in columns; elsewhere, and with ``-R``, each has a line."""
    served = serve()
    for name in NAMES:
        (served.folder / name).touch()
    text = on_terminal("ls", served.server.address)
    lines = text.split("\r\n")
    assert len(lines[0].split()) == 5
    assert sorted(text.split()) == NAMES
    assert max(map(len, lines)) <= 60
    assert sorted(on_terminal("ls", "-R", served.server.address).split("\r\n")) == ["", *NAMES]


# Colours


def test_colours(tree: Served) -> None:
    """On a terminal folders, links and programs have colours, their slash and gaps have none."""
    text = on_terminal("ls", tree.server.address)
    expected = "a  b  c  \x1b[1;34mdir\x1b[0m/  \x1b[1;32mrun\x1b[0m  \x1b[1;36mto\x1b[0m\r\n"
    assert text == expected
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        text = on_terminal("ls", tree.server.address, **variables)
        assert text == "a  b  c  dir/  run  to\r\n"


def test_colours_by_choice(
    tree: Served, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--color always`` colours everywhere, whatever else says no; ``auto`` not in a pipe."""
    monkeypatch.setenv("NO_COLOR", "1")
    lines = listed(capsys, "--color", "always", tree.server.address)
    assert lines[3:] == ["\x1b[1;34mdir\x1b[0m/", "\x1b[1;32mrun\x1b[0m", "\x1b[1;36mto\x1b[0m"]
    (line,) = (
        line
        for line in listed(capsys, "-l", "--color", "always", tree.server.address)
        if "to" in line
    )
    assert line.endswith(" \x1b[1;36mto\x1b[0m -> run")
    monkeypatch.delenv("NO_COLOR")
    assert listed(capsys, "--color", "auto", tree.server.address)[3] == "dir/"
    assert listed(capsys, "--color", "never", tree.server.address)[3] == "dir/"


@pytest.mark.case("L2")
def test_colours_of_names_that_attack(tree: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """A name cannot end its colour or begin another one: what is in it is escaped."""
    (tree.folder / "\x1b[31mred").mkdir()
    lines = listed(capsys, "--color", "always", tree.server.address)
    assert "\x1b[1;34m\\x1b[31mred\x1b[0m/" in lines
