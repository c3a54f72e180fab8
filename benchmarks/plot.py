"""One measured column of a table as bars, with least and greatest, in an SVG without a library."""

import re
from dataclasses import dataclass
from html import escape

from benchmarks.measure import DASH, Table

LEFT, WIDTH, ROW, TOP = 260, 460, 30, 44
NUMBER = re.compile(rf"([\d.,]+)(?: \[([\d.,]+){DASH}([\d.,]+)\])?\Z")


@dataclass(frozen=True, slots=True)
class Bar:
    """A way's median, and the least and the greatest of its rounds."""

    name: str
    middle: float
    least: float
    greatest: float


def bars(table: Table, column: str) -> list[Bar]:
    """Return a column's figures, as `measure.shown` writes them; rows without one are left out."""
    place = table.columns.index(column)
    found: list[Bar] = []
    for row in table.rows:
        told = NUMBER.match(row[place])
        if told is None:
            continue
        middle, least, greatest = (
            float((part or told[1]).replace(",", "")) for part in told.groups()
        )
        found.append(Bar(row[0], middle, least, greatest))
    return found


def svg(table: Table, column: str) -> str:
    """Return the bars as an SVG that reads on a light and on a dark page."""
    drawn = bars(table, column)
    most = max((bar.greatest for bar in drawn), default=1.0)
    parts = [_text(LEFT, 22, f"{table.title}: {column}", weight="bold")]
    for number, bar in enumerate(drawn):
        y = TOP + number * ROW
        ours = "#2563eb" if bar.name.startswith("Runner") else "#9ca3af"
        at, low, high = (
            LEFT + WIDTH * value / most for value in (bar.middle, bar.least, bar.greatest)
        )
        parts += [
            _text(LEFT - 8, y + 14, bar.name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{at - LEFT:.1f}" height="18" fill="{ours}"/>',
            f'<path d="M{low:.1f} {y + 9}H{high:.1f}" stroke="#6b7280" stroke-width="2"/>',
            _text(high + 8, y + 14, f"{bar.middle:,.0f}"),
        ]
    width, height = LEFT + WIDTH + 90, TOP + ROW * len(drawn) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" fill="#6b7280">'
        f"{''.join(parts)}</svg>\n"
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )
