"""The help of the whole program: the commands, grouped by what they are for.

This module must not know what a command takes.
"""

from __future__ import annotations

from filexfer.cli import suggest
from filexfer.cli.parsing import without_secrets
from filexfer.errors import UsageError
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

GROUPS = {
    "transfer": ("put", "get"),
    "look and tidy": ("ls", "stat", "cat", "diff", "verify", "mkdir", "mv", "rm"),
    "serve": ("serve", "token", "service"),
    "set up and find out": ("login", "logout", "remotes", "doctor", "demo", "completion", "help"),
}

_HEAD = """\
usage: filexfer COMMAND [OPTIONS] ...

Fast, verified transfer of files and trees to and from a folder on a server.

examples:
  filexfer serve inbox                    offer this machine's folder 'inbox'
  filexfer put photos fx://127.0.0.1/     upload the folder 'photos'
  filexfer get fx://127.0.0.1/photos .    download it again
  filexfer help put                       all about put (in short: put --help)
"""

_TAIL = """
A remote place is fx://HOST[:PORT]/PATH or HOST:PATH, or NAME:PATH, where
'filexfer login NAME' has stored the server. -V or --version prints the version.
Options may also stand in the environment, as FILEXFER_PUT_JOBS=4, or in
~/.config/filexfer/config.toml, as jobs = 4 under [put].

exit codes:
  0 all well (or files skipped)  5 integrity: bytes or names are wrong
  1 a fault in filexfer          6 network or time-out
  2 usage                        7 the server refused the whole command
  3 some files failed or differ  8 the local disk
  4 trust: encryption or rights  129 hung up, 130 interrupted, 143 terminated
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


def no_command(word: str, commands: Collection[str]) -> UsageError:
    """Return what is wrong with a first word that is no command."""
    hint = "'filexfer --help' lists all commands"
    if not word:
        return UsageError(f"a COMMAND is missing; {hint}")
    if word.startswith("-"):
        return UsageError(f"no option '{shown(word)}' before the COMMAND; {hint}")
    meant = suggest.command(word, commands)
    wrong = f"no command '{shown(without_secrets(word))}'{suggest.instead(meant)}"
    return UsageError(f"{wrong} {hint}" if meant else f"{wrong}; {hint}")
