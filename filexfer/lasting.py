"""A connection to one server that is opened when first needed, and again when it is lost.

This module must not know what is done on it.
"""

from __future__ import annotations

import time
from itertools import chain

from filexfer.errors import Busy, ConnectionLost, FileError, FilexferError, NetworkError
from filexfer.options import Options
from filexfer.report import Report
from filexfer.wire import protocol
from filexfer.wire.dial import pause_before

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self, TypeVar

    from filexfer.wire.connection import Connection
    from filexfer.wire.dial import Door

    T = TypeVar("T")


class Lasting:
    """A server that requests are made to; a context manager, for one thread.

    Args:
        door: Where it is.

    Attributes:
        retries: How often to connect again for a request when the connection is lost, or for the
            next part of an answer; transfers have ``Options(retries=...)``.
        on_lost: Is called before the pause that comes before another try.

    """

    def __init__(self, door: Door) -> None:
        self.retries = 3
        self.on_lost: Callable[[], object] | None = None
        self._door = door
        self._connection: Connection | None = None
        self._is_interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye and close; a later call connects again."""
        connection, self._connection = self._connection, None
        if connection:
            try:
                connection.send(protocol.End())
                connection.flush()
            except FilexferError:
                pass  # it is gone already
            connection.close()

    def keep_alive(self) -> None:
        """While busy with something else, now and then: let the server go on waiting for us.

        If the connection is lost, whoever reads from it next finds that out.
        """
        if self._connection:
            try:
                self._connection.keep_alive()
            except ConnectionLost:
                self._connection.interrupt()

    def interrupt(self) -> bool:
        """From a signal handler or another thread: cut the connection, and open no other.

        Returns:
            Whether there was one. What waits for it raises ConnectionLost.

        """
        self._is_interrupted = True
        if self._connection:
            self._connection.interrupt()
        return self._connection is not None

    def _request(self, act: Callable[[Connection], T], options: Options | None = None) -> T:
        """Carry out something that may be done twice; an idle connection may have been closed."""
        return self._retrying(act, options or self._usual(), Report(), lambda: True)

    def _continued(
        self, begin: Callable[[Connection], Iterator[T]], report: Report | None = None
    ) -> Iterator[T]:
        """Yield what *begin* finds; if the connection is lost, what it then finds on another one.

        The first is found, and errors about it are raised, before this returns.

        Args:
            begin: Is called anew for each connection, and has to go on where it was.
            report: Tells by its ``files`` what has been achieved between two things found.

        """
        options, report = self._usual(), report or Report()
        at: Connection | None = None
        found: Iterator[T] = iter(())

        def take(connection: Connection) -> T | None:
            nonlocal at, found
            if connection is not at:
                at, found = connection, begin(connection)
            return next(found, None)

        def step() -> T | None:
            return self._retrying(take, options, report, lambda: True)

        first = step()
        return iter(()) if first is None else chain((first,), iter(step, None))

    def _usual(self) -> Options:
        return Options(retries=self.retries)

    def _retrying(
        self,
        act: Callable[[Connection], T],
        options: Options,
        report: Report,
        may_retry: Callable[[], bool],
    ) -> T:
        """Do *act* on a connection; on another one after a pause if it is lost.

        A wrong address should be told at once. So, as long as no server has answered, there is
        another try only where somebody has said that there is no room, and a single one where
        the connection was closed without a word, as a server may do that is flooded.
        """
        tries = 0
        was_open = self._connection is not None
        while True:
            before = report.files
            try:
                if self._connection is None:
                    self._connection = self._door.begin()
                return act(self._connection)
            except ConnectionLost as error:
                is_greeted = bool(self._connection and not self._connection.greeting)
                was_open = was_open or is_greeted or isinstance(error, Busy)
                self._drop()
                tries = 1 if report.files > before else tries + 1
                is_enough = self._is_interrupted or tries > options.retries
                was_closed = self._door.is_met and tries == 1 and type(error) is ConnectionLost
                if not (was_open or was_closed) or is_enough or not may_retry():
                    raise
                report.restart()
                if self.on_lost:
                    self.on_lost()
            except BaseException as error:
                if isinstance(error, NetworkError) or not isinstance(error, FileError):
                    self._drop()
                raise
            time.sleep(pause_before(tries))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection:
            connection.close()
