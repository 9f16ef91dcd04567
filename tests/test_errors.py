"""Errors: their exit codes, what the system said in words, and what a peer said."""

from __future__ import annotations

import errno
import marshal
import os

import pytest

from filexfer import errors
from filexfer.errors import Code, ExitCode, FileError, FilexferError, packed, said, unpacked

EXIT_CODES = {
    "FilexferError": 1,
    "UsageError": 2,
    "FileError": 3,
    "TrustError": 4,
    "IntegrityError": 5,
    "NetworkError": 6,
    "ConnectionLost": 6,
    "Busy": 6,
    "CutShort": 6,
    "TimedOut": 6,
    "ProtocolError": 6,
    "RefusedError": 7,
    "LocalError": 8,
}


def test_exit_codes() -> None:
    """Scripts rely on them: they never change, and every error has one."""
    found = {
        name: int(each.exit_code)
        for name, each in vars(errors).items()
        if isinstance(each, type) and issubclass(each, FilexferError)
    }
    assert found == EXIT_CODES
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "FAULT": 1,
        "USAGE": 2,
        "SOME_FAILED": 3,
        "TRUST": 4,
        "INTEGRITY": 5,
        "NETWORK": 6,
        "REFUSED": 7,
        "LOCAL": 8,
        "HUNG_UP": 129,
        "INTERRUPTED": 130,
        "TERMINATED": 143,
    }


def test_the_tree_is_drawn_as_it_is() -> None:
    """The drawing in the module's docstring shows the classes, their parents and exit codes."""
    doc = errors.__doc__
    assert doc
    parents: list[tuple[int, str]] = []
    drawn = {}
    for line in doc.splitlines():
        words = line.lstrip(" |+-").split()
        if (len(words) > 1 and words[1].isdigit()) or line.lstrip(" |").startswith("+-- "):
            indent = len(line) - len(line.lstrip(" |+-"))
            parents = [each for each in parents if each[0] < indent]
            drawn[words[0]] = parents[-1][1] if parents else "Exception"
            parents.append((indent, words[0]))
            cls = getattr(errors, words[0])
            assert cls.__base__.__name__ == drawn[words[0]]
            if words[1].isdigit():
                assert cls.exit_code == int(words[1])
    assert set(drawn) | {"Busy", "CutShort"} == set(EXIT_CODES)


def test_a_file_error_shows_its_name() -> None:
    """The name is escaped where it is shown, and as it is where programs look."""
    error = FileError(Code.EXISTS, "a\x1b[31m", "exists and differs")
    assert str(error) == "a\\x1b[31m: exists and differs"
    assert (error.code, error.name, error.text) == ("exists", "a\x1b[31m", "exists and differs")
    assert str(FileError(Code.DENIED, "", "no")) == ".: no"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOENT, "not_found"),
        (errno.EEXIST, "exists"),
        (errno.ENOTDIR, "not_a_folder"),
        (errno.EISDIR, "is_a_folder"),
        (errno.ELOOP, "not_regular"),
        (errno.ENXIO, "not_regular"),
        (errno.ENOTEMPTY, "not_empty"),
        (errno.EACCES, "denied"),
        (errno.EPERM, "denied"),
        (errno.EROFS, "denied"),
        (errno.ENOSPC, "no_space"),
        (errno.EDQUOT, "no_space"),
        (errno.EFBIG, "too_large"),
        (errno.ENAMETOOLONG, "bad_name"),
        (errno.EILSEQ, "bad_name"),
        (errno.EMFILE, "io_error"),
        (errno.ENFILE, "io_error"),
    ],
)
def test_from_os(number: int, code: str) -> None:
    """What the system says has a code and a sentence of its own."""
    error = FileError.from_os(OSError(number, os.strerror(number)), "a/b")
    assert (error.code, error.name) == (code, "a/b")
    assert error.text
    assert str(number) not in error.text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.EIO, "whatever"), os.strerror(errno.EIO)),
        (OSError("no number"), "no number"),
        (OSError(99999, "x"), os.strerror(99999)),
    ],
)
def test_from_os_unknown(error: OSError, text: str) -> None:
    """What has no meaning of its own is an input/output error in the system's words."""
    found = FileError.from_os(error, "a")
    assert (found.code, found.text) == (Code.IO_ERROR, text)


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (Code.BUSY, errors.Busy),
        (Code.SHUTTING_DOWN, errors.ConnectionLost),
        (Code.TIMEOUT, errors.TimedOut),
        (Code.BAD_HEADER, errors.ProtocolError),
        (Code.OUT_OF_ORDER, errors.ProtocolError),
        (Code.UNSUPPORTED, errors.ProtocolError),
        (Code.INTERNAL, errors.ProtocolError),
        (Code.DENIED, errors.RefusedError),
        (Code.NO_SPACE, errors.RefusedError),
        (Code.SIZE_MISMATCH, errors.ConnectionLost),
        ("made_up_later", errors.RefusedError),
        ("", errors.RefusedError),
    ],
)
def test_said(code: str, cls: type[FilexferError]) -> None:
    """What ends a connection is worth another try, a broken talk, or a refusal."""
    error = said(code, "because")
    assert type(error) is cls
    assert str(error) == "the other side says: because"
    if isinstance(error, errors.ProtocolError | errors.RefusedError):
        assert error.code == code


@pytest.mark.case("C18")
def test_said_is_harmless() -> None:
    """C18: a peer's words are escaped and cut before anybody sees them."""
    error = str(said(Code.DENIED, "\x1b]0;owned\x07\r\n\u202e" + "x" * 4000))
    assert error.isprintable()
    assert "\\x1b" in error
    assert len(error) < 550


def test_codes_are_words_of_the_wire() -> None:
    """A code is its own text, in lower case, so that it can travel."""
    codes = {name: code for name, code in vars(Code).items() if name.isupper()}
    assert len({*codes.values()}) == len(codes) > 20
    for name, code in codes.items():
        assert code == name.lower()


ODD = "a\udcff/\ud800 你好\n\x1b[31m"  # half surrogate pairs and what no terminal should see


def subclasses(cls: type[FilexferError]) -> set[type[FilexferError]]:
    return {cls}.union(*map(subclasses, cls.__subclasses__()))


MADE: dict[type[FilexferError], FilexferError] = {
    FileError: FileError(Code.EXISTS, ODD, f"exists and differs: {ODD}"),
    errors.ProtocolError: errors.ProtocolError(ODD, Code.OUT_OF_ORDER),
    errors.RefusedError: errors.RefusedError("made_up_later", ODD),
}


@pytest.mark.parametrize("cls", sorted(subclasses(FilexferError), key=str))
def test_every_error_comes_whole_out_of_another_process(cls: type[FilexferError]) -> None:
    """What was packed, sent as plain values and unpacked is the same error."""
    error = MADE.get(cls) or cls(ODD)
    parts = marshal.loads(marshal.dumps(packed(error)))
    found = unpacked(parts)
    assert type(found) is cls
    assert found.args == error.args
    assert vars(found) == vars(error)
    assert found.exit_code == error.exit_code


@pytest.mark.parametrize("error", [ValueError(ODD), KeyboardInterrupt(), OSError(5, "x")])
def test_a_fault_in_another_process_is_a_fault_here(error: BaseException) -> None:
    """What filexfer did not raise on purpose keeps its words, and has the code of a fault."""
    found = unpacked(marshal.loads(marshal.dumps(packed(error))))
    assert type(found) is FilexferError
    assert found.exit_code == ExitCode.FAULT
    assert str(found) == f"a fault in filexfer: {error!r}"
