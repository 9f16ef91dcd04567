"""The form of the lines of ``--json``: one object each, in ASCII.

The README, under *For scripts*, says what each field means. A text that stands for bytes which are
not UTF-8 has U+FFFD in their place, and is followed by a field of its name and ``_raw``, with all
its bytes in base64.

This module must not know when a line is written, or where to.
"""

from __future__ import annotations

from binascii import b2a_base64
from json import JSONEncoder
from json.encoder import encode_basestring_ascii as quoted
from time import gmtime, monotonic, strftime

from filexfer.errors import ExitCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from filexfer.entry import Entry
    from filexfer.report import Report

    Value = str | float | bool | list[str] | None

VERSION = 1  # of the fields; fields may be added to it, and none is taken away
ERROR_KINDS = {code: None if code == ExitCode.OK else code.name.lower() for code in ExitCode}
_HEAD = f'{{"v":{VERSION},"type":'
_FILE = f'{_HEAD}"file","name":'
_GOOD = ',"error_kind":null,"error":null}\n'
_BILLION = 1_000_000_000
_LAST_SECOND = 253_402_300_799  # of the year 9999
_dumps = JSONEncoder(separators=(",", ":")).encode


def moment(nanoseconds: int) -> str:
    """Return a time since 1970, in UTC and the form of ISO 8601."""
    seconds, rest = divmod(nanoseconds, _BILLION)
    whole = strftime("%Y-%m-%dT%H:%M:%S", gmtime(min(seconds, _LAST_SECOND)))
    return f"{whole}.{rest:09}Z"


def line(type: str, fields: dict[str, Value]) -> str:  # noqa: A002 - the word of the line
    """Return the line of an object."""
    members = [
        text_member(key, value) if isinstance(value, str) else f'"{key}":{_dumps(_clean(value))}'
        for key, value in fields.items()
    ]
    return f"{_HEAD}{','.join([quoted(type), *members])}}}\n"


def text_member(key: str, text: str) -> str:
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


def file_lines(results: list[tuple[Any, ...]]) -> str:
    """Return a ``file`` for each; *results* have what a ``FileResult`` takes."""
    made: list[str] = []
    add = made.append
    second = stamp = ""
    for result in results:
        if len(result) != 6:
            add(_unusual_file(result))
            continue
        name, what, kind, size, mtime, digest = result
        if not digest or mtime < _BILLION or not name.isascii():
            add(_unusual_file(result))
            continue
        time = str(mtime)
        if time[:-9] != second:
            second, stamp = time[:-9], moment(mtime)[:-10]
        add(
            f'{_FILE}{quoted(name)},"result":"{what}","file_type":"{kind}","size":{size},'
            f'"mtime":"{stamp}{time[-9:]}Z","digest":"{digest}","error_kind":null,"error":null}}\n'
        )
    return "".join(made)


def _unusual_file(result: tuple[Any, ...]) -> str:
    """Return the line of a file that failed, or has no digest, an odd name or an odd time."""
    name, what, kind, size, mtime, digest, code, text = (*result, "", "")[:8]
    fields: dict[str, Value] = {
        "name": name,
        "result": what,
        "file_type": kind or None,
        "size": None if code else size,
        "mtime": None if code else moment(mtime),
        "digest": digest or None,
        "error_kind": code or None,
        "error": text or None,
    }
    return line("file", fields)


def plan_line(name: str, verdict: str, kind: str, size: int, code: str, text: str) -> str:
    """Return a ``plan``: what would become of a file."""
    reason = f',"error_kind":{quoted(code)},{text_member("error", text)}}}\n' if code else _GOOD
    file_type = f'"{kind}"' if kind else "null"
    return (
        f'{_HEAD}"plan",{text_member("name", name)},"verdict":{quoted(verdict)},'
        f'"file_type":{file_type},"size":{size}{reason}'
    )


def entry_line(entry: Entry) -> str:
    """Return an ``entry``: what lies on a server."""
    target = text_member("target", entry.extra) if entry.type == "link" else '"target":null'
    return (
        f'{_HEAD}"entry",{text_member("name", entry.name)},"file_type":"{entry.type}",'
        f'"size":{entry.size},"mtime":"{moment(entry.mtime)}","mode":"{entry.mode:04o}",'
        f"{target}}}\n"
    )


def state(report: Report) -> dict[str, Value]:
    """Return the fields of a ``progress``."""
    seconds = monotonic() - report.started
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


def totals(report: Report) -> dict[str, Value]:
    """Return the fields of a ``result`` that tell of a transfer."""
    seconds = report.seconds or monotonic() - report.started
    return {
        "files": report.files,
        "bytes": report.bytes,
        "folders": report.folders,
        "skipped": report.skipped,
        "skipped_bytes": report.skipped_bytes,
        "failed": report.failed,
        "left_out": report.left_out,
        "deleted": report.deleted,
        "uncertain": report.uncertain,
        "moved": report.moved,
        "seconds": round(seconds, 6),
        "rate": round(report.bytes / seconds) if seconds else 0,
        "destination": report.destination or None,
        "planned": report.is_plan,
        "to_send": report.to_send,
        "to_send_bytes": report.to_send_bytes,
        "to_make": report.to_make,
        "to_delete": report.to_delete,
    }
