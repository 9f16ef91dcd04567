"""Standard input and output in the place of a folder with one file."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from filexfer.entry import FILE, Entry, entry_of_file, entry_of_link
from filexfer.errors import Code, FileError
from filexfer.storage.policy import Choice
from filexfer.storage.publishing import Publisher
from filexfer.storage.stream import StreamSource, StreamTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.storage.contract import Item
    from filexfer.storage.staged import Result

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """Return the reading and the writing end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # the test closed it


def refusal(call: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(FileError) as caught:
        call(*arguments)
    return caught.value.code


# Reading


def test_a_stream_is_one_file_of_unknown_size(pipe: Pipe) -> None:
    source = StreamSource(pipe[0])
    reader = source.reading()
    (entry,) = reader.walk("", lambda error: pytest.fail(str(error)))
    assert entry.type == FILE
    assert reader.stat("") is entry
    assert reader.read(entry, 1 << 30) is None
    file = reader.large(entry)
    assert file.size is None
    assert not file.sparse
    assert not source.was_read


def test_it_is_read_piece_by_piece_to_its_end(pipe: Pipe) -> None:
    os.write(pipe[1], b"hello world")
    os.close(pipe[1])
    source = StreamSource(pipe[0])
    buffer = memoryview(bytearray(8))
    assert source.hole(100) == 0
    assert source.until_hole(100) == 100
    assert [source.read_into(buffer) for _ in range(3)] == [8, 3, 0]
    assert bytes(buffer) == b"rldlo wo"
    assert source.was_read
    assert source.entry.size == 11
    source.check_unchanged()
    source.close()
    assert os.fstat(pipe[0])  # it is the caller's, and stays open


def test_it_cannot_be_read_twice(pipe: Pipe) -> None:
    assert refusal(StreamSource(pipe[0]).digest, "", "md5", lambda: None) == Code.UNREADABLE


def test_a_stream_that_fails_is_told(pipe: Pipe) -> None:
    source = StreamSource(pipe[1])  # it cannot be read from
    assert refusal(source.read_into, memoryview(bytearray(8))) == Code.UNREADABLE
    assert source.was_read


# Writing


def test_a_stream_takes_whatever_comes(pipe: Pipe) -> None:
    target = StreamTarget(pipe[1], "name")
    assert target.find("name") is None
    assert target.judge(Entry("name", FILE), lambda: None).choice is Choice.TAKE
    assert not target.was_written
    assert target.small(entry_of_file("name", 5, 0, 0), b"hello").publish().choice is Choice.TAKE
    assert target.was_written
    draft = target.begin(entry_of_file("name", 0, 0, 0))
    draft.write(memoryview(b" world"))
    draft.skip(3)
    assert draft.finish(entry_of_file("name", 9, 0, 0)).publish().choice is Choice.TAKE
    draft.discard()
    assert os.read(pipe[0], 100) == b"hello world\0\0\0"


def test_much_is_written_to_a_slow_reader_whole(pipe: Pipe) -> None:
    """A pipe takes 64 KiB at a time."""
    data = os.urandom(1 << 20)
    got: list[bytes] = []

    def read() -> None:
        while piece := os.read(pipe[0], 50_000):
            got.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    target = StreamTarget(pipe[1], "name")
    target.write(memoryview(data))
    target.skip((1 << 20) + 1)
    os.close(pipe[1])
    reader.join()
    assert b"".join(got) == data + bytes((1 << 20) + 1)


def test_a_reader_that_has_gone_is_told(pipe: Pipe) -> None:
    os.close(pipe[0])
    target = StreamTarget(pipe[1], "name")
    assert refusal(target.write, memoryview(b"data")) == Code.IO_ERROR
    assert target.was_written
    assert target.failure


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
def test_a_full_disk_behind_it_is_told() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    target = StreamTarget(fd, "name")
    assert refusal(target.write, memoryview(b"data")) == Code.NO_SPACE
    os.close(fd)


def test_only_files_go_there(pipe: Pipe) -> None:
    target = StreamTarget(pipe[1], "name")
    assert refusal(target.link, entry_of_link("name", "b", 0)) == Code.NOT_REGULAR
    assert refusal(target.make_folder, Entry("name", "folder")) == Code.NOT_REGULAR


def test_only_the_file_that_was_asked_for_goes_there(pipe: Pipe) -> None:
    target = StreamTarget(pipe[1], "name")
    for name in ("other", "name/below", ""):
        with pytest.raises(FileError):
            target.small(entry_of_file(name, 4, 0, 0), b"data")
        with pytest.raises(FileError):
            target.begin(entry_of_file(name, 4, 0, 0))
    assert not target.was_written


def test_what_was_streamed_can_be_settled(pipe: Pipe) -> None:
    """It is there already, and there is nothing to flush, remove or hold."""
    settled: list[tuple[str, Choice]] = []

    def settle(items: list[tuple[Item, Result]]) -> None:
        settled.extend((item.entry.name, result.choice) for item, result in items)

    target = StreamTarget(pipe[1], "name")
    publisher = Publisher(target, settle, lambda: None)
    item = target.small(entry_of_file("name", 4, 0, 0), b"data")
    publisher.add(item)
    publisher.finish()
    assert settled == [("name", Choice.TAKE)]
    for call in (item.discard, item.release):
        call()
    assert os.read(pipe[0], 100) == b"data"
