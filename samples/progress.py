"""Progress is a callable: it gets the report whenever something has moved.

The report's other hook, on_file, gets a FileResult of each file that is settled: its name, what
became of it, its size, its digest.

    python samples/progress.py FILE_OR_FOLDER PORT
"""

import sys
from time import monotonic

from filexfer import Client, FilexferError, Report


class Percent:
    """Prints how far an upload is, at most ten times a second, and at its end."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, report: Report) -> None:
        """Print it, if it is time to."""
        if monotonic() >= self._next or report.seconds:
            self._next = monotonic() + 0.1
            share = 100 * report.moved // (report.found_bytes or 1)
            print(f"{share} % of {report.found} files so far", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdecimal():
        sys.exit("usage: progress.py FILE_OR_FOLDER PORT")
    report = Report(Percent(), lambda file: print(file.name, file.result))
    try:
        with Client(port=int(sys.argv[2])) as client:
            client.put([sys.argv[1]], report=report)
    except FilexferError as error:
        sys.exit(f"error: {error}")
    sys.exit(3 if report.failed else 0)
