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
    from typing import NoReturn

    from filexfer.cli.json_lines import Lines

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
}

EPILOG = """\
examples:
  filexfer serve inbox                       offer the folder 'inbox' on this machine
  filexfer put photos fx://127.0.0.1/        upload the folder 'photos'
  filexfer get fx://127.0.0.1/photos .       download it again

'filexfer COMMAND --help' tells more. A remote place is fx://HOST[:PORT]/PATH or HOST:PATH,
or NAME:PATH, where 'filexfer login NAME' has stored the server.

exit codes:
  0 all well (skipped files included)   5 integrity: bytes or names are wrong
  1 a fault in filexfer                 6 network or time-out
  2 usage                               7 the server refused the whole command
  3 one or more files failed            8 the local disk
  4 trust: encryption or rights         130 interrupted, 143 terminated
"""


_MESSAGE_MAX = 1000  # characters about words that make no sense


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
    if "--json" not in options:
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


def _run(words: list[str], lines: Lines | None) -> int:
    import argparse  # noqa: PLC0415 - see the module's text
    from functools import partial  # noqa: PLC0415 - comes with argparse
    from importlib import import_module  # noqa: PLC0415 - as above

    from filexfer.names import shown  # noqa: PLC0415 - loaded by now

    class Parser(argparse.ArgumentParser):
        """One that shows escaped what it does not understand: it may be a file's name."""

        def error(self, message: str) -> NoReturn:
            text = shown(message, _MESSAGE_MAX)
            if lines:
                lines.blame(text)
            super().error(text)

    # Without a width, argparse loads shutil (and with it bz2 and lzma) to find it out.
    formatter = partial(argparse.RawDescriptionHelpFormatter, width=_terminal_width())
    if not words or words[0] not in COMMANDS:
        parser: argparse.ArgumentParser = Parser(
            prog="filexfer",
            description="Fast, verified file transfer: a server offers a folder, "
            "a client uploads and downloads files and trees.",
            epilog=EPILOG,
            formatter_class=formatter,
        )
        parser.add_argument("-V", "--version", action="version", version=f"filexfer {__version__}")
        commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
        for name, text in COMMANDS.items():
            commands.add_parser(name, help=text)
        parser.parse_args(words)
    command = import_module(f"filexfer.cli.{words[0]}")
    parser = Parser(
        prog=f"filexfer {words[0]}",
        description=COMMANDS[words[0]].capitalize() + ".",
        epilog=command.EPILOG,
        formatter_class=formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="write what happens to standard output, a JSON object a line",
    )
    command.configure(parser)
    arguments = parser.parse_args(words[1:])
    arguments.json = lines
    if lines:
        sys.stdout = sys.stderr  # what is meant for people
    code: int = command.run(arguments)
    return code


def _restart_in_utf8() -> None:
    from os import execv  # noqa: PLC0415 - seldom needed

    execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - itself


def _terminal_width() -> int:
    from os import environ, get_terminal_size  # noqa: PLC0415 - loaded by then

    columns = environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns) - 2
    try:
        return max(40, get_terminal_size(1).columns - 2)
    except OSError:  # standard output is no terminal
        return 78


def _say(text: str) -> None:
    try:
        if sys.stderr:
            print(text, file=sys.stderr)
    except OSError:
        pass  # standard error is gone: nobody listens
