"""A picture of an explanation: from the question at the top, along the strongest paths, to the passages (SVG)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from unicodedata import combining, east_asian_width

from ragloom.graph.characters import one_line, visible
from ragloom.graph.explaining import QUESTION, Explanation, Node, Step
from ragloom.graph.layout import layered

_WIDTH, _HEIGHT = 180, 32  # of a node, in pixels
_ACROSS, _DOWN, _MARGIN = 200, 108, 26  # from one node to the next, and around them all
_LABEL, _LINK = 23, 24  # letters that have room
_EXCERPT = 1200  # characters of a passage that are shown

Point = tuple[float, float]


def picture(explanation: Explanation) -> str:
    """The question, the strongest seeds, and the paths to the passages: an SVG element that can stand alone.

    Passages that the walk did not come to are joined to the question directly. Elements of a path have its name and
    that of its passage in `data-marks`: `p2-1` is the first path to the second passage, which is `h2`.
    """
    drawing = _Drawing(explanation)
    places = layered(drawing.edges, QUESTION)
    left = min(place for _, place in places.values())
    at = {
        node: (_MARGIN + (place - left) * _ACROSS, float(_MARGIN + layer * _DOWN))
        for node, (layer, place) in places.items()
    }
    width = max(x for x, _ in at.values()) + _WIDTH + _MARGIN
    height = max(y for _, y in at.values()) + _HEIGHT + _MARGIN
    edges = "\n".join(edge.svg(at[source], at[target]) for (source, target), edge in drawing.edges.items())
    nodes = "\n".join(drawing.node(node, *at[node.number]) for node in drawing.nodes.values())
    return f"""<svg xmlns="http://www.w3.org/2000/svg" class="ragloom-graph" viewBox="0 0 {width:.0f} {height:.0f}" \
width="{width:.0f}" height="{height:.0f}">
<style>{picture_style()}</style>
<defs><marker id="ragloom-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" markerHeight="9" \
markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0 8 4 0 8z"/></marker></defs>
<rect class="sheet" x="-1000%" y="-1000%" width="2100%" height="2100%"/>
{edges}
{nodes}
</svg>"""


@cache
def picture_style() -> str:
    """The style that stands in every picture; its colours are there for the page around it, too."""
    return (Path(__file__).parent / "page" / "picture.css").read_text(encoding="utf-8")


def excerpt(text: str) -> str:
    """The beginning of a passage, as it can be shown."""
    shown = visible(text)
    return shown if len(shown) <= _EXCERPT else shown[: _EXCERPT - 1] + "…"


class _Drawing:
    """What is drawn of an explanation: nodes by number, and edges by the numbers of their ends."""

    def __init__(self, explanation: Explanation) -> None:
        question = Node(QUESTION, "question", one_line(explanation.question))
        self.nodes = {QUESTION: question}
        self.edges: dict[tuple[int, int], _Edge] = {}
        self._marks: dict[int, dict[str, None]] = {QUESTION: {}}  # sets in order
        self._ranks = {found.node.number: rank for rank, found in enumerate(explanation.found, 1)}
        for seed in explanation.seeds:
            self._add(question, seed, ())
        for rank, found in enumerate(explanation.found, 1):
            alone = (Step(question, "", 1), Step(found.node, explanation.without_path, 0))
            ways = [path.steps for path in found.paths] or [alone]
            for number, steps in enumerate(ways, 1):
                for before, step in pairwise(steps):
                    self._add(before.node, step, (f"h{rank}", f"p{rank}-{number}"))
        self._drawn = Counter(node for edge in self.edges if QUESTION not in edge for node in edge)

    def _add(self, before: Node, step: Step, marks: tuple[str, ...]) -> None:
        self.nodes[step.node.number] = step.node
        edge = self.edges.setdefault((before.number, step.node.number), _Edge(step))
        for names in (edge.marks, self._marks[before.number], self._marks.setdefault(step.node.number, {})):
            names.update(dict.fromkeys(marks))

    def node(self, node: Node, x: float, y: float) -> str:
        """The node's SVG."""
        rank = self._ranks.get(node.number)
        classes, hit, badge = f"node {node.kind}", "", ""
        if rank is not None:
            classes, hit = f"{classes} found", f' data-hit="h{rank}"'
            right = x + _WIDTH
            badge = (
                f'<circle cx="{right:.1f}" cy="{y:.0f}" r="11"/>'
                f'<text class="rank" x="{right:.1f}" y="{y + 4.5:.1f}">{rank}</text>'
            )
        return (
            f'<g class="{classes}"{hit} data-marks="{" ".join(self._marks[node.number])}">'
            f"<title>{escape(self._description(node))}</title>"
            f'<rect x="{x:.1f}" y="{y:.0f}" width="{_WIDTH}" height="{_HEIGHT}" '
            f'rx="{4 if node.kind == "passage" else _HEIGHT / 2:.0f}"/>'
            f'<svg x="{x + 10:.1f}" y="{y:.0f}" width="{_WIDTH - 20}" height="{_HEIGHT}">'
            f'<text y="20.5">{escape(_cut(node.label, _LABEL))}</text></svg>{badge}</g>'
        )

    def _description(self, node: Node) -> str:
        lines = [f"{node.kind}: {node.label}"]
        if node.text:
            lines.append(excerpt(node.text))
        if node.edges:
            lines.append(f"{node.edges:,} edges in the graph, {self._drawn[node.number]} drawn")
        return "\n".join(lines)


@dataclass
class _Edge:
    """A step from one node to another, drawn once for all paths that take it."""

    step: Step
    marks: dict[str, None] = field(default_factory=dict)

    def svg(self, start: Point, end: Point) -> str:
        """From node to node: down to a later layer, up to an earlier one, or below to one in the same layer."""
        x1, x2 = start[0] + _WIDTH / 2, end[0] + _WIDTH / 2
        leave, arrive, bend = start[1] + _HEIGHT, end[1], (_DOWN - _HEIGHT) * 0.6
        turns = (leave + bend, arrive - bend)
        if start[1] == end[1]:
            arrive, turns = leave, (leave + bend, leave + bend)
        elif start[1] > end[1]:
            leave, arrive = start[1], end[1] + _HEIGHT
            turns = (leave - bend, arrive + bend)
        # The label stands at two thirds of the way, nearer to the target, since many edges leave a node side by side.
        x, y = x1 + (x2 - x1) * 20 / 27, (leave + 6 * turns[0] + 12 * turns[1] + 8 * arrive) / 27
        return (
            f'<g class="edge" data-marks="{" ".join(self.marks)}">'
            f"<title>{escape(self.step.link)} ({self.step.share:.1%})</title>"
            f'<path d="M{x1:.1f} {leave:.0f}C{x1:.1f} {turns[0]:.0f} {x2:.1f} {turns[1]:.0f} {x2:.1f} {arrive:.0f}" '
            f'stroke-width="{1 + 4 * self.step.share**0.5:.2f}" marker-end="url(#ragloom-arrow)"/>'
            f'<text x="{x:.1f}" y="{y:.0f}">{escape(_cut(self.step.link, _LINK))}</text></g>'
        )


def _cut(label: str, letters: int) -> str:
    """The label as far as there is room: wide letters take two places, combining marks none."""
    room = letters
    for place, character in enumerate(label):
        room -= 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1
        if room < 0:
            return label[: place - 1] + "…"
    return label
