"""Walking a folder, and reading its files small and large."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from conftest import dig

from filexfer.entry import FILE, FOLDER, LINK, SPECIAL, Entry
from filexfer.errors import Code, FileError
from filexfer.storage import directories
from filexfer.storage.reading import LargeFile, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MEBIBYTE = 1 << 20

_CAPABILITIES = 0x2008_0522  # version 3 of <linux/capability.h>


@contextmanager
def powerless() -> Iterator[None]:
    """Take from this thread, and those it starts, root's power to pass over permission bits."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    before = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    if not hasattr(libc, "capget") or libc.capget(header, before):
        pytest.skip("root cannot be made to obey permission bits here")
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~0b1110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER
    assert libc.capset(header, without) == 0
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0


@pytest.fixture
def reading(top: Path) -> Iterator[Reading]:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    with Reading(fd) as found:
        yield found
    os.close(fd)


def code_of(error: pytest.ExceptionInfo[FileError]) -> str:
    return error.value.code


def walked(reading: Reading, name: str = "", *, recursive: bool = True) -> list[str]:
    """Return what a walk finds, which must find it all."""
    failures: list[FileError] = []
    found = [entry.name for entry in reading.walk(name, failures.append, recursive=recursive)]
    assert failures == []
    return found


# What a name is


@pytest.fixture
def sock(top: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bind a socket in the folder; its whole path would be too long for an address."""
    monkeypatch.chdir(top)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        yield


def test_an_entry_says_kind_size_time_and_mode(reading: Reading, top: Path, sock: None) -> None:
    (top / "file").write_bytes(b"hello")
    os.chmod(top / "file", 0o4640)
    os.utime(top / "file", ns=(1, 1_700_000_000_123_456_789))
    (top / "folder").mkdir()
    (top / "link").symlink_to("some/where")
    os.mkfifo(top / "pipe")
    entry = reading.stat("file")
    assert (entry.type, entry.size) == (FILE, 5)
    assert (entry.mtime, entry.mode) == (1_700_000_000_123_456_789, 0o640)
    assert (reading.stat("folder").type, reading.stat("folder").size) == (FOLDER, 0)
    assert (reading.stat("link").type, reading.stat("link").extra) == (LINK, "some/where")
    assert (reading.stat("pipe").type, reading.stat("socket").type) == (SPECIAL, SPECIAL)
    assert reading.stat("").type == FOLDER


def test_what_is_not_there_is_not_found(reading: Reading, top: Path) -> None:
    (top / "file").write_bytes(b"")
    (top / ".fx-left").write_bytes(b"")
    for name, code in {
        "missing": Code.NOT_FOUND,
        "missing/below": Code.NOT_FOUND,
        "file/below": Code.NOT_A_FOLDER,
        ".fx-left": Code.BAD_NAME,
        "../top/file": Code.BAD_NAME,
        "/etc/passwd": Code.BAD_NAME,
        "x" * 256: Code.BAD_NAME,
    }.items():
        for look in (reading.stat, reading.open):
            with pytest.raises(FileError) as caught:
                look(name)
            assert code_of(caught) == code
            assert name.startswith(caught.value.name)


# Walks


def test_a_folder_comes_before_what_is_in_it(reading: Reading, top: Path) -> None:
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "a" / "b" / "file").write_bytes(b"")
    (top / "a" / "empty").mkdir()
    (top / "z").write_bytes(b"")
    found = walked(reading)
    assert sorted(found) == ["", "a", "a/b", "a/b/c", "a/b/file", "a/empty", "z"]
    for name in found[1:]:
        assert found.index(name) > found.index(name.rpartition("/")[0])


def test_what_lies_in_one_folder_comes_in_one_piece(reading: Reading, top: Path) -> None:
    """So that the receiver can finish a folder before it begins the next one."""
    for folder in ("a", "a/b", "c"):
        (top / folder).mkdir()
        for number in range(3):
            (top / folder / f"{number}").write_bytes(b"")
    found = walked(reading)
    for folder in ("a", "a/b", "c"):
        places = [place for place, name in enumerate(found) if name.startswith(folder + "/")]
        assert places == list(range(places[0], places[-1] + 1))


def test_a_walk_can_stay_in_one_folder(reading: Reading, top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_bytes(b"")
    assert sorted(walked(reading, "a", recursive=False)) == ["a", "a/b", "a/file"]


def test_a_file_is_a_walk_of_its_own(reading: Reading, top: Path) -> None:
    (top / "a").mkdir()
    (top / "a" / "file").write_bytes(b"")
    assert walked(reading, "a/file") == ["a/file"]
    with pytest.raises(FileError):
        walked(reading, "a/missing")


def test_links_and_pipes_are_named_and_not_entered(reading: Reading, top: Path) -> None:
    (top / "folder").mkdir()
    (top / "folder" / "up").symlink_to("..")
    (top / "link").symlink_to("folder")
    os.mkfifo(top / "pipe")
    assert sorted(walked(reading)) == ["", "folder", "folder/up", "link", "pipe"]


def test_leftovers_are_never_found(reading: Reading, top: Path) -> None:
    for name in (".fx-0123.part", ".FX-x", ".fx-"):
        (top / name).write_bytes(b"")
    (top / ".fx-folder").mkdir()
    (top / ".fxx").write_bytes(b"")
    assert sorted(walked(reading)) == ["", ".fxx"]


ODD = [
    "-rf",
    "~",
    "a\nb\x1b[31m\x7f",
    "你好.txt",
    "e\u0301",
    "\u00e9",
    " x. ",
    "C:\\x",
    "\u202egpj",
    "👩\u200d💻",
    os.fsdecode(b"\xff\x1b[31m"),
    "x" * 255,
    "test%46.txt",
]


def test_odd_names_are_found_as_they_are(reading: Reading, top: Path) -> None:
    for name in ODD:
        (top / name).mkdir()
        (top / name / name).write_bytes(os.fsencode(name))
    expected = ["", *ODD, *(f"{name}/{name}" for name in ODD)]
    assert sorted(walked(reading)) == sorted(expected)
    for name in ODD:
        entry = reading.stat(f"{name}/{name}")
        assert reading.read(entry, 1000) == os.fsencode(name)


def test_a_folder_that_vanishes_is_told_and_the_walk_goes_on(reading: Reading, top: Path) -> None:
    for name in ("a", "b", "c"):
        (top / name).mkdir()
        (top / name / "file").write_bytes(b"")
    failures: list[FileError] = []
    found = []
    for entry in reading.walk("", failures.append):
        found.append(entry.name)
        if len(found) == 2:
            gone = entry.name
            shutil.rmtree(top / gone)
    assert [(error.name, error.code) for error in failures] == [(gone, Code.NOT_FOUND)]
    assert len(found) == 6


def test_a_file_that_vanishes_is_not_found_any_more(reading: Reading, top: Path) -> None:
    for name in ("a", "b", "c"):
        (top / name).write_bytes(b"")
    walk = reading.walk("", lambda error: pytest.fail(str(error)))
    assert next(walk).name == ""
    first = next(walk).name
    for name in {"a", "b", "c"} - {first}:
        (top / name).unlink()
    assert list(walk) == []


def test_a_folder_that_became_a_link_is_not_entered(
    reading: Reading, top: Path, tmp_path: Path
) -> None:
    (top / "folder").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"")
    failures: list[FileError] = []
    found = []
    for entry in reading.walk("", failures.append):
        found.append(entry.name)
        if entry.name == "folder":
            (top / "folder").rmdir()
            (top / "folder").symlink_to(tmp_path / "outside")
    assert found == ["", "folder"]
    assert [error.code for error in failures] == [Code.NOT_A_FOLDER]


@pytest.mark.case("D23")
def test_a_very_deep_tree_is_walked_as_far_as_names_go(reading: Reading, top: Path) -> None:
    """No recursion ends it; what is too deep is told once."""
    dig(top)
    failures: list[FileError] = []
    found = list(reading.walk("", failures.append))
    assert max(entry.name.count("/") for entry in found) in (63, 64)
    assert [error.code for error in failures] == [Code.BAD_NAME]


def test_a_wide_tree_is_walked_with_few_folders_open(reading: Reading, top: Path) -> None:
    for number in range(3 * directories.OPEN_MAX):
        (top / f"{number}" / "below").mkdir(parents=True)
        (top / f"{number}" / "file").write_bytes(b"")
    before = len(os.listdir("/dev/fd"))
    most = 0
    found = 0
    for _ in reading.walk("", lambda error: pytest.fail(str(error))):
        most = max(most, len(os.listdir("/dev/fd")))
        found += 1
    assert found == 1 + 3 * 3 * directories.OPEN_MAX
    assert most - before <= directories.OPEN_MAX + 5


def test_what_may_not_be_read_is_told_and_the_walk_goes_on(reading: Reading, top: Path) -> None:
    (top / "shut").mkdir(mode=0o000)
    (top / "open").mkdir()
    (top / "secret").write_bytes(b"")
    os.chmod(top / "secret", 0o000)
    failures: list[FileError] = []
    with powerless():
        found = list(reading.walk("", failures.append))
        for look in (reading.open, lambda name: reading.read(Entry(name, FILE), 1000)):
            with pytest.raises(FileError) as caught:
                look("secret")
            assert code_of(caught) == Code.DENIED
    os.chmod(top / "shut", 0o700)
    assert sorted(entry.name for entry in found) == ["", "open", "secret", "shut"]
    assert [(error.name, error.code) for error in failures] == [("shut", Code.DENIED)]


# Opening


@pytest.mark.case("D5", "D6")
def test_only_regular_files_are_opened(
    reading: Reading, top: Path, tmp_path: Path, sock: None
) -> None:
    """A pipe without a writer must not hold us up."""
    (tmp_path / "outside").write_bytes(b"secret")
    (top / "link").symlink_to(tmp_path / "outside")
    (top / "folder").mkdir()
    os.mkfifo(top / "pipe")
    for name in ("link", "folder", "pipe", "socket"):
        with pytest.raises(FileError) as caught:
            reading.open(name)
        assert code_of(caught) == Code.NOT_REGULAR
        with pytest.raises(FileError):
            reading.read(Entry(name, FILE), 1000)
        with pytest.raises(FileError):
            reading.large(Entry(name, FILE))


# Small files


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 1000])
def test_a_small_file_is_read_whole(reading: Reading, top: Path, size: int) -> None:
    data = os.urandom(size)
    (top / "file").write_bytes(data)
    entry = reading.stat("file")
    assert reading.read(entry, 5000) == data


def test_the_entry_of_a_file_that_changed_since_the_walk_is_brought_up_to_date(
    reading: Reading, top: Path
) -> None:
    (top / "file").write_bytes(b"old")
    entry = reading.stat("file")
    (top / "file").write_bytes(b"newer")
    os.utime(top / "file", ns=(5, 5))
    assert reading.read(entry, 1000) == b"newer"
    assert (entry.size, entry.mtime) == (5, 5)


def test_a_file_that_is_not_small_any_more_is_not_read_whole(reading: Reading, top: Path) -> None:
    (top / "file").write_bytes(b"1234")
    entry = reading.stat("file")
    assert reading.read(entry, 4) == b"1234"
    assert reading.read(entry, 3) is None
    (top / "file").write_bytes(b"12345")
    assert reading.read(entry, 4) is None
    assert entry.size == 5


@pytest.mark.case("D11")
def test_a_file_that_changes_once_while_it_is_read_is_read_again(
    reading: Reading, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The change must fall between two system calls, which only a stand-in can arrange."""
    (top / "file").write_bytes(b"old")
    changes = [b"newer"]
    pread = os.pread

    def changing(fd: int, size: int, place: int) -> bytes:
        data = pread(fd, size, place)
        if changes:
            (top / "file").write_bytes(changes.pop())
            os.utime(top / "file", ns=(5, 5))
        return data

    monkeypatch.setattr(os, "pread", changing)
    entry = reading.stat("file")
    assert reading.read(entry, 1000) == b"newer"
    assert (entry.size, entry.mtime) == (5, 5)


@pytest.mark.case("D11")
def test_a_file_that_does_not_stop_changing_is_given_up(
    reading: Reading, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above."""
    (top / "file").write_bytes(b"")
    pread = os.pread

    def changing(fd: int, size: int, place: int) -> bytes:
        with open(top / "file", "ab") as file:
            file.write(b"x")
        return pread(fd, size, place)

    monkeypatch.setattr(os, "pread", changing)
    with pytest.raises(FileError) as caught:
        reading.read(reading.stat("file"), 1000)
    assert code_of(caught) == Code.CHANGED


@pytest.mark.case("D6")
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_a_file_without_size_that_has_bytes_is_given_up() -> None:
    """As /proc has them: nothing says how long they are, nor that they are of one moment."""
    fd = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    with Reading(fd) as reading, pytest.raises(FileError) as caught:
        reading.read(reading.stat("status"), 1000)
    os.close(fd)
    assert code_of(caught) == Code.CHANGED


# Large files


def pieces(file: LargeFile, size: int) -> list[tuple[str, bytes | int]]:
    """Read a file as a sender does; return its bytes, and its holes by their sizes."""
    found: list[tuple[str, bytes | int]] = []
    buffer = memoryview(bytearray(size))
    while True:
        if hole := file.hole(1 << 30):
            found.append(("hole", hole))
            continue
        got = file.read_into(buffer[: file.until_hole(size)])
        if not got:
            return found
        found.append(("bytes", bytes(buffer[:got])))


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 4321])
def test_a_large_file_is_read_in_pieces(reading: Reading, top: Path, size: int) -> None:
    data = os.urandom(size)
    (top / "file").write_bytes(data)
    file = reading.large(reading.stat("file"))
    assert file.size == size
    assert not file.sparse
    found = pieces(file, 1000)
    assert b"".join(piece for _, piece in found if isinstance(piece, bytes)) == data
    assert all(kind == "bytes" for kind, _ in found)
    file.check_unchanged()
    file.close()


def sparse(path: Path, size: int, *places: int) -> None:
    """Make a file of holes with a block of bytes at each place."""
    with open(path, "wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place)
            file.write(b"x" * 4096)
    if path.stat().st_blocks * 512 >= size:
        pytest.skip("this file system keeps no holes")


def layout(found: list[tuple[str, bytes | int]]) -> list[tuple[str, int]]:
    """Return kinds and sizes, neighbours of one kind joined."""
    joined: list[tuple[str, int]] = []
    for kind, piece in found:
        size = piece if isinstance(piece, int) else len(piece)
        if joined and joined[-1][0] == kind:
            joined[-1] = (kind, joined[-1][1] + size)
        else:
            joined.append((kind, size))
    return joined


def test_holes_are_told_apart(reading: Reading, top: Path) -> None:
    sparse(top / "file", 8 * MEBIBYTE, MEBIBYTE, 5 * MEBIBYTE)
    file = reading.large(reading.stat("file"))
    assert file.sparse
    assert layout(pieces(file, 64 << 10)) == [
        ("hole", MEBIBYTE),
        ("bytes", 4096),
        ("hole", 4 * MEBIBYTE - 4096),
        ("bytes", 4096),
        ("hole", 3 * MEBIBYTE - 4096),
    ]
    file.close()


def test_a_file_that_is_one_hole_has_no_bytes(reading: Reading, top: Path) -> None:
    sparse(top / "file", 8 * MEBIBYTE)
    file = reading.large(reading.stat("file"))
    assert pieces(file, 64 << 10) == [("hole", 8 * MEBIBYTE)]
    file.close()


def test_a_hole_is_skipped_at_most_as_far_as_asked(reading: Reading, top: Path) -> None:
    sparse(top / "file", 8 * MEBIBYTE)
    file = reading.large(reading.stat("file"))
    assert file.hole(5 * MEBIBYTE) == 5 * MEBIBYTE
    assert file.hole(5 * MEBIBYTE) == 3 * MEBIBYTE
    assert file.hole(5 * MEBIBYTE) == 0
    file.close()


@pytest.mark.case("D10")
@pytest.mark.parametrize("where", ["hole", "end"])
def test_a_sparse_file_that_grows_is_read_to_its_first_size_only(
    reading: Reading, top: Path, where: str
) -> None:
    """Also where it ended in a hole that now goes on."""
    place = MEBIBYTE if where == "hole" else 8 * MEBIBYTE - 4096
    sparse(top / "file", 8 * MEBIBYTE, place)
    file = reading.large(reading.stat("file"))
    with open(top / "file", "ab") as more:
        more.truncate(9 * MEBIBYTE)
        more.write(b"y" * 4096)
    assert sum(size for _, size in layout(pieces(file, 64 << 10))) == 8 * MEBIBYTE
    with pytest.raises(FileError) as caught:
        file.check_unchanged()
    assert code_of(caught) == Code.CHANGED
    file.close()


@pytest.mark.case("D9")
def test_a_sparse_file_that_shrinks_ends_there(reading: Reading, top: Path) -> None:
    sparse(top / "file", 8 * MEBIBYTE, 0)
    file = reading.large(reading.stat("file"))
    assert file.read_into(memoryview(bytearray(4096))) == 4096
    os.truncate(top / "file", 1000)
    assert pieces(file, 64 << 10) == []
    with pytest.raises(FileError):
        file.check_unchanged()
    file.close()


def _shrink(path: Path) -> None:
    os.truncate(path, 500)


def _grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"more")


def _rewrite(path: Path) -> None:
    with open(path, "r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(7, 7))


@pytest.mark.parametrize("change", [_shrink, _grow, _rewrite])
def test_a_large_file_that_changed_is_told(
    reading: Reading, top: Path, change: Callable[[Path], None]
) -> None:
    """It never gives more bytes than it had at first."""
    (top / "file").write_bytes(bytes(1500))
    file = reading.large(reading.stat("file"))
    assert file.read_into(memoryview(bytearray(1000))) == 1000
    change(top / "file")
    rest = sum(size for _, size in layout(pieces(file, 1000)))
    assert rest == (0 if change is _shrink else 500)
    with pytest.raises(FileError) as caught:
        file.check_unchanged()
    assert code_of(caught) == Code.CHANGED
    file.close()


def test_a_file_replaced_by_a_rename_is_read_on_as_it_was(reading: Reading, top: Path) -> None:
    (top / "file").write_bytes(b"old one")
    file = reading.large(reading.stat("file"))
    (top / "other").write_bytes(b"the other")
    (top / "other").rename(top / "file")
    assert pieces(file, 1000) == [("bytes", b"old one")]
    file.check_unchanged()
    file.close()


def test_a_disk_that_cannot_be_read_is_told(
    reading: Reading, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk here fails by itself."""

    def failing(*_: object) -> int:
        raise OSError(5, "Input/output error")

    (top / "file").write_bytes(b"bytes")
    entry = reading.stat("file")
    file = reading.large(entry)
    for call in ("preadv", "pread", "readv"):
        monkeypatch.setattr(os, call, failing)
    for read in (
        lambda: file.read_into(memoryview(bytearray(10))),
        lambda: reading.read(entry, 10),
        lambda: reading.digest("file", "md5", lambda: None),
    ):
        with pytest.raises(FileError) as caught:
            read()
        assert code_of(caught) == Code.UNREADABLE
    file.close()


# Digests


@pytest.mark.parametrize("algorithm", ["md5", "sha256", "blake2b"])
def test_a_digest_is_that_of_the_whole_file(reading: Reading, top: Path, algorithm: str) -> None:
    data = os.urandom(5 * MEBIBYTE + 1)
    (top / "file").write_bytes(data)
    ticks: list[None] = []
    found = reading.digest("file", algorithm, lambda: ticks.append(None))
    assert found == f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    assert len(ticks) == 3  # one a piece, so that the peer hears of us


def test_nothing_stays_open(top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "b" / "file").write_bytes(b"bytes")
    before = len(os.listdir("/dev/fd"))
    fd = os.open(top, os.O_RDONLY)
    with Reading(fd) as reading:
        for entry in list(reading.walk("", lambda _: None)):
            if entry.type == FILE:
                reading.read(entry, 1000)
                reading.read(entry, 1)
                reading.digest(entry.name, "md5", lambda: None)
                reading.large(entry).close()
    os.close(fd)
    assert len(os.listdir("/dev/fd")) == before
