"""A line plot with logarithmic axes, as an SVG file that needs nothing to be looked at."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 780, 460, 72, 210, 52, 58
INSET = 36  # of the outer points, so that their values do not cover those of the axis
COLOURS = ("#b3483a", "#c39a35", "#4a86c5", "#3f8f5a", "#7a5aa5")
STYLE = """
    text { font: 14px system-ui, -apple-system, 'Segoe UI', 'Helvetica Neue', Arial, sans-serif; fill: #1f2730; }
    .title { font-size: 16px; font-weight: 600; }
    .grid { stroke: #dfe3e8; }
    .middle { text-anchor: middle; }
    .end { text-anchor: end; }
    polyline { fill: none; stroke-width: 2.4; }"""

Line = Sequence[tuple[float, float]]


def log_plot(title: str, x_label: str, y_label: str, lines: Mapping[str, Line]) -> str:
    """The SVG. Every line has its name at its right end, and its values at its points; all numbers are above 0."""
    x_axis = Axis([x for line in lines.values() for x, _ in line], LEFT + INSET, WIDTH - RIGHT - INSET)
    y_axis = Axis([y for line in lines.values() for _, y in line], HEIGHT - BOTTOM, TOP)
    across, down = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"  <title>{escape(title)}</title>",
        f"  <style>{STYLE}\n  </style>",
        f'  <rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'  <text class="title" x="{LEFT}" y="28">{escape(title)}</text>',
        f'  <text class="middle" x="{across}" y="{HEIGHT - 14}">{escape(x_label)}</text>',
        f'  <text class="middle" transform="translate(18 {down}) rotate(-90)">{escape(y_label)}</text>',
    ]
    for x in x_axis.ticks():
        parts.append(f'  <path class="grid" d="M{x_axis(x):.1f},{TOP} V{HEIGHT - BOTTOM}"/>')
        parts.append(f'  <text class="middle" x="{x_axis(x):.1f}" y="{HEIGHT - BOTTOM + 20}">{x:,.10g}</text>')
    for y in y_axis.ticks():
        parts.append(f'  <path class="grid" d="M{LEFT},{y_axis(y):.1f} H{WIDTH - RIGHT}"/>')
        parts.append(f'  <text class="end" x="{LEFT - 8}" y="{y_axis(y) + 5:.1f}">{y:,.10g}</text>')
    for colour, (name, line) in zip(COLOURS, lines.items(), strict=False):
        points = [(x_axis(x), y_axis(y)) for x, y in line]
        parts.append(f'  <polyline stroke="{colour}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
        for (x, y), (_, value) in zip(points, line, strict=True):
            parts.append(f'  <circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            parts.append(f'  <text class="middle" x="{x:.1f}" y="{y - 9:.1f}">{float(f"{value:.2g}"):,.10g}</text>')
        x, y = points[-1]
        parts.append(f'  <text x="{x + 30:.1f}" y="{y + 5:.1f}" style="fill: {colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


class Axis:
    """Places of numbers between two ends of an axis that begins and ends with a power of ten."""

    def __init__(self, numbers: Iterable[float], start: float, end: float) -> None:
        logarithms = [math.log10(number) for number in numbers]
        self.first, self.last = math.floor(min(logarithms)), math.ceil(max(logarithms))
        self.start, self.end = start, end

    def __call__(self, number: float) -> float:
        """The place of a number."""
        return self.start + (self.end - self.start) * (math.log10(number) - self.first) / (self.last - self.first)

    def ticks(self) -> list[float]:
        """The powers of ten."""
        return [10.0**power for power in range(self.first, self.last + 1)]
