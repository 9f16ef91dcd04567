"""The watch over skipped tests, in a run of pytest of its own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import skips

HERE = Path(__file__).resolve().parent
TESTS = """
import pytest
@pytest.mark.parametrize("number", [1, 2])
def test_skips(number): pytest.skip("cannot run here")
@pytest.mark.xfail
def test_fails(): assert False
"""
CONFTEST = "import skips\ndef pytest_configure(config): skips.watch(config)\n"


def test_a_run_fails_when_others_are_skipped(tmp_path: Path) -> None:
    """Also when the tests run in several processes."""
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(CONFTEST, encoding="utf-8")
    (tmp_path / "list").write_text("test_some.py::test_skips[1] # expected", encoding="utf-8")
    more = {"PYTHONPATH": str(HERE), skips.VARIABLE: str(tmp_path / "list")}
    plugins = ("no:cacheprovider", "no:hypothesispytest")
    words = ["-q", "-n", "1", *(word for each in plugins for word in ("-p", each))]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        cwd=tmp_path,
        env={**os.environ, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.count("skipped: test_some.py::") == 1
    assert "\nskipped: test_some.py::test_skips[2]\n" in done.stdout


@pytest.mark.parametrize(
    ("may_be", "wrong"),
    [
        ("t.py::both\nt.py::one # why\n\n# nothing", []),
        ("t.py::both[1]\nt.py::one", ["skipped: t.py::both[2]"]),
        ("t.py::both", ["skipped: t.py::one"]),
        ("t.py::both\nt.py::one\nt.py::ran", ["should be skipped and ran: t.py::ran"]),
        ("t.py::both\nt.py::one\nt.py::other", []),  # was left out by an option
    ],
)
def test_only_the_expected_tests_may_be_skipped(may_be: str, wrong: list[str]) -> None:
    """What ran and should not is told as well."""
    watch = skips.Watch(skips.expected(may_be.splitlines()))
    outcomes: dict[str, Literal["passed", "skipped"]] = {
        "t.py::both[1]": "skipped",
        "t.py::both[2]": "skipped",
        "t.py::one": "skipped",
        "t.py::ran": "passed",
    }
    for name, outcome in outcomes.items():
        report = pytest.TestReport(name, ("", 0, ""), {}, outcome, None, "call")
        watch.pytest_runtest_logreport(report)
    assert watch.wrong() == wrong


def test_the_list_names_tests_that_there_are() -> None:
    """None stays in the list that is gone."""
    with open(HERE / "skips.txt", encoding="utf-8") as file:
        names = skips.expected(file)
    for name in names:
        path, _, test = skips.without_parameters(name).removeprefix("? ").partition("::")
        tree = ast.parse((HERE.parent / path).read_text(encoding="utf-8"))
        assert test in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, name
