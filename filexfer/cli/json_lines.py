"""What commands call with ``--json``, and what sees to it that a ``result`` is the last line.

This module must not know the commands, how anything is transferred, or the form of a line.
"""

from __future__ import annotations

import signal
import sys
from time import monotonic

from filexfer.cli.gathered import EVERY, Gathered, handling
from filexfer.cli.json_form import (
    ERROR_KINDS,
    entry_line,
    file_lines,
    line,
    moment,
    plan_line,
    state,
    totals,
)
from filexfer.errors import ExitCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from filexfer.cli.json_form import Value
    from filexfer.entry import Entry
    from filexfer.errors import FileError
    from filexfer.receipts.compare import Difference
    from filexfer.report import Report
    from filexfer.security.connect_string import SecretRemote
    from filexfer.security.tokens import Token

    Outcome = tuple[int, str]


_PATIENCE = 3  # interrupts that the last line outlasts before it is begun


class Lines(Gathered):
    """Writes the lines of one command."""

    def __init__(self) -> None:
        super().__init__()
        self._report: Report | None = None
        self._blamed = ""
        self._code: int | None = None

    def watch(self, report: Report) -> None:
        """Write a line for each file of a transfer that is settled, and how far it is.

        Call it when the report has its other watchers; they go on being told.
        """
        self._report = report
        report.describe, report.on_text = file_lines, self._lines_of_files
        report.on_progress = _both(self._progress, report.on_progress)

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
            verdict: ``send``, ``identical``, ``skipped``, ``refused`` or ``left_out``.
            type: ``file``, ``folder`` or ``link``; empty if it is not known.
            size: Bytes.
            code: Why it would fail or be passed over, as a ``Code``, or what may go wrong.
            text: The same for people.

        """
        self._lines.append(plan_line(name, verdict, type, size, code, text))
        self.flush_in_time()

    def entry(self, entry: Entry) -> None:
        """Write what lies on a server: ``entry``."""
        self._lines.append(entry_line(entry))
        self.flush_in_time()

    def finding(self, name: str, result: str, text: str) -> None:
        """Write what a file of a manifest turned out to be: ``finding``.

        Args:
            name: As in the manifest.
            result: ``same``, ``differs``, ``missing`` or ``unread``.
            text: In what way, or why; for people.

        """
        fields: dict[str, Value] = {"name": name, "result": result, "text": text or None}
        self._lines.append(line("finding", fields))
        self.flush_in_time()

    def difference(self, found: Difference) -> None:
        """Write what is not the same on two sides: ``difference``."""
        fields: dict[str, Value] = {"name": found.name, "what": found.what.replace(" ", "_")}
        for side, entry in (("local", found.local), ("remote", found.remote)):
            fields[f"{side}_type"] = entry.type if entry else None
            fields[f"{side}_size"] = entry.size if entry else None
            fields[f"{side}_mtime"] = moment(entry.mtime) if entry else None
        fields["error"] = found.text or None
        self._lines.append(line("difference", fields))
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
            error_kind=failure.code if failure else None,
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
            expires=None if token.expires is None else moment(token.expires * 10**9),
            expired=token.has_expired,
            created=moment(token.created * 10**9),
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
        self._lines.append(line(type, fields))
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
            if self._report:
                self._report.hand_on()
                self.hand_on()  # in large writes, as long as there are many
            self._last = "".join([*self._warnings(), self._result(code, error or self._blamed)])
            self._code = code
        self.hand_on_last(self._last)
        if self.failure and not self._code:
            from filexfer.cli.output import say  # noqa: PLC0415 - it knows more than this module

            say(f"filexfer: error: standard output: {self.failure}")
            return ExitCode.LOCAL
        return self._code

    def _warnings(self) -> Iterator[str]:
        for each in self._report.warnings if self._report else ():
            yield line("warning", {"name": each.name, "error_kind": each.code, "text": each.text})

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
        return line("result", fields | totals(report) if report else fields)

    def _lines_of_files(self, texts: list[str]) -> None:
        self._lines += texts

    def _progress(self, report: Report) -> None:
        now = monotonic()
        if now < self._next:
            return
        self._next = now + EVERY
        self._lines.append(line("progress", state(report)))
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
        for _ in range(_PATIENCE):
            try:
                return lines.close(code, text)
            except KeyboardInterrupt:
                continue  # before it began: nothing is lost
        return code


def _both(
    one: Callable[[Report], object], other: Callable[[Report], object] | None
) -> Callable[[Report], object]:
    """Return what calls both, or the one if there is no other."""
    if other is None:
        return one

    def call(report: Report) -> None:
        one(report)
        other(report)

    return call
