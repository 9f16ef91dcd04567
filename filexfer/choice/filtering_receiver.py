"""The receiving end of a download with a filter: answers by it what is sent, and what is not.

The server knows no filter. It asks about everything, hears that what is left out is not wanted,
and goes on; so no pattern of a client ever burdens it.

This module must not know sockets, or what the filter says.
"""

from __future__ import annotations

from filexfer.entry import FOLDER, Entry
from filexfer.errors import IntegrityError
from filexfer.names import shown
from filexfer.transfer.answers import Answers
from filexfer.transfer.receiver import Receiver
from filexfer.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from filexfer.choice.judges import Judges
    from filexfer.wire import ranged
    from filexfer.wire.header import SmallFile
    from filexfer.wire.protocol import File, Folder, Link, Unsent


class FilteringAnswers(Answers):
    """Answers that what is left out is not wanted.

    Args:
        judges: Decide what is taken.

    The others are those of Answers.

    """

    asks_all = True

    def __init__(self, *ends: Any, judges: Judges) -> None:
        super().__init__(*ends)
        self._judges = judges

    def judge(self, entries: list[Entry]) -> tuple[list[str], list[tuple[int, str, str]]]:
        """Return the letters for entries, and why which of them are refused."""
        letters = [protocol.SKIP] * len(entries)
        wanted: list[Entry] = []
        places: list[int] = []
        for index, entry in enumerate(entries):
            name = entry.name
            verdict = self._judges.verdict(name, entry.type, entry.size, entry.mtime)
            if verdict.is_taken or (entry.type == FOLDER and self._judges.is_top(name)):
                wanted.append(entry)
                places.append(index)
            elif entry.type == FOLDER and verdict.is_entered:
                letters[index] = protocol.SEND  # it is made as soon as something in it comes
            elif verdict.reason:
                self._report.leave_out(self._place(name), verdict.reason)
        found, refused = super().judge(wanted)
        for index, letter in zip(places, found, strict=True):
            letters[index] = letter
        return letters, [(places[index], code, text) for index, code, text in refused]


class FilteringReceiver(Receiver):
    """Receives what is taken, and makes no folder that nothing comes into.

    Args:
        judges: Decide what is taken.

    The others are those of a Receiver.

    """

    def __init__(self, *ends: Any, judges: Judges, **tools: Any) -> None:
        super().__init__(*ends, **tools)
        self._judges = judges
        self._pending: list[Folder] = []  # each lies in the one before; nothing came into them yet
        parts = (self._connection, self._staging, self._report, self._place)
        answers = FilteringAnswers(*parts, judges=judges)
        self._takers[protocol.Ask] = answers.answer

    def finish_folders(self, messages: Iterable[Folder]) -> None:
        """Give folders their modes and times, if they have not got them and were made."""
        super().finish_folders(
            message for message in messages if self._staging.find(self._place(message.name))
        )

    def _take_small(self, header: SmallFile, data: memoryview) -> None:
        self._admit(header[0])
        super()._take_small(header, data)

    def _take_file(self, message: File) -> None:
        self._admit(message.name)
        super()._take_file(message)

    def _take_link(self, message: Link) -> None:
        self._admit(message.name)
        super()._take_link(message)

    def _take_later(self, message: ranged.Later) -> None:
        self._admit(message.name)
        super()._take_later(message)

    def _take_unsent(self, message: Unsent) -> None:
        if self._judges.is_left(message.name):
            self._item += 1
        else:
            super()._take_unsent(message)

    def _take_folder(self, message: Folder) -> None:
        name = message.name
        if not self._exchange:  # it is only to be finished
            super()._take_folder(message)
            return
        verdict = self._judges.verdict(name, FOLDER)
        if verdict.is_taken or message.again or self._judges.is_top(name):
            if verdict.is_left:
                raise _unasked(name)
            self._open_pending(name)
            super()._take_folder(message)
            return
        self._item += 1
        local = self._place(name)
        self._leave_folders(name)
        if verdict.is_entered:
            self._drop_pending(name)
            self._pending.append(message)
            if message.shared and self.shared_folders is not None:
                self.shared_folders[name] = message
        elif not message.shared:
            raise _unasked(name)
        elif verdict.reason:  # nobody asks about a folder that others fill too
            self._report.leave_out(local, verdict.reason)

    def _admit(self, name: str) -> None:
        """Make the folders that something comes into now.

        Raises:
            IntegrityError: if it is left out, and comes all the same.

        """
        if self._judges.verdict(name, "").is_left:
            raise _unasked(name)
        if self._pending:
            self._open_pending(name)

    def _open_pending(self, name: str) -> None:
        self._drop_pending(name)
        pending, self._pending = self._pending, []
        for message in pending:
            item, self._item = self._item, -1  # what becomes of it is told as of no item
            super()._take_folder(message)
            self._item = item

    def _drop_pending(self, name: str) -> None:
        while self._pending and not name.startswith(self._pending[-1].name + "/"):
            self._pending.pop()


def _unasked(name: str) -> IntegrityError:
    return IntegrityError(f"the server sent {shown(name)}, which was not asked for")
