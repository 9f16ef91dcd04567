"""What ``put`` and ``get`` have in common: how a transfer is prepared, and what is said of its end.

This module must not know which way anything goes, or how.
"""

from __future__ import annotations

import gc

from filexfer.cli import options, output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from filexfer import Options, Receipt, Report

_YOUNG = 100_000  # objects; with Python's 700, looking for cycles takes 2 to 3 % of the work


def prepare(arguments: Namespace, *, is_stream: bool) -> tuple[Report, Receipt | None, Options]:
    """Return the report, what writes the receipt if one was asked for, and the choices.

    Raises:
        FilexferError: if the options make no sense together, or for a stream.

    """
    gc.set_threshold(_YOUNG)
    report = output.report_for(arguments)
    receipt = options.receipt_for(arguments, report)
    choices = options.options_from(arguments)
    if is_stream:
        options.refuse_for_streams(choices)
    if choices.plans:
        from filexfer.cli import planning  # noqa: PLC0415 - seldom asked for

        planning.watch(report, arguments)
    return report, receipt, choices


def conclude(
    report: Report, receipt: Receipt | None, arguments: Namespace, *, is_upload: bool
) -> int:
    """Say what happened, or would happen, and return the exit code."""
    if report.is_plan:
        from filexfer.cli import planning  # noqa: PLC0415 - seldom asked for

        return planning.conclude(report, quiet=arguments.quiet)
    code = output.conclude(report, quiet=arguments.quiet)
    if receipt:
        receipt.write()
    output.explain(report, arguments, is_upload=is_upload)
    return code
