"""How a transfer is to be done.

This module must not know who transfers.
"""

from __future__ import annotations

from filexfer.errors import UsageError
from filexfer.hashing import ALGORITHMS, DEFAULT, algorithm_of
from filexfer.wire.protocol import IF_EXISTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.choice.filter import Filter

JOBS_MAX = 64
DURABILITIES = ("none", "batch", "file")


class Mirror:
    """That what the source has not is removed at the target, when all else went well.

    What the filter leaves out stays, and so does everything if any file failed or any folder of
    the source could not be read.

    Args:
        most: Files, links and folders that may be removed; if there are more, none is. None for
            any number.
        allow_empty_source: Go on if nothing is left in a source, though that removes everything.

    Raises:
        UsageError: if *most* is negative.

    """

    def __init__(self, *, most: int | None = None, allow_empty_source: bool = False) -> None:
        if most is not None and most < 0:
            raise UsageError("the number of files that may be deleted must not be negative")
        self.most = most
        self.allow_empty_source = allow_empty_source


class Options:
    """Choices of one upload or download.

    Args:
        if_exists: What to do where a file exists and differs: ``error`` (that file fails),
            ``overwrite``, ``update`` (only if ours is newer), ``skip`` or ``keep-both``.
        checksum: Compare existing files by digest, whatever size and time say.
        algorithm: Of the digests: ``xxh3_128``, ``sha256``, ``blake2b`` or ``md5``.
        durability: Of what a download writes: ``none``, ``batch`` or ``file``.
        jobs: Connections that share the work; by default as many as pay. More than one are
            processes of their own, forked where nothing else runs in this one, else threads.
        pieces: Whether large files move in pieces over all connections; by default where there
            are several and the round trip is long.
        retries: How often to connect again when the connection is lost; begins anew whenever
            another file was confirmed.
        stats: Find out where the time goes; the report has the figures.
        dry_run: Only find out what would be done, and write nothing at either side.
        preflight: Do so first, and transfer only if nothing would fail.
        expect: Of a download of one file, the digest (``algorithm:hex``) that it must have; its
            algorithm is the one used, and what exists is compared by it.
        filter: What is taken of the sources; everything by default.
        mirror: Whether and how what the source has not is removed at the target at last.

    Raises:
        UsageError: if a value makes no sense.

    """

    def __init__(
        self,
        *,
        if_exists: str = "error",
        checksum: bool = False,
        algorithm: str = DEFAULT,
        durability: str = "batch",
        jobs: int | None = None,
        pieces: bool | None = None,
        retries: int = 3,
        stats: bool = False,
        dry_run: bool = False,
        preflight: bool = False,
        expect: str = "",
        filter: Filter | None = None,  # noqa: A002 - the word for it
        mirror: Mirror | None = None,
    ) -> None:
        for value, allowed in (
            (if_exists, IF_EXISTS),
            (algorithm, ALGORITHMS),
            (durability, DURABILITIES),
        ):
            if value not in allowed:
                raise UsageError(f"{value!r} is none of {', '.join(allowed)}")
        if jobs is not None and not 1 <= jobs <= JOBS_MAX:
            raise UsageError(f"jobs must be 1 to {JOBS_MAX}, not {jobs}")
        if retries < 0:
            raise UsageError("retries must not be negative")
        if expect:
            algorithm, checksum = _expected(expect, algorithm, if_exists), True
        if mirror and if_exists == "keep-both":
            raise UsageError("a mirror has each file once: keep-both cannot be")
        if mirror and filter and filter.names is not None:
            raise UsageError("with a list of names nothing can be deleted")
        self.if_exists = if_exists
        self.checksum = checksum
        self.algorithm = algorithm
        self.durability = durability
        self.jobs = jobs
        self.pieces = pieces
        self.retries = retries
        self.stats = stats
        self.dry_run = dry_run
        self.preflight = preflight
        self.expect = expect
        self.filter = filter
        self.mirror = mirror

    @property
    def plans(self) -> bool:
        """Whether a plan is made."""
        return self.dry_run or self.preflight

    def with_jobs(self, jobs: int) -> Options:
        """Return the same choices with so many connections."""
        made = Options()
        vars(made).update(vars(self))
        made.jobs = jobs
        return made


def _expected(digest: str, algorithm: str, if_exists: str) -> str:
    """Return the algorithm of the digest that is expected.

    Raises:
        UsageError: if it is none, or does not go with the other choices.

    """
    try:
        found = algorithm_of(digest)
    except ValueError as error:
        raise UsageError(f"{digest!r} {error}, written ALGORITHM:HEX") from None
    if algorithm not in (found, DEFAULT):
        raise UsageError(f"a digest of {found} is expected: {algorithm} cannot be used")
    if if_exists in ("skip", "update"):
        raise UsageError("where a digest is expected, what exists cannot be kept for other reasons")
    return found
