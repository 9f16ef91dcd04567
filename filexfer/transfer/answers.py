"""What a receiver answers to a sender that asks before it sends; the other half of ``questions``.

This module must not know how anything is received.
"""

from __future__ import annotations

from filexfer.entry import FOLDER
from filexfer.errors import FileError
from filexfer.storage.policy import IDENTICAL, Choice
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from filexfer.entry import Entry
    from filexfer.report import Report
    from filexfer.storage.contract import Target
    from filexfer.storage.policy import Decision
    from filexfer.wire.connection import Connection
    from filexfer.wire.protocol import Ask

LETTERS = {
    Choice.TAKE: protocol.SEND,
    Choice.REPLACE: protocol.SEND,
    Choice.KEEP_BOTH: protocol.SEND,
    Choice.IDENTICAL: protocol.SAME,
    Choice.SKIP: protocol.SKIP,
    Choice.WANT_DIGEST: protocol.WANT_DIGEST,
    Choice.REFUSE: protocol.REFUSE,
}
REASON_MAX = 60  # characters, so that an answer fits into a frame whatever is refused


class Answers:
    """The answers of one exchange, at its receiver.

    Args:
        connection: Where they go.
        staging: Knows what is there already.
        report: Counts what the answers settle.
        place: Turns a name on the wire into one in the staging.

    Attributes:
        asks_all: Whether the sender must ask about everything, what lies in new folders too.

    """

    asks_all = False

    def __init__(
        self,
        connection: Connection,
        staging: Target,
        report: Report,
        place: Callable[[str], str],
    ) -> None:
        self._connection = connection
        self._staging = staging
        self._report = report
        self._place = place

    def answer(self, message: Ask) -> None:
        """Answer a question."""
        letters, refused = self.judge(message.entries)
        self._connection.send(protocol.Answer(verdicts="".join(letters), refused=refused))

    def judge(self, entries: list[Entry]) -> tuple[list[str], list[tuple[int, str, str]]]:
        """Return the letters for entries, and why which of them are refused."""
        letters: list[str] = []
        refused: list[tuple[int, str, str]] = []
        place, judge, skip = self._place, self._staging.judge, self._report.skip
        tick = self._connection.keep_alive
        for index, offered in enumerate(entries):
            offered.name = place(offered.name)
            decision = judge(offered, tick)
            if decision is IDENTICAL:  # as nearly all, when a command is repeated
                letters.append(protocol.SAME)
                if offered.type != FOLDER:
                    skip(offered.name, offered, protocol.IDENTICAL)
                continue
            letters.append(self._letter(offered, decision))
            if decision.choice is Choice.REFUSE:
                refused.append((index, decision.code, decision.text[:REASON_MAX]))
        return letters, refused

    def _letter(self, offered: Entry, decision: Decision) -> str:
        """Return the letter for a decision, and count what it settles."""
        choice = decision.choice
        if choice is Choice.REFUSE:
            self._report.fail(FileError(decision.code, offered.name, decision.text))
        elif choice is Choice.SKIP and offered.type != FOLDER:
            self._report.skip(offered.name, offered, protocol.SKIPPED)
        elif choice is Choice.TAKE and offered.type == FOLDER:
            is_new = not self.asks_all and self._staging.find(offered.name) is None
            return protocol.NEW_FOLDER if is_new else protocol.SEND
        return LETTERS[choice]
