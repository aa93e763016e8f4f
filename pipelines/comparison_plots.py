"""The plots of a comparison as SVG to stand in a page: drawn by matplotlib, coloured by the page's own style.

Nothing in them is a style of its own, which the page's policy would refuse: what matplotlib writes as styles becomes
attributes, and ink becomes the colour of the text around, so that they are readable on light and dark paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from ragloom.pipelines.comparison import Comparison, Metric
from ragloom.pipelines.comparison_curves import GateCurve, budget_curves, gate_curves, hop_means
from ragloom.pipelines.comparison_report import SHOWN, fronts, taken

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SVG = "http://www.w3.org/2000/svg"
_INK = "#010203"  # stands for the page's own ink
# Wong's palette for all kinds of colour vision, on light and on dark paper.
_COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#b8860b",
    "#3b9ad9",
    "#8a63d2",
    "#7a7a7a",
    "#a83232",
    "#4d8076",
)
_MARKS = "os^Dv<>PX*"
_LINES = ("-", "--", "-.", ":")
_PRICES = {
    "tokens": "tokens a question",
    "seconds": "seconds a question",
    "calls": "calls a question",
    "cost": "$ a question",
}
_BUDGETS = (
    "if no question may take more than so many tokens",
    "if all questions together may take so many tokens a question, and are answered in their order",
)


def plots(comparison: Comparison, metric: Metric) -> dict[str, str]:
    """SVG by caption; those that there is nothing to show in are left out.

    Raises:
        ImportError: matplotlib is not installed.
    """
    found: dict[str, str] = {}
    for price, label in _PRICES.items():
        values = [getattr(taken(comparison.answers(name)), price) for name in comparison.finished]
        if None not in values and len(set(values)) > 1 and fronts(comparison, metric)[price]:
            caption = f"{SHOWN[metric]} against {label}; the line is the Pareto front"
            found[caption] = _figure(price, partial(_pareto, comparison=comparison, metric=metric, price=price))
    if budget_curves(comparison, metric):
        for place, caption in enumerate(_BUDGETS):
            found[f"{SHOWN[metric]} {caption}"] = _figure(
                f"budget {place}", partial(_budget, comparison=comparison, metric=metric, place=place)
            )
    for name, curve in gate_curves(comparison, metric).items():
        caption = f"{SHOWN[metric]} by the share of questions retrieved for, as the scores of {name} rank them"
        found[caption] = _figure(f"gate {name}", partial(_gate, curve=curve, metric=metric))
    if len(hop_means(comparison, metric)) > 1:
        caption = "Recall of the gold passages by how many a question needs"
        found[caption] = _figure("hops", partial(_hops, comparison=comparison, metric=metric))
    return found


def _pareto(axes: Axes, comparison: Comparison, metric: Metric, price: str) -> None:
    points = {
        name: (getattr(taken(comparison.answers(name)), price), comparison.mean(name, metric) or 0.0)
        for name in comparison.finished
    }
    for name, (x, y) in points.items():
        axes.plot([x], [y], ls="", **_look(comparison, name, line=False))
    front = sorted(points[name] for name in fronts(comparison, metric)[price])
    axes.step([x for x, _ in front], [y for _, y in front], where="post", color=_INK, lw=0.8, ls=":", zorder=0)
    axes.set_xlabel(_PRICES[price])
    axes.set_ylabel(SHOWN[metric])
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)


def _budget(axes: Axes, comparison: Comparison, metric: Metric, place: int) -> None:
    curves = {name: both[place] for name, both in budget_curves(comparison, metric).items()}
    most = max(float(curve.x[-1]) for curve in curves.values())
    for name, curve in curves.items():
        x, y = [*curve.x, most], [*curve.y, curve.y[-1]]
        axes.step(x, y, where="post", **_look(comparison, name, mark=False))
    axes.set_xlabel("tokens a question")
    axes.set_ylabel(SHOWN[metric])
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, most)


def _gate(axes: Axes, curve: GateCurve, metric: Metric) -> None:
    rates = [place / (len(curve.quality) - 1) for place in range(len(curve.quality))]
    axes.plot(rates, curve.quality, color=_COLOURS[0], label="by the gate's scores")
    axes.plot([0, 1], [curve.quality[0], curve.quality[-1]], color=_COLOURS[7], ls="--", label="at random")
    axes.plot([curve.rate], [curve.achieved], "o", color=_COLOURS[1], label="as it decided")
    axes.set_xlabel(f"share answered by {curve.with_retrieval}, the others by {curve.without}")
    axes.set_ylabel(SHOWN[metric])


def _hops(axes: Axes, comparison: Comparison, metric: Metric) -> None:
    means = hop_means(comparison, metric)
    for name in comparison.variants:
        points = [(hop, by_name[name].recall) for hop, by_name in means.items() if name in by_name]
        axes.plot([hop for hop, _ in points], [recall for _, recall in points], **_look(comparison, name))
    axes.set_xticks(list(means))
    axes.set_xlabel("gold passages of the question")
    axes.set_ylabel("recall")
    axes.set_ylim(0, 1.02)


def _look(comparison: Comparison, name: str, *, mark: bool = True, line: bool = True) -> dict[str, Any]:
    """Colour, mark and line of a variant, the same in all plots."""
    place = comparison.variants.index(name)
    look: dict[str, Any] = {"color": _COLOURS[place % len(_COLOURS)], "label": name}
    if mark:
        look |= {"marker": _MARKS[place % len(_MARKS)], "markersize": 6}
    if line:
        look["ls"] = _LINES[place // 3 % len(_LINES)]
    return look


# ---- From matplotlib to the page


def _figure(name: str, draw: Callable[[Axes], None]) -> str:
    """What is drawn, as an SVG element whose ids no other figure has."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    ink = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK)
    style: Any = {  # of types that depend on the names
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 10,
        "legend.frameon": False,
        **ink,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(5.0, 3.4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.patch.set_visible(False)
        axes.grid(color=_COLOURS[7], alpha=0.25, lw=0.5)
        draw(axes)
        axes.legend(fontsize=8)
        figure.patch.set_visible(False)
        written = io.BytesIO()
        figure.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Type", "Format")))
    return _for_page(written.getvalue())


def _for_page(svg: bytes) -> str:
    root = ET.fromstring(svg)  # noqa: S314 - matplotlib wrote it just now
    used = set(re.findall(r"#([\w-]+)", svg.decode()))  # other ids are the same in every figure, and of no use
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"}:
                parent.remove(child)
    for element in root.iter():
        for name, value in _declarations(element.attrib.pop("style", "")):
            element.set(name, value)
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        for name in ("fill", "stroke"):
            if element.get(name) == _INK:
                element.set(name, "currentColor")
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ET.tostring(root, encoding="unicode")


def _declarations(style: str) -> Sequence[tuple[str, str]]:
    """The declarations of a style that SVG has attributes for; the typeface is the page's."""
    found = []
    for declaration in filter(None, (part.strip() for part in style.split(";"))):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            size = re.search(r"([\d.]+)px", value)
            found += [("font-size", size[1])] if size else []
        elif name != "font-family":
            found.append((name, value))
    return found
