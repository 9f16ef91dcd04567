"""What a sender asks before it sends: entries gathered into questions, and their answers.

Whatever lies in a folder that is new at the receiver needs no question.

This module must not know how anything is sent.
"""

from __future__ import annotations

from collections import deque

from filexfer.entry import FOLDER
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.names import shown
from filexfer.wire import codec, protocol
from filexfer.wire.schema import entry_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.report import Report
    from filexfer.transfer.sources import Offer
    from filexfer.wire.protocol import Answer

OPEN_MAX = 8  # questions without an answer
_ENTRIES_MAX = 500  # in one question
_BYTES_MAX = 60_000  # of them as written, below a frame's limit


class Questions:
    """The questions of one exchange, at its sender.

    Args:
        report: Counts what the answers settle.

    Attributes:
        wanted: What is to be sent, in the order of the walk.

    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self.wanted: deque[Offer] = deque()
        self._gathered: list[Offer] = []
        self._texts: list[str] = []  # of what is gathered, as it will be written
        self._size = 0  # of them, in bytes
        self._asked: deque[list[Offer]] = deque()
        self._new_folders: set[str] = set()
        self._within = ""  # the new folder that the walk is in, with a slash

    @property
    def may_gather(self) -> bool:
        """Whether another question may be begun."""
        return len(self._asked) < OPEN_MAX

    @property
    def has_gathered(self) -> bool:
        """Whether entries wait to be asked about."""
        return bool(self._gathered)

    @property
    def is_open(self) -> bool:
        """Whether a question has no answer yet."""
        return bool(self._asked)

    def needs(self, offer: Offer) -> bool:
        """Tell whether it must be asked about."""
        if offer.source.fresh or offer.is_shared:  # what becomes of the latter is decided last
            return False
        if not self._new_folders:
            return True
        name = offer.wire_name
        if self._within:
            if name.startswith(self._within):
                return False
            self._within = ""
        above = name.rpartition("/")[0]
        if above in self._new_folders:
            self._within = above + "/"
            return False
        return True

    def gather(self, offer: Offer) -> bytes:
        """Take it into the next question; return the frame of the one before if that is full."""
        text = entry_text(offer.entry, offer.wire_name)
        size = 1 + (len(text) if text.isascii() else len(text.encode()))
        is_full = len(self._gathered) >= _ENTRIES_MAX or self._size + size > _BYTES_MAX
        frame = self.ask() if is_full else b""
        self._gathered.append(offer)
        self._texts.append(text)
        self._size += size
        return frame

    def ask(self) -> bytes:
        """Return the frame of the question about what was gathered."""
        batch, self._gathered = self._gathered, []
        texts, self._texts, self._size = self._texts, [], 0
        self._asked.append(batch)
        return codec.ask_frame(texts)

    def ask_again(self, offer: Offer) -> bytes:
        """Return the frame of the question about one file whose digest is known now."""
        self._asked.append([offer])
        return codec.ask_frame([entry_text(offer.entry, offer.wire_name)])

    def take_answer(self, message: Answer) -> None:
        """Sort what was asked about into wanted, skipped and refused.

        Raises:
            ProtocolError: if the answer does not fit the question.

        """
        if not self._asked:
            raise ProtocolError("an answer came without a question", Code.OUT_OF_ORDER)
        batch = self._asked.popleft()
        if len(message.verdicts) != len(batch):
            raise ProtocolError("an answer does not fit its question")
        reasons = {index: (code, text) for index, code, text in message.refused}
        skip = self._report.skip
        for index, (offer, letter) in enumerate(zip(batch, message.verdicts, strict=True)):
            if letter == protocol.SAME:
                if offer.entry.type != FOLDER:
                    skip(offer.wire_name, offer.entry, protocol.IDENTICAL)
            elif letter == protocol.REFUSE:
                code, text = reasons.get(index, (Code.DENIED, "refused"))
                error = FileError(code, offer.wire_name, shown(text))
                self._report.fail(error, offer.entry.size)
            else:
                self._sort(offer, letter)

    def _sort(self, offer: Offer, letter: str) -> None:
        entry = offer.entry
        if letter == protocol.SEND:
            self.wanted.append(offer)
        elif letter == protocol.NEW_FOLDER and entry.type == FOLDER:
            self._new_folders.add(offer.wire_name)
            self.wanted.append(offer)
        elif letter == protocol.WANT_DIGEST and not offer.asked_again:
            offer.asked_again = True
            self.wanted.append(offer)
        elif letter == protocol.SKIP:
            if entry.type != FOLDER:
                self._report.skip(offer.wire_name, entry, protocol.SKIPPED)
        else:
            raise ProtocolError(f"an answer has the letter {shown(letter)} where it cannot be")
