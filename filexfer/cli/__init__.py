"""The command line: finds the command, and turns failures into a message and an exit code.

Everything it does goes through the public names of the library. Each command is a module with
``configure(parser)`` and ``run(arguments)``; only the one that is called is loaded, because
loading takes most of the time of a short command.

argparse, not click: importing click takes 28 ms, three times as long as starting Python; argparse
takes 8 ms, most of it shared with json.
"""

from __future__ import annotations

import sys

from filexfer import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from filexfer.cli.json_lines import Lines
    from filexfer.cli.parsing import Parser

COMMANDS = {
    "serve": "offer a folder to clients",
    "put": "upload files and folders",
    "get": "download files and folders",
    "ls": "list what is on a server",
    "rm": "remove files and folders on a server",
    "mkdir": "make folders on a server",
    "login": "store a server under a name, with what it needs to let you in",
    "logout": "forget a server",
    "remotes": "list the servers that are stored",
    "token": "make, list and revoke tokens, by which a server lets clients in",
    "doctor": "look for what is wrong, or where the time of a transfer goes",
    "service": "make the systemd units that run a server for good",
    "demo": "serve, upload, download and compare, all on this machine",
    "help": "tell how a command is used",
}


_HELP = ("-h", "--help")


class Terminated(KeyboardInterrupt):
    """SIGTERM, to a command that has to clear away before it ends."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; by default those of this process.

    Returns:
        The exit code, one of ``ExitCode``.

    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] in (["--version"], ["-V"]):  # before anything is loaded
        print(f"filexfer {__version__}")
        return 0
    options = words[: words.index("--")] if "--" in words else words
    if "--json" not in options or words[0] in _HELP:
        return _outcome(words)[0]
    from filexfer.cli import json_lines  # noqa: PLC0415 - only for who asked for it

    return json_lines.run(lambda lines: _outcome(words, lines), Terminated)


def _outcome(words: list[str], lines: Lines | None = None) -> tuple[int, str]:
    """Run one command; return the exit code, and what was said of its failure."""
    from filexfer.errors import ExitCode, FilexferError  # noqa: PLC0415 - see the module's text

    try:
        return _run(words, lines), ""
    except FilexferError as error:
        _say(f"filexfer: error: {error}")
        return error.exit_code, str(error)
    except Terminated:
        _say("filexfer: terminated")
        return ExitCode.TERMINATED, "terminated"
    except KeyboardInterrupt:
        _say("filexfer: interrupted")
        return ExitCode.INTERRUPTED, "interrupted"
    except BrokenPipeError:  # whoever read our output has gone
        sys.stdout = None  # nothing is left to be flushed at the exit
        return ExitCode.OK, ""


def console() -> None:
    """Run the command of this process, and end it.

    It ends without Python's own clearing away, which takes as long as half a start and has nothing
    to clear: every file and connection is closed by then.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode:
        _restart_in_utf8()  # else names would not keep their bytes
    code = main()
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream:
                stream.flush()
        except OSError:
            if stream is sys.stdout:
                code = code or 8  # ExitCode.LOCAL: what was printed did not arrive
    from os import _exit  # noqa: PLC0415 - loaded by Python itself

    _exit(code)


def parser_of(name: str) -> Parser:
    """Return the parser of a command, with all its arguments."""
    from filexfer.cli.parsing import MESSAGES, Parser, group  # noqa: PLC0415 - loads argparse

    command = _command(name)
    parser = Parser(name, f"{COMMANDS[name].capitalize()}.", command.EPILOG)
    command.configure(parser)
    group(parser, MESSAGES).add_argument(
        "--json",
        action="store_true",
        help="write what happens as JSON objects, one a line, to standard output",
    )
    return parser


def _command(name: str) -> ModuleType:
    from importlib import import_module  # noqa: PLC0415 - loaded by Python itself

    return import_module(f"filexfer.cli.{name}")


def _run(words: list[str], lines: Lines | None) -> int:
    name = words[0] if words else ""
    if name in COMMANDS:
        parser = parser_of(name)
        if lines:
            parser.blame = lines.blame
        arguments = parser.parse_args(words[1:])
        arguments.json = lines
        if lines:
            sys.stdout = sys.stderr  # what is meant for people
        return int(_command(name).run(arguments))
    from filexfer.cli import overview  # noqa: PLC0415 - only without a command

    if name not in _HELP:
        raise overview.no_command(name)
    print(overview.text(COMMANDS), end="")
    return 0


def _restart_in_utf8() -> None:
    from os import execv  # noqa: PLC0415 - seldom needed

    execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - itself


def _say(text: str) -> None:
    try:
        if sys.stderr:
            print(text, file=sys.stderr)
    except OSError:
        pass  # standard error is gone: nobody listens
