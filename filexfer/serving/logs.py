"""Writes the server's log: to standard error, and its transfers to a file of their own.

A record is one line of text or one JSON object, and a batch of transfers one for each; whatever a
peer sent stands in it escaped. Each record is written at once and whole, so that those of several
processes do not mix. A log that cannot be written stops nothing: what is lost is counted and told.

This module must not know what is logged, or why.
"""

from __future__ import annotations

import logging
import os
import stat
import time
from json import dumps

from filexfer.errors import LocalError
from filexfer.names import shown
from filexfer.serving.transfers import Batch, escaped
from filexfer.serving.transfers import logger as transfers

FORMATS = ("text", "json")
VERSION = 1  # of the fields in JSON
_MESSAGE_MAX = 20_000  # characters of a record
_AT_ONCE = 4096  # bytes that a pipe takes whole, whoever else writes to it

logger = logging.getLogger("filexfer")


class Text(logging.Formatter):
    """One line for each record or transfer; the lines of a traceback follow, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines, without the last one's end."""
        head = f"{self.formatTime(record)} {record.levelname} "
        if isinstance(record.msg, Batch):
            return "\n".join([head + line for line in record.msg.lines()])
        text = head + shown(record.getMessage(), _MESSAGE_MAX)
        return "\n  ".join([text, *_traceback(self, record)])


class Json(logging.Formatter):
    """One object on a line for each record or transfer, in ASCII."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines, without the last one's end."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        head = {
            "v": VERSION,
            "time": f"{now}.{int(record.created % 1 * 1000):03}Z",
            "level": record.levelname,
        }
        if isinstance(record.msg, Batch):
            return "\n".join(_objects(head, record.msg))
        head["message"] = shown(record.getMessage(), _MESSAGE_MAX)
        if traceback := _traceback(self, record):
            head["traceback"] = traceback
        return dumps(head)


def _objects(head: dict[str, object], batch: Batch) -> list[str]:
    """Return a transfer a line; what is the same in all of them is written as JSON once."""
    same = {**head, "peer": batch.peer, "who": escaped(batch.who), "verb": batch.verb}
    begin = dumps(same)[:-1]
    lines = []
    for name, size, digest, result, seconds, reason in batch.entries:
        end = f', "reason": {dumps(escaped(reason))}}}' if reason else "}"
        lines.append(
            f'{begin}, "name": {dumps(escaped(name))}, "size": {size}, "digest": "{digest}", '
            f'"result": "{result}", "seconds": {seconds:.6f}{end}'
        )
    return lines


def _traceback(formatter: logging.Formatter, record: logging.LogRecord) -> list[str]:
    if not record.exc_info:
        return []
    lines = formatter.formatException(record.exc_info).splitlines()
    return [shown(line, _MESSAGE_MAX) for line in lines]


class Lines(logging.Handler):
    """Writes records to a descriptor; what cannot be written is lost.

    Args:
        fd: Open for writing.

    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._lost = 0  # lines, since the last that was written
        self._is_torn = False  # whether the last line has no end

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        if self._is_torn:
            data = b"\n" + data
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._fd, left[: self._share(left)]) :]
                self._is_torn = not data.endswith(b"\n", 0, len(data) - len(left))
        except OSError as error:
            was_lost = self._lost
            self._lost += data.count(b"\n", max(len(data) - len(left), self._is_torn))
            if not was_lost:
                self.failed(error.strerror or str(error))
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self.works_again(lost)

    def _share(self, left: memoryview) -> int:
        """Return how many bytes are to be written at once: to a pipe, lines that it takes whole."""
        if len(left) <= _AT_ONCE or not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
            return len(left)
        return bytes(left[:_AT_ONCE]).rfind(b"\n") + 1 or len(left)

    def failed(self, reason: str) -> None:
        """Do nothing: where standard error is lost, nobody can be told."""

    def works_again(self, lost: int) -> None:
        """Do nothing, as above."""


class LogFile(Lines):
    """Writes records to the end of a file.

    Args:
        path: The file; it is made with mode 0640, less the umask, if it is not there.

    Raises:
        LocalError: if it cannot be opened.

    """

    def __init__(self, path: str) -> None:
        self._path = os.path.abspath(path)
        super().__init__(_opened(self._path))

    def reopen(self) -> None:
        """Go on with what has the name now, as after the file was renamed.

        Raises:
            LocalError: if it cannot be opened; the old one stays in use.

        """
        fd = _opened(self._path)
        self.acquire()
        try:
            os.close(self._fd)
            self._fd, self._is_torn = fd, False
        finally:
            self.release()

    def close(self) -> None:
        """Close the file; harmless when closed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    def failed(self, reason: str) -> None:
        """Tell once that lines are lost."""
        logger.error("cannot write the log %s: %s; transfers go on", shown(self._path), reason)

    def works_again(self, lost: int) -> None:
        """Tell how much is missing."""
        logger.warning("the log %s is written again; %d lines are lost", shown(self._path), lost)


def set_up(level: int, form: str, fd: int) -> None:
    """Log from *level* on, transfers as INFO, to the descriptor *fd* in one of ``FORMATS``."""
    handler = Lines(fd)
    handler.setFormatter(Json() if form == "json" else Text())
    logging.basicConfig(level=level, handlers=[handler])


def transfers_to(path: str, form: str) -> LogFile:
    """Log the transfers, whatever the level, to the file at *path* and nowhere else.

    Raises:
        LocalError: if it cannot be opened.

    """
    file = LogFile(path)
    file.setFormatter(Json() if form == "json" else Text())
    transfers.addHandler(file)
    transfers.setLevel(logging.INFO)
    transfers.propagate = False
    return file


def say(text: str) -> None:
    """Log what is to be known at any level."""
    logger.handle(logger.makeRecord(logger.name, logging.INFO, "", 0, text, (), None))


def _opened(path: str) -> int:
    """Open the end of a file; a pipe that nobody reads is an error, and holds up nobody."""
    try:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(path, flags, 0o640)
    except OSError as error:
        raise LocalError(f"cannot open the log {shown(path)}: {error.strerror}") from error
