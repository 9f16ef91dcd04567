"""The header of a small file, written and read in the shortest time.

Most frames of an exchange are this one, and a third of Python's share of the work was spent on
it. What is written here is what ``schema`` would write, and what is read here is what ``schema``
would accept; whatever looks different in the least is left to ``schema``.

This module must not know the protocol beyond this one header.
"""

from __future__ import annotations

import re
from json.encoder import encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    SmallFile = tuple[str, int, str, int, int]

# The members in the order in which they are written, names without escapes, no number that could
# be out of range.
_HEADER = (
    rb'\{"kind":"file","name":"([^"\\\x00-\x1f]+)","size":(0|[1-9][0-9]{0,17}),'
    rb'"hash":"(xxh3_128:[0-9a-f]{32})","mtime":(0|[1-9][0-9]{0,17}|1[0-9]{18}),'
    rb'"mode":(0|[1-9][0-9]{0,2}|[1-3][0-9]{3})\}'
)
_match: Callable[[bytes | memoryview], re.Match[bytes] | None] | None = None


def write(name: str, size: int, digest: str, mtime: int, mode: int) -> bytes:
    """Return the header of a file with a plain body.

    Raises:
        UnicodeEncodeError: if the name is not UTF-8.

    """
    return (
        f'{{"kind":"file","name":{encode_basestring(name)},"size":{size},"hash":"{digest}",'
        f'"mtime":{mtime},"mode":{mode}}}'
    ).encode()


def read(header: bytes | memoryview) -> SmallFile | None:
    """Return name, size, digest, time and mode of such a header, checked; None for any other."""
    found = (_match or _compiled())(header)
    if found is None:
        return None
    name, size, digest, mtime, mode = found.groups()
    try:
        return str(name, "utf-8"), int(size), str(digest, "ascii"), int(mtime), int(mode)
    except UnicodeDecodeError:
        return None


def _compiled() -> Callable[[bytes | memoryview], re.Match[bytes] | None]:
    """Return what matches a header; made when the first one comes, for a start without delay."""
    global _match  # noqa: PLW0603 - made once
    _match = re.compile(_HEADER).fullmatch
    return _match
