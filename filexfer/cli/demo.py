"""``filexfer demo``: serve, upload, download and compare, all on this machine.

This module must not know how anything is transferred.
"""

from __future__ import annotations

import filecmp
import os
import tempfile

from filexfer import Client, ExitCode, Server, UsageError
from filexfer.cli import output
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

EPILOG = """\
examples:
  filexfer demo                with a few sample files
  filexfer demo ~/Pictures     with your own; they are only read

It starts a server on a free port of this machine in a temporary folder, uploads, downloads again,
compares every byte, and removes everything it made.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="files and folders (default: sample data)"
    )


def run(arguments: Namespace) -> int:
    """Show it, and return the exit code."""
    paths = [os.path.abspath(path) for path in arguments.paths] or [sample_data()]
    for path in paths:
        if not os.path.exists(path):
            raise UsageError(f"{shown(path)}: no such file or folder")
    with tempfile.TemporaryDirectory(prefix="filexfer-demo-") as temporary:
        served, back = os.path.join(temporary, "served"), os.path.join(temporary, "back")
        os.mkdir(served)
        os.mkdir(back)
        with Server(served) as server, Client(server.host, server.port) as client:
            output.say(f"server   started, folder {shown(served)}, address {server.address}")
            up = client.put(paths, "")
            output.say(f"put      {output.summary(up)}")
            down = client.get([os.path.basename(path) for path in paths], back + "/")
            output.say(f"get      {output.summary(down)}")
        for failure in (*up.failures, *down.failures):
            output.say(f"filexfer: {failure}")
        files, wrong = _compare(paths, back)
        for name in wrong:
            output.say(f"filexfer: {shown(name)}: is not the same after the round trip")
    output.say(f"compare  {output.count(files, 'file')}, {len(wrong)} different")
    if arguments.json:
        for name, report in (("put", up), ("get", down)):
            arguments.json.check(name, output.summary(report), is_ok=not report.failed)
        text = f"{output.count(files, 'file')}, {len(wrong)} different"
        arguments.json.check("compare", text, is_ok=not wrong)
    if wrong:
        return ExitCode.INTEGRITY
    return ExitCode.SOME_FAILED if up.failed or down.failed else ExitCode.OK


def sample_data() -> str:
    """Return the folder of the sample files: in the package, or beside it in a checkout."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for folder in (
        os.path.join(package, "sample_data"),
        os.path.join(os.path.dirname(package), "samples", "data"),
    ):
        if os.path.isdir(folder):
            return folder
    raise UsageError("the sample files are not installed; name files of your own")


def _compare(paths: list[str], back: str) -> tuple[int, list[str]]:
    """Return how many regular files were compared, and which are not the same."""
    files = 0
    wrong = []
    for path in paths:
        for original in _files(path):
            copy = os.path.join(back, os.path.relpath(original, os.path.dirname(path)))
            files += 1
            try:
                same = filecmp.cmp(original, copy, shallow=False)
            except OSError:
                same = False
            if not same:
                wrong.append(original)
    return files, wrong


def _files(path: str) -> Iterator[str]:
    if os.path.isfile(path):
        yield path
    for folder, _, names in os.walk(path):
        for name in names:
            found = os.path.join(folder, name)
            if os.path.isfile(found) and not os.path.islink(found):
                yield found
