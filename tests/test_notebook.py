"""What notebooks show of answers, hits, traces and graphs: all of it, as text, wherever it comes from."""

from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from hypothesis import given
from hypothesis import strategies as st
from notebooks import a_shell, run_cell

from ragloom import Run
from ragloom.components.llm import ScriptedLLM
from ragloom.components.reading import PromptReader
from ragloom.graph.characters import visible
from ragloom.graph.explaining import Explanation
from ragloom.notebook import as_html
from ragloom.pipelines.report import Table
from ragloom.types import Answer, Chunk, Citation, Hit, RunRecord, Span, Usage

TEXT = "The tower stands on bare rock. It was designed by Ines Corvale."
CITED = Citation(1, "c1", "d1", 100 + TEXT.index("Ines"), 100 + len(TEXT) - 1)
HITS = (Hit(Chunk("c1", TEXT, "The tower", "d1", 0, 100), 2.5), Hit(Chunk("c2", "A storm came.", "The storm"), 1.0))
RECORD = RunRecord(
    Usage(90, 10, calls=1, cost=0.0),
    2.0,
    (Span("retrieve", 0.0, 0.5, -1, {"k": 2}), Span("read", 0.5, 1.5), Span("llm", 1.0, 1.0, 1, {"tokens": 100})),
)
ANSWER = Answer("Ines Corvale", HITS, (CITED,), run=RECORD)
ALLOWED = {
    *("a", "b", "bdi", "details", "div", "li", "mark", "ol", "p", "span"),
    *("style", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"),
    *("figure", "figcaption", "svg", "defs", "marker", "path", "rect", "g", "title", "text", "circle"),
}


class Elements(HTMLParser):
    """The elements and texts of a page, and the attributes that could do something."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.names: set[str] = set()
        self.texts: list[str] = []
        self.active: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "src":
                self.active.append(name)
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.links.append(value or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def text_of(page: str) -> str:
    return "".join(Elements(page).texts)


# ---- What is shown


def test_an_answer_has_a_link_to_the_passage_with_the_quoted_words_marked() -> None:
    page = as_html(ANSWER)
    elements = Elements(page)
    assert [link.removeprefix("#") for link in elements.links] == elements.ids[:1]
    assert "It was designed by <mark>Ines Corvale</mark>." in page
    assert page.count("<details") == 2
    assert page.count(" open>") == 1
    assert "1 call, 100 tokens" in text_of(page)


def test_overlapping_and_foreign_citations_mark_each_character_once() -> None:
    whole = Citation(1, "c1", "d1", 0, 10_000)
    beyond = Citation(7, "c9", "d9", 0, 5)
    page = as_html(replace(ANSWER, citations=(CITED, whole, beyond)))
    assert f"<mark>{TEXT}</mark>" in page
    assert text_of(page).count(TEXT) == 1
    assert len(Elements(page).links) == 1


def test_an_abstention_says_so() -> None:
    assert "abstained" in as_html(replace(ANSWER, abstained=True, citations=()))
    assert "abstained" not in as_html(ANSWER)


def test_hits_are_rows_in_their_order() -> None:
    shown = text_of(as_html(HITS))
    assert shown.index("2.500") < shown.index("The tower") < shown.index("1.000") < shown.index("The storm")
    assert as_html(list(HITS)) == as_html(HITS)


def test_of_many_hits_the_first_are_shown_and_the_others_counted() -> None:
    shown = as_html(HITS * 1000)
    assert "and 1,900 more hits" in shown
    assert len(shown) < 50_000


def test_a_trace_is_a_timeline_with_steps_within_steps() -> None:
    page = as_html(RECORD)
    assert "left: 25.00%; width: 75.00%" in page
    assert page.index("padding-left: 0.0em") < page.index("padding-left: 1.2em")
    assert "tokens 100" in text_of(page)


def test_a_run_under_way_shows_what_it_did_so_far() -> None:
    with Run() as run:
        PromptReader(ScriptedLLM(["Ines Corvale [1]"]))("Who designed it?", HITS)
        assert "llm" in text_of(as_html(run))


def test_a_run_that_did_nothing_can_be_shown() -> None:
    assert "0 calls" in as_html(RunRecord())


def test_a_table_is_one_with_its_notes() -> None:
    assert "a note" in text_of(as_html(Table(("name", "value"), (("recall", ".5"),), ("a note",))))


@pytest.mark.parametrize("value", ["text", 3, [], [HITS[0], "text"], None, {"a": 1}])
def test_what_has_no_display_is_named(value: object) -> None:
    with pytest.raises(TypeError, match=f"a {type(value).__name__} has no rich display: show an Answer"):
        as_html(value)


# ---- Any text stays text


@given(st.text(), st.text())
def test_any_text_stays_text(text: str, title: str) -> None:
    for start, said in enumerate(("</style><script>alert(1)</script>", '" onmouseover="alert(1)', text)):
        chunk = Chunk(said, said + text, title + said, "d", 0, start)
        cited = (Citation(1, said, "d", start + 1, start + 3),)
        record = RunRecord(Usage(), 1.0, (Span(said, 0.0, 1.0, -1, {text: said, "list": [title]}),))
        hits = (Hit(chunk, 1.0),)
        table = Table((said, title), ((text, said),), (said,))
        explanation = Explanation(said, title, (), 0, (), 1, 1)
        for value in (Answer(said, hits, cited, run=record), hits, record, table, explanation):
            elements = Elements(as_html(value))
            assert elements.names <= ALLOWED
            assert not elements.active
            assert all(link.startswith("#ragloom-") for link in elements.links)


@given(st.text())
def test_the_answer_is_there_to_the_letter(text: str) -> None:
    page = as_html(Answer(text))
    assert unescape(page.partition("<bdi>")[2].partition("</bdi>")[0]) == visible(text)


# ---- In IPython


@pytest.fixture
def _own_ipython(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))


@pytest.mark.usefixtures("_own_ipython")
def test_the_extension_shows_ours_richly_and_leaves_the_rest_alone() -> None:
    with a_shell() as shell:
        shell.push({"answer": ANSWER, "hits": HITS, "numbers": [1, 2]})
        assert not run_cell(shell, "answer").html
        run_cell(shell, "%load_ext ragloom.notebook")
        assert run_cell(shell, "answer").html == as_html(ANSWER)
        assert run_cell(shell, "display(answer.run, hits)").html == f"{as_html(RECORD)}\n{as_html(HITS)}"
        assert not run_cell(shell, "numbers").html
        run_cell(shell, "%unload_ext ragloom.notebook")
        assert not run_cell(shell, "answer").html


@pytest.mark.usefixtures("_own_ipython")
def test_show_displays_without_the_extension() -> None:
    with a_shell() as shell:
        shell.push({"hits": HITS})
        assert run_cell(shell, "from ragloom.notebook import show\nshow(hits)").html == as_html(HITS)


# ---- In a browser


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
def test_a_link_leads_to_its_passage_and_nothing_is_fetched(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    shown = "".join(map(as_html, (ANSWER, HITS, RECORD, Table(("a",), (("1",),)))))
    page.write_text(f"<!DOCTYPE html><meta charset=utf-8>{shown}", encoding="utf-8")
    with Browser() as browser:
        browser.open(page)
        browser.click("a")
        target = browser.run("document.querySelector(':target').textContent")
        wide = browser.run("document.documentElement.scrollWidth <= innerWidth")
    assert "designed by Ines Corvale" in target
    assert wide
    assert browser.requests == [page.resolve().as_uri()]
    assert browser.complaints == []
