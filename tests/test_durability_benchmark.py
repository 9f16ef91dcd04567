"""The benchmark of durability runs from end to end, in sizes too small to measure anything."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli_process import ROOT, SECONDS, environment

SCRIPT = ROOT / "tests" / "benchmarks" / "durability.py"

pytestmark = pytest.mark.skipif(
    not Path(sys.executable).with_name("filexfer").exists(), reason="filexfer is not installed"
)


def measure(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the benchmark."""
    return subprocess.run(
        [sys.executable, "-W", "error", str(SCRIPT), *map(str, words)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_table_is_printed_and_nothing_is_left(quick: Path) -> None:
    """Each level has its figures, and the ratio to none with one flush at the end."""
    done = measure("--rounds", 1, "--big-mib", 2, "--small-count", 20, "--dir", quick)
    assert done.returncode == 0, done.stderr
    for name in ("small: 20 files", "big: 1 files"):
        assert name in done.stdout
    rows = re.findall(
        r"^  (none and sync|batch|file)(?: +\d+\.\d\d){4}$", done.stdout, re.MULTILINE
    )
    assert rows == ["none and sync", "batch", "file"] * 2
    assert list(quick.iterdir()) == []


@pytest.mark.parametrize(
    "words", [("--rounds", "0"), ("--levels", "most"), ("--workloads", "tree")]
)
def test_nonsense_is_refused(words: tuple[str, str]) -> None:
    """With the usage, and the word that is wrong."""
    done = measure(*words)
    assert done.returncode == 2
    assert repr(words[1]) in done.stderr
