"""Rates as people write them."""

from __future__ import annotations

import pytest

from filexfer import UsageError
from filexfer.rates import parse


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("500000", 500_000),
        ("500000B", 500_000),
        ("500K", 512_000),
        ("500k", 512_000),
        ("500KiB", 512_000),
        ("500kB", 500_000),
        ("500KB", 500_000),
        ("2.5M", 2_621_440),
        ("10MiB", 10 << 20),
        ("20MB", 20_000_000),
        ("20 MB/s", 20_000_000),
        ("1G", 1 << 30),
        ("1.5GB", 1_500_000_000),
        ("2T", 2 << 40),
        ("0.001TB", 1_000_000_000),
        ("80Mbit", 10_000_000),
        ("80Mbit/s", 10_000_000),
        ("1.5Gbit", 187_500_000),
        ("500kbit", 62_500),
        ("80000bit", 10_000),
        ("0", 0),
        ("0.9", 0),
        ("1.000000001GB", 1_000_000_001),
    ],
)
def test_rates(text: str, rate: int) -> None:
    """A letter alone counts in steps of 1024, with B and for bits in steps of 1000."""
    assert parse(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "fast", "M", "-1M", "+1M", "1e6", "1,5M", ".5M", "1.M", "1 000", "nan", "inf"),
        *("80Mb", "80mb", "80mib", "80Mbps", "80MBit", "80Mibit", "10iB", "10ib", "10P", "10MM"),
        *("10M/h", " 10M", "10M ", "10  M", "1\x1bM", "٣M", "1" * 16, "1." + "0" * 10),
    ],
)
def test_wrong_rates(text: str) -> None:
    """Anything else is refused, with examples; so is Mb, which could be bits or bytes."""
    with pytest.raises(UsageError, match="80Mbit") as caught:
        parse(text)
    assert str(caught.value).isprintable()
