"""Fast, verified file transfer over TCP.

The public names of the library; everything else in the package is an inner part and may change.
They are loaded when first used, because every run of the command line pays for an import.

    from filexfer import Client, Server

    with Server("inbox") as server, Client(server.host, server.port) as client:
        client.put(["photos"], "photos/")
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from filexfer.choice.filter import Filter as Filter
    from filexfer.client import Client as Client
    from filexfer.entry import Entry as Entry
    from filexfer.errors import ConnectionLost as ConnectionLost
    from filexfer.errors import ExitCode as ExitCode
    from filexfer.errors import FileError as FileError
    from filexfer.errors import FilexferError as FilexferError
    from filexfer.errors import IntegrityError as IntegrityError
    from filexfer.errors import LocalError as LocalError
    from filexfer.errors import NetworkError as NetworkError
    from filexfer.errors import ProtocolError as ProtocolError
    from filexfer.errors import RefusedError as RefusedError
    from filexfer.errors import TimedOut as TimedOut
    from filexfer.errors import TrustError as TrustError
    from filexfer.errors import UsageError as UsageError
    from filexfer.options import Mirror as Mirror
    from filexfer.options import Options as Options
    from filexfer.planning.planned import PlanEntry as PlanEntry
    from filexfer.receipts.manifest import Manifest as Manifest
    from filexfer.receipts.receipt import Receipt as Receipt
    from filexfer.report import FileResult as FileResult
    from filexfer.report import Report as Report
    from filexfer.security.trust import Trust as Trust
    from filexfer.server import Server as Server
    from filexfer.serving.limits import Limits as Limits

__version__ = "0.1.0"

_HOMES = {
    "Client": "filexfer.client",
    "Limits": "filexfer.serving.limits",
    "Manifest": "filexfer.receipts.manifest",
    "Filter": "filexfer.choice.filter",
    "Mirror": "filexfer.options",
    "Options": "filexfer.options",
    "Receipt": "filexfer.receipts.receipt",
    "Entry": "filexfer.entry",
    "ConnectionLost": "filexfer.errors",
    "ExitCode": "filexfer.errors",
    "FileError": "filexfer.errors",
    "FilexferError": "filexfer.errors",
    "IntegrityError": "filexfer.errors",
    "LocalError": "filexfer.errors",
    "NetworkError": "filexfer.errors",
    "ProtocolError": "filexfer.errors",
    "RefusedError": "filexfer.errors",
    "TimedOut": "filexfer.errors",
    "TrustError": "filexfer.errors",
    "UsageError": "filexfer.errors",
    "FileResult": "filexfer.report",
    "PlanEntry": "filexfer.planning.planned",
    "Report": "filexfer.report",
    "Server": "filexfer.server",
    "Trust": "filexfer.security.trust",
}

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604 - the names are the keys above


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'filexfer' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
