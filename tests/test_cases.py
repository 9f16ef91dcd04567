"""Tests of the catalogue: every case has a test or a reason, and every number used is a case."""

from __future__ import annotations

import ast
import os

import cases

HERE = os.path.dirname(os.path.abspath(__file__))


def _bound() -> dict[str, list[str]]:
    """Return the tests that are bound to each number, read from their sources."""
    bound: dict[str, list[str]] = {}
    for file in sorted(os.listdir(HERE)):
        if not (file.startswith("test_") and file.endswith(".py")):
            continue
        with open(os.path.join(HERE, file), encoding="utf-8") as source:
            tree = ast.parse(source.read())
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "pytest.mark.case":
                continue
            for argument in node.args:
                assert isinstance(argument, ast.Constant), f"{file}: a number is written out"
                bound.setdefault(str(argument.value), []).append(f"{file}:{node.lineno}")
    return bound


def test_every_case_has_a_test_or_a_reason() -> None:
    """A case that nothing checks is listed with the reason."""
    missing = set(cases.CASES) - set(_bound()) - set(cases.UNTESTED)
    assert not missing, sorted(missing)


def test_no_test_names_a_case_that_is_not_in_the_catalogue() -> None:
    """A number at a test is one of the catalogue's."""
    unknown = {number: places for number, places in _bound().items() if number not in cases.CASES}
    assert not unknown


def test_a_reason_is_given_only_for_what_is_not_tested() -> None:
    """Nothing stands under the untested that has a test, or is no case."""
    assert not set(cases.UNTESTED) & set(_bound())
    assert set(cases.UNTESTED) <= set(cases.CASES)
