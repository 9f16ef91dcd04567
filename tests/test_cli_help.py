"""The two helps of a command: ``--help`` fits on a screen, ``filexfer help COMMAND`` has all."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from test_readme import blocks, section

from filexfer.cli import COMMANDS, main, overview, parser_of
from filexfer.cli.parsing import Further

if TYPE_CHECKING:
    from argparse import Action

LINES, COLUMNS = 50, 80  # of a screen
HINT = re.compile(r"All options(?:, also on (.*))?: (filexfer help \w+)")

each_command = pytest.mark.parametrize("command", COMMANDS)


@pytest.fixture(autouse=True)
def screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the terminal as wide as a screen."""
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setenv("FILEXFER_CONFIG", "")


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return what a command prints that is only to be explained."""
    with suppress(SystemExit):  # argparse ends so
        assert main(words) == 0
    return capsys.readouterr().out


def is_in(option: Action, text: str) -> bool:
    """Tell whether a help has a line for the option."""
    flag = re.escape(option.option_strings[-1])
    return bool(re.search(rf"^  (-.*, )?{flag}(?![\w-])", text, re.MULTILINE))


def titles(text: str) -> list[str]:
    """Return the titles of the groups in a help, as the last line names them."""
    return [title.partition(" (")[0] for title in re.findall(r"^(\S.*):$", text, re.MULTILINE)]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_it_fits_on_a_screen(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The short help has fewer lines than a screen; no line of either is wider than one."""
    short = printed(capsys, *command.split(), "--help").splitlines()
    whole = printed(capsys, "help", *command.split()).splitlines()
    assert len(short) < LINES  # the next prompt takes one
    assert len(short) <= len(whole)
    assert [line for line in short + whole if len(line) > COLUMNS] == []


@each_command
def test_the_whole_help_has_all(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every option is in the whole help; the short one leaves out the further ones alone."""
    short, whole = printed(capsys, command, "--help"), printed(capsys, "help", command)
    parser = parser_of(command)
    for option in filter(parser.is_shown, parser.options()):
        assert is_in(option, whole), option
        assert is_in(option, short) == (not isinstance(option.help, Further)), option
    assert parser.further == "" or parser.further.split()[0] in whole.split()


@each_command
def test_the_short_help_is_a_part_of_the_whole(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both begin with usage and examples; what the short one says, the whole one says too."""
    monkeypatch.setenv("COLUMNS", "1000")  # a line for each option and paragraph
    short, whole = printed(capsys, command, "--help"), printed(capsys, "help", command)
    assert short.split("\n\n")[:3] == whole.split("\n\n")[:3]
    assert short.split("\n\n")[2].startswith("examples:\n")
    lines = {" ".join(line.split()) for line in whole.splitlines()}
    further = [line for line in short.splitlines() if " ".join(line.split()) not in lines]
    assert all(HINT.fullmatch(line) for line in further)


@each_command
def test_the_last_line_says_where_more_is(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It does where something is left out, and there alone, and names the groups that lack."""
    short, whole = printed(capsys, command, "--help"), printed(capsys, "help", command)
    assert not HINT.search(whole)
    hint = HINT.search(short)
    if not hint:
        assert short == whole
        return
    assert short.endswith(f"\n\n{hint[0]}\n")
    assert hint[2] == f"filexfer help {command}"
    lacking = [title for title in titles(whole) if title not in titles(short)]
    assert re.split(", | and ", hint[1] or "") == (lacking or [""])


def test_the_general_help_says_where_more_is() -> None:
    """It names both helps of a command."""
    assert re.search(
        r"filexfer help put +all about put \(in short: put --help\)", overview.text(COMMANDS)
    )


def test_the_first_day() -> None:
    """What the README's first pages and the helps' own examples use is in the short helps."""
    pages = [section("Five minutes"), section("Between two machines"), section("Tokens")]
    commands = [
        block for page in pages for each in ("console", "sh") for block in blocks(page, each)
    ]
    commands += [str(parser_of(name).epilog).partition("\n\n")[0] for name in COMMANDS]
    used = set()
    for name, words in re.findall(r"filexfer (\w+) (.*)", "\n".join(commands)):
        named = re.sub(r"  .*|[#|>].*", "", words)
        used |= {(name, flag) for flag in re.findall(r"(?<!\S)-[-\w]*\w", named)}
    assert ("put", "--overwrite") in used
    hidden = {
        (name, flag)
        for name in COMMANDS
        for option in parser_of(name).options()
        for flag in option.option_strings
        if isinstance(option.help, Further)
    }
    assert used & hidden == {("put", "--manifest"), ("get", "--manifest")}  # told by verify
