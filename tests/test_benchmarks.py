"""The benchmark runs from end to end, in sizes too small to measure anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
from test_cli_process import ROOT, SECONDS, environment

SCRIPT = ROOT / "tests" / "benchmarks" / "compare.py"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
TABLES = [f"{name} {way}" for name in ("big", "small", "tree", "again") for way in ("up", "down")]

pytestmark = pytest.mark.skipif(
    not Path(sys.executable).with_name("filexfer").exists(), reason="filexfer is not installed"
)


def command(*words: object) -> list[str]:
    return [sys.executable, "-W", "error", str(SCRIPT), *map(str, words)]


def compare(*words: object, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark; *changes* are those of its environment."""
    return subprocess.run(
        command(*words),
        env=environment(**changes),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a tree with everything that a tool may forget."""
    folder = tmp_path_factory.mktemp("source") / "tree"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "sub" / 'a "b" [c] 100%').write_bytes(b"text" * 10_000)
    (folder / "nothing").touch()
    (folder / "link").symlink_to("nothing")
    return folder


class Result(NamedTuple):
    """What a run of the benchmark left behind."""

    stdout: str
    figures: dict[str, Any]
    folder: Path


@pytest.fixture(scope="module")
def result(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Run everything once, with a copy of the README."""
    folder = tmp_path_factory.mktemp("result")
    (folder / "scratch").mkdir()
    shutil.copy(ROOT / "README.md", folder)
    sizes = ("--big-mib", 1, "--small-count", 20, "--tree", tree, "--rounds", 1)
    output = ("--json", folder / "figures.json", "--write-readme", "--readme", folder / "README.md")
    run = compare("--tools", "cp,filexfer", "--dir", folder / "scratch", *sizes, *output)
    assert (run.returncode, run.stderr) == (0, "")
    assert os.listdir(folder / "scratch") == []
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    return Result(run.stdout, figures, folder)


def test_table(result: Result) -> None:
    """Every workload has a table for each direction, with a row for each tool."""
    heads = [line.partition(":")[0] for line in result.stdout.splitlines() if line[0] != " "]
    assert heads == TABLES
    for title in ("cp -r", "filexfer"):
        rows = re.findall(rf"^  {title} +\d+\.\d{{3}} .*$", result.stdout, re.MULTILINE)
        assert len(rows) == len(TABLES)
    assert "big up: 1 file, 1.0 MB\n" in result.stdout
    assert "small up: 20 files, " in result.stdout
    assert "tree up: 2 files, " in result.stdout


def test_json(result: Result) -> None:
    """The raw figures are of every run, and nothing was lost on the way."""
    tables = result.figures["tables"]
    assert [f"{each['workload']} {each['direction']}" for each in tables] == TABLES
    for table in tables:
        assert [row["key"] for row in table["rows"]] == ["cp", "filexfer"]
        for row in table["rows"]:
            assert row["note"] == ""
            (run,) = row["runs"]
            assert run["seconds"] > 0
            assert run["memory"] > 0
    assert result.figures["versions"]["filexfer"]
    assert "--tools cp,filexfer" in result.figures["command"]
    assert "--json" not in result.figures["command"]


def test_readme(result: Result) -> None:
    """The figures stand between the marks and nothing else has changed; the plot is shown."""
    text = (result.folder / "README.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    figures, _, after = rest.partition(END)
    assert README.startswith(before + BEGIN)
    assert README.endswith(END + after)
    lines = [line for line in figures.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 2 * len(TABLES)
    assert len({line.count("|") for line in lines}) == 1
    assert f"    {result.figures['command']}\n" in figures
    (plot,) = re.findall(r"!\[.*?\]\((.*?)\)", figures)
    words = [each.text for each in ET.parse(result.folder / plot).iter() if each.text]
    assert words.count("filexfer") == len(TABLES)
    assert "big, upload" in words


def test_from_json(result: Result, tmp_path: Path) -> None:
    """Figures that were kept lead to the same table, README and plot."""
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    words = ("--from-json", result.folder / "figures.json", "--readme", tmp_path / "README.md")
    for _ in range(2):  # and again to the same
        run = compare(*words)
        assert (run.returncode, run.stdout, run.stderr) == (0, result.stdout, "")
        new, old = (
            (folder / "README.md").read_text(encoding="utf-8")
            for folder in (tmp_path, result.folder)
        )
        between = old[old.index(BEGIN) : old.index(END)]
        assert new == f"before\n{between}{END}\nafter\n"
        plot = Path("tests", "benchmarks", "figures.svg")
        assert (tmp_path / plot).read_bytes() == (result.folder / plot).read_bytes()


def small(folder: Path, tree: Path, cp: str) -> str:
    """Run on a tree with another ``cp``, where no other tool is; return what is printed."""
    (folder / "bin").mkdir()
    (folder / "bin" / "cp").write_text(f"#!/bin/sh\n{cp}\n")
    (folder / "bin" / "cp").chmod(0o755)
    words = ("--tools", "cp,rsync", "--workloads", "tree", "--directions", "up", "--rounds", 2)
    run = compare(*words, "--tree", tree, "--dir", folder, PATH=str(folder / "bin"))
    assert (run.returncode, run.stderr) == (0, "")
    assert os.listdir(folder) == ["bin"]
    return run.stdout


def test_tool_that_is_missing(tree: Path, tmp_path: Path) -> None:
    """It is named, and the others are compared."""
    printed = small(tmp_path, tree, f'exec {shutil.which("cp")} "$@"')
    assert printed.startswith("passed over: rsync, daemon (no rsync here)\n")
    assert re.search(r"^  cp -r .* 1\.00 .*\d$", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("after", "remark"),
    [
        (f'{shutil.which("rm")} "$3/tree/link"', "1 missing or different, as link"),
        ('echo no >"$3/tree/nothing"', "1 missing or different, as nothing"),
        ('echo yes >"$3/tree/more"', "1 missing or different, as more"),
        ("echo out of luck >&2; exit 3", "exit code 3: out of luck"),
    ],
)
def test_tool_that_fails(after: str, remark: str, tree: Path, tmp_path: Path) -> None:
    """What it lost, changed or added is noted at its row, and so is how it ended."""
    printed = small(tmp_path, tree, f'{shutil.which("cp")} "$@"\n{after}')
    assert re.search(rf"^  cp -r .*  {re.escape(remark)}$", printed, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tools", "cp,nonsense"], "'nonsense' is none of cp, filexfer, "),
        (["--workloads", ""], "'' is none of big, small, tree, again"),
        (["--directions", "sideways"], "'sideways' is none of up, down"),
        (["--rounds", "0"], "'0' is no positive number"),
        (["--big-mib", "much"], "'much' is no positive number"),
        (["--tree", "/no/such/folder"], "'/no/such/folder' is no folder"),
        (["--write-readme", "--tools", "filexfer"], "--write-readme needs 'cp' among the tools"),
        (["--write-readme", "--readme", str(SCRIPT)], "has no place between"),
        (["--from-json", str(SCRIPT)], "these are no figures of this program"),
        (["nonsense"], "unrecognized arguments: nonsense"),
    ],
)
def test_wrong_options(words: list[str], said: str) -> None:
    """They are told, before anything runs."""
    run = compare(*words)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("usage: compare.py ")
    assert said in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, tree: Path, tmp_path: Path) -> None:
    """It stops its servers and removes its data."""
    what = ("--tools", "cp,filexfer", "--workloads", "tree", "--tree", tree)
    words = command(*what, "--rounds", 10_000, "--dir", tmp_path)
    end = time.monotonic() + SECONDS
    with subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL) as process:
        while not list(tmp_path.glob("*/landing/*")) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(SECONDS) == 128 + number
    assert os.listdir(tmp_path) == []
    assert not running_in(tmp_path)


def running_in(folder: Path) -> list[str]:
    """Return the processes whose working folder is in a folder, on systems that tell."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(path / "cwd").startswith(str(folder)):
                found.append(path.name)
        except OSError:
            continue  # it has ended, or is not ours
    return found


def test_what_the_readme_says() -> None:
    """The command leads to the benchmark, and there is a place for its figures."""
    text = README.partition("## How fast it is\n")[2].partition("\n## ")[0]
    assert f"    .venv/bin/python {SCRIPT.relative_to(ROOT)}\n" in text
    assert text.index(BEGIN) < text.index(END)
