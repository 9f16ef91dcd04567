"""What ``put`` and ``get`` leave behind for later: the receipt, and the digest that was expected.

This module must not know what is in them.
"""

from __future__ import annotations

import sys

from filexfer import LocalError, Receipt, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import Namespace

    from filexfer import Report


def begun(arguments: Namespace, report: Report) -> Receipt:
    """Return what writes the receipt that the options ask for.

    Raises:
        UsageError: if it would be mixed with other output.
        LocalError: if nothing can be written there.

    """
    if arguments.failed == "-":
        raise UsageError("--failed needs a file: standard output is for --manifest")
    if arguments.manifest == "-":
        if getattr(arguments, "destination", "") == "-" or getattr(arguments, "json", False):
            raise UsageError("standard output cannot take a manifest too")
        if sys.stdout is None:
            raise LocalError("standard output is closed")
    return Receipt(
        report,
        manifest=arguments.manifest,
        failed=arguments.failed,
        algorithm=arguments.hash,
    )
