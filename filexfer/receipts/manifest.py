r"""The form of a manifest: which files a transfer left where, with their digests.

It is a file of checksums as the usual checkers take it, with what they do not need in lines that
begin with ``#``, which they pass over:

    # filexfer manifest 1
    # program: filexfer 0.1.0
    # to: fx://192.0.2.7:17177/photos/
    # root: fx://192.0.2.7:17177/
    # time: 2026-11-20T15:37:31Z
    #: stored file 3 2026-03-01T08:30:00.000000000Z
    XXH128 (photos/1.jpg) = 06b05ab6733a618578af5f94892f3950
    #: skipped file 12 2026-03-01T08:30:00.000000000Z photos/2.jpg
    #: failed exists photos/3.jpg
    #: end 3

A line with ``#:`` says what became of a file: a result, a type (``file`` or ``link``), the size in
bytes and the time of modification; the digest and the name follow in the next line, or, where
there is no digest, the name in the same one. Of what failed there is the reason in their place.
The last line counts them. Names are relative to the folder ``root``, and byte for byte what they
are, but that ``\\``, ``\n`` and ``\r`` stand for a backslash, a line feed and a carriage return; a
digest's line with such a name begins with a backslash. Digests of ``sha256`` and ``md5`` stand
before the name, those of ``xxh3_128`` and ``blake2b`` behind it, with the checkers' word for the
algorithm, which their length alone does not tell.

This module must not know transfers, or how a file is hashed.
"""

from __future__ import annotations

import re

from filexfer.errors import UsageError
from filexfer.hashing import HEX_SIZES
from filexfer.names import shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

VERSION = 1
FIRST = b"# filexfer manifest "
LINE_MAX = 16 << 10  # bytes; a path of 4,096 bytes and a digest have room, all of it escaped
TAGS = {"xxh3_128": "XXH128", "sha256": "SHA256", "blake2b": "BLAKE2b", "md5": "MD5"}
_TAGGED = ("xxh3_128", "blake2b")  # as we write them
_BY_TAG = {tag: algorithm for algorithm, tag in TAGS.items()}
_BY_SIZE = {64: "sha256", 128: "blake2b", 32: "md5"}  # of a digest that stands by itself
_RESULTS = ("stored", "identical", "skipped", "kept")
_TYPES = ("file", "link")
_SIZE_MAX = 2**63
_SECOND = 1_000_000_000  # nanoseconds

_PLAIN = re.compile(rb"([0-9A-Fa-f]{8,256}) [ *](.+)", re.DOTALL)
_BSD = re.compile(rb"([A-Za-z0-9-]{1,20}) \((.+)\) = ([0-9A-Fa-f]{8,256})", re.DOTALL)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)\.(\d{9})Z", re.ASCII)
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)
_MEANT = {b"\\": b"\\", b"n": b"\n", b"r": b"\r"}


class Record:
    """One file of a manifest.

    Args:
        name: Relative to the folder that the manifest is of; bytes that are not UTF-8 as lone
            surrogates.
        digest: ``algorithm:hex``; empty where there is none.
        size: Bytes; None where it is not said.
        mtime: Time of modification, nanoseconds since 1970; None where it is not said.
        result: ``stored``, ``identical``, ``skipped``, ``kept`` or ``failed``; empty in a file of
            checksums that another program made.
        type: ``file`` or ``link``; empty for what failed.
        code: Why it failed, as a ``Code``.

    """

    __slots__ = ("code", "digest", "mtime", "name", "result", "size", "type")

    def __init__(  # noqa: PLR0917 - once for each file, and keywords take time
        self,
        name: str,
        digest: str = "",
        size: int | None = None,
        mtime: int | None = None,
        result: str = "",
        type: str = "file",  # noqa: A002 - the word of an entry
        code: str = "",
    ) -> None:
        self.name = name
        self.digest = digest
        self.size = size
        self.mtime = mtime
        self.result = result
        self.type = type
        self.code = code

    def __repr__(self) -> str:
        return f"Record({self.name!r}, {self.digest!r}, {self.size}, {self.result!r})"


class Manifest:
    """A manifest, or another program's file of checksums, that is read; for one thread.

    Iterating yields a ``Record`` for each file, as often as it is done; nothing is kept.

    Args:
        file: Open for reading bytes, at its beginning; one that can be read again.
        name: What it is called, for people.
        algorithm: Of digests that stand by themselves; by default their length decides: 32 digits
            are ``md5``, 64 ``sha256``, 128 ``blake2b``.

    Attributes:
        is_own: Whether it says that it is a manifest of filexfer.
        fields: What its head says: ``program``, ``to``, ``root``, ``time``.

    Raises:
        UsageError: if it is of a version that this program does not know; and by iterating, if a
            line is damaged, with its number.

    """

    def __init__(self, file: BinaryIO, name: str, algorithm: str = "") -> None:
        self.name = name
        self.fields: dict[str, str] = {}
        self._file = file
        self._algorithm = algorithm
        self._number = 0  # of the line that was read last
        self.is_own = self._line(is_plain=True).startswith(FIRST)
        if self.is_own:
            self._read_head()

    def __iter__(self) -> Iterator[Record]:
        self._file.seek(0)
        self._number = 0
        return self._own_records() if self.is_own else self._plain_records()

    def _read_head(self) -> None:
        self._file.seek(0)
        self._number = 0
        version = self._line()[len(FIRST) :]
        if version != str(VERSION).encode():
            known = f"not {VERSION}, which this program knows"
            raise self._damaged(f"the manifest is of version {shown(_text(version))}, {known}")
        while (line := self._line()).startswith(b"# "):
            key, _, value = _text(line[2:]).partition(": ")
            self.fields[key] = value

    def _own_records(self) -> Iterator[Record]:
        """Yield the records of a manifest of ours, every line of which is accounted for."""
        count = 0
        while line := self._line():
            if line.startswith(b"#: end "):
                if line[7:] != str(count).encode():
                    raise self._damaged(f"the manifest has {count} files, and says otherwise")
                if self._line():
                    raise self._damaged("something follows the end of the manifest")
                return
            if line.startswith(b"#: "):
                record = self._described(line[3:])
                if not record.name:
                    record.digest, record.name = self._digest(self._line())
                count += 1
                yield record
            elif not line.startswith(b"# "):
                raise self._damaged("a line has neither '# ' nor '#:' before it")
        raise self._damaged("the manifest is cut short: its last line, '#: end', is missing")

    def _plain_records(self) -> Iterator[Record]:
        """Yield what is in a file of checksums; comments are passed over, as all checkers do."""
        while line := self._line(is_plain=True):
            if not line.startswith(b"#") and line.strip():
                digest, name = self._digest(line)
                yield Record(name, digest)

    def _line(self, *, is_plain: bool = False) -> bytes:
        """Return the next line without its end; empty after the last one."""
        line = self._file.readline(LINE_MAX + 1)
        self._number += bool(line)
        if len(line) > LINE_MAX:
            raise self._damaged(f"the line is longer than {LINE_MAX} bytes")
        if is_plain:
            return line.removesuffix(b"\n").removesuffix(b"\r") or (line and b" ")
        if line and not line.endswith(b"\n"):
            raise self._damaged("the manifest is cut short in this line")
        if line == b"\n":
            raise self._damaged("the line is empty")
        return line[:-1]

    def _described(self, text: bytes) -> Record:
        """Return the record of which a line says all but perhaps digest and name."""
        result, _, rest = text.partition(b" ")
        if result == b"failed":
            code, _, name = rest.partition(b" ")
            if not code or not name:
                raise self._damaged("a failure has no reason or no name")
            record = Record(self._name(name, is_escaped=True), result="failed", type="")
            record.code = _text(code)
            return record
        words = rest.split(b" ", 3)
        if len(words) < 3:
            raise self._damaged("the line does not say type, size and time of a file")
        kind, size, mtime = map(_text, words[:3])
        if _text(result) not in _RESULTS or kind not in _TYPES:
            raise self._damaged(f"{shown(_text(text[:40]))} is no result and type")
        if not (size.isascii() and size.isdecimal()) or len(size) > 19 or int(size) >= _SIZE_MAX:
            raise self._damaged(f"{shown(size)} is no size")
        record = Record("", "", int(size), self._time(mtime), _text(result), kind)
        if words[3:]:
            record.name = self._name(words[3], is_escaped=True)
        return record

    def _digest(self, line: bytes) -> tuple[str, str]:
        """Return the digest and the name that a line has."""
        is_escaped = line.startswith(b"\\")
        text = line[is_escaped:]
        if found := _BSD.fullmatch(text):
            tag, name, digits = found.groups()
            algorithm = _BY_TAG.get(_text(tag), "")
            if not algorithm:
                raise self._damaged(f"digests of {shown(_text(tag))} are none that filexfer knows")
        elif found := _PLAIN.fullmatch(text):
            digits, name = found.groups()
            algorithm = self._algorithm or _BY_SIZE.get(len(digits), "")
        else:
            raise self._damaged("the line has no digest and name")
        if HEX_SIZES.get(algorithm) != len(digits):
            what = f"is no digest of {algorithm}" if algorithm else "is none that filexfer knows"
            raise self._damaged(f"a digest of {len(digits)} digits {what}")
        return f"{algorithm}:{_text(digits.lower())}", self._name(name, is_escaped=is_escaped)

    def _name(self, name: bytes, *, is_escaped: bool) -> str:
        if is_escaped:
            if any(each not in _MEANT for each in _ESCAPED.findall(name)):
                raise self._damaged("a backslash in a name is followed by none of \\, n and r")
            name = _ESCAPED.sub(lambda found: _MEANT[found[1]], name)
        if b"\0" in name:
            raise self._damaged("a name has a NUL")
        return name.decode("utf-8", "surrogateescape")

    def _time(self, text: str) -> int:
        from datetime import UTC, datetime  # noqa: PLC0415 - only for who reads a manifest

        found = _TIME.fullmatch(text)
        try:
            if not found:
                raise ValueError
            year, month, day, hour, minute, second, nanoseconds = map(int, found.groups())
            moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise self._damaged(f"{shown(text)} is no time") from None
        since = moment - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86400 + since.seconds) * _SECOND + nanoseconds

    def _damaged(self, what: str) -> UsageError:
        return UsageError(f"{shown(self.name)}, line {self._number}: {what}")


def head(fields: dict[str, str]) -> bytes:
    """Return how a manifest begins."""
    lines = [f"# {key}: {shown(value, LINE_MAX // 2)}\n" for key, value in fields.items()]
    return FIRST + f"{VERSION}\n{''.join(lines)}".encode()


def lines(record: Record) -> bytes:
    """Return what a manifest has to say of one file."""
    name = encoded(record.name)
    is_escaped = b"\\" in name or b"\n" in name or b"\r" in name
    if is_escaped:
        name = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    if record.result == "failed":
        code = "_".join(shown(record.code).split()) or "unknown"
        return b"#: failed %b %b\n" % (code.encode(), name)
    moment = _moment(record.mtime or 0)
    said = f"#: {record.result} {record.type} {record.size or 0} {moment}".encode()
    if not record.digest:
        return b"%b %b\n" % (said, name)
    algorithm, _, digits = record.digest.partition(":")
    mark = b"\\" if is_escaped else b""
    if algorithm in _TAGGED:
        digest = b"%b (%b) = %b" % (TAGS[algorithm].encode(), name, digits.encode())
    else:
        digest = b"%b  %b" % (digits.encode(), name)
    return b"%b\n%b%b\n" % (said, mark, digest)


def encoded(name: str) -> bytes:
    """Return the bytes of a name; one that no file can have, which a peer may tell, is escaped."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair
        return shown(name).encode()


def end(count: int) -> bytes:
    """Return how a manifest of so many files ends."""
    return f"#: end {count}\n".encode()


def _moment(mtime: int) -> str:
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - only for who writes one

    seconds, nanoseconds = divmod(mtime, _SECOND)
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:  # some file systems know times beyond the year 9999
        return _moment(0)
    return f"{moment.isoformat()[:19]}.{nanoseconds:09}Z"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
