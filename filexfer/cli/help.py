"""``filexfer help``: tell how a command is used.

This module must not know what a command takes.
"""

from __future__ import annotations

from filexfer.cli import COMMANDS, output, overview, parser_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

EPILOG = """\
examples:
  filexfer help          the commands
  filexfer help put      all about one of them; 'filexfer put --help' is shorter
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "command", nargs="?", metavar="COMMAND", help="which one (default: all, in short)"
    )


def run(arguments: Namespace) -> int:
    """Print it, and return the exit code."""
    name = arguments.command
    if name is None:
        output.print_data([overview.text(COMMANDS).rstrip("\n")])
    elif name in COMMANDS:
        output.print_data([parser_of(name).format_whole_help().rstrip("\n")])
    else:
        raise overview.no_command(name, COMMANDS)
    return 0
