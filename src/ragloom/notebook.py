"""Rich displays in notebooks: `%load_ext ragloom.notebook`, and answers, hits, traces and graphs show themselves.

Answers have links to the passages they rest on, hits and tables are tables, a run is a timeline, and the explanation of
a walk over the graph its picture. In programs `as_html` gives the same HTML. It holds no script and asks for nothing
over a network; its colours are made of those around it, so that it can be read in light and in dark. Text of documents
and models is data: escaped, with a visible sign for each character that would do something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from ragloom.console import usage_line
from ragloom.graph.characters import one_line, visible
from ragloom.graph.drawing import figure
from ragloom.graph.explaining import Explanation
from ragloom.pipelines.report import Table
from ragloom.run import Run
from ragloom.types import Answer, Chunk, Citation, Hit, RunRecord, Span, content_id

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_EXCERPT = 160  # characters of a passage in a table
_TEXT = 20_000  # characters of a passage that can be unfolded
_ROWS = 100  # of hits, of a table, and steps of a trace
_VALUE = 80  # characters of a step's attribute

_STYLE = """<style>
.ragloom { line-height: 1.45; }
.ragloom > * { max-width: 110ch; }
.ragloom > .wide { max-width: 100%; overflow-x: auto; }
.ragloom table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.ragloom th, .ragloom td { padding: 3px 10px; text-align: left; vertical-align: top; white-space: normal;
  border-bottom: 1px solid rgba(128, 128, 128, .35); }
.ragloom .wide th, .ragloom .wide td { white-space: nowrap; }
.ragloom .faint { opacity: .72; font-size: 90%; overflow-wrap: anywhere; }
.ragloom .said { font-size: 115%; white-space: pre-wrap; overflow-wrap: anywhere; }
.ragloom .text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 8px 18px; max-height: 16em;
  overflow-y: auto; }
.ragloom a { color: inherit; }
.ragloom mark { background: rgba(255, 170, 0, .38); color: inherit; }
.ragloom summary { cursor: pointer; }
.ragloom :target { outline: 2px solid rgba(255, 170, 0, .8); }
.ragloom .track { position: relative; display: block; width: 220px; height: 8px; margin-top: .4em;
  background: rgba(128, 128, 128, .22); }
.ragloom .track > span { position: absolute; top: 0; height: 8px; min-width: 2px; background: #4f8fd0; }
</style>"""


def as_html(value: object) -> str:
    """HTML of an Answer, of hits, of a Run or its record, of a Table, or of the Explanation of a walk.

    Equal values give equal HTML.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, Explanation):
        return figure(value)
    drawn = _drawn(value)
    if drawn is None:
        raise TypeError(
            f"a {type(value).__name__} has no rich display: show an Answer, hits, a Run or its record, a Table, or an "
            "Explanation"
        )
    return f'<div class="ragloom">{_STYLE}{drawn}</div>'


def show(value: object) -> None:
    """Display what `as_html` takes, in a notebook or anywhere else IPython runs."""
    from IPython.display import HTML, display

    display(HTML(as_html(value)))  # type: ignore[no-untyped-call]  # IPython's functions are not annotated


def load_ipython_extension(shell: InteractiveShell) -> None:
    """`%load_ext ragloom.notebook`: what `as_html` takes is displayed so from now on."""
    for kind in _SHOWN:
        _formatter(shell).for_type(kind, _formatted)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """`%unload_ext ragloom.notebook`: everything is displayed as before."""
    for kind in _SHOWN:
        _formatter(shell).pop(kind, None)


def _formatter(shell: InteractiveShell) -> Any:
    display: Any = shell.display_formatter  # IPython does not say of what type its attributes are
    return display.formatters["text/html"]


def _formatted(value: object) -> str | None:
    """For IPython, to which None says that there is nothing special about the value, such as a list of numbers."""
    return None if _drawn(value) is None else as_html(value)


def _drawn(value: object) -> str | None:
    return next((draw(value) for kind, draw in _SHOWN.items() if isinstance(value, kind)), None)


# ---- Answers


def _answer(answer: Answer) -> str:
    name = f"ragloom-{content_id(answer.text, *(hit.chunk.id for hit in answer.hits))[:12]}"
    links = " ".join(
        f'<a href="#{name}-{number}" title="{escape(_title(answer.hits[number - 1].chunk))}">[{number}]</a>'
        for number in dict.fromkeys(each.number for each in answer.citations)
        if 0 < number <= len(answer.hits)
    )
    said = f'<div class="said"><bdi>{_text(answer.text)}</bdi> {links}</div>'
    abstained = '<div class="faint">abstained: the passages do not hold the answer</div>' if answer.abstained else ""
    passages = "".join(_passage(name, number, hit, answer.citations) for number, hit in enumerate(answer.hits, 1))
    return f'{said}{abstained}{passages}<div class="faint">{_taken(answer.run)}</div>'


def _passage(name: str, number: int, hit: Hit, citations: Sequence[Citation]) -> str:
    """A passage that can be unfolded, open where it is cited."""
    cited = [each for each in citations if each.number == number]
    return (
        f'<details id="{name}-{number}"{" open" if cited else ""}><summary>[{number}] '
        f"<bdi>{escape(_title(hit.chunk))}</bdi></summary>"
        f'<div class="text"><bdi>{_marked(hit.chunk, cited)}</bdi></div></details>'
    )


def _marked(chunk: Chunk, citations: Sequence[Citation]) -> str:
    """The passage with what is cited of it marked."""
    text, parts, done = chunk.text, [], 0
    for each in sorted(citations, key=lambda each: (each.start, each.end)):
        start, end = max(each.start - chunk.start, done), min(each.end - chunk.start, len(text))
        if start < end:
            parts += [_text(text[done:start]), f"<mark>{_text(text[start:end])}</mark>"]
            done = end
    return "".join([*parts, _text(text[done:])])


# ---- Hits and tables


def _hits(hits: Sequence[object]) -> str | None:
    """A table of hits; None if they are something else."""
    found = [hit for hit in hits if isinstance(hit, Hit)]
    if not found or len(found) < len(hits):
        return None
    rows = (
        (
            str(rank),
            f"{hit.score:.3f}",
            f"<bdi>{escape(_title(hit.chunk))}</bdi>",
            f"<bdi>{escape(one_line(hit.chunk.text, _EXCERPT))}</bdi>",
        )
        for rank, hit in enumerate(found[:_ROWS], 1)
    )
    return _rows(("", "score", "passage", "text"), rows) + _more(len(hits), "hits")


def _table(table: Table) -> str:
    rows = (tuple(_text(cell) for cell in row) for row in table.rows[:_ROWS])
    notes = "".join(f'<div class="faint">{_text(note)}</div>' for note in table.notes)
    shown = _rows(tuple(_text(name) for name in table.columns), rows)
    return f'<div class="wide">{shown}</div>{_more(len(table.rows), "rows")}{notes}'


def _rows(columns: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    """A table of cells that are HTML."""
    head = "".join(f"<th>{name}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _more(count: int, what: str) -> str:
    return f'<div class="faint">and {count - _ROWS:,} more {what}</div>' if count > _ROWS else ""


# ---- Traces


def _record(record: RunRecord) -> str:
    whole = max([record.seconds, *(step.start + step.seconds for step in record.spans)])
    depths: list[int] = []
    for step in record.spans:
        depths.append(depths[step.parent] + 1 if 0 <= step.parent < len(depths) else 0)
    rows = (_step(step, depth, whole) for step, depth in zip(record.spans[:_ROWS], depths, strict=False))
    steps = _rows(("step", "took", "when", ""), rows) if record.spans else ""
    return f'{steps}{_more(len(record.spans), "steps")}<div class="faint">{_taken(record)}</div>'


def _step(step: Span, depth: int, whole: float) -> tuple[str, str, str, str]:
    left, width = (100 * step.start / whole, 100 * step.seconds / whole) if whole > 0 else (0.0, 0.0)
    bar = f'<span class="track"><span style="left: {left:.2f}%; width: {width:.2f}%"></span></span>'
    said = ", ".join(f"{escape(one_line(name, _VALUE))} {_value(each)}" for name, each in step.attributes.items())
    name = f'<span style="padding-left: {1.2 * depth:.1f}em">{escape(one_line(step.name, _VALUE))}</span>'
    return name, _duration(step.seconds), bar, f'<span class="faint"><bdi>{said}</bdi></span>'


def _value(value: object) -> str:
    return escape(one_line(f"{value:.4g}" if isinstance(value, float) else str(value), _VALUE))


def _taken(record: RunRecord) -> str:
    saved = f"; {record.saved.tokens} tokens saved by the cache" if record.saved.tokens else ""
    return f"{escape(usage_line(record.usage))}, {_duration(record.seconds)}{saved}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f}&nbsp;s" if seconds >= 1 else f"{1000 * seconds:.1f}&nbsp;ms"


# ---- Texts


def _title(chunk: Chunk) -> str:
    return one_line(chunk.title, _EXCERPT) or one_line(chunk.text, 60) or chunk.id


def _text(text: str) -> str:
    shown = visible(text)
    return escape(shown if len(shown) <= _TEXT else shown[: _TEXT - 1] + "…")


_SHOWN: Mapping[type, Callable[[Any], str | None]] = {
    Answer: _answer,
    RunRecord: _record,
    Run: lambda run: _record(run.record()),
    Table: _table,
    list: _hits,
    tuple: _hits,
}
