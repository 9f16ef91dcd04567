"""``filexfer serve``: offer a folder to clients.

This module must not know how connections are served.
"""

from __future__ import annotations

import logging
import os
import sys

from filexfer import Server, UsageError, workers
from filexfer.address import DEFAULT_PORT
from filexfer.cli import announce, connect, limits, options
from filexfer.cli.parsing import SPEED, Further, group
from filexfer.names import shown
from filexfer.security.connect_string import format_connect_string
from filexfer.serving import logs
from filexfer.serving.activation import inherited_listener
from filexfer.serving.listening import others_reach
from filexfer.serving.loglimit import LogLimit
from filexfer.serving.notify import Notifier
from filexfer.serving.roots import check_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from argparse import ArgumentParser, Namespace, _ArgumentGroup
    from contextlib import AbstractContextManager

    from filexfer import Limits
    from filexfer.security.certificate import Identity
    from filexfer.security.tokens import Store

EPILOG = f"""\
examples:
  filexfer serve                         this folder, on 127.0.0.1 port {DEFAULT_PORT}
  filexfer serve inbox --port 0          another folder, on any free port
  filexfer serve --read-only             nobody can write
  filexfer serve --allow overwrite,delete
  filexfer serve --host 0.0.0.0          for other machines, encrypted

Every user of this machine has the rights that are printed at the start. Ctrl-C or SIGTERM ends
it after the transfers under way (at most 30 s); a second one at once.

Other machines need a token. If there is none, one with the rights given here is made, and its
connect string, which 'filexfer login' takes there, is shown once: on a terminal, else in a file
that is named. 'filexfer token' makes more. --read-only holds for every token.
"""
FURTHER = """\
For other machines it talks TLS, with a certificate of its own that it makes at first use, and
that clients know by its fingerprint. The key is in $XDG_STATE_HOME/filexfer/server.pem (without
that variable, in ~/.local/state/filexfer), for its owner alone.
"""
WORKERS_MAX = 256
_FIRST = "default"  # the name of the token that is made if there is none


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "folder", nargs="?", default=".", metavar="DIR", help="what to offer (default: .)"
    )
    where = parser.add_argument_group("where")
    where.add_argument("--host", default="127.0.0.1", help="listen here (default: 127.0.0.1)")
    where.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help=f"TCP port; 0 takes a free one (default: {DEFAULT_PORT})",
    )
    where.add_argument(
        "--insecure",
        action="store_true",
        help="serve other machines without encryption: everybody who can reach the address "
        "has the rights given here",
    )
    _add_identity(where)
    rights = parser.add_argument_group("rights (by default: read, list, create)")
    rights.add_argument(
        "--tokens",
        metavar="FILE",
        help=Further(
            "let in who has a token of this file, on this machine too (default: elsewhere, of the "
            "file that 'filexfer token' uses)"
        ),
    )
    rights.add_argument("--read-only", action="store_true", help="do not let clients create")
    rights.add_argument(
        "--allow",
        default="",
        metavar="RIGHT,...",
        help="let clients do more: overwrite, delete",
    )
    speed = group(parser, SPEED)
    speed.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help=Further("processes (default: one per core)"),
    )
    options.add_shape(speed, "all clients")
    limits.add(parser)
    options.add_durability(parser)
    _add_messages(parser)


def _add_identity(where: _ArgumentGroup) -> None:
    where.add_argument(
        "--secure",
        action="store_true",
        help=Further("talk TLS on this machine too (default: elsewhere)"),
    )
    where.add_argument(
        "--cert",
        metavar="FILE",
        help=Further(
            "show this certificate, PEM, with those of the authorities above it (default: one of "
            "its own)"
        ),
    )
    where.add_argument(
        "--key",
        metavar="FILE",
        help=Further("the certificate's key, PEM (default: in the same file)"),
    )


def _add_messages(parser: ArgumentParser) -> None:
    messages = options.add_verbosity(parser)
    messages.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help=Further("write messages as lines of text (default) or as a JSON object a line"),
    )
    messages.add_argument(
        "--access-log",
        metavar="FILE",
        help=Further(
            "add a line to FILE for each file that is put or got (with -v alone: among the "
            "messages); SIGHUP opens it anew, after it was renamed"
        ),
    )


def run(arguments: Namespace) -> int:
    """Serve until told to stop, and return the exit code."""
    _check(arguments)
    bounds = limits.given(arguments)
    level = logging.INFO if arguments.verbose else logging.WARNING
    logs.set_up(logging.ERROR if arguments.quiet else level, arguments.log_format, _stderr())
    LogLimit.install(max(1, bounds.log_lines // arguments.workers))
    workers.raise_file_limit()
    notifier = Notifier.from_environment()
    listener = inherited_listener()
    host = str(listener.getsockname()[0]) if listener else arguments.host
    identity = _identity(arguments, host)
    store, secret = _tokens(arguments, identity)
    try:
        server = _server(arguments, bounds, listener, identity, store)
        line, path = _connect_string(server, identity, secret, is_quiet=arguments.quiet)
    except BaseException:
        if store and secret:
            store.revoke(_FIRST)  # nobody has it
        raise
    _reload_on_request(server, arguments, identity, store)
    with _noted(server, arguments, identity, store):
        hangup = workers.hold_signals()  # who reads the address may send one at once
        names = [each.name for each in store.read() or []] if store else None
        if arguments.json:
            announce.as_object(server, identity, names, path, arguments.json)
        if arguments.log_format == "json" and not arguments.quiet:
            logs.say(f"serving {shown(server.folder.path)} at {server.address}")
        elif not arguments.quiet:
            fingerprint = identity.fingerprint if identity else ""
            if names is not None:
                announce.to_bearers(server, fingerprint, names, line)
            else:
                announce.to_anybody(server, fingerprint)
        return workers.serve(server, arguments.workers, notifier, hangup)


def _stderr() -> int:
    """Return the descriptor of standard error, or of nothing if it is closed or replaced."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return os.open(os.devnull, os.O_WRONLY)


def _check(arguments: Namespace) -> None:
    if not 1 <= arguments.workers <= WORKERS_MAX:
        raise UsageError(f"--workers must be 1 to {WORKERS_MAX}, not {arguments.workers}")
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port must be 0 to 65535, not {arguments.port}")
    if set(_allowed(arguments)) - {"overwrite", "delete"}:
        raise UsageError("--allow takes overwrite and delete, with a comma between")


def _allowed(arguments: Namespace) -> list[str]:
    return [word for word in arguments.allow.split(",") if word]


def _server(
    arguments: Namespace,
    bounds: Limits,
    listener: socket.socket | None,
    identity: Identity | None,
    store: Store | None,
) -> Server:
    server = Server(
        arguments.folder,
        arguments.host,
        arguments.port,
        listener=listener,
        allow=_allowed(arguments),
        read_only=arguments.read_only,
        durability=arguments.durability,
        tls=identity.context if identity else None,
        tokens=store.path if store else None,
        insecure=arguments.insecure,
        bwlimit=arguments.bwlimit,
        congestion=arguments.congestion,
        limits=bounds,
    )
    private = [arguments.cert, arguments.key, arguments.access_log]
    private.append(os.environ.get("FILEXFER_CONFIG") or None)  # it can switch encryption off
    files = [path for path in private if path is not None]
    for path in check_root(server.folder, files, is_for_everybody=not (identity or store)):
        logs.logger.warning(
            "%s would lie in the folder that is served: log in to no server as this user while "
            "this one runs, or its clients can read the token",
            shown(path),
        )
    return server


def _reload_on_request(
    server: Server, arguments: Namespace, identity: Identity | None, store: Store | None
) -> None:
    """Let the server read again what may change while it runs."""
    if store:
        server.on_reload(store.read)  # they are read live; this tells whether they can be
    if identity:
        from filexfer.security import certificate  # noqa: PLC0415 - brings TLS, which costs 11 ms

        def show_again() -> None:
            server.show_certificate(certificate.load(arguments.cert, arguments.key).context)

        server.on_reload(show_again)
    if arguments.access_log is not None:
        server.on_reload(logs.transfers_to(arguments.access_log, arguments.log_format).reopen)


def _identity(arguments: Namespace, host: str) -> Identity | None:
    """Return what clients know the server by; None to talk in the clear."""
    wanted = arguments.secure or arguments.cert is not None or arguments.key is not None
    if arguments.insecure and wanted:
        raise UsageError("--insecure means no encryption; leave out --secure, --cert and --key")
    if arguments.insecure or not (wanted or others_reach(host)):
        return None
    from filexfer.security import certificate  # noqa: PLC0415 - brings TLS, which costs 11 ms

    return certificate.load(arguments.cert, arguments.key)


def _tokens(arguments: Namespace, identity: Identity | None) -> tuple[Store | None, str]:
    """Return the tokens by which clients are let in, and the first one if it was made now.

    None lets in everybody: on this machine, or with ``--insecure``.
    """
    if arguments.insecure and arguments.tokens is not None:
        raise UsageError("--insecure lets everybody in; leave out --tokens")
    if arguments.tokens is None and identity is None:
        return None, ""
    from filexfer.security.tokens import Store  # noqa: PLC0415 - only for who serves others

    store = Store(arguments.tokens)
    usual = ["read", "list", *([] if arguments.read_only else ["create"])]
    return store, store.add(_FIRST, [*usual, *_allowed(arguments)], only_first=True)


def _noted(
    server: Server, arguments: Namespace, identity: Identity | None, store: Store | None
) -> AbstractContextManager[None]:
    """Let 'filexfer token add' find the server, as long as it runs."""
    if store is None:
        from contextlib import nullcontext  # noqa: PLC0415 - loaded by now

        return nullcontext()
    from filexfer.security import running  # noqa: PLC0415 - only for who serves others

    cert, key = arguments.cert, arguments.key
    if identity and cert is None:
        from filexfer.security import certificate  # noqa: PLC0415 - loaded by now

        cert = certificate.own_path()
    note = running.Note(server.host, server.port, tls=bool(identity), cert=cert, key=key)
    return running.noted(store.path, note)


def _connect_string(
    server: Server, identity: Identity | None, secret: str, *, is_quiet: bool
) -> tuple[str, str]:
    """Return the first token's connect string for a terminal, or where it is kept, or nothing.

    And the file it is kept in, if it is.
    """
    if not secret:
        return "", ""
    fingerprint = identity.fingerprint if identity else ""
    host = connect.seen_from_outside(server.host)
    line = format_connect_string(secret, host, server.port, fingerprint)
    if sys.stderr and sys.stderr.isatty() and not is_quiet:
        return line, ""
    path = connect.keep(line, _FIRST)
    return f"in {shown(path)}, for nobody else to read", path
