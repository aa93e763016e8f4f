"""A comparison as one HTML page: tables, plots, and a browser of the questions; it needs no network.

Text of questions, documents and models is data: escaped where it is written here, and set as text by the page's script.
The page's own policy lets no other script work. Questions are drawn as they are looked at: thousands stay quick.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from ragloom.pipelines.comparison import Comparison, Judged, Metric
from ragloom.pipelines.comparison_plots import plots
from ragloom.pipelines.comparison_report import SHOWN, overview
from ragloom.pipelines.report import Table

DETAILED = 20_000  # answers with passages and trace, about a kilobyte each; of further ones only the answer is there
_NO_PLOTS = "There are no plots: matplotlib is not installed. Install <code>ragloom[report]</code>, and report again."


def page(comparison: Comparison, found: Mapping[str, Table], *, metric: Metric = "f1", detailed: int = DETAILED) -> str:
    """A self-contained HTML page; equal comparisons give equal pages.

    Args:
        comparison: what came out.
        found: its tables.
        metric: what the plots are of.
        detailed: answers whose passages and traces are in the page, those of the first questions.
    """
    style, script = _asset("comparison.css"), _asset("comparison.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    title = escape(f"{len(comparison.variants)} pipelines, {len(comparison.questions):,} questions")
    said = "".join(f"<p>{escape(each)}</p>" for each in overview(comparison))
    shown = "".join(_section(heading, table) for heading, table in found.items())
    data = json.dumps(_data(comparison, metric, detailed), ensure_ascii=False, separators=(",", ":"))
    data = data.replace("<", "\\u003c")  # nothing in it can end the element, or begin a comment
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header><h1>{title}</h1>{said}
<nav aria-label="Parts"><a href="#numbers">Numbers</a> <a href="#plots">Plots</a>
<a href="#questions">Questions</a></nav>
</header>
<main>
<div id="numbers">{shown}</div>
<section id="plots" aria-labelledby="plots-title"><h2 id="plots-title">Plots</h2>{_plots(comparison, metric)}</section>
<section id="questions" aria-labelledby="questions-title"><h2 id="questions-title">Questions</h2>
{_limits(comparison, detailed)}
<noscript><p>Looking at the questions needs scripts; all answers are in answers.csv, too.</p></noscript>
<form id="filter"></form>
<p id="count" role="status"></p>
<div id="list"></div>
<nav id="pages" aria-label="Pages of questions"></nav>
</section>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _section(heading: str, table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.columns)
    rows = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for first, *cells in table.rows
    )
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    name = escape(heading)
    return (
        f'<section><h2>{name}</h2><div class="wide" role="region" tabindex="0" aria-label="{name}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<div class="notes">{notes}</div></section>'
    )


def _plots(comparison: Comparison, metric: Metric) -> str:
    try:
        drawn = plots(comparison, metric)
    except ImportError:
        return f"<p>{_NO_PLOTS}</p>"
    figures = (
        f"<figure>{svg.replace('<svg ', f'<svg aria-label={chr(34)}{escape(caption)}{chr(34)} ', 1)}"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, svg in drawn.items()
    )
    return f'<div class="figures">{"".join(figures)}</div>'


def _limits(comparison: Comparison, detailed: int) -> str:
    """What the page does not hold, where it does not."""
    shown = _detailed_questions(comparison, detailed)
    if shown >= len(comparison.questions):
        return ""
    return (
        f"<p>Passages and traces are those of the first {shown:,} questions: with all {len(comparison.rows):,} answers "
        "the page would be too large. Compare a part of the questions to see the others'.</p>"
    )


def _detailed_questions(comparison: Comparison, detailed: int) -> int:
    return detailed // max(1, len(comparison.variants))


# ---- What the script draws from


def _data(comparison: Comparison, metric: Metric, detailed: int) -> dict[str, Any]:
    shown = _detailed_questions(comparison, detailed)
    places: dict[str, int] = {}  # of passages that are in the page
    questions = [
        _question(comparison, place, places if place < shown else None) for place in range(len(comparison.questions))
    ]
    return {
        "variants": comparison.variants,
        "baseline": comparison.variants.index(comparison.baseline),
        "sets": comparison.sets,
        "metric": metric,
        "metricName": SHOWN[metric],
        "questions": questions,
        "passages": [[comparison.texts[id_].title, comparison.texts[id_].excerpt] for id_ in places],
    }


def _question(comparison: Comparison, place: int, places: dict[str, int] | None) -> dict[str, Any]:
    key = comparison.questions[place]
    rows = [comparison.by_variant[name].get(key) for name in comparison.variants]
    asked = next(row for row in rows if row is not None)
    return {
        "set": comparison.sets.index(asked.set),
        "id": asked.question_id,
        "text": asked.question,
        "gold": asked.gold_answers,
        "needs": asked.gold_passages,
        "answers": [None if row is None else dict(_answer(comparison, row, places)) for row in rows],
    }


def _answer(comparison: Comparison, row: Judged, places: dict[str, int] | None) -> Iterator[tuple[str, Any]]:
    """The fields of an answer; what is empty is left out."""
    alone = row.alone
    yield from (("text", row.answer), ("em", row.em), ("f1", row.f1), ("contains", row.contains))
    yield from (("tokens", alone.tokens), ("calls", alone.calls), ("cost", alone.cost))
    yield "seconds", round(row.seconds_alone, 3)
    optional = {
        "recall": row.recall,
        "kept": row.saved.tokens or None,
        "unknown": None if row.saved_known else True,
        "abstained": row.abstained or None,
        "failed": row.error if row.status == "failed" else None,
        "gate": row.gate or None,
        "score": row.gate_score,
    }
    yield from ((name, value) for name, value in optional.items() if value is not None)
    if places is not None:
        yield "passages", [places.setdefault(id_, len(places)) for id_ in row.passages]
        yield "citations", [[each.number, places.get(each.chunk_id), each.by] for each in row.citations]
        yield "spans", [_span(span) for span in row.spans]
        if ways := comparison.paths.get((row.variant, row.key)):
            yield "paths", ways


def _span(span: Any) -> list[Any]:
    return [span.name, round(span.start, 4), round(span.seconds, 4), span.parent, dict(span.attributes)]


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """The source expression of a content security policy that allows this inline text and no other."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
