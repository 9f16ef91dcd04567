"""The command line: finds the command, and turns failures into a message and an exit code.

Everything it does goes through the public names of the library. Each command is a module with
``configure(parser)`` and ``run(arguments)``, and with texts for the help: ``EPILOG``, perhaps also
``FURTHER``, which the short one leaves out; perhaps also ``configure_seldom(parser)`` for what a
command line without any option can do without. Only the one that is called is loaded, because
loading takes most of the time of a short command.

argparse, not click: importing click takes 28 ms, three times as long as starting Python; argparse
takes 8 ms, most of it shared with json.
"""

from __future__ import annotations

import sys

from filexfer import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from types import ModuleType

    from filexfer.cli.json_lines import Lines
    from filexfer.cli.parsing import Parser

COMMANDS = {
    "serve": "offer a folder to clients",
    "put": "upload files and folders",
    "get": "download files and folders",
    "ls": "list what is on a server",
    "stat": "tell what something on a server is",
    "cat": "write files of a server to standard output",
    "verify": "check that files still are what a manifest says",
    "diff": "compare a local tree with one on a server",
    "mv": "give files and folders on a server another name",
    "rm": "remove files and folders on a server",
    "mkdir": "make folders on a server",
    "login": "store a server under a name, with what it needs to let you in",
    "logout": "forget a server",
    "remotes": "list the servers that are stored",
    "token": "make, list and revoke tokens, by which a server lets clients in",
    "doctor": "look for what is wrong, or where the time of a transfer goes",
    "service": "make the systemd units that run a server for good",
    "demo": "serve, upload, download and compare, all on this machine",
    "completion": "print what makes a shell complete command lines",
    "help": "tell how a command is used",
}


_HELP = ("-h", "--help")


class Terminated(KeyboardInterrupt):
    """SIGTERM, to a command that has to clear away before it ends."""

    word = "terminated"


class HungUp(KeyboardInterrupt):
    """SIGHUP, to such a command: its terminal has gone."""

    word = "hung up"


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
    except KeyboardInterrupt as error:
        word = getattr(error, "word", "interrupted")
        _say(f"filexfer: {word}")
        return ExitCode[word.replace(" ", "_").upper()], word
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
    try:
        code = main()
    except KeyboardInterrupt:  # while it was still being loaded
        _say("filexfer: interrupted")
        code = 130  # ExitCode.INTERRUPTED
    for stream in (sys.stderr, sys.stdout):
        try:
            if stream:
                stream.flush()
        except OSError:
            if stream is sys.stdout:
                code = code or 8  # ExitCode.LOCAL: what was printed did not arrive
    from os import _exit  # noqa: PLC0415 - loaded by Python itself

    _exit(code)


def parser_of(name: str, words: Sequence[str] | None = None) -> Parser:
    """Return the parser of a command.

    Args:
        name: Of the command.
        words: What is to be parsed; if there are no options among them, those that are seldom
            needed are not there, because each takes time to be added. By default all are.

    """
    from filexfer.cli.parsing import MESSAGES, Parser, group  # noqa: PLC0415 - loads argparse

    command = _command(name)
    further = getattr(command, "FURTHER", "")
    parser = Parser(name, f"{COMMANDS[name].capitalize()}.", command.EPILOG, further)
    command.configure(parser)
    if words is not None and not _has_options(words):
        return parser
    if hasattr(command, "configure_seldom"):
        command.configure_seldom(parser)
    group(parser, MESSAGES).add_argument(
        "--json",
        action="store_true",
        help="report in JSON, an object a line, on standard output",
    )
    return parser


def _command(name: str) -> ModuleType:
    from importlib import import_module  # noqa: PLC0415 - loaded by Python itself

    return import_module(f"filexfer.cli.{name}")


def _run(words: list[str], lines: Lines | None) -> int:
    name = words[0] if words else ""
    if name in COMMANDS:
        return _run_command(name, words[1:], lines)
    from filexfer.cli import overview  # noqa: PLC0415 - only without a command

    if name not in _HELP:
        raise overview.no_command(name, COMMANDS)
    print(overview.text(COMMANDS), end="")
    return 0


def _has_options(words: Sequence[str]) -> bool:
    return any(word[:1] == "-" and word != "-" for word in words)


def _run_command(name: str, words: list[str], lines: Lines | None) -> int:
    from os import environ  # noqa: PLC0415 - loaded by Python itself

    file = _configuration()
    start = f"FILEXFER_{name.upper()}_"
    if not file and not any(each.startswith(start) for each in environ):
        return _carry_out(name, _heard(parser_of(name, words), lines).parse_args(words), lines)
    from filexfer.cli.settings import Settings  # noqa: PLC0415 - only where something is set
    from filexfer.errors import UsageError  # noqa: PLC0415 - loaded by then

    settings = Settings(_heard(parser_of(name), lines), name, COMMANDS, file)
    arguments = settings.parse(words)
    if arguments.json and lines is None:  # it was not among the words
        return main([name, "--json", *words])
    try:
        return _carry_out(name, arguments, lines)
    except UsageError as error:
        raise settings.explained(error) from error


def _heard(parser: Parser, lines: Lines | None) -> Parser:
    """Return the parser; what it has to say of the words is noted for the last line."""
    if lines:
        parser.blame = lines.blame
    return parser


def _carry_out(name: str, arguments: Namespace, lines: Lines | None) -> int:
    arguments.json = lines
    if lines:
        sys.stdout = sys.stderr  # what is meant for people
    return int(_command(name).run(arguments))


def _configuration() -> str:
    """Return the path of the configuration file; nothing if there is none."""
    from os import environ, path, stat  # noqa: PLC0415 - loaded by Python itself

    named = environ.get("FILEXFER_CONFIG")
    if named is not None:
        return "" if named == "/dev/null" else named
    folder = environ.get("XDG_CONFIG_HOME", "")
    if not path.isabs(folder):
        folder = path.expanduser("~/.config")
    file = f"{folder}/filexfer/config.toml"
    try:
        stat(file)
    except OSError:  # a home that is not there, or cannot be entered, has none for us
        return ""
    return file


def _restart_in_utf8() -> None:
    from os import execv  # noqa: PLC0415 - seldom needed

    execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - itself


def _say(text: str) -> None:
    try:
        if sys.stderr:
            print(text, file=sys.stderr)
    except OSError:
        pass  # standard error is gone: nobody listens
