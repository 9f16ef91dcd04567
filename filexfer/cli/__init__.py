"""The command line: finds the command, and turns failures into a message and an exit code.

Everything it does goes through the public names of the library. Each command is a module with
``configure(parser)`` and ``run(arguments)``; only the one that is called is loaded, because
loading takes most of the time of a short command.

argparse, not click: importing click takes 28 ms, three times as long as starting Python; argparse
takes 8 ms, most of it shared with json.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

from filexfer import __version__
from filexfer.errors import ExitCode, FilexferError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "serve": "offer a folder to clients",
    "put": "upload files and folders",
    "get": "download files and folders",
    "ls": "list what is on a server",
    "rm": "remove files and folders on a server",
    "mkdir": "make folders on a server",
    "demo": "serve, upload, download and compare, all on this machine",
}

EPILOG = """\
examples:
  filexfer serve inbox                       offer the folder 'inbox' on this machine
  filexfer put photos fx://127.0.0.1/        upload the folder 'photos'
  filexfer get fx://127.0.0.1/photos .       download it again

'filexfer COMMAND --help' tells more. A remote place is fx://HOST[:PORT]/PATH or HOST:PATH.

exit codes:
  0 all well (skipped files included)   5 integrity: bytes or names are wrong
  1 a fault in filexfer                 6 network or time-out
  2 usage                               7 the server refused the whole command
  3 one or more files failed            8 the local disk
  4 trust: encryption or rights         130 interrupted, 143 terminated
"""


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
        return ExitCode.OK
    try:
        return _run(words)
    except FilexferError as error:
        _say(f"filexfer: error: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("filexfer: interrupted")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def _run(words: list[str]) -> int:
    import argparse  # noqa: PLC0415 - see the module's text

    if not words or words[0] not in COMMANDS:
        parser = argparse.ArgumentParser(
            prog="filexfer",
            description="Fast, verified file transfer: a server offers a folder, "
            "a client uploads and downloads files and trees.",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument(
            "-V", "--version", action="version", version=f"filexfer {__version__}"
        )
        commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
        for name, text in COMMANDS.items():
            commands.add_parser(name, help=text)
        parser.parse_args(words)
    command = import_module(f"filexfer.cli.{words[0]}")
    parser = argparse.ArgumentParser(
        prog=f"filexfer {words[0]}",
        description=COMMANDS[words[0]].capitalize() + ".",
        epilog=command.__doc__ and command.EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.configure(parser)
    code: int = command.run(parser.parse_args(words[1:]))
    sys.stdout.flush()
    return code


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr)
    except OSError:
        pass  # standard error is gone: nobody listens
