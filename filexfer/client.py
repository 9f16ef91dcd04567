"""The client: puts files to a server, gets them from it, and looks at what is there.

This module must not know command lines or terminals.
"""

from __future__ import annotations

import os

from filexfer.address import DEFAULT_PORT, format_url
from filexfer.entry import FOLDER
from filexfer.errors import IntegrityError, LocalError, UsageError
from filexfer.lasting import Lasting
from filexfer.options import Options
from filexfer.report import Report
from filexfer.transfer.landing import Download, Upload
from filexfer.transfer.sources import Source
from filexfer.wire import protocol, requests
from filexfer.wire.dial import Door

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator
    from typing import Any, Self

    from filexfer.entry import Entry
    from filexfer.security.trust import Trust
    from filexfer.storage.folder import Folder
    from filexfer.wire.connection import Connection


class Client(Lasting):
    """A server, seen from the client; a context manager, for one thread.

    It connects when first needed. Names on the server are relative to the folder it serves.

    Args:
        host: Name or address of the server.
        port: Its TCP port.
        timeout: Seconds, for connecting and for any wait without progress.
        trust: How the server is known, and the token that it is shown; without it, only a server
            on this machine, or one that was accepted before, is talked to.
        tls: In place of *trust*, a context to talk TLS by, with ``filexfer/1`` as its ALPN.
        insecure: In place of *trust*, talk in the clear to another machine.
        bwlimit: Bytes per second, for each direction on its own and over all connections
            together; None for no limit.
        congestion: TCP congestion control of what is sent, on Linux; None for the system's.

    Raises:
        UsageError: if one of the last two cannot be.

    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = DEFAULT_PORT,
        *,
        timeout: float = 60.0,
        trust: Trust | None = None,
        tls: ssl.SSLContext | None = None,
        insecure: bool = False,
        bwlimit: float | None = None,
        congestion: str | None = None,
    ) -> None:
        if tls or insecure:
            from filexfer.security.trust import Trust  # noqa: PLC0415 - seldom needed

            if trust:
                raise UsageError("trust says it all: leave out tls and insecure")
            trust = Trust(context=tls, insecure=insecure)
        super().__init__(Door(host, port, timeout=timeout, trust=trust))
        self._door.shape(bwlimit, congestion)

    @classmethod
    def from_remote(cls, remote: str, **options: Any) -> Self:
        """Return a client for a server that was stored by ``filexfer login``, or a connect string.

        Args:
            remote: ``"NAME:"``, or ``"fx://TOKEN@HOST:PORT/#FINGERPRINT"``, with no path.
            options: As of the class, but where the server is and how it is known.

        Raises:
            UsageError: if it names no server, or a path on one.

        """
        from filexfer.security.trust import server_of  # noqa: PLC0415 - seldom needed

        host, port, trust = server_of(remote)
        return cls(host, port, trust=trust, **options)

    def url(self, name: str, *, is_folder: bool = False) -> str:
        """Return the address of *name* on the server."""
        return format_url(self._door.host, self._door.port, name, is_folder=is_folder)

    def put(
        self,
        sources: Iterable[str | os.PathLike[str]],
        destination: str = "",
        options: Options | None = None,
        report: Report | None = None,
    ) -> Report:
        """Upload files and folders.

        Args:
            sources: Local paths. A folder lands as ``destination/name``; one written with a slash
                at its end, its contents land in *destination*.
            destination: Name on the server; a folder if it ends in a slash, is empty, or there
                are several sources.
            options: How.
            report: To watch while it runs; a fresh one by default.

        Returns:
            The report: what arrived, was skipped, and failed with its reason.

        Raises:
            NetworkError: if the connection fails for good.
            RefusedError: if the server refuses the whole upload.
            UsageError: if there are no sources.

        """
        from filexfer.shared import jobs  # noqa: PLC0415 - half of the start-up time
        from filexfer.transfer import upload  # noqa: PLC0415 - half of the start-up time

        paths = [os.fspath(source) for source in sources]
        if not paths:
            raise UsageError("there is nothing to put")
        options, report = self._begun(options, report)
        mapping = Upload(paths, [os.path.isdir(path) for path in paths], destination)
        there = self._request(lambda each: requests.known(each, mapping.questions), options)
        names = mapping.resolve(there)
        landed, is_folder = mapping.landed
        report.destination = self.url(landed, is_folder=is_folder)
        storages: dict[str, Folder] = {}
        try:
            found, missing = upload.find_sources(paths, names, there, storages)
            options = jobs.settled_for(found, options, self._door)

            def once(connection: Connection) -> None:
                for error in missing:
                    report.fail(error)
                if options.jobs == 1:
                    upload.put(connection, found, options, report)
                else:
                    from filexfer.shared import upload as shared_upload  # noqa: PLC0415 - as above

                    shared_upload.put(self._door, connection, found, options, report)

            def lost() -> bool:
                for source in found:
                    source.fresh = False
                return True

            self._retrying(once, options, report, lost)
        finally:
            for storage in storages.values():
                storage.close()
        report.finish()
        return report

    def get(
        self,
        names: Iterable[str],
        destination: str | os.PathLike[str] = ".",
        options: Options | None = None,
        report: Report | None = None,
    ) -> Report:
        """Download files and folders.

        Args:
            names: Names on the server. A folder lands as ``destination/name``; one written with a
                slash at its end (or ``""``), its contents land in *destination*.
            destination: Local path; a folder if it ends in a slash, is a folder, or there are
                several names.
            options: How.
            report: To watch while it runs; a fresh one by default.

        Returns:
            The report: what arrived, was skipped, and failed with its reason.

        Raises:
            NetworkError: if the connection fails for good.
            RefusedError: if the server refuses the whole download.
            IntegrityError: if the server sends what was not asked for.
            LocalError: if *destination* cannot be used.

        """
        from filexfer.shared import jobs  # noqa: PLC0415 - half of the start-up time
        from filexfer.transfer import download  # noqa: PLC0415 - half of the start-up time

        wanted = list(names)
        if not wanted:
            raise UsageError("there is nothing to get")
        how, report = self._begun(options, report)
        local = os.fspath(destination)
        plain = [name.strip("/") for name in wanted]
        found, files = self._request(
            lambda each: requests.look(each, plain, jobs.least_files(how, self._door)), how
        )
        mapping = Download(wanted, local, found, is_folder=os.path.isdir(local))
        places = [os.path.join(mapping.root, name) for name in mapping.targets.values()]
        how = jobs.settled(how, self._door, files, is_fresh=not any(map(os.path.lexists, places)))
        report.destination = mapping.landed
        if all(entry.type != FOLDER for entry in mapping.entries):
            report.expect(len(mapping.entries), sum(entry.size for entry in mapping.entries))

        def once(connection: Connection) -> None:
            if how.jobs == 1:
                download.get(connection, mapping, how, report)
            else:
                from filexfer.shared import download as shared_download  # noqa: PLC0415 - as above

                shared_download.get(self._door, connection, mapping, how, report)

        self._retrying(once, how, report, lambda: True)
        report.finish()
        return report

    def put_stream(
        self,
        fd: int,
        name: str,
        options: Options | None = None,
        report: Report | None = None,
    ) -> Report:
        """Upload what a descriptor gives, to its end, as the file *name*.

        Once anything was read there is no second try.

        Args:
            fd: Descriptor to read from.
            name: Name on the server.
            options: How; over one connection in any case.
            report: To watch while it runs.

        """
        from filexfer.transfer import upload  # noqa: PLC0415 - half of the start-up time

        if not name or name.endswith("/"):
            raise UsageError("standard input needs a file's name at the destination")
        options, report = self._begun(options, report)
        from filexfer.storage.stream import StreamSource  # noqa: PLC0415 - as above

        stream = StreamSource(fd)
        source = Source(stream, "", name.strip("/"), fresh=True)
        report.destination = self.url(name.strip("/"))
        report.add_walks(1)  # how much it is turns out at its end
        alone = Options(if_exists=options.if_exists, algorithm=options.algorithm)
        self._retrying(
            lambda connection: upload.put(connection, [source], alone, report),
            options,
            report,
            lambda: not stream.was_read,
        )
        report.finish()
        return report

    def get_stream(
        self,
        name: str,
        fd: int,
        options: Options | None = None,
        report: Report | None = None,
    ) -> Report:
        """Download the file *name* into a descriptor.

        Once anything was written there is no second try.

        Args:
            name: Name on the server.
            fd: Descriptor to write to.
            options: How; over one connection in any case.
            report: To watch while it runs.

        Raises:
            IntegrityError: if what was written turned out not to match its hash.
            LocalError: if the descriptor takes no more.

        """
        from filexfer.storage.stream import StreamTarget  # noqa: PLC0415 - as above
        from filexfer.transfer import download  # noqa: PLC0415 - half of the start-up time

        options, report = self._begun(options, report)
        target = StreamTarget(fd, name.strip("/"))
        report.destination = "standard output"
        self._retrying(
            lambda connection: download.get_stream(
                connection, name.strip("/"), target, options, report
            ),
            options,
            report,
            lambda: not target.was_written,
        )
        while report.warnings:  # nothing else was asked for
            report.fail(report.warnings.pop())
        report.finish()
        if target.failure:
            raise LocalError(str(target.failure))
        if target.was_written and report.failures:
            raise IntegrityError(f"{report.failures[0]}; what was written must not be used")
        return report

    def stat(self, name: str) -> Entry | None:
        """Return what *name* is on the server, or None if there is nothing."""
        plain = name.strip("/")
        return self._request(lambda connection: requests.stat(connection, [plain])[plain])

    def list(self, name: str = "", *, recursive: bool = False) -> Iterator[Entry]:
        """Yield what lies in the folder *name* on the server; names relative to it.

        Finish it before the next call.

        Raises:
            FileError: if nothing of that name is there, or it may not be listed.

        """
        plain = name.strip("/")
        return self._request(
            lambda connection: requests.listing(connection, plain, recursive=recursive)
        )

    def make_folder(self, name: str) -> None:
        """Make a folder on the server, and its missing parents; fine if it is there.

        Raises:
            FileError: if it cannot be made.

        """
        message = protocol.MakeFolder(name=name.strip("/"))
        self._request(lambda connection: requests.carry_out(connection, message))

    def remove(self, name: str, *, recursive: bool = False) -> None:
        """Remove a file, a link or an empty folder; with *recursive* a folder and all in it.

        Raises:
            FileError: if there is nothing, or it may not be removed.

        """
        message = protocol.Remove(name=name.strip("/"), recursive=recursive)
        self._request(lambda connection: requests.carry_out(connection, message))

    def _begun(self, options: Options | None, report: Report | None) -> tuple[Options, Report]:
        """Return the options and the report of a transfer that begins."""
        options, report = options or Options(), report or Report()
        self._door.check(options.jobs or 1)
        if options.stats:
            report.measure()
        return options, report
