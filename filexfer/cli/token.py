"""``filexfer token``: make, list and revoke tokens.

This module must not know how tokens are kept, or what a server does with them.
"""

from __future__ import annotations

import os
import re
import sys
import time

from filexfer import UsageError, rates
from filexfer.address import DEFAULT_PORT, is_loopback
from filexfer.cli import connect, output
from filexfer.cli.parsing import Further
from filexfer.names import shown
from filexfer.security import running
from filexfer.security.access import CREATE, LIST, READ, RIGHTS
from filexfer.security.connect_string import format_connect_string
from filexfer.security.running import Note
from filexfer.security.tokens import Store, Token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer.cli.json_lines import Lines

EPILOG = """\
examples:
  filexfer token add ann                              may read, list and create
  filexfer token add guest --rights read,list --root photos --expires 30d
  filexfer token add box --rights create --root box --quota 100G
  filexfer token list
  filexfer token revoke guest

The rights are read, list, create, overwrite and delete. With create alone it is a drop box: its
bearer can put files, and learns nothing of what is there; a name that is taken gets a suffix.
'add' shows a connect string, which 'filexfer login' takes, once: on a terminal, or with
'--output -'; else it is put into a file that only you can read.
"""
FURTHER = """\
Running servers know a token as soon as it is added, and refuse it from its next request on when
it is revoked or has expired; what is under way then is finished. The quota is of all files below
DIR, whoever put them there.

The connect string leads to the server that runs here with these tokens: to its port, its address if
it listens on one alone, and its certificate. If none runs, or several do, it is said which port was
taken.
"""
_ANY = "0.0.0.0"  # noqa: S104 - only named
_SPAN = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "action",
        choices=("add", "list", "revoke"),
        metavar="{add,list,revoke}",
        help="what to do",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="whose token, but for 'list'")
    parser.add_argument(
        "--tokens",
        metavar="FILE",
        help="the file they are in (default: $XDG_STATE_HOME/filexfer/tokens.json, and without "
        "that variable ~/.local/state/filexfer/tokens.json)",
    )
    may = parser.add_argument_group("what its bearer may do")
    may.add_argument(
        "--rights",
        default="read,list,create",
        metavar="RIGHT,...",
        help="(default: read,list,create)",
    )
    may.add_argument(
        "--root",
        default="",
        metavar="DIR",
        help="only below this folder of the one that is served; it is made if it is missing",
    )
    may.add_argument(
        "--expires",
        metavar="TIME",
        help="from now on, as 90m, 12h, 30d or 8w, or the day before which it ends, as 2030-12-31 "
        "(default: never)",
    )
    may.add_argument("--max-file-size", metavar="SIZE", help="bytes of one file, as 500M or 2G")
    may.add_argument("--quota", metavar="SIZE", help="bytes of all files together")
    _add_shown(parser)


def _add_shown(parser: ArgumentParser) -> None:
    """Add what the connect string says, and where it goes."""
    shows = parser.add_argument_group("the connect string")
    shows.add_argument(
        "--host", help="how clients call this machine (default: the address it has to others)"
    )
    shows.add_argument(
        "--port",
        type=int,
        help=f"(default: that of the server with these tokens, or {DEFAULT_PORT})",
    )
    shows.add_argument(
        "--secure", action="store_true", help=Further("the server talks TLS on this machine too")
    )
    shows.add_argument(
        "--cert", metavar="FILE", help=Further("as of 'filexfer serve', if it is given one")
    )
    shows.add_argument("--key", metavar="FILE", help=Further("the same"))
    shows.add_argument(
        "--output", metavar="FILE", help="put it into this new file; - is standard output"
    )


def run(arguments: Namespace) -> int:
    """Do it, and return the exit code."""
    store = Store(arguments.tokens)
    if arguments.action == "list":
        if arguments.name is not None:
            raise UsageError("'list' lists all tokens, and takes no name")
        _list(store, arguments.json)
    elif arguments.name is None:
        raise UsageError(f"'{arguments.action}' needs the NAME of a token")
    elif arguments.action == "add":
        _add(store, arguments)
    else:
        store.revoke(arguments.name)
        connect.forget(arguments.name)
        output.say(f"{shown(arguments.name)} is revoked")
    return 0


def _add(store: Store, arguments: Namespace) -> None:
    name, path = arguments.name, arguments.output
    rights = _rights(arguments.rights)
    if arguments.port is not None and not 0 < arguments.port < 65536:
        raise UsageError(f"--port must be 1 to 65535, not {arguments.port}")
    if path not in (None, "-") and os.path.lexists(path):
        raise UsageError(f"{shown(path)} exists already")
    secret = store.add(
        name,
        rights,
        root=arguments.root.rstrip("/"),
        expires=None if arguments.expires is None else _time(arguments.expires),
        max_file_size=_size(arguments.max_file_size, "--max-file-size"),
        quota=_size(arguments.quota, "--quota"),
    )
    try:
        server = _server(store, arguments)
        host = connect.seen_from_outside(arguments.host or server.host)
        fingerprint = _fingerprint(host, server, arguments)
        line = format_connect_string(secret, host, server.port, fingerprint)
        is_for_eyes = path is None and not arguments.json and sys.stdout and sys.stdout.isatty()
        if not (path == "-" or is_for_eyes):
            path = connect.keep(line, name, path)
            output.say(f"the connect string of {name} is in {shown(path)}")
        elif not arguments.json:
            output.print_data([line])
        if arguments.json:
            (made,) = (each for each in store.read() or [] if each.name == name)
            is_here = path == "-"
            arguments.json.token(made, line if is_here else None, None if is_here else path)
    except BaseException:
        store.revoke(name)  # nobody has it
        raise


def _server(store: Store, arguments: Namespace) -> Note:
    """Return the server that the connect string leads to, and say what is not certain of it."""
    known = running.servers(store.path)
    if arguments.port is not None:
        known = [each for each in known if each.port == arguments.port]
        return known[-1] if known else Note(_ANY, arguments.port)
    ports = sorted({each.port for each in known})
    if not known:
        found, text = Note(_ANY, DEFAULT_PORT), "no server has used these tokens"
    elif not known[-1].runs:
        found, text = known[-1], "no server with these tokens runs; the last one had this port"
    elif len(ports) > 1:
        numbers = ", ".join(map(str, ports))
        found, text = known[-1], f"servers with these tokens listen on the ports {numbers}"
    else:
        return known[-1]
    text = f"the connect string names port {found.port}: {text}; --port names another"
    output.say(f"filexfer: {text}")
    if arguments.json:
        arguments.json.warning(text)
    return found


def _fingerprint(host: str, server: Note, arguments: Namespace) -> str:
    """Return the fingerprint of the server's certificate; empty if it talks in the clear."""
    cert, key = arguments.cert, arguments.key
    if not (arguments.secure or cert or key):
        if (host == "localhost" or is_loopback(host)) and not server.tls:
            return ""
        cert, key = server.cert, server.key
    from filexfer.security import certificate  # noqa: PLC0415 - brings TLS, which costs 11 ms

    return certificate.load(cert, key).fingerprint


def _rights(text: str) -> list[str]:
    rights = [word for word in text.split(",") if word]
    if not rights or set(rights) - set(RIGHTS):
        raise UsageError(f"--rights takes some of {','.join(RIGHTS)}, with a comma between")
    if CREATE in rights and not {READ, LIST} & set(rights) and set(rights) != {CREATE}:
        raise UsageError(
            "who may create, but neither read nor list, has a drop box, in which nothing is "
            "overwritten or deleted: create must stand alone"
        )
    if "overwrite" in rights and CREATE not in rights:
        raise UsageError("the right to overwrite needs that to create")
    return rights


def _size(text: str | None, option: str) -> int | None:
    try:
        return None if text is None else rates.parse_size(text)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None


def _time(text: str) -> int:
    """Return when a token ends, in seconds since 1970."""
    found = _SPAN.fullmatch(text)
    if found:
        return int(time.time()) + int(found[1]) * _SECONDS[found[2]]
    try:
        if _DATE.fullmatch(text):
            return int(time.mktime(time.strptime(text, "%Y-%m-%d")))
    except (ValueError, OverflowError):
        pass  # it has the form of a day, but is none
    raise UsageError(f"--expires takes 90m, 12h, 30d, 8w or a day as 2030-12-31, not {shown(text)}")


def _list(store: Store, lines_out: Lines | None) -> None:
    tokens = store.read()
    if lines_out:
        for each in tokens or []:
            lines_out.token(each)
        return
    if not tokens:
        output.say(f"there is no token in {shown(store.path)}")
        return
    lines = [("NAME", "RIGHTS", "ROOT", "EXPIRES", "ONE FILE", "QUOTA", "ADDED")]
    lines += [_line(each) for each in tokens]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    output.print_data(
        "  ".join(f"{text:{width}}" for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _line(token: Token) -> tuple[str, str, str, str, str, str, str]:
    expires = "never" if token.expires is None else _moment(token.expires)
    return (
        token.name,
        ",".join(right for right in RIGHTS if right in token.rights),
        shown(token.root) or ".",
        "expired" if token.has_expired else expires,
        "-" if token.max_file_size is None else output.size(token.max_file_size),
        "-" if token.quota is None else output.size(token.quota),
        _moment(token.created),
    )


def _moment(seconds: int) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
    except (ValueError, OverflowError, OSError):
        return "in ages"
