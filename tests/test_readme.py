"""What the README says is true: its commands, tables, examples and helps."""

from __future__ import annotations

import json
import logging
import re
import shlex
import subprocess
import sys
import tomllib
from inspect import signature
from typing import TYPE_CHECKING

import pytest
from test_cli_process import ROOT, SECONDS, SUMMARY, Service, environment, fx

import filexfer
from filexfer import Client, FilexferError, Server, names
from filexfer.address import DEFAULT_PORT
from filexfer.cli import COMMANDS, parser_of
from filexfer.cli.json_form import ERROR_KINDS
from filexfer.cli.settings import Settings
from filexfer.cli.settings import variables as settings_variables
from filexfer.hashing import ALGORITHMS
from filexfer.rates import parse
from filexfer.serving.logs import Json, Text
from filexfer.serving.transfers import Batch
from filexfer.wire.budget import LEAST
from filexfer.wire.connection import LEAST_RATE

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text(encoding="utf-8")
INSTALL = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/filexfer demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest"


def section(title: str) -> str:
    """Return the text under a heading."""
    found = re.search(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", README, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[1]


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """Return the cells of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def shell(command: str, folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    """Run a line of the README, with this program and another server in the place of its own."""
    program = f"{shlex.quote(sys.executable)} -m filexfer"
    command = re.sub(r"\bfilexfer(?= )", lambda _: program, command)
    command = re.sub(r"fx://(127\.0\.0\.1|HOST)/", address, command)
    return subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Make the files that the README speaks of."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_text("one")
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "letter.txt").write_text("letter")
    return tmp_path


def test_first_commands() -> None:
    """How to install and how to test stand there word for word; the extra they name exists."""
    indented = re.findall(r"^ {4}(.*)$", section("Try it"), re.MULTILINE)
    assert indented == [INSTALL, TEST]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "test" in project["optional-dependencies"]
    assert project["scripts"]["filexfer"] == "filexfer.cli:console"
    needed = re.search(r"needs Python (\S+) or newer", section("Try it"))
    assert needed
    assert project["requires-python"] == f">={needed[1]}"


def test_five_minutes(work: Path) -> None:
    """The tour runs as it is written, and the server prints what it shows."""
    tour = section("Five minutes")
    (shown,), (commands,) = blocks(tour, "console"), blocks(tour, "sh")
    first, *said = shown.splitlines()
    words = first.removeprefix("$ filexfer serve inbox ").split()
    with Service(work / "inbox", *words) as service:
        printed = "\n".join(service.said)
        for command in commands.splitlines():
            result = shell(command, work, service.address)
            assert result.returncode == 0, (command, result.stderr)
            if "again" in command:
                assert result.stderr.startswith("0 files, 0 B in ")
            if "| tar t" in command:
                assert result.stdout.split() == ["photos/", "photos/1.jpg"]
    printed = printed.replace(str(work), "/home/you").replace(str(service.port), str(DEFAULT_PORT))
    assert printed.splitlines() == said
    assert (work / "backup" / "photos" / "1.jpg").read_text() == "one"
    assert (work / "inbox" / "2026" / "spring").is_dir()
    assert (work / "inbox" / "letter.txt").exists()
    (example,) = re.findall(r"one line, such as `(.*?)`", tour)
    assert SUMMARY.fullmatch(example)


LANDINGS = rows(section("What lands where"))


@pytest.mark.parametrize(("command", "expected"), LANDINGS, ids=[row[0] for row in LANDINGS])
def test_what_lands_where(command: str, expected: str, work: Path) -> None:
    """Every row of the table is so, both ways."""
    (work / "in" / "album").mkdir(parents=True)
    with Service(work / "in", "--workers", "1", "--durability", "none") as service:
        assert shell(f"filexfer {command.strip('`')}", work, service.address).returncode == 0
        assert files_in(work / "in") == sorted(re.findall(r"`(.*?)`", expected))
        (work / "here" / "album").mkdir(parents=True)
        assert fx("put", f"{work}/photos", f"{work}/a.txt", service.address).returncode == 0
        *sources, destination = shlex.split(command.strip("`"))[1:]
        remotes = [service.address + source for source in sources]
        local = destination.removeprefix("fx://HOST/") or "./"
        assert fx("get", *remotes, local, cwd=work / "here").returncode == 0
    assert files_in(work / "here") == sorted(re.findall(r"`(.*?)`", expected))


def files_in(folder: Path) -> list[str]:
    """Return the names of the files below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_if_a_file_exists() -> None:
    """The table names the options of the help, all of them and no others."""
    named = {option for row in rows(section("If a file exists")) for option in row[:1]}
    in_help = fx("help", "put").stdout.partition("if a file exists")[2].partition("\n\n")[0]
    assert named - {"(none)"} == {
        f"`{each}`" for each in re.findall(r"^  (--\S+)", in_help, re.MULTILINE)
    }


def test_choosing_files(work: Path) -> None:
    """The examples run as they are written, and every option of the kind is told of."""
    text = section("Choosing files")
    for name in ("main.c", "main.o", "build/out", "tmp/x"):
        (work / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (work / "project" / name).write_text(name)
    (work / "project" / ".gitignore").write_text("tmp\n")
    (commands,) = blocks(text, "sh")
    with Service(work / "in", "--workers", "1", "--allow", "overwrite,delete") as service:
        for command in commands.splitlines():
            result = shell(command, work, service.address)
            assert result.returncode == 0, (command, result.stderr)
            if "exclude" in command:
                assert files_in(work / "in") == [
                    "project/.gitignore",
                    "project/main.c",
                    "project/tmp/x",
                ]
                (work / "in" / "photos").mkdir()
                (work / "in" / "photos" / "gone.jpg").write_text("gone")
    assert "photos/1.jpg" in files_in(work / "in")
    assert "photos/gone.jpg" not in files_in(work / "in")
    assert "project/build/out" in files_in(work / "in")
    in_help = fx("help", "put").stdout
    group = in_help.partition("what:")[2].partition("if a file exists")[0]
    for option in re.findall(r"^  .*?(--\S+)", group, re.MULTILINE):
        assert f"`{option}" in text or option == "--null"


def test_promises() -> None:
    """The hashes, levels of durability and limits are those of the program."""
    text = section("What is promised")
    for algorithm in ALGORITHMS:
        assert f"`{algorithm}`" in text or f"--hash {algorithm}`" in text
    assert "`--durability batch`, the default" in text
    limits = (f"{names.NAME_MAX:,}", str(names.PART_MAX), str(names.DEPTH_MAX))
    expected = "a name on the wire has at most {} bytes, each part of it {}, and {} parts"
    assert expected.format(*limits) in text
    assert f"No part begins with `{names.RESERVED}`" in text


def test_sharing_the_line() -> None:
    """The rates are rates, the least is the least, and the library takes both."""
    text = section("Sharing the line")
    (line,) = re.findall(r"^RATE.*$", text, re.MULTILINE)
    given = {each: parse(each) for each in re.findall(r"`(\S+?)`", line)}
    assert list(given.values()) == [512_000, 2_621_440, 20_000_000, 10_000_000, 500]
    for unit in re.findall(r"\b(?:[kKMGT](?:i?B|bit)?)\b", line):
        assert parse("1" + unit)
    assert parse("2K") == LEAST
    assert f"less than {LEAST_RATE:,} bytes" in text
    for made in (Client, Server):
        assert {"bwlimit", "congestion"} <= set(signature(made).parameters)


def test_exit_codes() -> None:
    """Every exit code is in the table, and in the help, and no other."""
    table = {int(code): kind for code, kind, _ in rows(section("Exit codes"))}
    assert table == {
        int(code): f"`{kind}`" if kind else "null" for code, kind in ERROR_KINDS.items()
    }
    in_help = fx("--help").stdout.partition("exit codes:")[2]
    assert {
        int(code) for code in re.findall(r"(?:^|  |, )(\d+) [a-z]", in_help, re.MULTILINE)
    } == set(table)


def test_library(work: Path) -> None:
    """The example of the library runs, and does what it seems to do."""
    (example,) = blocks(section("The library"), "python")
    (work / "inbox").mkdir()
    script = work / "example.py"
    script.write_text(example, encoding="utf-8")
    result = subprocess.run(
        [sys.executable, script],
        cwd=work,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    lines = result.stdout.splitlines()
    assert "3 bytes so far" in lines
    assert "1 3 0 0" in lines
    assert any(re.fullmatch(r"file photos/1\.jpg 3 \d+", line) for line in lines)
    assert lines[-1] == "cannot connect to 127.0.0.1 port 1: Connection refused 6"
    assert (work / "backup" / "photos" / "1.jpg").read_text() == "one"
    assert files_in(work / "inbox") == []
    assert (work / "inbox" / "2027").is_dir()


def test_errors_of_the_library() -> None:
    """Every public error is named, and every name that looks like an error is public."""
    text = section("The library")
    public = {
        name
        for name in filexfer.__all__
        if isinstance(getattr(filexfer, name), type)
        and issubclass(getattr(filexfer, name), FilexferError)
    }
    named = set(re.findall(r"`(\w+(?:Error|Lost|Out))s?`", text)) | {"FilexferError"}
    assert named == public


def test_commands_of_a_service(tmp_path: Path) -> None:
    """The first command writes what the second one names."""
    (commands,) = blocks(section("As a service"), "sh")
    first, second = commands.splitlines()
    result = shell(first.replace("/etc/systemd/system", str(tmp_path)), tmp_path, "")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / second.split()[-1]).exists()
    assert "User=you\n" in (tmp_path / second.split()[-1]).read_text()


def test_fields_of_the_log() -> None:
    """The table has every field that a transfer in JSON can have, in its order."""
    batch = Batch("127.0.0.1:5", "", "put")
    batch.entries = [("name", 0, "", "failed", 0.0, "no space")]
    record = logging.LogRecord("", logging.INFO, "", 0, batch, (), None)
    written = json.loads(Json().format(record))
    assert [row[0].strip("`") for row in rows(section("As a service"))] == list(written)
    (example,) = blocks(section("As a service"), "text")
    digits = re.compile(r"\d")
    batch = Batch("192.0.2.7:44414", "laptop", "put")
    digest = "xxh3_128:23502a22a59ceee0fee646638410c420"
    batch.entries = [("photos/1.jpg", 7000, digest, "stored", 0.008, "")]
    record = logging.LogRecord("", logging.INFO, "", 0, batch, (), None)
    assert digits.sub("0", Text().format(record)) + "\n" == digits.sub("0", example)


def test_configuration(tmp_path: Path) -> None:
    """The file that is shown is taken as it is, and so are the variables."""
    (file,), (variables,) = (blocks(section("Configuration"), each) for each in ("toml", "sh"))
    path = tmp_path / "config.toml"
    path.write_text(file)
    path.chmod(0o600)
    for words in (["put", "file", "nas:"], ["get", "nas:x", "."], ["token", "add", "ann"]):
        table = tomllib.loads(file)[words[0]]
        flags = [
            f"--{key}" if value is True else f"--{key}={value}"
            for key, value in table.get("add", table).items()
        ]
        settings = Settings(parser_of(words[0]), words[0], COMMANDS, str(path))
        expected = parser_of(words[0]).parse_args([*words[1:], *flags])
        assert settings.parse(words[1:]) == expected
    known = {name for each in COMMANDS for name in settings_variables(parser_of(each), each)}
    named = re.findall(r"FILEXFER_[A-Z_]+[A-Z]", section("Configuration"))
    assert {*named} - {"FILEXFER_CONFIG", "FILEXFER_TOKEN", "FILEXFER_TOKEN_FILE"} <= known
    assert "FILEXFER_PUT_JOBS=4" in variables


@pytest.mark.parametrize("file", ["README.md", ".github/SECURITY.md"])
def test_promises_name_their_tests(file: str) -> None:
    """Every test that proves a promise is there under its name."""
    text = (ROOT / file).read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", text)
    assert len(named) > 10
    for module, test in named:
        source = (ROOT / "tests" / module).read_text(encoding="utf-8")
        assert re.search(rf"^def {test}\(", source, re.MULTILINE), f"{module}::{test}"


def test_dependencies() -> None:
    """The table has every package that is installed with this one; the tests' are named."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def packages(lines: list[str]) -> set[str]:
        return {re.split(r"[<>=~]", line)[0] for line in lines}

    text = section("Dependencies")
    assert {row[0] for row in rows(text)} == packages(project["dependencies"])
    for name in packages(project["optional-dependencies"]["test"]):
        assert name in text.partition("The tests need")[2]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help(command: str) -> None:
    """The whole help of every command stands there word for word."""
    (text,) = blocks(section(f"filexfer {command}".rstrip()), "text")
    printed = fx("help", *command.split()).stdout
    if sys.version_info >= (3, 13):  # lays out the same words in another way
        text, printed = (" ".join(each.split()) for each in (text, printed))
        text = text.replace("-j N, --jobs N", "-j, --jobs N")
    assert text == printed


def test_all_commands_are_there() -> None:
    """No command is described that does not exist."""
    assert re.findall(r"^### filexfer (\w+)$", README, re.MULTILINE) == sorted(
        COMMANDS, key=lambda name: README.index(f"### filexfer {name}\n")
    )


def test_links_lead_somewhere() -> None:
    """Every link leads to a file or folder of this repository."""
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    if not (ROOT / ".github").exists():  # a source package has the program and its tests only
        links = [link for link in links if not link.startswith(".github/")]
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="this is no checkout")
def test_continuous_integration_runs_what_is_said_here() -> None:
    """The checks run the README's command for testing, word for word."""
    assert TEST in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
