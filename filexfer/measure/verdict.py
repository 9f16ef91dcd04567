"""Where the time of a transfer goes: figures that were measured, and the slowest of them in words.

A transfer is as fast as the slowest of what all its bytes go through: the disk that is read, the
hash, the network, the disk that is written.

This module must not know how anything is measured.
"""

from __future__ import annotations

from filexfer.hashing import DEFAULT, STRONG

MORE = 1.3  # times as fast: what several connections must bring to be worth a word
FAR = 0.02  # seconds of a round trip from which on it is what holds one connection back


class Figures:
    """What was measured, rates in bytes per second; None where nothing could be.

    Args:
        round_trip: Seconds between a small request and its answer.
        connections: How many the rates over several are of.
        up: Network, to the server, over one connection.
        up_many: The same over several.
        down: Network, from the server, over one connection.
        down_many: The same over several.
        read: Local disk.
        write: Local disk, into the system's memory.
        flush: Local disk, with flush.
        hashes: By algorithm.
        network: What it is called.

    """

    def __init__(
        self,
        *,
        round_trip: float = 0.0,
        connections: int = 1,
        up: float | None = None,
        up_many: float | None = None,
        down: float | None = None,
        down_many: float | None = None,
        read: float | None = None,
        write: float | None = None,
        flush: float | None = None,
        hashes: dict[str, float] | None = None,
        network: str = "network",
    ) -> None:
        self.round_trip = round_trip
        self.connections = connections
        self.up = up
        self.up_many = up_many
        self.down = down
        self.down_many = down_many
        self.read = read
        self.write = write
        self.flush = flush
        self.hashes = hashes or {}
        self.network = network


def speed(rate: float) -> str:
    """Return a rate for people, always in the same unit."""
    return f"{rate / 1e6:.1f} MB/s"


def bottleneck(figures: Figures) -> str:
    """Return a sentence that names what is slowest, and what can be done about it."""
    candidates = [
        (figures.up, _network, "up"),
        (figures.down, _network, "down"),
        (figures.read, _disk, "up"),
        (figures.flush, _disk, "down"),
        (figures.hashes.get(DEFAULT), _hash, ""),
    ]
    found = [(rate, say, way) for rate, say, way in candidates if rate is not None]
    if not found:
        return "Nothing was measured that could be the bottleneck."
    rate, say, way = min(found, key=lambda each: each[0])
    return say(figures, rate, way)


def _network(figures: Figures, rate: float, way: str) -> str:
    what = f"The {figures.network}"
    text = f"{speed(rate)} {way} over one connection"
    many = figures.up_many if way == "up" else figures.down_many
    if many:
        text += f", {speed(many)} over {figures.connections}"
        if many >= MORE * rate:
            text += f"; use -j {figures.connections}"
            if figures.round_trip >= FAR:
                what = f"The round trip of {figures.round_trip * 1000:.0f} ms"
    return f"{what} is the bottleneck: {text}."


def _disk(figures: Figures, rate: float, way: str) -> str:
    what, network = ("Reading from", figures.up) if way == "up" else ("Writing to", figures.down)
    text = f"{what} the local disk is the bottleneck: {speed(rate)}"
    if network:
        text += f", where the {figures.network} carries {speed(network)} {way}"
    return f"{text}."


def _hash(figures: Figures, rate: float, _: str) -> str:
    text = f"Hashing is the bottleneck: {speed(rate)} by {DEFAULT}"
    better = {each: figures.hashes.get(each, 0.0) for each in STRONG}
    best = max(better, key=lambda each: better[each])
    if better[best] >= MORE * rate:
        text += f", {speed(better[best])} by {best}; use --hash {best}"
    return f"{text}."
