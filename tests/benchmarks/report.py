"""Figures as text: tables for a terminal, and a part of the README.

It must not know how anything is measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import chart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from figures import Figures, Row, Table

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PLOT = "tests/benchmarks/figures.svg"  # beside the README
COLUMNS = ("seconds", "fastest", "slowest", "x cp -r", "MB/s", "CPU s", "peak MB", "remark")
README_COLUMNS = ("workload", "tool", *(each for each in COLUMNS if not each.endswith("est")))


def table_text(table: Table, floor: int) -> str:
    """Return a table for a terminal, the fastest tool first."""
    lines = [["", *COLUMNS]]
    lines += [[row.title, *_cells(table, row, floor).values()] for row in table.ranked()]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    text = [headline(table)]
    for name, *cells, remark in lines:
        numbers = "  ".join(
            cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)
        )
        text.append(f"  {name.ljust(widths[0])}  {numbers}  {remark}".rstrip())
    return "\n".join(text)


def headline(table: Table) -> str:
    """Return what was moved, and where to."""
    files = "1 file" if table.files == 1 else f"{table.files:,} files"
    return f"{table.workload} {table.direction}: {files}, {table.size / 1e6:,.1f} MB"


def missing_text(figures: Figures) -> list[str]:
    """Return a line for each tool that was passed over."""
    return [f"passed over: {title} ({why})" for title, why in figures.missing.items()]


def check_readme(path: Path) -> None:
    """Raise ValueError unless the README has a place for figures."""
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} has no place between '{BEGIN}' and '{END}'")


def write_readme(path: Path, figures: Figures) -> None:
    """Write the figures into a README, and the plot that it shows beside it."""
    check_readme(path)
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    plot = path.parent / PLOT
    plot.parent.mkdir(parents=True, exist_ok=True)
    plot.write_text(chart.svg(figures), encoding="utf-8")
    path.write_text(f"{before}{BEGIN}\n{_markdown(figures)}\n{END}{after}", encoding="utf-8")


def _markdown(figures: Figures) -> str:
    machine = ", ".join(figures.machine.values())
    programs = ", ".join(f"{name} {version}" for name, version in figures.versions.items())
    lines = [
        f"![How many times as long as cp -r each tool takes]({PLOT})",
        "",
        f"Measured on {figures.date}: {machine}. Programs: {programs}. The command:",
        "",
        f"    {figures.command}",
        "",
        *(f"{line[0].upper()}{line[1:]}.  " for line in missing_text(figures)),
        "<details>",
        f"<summary>All figures: {chart.rounds(figures)}, the fastest first</summary>",
        "",
        _markdown_row(README_COLUMNS),
        _markdown_row(["---", "---", *["--:"] * (len(README_COLUMNS) - 3), "---"]),
    ]
    for table in figures.tables:
        for row in table.ranked():
            cells = {"workload": f"{table.workload} {table.direction}", "tool": row.title}
            cells |= _cells(table, row, figures.floor)
            lines.append(_markdown_row([cells[name] for name in README_COLUMNS]))
    return "\n".join([*lines, "", "</details>"])


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(each.replace("|", "\\|") for each in cells) + " |"


def _cells(table: Table, row: Row, floor: int) -> dict[str, str]:
    """Return what stands in a row, by the names of the columns."""
    if not row.runs:
        return dict.fromkeys(COLUMNS, "-") | {"remark": row.note}
    ratio, cpu = table.ratio(row), row.cpu
    low = row.memory <= floor
    return {
        "seconds": f"{row.seconds:.3f}",
        "fastest": f"{min(run.seconds for run in row.runs):.3f}",
        "slowest": f"{max(run.seconds for run in row.runs):.3f}",
        "x cp -r": "-" if ratio is None else f"{ratio:.2f}",
        "MB/s": "-" if table.workload == "again" else f"{table.size / row.seconds / 1e6:,.0f}",
        "CPU s": "-" if cpu is None else f"{cpu:.2f}",
        "peak MB": f"{'<' * low}{(floor if low else row.memory) / 1e6:,.0f}",
        "remark": row.note,
    }
