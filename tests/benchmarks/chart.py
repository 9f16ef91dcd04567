"""Figures as a plot: bars of how many times as long as ``cp -r`` each tool took, as SVG text.

One panel for each workload and direction; a panel has its own scale, and a bar that would squeeze
the others is cut. The plot has its own background, so that it can be read on any page.
It must not know how anything is measured.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from figures import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from figures import Figures, Row, Table

WIDTH, MARGIN, GAP = 880, 24, 32
PANEL = (WIDTH - 2 * MARGIN - GAP) / 2
NAMES, VALUES = 112, 52  # the widths beside the bars
BAR, STEP, HEAD, TOP, FOOT = 14, 21, 30, 66, 34
LONGEST = 8.0  # times the local copy; what is longer is cut
OURS = "filexfer"

STYLE = """\
text { font: 13px sans-serif; fill: #1f2328 }
.title { font-size: 17px; font-weight: bold }
.head { font-weight: bold }
.faint { fill: #59636e }
.ours { font-weight: bold }
.page { fill: #ffffff }
.bar { fill: #a9b4c0 }
.bar.limit { fill: #d5dae0 }
.bar.ours { fill: #0f7b6c }
.line { stroke: #59636e; stroke-dasharray: 3 3 }
.cut { stroke: #ffffff; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.faint { fill: #9198a1 }
.page { fill: #0d1117 }
.bar { fill: #59636e }
.bar.limit { fill: #444c56 }
.bar.ours { fill: #2fb8a3 }
.line { stroke: #9198a1 }
.cut { stroke: #0d1117 }
}"""


def svg(figures: Figures) -> str:
    """Return the plot. ValueError if nothing can be compared with ``cp -r``."""
    tables = [table for table in figures.tables if _ratios(table)]
    if not tables:
        raise ValueError("a plot needs figures of 'cp'")
    parts, top = _title(figures), float(TOP)
    for line in _lines_of_panels(tables):
        for table, left in line:
            parts += _panel(table, left, top)
        top += HEAD + STEP * max(len(_bars(table)) for table, _ in line) + GAP * 0.6
    height = round(top + FOOT - GAP * 0.6)
    parts += _footnote(tables, height)
    size = f'width="{WIDTH}" height="{height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {WIDTH} {height}">',
            "<title>How many times as long as cp -r each tool takes</title>",
            f"<style>\n{STYLE}\n</style>",
            f'<rect class="page" {size} rx="8"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _bars(table: Table) -> list[tuple[Row, float | None]]:
    """Return the rows with their ratios, the smallest first, those that failed last."""
    bars = [(row, table.ratio(row)) for row in table.rows]
    return sorted(bars, key=lambda bar: float("inf") if bar[1] is None else bar[1])


def _ratios(table: Table) -> list[float]:
    return [ratio for _, ratio in _bars(table) if ratio is not None]


def _lines_of_panels(tables: list[Table]) -> list[list[tuple[Table, float]]]:
    """Return the panels line by line, each with its left edge: a workload's directions abreast."""
    lines: list[list[tuple[Table, float]]] = []
    for table in tables:
        if lines and len(lines[-1]) == 1 and lines[-1][0][0].workload == table.workload:
            lines[-1].append((table, MARGIN + PANEL + GAP))
        else:
            lines.append([(table, MARGIN)])
    return lines


def _title(figures: Figures) -> list[str]:
    machine = [figures.machine[name] for name in ("processor", "cores") if name in figures.machine]
    where = ", ".join([figures.date, *machine, rounds(figures)])
    return [
        _text(MARGIN, 30, "Time of each tool, in times that of cp -r (shorter is faster)", "title"),
        _text(MARGIN, 50, where, "faint"),
    ]


def _panel(table: Table, left: float, top: float) -> list[str]:
    bars = _bars(table)
    start, width = left + NAMES, PANEL - NAMES - VALUES
    scale = width / min(LONGEST, max(1.0, *_ratios(table)))
    bottom = top + HEAD + STEP * len(bars) - STEP + BAR
    way = "upload" if table.direction == "up" else "download"
    files = "1 file" if table.files == 1 else f"{table.files:,} files"
    head = (
        f'<tspan class="head">{table.workload}, {way}</tspan>'
        f'<tspan class="faint" dx="10">{files}, {_size(table.size)}</tspan>'
    )
    parts = [f'<text x="{left:.1f}" y="{top + 14:.1f}">{head}</text>']
    for number, (row, ratio) in enumerate(bars):
        parts += _bar(row, ratio, (start, top + HEAD + STEP * number), scale)
    x = start + scale
    parts.append(
        f'<path class="line" d="M{x:.1f} {top + HEAD - 5:.1f}V{bottom + 5:.1f}" fill="none"/>'
    )
    return parts


def _bar(row: Row, ratio: float | None, corner: tuple[float, float], scale: float) -> Iterable[str]:
    """Draw one bar with its name and its value; *corner* is where it begins."""
    left, top = corner
    kind = {OURS: "ours", LIMIT: "limit"}.get(row.key, "")
    yield _text(left - 8, top + 11.5, row.title, kind, anchor="end")
    if ratio is None:
        yield _text(left + scale + 6, top + 11.5, row.note.partition(":")[0], "faint")
        return
    width = max(1.0, min(ratio, LONGEST) * scale)
    yield (
        f'<rect class="bar {kind}" x="{left:.1f}" y="{top:.1f}" '
        f'width="{width:.1f}" height="{BAR}" rx="2"/>'
    )
    if ratio > LONGEST:
        x = left + width - 16
        yield f'<path class="cut" d="M{x:.1f} {top + BAR + 2:.1f}l6 -{BAR + 4}" fill="none"/>'
    end = left + max(width, scale)  # not across the line
    yield _text(end + 6, top + 11.5, f"{ratio:.2f}{'*' * bool(row.note)}", kind)


def _footnote(tables: list[Table], height: int) -> list[str]:
    """Explain the marks that are there."""
    bars = [bar for table in tables for bar in _bars(table)]
    notes = []
    if any(ratio is not None and ratio > LONGEST for _, ratio in bars):
        notes.append("A bar with a gap is longer than it is drawn.")
    if any(ratio is not None and row.note for row, ratio in bars):
        notes.append("* Something is missing or different: see the table.")
    return [_text(MARGIN, height - 16, "  ".join(notes), "faint")] if notes else []


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    which = f' class="{kind}"' if kind else ""
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{which}{where}>{escape(text)}</text>'


def rounds(figures: Figures) -> str:
    """Return what the figures are."""
    return "one round" if figures.rounds == 1 else f"medians of {figures.rounds} rounds"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
