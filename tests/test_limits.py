"""The limits of a server as values: what they can be, and where they are written down."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from test_cli_process import fx
from test_readme import rows, section

from filexfer import Limits, Server, UsageError
from filexfer.serving.limits import CHANGEABLE, FIXED, Limit
from filexfer.wire.connection import LEAST_RATE, LEAST_SPAN

BAD: list[Any] = [float("nan"), float("inf"), True, "5"]
by_name = pytest.mark.parametrize("limit", CHANGEABLE, ids=lambda limit: limit.name)


def test_defaults() -> None:
    """Without arguments each limit is its default; and of a transfer's rate there is one."""
    limits = Limits()
    assert vars(limits) == {limit.name: limit.default for limit in CHANGEABLE}
    assert (limits.least_rate, limits.least_span) == (LEAST_RATE, LEAST_SPAN)


@by_name
def test_what_a_limit_can_be(limit: Limit) -> None:
    """The least and the largest value can be had, and nothing outside them."""
    for value in (limit.least, limit.most):
        fitting = float(value) if isinstance(limit.default, float) else int(value)
        if limit.name == "early_drop":  # is never above the number that it belongs to
            assert Limits(early_drop=fitting).early_drop == min(fitting, 100)
        else:
            assert getattr(Limits(**{limit.name: fitting}), limit.name) == fitting
    for bad in [*BAD, limit.least - 1, limit.most * 2]:
        with pytest.raises(UsageError, match=f"^{limit.name} must be "):
            Limits(**{limit.name: bad})
    if not isinstance(limit.default, float):
        with pytest.raises(UsageError):
            Limits(**{limit.name: limit.least + 0.5})
    if limit.default is not None:
        with pytest.raises(UsageError):
            Limits(**{limit.name: None})


def test_a_limit_that_does_not_exist() -> None:
    """A misspelt limit is no limit, and that is said."""
    with pytest.raises(UsageError, match="there is no limit max_connections"):
        Limits(max_connections=3)


@by_name
def test_every_limit_is_explained(limit: Limit) -> None:
    """The class says of each what it is."""
    assert re.search(rf"^        {limit.name}: ", Limits.__doc__ or "", re.MULTILINE)
    assert limit.name in Limits.__annotations__


def test_the_readme_has_all_limits() -> None:
    """Its table is that of the program, row for row."""
    expected = [
        [name.replace("_", " "), f"{value:,} {unit}", "", text]
        for name, (value, unit, text) in FIXED.items()
    ] + [
        [
            f"`{limit.name}`",
            limit.usual if limit.default is None else f"{limit.usual} {limit.unit}",
            f"`{limit.option}`" if limit.option else "",
            limit.text,
        ]
        for limit in CHANGEABLE
    ]
    assert rows(section("Limits of a server")) == expected
    assert "limits" in inspect.signature(Server).parameters


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--max-connections", "0"), "connections must be 1 to"),
        (("--max-connections", "many"), "'many' is no number"),
        (("--idle-timeout", "0"), "--idle-timeout must be 0.01 to"),
        (("--idle-timeout", "inf"), "--idle-timeout must be 0.01 to"),
        (("--min-free", "80Mbit"), "'80Mbit' is no size"),
        (("--max-file-size=-1",), "'-1' is no size"),
        (("--min-rate", "fast"), "'fast' is no size"),
    ],
)
def test_options_that_make_no_sense(words: tuple[str, ...], said: str) -> None:
    """Such a limit is a mistake of usage, told in a sentence."""
    result = fx("serve", *words)
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
