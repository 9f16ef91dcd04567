"""The plan of a whole command: made before it, and in its place or to decide whether it may run.

This module must not know how a plan is made, or how it is shown.
"""

from __future__ import annotations

from filexfer.planning import exchange as planning
from filexfer.planning.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from filexfer.errors import FileError
    from filexfer.options import Options
    from filexfer.report import Report
    from filexfer.transfer.landing import Download as Mapping
    from filexfer.transfer.sources import Source
    from filexfer.wire.connection import Connection

    Retrying = Callable[[Callable[[Connection], None], Options, Report, Callable[[], bool]], object]


def put(
    retrying: Retrying,
    sources: Sequence[Source],
    missing: Sequence[FileError],
    lands: Iterable[tuple[str, str]],
    options: Options,
    report: Report,
) -> bool:
    """Plan an upload, over one connection.

    Args:
        retrying: Runs it, again where the connection is lost.
        sources: What is to be sent.
        missing: The failures of what is not there.
        lands: Each source and what it lands as, for people.
        options: How.
        report: Takes the result.

    Returns:
        Whether the upload is to be done now.

    """
    plan = _begun(report, lands)

    def once(connection: Connection) -> None:
        for error in missing:
            plan.fail(error)
        planning.put(connection, sources, options, plan)
        if options.mirror:
            from filexfer.mirroring import mirror  # noqa: PLC0415 - seldom needed

            mirror.plan_up(connection, sources, options.mirror, plan)

    retrying(once, options, plan, lambda: True)
    return _is_clear(plan, options, report)


def get(
    retrying: Retrying,
    mapping: Mapping,
    lands: Iterable[tuple[str, str]],
    options: Options,
    report: Report,
) -> bool:
    """Plan a download; the arguments are as in ``put``.

    Returns:
        Whether the download is to be done now.

    """
    plan = _begun(report, lands)

    def once(connection: Connection) -> None:
        planning.get(connection, mapping, options, plan)
        if options.mirror:
            from filexfer.mirroring import mirror  # noqa: PLC0415 - seldom needed

            mirror.plan_down(connection, mapping, options.mirror, plan)

    retrying(once, options, plan, lambda: True)
    return _is_clear(plan, options, report)


def _begun(report: Report, lands: Iterable[tuple[str, str]]) -> Plan:
    if report.on_mapping:
        for source, target in lands:
            report.on_mapping(source, target)
    return Plan(report)


def _is_clear(plan: Plan, options: Options, report: Report) -> bool:
    if options.preflight and not options.dry_run and not (plan.failed or plan.undeleted):
        plan.settle(report)
        return True
    plan.settle_failed(report)
    report.finish()
    return False
