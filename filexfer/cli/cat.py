"""``filexfer cat``: write files of a server to standard output.

This module must not know how a file travels.
"""

from __future__ import annotations

import sys

from filexfer import ExitCode, FileError, LocalError, UsageError
from filexfer.cli import options, output
from filexfer.entry import FOLDER
from filexfer.errors import Code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from filexfer.address import Remote

EPILOG = """\
examples:
  filexfer cat nas:notes.txt                       onto the terminal
  filexfer cat nas:logs/1.gz nas:logs/2.gz | zcat  one after the other

Each file is verified. A small one is, before its first byte is written; of a large one only the end
can tell, and if it was wrong, the exit code is 5: what was written must not be used then.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("remotes", nargs="+", metavar="REMOTE", help=options.REMOTE)
    options.add_connection(parser)


def run(arguments: Namespace) -> int:
    """Write the files, and return the exit code."""
    remotes = [options.place(text) for text in arguments.remotes]
    for remote in remotes:
        if remote.is_folder:
            raise UsageError(f"{remote} is a folder; cat takes files")
    if arguments.json:
        raise UsageError("--json writes to standard output too: 'filexfer get' writes to files")
    if sys.stdout is None:
        raise LocalError("standard output is closed")
    codes = [_write(remote, arguments) for remote in remotes]
    return ExitCode.INTEGRITY if ExitCode.INTEGRITY in codes else max(codes)


def _write(remote: Remote, arguments: Namespace) -> ExitCode:
    with options.client_for(remote, arguments) as client:
        try:
            entry = client.stat(remote.path)
            if entry and entry.type == FOLDER:  # else all that is in it would come
                raise FileError(Code.IS_A_FOLDER, remote.path, "is a folder")
            report = client.get_stream(remote.path, 1)
        except FileError as error:
            output.say(f"filexfer: {error}")
            return ExitCode.SOME_FAILED
        except LocalError as error:
            if isinstance(error.__cause__ and error.__cause__.__cause__, BrokenPipeError):
                raise BrokenPipeError from None  # whoever read it has enough
            raise
    code = ExitCode.OK
    for failure in report.failures:
        output.say(f"filexfer: {failure}")
        is_wrong = failure.code == Code.HASH_MISMATCH
        code = ExitCode.INTEGRITY if is_wrong else ExitCode.SOME_FAILED
    return code
