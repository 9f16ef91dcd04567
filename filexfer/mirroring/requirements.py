"""What can be mirrored: looked at before the first byte goes.

This module must not know how a mirror is made.
"""

from __future__ import annotations

from itertools import pairwise

from filexfer.errors import Code, RefusedError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def check(names: Iterable[str], rights: Iterable[str], needed: Iterable[str]) -> None:
    """Refuse what cannot be mirrored.

    Args:
        names: Where the sources land.
        rights: What the server lets us do.
        needed: What it has to let us do.

    Raises:
        UsageError: if one lands in another, for each would remove the others.
        RefusedError: if a right is missing.

    """
    ordered = sorted(name + "/" if name else "" for name in names)
    for one, other in pairwise(ordered):
        if other.startswith(one):
            raise UsageError("to be mirrored, each source needs a place of its own at the target")
    missing = [right for right in needed if right not in rights]
    if missing == ["list", "delete"] and set(rights) == {"create"}:
        text = "a drop box cannot be mirrored: it shows nobody what is in it"
        raise RefusedError(Code.DENIED, text)
    if missing:
        text = f"--delete needs the right to {' and to '.join(missing)}"
        raise RefusedError(Code.DENIED, f"{text} there, which this server does not give you")
