"""``filexfer doctor``: look for what is wrong, or where the time of a transfer goes.

What needs a library is loaded only after it was looked whether that is there.

This module must not know how anything is measured or found out.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager

from filexfer import address
from filexfer.cli import options, output
from filexfer.errors import ExitCode, LocalError, UsageError
from filexfer.measure import health
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator

    from filexfer.cli.json_lines import Lines
    from filexfer.measure.bench import Line
    from filexfer.measure.verdict import Figures
    from filexfer.wire.dial import Door

EPILOG = """\
examples:
  filexfer doctor                            can filexfer work here?
  filexfer doctor fx://127.0.0.1/            and with this server?
  filexfer doctor --speed                    how fast is this machine by itself?
  filexfer doctor --speed fx://127.0.0.1/    where does a transfer's time go?

--speed measures the network from memory to memory, the round trip, the local disk (by files in
DIR that have no name) and the hashes, then names what is slowest. A figure of the network moves
4 GB at most, one of the disk 1 GB and a quarter of the free space. The server's disk is left alone.
Without --speed, the exit code is 0 if all is well, else that of the first thing that is wrong.
"""
SECONDS_MAX = 60.0
_WHAT, _WORD = 14, 7  # columns of what was looked at, and whether it is well
_WIDTH = 31  # of the words before a figure


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "remote",
        nargs="?",
        metavar="REMOTE",
        help="fx://HOST[:PORT]/, HOST: or NAME: (default: none)",
    )
    parser.add_argument("--speed", action="store_true", help="measure, in about 10 seconds")
    speed = parser.add_argument_group("with --speed")
    speed.add_argument("--dir", metavar="DIR", help="measure the disk of this folder (default: .)")
    speed.add_argument(
        "-j", "--jobs", type=int, metavar="N", help="connections for several (default: 4)"
    )
    speed.add_argument(
        "--seconds", type=float, metavar="SECONDS", help="for each figure, about (default: 1)"
    )
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Look or measure, and return the exit code."""
    remote = options.place(arguments.remote) if arguments.remote is not None else None
    for option in ("dir", "jobs", "seconds"):
        if getattr(arguments, option) is not None and not arguments.speed:
            raise UsageError(f"--{option} goes with --speed only")
    if arguments.speed:
        missing = [each for each in health.of_this_machine() if each.code == ExitCode.FAULT]
        return _look(missing, arguments) if missing else _measure(arguments, remote)
    code = _look(health.of_this_machine(), arguments)
    if remote and code != ExitCode.FAULT:
        there = _look(health.of_server(_door(remote, arguments)), arguments)
        code = code or there
    return code


def _door(remote: address.Remote, arguments: Namespace) -> Door:
    from filexfer.wire.dial import Door  # noqa: PLC0415 - see the module's text

    trust = options.trust_for(remote, arguments)
    return Door(remote.host, remote.port, timeout=arguments.timeout, trust=trust)


def _look(findings: Iterable[health.Finding], arguments: Namespace) -> ExitCode:
    code = ExitCode.OK
    for finding in findings:
        if arguments.json:
            arguments.json.check(finding.what, finding.text, finding.mend, is_ok=not finding.code)
        word = "WRONG" if finding.code else "ok"
        output.print_data([f"{finding.what:{_WHAT}}{word:{_WORD}}{finding.text}"])
        if finding.mend:
            output.print_data([f"{'':{_WHAT + _WORD}}{finding.mend}"])
        code = code or finding.code
    return code


# Speed


def _measure(arguments: Namespace, remote: address.Remote | None) -> int:
    from filexfer.measure import bench  # noqa: PLC0415 - see the module's text
    from filexfer.measure.verdict import Figures, bottleneck  # noqa: PLC0415 - as above
    from filexfer.options import JOBS_MAX  # noqa: PLC0415 - as above

    jobs = 4 if arguments.jobs is None else arguments.jobs
    seconds = 1.0 if arguments.seconds is None else arguments.seconds
    if not 1 <= jobs <= JOBS_MAX:
        raise UsageError(f"jobs must be 1 to {JOBS_MAX}, not {jobs}")
    if not 0 < seconds <= SECONDS_MAX:
        raise UsageError(f"--seconds must be above 0, up to {SECONDS_MAX:g}, not {seconds:g}")
    folder = "." if arguments.dir is None else arguments.dir
    room = bench.room(folder)
    figures = Figures(connections=jobs)
    if remote:
        _measure_network(figures, _door(remote, arguments), seconds)
    else:
        figures.network = "network inside this machine"
        with _server_here(jobs) as (host, port):
            here = address.Remote(host, port, "")
            _measure_network(figures, _door(here, arguments), seconds)
    if room:
        _measure_disk(figures, folder, seconds, room)
    else:
        output.say(f"filexfer: too little space is free in {shown(folder)} to measure its disk")
    _measure_hashes(figures, seconds)
    output.print_data([bottleneck(figures)])
    if arguments.json:
        _tell(figures, arguments.json)
    return ExitCode.OK


def _tell(figures: Figures, lines: Lines) -> None:
    """Write all that was measured as objects."""
    from filexfer.measure.verdict import bottleneck  # noqa: PLC0415 - see the module's text

    lines.emit("figure", name="round_trip", connections=None, rate=None, seconds=figures.round_trip)
    rates: list[tuple[str, int | None, float | None]] = [
        ("network_up", 1, figures.up),
        ("network_up", figures.connections, figures.up_many),
        ("network_down", 1, figures.down),
        ("network_down", figures.connections, figures.down_many),
        ("disk_read", None, figures.read),
        ("disk_write", None, figures.write),
        ("disk_write_with_flush", None, figures.flush),
        *((f"hash_{each}", None, rate) for each, rate in figures.hashes.items()),
    ]
    for name, connections, rate in rates:
        if rate is not None:
            lines.emit("figure", name=name, connections=connections, rate=rate, seconds=None)
    lines.emit("verdict", text=bottleneck(figures))


@contextmanager
def _server_here(jobs: int) -> Iterator[tuple[str, int]]:
    """Serve a folder that is removed before anybody comes: nothing is stored in it."""
    from filexfer import Server, workers  # noqa: PLC0415 - see the module's text

    try:
        folder = tempfile.mkdtemp(prefix="filexfer-doctor-")
    except OSError as error:
        raise LocalError(f"cannot make a temporary folder: {error.strerror}") from error
    try:
        server = Server(folder, durability="none")
    finally:
        os.rmdir(folder)
    with workers.beside(server, min(jobs, os.cpu_count() or 1)):
        yield server.host, server.port


def _measure_network(figures: Figures, door: Door, seconds: float) -> None:
    from filexfer.measure.bench import Line  # noqa: PLC0415 - see the module's text

    with Line(door, seconds) as line:
        output.say(f"measuring the {figures.network}, with {door}; its disk is left alone")
        figures.round_trip = line.round_trip
        _print("round trip", f"{line.round_trip * 1000:.2f} ms")
        for right, way in (("create", "up"), ("read", "down")):
            if right not in door.rights:
                text = f"filexfer: without the right to {right}, the way {way} is not measured"
                output.say(text)
                continue
            _measure_way(figures, line, way)


def _measure_way(figures: Figures, line: Line, way: str) -> None:
    measure = line.up if way == "up" else line.down
    one, _ = measure(1)
    setattr(figures, way, one)
    _print_rate(f"network {way}, 1 connection", one)
    if figures.connections > 1:
        many, figures.connections = measure(figures.connections)
        setattr(figures, f"{way}_many", many)
        _print_rate(f"network {way}, {output.count(figures.connections, 'connection')}", many)


def _measure_disk(figures: Figures, folder: str, seconds: float, room: int) -> None:
    from filexfer.measure import bench  # noqa: PLC0415 - see the module's text

    found = bench.disk(folder, seconds, room)
    figures.read, figures.write, figures.flush = found.read, found.write, found.flush
    how = "asked to be dropped from memory before" if found.dropped else "probably from memory"
    _print_rate("disk read", found.read, f"a new file, {how}")
    _print_rate("disk write", found.write, "into the memory of the system")
    _print_rate("disk write with flush", found.flush, "down to the disk")


def _measure_hashes(figures: Figures, seconds: float) -> None:
    from filexfer import hashing  # noqa: PLC0415 - see the module's text
    from filexfer.measure import bench  # noqa: PLC0415 - see the module's text

    for algorithm in hashing.ALGORITHMS:
        rate = bench.hash_speed(algorithm, seconds / len(hashing.ALGORITHMS))
        figures.hashes[algorithm] = rate
        _print_rate(f"hash {algorithm}", rate)


def _print_rate(what: str, rate: float, how: str = "") -> None:
    from filexfer.measure.verdict import speed  # noqa: PLC0415 - see the module's text

    _print(what, speed(rate), how)


def _print(what: str, value: str, how: str = "") -> None:
    number, unit = value.split()
    text = f"{what:{_WIDTH}}{number:>10} {unit:4}"
    output.print_data([f"{text}  ({how})" if how else text.rstrip()])
