"""The lines of ``--json``: one object each, on standard output, the last one a ``result``.

The only place that knows their form; the README, under *For scripts*, says what each field means.
Every line is ASCII. A text that stands for bytes which are not UTF-8 has U+FFFD in their place,
and is followed by a field of its name and ``_raw``, with all its bytes in base64.

This module must not know the commands, or how anything is transferred.
"""

from __future__ import annotations

import signal
import sys
from binascii import b2a_base64
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, monotonic, strftime

from filexfer.cli.gathered import EVERY, Gathered, handling
from filexfer.errors import ExitCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    from filexfer.entry import Entry
    from filexfer.errors import FileError
    from filexfer.report import FileResult, Report
    from filexfer.security.connect_string import SecretRemote
    from filexfer.security.tokens import Token

    T = TypeVar("T")
    Value = str | float | bool | list[str] | None
    Outcome = tuple[int, str]

VERSION = 1  # of the fields; fields may be added to it, and none is taken away
_HEAD = f'{{"v":{VERSION},"type":'
_GOOD = ',"error_kind":null,"error":null}\n'
_dumps = JSONEncoder(separators=(",", ":")).encode
_BILLION = 1_000_000_000
_LAST_SECOND = 253_402_300_799  # of the year 9999

ERROR_KINDS = {code: None if code == ExitCode.OK else code.name.lower() for code in ExitCode}


class Lines(Gathered):
    """Writes the lines of one command."""

    def __init__(self) -> None:
        super().__init__()
        self._second = self._stamp = ""  # of the last file's time, as a number and as a text
        self._report: Report | None = None
        self._blamed = ""
        self._code: int | None = None

    def watch(self, report: Report) -> None:
        """Write a line for each file of a transfer that is settled, and how far it is.

        Call it when the report has its other watchers; they go on being told.
        """
        self._report = report
        report.on_file = _both(self.file, report.on_file)
        report.on_progress = _both(self._progress, report.on_progress)

    def file(self, file: FileResult) -> None:
        """Write what became of a file: ``file``."""
        name, digest, mtime = file.name, file.digest, file.mtime
        if not digest or mtime < _BILLION or not name.isascii():
            self._lines.append(_unusual_file(file))
            return
        stamp = str(mtime)
        if stamp[:-9] != self._second:
            self._second, self._stamp = stamp[:-9], moment(mtime)[:-10]
        self._lines.append(
            f'{{"v":1,"type":"file","name":{quoted(name)},"result":"{file.result}",'
            f'"file_type":"{file.type}","size":{file.size},'
            f'"mtime":"{self._stamp}{stamp[-9:]}Z","digest":"{digest}",'
            '"error_kind":null,"error":null}\n'
        )

    def plan(
        self,
        name: str,
        verdict: str,
        type: str,  # noqa: A002 - the word of an entry
        size: int,
        code: str = "",
        text: str = "",
    ) -> None:
        """Write what would become of a file: ``plan``.

        Args:
            name: As the receiving side would name it.
            verdict: What would be done.
            type: ``file``, ``folder`` or ``link``; empty if it is not known.
            size: Bytes.
            code: Why it would fail, as a ``Code``; empty if it would not.
            text: The same for people.

        """
        reason = f',"error_kind":{quoted(code)},{_text("error", text)}}}\n' if code else _GOOD
        kind = f'"{type}"' if type else "null"
        self._lines.append(
            f'{_HEAD}"plan",{_text("name", name)},"verdict":{quoted(verdict)},'
            f'"file_type":{kind},"size":{size}{reason}'
        )
        self.flush_in_time()

    def entry(self, entry: Entry) -> None:
        """Write what lies on a server: ``entry``."""
        target = _text("target", entry.extra) if entry.type == "link" else '"target":null'
        self._lines.append(
            f'{_HEAD}"entry",{_text("name", entry.name)},"file_type":"{entry.type}",'
            f'"size":{entry.size},"mtime":"{moment(entry.mtime)}","mode":"{entry.mode:04o}",'
            f"{target}}}\n"
        )
        self.flush_in_time()

    def outcome(self, name: str, result: str, failure: FileError | None = None) -> None:
        """Write what became of a name that was not sent: ``file``.

        Args:
            name: On the server.
            result: What was done to it.
            failure: Why that failed, if it did.

        """
        if failure:
            self.blame(str(failure))
        self.emit(
            "file",
            name=name,
            result="failed" if failure else result,
            **dict.fromkeys(("file_type", "size", "mtime", "digest")),
            error_kind=str(failure.code) if failure else None,
            error=failure.text if failure else None,
        )

    def remote(self, name: str | None, remote: SecretRemote) -> None:
        """Write where a stored server is and how it is known, but not its token: ``remote``."""
        self.emit(
            "remote",
            name=name,
            host=remote.host,
            port=remote.port,
            fingerprint=remote.fingerprint or None,
            ca=remote.ca or None,
            rights=list(remote.rights),
        )

    def token(
        self, token: Token, connect_string: str | None = None, path: str | None = None
    ) -> None:
        """Write what the bearer of a token may do: ``token``.

        Args:
            token: Which one.
            connect_string: The secret, where the user has asked for it on standard output.
            path: Where it was put otherwise, if it is new.

        """
        known = token.written()
        self.emit(
            "token",
            **{key: known[key] for key in ("name", "rights", "root", "max_file_size", "quota")},
            expires=None if token.expires is None else moment(token.expires * _BILLION),
            expired=token.has_expired,
            created=moment(token.created * _BILLION),
            connect_string=connect_string,
            connect_file=path,
        )

    def check(self, name: str, text: str, hint: str = "", *, is_ok: bool) -> None:
        """Write what was looked at, and how it is: ``check``."""
        self.emit("check", name=name, ok=is_ok, text=text, hint=hint or None)
        if not is_ok:
            self.blame(f"{name}: {text}")

    def warning(self, text: str, name: str | None = None, code: str | None = None) -> None:
        """Write what is no failure, and worth knowing: ``warning``."""
        self.emit("warning", name=name, error_kind=code, text=text)

    def emit(self, type: str, /, **fields: Value) -> None:  # noqa: A002 - the word of the line
        """Write an object, at once.

        Raises:
            BrokenPipeError: if whoever read standard output has gone.
            LocalError: if it takes no more for another reason.

        """
        self._lines.append(_line(type, fields))
        self.flush()

    def blame(self, text: str) -> None:
        """Note why the command fails, for the result, if no exception will say so."""
        self._blamed = self._blamed or text

    def close(self, code: int, error: str) -> int:
        """Write the result, and nothing after it; return the exit code. Harmless when closed.

        Args:
            code: The exit code.
            error: Why, for people; empty if all is well, or what was blamed is to be told.

        """
        if self._code is None:
            self._last = [*self._warnings(), self._result(code, error or self._blamed)]
            self._code = code
        self.hand_on_last(self._last)
        if self.failure and not self._code:
            from filexfer.cli.output import say  # noqa: PLC0415 - it knows more than this module

            say(f"filexfer: error: standard output: {self.failure}")
            return ExitCode.LOCAL
        return self._code

    def _warnings(self) -> Iterator[str]:
        for each in self._report.warnings if self._report else ():
            yield _line("warning", {"name": each.name, "error_kind": each.code, "text": each.text})

    def _result(self, code: int, error: str) -> str:
        report = self._report
        if not error and report and report.failed:
            first = f"; the first: {report.failures[0]}" if report.failures else ""
            error = f"{report.failed} failed{first}"
        fields: dict[str, Value] = {
            "exit_code": code,
            "error_kind": ERROR_KINDS[ExitCode(code)],
            "error": (error or None) if code else None,
        }
        return _line("result", fields | _totals(report) if report else fields)

    def _progress(self, report: Report) -> None:
        now = monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        self._lines.append(_line("progress", _state(report, now - report.started)))
        self.hand_on()


def run(outcome: Callable[[Lines], Outcome], terminated: type[KeyboardInterrupt]) -> int:
    """Run a command whose last line is a result, whatever happens; return its exit code.

    What it prints goes to standard error: standard output is for the lines.

    Args:
        outcome: Runs it; returns the exit code, and the error's text or nothing.
        terminated: Is raised where SIGTERM comes.

    """

    def terminate(*_: object) -> None:
        raise terminated

    lines = Lines()
    standard_output = sys.stdout
    with handling({signal.SIGTERM: terminate}):
        try:
            code, text = outcome(lines)
        except KeyboardInterrupt as error:  # another one, while the first is told
            is_term = isinstance(error, terminated)
            code = ExitCode.TERMINATED if is_term else ExitCode.INTERRUPTED
            text = ""
        except SystemExit as ended:
            if not ended.code:  # a help
                raise
            code, text = ExitCode.USAGE, ""  # the words were blamed
        except Exception as error:  # noqa: BLE001 - it is told as Python would tell it
            sys.excepthook(type(error), error, error.__traceback__)
            code, text = ExitCode.FAULT, f"a fault in filexfer: {error!r}"
        finally:
            sys.stdout = standard_output
        while True:
            try:
                return lines.close(code, text)
            except KeyboardInterrupt:  # before it began: nothing is lost
                continue


def moment(nanoseconds: int) -> str:
    """Return a time since 1970, in UTC and the form of ISO 8601."""
    seconds, rest = divmod(nanoseconds, _BILLION)
    whole = strftime("%Y-%m-%dT%H:%M:%S", gmtime(min(seconds, _LAST_SECOND)))
    return f"{whole}.{rest:09}Z"


def _line(type: str, fields: dict[str, Value]) -> str:  # noqa: A002 - the word of the line
    members = [
        _text(key, value) if isinstance(value, str) else f'"{key}":{_dumps(_clean(value))}'
        for key, value in fields.items()
    ]
    return f"{_HEAD}{','.join([quoted(type), *members])}}}\n"


def _text(key: str, text: str) -> str:
    """Return a member whose value is a text, and a second one if it stands for other bytes."""
    if text.isascii():
        return f'"{key}":{quoted(text)}'
    raw = _bytes(text)
    plain = raw.decode("utf-8", "replace")
    if plain.encode() == raw:
        return f'"{key}":{quoted(plain)}'
    return f'"{key}":{quoted(plain)},"{key}_raw":"{b2a_base64(raw, newline=False).decode()}"'


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, which is no byte of a name
        return text.encode("utf-8", "surrogatepass")


def _clean(value: Value) -> Value:
    if isinstance(value, list):
        return [_bytes(each).decode("utf-8", "replace") for each in value]
    return value


def _unusual_file(file: FileResult) -> str:
    """Return the line of a file that failed, or is very old."""
    if file.code:
        size = stamp = "null"
        reason = f',"error_kind":{quoted(file.code)},{_text("error", file.text)}}}\n'
    else:
        size, stamp, reason = str(file.size), f'"{moment(file.mtime)}"', _GOOD
    return (
        f'{_HEAD}"file",{_text("name", file.name)},"result":"{file.result}",'
        f'"file_type":{_dumps(file.type or None)},"size":{size},"mtime":{stamp},'
        f'"digest":{_dumps(file.digest or None)}{reason}'
    )


def _state(report: Report, seconds: float) -> dict[str, Value]:
    is_known = not report.is_walking
    rate = report.moved / seconds if seconds > 0 else 0.0
    left = report.total_bytes - report.handled_bytes
    return {
        "phase": report.phase,
        "bytes_done": report.handled_bytes,
        "bytes_total": report.total_bytes if is_known else None,
        "files_done": report.handled,
        "files_total": report.total if is_known else None,
        "rate": round(rate),
        "eta": round(left / rate, 1) if is_known and rate else None,
    }


def _totals(report: Report) -> dict[str, Value]:
    seconds = report.seconds or monotonic() - report.started
    return {
        "files": report.files,
        "bytes": report.bytes,
        "folders": report.folders,
        "skipped": report.skipped,
        "skipped_bytes": report.skipped_bytes,
        "failed": report.failed,
        "uncertain": report.uncertain,
        "moved": report.moved,
        "seconds": round(seconds, 6),
        "rate": round(report.bytes / seconds) if seconds else 0,
        "destination": report.destination or None,
    }


def _both(one: Callable[[T], object], other: Callable[[T], object] | None) -> Callable[[T], object]:
    """Return what calls both, or the one if there is no other."""
    if other is None:
        return one

    def call(value: T) -> None:
        one(value)
        other(value)

    return call
