"""Explanations to look at: an interactive page that is one file and needs no network, and a figure for notebooks.

The page can be read without its script, which only moves the picture and marks paths in it. Text of documents is
escaped text everywhere, never part of a script or a style, and the page's own policy lets no other script work.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path

from ragloom.graph.characters import one_line
from ragloom.graph.explaining import Explanation, Found, Step
from ragloom.graph.explaining import Path as Way
from ragloom.graph.picture import excerpt, picture, picture_style


def page(explanation: Explanation) -> str:
    """A self-contained HTML page of the explanation; equal explanations give equal pages."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)} {_hash(picture_style())}; script-src {_hash(script)}"
    question = escape(one_line(explanation.question))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{question}</title>
<style>{style}</style>
</head>
<body class="ragloom-graph">
<header><h1><bdi>{question}</bdi></h1>{_notices(explanation)}</header>
<main>
<section id="view" aria-label="The walk from the question to the passages">
{picture(explanation)}
<nav><button type="button" data-zoom="1.25" title="Zoom in (+)">+</button>
<button type="button" data-zoom="0.8" title="Zoom out (-)">&minus;</button>
<button type="button" data-zoom="0" title="Show all (0)">Fit</button></nav>
<p id="detail" role="status"></p>
</section>
<section id="list" aria-label="Passages">
<p class="hint">Choose a passage, a path or a node to mark its paths; Escape leaves it. Drag or use the arrow keys to
move the picture, the wheel or + and &minus; to zoom.</p>
{_list(explanation)}
</section>
</main>
<script>{script}</script>
</body>
</html>
"""


def figure(explanation: Explanation) -> str:
    """The picture, and below it the passages and paths in text: HTML without a script, for notebooks and reports."""
    return (
        f"<figure>{picture(explanation)}<figcaption>{_notices(explanation)}{_list(explanation)}</figcaption></figure>"
    )


def _notices(explanation: Explanation) -> str:
    """What the reader must know of the picture: what is not in it, and whether there was a walk at all."""
    notices = []
    if explanation.fallback:
        notices.append(f"There was no walk: <bdi>{escape(explanation.fallback)}</bdi>.")
    if not explanation.found:
        notices.append("Nothing was found.")
    elif explanation.fallback:
        notices.append("The passages are those of the search alone.")
    steps = [step for found in explanation.found for way in found.paths for step in way.steps[1:]]
    nodes = {step.node.number for step in (*steps, *explanation.seeds)} | {f.node.number for f in explanation.found}
    notices.append(
        f"Shown: the strongest paths, {len(nodes):,} of the graph's {explanation.nodes:,} nodes and "
        f"{explanation.edges:,} edges"
        + f", and not {explanation.more_seeds:,} more seeds"
        * bool(explanation.more_seeds)
    )
    return "".join(f"<p>{notice}</p>" for notice in notices)


def _list(explanation: Explanation) -> str:
    items = "\n".join(_item(rank, found, explanation.without_path) for rank, found in enumerate(explanation.found, 1))
    return f"<ol>{items}</ol>"


def _item(rank: int, found: Found, without_path: str) -> str:
    ways = "".join(f'<li data-marks="p{rank}-{number}">{_way(way)}</li>' for number, way in enumerate(found.paths, 1))
    explained = f"{100 * found.explained:.0f} % explained" if found.paths else without_path
    text = escape(excerpt(found.chunk.text))
    return (
        f'<li><div class="hit" data-marks="h{rank}"><b><bdi>{escape(found.node.label)}</bdi></b> '
        f"score {found.score:.3g}, {explained}</div><ul>{ways}</ul>"
        f'<details><summary>text</summary><p class="text"><bdi>{text}</bdi></p></details></li>'
    )


def _way(way: Way) -> str:
    seed, *further = way.steps[1:]
    steps = [f"{_label(seed)} ({escape(seed.link)})", *(f"{escape(step.link)} {_label(step)}" for step in further)]
    return f"<b>{100 * way.share:.0f} %</b> {' &rarr; '.join(steps)}"


def _label(step: Step) -> str:
    return f'<bdi class="{step.node.kind}">{escape(step.node.label)}</bdi>'


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression of a content security policy that allows this inline text and no other."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
