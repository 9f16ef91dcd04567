"""What a transfer would do, found out by its own questions: everything is asked, nothing is sent.

Both exchanges are those of a transfer with the member ``plan`` in their request, and without an
item: after the last answer the sender says ``end``. The sender asks about everything, also about
what lies in new folders, and gives digests where they are wanted.

    put   A letter ``s`` of the answer may have a reason in ``refused`` too: what may go wrong on
          other systems. The server takes all that it has answered ``s`` to as stored.
    get   The client keeps to itself what it wants, and answers ``k``. The server says ``unsent``
          also of files that it then asks about: they could not be read.

A server that does not know ``plan`` does nothing else: it decides about each name by itself.

This module must not know retries, or how sources and destinations were chosen.
"""

from __future__ import annotations

from filexfer.choice.filtering_receiver import FilteringAnswers
from filexfer.entry import FILE, FOLDER
from filexfer.errors import Code, FileError, ProtocolError
from filexfer.names import shown
from filexfer.report import FAILURES_KEPT
from filexfer.storage.dryrun import DryRun, nearest
from filexfer.storage.policy import Choice, Policy
from filexfer.transfer.answers import LETTERS, REASON_MAX, Answers
from filexfer.transfer.download import in_frames
from filexfer.transfer.landing import Placement
from filexfer.transfer.questions import Questions
from filexfer.transfer.receiver import Receiver
from filexfer.transfer.sender import Sender
from filexfer.transfer.sources import walk
from filexfer.wire import protocol, ranged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from filexfer.choice.judges import Judges
    from filexfer.entry import Entry
    from filexfer.options import Options
    from filexfer.planning.plan import Plan
    from filexfer.report import Report
    from filexfer.storage.contract import Target
    from filexfer.storage.policy import Decision
    from filexfer.transfer.landing import Download as Mapping
    from filexfer.transfer.sources import Offer, Source
    from filexfer.wire.connection import Connection
    from filexfer.wire.protocol import Answer, Unsent
    from filexfer.wire.schema import Message

_SKIPPED = {protocol.SAME: protocol.IDENTICAL, protocol.SKIP: protocol.SKIPPED}


def put(connection: Connection, sources: Sequence[Source], options: Options, plan: Plan) -> None:
    """Plan an upload.

    Raises:
        NetworkError, RefusedError: if the connection fails, or the whole would be refused.

    """
    connection.send(protocol.Put(if_exists=options.if_exists, checksum=options.checksum, plan=True))
    sender = PutPlanner(connection, plan, options.algorithm)
    sender.run(walk(sources, plan, sender.fail, sender.reader))


def get(connection: Connection, mapping: Mapping, options: Options, plan: Plan) -> None:
    """Plan a download.

    Raises:
        NetworkError, RefusedError: if the connection fails, or the whole would be refused.
        IntegrityError: if the server names what was not asked for.
        LocalError: if the destination could not be used.

    """
    for name in mapping.missing:
        plan.fail(FileError(Code.NOT_FOUND, name, "no such file or folder on the server"))
    if not mapping.targets:
        return
    policy = Policy(options.if_exists, checksum=options.checksum)
    with (
        nearest(mapping.root or ".") as (folder, is_missing),
        DryRun(folder, policy, is_missing=is_missing) as target,
    ):
        for names in in_frames(mapping.targets):
            connection.send(protocol.Get(names=names, hash=options.algorithm, plan=True))
            place = Placement(mapping.targets)
            GetPlanner(connection, target, plan, place, mapping.judges).run()


class PutPlanner(Sender):
    """The client's half of a plan of an upload: asks about all offers, and sends none.

    Args:
        connection: To who is asked.
        plan: Takes what would happen.
        algorithm: Of the digests.

    """

    def __init__(self, connection: Connection, plan: Plan, algorithm: str) -> None:
        super().__init__(connection, plan, algorithm=algorithm)
        self._questions = _PutQuestions(plan, self._check_readable)
        self._handlers[protocol.Answer] = self._questions.take_answer

    def _send(self, offer: Offer) -> None:
        """Ask again about a file whose digest is wanted."""
        _send_digest(self, offer, self._ask_again)

    def _check_readable(self, offer: Offer) -> None:
        if offer.entry.type == FILE:
            self.reader(offer.source.storage).large(offer.entry).close()


class _PutQuestions(Questions):
    """Questions about everything, whose answers settle it."""

    def __init__(self, plan: Plan, check: Callable[[Offer], None]) -> None:
        super().__init__(plan)
        self._plan = plan
        self._check = check

    def needs(self, offer: Offer) -> bool:
        """Tell that everything is asked about."""
        del offer
        return True

    def take_answer(self, message: Answer) -> None:
        """Settle what was asked about."""
        batch, reasons = self._answered(message)
        for index, (offer, letter) in enumerate(zip(batch, message.verdicts, strict=True)):
            name, entry = offer.wire_name, offer.entry
            code, text = reasons.get(index, ("", ""))
            if letter == protocol.REFUSE:
                why = FileError(code or Code.DENIED, name, shown(text or "refused"))
                self._plan.refuse_entry(why, entry)
            elif letter in (protocol.SAME, protocol.SKIP):
                if entry.type != FOLDER:
                    is_same = letter == protocol.SAME
                    self._plan.skip(
                        name, entry, protocol.IDENTICAL if is_same else protocol.SKIPPED
                    )
            elif letter in (protocol.SEND, protocol.NEW_FOLDER):
                self._want(offer, code, shown(text))
            else:
                self._sort(offer, letter)
        self._plan.progress()

    def _want(self, offer: Offer, code: str, text: str) -> None:
        try:
            self._check(offer)
        except FileError as error:
            why = FileError(error.code, offer.wire_name, error.text)
            self._plan.refuse_entry(why, offer.entry)
        else:
            self._plan.send(offer.wire_name, offer.entry, code, text)


class GetAsker(Sender):
    """The server's half of a plan of a download: asks about all offers, and sends none."""

    def __init__(self, connection: Connection, report: Report, algorithm: str) -> None:
        super().__init__(connection, report, algorithm=algorithm, tell_unsent=True)

    def run(self, offers: Iterator[Offer]) -> None:
        """Ask about everything; before, say what cannot be read."""
        super().run(self._checked(offers))

    def _checked(self, offers: Iterator[Offer]) -> Iterator[Offer]:
        for offer in offers:
            if offer.entry.type == FILE:
                try:
                    self.reader(offer.source.storage).large(offer.entry).close()
                except FileError as error:
                    self.fail(FileError(error.code, offer.wire_name, error.text))
            yield offer

    def _send(self, offer: Offer) -> None:
        """Ask again about a file whose digest is wanted."""
        _send_digest(self, offer, self._ask_again)


def _send_digest(sender: Sender, offer: Offer, ask_again: Callable[[Offer], None]) -> None:
    if not offer.asked_again or offer.entry.extra:
        return
    try:
        ask_again(offer)
    except FileError as error:
        sender.fail(FileError(error.code, offer.wire_name, error.text))


class PutAnswerer(Receiver):
    """The server's half of a plan of an upload: answers, and takes nothing.

    Args:
        connection: Who asks.
        staging: Decides.
        report: Counts.

    """

    def __init__(
        self,
        connection: Connection,
        staging: Target,
        report: Report,
        place: Callable[[str], str] = str,
    ) -> None:
        super().__init__(connection, staging, report, place)
        for kind in (protocol.File, protocol.Folder, protocol.Link, ranged.Later):
            self._takers[kind] = _take_item
        self._takers[protocol.Ask] = _PutAnswers(connection, staging, report, place).answer


class _PutAnswers(Answers):
    """Answers that say what would be done with everything."""

    def judge(self, entries: list[Entry]) -> tuple[list[str], list[tuple[int, str, str]]]:
        """Return the letters for entries, and the reasons that belong to some of them."""
        letters: list[str] = []
        reasons: list[tuple[int, str, str]] = []
        for index, offered in enumerate(entries):
            wire_name, offered.name = offered.name, self._place(offered.name)
            decision = self._staging.judge(offered, self._connection.keep_alive)
            letters.append(self._settled(wire_name, offered, decision))
            if decision.text and letters[-1] in (protocol.SEND, protocol.REFUSE):
                reasons.append((index, decision.code, decision.text[:REASON_MAX]))
        self._report.progress()
        return letters, reasons

    def _settled(self, wire_name: str, offered: Entry, decision: Decision) -> str:
        """Return the letter for a decision."""
        del wire_name, offered
        return LETTERS[decision.choice]


class GetPlanner(PutAnswerer):
    """The client's half of a plan of a download: asks for nothing.

    Args:
        connection: To the server.
        staging: Decides.
        plan: Takes what would happen.
        place: Turns a name on the wire into one in the staging.
        judges: Decide what is taken, if that is not everything.

    """

    def __init__(
        self,
        connection: Connection,
        staging: Target,
        plan: Plan,
        place: Callable[[str], str],
        judges: Judges | None,
    ) -> None:
        super().__init__(connection, staging, plan, place)
        self._judges = judges
        self._plan = plan
        self._unsent: dict[str, FileError] = {}  # what may yet be asked about
        ends = (connection, staging, plan, place)
        answers = _FilteringAnswers(*ends, judges=judges) if judges else _GetAnswers(*ends)
        answers.unsent = self._unsent
        self._takers[protocol.Ask] = answers.answer
        self._takers[protocol.Unsent] = self._take_unsent

    def run(self) -> None:
        """Answer until the end."""
        super().run()
        for error in self._unsent.values():
            self._plan.fail(error)

    def _take_unsent(self, message: Unsent) -> None:
        self._item += 1
        if self._judges and self._judges.is_left(message.name):
            return
        error = FileError(message.code, message.name, shown(message.text))
        if message.code == Code.PASSED_OVER:
            self._plan.warn(error)
        elif len(self._unsent) < FAILURES_KEPT:
            self._unsent[message.name] = error
        else:  # nobody's memory is for whoever names more
            self._plan.fail(error)


class _GetAnswers(_PutAnswers):
    """Answers that keep to themselves what is wanted."""

    unsent: dict[str, FileError]
    _report: Plan

    def _settled(self, wire_name: str, offered: Entry, decision: Decision) -> str:
        plan, choice, name = self._report, decision.choice, offered.name
        letter = LETTERS[choice]
        if choice is Choice.WANT_DIGEST:
            return letter
        unsent = self.unsent.pop(wire_name, None) if offered.type == FILE else None
        if choice is Choice.REFUSE:
            plan.refuse_entry(FileError(decision.code, name, decision.text), offered)
        elif letter == protocol.SEND:
            if unsent:
                plan.refuse_entry(unsent, offered)
            else:
                plan.send(name, offered, decision.code, decision.text)
            return protocol.SKIP
        elif offered.type != FOLDER:
            plan.skip(name, offered, _SKIPPED[letter])
        return letter


class _FilteringAnswers(FilteringAnswers, _GetAnswers):
    """The same, where not everything is taken."""


def _take_item(_: Message) -> None:
    raise ProtocolError("nothing is to be sent where it is only planned", Code.OUT_OF_ORDER)
