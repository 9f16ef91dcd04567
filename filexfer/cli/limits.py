"""The options of ``filexfer serve`` that limit what clients may take.

This module must not know how a limit is kept.
"""

from __future__ import annotations

from filexfer import Limits, UsageError
from filexfer.cli.parsing import Further
from filexfer.rates import parse_size
from filexfer.serving.limits import CHANGEABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from filexfer.serving.limits import Limit

_METAVARS = {"bytes": "SIZE", "bytes per second": "RATE", "seconds": "SECONDS", "connections": "N"}


def add(parser: ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("limits (sizes: 500K, 20M, 2G; steps of 1024)")
    for limit in CHANGEABLE:
        if limit.option:
            group.add_argument(
                limit.option,
                dest=limit.name,
                type=parse_size if "bytes" in limit.unit else _number(limit.unit),
                default=limit.default,
                metavar=_METAVARS[limit.unit],
                help=Further(_help(limit)),
            )


def given(arguments: Namespace) -> Limits:
    """Return the limits that the arguments say.

    Raises:
        UsageError: if one makes no sense.

    """
    for limit in CHANGEABLE:
        if limit.option:
            limit.check(getattr(arguments, limit.name), limit.option)
    return Limits(
        **{limit.name: getattr(arguments, limit.name) for limit in CHANGEABLE if limit.option}
    )


def _help(limit: Limit) -> str:
    what = f"connections {limit.text}" if limit.unit == "connections" else limit.text
    return f"{what} (default: {limit.usual})".replace("%", "%%")


def _number(unit: str) -> Callable[[str], float]:
    def number(text: str) -> float:
        try:
            return float(text) if unit == "seconds" else int(text)
        except ValueError:
            raise UsageError(f"{text!r} is no number") from None

    return number
