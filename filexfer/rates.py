"""Rates, in bytes per second, and sizes as people write them: ``500K``, ``2.5MB``, ``80Mbit``.

K, M, G and T alone count in steps of 1,024, as in rsync, curl and rclone; kB, MB, GB and TB, and
all bits, in steps of 1,000, as everywhere.

This module must not know what is limited, or what is too slow.
"""

from __future__ import annotations

import re

from filexfer.errors import UsageError
from filexfer.names import shown

EXAMPLES = "500K, 2.5M, 10MiB (steps of 1024), 20MB (steps of 1000), 80Mbit"
_RATE = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))? ?([A-Za-z]*)(?:/s)?")
_BITS = {"": 8, "B": 8, "bit": 1}  # of each unit
for _power, _letter in enumerate("KMGT", 1):
    for _each in (_letter, _letter.lower()):
        _BITS[_each] = _BITS[_each + "iB"] = 8 * 1024**_power
        _BITS[_each + "B"] = 8 * 1000**_power  # and no small b, which many take for a bit
        _BITS[_each + "bit"] = 1000**_power


def parse(text: str) -> int:
    """Return how many bytes per second *text* means.

    Raises:
        UsageError: if it means none.

    """
    found = _RATE.fullmatch(text)
    if not found or found[3] not in _BITS:
        raise UsageError(f"'{shown(text)}' is no rate in bytes per second, such as {EXAMPLES}")
    whole, fraction, unit = found[1], found[2] or "", found[3]
    rate: int = int(whole + fraction) * _BITS[unit] // (8 * 10 ** len(fraction))
    return rate


def parse_size(text: str) -> int:
    """Return how many bytes *text* means, without bits and ``/s``.

    Raises:
        UsageError: if it means none.

    """
    try:
        if "bit" not in text and "/" not in text:
            return parse(text)
        raise UsageError(text)
    except UsageError:
        raise UsageError(f"'{shown(text)}' is no size, such as 500K, 20MB or 2G") from None
