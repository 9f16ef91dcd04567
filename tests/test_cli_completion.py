"""What the shells complete, in the shells themselves."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import threading
from argparse import SUPPRESS
from typing import TYPE_CHECKING

import pytest
from test_cli_process import SECONDS, environment, fx

from filexfer.cli import COMMANDS, parser_of
from filexfer.cli.completion import SHELLS

if TYPE_CHECKING:
    from pathlib import Path

LINES = {
    # line: what is offered at its end
    "pu": ["put"],
    "comp": ["completion"],
    "put --ha": ["--hash"],
    "put --hash sh": ["sha256"],
    "put --hash=sh": ["sha256"],
    "put --jobs ": [],
    "put n": ["nas:", "nothing"],
    "put --bwlimit 1M nothing ph": ["photos"],
    "put tw": ["two words"],
    "put --token-file no": ["nothing"],
    "get nas:x nas:y n": ["nas:", "nothing"],
    "ls o": ["office:"],
    "ls ": ["nas:", "office:"],
    "ls nas:": [],
    "serve ": ["photos"],
    "serve --log-format ": ["json", "text"],
    "token ": ["add", "list", "revoke"],
    "token add ": [],
    "logout o": ["office"],
    "help do": ["doctor"],
    "completion ": ["bash", "fish", "zsh"],
    "remotes ": [],
}
ALL_LINES = [*LINES, "put -"]  # the last one for all options
each_shell = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(
            shell,
            marks=pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell}"),
        )
        for shell in SHELLS
    ],
)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the script of each shell, and the command ``filexfer``."""
    folder = tmp_path_factory.mktemp("scripts")
    for shell in SHELLS:
        result = fx("completion", shell)
        assert (result.returncode, result.stderr) == (0, "")
        (folder / shell).write_text(result.stdout, encoding="utf-8")
    (folder / "bin").mkdir()
    command = folder / "bin" / "filexfer"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m filexfer "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture
def env(scripts: Path, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a user who has stored two servers, and is in a folder ``here``."""
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    found = environment(**home, PATH=f"{scripts / 'bin'}:{os.environ['PATH']}", TERM="dumb")
    for name in ("nas", "office"):
        line = f"fx://{'t' * 43}@192.0.2.7/#{'f' * 43}\n"
        stored = fx("login", "--no-check", name, input=line, env=found)
        assert stored.returncode == 0, stored.stderr
    folder = tmp_path / "here"
    (folder / "photos").mkdir(parents=True)
    (folder / "two words").write_text("x")
    (folder / "nothing").write_text("x")
    return found


def in_bash(script: Path, folder: Path, env: dict[str, str]) -> list[list[str]]:
    """Return what the function for bash offers for each line, called as bash calls it."""
    commands = [f"source {script}"]
    for line in ALL_LINES:
        words = " ".join(map(shlex.quote, cut(f"filexfer {line}")))
        commands.append(
            f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _filexfer; "
            '[ ${#COMPREPLY[@]} = 0 ] || printf "%s\\n" "${COMPREPLY[@]}"; echo end'
        )
    return run(["bash", "--norc", "--noprofile", "-c", "\n".join(commands)], folder, env)


def cut(line: str) -> list[str]:
    """Return the words of a line as bash gives them to a completion: cut at : and = too."""
    words = [part for word in line.split(" ") for part in re.split(r"([:=])", word) if part]
    return [*words, ""] if line.endswith(" ") else words


def bare(word: str) -> str:
    """Return a value without its option, or an option without what separates it from its value."""
    return word.strip("=").rpartition("=")[2]


def in_fish(script: Path, folder: Path, env: dict[str, str]) -> list[list[str]]:
    """Return what fish offers for each line."""
    lines = [f"complete -C {shlex.quote(f'filexfer {line}')}; echo end" for line in ALL_LINES]
    found = run(["fish", "--no-config", "-c", "\n".join([f"source {script}", *lines])], folder, env)
    return [[bare(each) for each in offered] for offered in found]


def run(command: list[str], folder: Path, env: dict[str, str]) -> list[list[str]]:
    """Return the lines that a command prints, up to each ``end``, without explanations."""
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=SECONDS, check=True
    )
    assert done.stderr == ""
    parts = done.stdout.split("end\n")[:-1]
    return [[line.partition("\t")[0] for line in part.splitlines()] for part in parts]


ZSH = r"""
autoload -U compinit; compinit -u -D; source {script}
all() {{ _main_complete; compstate[insert]=all; compstate[list]= }}
zle -C all complete-word all
report() {{ zle all; print -r -u {fd} -- "$BUFFER"; BUFFER= }}
zle -N report; bindkey '^T' report
single() {{ zle complete-word; print -r -u {fd} -- "$BUFFER"; BUFFER= }}
zle -N single; bindkey '^G' single
zle-line-init() {{ print -u {fd} ready }}; zle -N zle-line-init
"""


def in_zsh(script: Path, folder: Path, env: dict[str, str]) -> list[list[str]]:
    """Return what zsh offers for each line, at a terminal of its own: it has no other way."""
    reader, writer = os.pipe()
    master, terminal = pty.openpty()
    seen: list[bytes] = []
    (folder.parent / ".zshrc").write_text(ZSH.format(script=script, fd=writer))
    with (
        subprocess.Popen(
            ["zsh", "-d", "-i"],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            pass_fds=[writer],
            cwd=folder,
            env={**env, "ZDOTDIR": str(folder.parent)},
            start_new_session=True,
        ) as process,
        open(reader, encoding="utf-8") as answers,
    ):
        try:
            os.close(terminal)
            os.close(writer)
            drain = threading.Thread(target=swallow, args=[master, seen], daemon=True)
            drain.start()
            assert answers.readline() == "ready\n"
            found = []
            for line in ALL_LINES:
                os.write(master, f"filexfer {line}\x14".encode())
                kept, _, typed = f"filexfer {line}".rpartition(" ")
                words = shlex.split(answers.readline().removeprefix(kept))
                found.append([] if words == typed.split() else words)
            os.write(master, b"filexfer ls o\x07")
            assert answers.readline() == "filexfer ls office:\n"
        finally:
            process.kill()
    drain.join(SECONDS)
    os.close(master)
    assert b"bad option" not in b"".join(seen)
    return [[bare(each) for each in offered] for offered in found]


def swallow(terminal: int, seen: list[bytes]) -> None:
    """Read what is written to a terminal, until it is closed at the other end."""
    try:
        while data := os.read(terminal, 65536):
            seen.append(data)
    except OSError:  # how Linux tells it
        pass


IN = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}


@each_shell
def test_what_is_offered(shell: str, scripts: Path, env: dict[str, str], tmp_path: Path) -> None:
    """Commands, options with their values, files, folders and stored servers are completed."""
    *found, options = IN[shell](scripts / shell, tmp_path / "here", env)
    for (line, expected), offered in zip(LINES.items(), found, strict=True):
        if (
            shell == "zsh"
        ):  # it shows no suffix before it is the one, and options where all else ends
            some = [each.rstrip("/:") for each in offered if each[0] != "-" or "-" in line]
            assert sorted(some) == [each.rstrip(":") for each in expected], line
        else:
            assert sorted({each.rstrip("/") for each in offered}) == expected, line
    known = {flag for each in parser_of("put").options() for flag in each.option_strings}
    assert {each for each in known if each.startswith("--")} - {"--recursive"} <= set(options)


@each_shell
def test_every_command_and_option_is_there(shell: str, scripts: Path) -> None:
    """The script is whole, and the same whenever it is made."""
    text = (scripts / shell).read_text(encoding="utf-8")
    assert fx("completion", shell, env=environment(PYTHONHASHSEED="7")).stdout == text
    assert not re.search(r"@[A-Z]+@", text)
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", text)
        for option in parser_of(command).options():
            for flag in option.option_strings:
                if option.help != SUPPRESS:
                    word = flag if shell != "fish" else flag.lstrip("-")
                    assert re.search(rf"(?<!\w){re.escape(word)}\b", text), (command, flag)


def test_no_shell() -> None:
    """Without a shell, or with an unknown one, those that there are are named."""
    assert "the following arguments are required: shell" in fx("completion").stderr
    assert "did you mean 'bash'?" in fx("completion", "bsh").stderr
