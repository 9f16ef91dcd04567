"""``filexfer completion``: print what makes a shell complete command lines.

This module must not know what commands and options there are.
"""

from __future__ import annotations

from filexfer.cli import offers, output, shells

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

SHELLS = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.fish}

EPILOG = """\
examples:
  source <(filexfer completion bash)         for this shell alone (or: zsh)
  filexfer completion bash > ~/.local/share/bash-completion/completions/filexfer
  filexfer completion zsh > ~/.zfunc/_filexfer
  filexfer completion fish > ~/.config/fish/completions/filexfer.fish

It completes commands, options with their values, files, and the servers that 'filexfer login' has
stored. For zsh, ~/.zshrc needs fpath+=~/.zfunc before compinit. Print it anew with a new version of
filexfer.
"""


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def run(arguments: Namespace) -> int:
    """Print the script, and return the exit code."""
    script = SHELLS[arguments.shell](offers.commands())
    output.print_data([script.rstrip("\n")])
    return 0
