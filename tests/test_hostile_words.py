"""Words and names that attack a terminal: whoever sends them, nothing raw comes out of any command.

Each command runs as a process, in several locales, with its output in pipes and on a terminal.
"""

from __future__ import annotations

import base64
import os
import socket
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import oracles
import pytest
from conftest import Raw, framed
from test_cli_process import LOCALES, SECONDS, Service, environment, fx, scripted
from test_cli_transfer import on_terminal
from test_hostile_client import plain
from test_hostile_server import TIME, file, folder, link

from filexfer.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# A window title, a colour, the one-byte form of an escape, a line end, turned writing, a byte
# that is no text, and a line that looks like one of ours.
EVIL = "\x1b]0;evil\x07\x1b[31m\x9bevil\r\n\u202e\u2028filexfer: all is well\n"
NAME = EVIL.replace("/", "") + ("\udcff" if sys.platform != "darwin" else "")  # of a file
WORD = EVIL[:100]
in_locales = pytest.mark.parametrize(
    "locale",
    [
        "LANG=C",
        pytest.param("UTF-8", marks=pytest.mark.slow),
        pytest.param("ASCII for sure", marks=pytest.mark.slow),
    ],
)


def on_wire(name: str) -> dict[str, str] | str:
    """Return a name as it travels."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return {"raw": base64.b64encode(os.fsencode(name)).decode()}
    return name


def in_process(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command in this process, which is quicker; return its code, and what it has said."""
    try:
        code = main(words)
    except SystemExit as error:
        code = int(error.code or 0)
    said = capsys.readouterr()
    return code, is_clean(said.out + said.err)


def is_clean(said: str) -> str:
    """Check all that a command has said, and return it."""
    oracles.is_harmless(said)
    for line in said.splitlines():
        assert not line.startswith("filexfer: all is well")
    return said


def denied(_: dict[str, Any]) -> bytes:
    return framed({"kind": "error", "code": WORD, "text": EVIL * 20, "fatal": False})


def entries(*, more: bool = False) -> bytes:
    found = [
        [on_wire(NAME), kind, 4, TIME, 0o644, on_wire(NAME) if kind == "link" else ""]
        for kind in ("file", "folder", "link", "special")
    ]
    return framed({"kind": "entries", "entries": found, "more": more})


def download(_: dict[str, Any]) -> bytes:
    """Return files of evil names, one that does not verify, and reasons for others."""
    raw = {"kind": "file", "name": {"raw": "YS/+G1szMW0="}, "size": 4, "hash": "md5:" + "0" * 32}
    return b"".join(
        (
            folder("a"),
            folder(f"a/{EVIL}"),
            file(f"a/{EVIL}/{EVIL}"),
            link(f"a/{EVIL}link", "../" * 9 + EVIL),
            framed(raw) + b"evil",
            framed({"kind": "unsent", "name": f"a/x{EVIL}", "code": WORD, "text": EVIL * 20}),
            framed({"kind": "unsent", "name": "a/y", "code": "passed_over", "text": EVIL}),
            framed({"kind": "end"}),
        )
    )


ANSWERS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "hello": lambda _: framed(
        {"kind": "welcome", "version": 1, "program": EVIL * 20, "rights": [WORD, "read"]}
    ),
    "stat": lambda _: framed(
        {"kind": "entries", "entries": [["a", "folder", 0, TIME, 0o755, ""]], "files": 1}
    ),
    "list": lambda _: entries(more=True) + entries(),
    "get": download,
    "mkdir": denied,
    "remove": denied,
    "move": denied,
    "ask": lambda request: framed(
        {
            "kind": "answer",
            "verdicts": "r" * len(request["entries"]),
            "refused": [[n, WORD, EVIL * 20] for n in range(len(request["entries"]))],
        }
    ),
}


OUTCOME = framed(
    {
        "kind": "outcome",
        "item": 0,
        "result": "failed",
        "code": WORD,
        "text": EVIL * 20,
        "name": EVIL,
    }
) + framed({"kind": "end"})


def evil(peer: Raw) -> None:
    """Answer whatever is asked, and fail what was never sent."""
    in_exchange = is_put = False
    try:
        while request := peer.reply():
            kind = request["kind"]
            is_put = is_put or kind == "put"
            in_exchange = in_exchange or kind in ("get", "put")
            if kind in ANSWERS:
                peer.send(ANSWERS[kind](request))
            elif kind == "end" and in_exchange:
                in_exchange = False
                if is_put:
                    peer.send(OUTCOME)
        peer.finish()
    except OSError:
        pass  # it would have no more of it


COMMANDS: dict[str, list[str]] = {
    "ls": ["ls", "@"],
    "ls -l": ["ls", "-l", "@"],
    "ls -R": ["ls", "-R", "@"],
    "mkdir": ["mkdir", "@a"],
    "rm": ["rm", "-r", "@a"],
    "mv": ["mv", "@a", "@b"],
    "get": ["get", "@a", "into/"],
    "get -v": ["get", "-v", "@a", "into/"],
    "put": ["put", "-v", "mine", "@"],
    "doctor": ["doctor", "@"],
}


@in_locales
@pytest.mark.parametrize("what", COMMANDS)
@pytest.mark.case("C18", "L2")
def test_an_evil_server(tmp_path: Path, locale: str, what: str) -> None:
    """What a server says or names is shown by every command, and obeyed by no terminal."""
    (tmp_path / "mine").write_bytes(b"mine")
    env = environment(**LOCALES[locale])
    connections = 2 if what == "doctor" else 1
    scripts: list[Callable[[Raw], None]] = [evil] * connections
    with scripted(*scripts) as address:
        words = [word.replace("@", address) for word in COMMANDS[what]]
        done = (
            fx(*words, "--retries", "0", env=env, cwd=tmp_path)
            if (what.startswith(("get", "put")))
            else fx(*words, env=env, cwd=tmp_path)
        )
    said = is_clean(done.stdout + done.stderr)
    assert r"\x1b" in said
    assert len(max(said.splitlines(), key=len)) < 3000


@pytest.mark.parametrize("code", ["denied", "busy", "bad_header", WORD], ids=ascii)
@pytest.mark.parametrize("words", ["ls @", "put --retries 0 mine @", "doctor @"])
@pytest.mark.case("C18", "L2")
def test_an_evil_refusal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, code: str
) -> None:
    """Nor is the last word of a server."""

    def refuse(peer: Raw) -> None:
        peer.reply()
        peer.frame({"kind": "error", "code": code, "text": EVIL * 20})
        peer.finish()
        while peer.sock.recv(1 << 16):
            pass

    (tmp_path / "mine").write_bytes(b"mine")
    connections = 2 if "doctor" in words else 1
    if words == "ls @" and code == "busy":
        connections = 4  # it comes again, three times
    with scripted(*[refuse] * connections) as address:
        path = str(tmp_path / "mine")
        words = words.replace("@", address).replace("mine", path)
        ended, said = in_process(capsys, *words.split())
    assert ended != 0
    assert r"\x1b" in said


BAD_NAME = NAME.strip()[:80]
HERE = "fx://127.0.0.1:1/"
WORDS: list[list[str]] = [
    ["-" + BAD_NAME],
    [BAD_NAME],
    ["put", "-" + BAD_NAME.replace(" ", ""), "a", HERE],
    ["put", "--" + BAD_NAME.replace(" ", ""), "a", HERE],
    ["ls", "-l" + BAD_NAME.replace(" ", ""), HERE],
    ["--" + BAD_NAME.replace(" ", "")],
    ["put", "--hash", BAD_NAME, "a", HERE],
    ["put", "-j", BAD_NAME, "a", HERE],
    ["put", "--timeout", BAD_NAME, "a", HERE],
    ["put", "--bwlimit", BAD_NAME, "a", HERE],
    ["put", "--congestion", BAD_NAME, "a", HERE],
    ["put", "a", BAD_NAME],
    ["put", "a", f"fx://{BAD_NAME}/"],
    ["put", "a", f"fx://127.0.0.1:{BAD_NAME}/"],
    ["put", "a", BAD_NAME + ":"],
    ["get", HERE, f"fx://{BAD_NAME}"],
    ["get", HERE + BAD_NAME, BAD_NAME + "/"],
    ["ls", BAD_NAME],
    ["rm", f"[{BAD_NAME}]:x"],
    ["mkdir", f"fx://[{BAD_NAME}]x/"],
    ["serve", BAD_NAME],
    ["serve", "--host", BAD_NAME],
    ["serve", "--allow", BAD_NAME],
    ["doctor", f"fx://{BAD_NAME}/"],
    ["demo", BAD_NAME],
]


@pytest.mark.parametrize("number", range(len(WORDS)))
@pytest.mark.case("L2")
def test_evil_words_on_the_command_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    """A shell's asterisk makes words of names: nothing of them comes out raw, whatever is wrong."""
    monkeypatch.chdir(tmp_path)
    words = WORDS[number]
    if words[0] == "serve":  # it sets up logs and signals, for good
        done = fx(*words, cwd=tmp_path)
        code = done.returncode
        is_clean(done.stdout + done.stderr)
    else:
        code, _ = in_process(capsys, *words)
    assert code not in (0, 1)


@in_locales
@pytest.mark.case("D13", "L2")
def test_evil_names_on_the_disk(tmp_path: Path, locale: str) -> None:
    """They go up, are listed, come down and are removed; each time they fail or are told, escaped."""
    tree = tmp_path / NAME
    (tree / NAME).mkdir(parents=True)
    (tree / "file").write_bytes(b"data")
    (tree / NAME / NAME).write_bytes(b"data")
    (tree / "link").symlink_to(NAME)
    (tree / "out").symlink_to("../../../" + NAME)
    os.mkfifo(tree / ("pipe" + NAME))
    env = environment(**LOCALES[locale])
    words = ("--workers", "1", "--durability", "none", "--allow", "delete", "-v")
    service = Service(tmp_path / f"in{NAME}", *words, env=env)
    with service:
        there = service.address
        addresses = {"put": there, "get": f"{there}{quote(os.fsencode(NAME))}"}
        told: list[str] = [*service.said]

        def run(*each: object, code: int = 0) -> None:
            done = fx(*each, env=env, cwd=tmp_path)
            assert done.returncode == code, done.stderr
            told.append(is_clean(done.stdout + done.stderr))

        run("put", "-v", tree, addresses["put"])
        (tree / NAME / NAME).write_bytes(b"other")
        run("put", tree, f"{tree}none", addresses["put"], code=3)
        run("put", "-v", "--keep-both", tree, addresses["put"])
        run("ls", "-lR", there)
        run("get", "-v", addresses["get"], "got/")
        run("get", addresses["get"], f"{there}none{quote(os.fsencode(NAME))}", "got/", code=3)
        run("get", f"{addresses['get']}/link", "got/", code=3)
        run(
            "mkdir",
            f"{addresses['get']}/file/{quote(os.fsencode(NAME))}",
            f"{there}new{quote(os.fsencode(NAME))}",
            code=3,
        )
        run("rm", f"{there}none{quote(os.fsencode(NAME))}", addresses["get"], code=3)
        run("rm", "-r", addresses["get"])
        service.end()
        told.append(service.rest())
    assert os.listdir(service.folder) == [f"new{NAME}"]
    oracles.is_harmless("\n".join(told))
    assert "\n".join(told).count(r"\x1b]0;evil\x07") > 20


@pytest.mark.case("B2", "L2")
def test_an_evil_client_in_the_log(tmp_path: Path) -> None:
    """The log of a server is read on a terminal too."""
    words = ("--workers", "1", "--durability", "none", "-v")
    with Service(tmp_path / "in", *words) as service:
        for data in (
            plain(EVIL, b"hi"),
            plain(on_wire(NAME), b"hi"),
            framed({"kind": "hello", "version": 1, "program": EVIL}) + framed({"kind": WORD}),
            framed({WORD: 1}),
            framed({"kind": "hello", "version": 1})
            + framed({"kind": "put"})
            + framed({"kind": "unsent", "name": EVIL, "code": WORD, "text": EVIL * 9})
            + framed({"kind": "error", "code": WORD, "text": EVIL * 9}),
            framed({"kind": "error", "code": "bad_header", "text": EVIL * 9}),
            b"GET /\x1b[31m HTTP/1.1\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", service.port), SECONDS) as sock:
                peer = Raw(sock)
                peer.send(data)
                peer.finish()
                while reply := peer.read(1 << 16):
                    assert b"\x1b" not in reply
        service.end()
        log = service.rest()
    oracles.is_harmless(log)
    assert r"\x1b" in log


@pytest.mark.case("L2", "D13")
def test_evil_names_on_a_terminal(tmp_path: Path) -> None:
    """With a bar or with every file named, a terminal gets no sequence but those of the bar."""
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / NAME).write_bytes(os.urandom(1 << 20))
    with Service(tmp_path / "in", "--workers", "1", "--durability", "none") as service:
        for more in ((), ("-v",), ("--keep-both", "--bwlimit", "1M")):
            (tmp_path / NAME / NAME).write_bytes(os.urandom(1 << 20))
            words = ("put", *more, tmp_path / NAME, tmp_path / f"none{NAME}", service.address)
            code, said = on_terminal(*words, seen=lambda _: None)
            assert code == 3
            assert r"\x1b]0;evil" in said
            for raw in ("\x1b]", "\x1b[31m", "\x07", "\u202e", "\x9b", "\nfilexfer: all is well"):
                assert raw not in said
