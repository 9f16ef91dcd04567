"""Options from the environment and from a file: what counts, what is refused, and how it is told."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

import pytest
from test_cli_process import ROOT, Service, environment, fx, is_one_line

from filexfer.cli import COMMANDS, parser_of
from filexfer.cli.parsing import Parser
from filexfer.cli.settings import OTHERS, Settings, variables
from filexfer.errors import FilexferError, LocalError, TrustError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[..., argparse.Namespace]

NOBODY = "fx://127.0.0.1:1/"
PUT = ["file", NOBODY]
# One of them is a value of any option.
SAMPLES = (
    *("3", "3M", "2026-01-31", "90m", "text", "batch", "json"),
    *("/dev/null", "0" * 64, f"sha256:{'0' * 64}"),
)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Return what reads the words of a command as the command line does."""

    def made(
        command: str, *words: str, file: str = "", parser: Parser | None = None, **variables: str
    ) -> argparse.Namespace:
        path = tmp_path / "config.toml"
        path.write_text(file)
        path.chmod(0o600)
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            settings = Settings(
                parser or parser_of(command), command, COMMANDS, str(path) if file else ""
            )
            return settings.parse(list(words))

    return made


def test_environment(read: Read) -> None:
    """A variable sets an option, with the value that the command line would make of it."""
    found = read(
        "put", *PUT, FILEXFER_PUT_JOBS="4", FILEXFER_PUT_SKIP_EXISTING="1", FILEXFER_PUT_TIMEOUT=""
    )
    assert (found.jobs, found.if_exists, found.timeout) == (4, "skip", 60.0)
    assert (found.sources, found.remote) == (["file"], NOBODY)


def test_file(read: Read) -> None:
    """A table of the file sets the options of its command, and of no other."""
    file = (
        "[put]\njobs = 4\nchecksum = true\ntimeout = 2.5\nhash = 'md5'\n[get]\njobs = 5\nmore = 1\n"
    )
    found = read("put", *PUT, file=file)
    assert (found.jobs, found.checksum, found.timeout, found.hash) == (4, True, 2.5, "md5")
    assert read("ls", NOBODY, file=file).timeout == 60.0
    day = read("token", "add", "ann", file="[token.add]\nexpires = 2030-12-31\n")
    assert day.expires == "2030-12-31"


@pytest.mark.parametrize(
    ("word", "is_on"),
    [*((word, True) for word in ("1", "true", "YES")), *((word, False) for word in ("0", "no"))],
)
def test_flags(read: Read, word: str, is_on: bool) -> None:
    """A flag is switched on and off by words."""
    assert read("put", *PUT, FILEXFER_PUT_CHECKSUM=word).checksum is is_on
    assert read("put", *PUT, file=f"[put]\nchecksum = '{word}'").checksum is is_on


LEVELS = [
    # words, environment, file; jobs
    ("-j 1", "2", "3", 1),
    ("", "2", "3", 2),
    ("", "", "3", 3),
    ("", "", "", None),
    ("-j auto", "2", "3", None),
]


@pytest.mark.parametrize(("words", "variable", "key", "expected"), LEVELS)
def test_precedence(read: Read, words: str, variable: str, key: str, expected: object) -> None:
    """The command line goes before the environment, that before the file."""
    file = f"[put]\njobs = {key}\n" if key else ""
    assert read("put", *words.split(), *PUT, file=file, FILEXFER_PUT_JOBS=variable).jobs == expected


EXCLUSIVE = [
    # words, environment, file; quiet, verbose
    ("-v", "QUIET=1", "", (False, True)),
    ("-v", "", "quiet = true", (False, True)),
    ("", "VERBOSE=1", "quiet = true", (False, True)),
    ("", "QUIET=0", "quiet = true", (False, False)),
    ("", "VERBOSE=0", "quiet = true", (True, False)),
    ("-q", "QUIET=0", "verbose = true", (True, False)),
]


@pytest.mark.parametrize(("words", "variable", "key", "expected"), EXCLUSIVE)
def test_exclusive_options(
    read: Read, words: str, variable: str, key: str, expected: tuple[bool, bool]
) -> None:
    """Of options that exclude one another the one of the higher level counts, without an error."""
    name, _, value = variable.partition("=")
    set_ = {f"FILEXFER_PUT_{name}": value} if name else {}
    found = read("put", *words.split(), *PUT, file=f"[put]\n{key}\n", **set_)
    assert (found.quiet, found.verbose) == expected


def test_exclusive_options_with_one_place(read: Read) -> None:
    """The same where several options write into one place."""
    found = read("put", "--update", *PUT, FILEXFER_PUT_OVERWRITE="1")
    assert found.if_exists == "update"
    found = read("put", *PUT, file="[put]\nupdate = true", FILEXFER_PUT_OVERWRITE="1")
    assert found.if_exists == "overwrite"
    found = read("put", *PUT, file="[put]\noverwrite = true", FILEXFER_PUT_OVERWRITE="0")
    assert found.if_exists == "error"


def test_exclusive_options_of_one_level(read: Read) -> None:
    """Both from one place are as wrong as on the command line."""
    with pytest.raises(
        UsageError, match=r"^FILEXFER_PUT_VERBOSE: not allowed with FILEXFER_PUT_QU"
    ):
        read("put", *PUT, FILEXFER_PUT_QUIET="1", FILEXFER_PUT_VERBOSE="1")
    with pytest.raises(
        UsageError, match=r"line 3, 'update' in \[put\]: not allowed with .* line 2"
    ):
        read("put", *PUT, file="[put]\noverwrite = true\nupdate = true\n")


def samples(option: argparse.Action) -> list[list[str]]:
    """Return values that may be those of an option."""
    if option.nargs == 0:
        return [[]]
    return [[str(each)] for each in option.choices or SAMPLES]


def test_every_option_of_every_command(read: Read, capsys: pytest.CaptureFixture[str]) -> None:
    """A variable and a key do what the option does; options without a long name there are none."""
    for command in COMMANDS:
        parser = parser_of(command)
        arguments = [
            str(next(iter(each.choices or ["x"])))
            for each in parser._get_positional_actions()
            if each.nargs not in ("?", "*")
        ]
        choice = parser.choices()[0] if parser.choices() else ""
        for option in parser.options():
            assert parser.names(option), option.option_strings
            name = parser.names(option)[0]
            for texts in samples(option):
                try:
                    flag = [f"--{name}" + "".join(f"={text}" for text in texts)]
                    expected = parser_of(command).parse_args([*arguments, *flag])
                except (SystemExit, FilexferError):
                    continue
                break
            else:
                pytest.fail(f"no value of {command} --{name} is known: extend SAMPLES")
            variable = "_".join(filter(None, ("FILEXFER", command, choice, name)))
            variable = variable.replace("-", "_").upper()
            value = texts[0] if texts else "1"
            assert read(command, *arguments, **{variable: value}) == expected, variable
            table = ".".join(filter(None, (command, choice)))
            file = f"[{table}]\n{name} = {f'{texts[0]!r}' if texts else 'true'}\n"
            assert read(command, *arguments, file=file) == expected, file
    capsys.readouterr()


def test_variables_are_distinct() -> None:
    """No two options have the same variable, and none has one that means something else."""
    found = [name for command in COMMANDS for name in variables(parser_of(command), command)]
    assert len(found) > 100
    assert len(set(found)) == len(found)
    assert not set(found) & set(OTHERS)


def test_other_variables_are_known() -> None:
    """Every variable that the program and its tests read for another purpose is among the known."""
    named: set[str] = set()
    for folder in ("filexfer", "tests", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.name != "test_cli_settings.py" and path.suffix != ".pyc":
                text = path.read_text(encoding="utf-8", errors="replace")
                named.update(re.findall(r"FILEXFER_[A-Z_]*[A-Z]\b", text))
    ours = {name for command in COMMANDS for name in variables(parser_of(command), command)}
    assert named - ours == set(OTHERS)


def special() -> Parser:
    """Return a parser with options of kinds that few commands have."""
    parser = Parser("put", "")
    parser.add_argument("--many", action="append")
    parser.add_argument("--more", action="extend", nargs="+")
    parser.add_argument("--maybe", nargs="?", const="bare", default="none")
    parser.add_argument("--both", action=argparse.BooleanOptionalAction, default=None)
    parser.add_argument("--needed", required=True)
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--one", action="store_true")
    either.add_argument("--two", action="store_true")
    return parser


NEEDED = {"FILEXFER_PUT_NEEDED": "x", "FILEXFER_PUT_ONE": "1"}


def test_options_of_other_kinds(read: Read) -> None:
    """What can be given several times takes lines, or a list; the command line replaces them all."""
    found = read("put", parser=special(), FILEXFER_PUT_MANY="a b\nc\n", **NEEDED)
    assert (found.many, found.needed, found.one) == (["a b", "c"], "x", True)
    file = "[put]\nmany = ['a', 'b']\nmore = ['c', 'd']\nmaybe = true\nboth = false\n"
    found = read("put", parser=special(), file=file, **NEEDED)
    assert (found.many, found.more, found.maybe, found.both) == (
        ["a", "b"],
        ["c", "d"],
        "bare",
        False,
    )
    found = read("put", "--many", "c", parser=special(), file=file, **NEEDED)
    assert found.many == ["c"]
    found = read("put", parser=special(), FILEXFER_PUT_MAYBE="it", FILEXFER_PUT_BOTH="1", **NEEDED)
    assert (found.maybe, found.both) == ("it", True)


def test_values_are_taken_once(read: Read) -> None:
    """A value that is read, from standard input say, is read once, whatever else is set."""
    taken: list[str] = []

    def take(text: str) -> list[str]:
        taken.append(text)
        return [text]

    parser = special()
    parser.add_argument("--lines", action="extend", type=take)
    parser.add_argument("--others", action="extend", type=take)
    found = read("put", "--lines=a", parser=parser, FILEXFER_PUT_OTHERS="b\nc", **NEEDED)
    assert (found.lines, found.others) == (["a"], ["b", "c"])
    assert sorted(taken) == ["a", "b", "c"]


@pytest.mark.parametrize("missing", NEEDED)
def test_what_is_needed(read: Read, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What must be given must be given somewhere."""
    given = {name: value for name, value in NEEDED.items() if name != missing}
    with pytest.raises(SystemExit):
        read("put", parser=special(), **given)
    assert "required" in capsys.readouterr().err


WRONG_VARIABLES = [
    ("put", "FILEXFER_PUT_JOBS=many", "FILEXFER_PUT_JOBS: 'many' is neither a number nor 'auto'"),
    ("put", "FILEXFER_PUT_HASH=crc", "FILEXFER_PUT_HASH: invalid choice: 'crc' (choose from "),
    ("put", "FILEXFER_PUT_RETRIES=x", "FILEXFER_PUT_RETRIES: 'x' is no whole number"),
    ("put", "FILEXFER_PUT_QUIET=2", "FILEXFER_PUT_QUIET: '2' is neither 1, true or yes nor"),
    ("put", "FILEXFER_PUT_JOB=2", "no option has the variable FILEXFER_PUT_JOB; did you mean 'FILEXFER_PUT_JOBS'?"),
    ("put", "FILEXFER_PUT_PARALLEL=2", "did you mean 'FILEXFER_PUT_JOBS'?"),
    ("put", "FILEXFER_PUT_REMOTE=x", "no option has the variable FILEXFER_PUT_REMOTE"),
    ("put", "FILEXFER_PUT_HELP=1", "no option has the variable FILEXFER_PUT_HELP"),
    ("token", "FILEXFER_TOKEN_RIGHTS=x", "did you mean 'FILEXFER_TOKEN_ADD_RIGHTS'?"),
    ("token", "FILEXFER_TOKEN_LIST_TOKEN=x", "did you mean 'FILEXFER_TOKEN_LIST_TOKENS'?"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "variable", "reason"), WRONG_VARIABLES)
def test_wrong_variables(read: Read, command: str, variable: str, reason: str) -> None:
    """What is wrong is told with the variable, and what may have been meant."""
    words = ["add", "ann"] if command == "token" else PUT
    name, _, value = variable.partition("=")
    with pytest.raises(UsageError) as told:
        read(command, *words, **{name: value})
    assert reason in str(told.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"FILEXFER_GET_JOBS": "many", "FILEXFER_GET_NONSENSE": "1"},
        dict.fromkeys(OTHERS, "2"),
        {"FILEXFER_PUT_NONSENSE": ""},
    ],
    ids=["another command's", "for other purposes", "empty"],
)
def test_variables_that_are_left_alone(read: Read, variables: dict[str, str]) -> None:
    """Variables of other commands, for other purposes, and empty ones change nothing."""
    assert read("put", *PUT, **variables) == parser_of("put").parse_args(PUT)


def test_token_rule(read: Read) -> None:
    """Options of ``token add`` have its word in their variables; FILEXFER_TOKEN_FILE is another."""
    words = ("token", "add", "ann")
    found = read(
        *words, FILEXFER_TOKEN="t", FILEXFER_TOKEN_FILE="/f", FILEXFER_TOKEN_ADD_QUOTA="1G"
    )
    assert found.quota == "1G"
    assert "/f" not in vars(found).values()
    file = "[token.add]\ntokens = 'a'\n[token.list]\ntokens = 'b'\n"
    assert read("token", "list", file=file, FILEXFER_TOKEN_ADD_TOKENS="c").tokens == "b"
    assert read(*words, file=file, FILEXFER_TOKEN_ADD_TOKENS="c").tokens == "c"


WRONG_FILES = [
    ("[put]\n\njob = 4", "config.toml, line 3, 'job' in [put]: put has no such option; did you mean 'jobs'?"),
    ("[put]\nparallel = 4", "did you mean 'jobs'?"),
    ("[put]\nremote = 'x'", "'remote' in [put]: put has no such option"),
    ("put.job = 4", "config.toml, 'job' in [put]: put has no such option"),
    ("[get]\njobs = 'x'\n[put]\n  'jobs'= 'many'", "line 4, 'jobs' in [put]: 'many' is neither a number nor 'auto'"),
    ("[put]\njobs = [4]", "'jobs' in [put]: one text or number is wanted"),
    ("[put]\njobs = true", "'jobs' in [put]: one text or number is wanted"),
    ("[put]\nquiet = 3", "'quiet' in [put]: 3 is neither 1, true or yes nor 0, false or no"),
    ("\n[upload]\njobs = 4", "config.toml, line 2, [upload]: no command 'upload'; did you mean 'put'?"),
    ("jobs = 4\n", "line 1, 'jobs': stands in no table, such as [put]"),
    ("[put\njobs = 4\n", "config.toml is no TOML: "),
    ("put = 4", "line 1, 'put': stands in no table"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "reason"), WRONG_FILES)
def test_wrong_files(read: Read, file: str, reason: str) -> None:
    """What is wrong is told with the file, the line, and what may have been meant."""
    with pytest.raises(UsageError) as told:
        read("put", *PUT, file=file)
    assert reason in str(told.value)


def test_wrong_tables_of_choices(read: Read) -> None:
    """Where options belong to a choice, the table has its name."""
    for key, meant in (("rights = 'x'", "add"), ("[token.ad]", "add"), ("[token.lst]", "list")):
        with pytest.raises(UsageError, match=rf"did you mean '\[token\.{meant}\]'\?"):
            read("token", "add", "ann", file=f"{'' if key[0] == '[' else '[token]'}\n{key}\n")


SECRET = "MyVerySecretToken0123456789abcdef"


@pytest.mark.parametrize(
    "variables",
    [
        {"FILEXFER_PUT_TOKEN": SECRET},
        {"FILEXFER_PUT_JOBS": f"fx://{SECRET}@host/#abc"},
        {"FILEXFER_PUT_QUIET": f"FX://{SECRET}@host/#abc"},
        {"file": f"[put]\ntoken = '{SECRET}'\n"},
        {"file": f"[put]\ntoken = {SECRET}\n"},
        {"file": f"[put]\nbwlimit = 'fx://{SECRET}@host'\n"},
        {"file": f"[put]\ntimeout = 'fx://{SECRET}@host/'\n"},
        {"file": f"token = '{SECRET}'\n"},
    ],
)
def test_secrets_are_not_repeated(read: Read, variables: dict[str, str]) -> None:
    """A token or connect string in the wrong place is not shown."""
    with pytest.raises(UsageError) as told:
        read("put", *PUT, **variables)
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    "words", [["put", f"fx://{SECRET}@h/", "--jbs"], [f"fx://{SECRET}@h/"], ["ls", "x", f"fx://{SECRET}@h/"]]
)  # fmt: skip
def test_secrets_in_words_are_not_repeated(words: list[str]) -> None:
    """The same on the command line."""
    result = fx(*words)
    assert (result.returncode, SECRET in result.stderr) == (2, False)


def test_a_file_that_others_may_change(read: Read, tmp_path: Path) -> None:
    """A file that others may change is not used."""
    path = tmp_path / "theirs.toml"
    path.write_text("[put]\njobs = 4\n")
    path.chmod(0o622)
    settings = Settings(parser_of("put"), "put", COMMANDS, str(path))
    with pytest.raises(TrustError, match=r"others may change .* chmod go-w"):
        settings.parse(PUT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user(tmp_path: Path) -> None:
    """A file of another user is not used."""
    path = tmp_path / "theirs.toml"
    path.write_text("[put]\njobs = 4\n")
    path.chmod(0o600)
    os.chown(path, 65534, -1)
    settings = Settings(parser_of("put"), "put", COMMANDS, str(path))
    with pytest.raises(TrustError, match="belongs to another user"):
        settings.parse(PUT)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A folder, nothing, or what is no text in the place of the file is told."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(LocalError, match="cannot read the configuration"):
            Settings(parser_of("put"), "put", COMMANDS, str(path)).parse(PUT)
    (tmp_path / "file").write_bytes(b"# \xff")
    (tmp_path / "file").chmod(0o600)
    with pytest.raises(UsageError, match="is not UTF-8"):
        Settings(parser_of("put"), "put", COMMANDS, str(tmp_path / "file")).parse(PUT)


def test_which_file(tmp_path: Path) -> None:
    """The file lies in XDG_CONFIG_HOME or ~/.config; FILEXFER_CONFIG names another, or none."""
    homes = {"home/.config/filexfer": "home", "xdg/filexfer": "xdg", "else": "else"}
    for folder, word in homes.items():
        (tmp_path / folder).mkdir(parents=True)
        path = tmp_path / folder / "config.toml"
        path.write_text(f"[ls]\ntimeout = '{word}'\n")
        path.chmod(0o644)
    at_home = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": ""}
    xdg = {**at_home, "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    cases = [
        (at_home, "'home' is no number"),
        (xdg, "'xdg' is no number"),
        ({**xdg, "FILEXFER_CONFIG": str(tmp_path / "else" / "config.toml")}, "'else' is no number"),
        ({**xdg, "FILEXFER_CONFIG": ""}, "cannot connect"),
        ({**xdg, "FILEXFER_CONFIG": "/dev/null"}, "cannot connect"),
        ({**xdg, "FILEXFER_CONFIG": str(tmp_path / "none")}, "cannot read the configuration"),
    ]
    for changes, reason in cases:
        result = fx("ls", NOBODY, env=environment(**changes))
        assert reason in result.stderr
        assert is_one_line(result.stderr)


def test_a_transfer(tmp_path: Path) -> None:
    """A real command heeds both, tells where a wrong value came from, and its help needs neither."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "config.toml").write_text("[put]\nkeep-both = true\nquiet = true\n")
    (tmp_path / "config.toml").chmod(0o600)
    env = environment(FILEXFER_CONFIG=str(tmp_path / "config.toml"), FILEXFER_PUT_VERBOSE="yes")
    env["FILEXFER_SERVE_WORKERS"] = "1"
    with Service(tmp_path / "in", "--durability", "none", env=env) as service:
        (service.folder / "file").write_text("another")
        result = fx("put", tmp_path / "file", service.address, env=env)
        assert result.returncode == 0, result.stderr
        assert result.stderr.startswith("kept")  # said by -v
        assert len(os.listdir(service.folder)) == 2
    env["FILEXFER_PUT_JOBS"] = "0"
    result = fx("put", tmp_path / "file", NOBODY, env=env)
    assert result.stderr == (
        "filexfer: error: jobs must be 1 to 64, not 0 (set by FILEXFER_PUT_JOBS)\n"
    )
    env["FILEXFER_PUT_NONSENSE"] = "1"
    assert fx("put", "--help", env=env).stdout == fx("put", "--help").stdout


def test_the_file_is_not_served(tmp_path: Path) -> None:
    """A folder that has the configuration in it, which can switch encryption off, is not served."""
    (tmp_path / "config.toml").write_text("")
    (tmp_path / "config.toml").chmod(0o600)
    env = environment(FILEXFER_CONFIG=str(tmp_path / "config.toml"))
    result = fx("serve", tmp_path, "--port", "0", env=env)
    assert result.returncode == 4
    assert "config.toml belongs in it" in result.stderr
