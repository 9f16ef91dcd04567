"""The client: puts files to a server, gets them from it, and looks at what is there.

This module must not know command lines or terminals.
"""

from __future__ import annotations

import os

from filexfer.address import DEFAULT_PORT, format_url
from filexfer.entry import FOLDER
from filexfer.errors import Code, IntegrityError, LocalError, UsageError
from filexfer.options import Options
from filexfer.report import Report
from filexfer.tidying import Tidying
from filexfer.transfer.landing import Download, Upload
from filexfer.transfer.sources import Source, Survey
from filexfer.wire import requests
from filexfer.wire.dial import Door

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence
    from typing import Any, Self

    from filexfer.security.trust import Trust
    from filexfer.storage.folder import Folder
    from filexfer.wire.connection import Connection


class Client(Tidying):
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
        retries: How often to connect again when the connection is lost in a request; transfers
            have ``Options(retries=...)``.

    Raises:
        UsageError: if one of the last three cannot be.

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
        retries: int = 3,
    ) -> None:
        if tls or insecure:
            from filexfer.security.trust import Trust  # noqa: PLC0415 - seldom needed

            if trust:
                raise UsageError("trust says it all: leave out tls and insecure")
            trust = Trust(context=tls, insecure=insecure)
        super().__init__(Door(host, port, timeout=timeout, trust=trust))
        self._door.shape(bwlimit, congestion)
        self.retries = retries
        self._usual()  # so many can be

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
        if options.filter or options.mirror:
            from filexfer.choice import filtered_upload  # noqa: PLC0415 - seldom needed

            filtered_upload.check(paths, options)
        mapping = Upload(paths, [os.path.isdir(path) for path in paths], destination)
        there = self._request(lambda each: requests.known(each, mapping.questions), options)
        names = mapping.resolve(there)
        landed, is_folder = mapping.landed
        report.mapping = mapping
        report.destination = self.url(landed, is_folder=is_folder)
        storages: dict[str, Folder] = {}
        try:
            found, missing = upload.find_sources(paths, names, there, storages)
            if options.filter or options.mirror:
                missing += filtered_upload.choose(found, options, self._door.rights)
            if options.plans:
                from filexfer.planning import preflight  # noqa: PLC0415 - seldom asked for

                lands = zip(paths, map(self.url, names), strict=True)
                if not preflight.put(self._retrying, found, missing, lands, options, report):
                    return report
            options = jobs.settled_for(found, options, self._door)

            def once(connection: Connection) -> None:
                for error in missing:
                    report.fail(error)
                if options.jobs == 1:
                    upload.put(connection, found, options, report)
                else:
                    from filexfer.shared import upload as shared_upload  # noqa: PLC0415 - as above

                    shared_upload.put(self._door, connection, found, options, report)

            with Survey(found, report):
                self._retrying(once, options, report, lambda: _none_is_fresh(found))
            self._mirror_up(found, options, report)
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
            IntegrityError: if the server sends what was not asked for, or not what is expected.
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
        if how.expect and (len(wanted) > 1 or mapping.is_one_folder):
            raise UsageError("a digest can be expected of one file only")
        if how.filter or how.mirror:
            self._choose(mapping, how)
        places = [os.path.join(mapping.root, name) for name in mapping.targets.values()]
        report.destination, report.mapping = mapping.landed, mapping
        if how.plans and not self._is_clear(mapping, places, how, report):
            return report
        how = jobs.settled(how, self._door, files, is_fresh=not any(map(os.path.lexists, places)))
        if not how.filter and all(entry.type != FOLDER for entry in mapping.entries):
            report.expect(len(mapping.entries), sum(entry.size for entry in mapping.entries))

        def once(connection: Connection) -> None:
            if how.jobs == 1:
                download.get(connection, mapping, how, report)
            else:
                from filexfer.shared import download as shared_download  # noqa: PLC0415 - as above

                shared_download.get(self._door, connection, mapping, how, report)

        self._retrying(once, how, report, lambda: True)
        self._mirror_down(mapping, how, report)
        report.finish()
        _check_expected(how, report)
        return report

    def _choose(self, mapping: Download, options: Options) -> None:
        """Take of a download what the filter lets, and check whether it can be a mirror."""
        from filexfer.choice import filtered_download  # noqa: PLC0415 - seldom needed
        from filexfer.mirroring import mirror  # noqa: PLC0415 - seldom needed

        if chosen := options.filter:
            self._request(lambda each: filtered_download.choose(each, mapping, chosen), options)
        if options.mirror:
            mirror.check_mapping(mapping, self._door.rights)

    def _mirror_down(self, mapping: Download, options: Options, report: Report) -> None:
        """Remove here what the server has not, if that is wished."""
        if options.mirror:
            from filexfer.mirroring import mirror  # noqa: PLC0415 - seldom needed

            with mirror.target(mapping) as folder:
                self._request(lambda c: mirror.down(c, folder, mapping, options, report), options)

    def _is_clear(
        self, mapping: Download, places: Sequence[str], options: Options, report: Report
    ) -> bool:
        """Plan a download, and tell whether to go on with it."""
        from filexfer.planning import preflight  # noqa: PLC0415 - seldom asked for

        lands = zip(map(self.url, mapping.targets), places, strict=True)
        return preflight.get(self._retrying, mapping, lands, options, report)

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
        _check_plannable(options)
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
            IntegrityError: if what was written turned out not to match its hash, or what came is
                not what is expected; of a small file nothing was written then.
            LocalError: if the descriptor takes no more.

        """
        from filexfer.storage.stream import StreamTarget  # noqa: PLC0415 - as above
        from filexfer.transfer import download  # noqa: PLC0415 - half of the start-up time

        options, report = self._begun(options, report)
        _check_plannable(options)
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
            raise LocalError(str(target.failure)) from target.failure
        if target.was_written and report.failures:
            raise IntegrityError(f"{report.failures[0]}; what was written must not be used")
        _check_expected(options, report)
        return report

    def _mirror_up(self, sources: Sequence[Source], options: Options, report: Report) -> None:
        """Remove on the server what the sources have not, if that is wished."""
        if options.mirror:
            from filexfer.mirroring import mirror  # noqa: PLC0415 - seldom needed

            self._request(lambda each: mirror.up(each, sources, options, report), options)

    def _begun(self, options: Options | None, report: Report | None) -> tuple[Options, Report]:
        """Return the options and the report of a transfer that begins."""
        options, report = options or Options(), report or Report()
        self._door.check(options.jobs or 1)
        if options.stats:
            report.measure()
        return options, report


def _check_plannable(options: Options) -> None:
    if options.plans:
        raise UsageError("standard input and output cannot be planned: name a file")


def _check_expected(options: Options, report: Report) -> None:
    """Raise IntegrityError if the one file that was wanted is not the one expected."""
    for failure in report.failures if options.expect else ():
        if failure.code == Code.HASH_MISMATCH:
            raise IntegrityError(str(failure))


def _none_is_fresh(sources: Sequence[Source]) -> bool:
    for source in sources:
        source.fresh = False
    return True
