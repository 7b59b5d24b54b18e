"""Charts of the page, as SVG: they need no library in the browser, and nothing to draw them with."""

import html
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy import ndarray

from lidar_rank.shapes import Float, Int64

RUN_COLOURS: Final = ("#60a5fa", "#fbbf24", "#4ade80", "#f472b6", "#a78bfa", "#22d3ee", "#fb923c", "#e5e7eb")
WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 10, 42  # margins around the plotted area, in pixels
DECADES: Final = 7  # of a logarithmic axis, below 1


def colour_of(run: int) -> str:
    """Colour of a run by its place on the command line."""
    return RUN_COLOURS[run % len(RUN_COLOURS)]


def line_chart(
    lines: Mapping[str, tuple[Float[ndarray, " point"], Float[ndarray, " point"]]],
    x_label: str,
    y_label: str,
    *,
    log: bool = False,
) -> str:
    """Draw one line per run over axes from 0 to 1.

    Args:
        lines: x and y of each run, by its name; the place of a run says its colour.
        x_label: Below the x axis.
        y_label: Beside the y axis.
        log: Whether the y axis is logarithmic, from 1e-7 to 1; values below are drawn at its end.
    """
    parts = [_axes(x_label, y_label, log=log)]
    for run, (name, (x, y)) in enumerate(lines.items()):
        height = _share_of_decades(y) if log else y
        points = " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in zip(x, height, strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour_of(run)}" stroke-width="2">'
            f"<title>{html.escape(name)}</title></polyline>"
        )
    return _svg(parts)


def stairs(
    counts: Int64[ndarray, " bin"], edges: Float[ndarray, " edge"]
) -> tuple[Float[ndarray, " corner"], Float[ndarray, " corner"]]:
    """Corners of a histogram's outline, as shares of all that is counted."""
    shares = counts / max(int(counts.sum()), 1)
    return np.repeat(edges, 2)[1:-1], np.repeat(shares, 2)


def heat_map(counts: Int64[ndarray, "row column"], x_label: str, y_label: str, run: int) -> str:
    """Draw counts in cells from 0 to 1, rows upwards; the darker half of the scale is that of few counts."""
    shades = np.log1p(counts) / max(float(np.log1p(counts).max(initial=0)), 1e-9)
    rows, columns = counts.shape
    cells = [
        f'<rect x="{_x(column / columns):.1f}" y="{_y((row + 1) / rows):.1f}" width="{_x(1 / columns) - _x(0):.2f}"'
        f' height="{_y(0) - _y(1 / rows):.2f}" fill="{colour_of(run)}" fill-opacity="{shades[row, column]:.2f}">'
        f"<title>{int(counts[row, column])}</title></rect>"
        for row, column in np.argwhere(counts > 0)
    ]
    return _svg([*cells, _axes(x_label, y_label, log=False)])


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(value: float) -> float:
    return HEIGHT - BOTTOM - value * (HEIGHT - TOP - BOTTOM)


def _share_of_decades(values: Float[ndarray, " value"]) -> Float[ndarray, " value"]:
    """Where values lie on the logarithmic axis, 0 to 1."""
    return 1 + np.log10(np.maximum(values, 10.0**-DECADES)) / DECADES


def _axes(x_label: str, y_label: str, *, log: bool) -> str:
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    y_ticks = [(1 - power / DECADES, f"1e-{power}" if power else "1") for power in range(DECADES + 1)]
    parts = [f'<text x="{_x(tick):.1f}" y="{HEIGHT - 25}" text-anchor="middle">{tick:g}</text>' for tick in ticks]
    for height, text in y_ticks if log else [(tick, f"{tick:g}") for tick in ticks]:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(height):.1f}" y2="{_y(height):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{_y(height) + 4:.1f}" text-anchor="end">{text}</text>')
    parts.append(f'<text x="{_x(0.5):.1f}" y="{HEIGHT - 6}" text-anchor="middle">{html.escape(x_label)}</text>')
    middle = f"{14},{_y(0.5):.1f}"
    parts.append(f'<text transform="rotate(-90 {middle})" x="14" y="{_y(0.5):.1f}" text-anchor="middle">')
    return "".join([*parts, html.escape(y_label), "</text>"])


def _svg(parts: Sequence[str]) -> str:
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(parts)}</svg>'
