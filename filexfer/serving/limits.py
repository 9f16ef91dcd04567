"""What a server grants its clients at most, all in one place.

The limits hold over all processes of one server together. They do not hold one user of this
machine against another: what comes over loopback counts as one, so the limits that are for each
address are left out there.

Numbers of which somebody has experience are near to theirs: OpenSSH (its unauthenticated
connections: 120 s each, dropped at random from 10 on, all from 100 on; penalties for addresses
that fail to log in), vsftpd and pyftpdlib (connections in all and for each address), nginx (a time
for the whole of a header, however it trickles).

This module must not know how a limit is kept.
"""

from __future__ import annotations

import math

from filexfer.errors import UsageError
from filexfer.names import DEPTH_MAX, NAME_MAX, PART_MAX
from filexfer.wire.protocol import FRAME_MAX

DRAIN_SECONDS = 30.0
LISTING_PAGE = 500
_MANY = 1_000_000


class Limit:
    """One limit.

    Args:
        name: Of the argument and attribute.
        default: What it is if nobody says otherwise; None for what *usual* says.
        unit: What it is counted in.
        text: What it limits, in a few words.
        usual: The default, where that is no number.
        least: The least value that makes sense.
        most: The largest.
        option: Of ``filexfer serve``, if it has one.

    """

    def __init__(
        self,
        name: str,
        default: float | None,
        unit: str,
        text: str,
        usual: str = "",
        *,
        least: float = 1,
        most: float = _MANY,
        option: str = "",
    ) -> None:
        self.name = name
        self.default = default
        self.unit = unit
        self.text = text
        self.usual = usual or f"{default:,g}"
        self.least = least
        self.most = most
        self.option = option

    def check(self, value: float | None, called: str = "") -> None:
        """Raise UsageError if it cannot be *value*; *called* is its name there, if another."""
        if value is None and self.default is None:
            return
        is_whole = isinstance(self.default, float) or type(value) is int
        if type(value) not in (int, float) or not is_whole or not self._allows(value):
            raise UsageError(
                f"{called or self.name} must be {self.least:,.16g} to {self.most:,.16g} "
                f"{self.unit}, not {value}"
            )

    def _allows(self, value: float | None) -> bool:
        return value is not None and math.isfinite(value) and self.least <= value <= self.most


FIXED = {  # of the protocol; both sides know them
    "header": (FRAME_MAX, "bytes", "one header"),
    "name": (NAME_MAX, "bytes", "one name, with its folders"),
    "part": (PART_MAX, "bytes", "each part of a name"),
    "depth": (DEPTH_MAX, "parts", "one name"),
    "listing_page": (LISTING_PAGE, "entries", "a listing, in one header"),
}
CHANGEABLE = [
    Limit("opening_timeout", 10.0, "seconds", "until a client has said who it is", least=0.01),
    Limit(
        *("idle_timeout", 60.0, "seconds", "that a client may ask nothing, or move nothing"),
        least=0.01,
        option="--idle-timeout",
    ),
    Limit(
        *(
            "least_rate",
            1024,
            "bytes per second",
            "that a transfer keeps, or it is given up",
        ),
        least=0,
        most=1 << 40,
        option="--min-rate",
    ),
    Limit("least_span", 30.0, "seconds", "over which that is measured", least=0.01),
    Limit(
        *("connections", 1024, "connections", "at the same time"),
        most=65_535,
        option="--max-connections",
    ),
    Limit(
        *("per_address", 256, "connections", "from one address; not from this machine's own"),
        option="--max-per-address",
    ),
    Limit("per_token", 32, "connections", "by one token", option="--max-per-token"),
    Limit("unauthenticated", 100, "connections", "that have not said yet who they are"),
    Limit("early_drop", 50, "connections", "of these, above which the oldest is dropped by chance"),
    Limit("unauthenticated_per_address", 10, "connections", "of these, from one address"),
    Limit("penalty", 5.0, "seconds", "that an address is shut out for a wrong token", least=0),
    Limit("penalty_most", 600.0, "seconds", "to which that grows, doubled each time", least=0),
    Limit("backlog", 1024, "connections", "that wait to be accepted", most=65_535),
    Limit(
        *("max_file_size", None, "bytes", "the largest file", "any size"),
        least=0,
        most=2**63 - 1,
        option="--max-file-size",
    ),
    Limit(
        *("min_free", None, "bytes", "to be kept free on the disk", "5 % of it, at most 1 GiB"),
        least=0,
        most=2**63 - 1,
        option="--min-free",
    ),
    Limit("log_lines", 10, "lines per second", "in the log about one address"),
    Limit("drain", DRAIN_SECONDS, "seconds", "for what is under way when the server ends", least=0),
]


class Limits:
    """What a server grants its clients at most.

    Args:
        opening_timeout: Seconds from the connection until the client has said who it is, however
            little by little it does.
        idle_timeout: Seconds without a request, or inside one without any byte that moves.
        least_rate: Bytes per second inside a header or body, below which a client is given up ...
        least_span: ... over so many seconds of waiting for it.
        connections: Connections in all.
        per_address: Connections of one address. One address is an IPv4 address, or 64 bits of an
            IPv6 address; this machine's own are not limited.
        per_token: Connections by one token.
        unauthenticated: Connections that have not said yet who they are; above it the oldest of
            them is dropped.
        early_drop: From so many of them on that happens at random, the more often the more there
            are.
        unauthenticated_per_address: How many of them may be of one address.
        penalty: Seconds in which an address gets no new connection after a wrong token; twice as
            many after each further one ...
        penalty_most: ... but no more than this.
        backlog: Connections that wait to be accepted; the system may have a lower limit.
        max_file_size: Bytes of one file; None for any.
        min_free: Bytes of the disk that are kept free; None for a twentieth of it, 1 GiB at most.
        log_lines: Lines per second in the log about one address; how many were left out is told.
        drain: Seconds for what is under way when the server ends.

    Raises:
        UsageError: if one makes no sense.

    """

    opening_timeout: float
    idle_timeout: float
    least_rate: int
    least_span: float
    connections: int
    per_address: int
    per_token: int
    unauthenticated: int
    early_drop: int
    unauthenticated_per_address: int
    penalty: float
    penalty_most: float
    backlog: int
    max_file_size: int | None
    min_free: int | None
    log_lines: int
    drain: float

    def __init__(self, **given: float | None) -> None:
        for limit in CHANGEABLE:
            value = given.pop(limit.name, limit.default)
            limit.check(value)
            setattr(self, limit.name, value)
        if given:
            raise UsageError(f"there is no limit {', '.join(sorted(given))}")
        self.early_drop = min(self.early_drop, self.unauthenticated)
