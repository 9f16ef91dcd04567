"""``--json``: every command tells what happens in lines that any program reads, and how it ended.

All of it is read by one strict reader: each line is JSON in ASCII by itself, has the fields that
the README's tables have, and the last one, and no other, is a result.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from hypothesis import strategies as st
from test_cli_process import (
    CHUNK,
    COMMAND,
    ODD_NAMES,
    SECONDS,
    Service,
    environment,
    full,
    fx,
    running,
    scripted,
    take_get,
    welcome,
)
from test_cli_trust import connect_string, unreached
from test_readme import README, blocks, rows, section

from filexfer import Options, Report
from filexfer.cli import COMMANDS, json_form
from filexfer.entry import Entry
from filexfer.progress import (
    CONNECTING,
    DONE,
    FLUSHING,
    RECEIVING,
    SCANNING,
    SENDING,
    VERIFYING,
)
from filexfer.security.connect_string import parse_connect_string

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Raw, Served

TYPES: dict[str, Any] = {"text": str, "number": (int, float), "boolean": bool, "list": list}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
PHASES = {*(CONNECTING, SCANNING, SENDING, RECEIVING), *(VERIFYING, FLUSHING, DONE)}
LAST_OF_ALL_RESULTS = 3  # fields; the others are there after a transfer

TABLES = {
    kind: {field.strip("`"): words for field, words, _ in rows(section(f"Lines of type `{kind}`"))}
    for kind in re.findall(r"^### Lines of type `(\w+)`$", README, re.MULTILINE)
}


# The reader


def objects(data: bytes) -> list[dict[str, Any]]:
    """Return the objects of an output, the result as the last; check all of them."""
    *lines, end = data.decode("ascii").split("\n")
    assert end == ""
    found = [one_object(line) for line in lines]
    assert [each["type"] == "result" for each in found] == [False] * (len(found) - 1) + [True]
    return found


def one_object(line: str) -> dict[str, Any]:
    """Return the object of a line, held against the README."""
    found: dict[str, Any] = json.loads(line, object_pairs_hook=distinct, parse_constant=pytest.fail)
    assert list(found)[:2] == ["v", "type"]
    assert found["v"] == 1
    table = TABLES[found["type"]]
    fields = [
        name for name in list(found)[2:] if name.removesuffix("_raw") not in found or name in table
    ]
    short = found["type"] == "result" and len(fields) == LAST_OF_ALL_RESULTS
    assert fields == (list(table)[:LAST_OF_ALL_RESULTS] if short else list(table))
    for name in fields:
        words = table[name].split(" or ")
        value = found[name]
        assert value is None if value is None and "null" in words else is_a(value, words[0]), name
    for name in ("mtime", "created", "expires"):
        assert found.get(name) is None or TIME.fullmatch(found[name])
    json.dumps(found, ensure_ascii=False).encode()  # no half of a surrogate pair
    return found


def is_a(value: object, word: str) -> bool:
    """Tell whether a value is what the README says."""
    return isinstance(value, TYPES[word]) and (word == "boolean") == isinstance(value, bool)


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of which no field comes twice."""
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def name_of(found: dict[str, Any]) -> bytes:
    """Return the bytes of a name, as a script finds them."""
    raw = found.get("name_raw")
    return base64.b64decode(raw, validate=True) if raw else found["name"].encode()


def told(*words: object, code: int = 0, **options: Any) -> list[dict[str, Any]]:
    """Run a command with ``--json``; return its objects and check how it ended."""
    done = fx(*words, "--json", **options)
    found = objects(done.stdout.encode())
    assert done.returncode == found[-1]["exit_code"] == code, done.stderr
    assert found[-1]["error_kind"] == json_form.ERROR_KINDS[code]  # type: ignore[index] # a code
    assert (found[-1]["error"] is None) == (code == 0)
    return found


def of(kind: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the objects of a type."""
    return [each for each in found if each["type"] == kind]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module; each uses names of its own."""
    folder = tmp_path_factory.mktemp("served")
    with Service(folder, "--workers", "1", "--durability", "none") as running_service:
        yield running_service


# Transfers


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    """A script tells by lines and exit codes alone what is there, what was, and what failed."""
    (tmp_path / "photos").mkdir()
    for name in ("good", "skipped", "bad"):
        (tmp_path / "photos" / name).write_text(name)
    (example,) = blocks(section("For scripts"), "python")
    command = ", ".join(f'"{word}"' for word in COMMAND)
    with Service(tmp_path / "in", "--workers", "1") as service:
        assert fx("put", tmp_path / "photos", service.address).returncode == 0
        (tmp_path / "in" / "photos" / "good").unlink()
        (tmp_path / "photos" / "bad").write_text("other")
        example = example.replace('"filexfer"', command).replace("fx://127.0.0.1/", service.address)
        done = subprocess.run(
            [sys.executable, "-c", example],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    lines = done.stdout.splitlines()
    assert sorted(lines[:3]) == [
        "failed photos/bad exists",
        "identical photos/skipped ",
        "stored photos/good ",
    ]
    assert lines[3:] == ["3 some_failed", "1 sent, 1 there already, 1 failed"]
    assert done.stderr == "filexfer: photos/bad: exists and differs\n"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_names_that_are_not_utf8(jobs: str, tmp_path: Path, service: Service) -> None:
    """Every name of every file comes back byte for byte, up, down and in a listing."""
    (tmp_path / "odd").mkdir()
    for name in ODD_NAMES:
        with open(os.path.join(os.fsencode(tmp_path / "odd"), name), "wb") as file:
            file.write(name)
    place = f"{service.address}odd{jobs}/"
    names = sorted(ODD_NAMES)
    up = told("put", "-j", jobs, f"{tmp_path}/odd/", place)
    listed = told("ls", place)
    down = told("get", "-j", jobs, place, tmp_path / "back")
    for found, kind, above in (
        (up, "file", f"odd{jobs}/"),
        (listed, "entry", ""),
        (down, "file", ""),
    ):
        assert sorted(map(name_of, of(kind, found))) == [above.encode() + name for name in names]
        assert {each["size"] for each in of(kind, found)} == set(map(len, names))
    assert (up[-1]["files"], down[-1]["files"]) == (len(names), len(names))
    assert {each["result"] for each in of("file", up)} == {"stored"}
    assert sorted(os.listdir(os.fsencode(tmp_path / "back"))) == names
    again = told("put", f"{tmp_path}/odd/", place)
    assert {each["result"] for each in of("file", again)} == {"identical"}


def test_warnings_and_failures(tmp_path: Path, service: Service) -> None:
    """What was passed over is a warning; a missing source, and a server that refuses, failures."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    found = told("put", f"{tmp_path}/", tmp_path / "missing", service.address + "some/", code=3)
    (warning,) = of("warning", found)
    assert (warning["name"], warning["error_kind"]) == ("some/pipe", "passed_over")
    by_name = {each["name"]: each for each in of("file", found)}
    assert by_name["some/link"]["file_type"] == "link"
    (failed,) = (each for each in by_name.values() if each["result"] == "failed")
    assert failed["error_kind"] == "not_found"
    assert found[-1]["failed"] == 1
    assert "missing" in found[-1]["error"]
    (removed,) = of("file", told("rm", service.address + "some", code=3))
    assert (removed["result"], removed["error_kind"]) == ("failed", "denied")
    (made,) = of("file", told("mkdir", service.address + "2026/spring"))
    assert (made["name"], made["result"]) == ("2026/spring", "made")


def test_progress(service: Service) -> None:
    """Progress comes while something moves, at most five times a second, and never less."""
    words = ("put", "--json", "--bwlimit", "4M", "-", service.address + "stream")
    with running(*words, stdin=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        lines: list[bytes] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reader.start()
        while len(lines) < 3:
            process.stdin.write(bytes(CHUNK // 16))
            process.stdin.flush()
        process.stdin.close()
        assert process.wait(SECONDS) == 0
        reader.join(SECONDS)
    found = objects(b"".join(lines))
    progress = of("progress", found)
    assert 3 <= len(progress) <= found[-1]["seconds"] * 5 + 1
    done = [each["bytes_done"] for each in progress]
    assert done == sorted(done)
    assert {each["phase"] for each in progress} <= PHASES
    assert progress[1]["phase"] == "sending"
    assert progress[-1]["rate"] > 0
    assert found[-1]["bytes"] == found[-1]["moved"] >= done[-1]


def test_a_text_about_many(served: Served, tmp_path: Path) -> None:
    """``Report.describe`` hears of the same files as ``on_file``, with several connections too."""
    for number in range(30):
        folder = tmp_path / "tree" / str(number % 3)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(number)).write_text(str(number))
    one: list[str] = []
    for hears_of_each in (True, False):
        many: list[str] = []
        report = Report()
        report.describe = lambda files: "".join(
            f"{file[0]}|{file[1]}|{file[5]}\n" for file in files
        )
        report.on_text = many.extend
        if hears_of_each:
            report.on_file = lambda file: one.append(f"{file.name}|{file.result}|{file.digest}")
        options = Options(jobs=3)
        sources = [tmp_path / "tree", tmp_path / "missing"]
        served.client().put(sources, str(hears_of_each), options, report=report)
        told = [line.split("/", 1)[1] for line in "".join(many).splitlines() if "/" in line]
        assert len(told) == 31
        assert sorted(told) == sorted(line.split("/", 1)[1] for line in one)


# The end


USAGE = [
    "put --json",
    "put --json --nonsense a b",
    "--json",
    "nonsense --json",
    "put --json file local",
    "put --json --jobs 0 file fx://127.0.0.1:1/",
    "get --json fx://127.0.0.1:1/x -",
    "token list name --json",
    "login nas --json",
    "serve --json --port 99999",
]


@pytest.mark.parametrize("words", USAGE)
def test_usage(words: str) -> None:
    """Words that make no sense end in a result that says what is wrong with them."""
    done = fx(*words.split())
    (result,) = objects(done.stdout.encode())
    assert (done.returncode, result["exit_code"], result["error_kind"]) == (2, 2, "usage")
    assert result["error"]
    assert result["error"] in done.stderr


def test_other_ends(tmp_path: Path) -> None:
    """Network, disk and trust end in a result of their kind, too."""
    assert told("ls", "fx://127.0.0.1:1/", code=6)[-1]["error_kind"] == "network"
    assert told("serve", tmp_path / "missing", code=8)[-1]["error_kind"] == "local"
    (tmp_path / "line").write_text("secret")
    (tmp_path / "line").chmod(0o644)
    assert told("login", "nas", "--file", tmp_path / "line", code=4)[-1]["error_kind"] == "trust"
    assert "not stored" in told("logout", "nobody", code=3)[-1]["error"]


def test_a_fault_of_the_program() -> None:
    """A fault ends in a result; what it was is on standard error."""
    script = (
        "import sys; from filexfer.cli import ls, main; ls.run = lambda arguments: 1 / 0\n"
        "sys.exit(main(['ls', 'x:', '--json']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=False
    )
    (result,) = objects(done.stdout)
    assert (done.returncode, result["exit_code"], result["error_kind"]) == (1, 1, "fault")
    assert b"ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("words", [("put", "--json", "--help"), ("--help", "--json")])
def test_a_help_is_a_help(words: tuple[str, ...]) -> None:
    """A help that is asked for is text on standard output, as without ``--json``."""
    done = fx(*words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == fx(*(word for word in words if word != "--json")).stdout


def test_a_file_of_that_name(tmp_path: Path, service: Service) -> None:
    """Behind ``--`` it is the name of a file."""
    (tmp_path / "--json").write_text("x")
    done = fx("put", "--", "--json", service.address, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupts(number: int, code: int, tmp_path: Path, service: Service) -> None:
    """A signal ends a command with a result, after what became of files before, up and down."""
    words = ("put", "--json", "-", service.address + f"cut{code}")
    with running(*words, stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.write(bytes(8 * CHUNK))  # more than a pipe holds: it is being sent
        process.stdin.flush()
        process.send_signal(number)
        out, said = process.communicate(timeout=SECONDS)
    result = objects(out)[-1]
    assert (process.returncode, result["exit_code"]) == (code, code)
    assert b"Traceback" not in said
    come, done = threading.Event(), threading.Event()

    def script(peer: Raw) -> None:
        welcome(peer)
        take_get(peer, {"": ["folder", 0, 1, 0o755, ""]})
        digest = "md5:8d777f385d3dfec8815d20f7496026dc"
        peer.frame({"kind": "file", "name": "a", "size": 4, "hash": digest})
        peer.send(b"data")
        while (peer.reply() or {}) != {"kind": "received", "count": 1}:
            pass
        peer.frame({"kind": "file", "name": "b", "size": 4, "hash": digest})
        come.set()
        done.wait(SECONDS)

    with scripted(script) as address:
        with running("get", "--json", "-j", "1", address, f"{tmp_path}/") as process:
            assert come.wait(SECONDS)
            process.send_signal(number)
            out, _ = process.communicate(timeout=SECONDS)
        done.set()
    found = objects(out)
    assert (process.returncode, found[-1]["exit_code"]) == (code, code)
    assert [each["name"] for each in of("file", found)] == ["a"]


def test_nobody_reads(tmp_path: Path, service: Service) -> None:
    """Whoever stops reading ends a listing in silence, and holds up no transfer."""
    (tmp_path / "unread").write_text("x")
    read, write = os.pipe()
    os.close(read)
    put = fx("put", "--json", "-q", tmp_path / "unread", service.address, stdout=write)
    missing = fx("put", "--json", "-q", tmp_path / "no", service.address, stdout=write)
    listing = fx("ls", "--json", service.address, stdout=write)
    os.close(write)
    assert (put.returncode, put.stderr) == (0, "")
    assert (service.folder / "unread").exists()
    assert missing.returncode == 3
    assert (listing.returncode, listing.stderr) == (0, "")


@full
def test_no_room_for_the_lines(tmp_path: Path, service: Service) -> None:
    """Lines that cannot be written are a failure of the local disk; the transfer is not."""
    (tmp_path / "full").write_text("x")
    with open("/dev/full", "w", encoding="ascii") as disk:
        put = fx("put", "--json", "-q", tmp_path / "full", service.address, stdout=disk)
        listing = fx("ls", "--json", service.address, stdout=disk)
    for done in (put, listing):
        assert done.returncode == 8
        assert done.stderr == "filexfer: error: standard output: No space left on device\n"
    assert (service.folder / "full").exists()


def test_a_reader_who_waits(tmp_path: Path, service: Service) -> None:
    """Lines that fill a pipe wait for their reader, and are all there and whole in the end.

    A signal while they wait ends the command, and tears none of them.
    """
    (tmp_path / "many").mkdir()
    for number in range(1000):
        (tmp_path / "many" / f"{number:0200}").touch()
    words = ("put", "--json", tmp_path / "many", service.address)
    with running(*words) as process:
        assert process.stdout
        assert os.read(process.stdout.fileno(), 1) == b"{"  # the rest does not fit
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=SECONDS)
    found = objects(b"{" + out)
    assert process.returncode == found[-1]["exit_code"]
    names = [each["name"] for each in of("file", found)]
    assert len(set(names)) == len(names)


# Other commands


def test_servers_and_secrets(tmp_path: Path) -> None:
    """Server, login, remotes and tokens tell what there is, and nowhere a secret."""
    env = environment(XDG_CONFIG_HOME=str(tmp_path / "c"), XDG_STATE_HOME=str(tmp_path / "s"))
    options = {"stdout": subprocess.PIPE, "env": env}
    output = ""
    with Service(tmp_path / "in", "--json", "--secure", "--workers", "1", **options) as service:
        assert service.process.stdout
        ready = one_object(service.process.stdout.readline().decode())
        assert ready["addresses"] == [service.address]
        assert (ready["fingerprint"], ready["tokens"]) == (service.told("fingerprint"), ["default"])
        line = connect_string(service)
        with open(ready["connect_file"], encoding="ascii") as file:
            assert file.read().strip() == line
        (remote, _) = told("login", "nas", input=line, env=env)
        assert (remote["name"], remote["port"]) == ("nas", service.port)
        assert remote["rights"] == ["read", "list", "create"]
        assert told("remotes", env=env)[:-1] == [remote]
        assert [each["name"] for each in told("token", "list", env=env)[:-1]] == ["default"]
        output = json.dumps(
            [ready, remote, told("remotes", env=env), told("token", "list", env=env)]
        )
        (warning, _) = told("ls", line, env=env)
        assert "shell's history" in warning["text"]
        output += json.dumps(warning)
        assert len(told("logout", "nas", env=env)) == 1
        service.process.terminate()
        rest = objects(service.process.stdout.read())
        service.process.stdout.close()
        assert [each["exit_code"] for each in rest] == [0]
        assert service.process.wait(SECONDS) == 0
    assert parse_connect_string(line).token not in output


def test_tokens(tmp_path: Path) -> None:
    """A new token's connect string is told where that was asked for, else in which file it is."""
    env = environment(XDG_STATE_HOME=str(tmp_path))
    words = ("--host", "127.0.0.1", "--port", "17177", "--quota", "1K")
    (ann, _) = told("token", "add", "ann", "--expires", "30d", *words, env=env)
    (box, _) = told("token", "add", "box", "--rights", "create", "--output", "-", *words, env=env)
    assert (ann["connect_string"], ann["quota"], ann["expired"]) == (None, 1024, False)
    with open(ann["connect_file"], encoding="ascii") as file:
        assert file.read().startswith("fx://")
    assert box["connect_string"].startswith("fx://")
    assert (box["connect_file"], box["rights"], box["root"]) == (None, ["create"], "")
    listed = told("token", "list", env=env)[:-1]
    assert [each["connect_string"] for each in listed] == [None, None]
    assert len(told("token", "revoke", "ann", env=env)) == 1


def test_looking_and_measuring(tmp_path: Path, service: Service) -> None:
    """doctor, demo and service tell in objects what they tell people."""
    for words in (("doctor", service.address), ("demo",)):
        found = told(*words)
        assert len(of("check", found)) == len(found) - 1
        assert all(each["ok"] for each in of("check", found))
    wrong = of("check", told("doctor", "fx://127.0.0.1:1/", code=6))[-1]
    assert not wrong["ok"]
    assert wrong["hint"]
    speed = told("doctor", "--speed", "--seconds", "0.01", "-j", "2", "--dir", tmp_path)
    assert {"round_trip", "network_up", "disk_read"} <= {
        each["name"] for each in of("figure", speed)
    }
    assert len(of("verdict", speed)) == 1
    units = of("unit", told("service"))
    assert [each["name"] for each in units] == ["filexfer.service", "filexfer.socket"]
    written = of("unit", told("service", "--output", tmp_path))
    assert [each["path"] for each in written] == [f"{tmp_path}/{each['name']}" for each in units]


def test_phases() -> None:
    """The README names every phase that there is."""
    (line,) = re.findall(r"^\| `phase`.*$", section("Lines of type `progress`"), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == {"phase", *PHASES}


def test_every_command_takes_it() -> None:
    """The option stands in every help."""
    for command in COMMANDS:
        assert "--json" in section(f"filexfer {command}")


def test_nothing_waits_for_an_answer(tmp_path: Path) -> None:
    """Where standard input is no terminal nobody is asked, though nothing ever comes from there."""
    read, write = os.pipe()
    try:
        assert fx("login", "nas", stdin=subprocess.DEVNULL).returncode == 2
        with Service(tmp_path / "in", "--secure", "--workers", "1") as service:
            for command in (["ls"], ["put", "-q", str(tmp_path / "in")], ["doctor"]):
                done = subprocess.run(
                    unreached(*command, service.address),
                    stdin=read,
                    capture_output=True,
                    env=environment(XDG_CONFIG_HOME=str(tmp_path), FILEXFER_TOKEN="x" * 43),
                    timeout=SECONDS,
                    check=False,
                )
                assert done.returncode == 4
                assert b"it is not known yet" in done.stderr + done.stdout
    finally:
        os.close(read)
        os.close(write)


def test_quiet(tmp_path: Path, service: Service) -> None:
    """With ``--quiet`` errors alone are said."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("x")
    secret = service.address.replace("//", "//abcdefghijklmnopqrstuvwxyz@")
    done = fx("put", "-q", f"{tmp_path}/", secret + "quiet/")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = fx("put", "-q", tmp_path / "missing", service.address)
    assert done.stderr == f"filexfer: {tmp_path}/missing: no such file or folder\n"


# The form of a line


@hypothesis.given(st.text(st.characters(exclude_categories=[])), st.binary())
def test_any_text(text: str, data: bytes) -> None:
    """A line is ASCII, and has every text or its bytes, whatever it is."""
    for value in (text, os.fsdecode(data)):
        line = json_form.line("warning", {"name": value, "error_kind": None, "text": ""})
        found = one_object(line.removesuffix("\n"))
        assert line.isascii()
        try:
            wanted = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            wanted = value.encode("utf-8", "surrogatepass")
        assert name_of(found) == wanted


@pytest.mark.parametrize("mtime", [0, -1, 999_999_999, 1_000_000_000, 2**63 - 1, -(2**63)])
@pytest.mark.parametrize("digest", ["", "md5:00"])
def test_any_time(mtime: int, digest: str) -> None:
    """The quick way of writing a file and the other one write the same."""
    quick, slow = (
        one_object(json_form.file_lines([(name, "stored", "file", 5, mtime, digest)]).rstrip())
        for name in ("a", "ä")
    )
    assert quick | {"name": ""} == slow | {"name": ""}
    assert quick["mtime"] == json_form.moment(mtime)
    entry = one_object(json_form.entry_line(Entry("a", "file", 5, mtime)).rstrip())
    assert entry["mtime"] == quick["mtime"]
    assert json_form.moment(1_763_644_164_175_123_456) == "2025-11-20T13:09:24.175123456Z"


def test_plan() -> None:
    """A plan is written for what would be done, and for what would fail."""
    good = one_object(json_form.plan_line("a\udcff", "send", "", 5, "", "").rstrip())
    bad = one_object(json_form.plan_line("a", "fail", "file", 5, "exists", "is there").rstrip())
    assert (name_of(good), good["verdict"], good["file_type"]) == (b"a\xff", "send", None)
    assert (bad["error_kind"], bad["error"]) == ("exists", "is there")
