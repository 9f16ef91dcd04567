"""Options that several commands share, and what they become in the library.

Where a library that is missing is to be found out, this can be loaded without it: what needs one
is loaded when it is called.

Each option goes into a group, ``group(parser, SPEED).add_argument(...)``; ``parsing`` lists them in
the order of every help. Those that few users need have ``help=Further("...")``.

This module must not know what the commands do.
"""

from __future__ import annotations

from filexfer.cli.parsing import (
    CONNECTION,
    EXISTS,
    MESSAGES,
    PLAN,
    RECEIPT,
    SAFETY,
    SPEED,
    TRUST,
    Further,
    group,
)
from filexfer.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace, _ArgumentGroup

    from filexfer import Client, Options, Receipt, Report
    from filexfer.address import Remote
    from filexfer.security.trust import Trust

REMOTE = "fx://HOST[:PORT]/PATH, HOST:PATH or NAME:PATH"
_SECONDS_MAX = 1_000_000  # the system counts a wait in milliseconds, with 31 bits


def add_timeout(parser: ArgumentParser) -> _ArgumentGroup:
    """Add how long is waited; return the group, for how else a server is talked to."""
    connection = group(parser, CONNECTION)
    connection.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help=Further("for connecting and any wait for more (default: 60)"),
    )
    return connection


def add_connection(parser: ArgumentParser) -> None:
    """Add how a server is talked to."""
    add_timeout(parser).add_argument(
        "--insecure",
        action="store_true",
        help=Further(
            "talk to another machine without encryption: who is on the way can read and change "
            "the files"
        ),
    )
    add_trust(parser)


def add_retries(parser: ArgumentParser) -> None:
    """Add how often a lost connection is opened again."""
    group(parser, CONNECTION).add_argument(
        "--retries",
        type=int,
        default=3,
        metavar="N",
        help=Further("tries to go on after a lost connection (default: 3)"),
    )


def add_trust(parser: ArgumentParser) -> None:
    """Add how a server is known, and the token that it is shown."""
    trust = group(parser, TRUST)
    trust.add_argument(
        "--token-file", metavar="FILE", help=Further("show the server the token in this file")
    )
    trust.add_argument(
        "--fingerprint",
        metavar="TEXT",
        help=Further("talk only to the server whose certificate has this"),
    )
    trust.add_argument(
        "--ca",
        metavar="FILE",
        help=Further("know the server by these authorities (PEM), or by this machine's: 'system'"),
    )
    trust.add_argument(
        "--accept-new",
        action="store_true",
        help=Further("take the certificate of a new server without asking"),
    )


def add_transfer(parser: ArgumentParser) -> None:
    """Add how files are transferred."""
    add_connection(parser)
    exists = group(parser, EXISTS).add_mutually_exclusive_group()
    for flag, word, text in (
        ("--overwrite", "overwrite", "replace it (default: it fails, the rest goes on)"),
        ("--update", "update", "replace it if ours is newer"),
        ("--skip-existing", "skip", "keep it"),
        ("--keep-both", "keep-both", "store ours beside it, as name~digest"),
    ):
        exists.add_argument(
            flag, action="store_const", const=word, dest="if_exists", default="error", help=text
        )
    _add_safety(group(parser, SAFETY))
    receipt = group(parser, RECEIPT)
    receipt.add_argument(
        "--manifest",
        metavar="FILE",
        help=Further("write each file's digest, size, time and result; -: stdout"),
    )
    receipt.add_argument(
        "--failed",
        metavar="FILE",
        help=Further("write the names of what failed, for --files-from"),
    )
    _add_speed(group(parser, SPEED))
    add_retries(parser)
    add_verbosity(parser).add_argument(
        "--stats",
        action="store_true",
        help=Further("tell at the end where the time went, also with --quiet"),
    )


def add_planning(parser: ArgumentParser) -> None:
    """Add that a transfer is only planned, or first."""
    add = group(parser, PLAN).add_argument
    add(
        "-n",
        "--dry-run",
        action="store_true",
        help="only list what would be done; nothing is written",
    )
    add(
        "--preflight",
        action="store_true",
        help=Further("find that out first, and transfer only if nothing would fail"),
    )


def _add_safety(safety: _ArgumentGroup) -> None:
    from filexfer.hashing import ALGORITHMS, DEFAULT  # noqa: PLC0415 - see the module's text

    safety.add_argument(
        "-c",
        "--checksum",
        action="store_true",
        help="compare existing files by digest, not by size and time",
    )
    safety.add_argument(
        "--hash",
        choices=ALGORITHMS,
        default=DEFAULT,
        metavar="NAME",
        help=Further(
            f"verify by {DEFAULT} (default; finds every damage), sha256 or blake2b (which also "
            "resist somebody who forges files) or md5"
        ),
    )


def _add_speed(speed: _ArgumentGroup) -> None:
    speed.add_argument(
        "-j",
        "--jobs",
        type=_jobs,
        metavar="N",
        help="connections that share the work (default: auto)",
    )
    add_shape(speed, "all connections")
    speed.add_argument("-r", "--recursive", action="store_true", help=_hidden())


def add_shape(speed: _ArgumentGroup, among: str) -> None:
    """Add how fast and in which way is sent; the limit is shared *among* what it says."""
    speed.add_argument(
        "--bwlimit",
        type=_rate,
        metavar="RATE",
        help="at most so many bytes per second each way, over " + among + " together, as 500K, "
        "20MB or 80Mbit",
    )
    speed.add_argument(
        "--congestion",
        metavar="NAME",
        help=Further("send by this TCP congestion control, on Linux"),
    )


def add_durability(parser: ArgumentParser) -> None:
    """Add what a confirmation promises."""
    from filexfer.options import DURABILITIES  # noqa: PLC0415 - see the module's text

    group(parser, SAFETY).add_argument(
        "--durability",
        choices=DURABILITIES,
        default="batch",
        metavar="LEVEL",
        help=Further(
            "what survives a power cut: batch (default): all files that are reported as done; "
            "file: the same, flushed one by one; none: what the system has written"
        ),
    )


def add_verbosity(parser: ArgumentParser) -> _ArgumentGroup:
    """Add how much is said; return the group, for what else is said."""
    messages = group(parser, MESSAGES)
    either = messages.add_mutually_exclusive_group()
    either.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    either.add_argument("-v", "--verbose", action="store_true", help="name every file")
    return messages


def place(text: str) -> Remote:
    """Return the remote place that the user wrote; a connect string is warned about.

    Raises:
        FilexferError: if it is none, or what is stored cannot be read.

    """
    from filexfer import address  # noqa: PLC0415 - see the module's text

    is_plain = text.startswith(address.SCHEME) and "@" not in text and "#" not in text
    if is_plain or not address.is_remote(text):
        return address.parse(text)
    from filexfer.security import stored  # noqa: PLC0415 - only for a NAME, and what looks like one

    return stored.resolve(text)


def client_for(remote: Remote, arguments: Namespace) -> Client:
    """Return a client for the server of *remote*."""
    from filexfer import Client  # noqa: PLC0415 - see the module's text

    return Client(
        remote.host,
        remote.port,
        timeout=arguments.timeout,
        trust=trust_for(remote, arguments),
        bwlimit=getattr(arguments, "bwlimit", None),
        congestion=getattr(arguments, "congestion", None),
        retries=getattr(arguments, "retries", 3),
    )


def trust_for(remote: Remote, arguments: Namespace) -> Trust | None:
    """Return how the server of *remote* is known; None if there is nothing to say about it."""
    from os import environ  # noqa: PLC0415 - loaded by Python itself

    from filexfer import address  # noqa: PLC0415 - see the module's text

    is_plain = type(remote) is address.Remote and not (
        arguments.insecure
        or arguments.token_file
        or arguments.fingerprint
        or arguments.ca
        or arguments.accept_new
        or "FILEXFER_TOKEN" in environ
        or "FILEXFER_TOKEN_FILE" in environ
    )
    if is_plain and remote.host in ("127.0.0.1", "::1", "localhost"):
        return None
    from filexfer.cli.trusting import trust  # noqa: PLC0415 - not for a server on this machine

    return trust(remote, arguments)


def receipt_for(arguments: Namespace, report: Report) -> Receipt | None:
    """Return what writes the receipt, if one was asked for; to be called before the transfer.

    Raises:
        UsageError: if it would be mixed with other output.
        LocalError: if nothing can be written there.

    """
    given = (getattr(arguments, name, None) for name in ("manifest", "failed"))
    if all(path is None for path in given):
        return None
    from filexfer.cli.receipts import begun  # noqa: PLC0415 - only for who asked for it

    return begun(arguments, report)


def options_from(arguments: Namespace) -> Options:
    """Return how files are transferred."""
    from filexfer import Options  # noqa: PLC0415 - see the module's text

    chosen = mirror = None
    if hasattr(arguments, "rules"):  # there are options at all
        from filexfer.cli import choosing  # noqa: PLC0415 - loaded by now

        chosen, mirror = choosing.filter_from(arguments), choosing.mirror_from(arguments)
    return Options(
        if_exists=arguments.if_exists,
        checksum=arguments.checksum,
        algorithm=arguments.hash,
        durability=getattr(arguments, "durability", "batch"),
        jobs=arguments.jobs,
        retries=arguments.retries,
        stats=arguments.stats,
        dry_run=getattr(arguments, "dry_run", False),
        preflight=getattr(arguments, "preflight", False),
        expect=getattr(arguments, "expect", "").lower(),
        filter=chosen,
        mirror=mirror,
    )


def refuse_for_streams(choices: Options) -> None:
    """Refuse what makes no sense for standard input or output.

    Raises:
        UsageError: if something was given.

    """
    if choices.filter or choices.mirror:
        raise UsageError("nothing can be chosen or deleted where - stands for a file")


def _jobs(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{text!r} is neither a number nor 'auto'") from None


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= _SECONDS_MAX:
        raise UsageError(f"{text!r} is no number of seconds above 0, up to {_SECONDS_MAX}")
    return value


def _rate(text: str) -> int:
    from filexfer.rates import parse  # noqa: PLC0415 - seldom needed

    return parse(text)


def _hidden() -> str:
    from argparse import SUPPRESS  # noqa: PLC0415 - loaded by now

    return SUPPRESS  # folders are always taken whole; the flag is a habit from other programs
