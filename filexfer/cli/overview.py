"""The help of the whole program: the commands, grouped by what they are for.

This module must not know what a command takes.
"""

from __future__ import annotations

from filexfer.errors import UsageError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

GROUPS = {
    "transfer": ("put", "get"),
    "look and tidy": ("ls", "mkdir", "rm"),
    "serve": ("serve", "token", "service"),
    "set up and find out": ("login", "logout", "remotes", "doctor", "demo", "help"),
}

_HEAD = """\
usage: filexfer COMMAND [OPTIONS] ...

Fast, verified file transfer: a server offers a folder, a client puts and gets
files and trees.

examples:
  filexfer serve inbox                    offer the folder 'inbox' on this machine
  filexfer put photos fx://127.0.0.1/     upload the folder 'photos'
  filexfer get fx://127.0.0.1/photos .    download it again
  filexfer help put                       how a command is used (or: put --help)
"""

_TAIL = """
A remote place is fx://HOST[:PORT]/PATH or HOST:PATH, or NAME:PATH, where
'filexfer login NAME' has stored the server. -V or --version prints the version.

exit codes:
  0 all well (skipped files included)   5 integrity: bytes or names are wrong
  1 a fault in filexfer                 6 network or time-out
  2 usage                               7 the server refused the whole command
  3 one or more files failed            8 the local disk
  4 trust: encryption or rights         130 interrupted, 143 terminated
"""


def text(commands: Mapping[str, str]) -> str:
    """Return the help of the whole program, with what each of the commands does."""
    grouped = {name for names in GROUPS.values() for name in names}
    others = tuple(name for name in commands if name not in grouped)
    groups = {**GROUPS, **({"more": others} if others else {})}
    width = 2 + max(map(len, commands))
    lines = []
    for title, names in groups.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:{width}}{commands[name]}" for name in names]
    return "\n".join([_HEAD.rstrip("\n"), *lines, _TAIL])


def no_command(word: str) -> UsageError:
    """Return what is wrong with a first word that is no command."""
    if not word:
        return UsageError("a COMMAND is missing; 'filexfer --help' lists all")
    if word.startswith("-"):
        return UsageError(
            f"no option '{shown(word)}' before the COMMAND; 'filexfer --help' lists all commands"
        )
    return UsageError(f"no command '{shown(word)}'; 'filexfer --help' lists all")
