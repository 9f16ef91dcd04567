"""What would become of one name, as a plan tells it.

This module must not know how it is found out, or how it is shown.
"""

from __future__ import annotations

# Beside ``identical`` and ``skipped``:
SEND, REFUSED, LEFT_OUT, DELETE = "send", "refused", "left_out", "delete"


class PlanEntry:
    """What would become of one file, folder or link.

    Args:
        name: As the receiving side names it.
        verdict: ``send``, ``identical``, ``skipped`` (what is there is kept), ``refused`` (it
            would fail), ``left_out`` (it is passed over) or ``delete`` (of a mirror: it would be
            removed).
        type: ``file``, ``folder`` or ``link``; empty where only the name is known.
        size: Bytes; 0 for anything but a file.
        code: Why it is refused or left out, as a ``Code``; of what is sent, what may go wrong.
        text: The same for people.

    """

    __slots__ = ("code", "name", "size", "text", "type", "verdict")

    def __init__(
        self,
        name: str,
        verdict: str,
        type: str = "",  # noqa: A002 - the word of an entry
        size: int = 0,
        code: str = "",
        text: str = "",
    ) -> None:
        self.name = name
        self.verdict = verdict
        self.type = type
        self.size = size
        self.code = code
        self.text = text
