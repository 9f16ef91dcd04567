"""Names of files: which a peer may use, where links may point, and how names are shown.

A name is a text of components joined by ``/``, relative to a root; ``""`` is the root itself.
Bytes that are not UTF-8 stand in it as lone surrogates (``surrogateescape``), as Python's own
file functions give and take them. Everything that comes from a peer passes ``split``.

This module must not know any file system: it judges text only.
"""

from __future__ import annotations

NAME_MAX = 1024  # bytes of a whole name; a limit of filexfer, below Linux's PATH_MAX of 4,096
PART_MAX = 255  # bytes of one component; NAME_MAX of ext4, xfs, btrfs, tmpfs and APFS
DEPTH_MAX = 64  # components
RESERVED = ".fx-"  # begins the names of temporary files, which no peer may name
SHOWN_MAX = 500  # characters of a peer's text that are shown

_SHORT = 2 * DEPTH_MAX  # ASCII characters below which no limit can be broken

_JOINERS = "\u200c\u200d"  # occur in honest names (emoji, Persian) and move nothing on a terminal


class BadName(ValueError):  # noqa: N818 - the module's one finding, translated by its callers
    """The name may not be used; the text says why."""


def split(name: str) -> list[str]:
    """Return the components of *name*, each checked; the root has none.

    Raises:
        BadName: if any component is empty, ``.``, ``..``, reserved, or too long, or the whole
            is too long or too deep. A backslash is an ordinary character.

    """
    if not name:
        return []
    parts = name.split("/")
    if len(name) > NAME_MAX // 4 and _size(name) > NAME_MAX:
        raise BadName(f"the name is longer than {NAME_MAX} bytes")
    if len(parts) > DEPTH_MAX:
        raise BadName(f"the name has more than {DEPTH_MAX} components")
    for part in parts:
        check_part(part)
    return parts


def locate(name: str) -> tuple[str, str]:
    """Return the folder part and the checked last component of *name*, which is not the root.

    The quick way for names whose folder part is checked by itself.

    Raises:
        BadName: as ``split`` does.

    """
    above, _, part = name.rpartition("/")
    is_short = len(name) < _SHORT and name.isascii()
    if is_short and part and part[0] != "." and "\0" not in part and name[0] != "/":
        return above, part  # as nearly every name
    check_part(part)
    if name[0] == "/":
        raise BadName("the name has a component ''")
    if len(name) > NAME_MAX // 4 and _size(name) > NAME_MAX:
        raise BadName(f"the name is longer than {NAME_MAX} bytes")
    if name.count("/") >= DEPTH_MAX:
        raise BadName(f"the name has more than {DEPTH_MAX} components")
    return above, part


def check_part(part: str) -> None:
    """Check one component of a name.

    Raises:
        BadName: if it is empty, ``.``, ``..``, reserved, too long, or cannot be a file's name.

    """
    if part[:1] in ("", "."):
        if part in ("", ".", ".."):
            raise BadName(f"the name has a component {part!r}")
        if is_reserved(part):
            raise BadName(f"names that begin with {RESERVED!r} are kept for temporary files")
    if "\0" in part or "/" in part:
        raise BadName("the name has a NUL or a slash inside a component")
    if (not part.isascii() or len(part) > PART_MAX) and _size(part) > PART_MAX:
        raise BadName(f"a component of the name is longer than {PART_MAX} bytes")


def is_reserved(part: str) -> bool:
    """Tell whether the component belongs to filexfer's temporary files, in any case of letters."""
    return part[: len(RESERVED)].lower() == RESERVED


def join(folder: str, part: str) -> str:
    """Return the name of *part* in *folder*; either may be ``""``."""
    return f"{folder}/{part}" if folder and part else folder or part


def derived(part: str, digest: str) -> str:
    """Return the name under which a file is kept beside an existing *part*.

    It depends on the contents only (``photo.jpg`` becomes ``photo~3f9a1c7e.jpg``), so that a
    repeated try finds itself again.

    Args:
        part: The component that is taken.
        digest: ``algorithm:hex``; its first eight hex digits are used.

    """
    mark = "~" + digest.partition(":")[2][:8]
    stem, dot, suffix = part.rpartition(".")
    if not stem:
        stem, dot, suffix = part, "", ""
    if _size(mark + dot + suffix) >= PART_MAX:  # a suffix as long as that is no suffix
        stem, dot, suffix = part, "", ""
    while _size(stem + mark + dot + suffix) > PART_MAX:
        stem = stem[:-1]
    return stem + mark + dot + suffix


def link_stays_inside(name: str, target: str, root: str = "") -> bool:
    """Tell whether a symbolic link *name* with *target* can only lead to places below *root*.

    Its ``..`` must all come first: they then climb through real folders, and whatever follows
    passes only through links that were held to the same rule.
    """
    if not target or target.startswith("/") or "\0" in target:
        return False
    depth = len(name.split("/")) - 1 - (len(root.split("/")) if root else 0)
    parts = [part for part in target.split("/") if part not in ("", ".")]
    climbs = 0
    while climbs < len(parts) and parts[climbs] == "..":
        climbs += 1
    return climbs <= depth and ".." not in parts[climbs:]


def shown(text: str, limit: int = SHOWN_MAX) -> str:
    r"""Return *text* fit for a terminal or a log: one line, nothing that moves the cursor.

    Control and formatting characters and bytes that are not UTF-8 become escapes such as
    ``\\x1b``; what is longer than *limit* characters is cut and ends in ``...``.
    """
    if not text.isprintable():
        text = "".join(map(_shown_character, text))
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _size(text: str) -> int:
    """Return the bytes of *text* on disk."""
    try:
        return len(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        raise BadName("the name has half a surrogate pair") from None


def _shown_character(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
