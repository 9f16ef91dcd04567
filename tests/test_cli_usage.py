"""Commands that make no sense: one line that says why, the right exit code, nothing done.

And the rule by which a word is a local path or a place on a server.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from test_cli_process import Service, fx, is_one_line

from filexfer.cli import COMMANDS, parser_of, suggest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = "fx://127.0.0.1:1/"  # no server is there, and none of these commands looks for one

WRONG_WORDS = [
    ("", "COMMAND"),
    ("pup a b", "no command 'pup'; did you mean 'put'? 'filexfer --help' lists all commands"),
    ("help pup", "no command 'pup'; did you mean 'put'?"),
    ("upload a b", "no command 'upload'; did you mean 'put'?"),
    ("uplaod a b", "no command 'uplaod'; did you mean 'put'?"),
    ("Download a b", "no command 'Download'; did you mean 'get'?"),
    ("dir", "no command 'dir'; did you mean 'ls'?"),
    ("xyzzy", "no command 'xyzzy'; 'filexfer --help' lists all commands"),
    ("-v put a b", "no option '-v' before the COMMAND"),
    ("--nonsense", "COMMAND"),
    # what is missing
    ("put", "the following arguments are required: SRC, REMOTE; see 'filexfer put --help'"),
    ("put file", "REMOTE"),
    ("get", "REMOTE, DST"),
    (f"get {NOBODY}x", "DST"),
    ("ls", "REMOTE"),
    ("rm", "REMOTE"),
    ("mkdir", "REMOTE"),
    # options
    (f"put --nonsense file {NOBODY}", "no option '--nonsense'; see 'filexfer put --help'"),
    # the short help has --jobs, and not --retries
    (f"put --jobs x file {NOBODY}", "neither a number nor 'auto'; see 'filexfer put --help'"),
    (f"put --retries x file {NOBODY}", "'x' is no whole number; see 'filexfer help put'"),
    (f"put --retriez 1 x {NOBODY}", "did you mean '--retries'? see 'filexfer help put'"),
    (f"put --over file {NOBODY}", "no option '--over'; did you mean '--overwrite'? see 'filexfer"),
    (f"put --parallel 4 file {NOBODY}", "no option '--parallel'; did you mean '--jobs'?"),
    (f"put --paralel=4 file {NOBODY}", "no option '--paralel'; did you mean '--jobs'?"),
    (f"put --no-clobber file {NOBODY}", "did you mean '--skip-existing'?"),
    (f"put -x file {NOBODY}", "no option '-x'; see"),
    (f"put -avz file {NOBODY}", "no option '-a': folders, links, permissions and times are always"),
    (f"rm --tree {NOBODY}", "no option '--tree'; did you mean '--recursive'?"),
    (f"mkdir -p {NOBODY}a/b", "no option '-p': missing parents are always made"),
    ("token ad ann", "did you mean 'add'?"),
    (f"put --hash sha265 file {NOBODY}", "did you mean 'sha256'?"),
    (f"put -q -v file {NOBODY}", "not allowed with argument -q"),
    (f"put --overwrite --update file {NOBODY}", "not allowed with argument --overwrite"),
    (f"put --update --keep-both file {NOBODY}", "not allowed with argument --update"),
    (f"put --hash crc32 file {NOBODY}", "invalid choice: 'crc32'"),
    (f"put --jobs 0 file {NOBODY}", "jobs must be 1 to 64, not 0"),
    (f"put --jobs 65 file {NOBODY}", "jobs must be 1 to 64, not 65"),
    (f"put -j many file {NOBODY}", "'many' is neither a number nor 'auto'"),
    (f"put --retries=-1 file {NOBODY}", "retries must not be negative"),
    (f"put --timeout 0 file {NOBODY}", "'0' is no number of seconds above 0"),
    (f"put --timeout=-3 file {NOBODY}", "'-3' is no number of seconds above 0"),
    (f"put --timeout nan file {NOBODY}", "'nan' is no number of seconds above 0"),
    (f"put --timeout inf file {NOBODY}", "'inf' is no number of seconds above 0"),
    (f"put --timeout 1e9 file {NOBODY}", "'1e9' is no number of seconds above 0, up to 1000000"),
    (f"get --timeout soon {NOBODY}x .", "'soon' is no number of seconds above 0"),
    (f"put --bwlimit 80Mb file {NOBODY}", "'80Mb' is no rate in bytes per second, such as 500K,"),
    (f"put --bwlimit 0 file {NOBODY}", "bwlimit must be at least 2048 bytes per second, not 0"),
    (f"put --bwlimit 500 file {NOBODY}", "bwlimit must be at least 2048 bytes per second, not 500"),
    (f"put --bwlimit 5K -j 3 file {NOBODY}", "bytes per second for 3 connections, not 5120"),
    (f"get --bwlimit fast {NOBODY}x .", "'fast' is no rate in bytes per second"),
    (f"ls --bwlimit 1M {NOBODY}", "no option '--bwlimit'; see 'filexfer ls --help'"),
    (f"get --durability never {NOBODY}x .", "invalid choice: 'never'"),
    (f"put --durability file file {NOBODY}", "--durability"),  # the server decides
    (f"ls --hash md5 {NOBODY}", "--hash"),
    (f"ls {NOBODY} {NOBODY}", "unrecognized arguments"),
    # addresses
    ("put file local", "local is a local path; a remote one is HOST:PATH or fx://HOST/PATH"),
    ("put file :x", ":x has no host"),
    ("put file fx://", "fx:// has no host"),
    ("put file fx:///x", "fx:///x has no host"),
    ("put file fx://:17177/", "fx://:17177/ has no host"),
    ("put file fx://host:/", "a port is a number from 1 to 65535"),
    ("put file fx://host:0/", "a port is a number from 1 to 65535"),
    ("put file fx://host:65536/", "a port is a number from 1 to 65535"),
    ("put file fx://host:http/", "a port is a number from 1 to 65535"),
    ("put file fx://host:-1/", "a port is a number from 1 to 65535"),
    ("put file fx://[::1/", "an IPv6 address stands in brackets: fx://[::1]:PORT/"),
    ("put file fx://[::1]x/", "an IPv6 address stands in brackets: fx://[::1]:PORT/"),
    ("put file fx://::1/", "fx://::1/ has no host"),
    ("put file fx://fd00::1/", "a port is a number from 1 to 65535"),
    (f"put file {NOBODY}../x", "../x: a path on a server cannot have '..' in it"),
    (f"put file {NOBODY}a/%2e%2e/x", "a path on a server cannot have '..' in it"),
    ("get local .", "local is a local path"),
    (f"get {NOBODY}x fx://host/", "fx://host/ is remote"),
    (f"get {NOBODY}x host:x", "host:x is remote; a local file of that name is ./host:x"),
    (f"get {NOBODY}x fx://127.0.0.1:2/y .", "all sources must be on one server"),
    (f"get {NOBODY}x {NOBODY}y -", "only one file can go to standard output"),
    (f"get {NOBODY} -", "only one file can go to standard output"),
    (f"get {NOBODY}folder/ -", "only one file can go to standard output"),
    (f"put a:b {NOBODY}", "a:b is remote; a local file of that name is ./a:b"),
    (f"put fx://host/x {NOBODY}", "fx://host/x is remote"),
    (f"put - file {NOBODY}", "standard input (-) can only be put alone"),
    (f"put - {NOBODY}", "standard input needs a file's name at the destination"),
    (f"put - {NOBODY}folder/", "standard input needs a file's name at the destination"),
    ("ls local", "local is a local path"),
    (f"ls -la {NOBODY}", "no option '-a'"),
    ("ls http://127.0.0.1/", "http://127.0.0.1/ is an address of another kind"),
    ("put file sftp://host/", "an address of another kind; one here is fx://HOST/PATH"),
    (f"put file {NOBODY} --files-from file", "names are listed of one folder alone"),
    ("token", "required: {add,list,revoke}"),
    ("token add x --root /etc", "it is relative to the folder that is served"),
    (f"rm {NOBODY}", "the folder that is served cannot be removed"),
    (f"rm {NOBODY}.", "the folder that is served cannot be removed"),
    (f"mkdir {NOBODY}..", "cannot have '..' in it"),
    ("mkdir local", "local is a local path"),
    ("demo missing", "missing: no such file or folder"),
    ("doctor local", "local is a local path"),
    ("doctor --dir x", "--dir goes with --speed only"),
    ("doctor -j 2", "--jobs goes with --speed only"),
    (f"doctor --seconds 2 {NOBODY}", "--seconds goes with --speed only"),
    ("doctor --speed --jobs 0", "jobs must be 1 to 64, not 0"),
    ("doctor --speed --seconds 0", "--seconds must be above 0, up to 60, not 0"),
    ("doctor --speed --seconds nan", "--seconds must be above 0, up to 60, not nan"),
    ("doctor --speed --seconds 61", "--seconds must be above 0, up to 60, not 61"),
    (f"doctor --timeout 0 {NOBODY}", "'0' is no number of seconds above 0"),
    # serving
    ("serve . more", "unrecognized arguments: more"),
    ("serve --port 65536", "--port must be 0 to 65535, not 65536"),
    ("serve --port=-1", "--port must be 0 to 65535, not -1"),
    ("serve --port http", "argument --port: 'http' is no whole number"),
    ("serve --max-connections=-1", "--max-connections must be 1 to 65,535 connections, not -1"),
    ("serve --idle-timeout 0", "--idle-timeout must be 0.01 to 1,000,000 seconds, not 0.0"),
    ("serve --workers 0", "--workers must be 1 to 256, not 0"),
    ("serve --workers 257", "--workers must be 1 to 256, not 257"),
    ("serve --allow fly", "--allow takes overwrite and delete, with a comma between"),
    ("serve --allow overwrite+delete", "--allow takes overwrite and delete"),
    ("serve --read-only --allow delete", "a read-only server cannot allow more"),
    ("serve --durability never", "invalid choice: 'never'"),
    ("serve --bwlimit=-1M", "'-1M' is no rate in bytes per second"),
    ("serve --bwlimit 1K", "bwlimit must be at least 2048 bytes per second, not 1024"),
    ("serve -q -v", "not allowed with argument -q"),
]


@pytest.mark.parametrize(("words", "reason"), WRONG_WORDS, ids=[w for w, _ in WRONG_WORDS])
def test_wrong_words(words: str, reason: str, tmp_path: Path) -> None:
    """What makes no sense ends with code 2 and one line that says why; nothing is done."""
    (tmp_path / "file").write_text("x")
    result = fx(*words.split(), cwd=tmp_path)
    assert result.returncode == 2
    assert reason in result.stderr
    assert is_one_line(result.stderr), result.stderr
    assert result.stdout == ""
    assert os.listdir(tmp_path) == ["file"]


EMPTY = [
    ("put", "", NOBODY),
    ("put", "file", "", NOBODY),
    ("get", NOBODY, ""),
    ("diff", "", NOBODY),
    ("verify", ""),
    ("verify", "file", ""),
    ("serve", ""),
    ("token", "add", ""),
]


@pytest.mark.parametrize("words", EMPTY, ids=[" ".join(each) for each in EMPTY])
def test_empty_arguments(words: tuple[str, ...], tmp_path: Path) -> None:
    """An argument that is empty, as a variable that is not set, is no place: nothing is done."""
    (tmp_path / "file").write_text("x")
    result = fx(*words, cwd=tmp_path)
    assert result.returncode == 2
    assert " is empty; see 'filexfer " in result.stderr
    assert is_one_line(result.stderr), result.stderr
    assert os.listdir(tmp_path) == ["file"]


WRONG_PLACES = [
    ("ls fx://127.0.0.1:1/", 6, "cannot connect to 127.0.0.1 port 1: Connection refused"),
    ("get fx://host.invalid/x .", 6, "the host host.invalid is not known"),
    ("ls nowhere:", 6, "'filexfer remotes' lists the servers that are stored under a name"),
    ("login nas --file .", 8, ". is not a regular file"),
    ("put --token-file . file fx://127.0.0.1:1/", 8, ". is not a regular file"),
    ("serve --tokens . --port 0", 8, ". is not a regular file"),
    ("put file fx://a..b/", 6, "the host a..b is not known"),
    ("serve missing --port 0", 8, "/missing: No such file or directory"),
    ("serve file --port 0", 8, "/file: Not a directory"),
    ("serve --host host.invalid --port 0", 6, "cannot listen on host.invalid"),
    ("serve --host 198.51.100.1 --insecure --port 0", 6, "cannot listen on 198.51.100.1 port 0"),
    ("serve --secure --cert missing --port 0", 8, "cannot read missing: no such file"),
]


@pytest.mark.parametrize(
    ("words", "code", "reason"), WRONG_PLACES, ids=[w[0] for w in WRONG_PLACES]
)
def test_wrong_places(words: str, code: int, reason: str, tmp_path: Path) -> None:
    """A place that cannot be reached or served is told in one line."""
    (tmp_path / "file").write_text("x")
    result = fx(*words.split(), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (code, "")
    assert reason in result.stderr
    assert is_one_line(result.stderr), result.stderr


# Local or remote


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one server for the tests of this module; each uses names of its own."""
    folder = tmp_path_factory.mktemp("served")
    with Service(folder, "--workers", "1", "--durability", "none") as running_service:
        yield running_service


@pytest.mark.parametrize("name", ["a:b", "fx:", "[::1]:x", "-", "--help", "host:17177"])
def test_local_path_with_a_colon(name: str, tmp_path: Path, service: Service) -> None:
    """With ``./`` before it, any name is a local path; up and down."""
    (tmp_path / name).write_text(name)
    folder = f"local {name}"
    up = fx("put", f"./{name}", service.address + "taken/", cwd=tmp_path)
    assert up.returncode == 0, up.stderr
    assert (service.folder / "taken" / name).read_text() == name
    (tmp_path / folder).mkdir()
    url = up.stderr.split(" -> ")[1].strip()  # as the summary writes it
    down = fx("get", url, f"./{folder}/{name}", cwd=tmp_path)
    assert down.returncode == 0, down.stderr
    assert (tmp_path / folder / name).read_text() == name


def test_double_dash_ends_the_options(tmp_path: Path, service: Service) -> None:
    """What follows ``--`` is no option."""
    (tmp_path / "--overwrite").write_text("x")
    result = fx("put", "--", "--overwrite", service.address + "dashes/", cwd=tmp_path)
    assert result.returncode == 0
    assert os.listdir(service.folder / "dashes") == ["--overwrite"]


def test_colon_after_a_slash_is_local(tmp_path: Path, service: Service) -> None:
    """A colon behind the first slash makes no remote place."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a:b").write_text("x")
    result = fx("put", "folder/a:b", service.address + "colon/", cwd=tmp_path)
    assert result.returncode == 0
    assert os.listdir(service.folder / "colon") == ["a:b"]


def test_percent_signs(tmp_path: Path, service: Service) -> None:
    """In an ``fx://`` address ``%41`` is the letter A; a local path is taken as it is."""
    (tmp_path / "per%41cent").write_text("x")
    assert fx("put", tmp_path / "per%41cent", service.address + "x%41/").returncode == 0
    assert os.listdir(service.folder / "xA") == ["per%41cent"]
    assert fx("get", service.address + "xA/per%2541cent", "-").stdout == "x"
    assert fx("get", service.address + "xA/per%41cent", "-").returncode == 3


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 loopback address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_ipv6(tmp_path: Path) -> None:
    """An IPv6 address stands in brackets, in what is printed and in what is read."""
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--host", "::1", "--workers", "1") as service:
        assert service.address == f"fx://[::1]:{service.port}/"
        result = fx("put", "file", service.address, cwd=tmp_path)
        assert (result.returncode, service.address + "file\n") == (
            0,
            result.stderr[-len(service.address) - 5 :],
        )
        assert fx("ls", service.address).stdout == "file\n"


def test_short_form_uses_the_default_port(tmp_path: Path) -> None:
    """``HOST:PATH`` means port 17177; where that is free, a whole round trip shows it."""
    try:
        socket.create_server(("127.0.0.1", 17177)).close()
    except OSError:
        pytest.skip("port 17177 is in use")
    (tmp_path / "file").write_text("x")
    with Service(tmp_path / "in", "--port", "17177", "--workers", "1") as service:
        assert service.port == 17177
        result = fx("put", "file", "127.0.0.1:some/", cwd=tmp_path)
        assert result.stderr.endswith(" -> fx://127.0.0.1/some/file\n")
        assert fx("ls", "localhost:some").stdout == "file\n"


def test_synonyms_are_no_names() -> None:
    """No command is taken for another word for a command, and none stands twice beside one."""
    for table in (suggest.COMMANDS, suggest.OPTIONS, suggest.NOTES):
        for words in table.values():
            assert len(set(words.split())) == len(words.split()), words
    for words in suggest.COMMANDS.values():
        assert not set(COMMANDS) & set(words.split()), words


def test_what_is_suggested_exists() -> None:
    """A suggestion is a command or option that can be used."""
    for words in suggest.COMMANDS.values():
        for word in words.split():
            assert suggest.command(word, COMMANDS) in [*COMMANDS, None]
    known = [name for option in parser_of("ls").options() for name in option.option_strings]
    for words in suggest.OPTIONS.values():
        for word in words.split():
            assert suggest.option(word, known) in [*known, None]
