"""The page and the picture: self-contained, escaped, small, the same again, and working in a browser."""

import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from ragloom.components.bm25 import BM25
from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.characters import one_line
from ragloom.graph.drawing import figure, page
from ragloom.graph.explaining import QUESTION, Explanation, Found, Node, Step, explain
from ragloom.graph.explaining import Path as Way
from ragloom.graph.index import GraphIndex, Seed, Walk
from ragloom.graph.picture import picture
from ragloom.graph.ranking import Transition, personalised_pagerank
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.types import Chunk, Hit

HOSTILE = (
    "</script></style></title></svg><script>hostile()</script><img src=x onerror=hostile()>\" onload='hostile()' "
    "&lt; \x00\x1b\u202e\ud800 \u05d0\u200f"
)
FILM = Chunk("film", "Fist Power is a film of the year 2000 that was made in Hong Kong by Wai Lau.", "Fist Power")
CITY = Chunk("city", "Hong Kong is a city on the coast. It was British until 1997.", "Hong Kong")
COLONY = Chunk("colony", "British Hong Kong was a colony that Britain took by war.", "British Hong Kong")
QUESTION_TEXT = "When was the place where Fist Power was made taken by Britain?"


def explained(question: str = QUESTION_TEXT, chunks: Sequence[Chunk] = (FILM, CITY, COLONY), k: int = 3) -> Explanation:
    graph = KnowledgeGraph.build(chunks, RuleExtractor(), "rules")
    return explain(GraphIndex(graph, chunks, BM25(chunks)).walk(question, k), graph, chunks)


def made_of(text: str) -> Explanation:
    """An explanation in which everything that can come from outside is this text."""
    question, phrase = Node(QUESTION, "question", one_line(text)), Node(0, "phrase", one_line(text), edges=3)
    passage = Node(1, "passage", one_line(text), text, 2)
    way = Way((Step(question, "", 1), Step(phrase, one_line(text), 1), Step(passage, one_line(text), 0.5)), 1)
    return Explanation(
        text, one_line(text), (way.steps[1],), 0, (Found(passage, Chunk("1", text, text), 1, (way,)),), 2, 5
    )


class Outline(HTMLParser):
    """Elements, texts and attributes of a page as a browser takes them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = [""]
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.tags[-1], []).append(data)


def test_hostile_text_is_text():
    outline = Outline(page(made_of(HOSTILE)))
    assert outline.tags.count("script") == 1
    assert "img" not in outline.tags
    assert not any(name.startswith("on") or name in {"src", "href"} for name, _ in outline.attributes)
    assert "hostile" not in "".join(outline.texts["script"])
    shown = one_line(HOSTILE)
    assert any(shown in text for text in outline.texts["bdi"])
    assert any(shown in text for text in outline.texts["title"])


@given(st.text())
def test_every_picture_is_xml_with_the_text_in_it(text: str):
    tree = ET.fromstring(picture(made_of(text)))
    titles = [title.text or "" for title in tree.iter("{http://www.w3.org/2000/svg}title")]
    assert f"question: {one_line(text)}".strip() in [title.strip() for title in titles]


@given(st.text())
@settings(max_examples=30)
def test_a_page_has_the_same_elements_whatever_the_text(text: str):
    assert Outline(page(made_of(f"plain{text}"))).tags == Outline(page(made_of("plain"))).tags


def test_the_policy_allows_the_scripts_and_styles_of_the_page_and_no_others():
    html = page(explained())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    allowed = re.findall(r"'sha256-([^']+)'", policy[1])
    inline = re.findall(r"<(style|script)>(.*?)</\1>", html, re.DOTALL)
    assert [kind for kind, _ in inline] == ["style", "style", "script"]
    assert allowed == [b64encode(sha256(text.encode()).digest()).decode() for _, text in inline]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_nothing_is_loaded_from_anywhere():
    html = page(explained())
    assert not re.search(r"""(?:src|href|action)\s*=|@import|url\((?!#)""", html)
    assert set(re.findall(r"https?://[^\s\"'<]+", html)) == {"http://www.w3.org/2000/svg"}


def test_equal_walks_give_equal_pages():
    assert page(explained()) == page(explained())


def test_every_mark_of_the_list_is_in_the_picture():
    html = page(explained())
    drawing, rest = re.split(r"(?<=</svg>)\s*<nav>", html)
    listed = {mark for marks in re.findall(r'data-marks="([^"]*)"', rest) for mark in marks.split()}
    drawn = {mark for marks in re.findall(r'data-marks="([^"]*)"', drawing) for mark in marks.split()}
    assert listed == drawn
    assert {"h1", "p1-1", "h2", "p2-1"} <= listed


def test_a_figure_has_the_picture_and_the_paths_and_no_script():
    html = figure(explained())
    assert html == explained()._repr_html_()
    assert Outline(html).tags.count("script") == 0
    assert "is the name of" in html
    assert "<svg" in html


def test_a_page_without_a_walk_says_why():
    html = page(explained("why?"))
    assert "There was no walk: <bdi>the question names nothing" in html
    assert "Nothing was found." in html


def test_hits_without_a_walk_are_drawn_as_those_of_the_search():
    graph = KnowledgeGraph.build([FILM], RuleExtractor(), "rules")
    transition = Transition.from_weights(csr_array((len(graph.phrases) + 1,) * 2))
    walk = Walk("Who?", (), transition, 0.5, np.empty(0), (Hit(FILM, 2.5),), "nothing is named")
    html = page(explain(walk, graph, [FILM]))
    assert "The passages are those of the search alone." in html
    assert "found by the search alone" in html


def test_a_corpus_of_one_passage_is_drawn():
    assert 'data-hit="h1"' in page(explained("Who made Fist Power?", [FILM]))


def test_a_page_about_a_hub_stays_small():
    """A phrase in 20,000 passages, all of them seeds: what is not drawn is counted."""
    size = 20_000
    chunks = [Chunk(str(number), f"Text {number}. " + "Hong Kong is mentioned here. " * 100) for number in range(size)]
    counts = csr_array(np.ones((size, 1), np.int32))
    empty = KnowledgeGraph.empty("rules")
    graph = replace(empty, chunk_ids=[c.id for c in chunks], phrases=["hong kong"], names=counts * 0, entities=counts)
    hub, spokes = np.zeros(size, int), np.arange(1, size + 1)
    edges = (np.concatenate([hub, spokes]), np.concatenate([spokes, hub]))
    transition = Transition.from_weights(csr_array((np.ones(2 * size), edges), shape=(size + 1, size + 1)))
    scores = personalised_pagerank(transition, np.ones(size + 1))
    seeds = tuple(Seed(node, 1 / (size + 1), "matches") for node in range(size + 1))
    walk = Walk("What?", seeds, transition, 0.5, scores, tuple(Hit(chunk, 1) for chunk in chunks[:10]))
    html = page(explain(walk, graph, chunks))
    assert len(html) < 100_000
    assert "20,000 edges in the graph" in html
    assert "and not 19,993 more seeds" in html


# ---- In a browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine to open the page in")
    file = tmp_path_factory.mktemp("page") / "walk.html"
    file.write_text(page(explained()), encoding="utf-8")
    with Browser() as browser:
        browser.open(file)
        yield browser
        assert browser.complaints == []
        assert browser.requests == [file.resolve().as_uri()]


def chosen(browser: Browser) -> list[str]:
    return browser.run("[...document.querySelectorAll('#view .node.on text:not(.rank)')].map(node => node.textContent)")


def view_box(browser: Browser) -> list[float]:
    return [
        float(number) for number in browser.run("document.querySelector('#view svg').getAttribute('viewBox')").split()
    ]


def test_clicking_a_passage_marks_its_paths(opened: Browser):
    opened.click('.hit[data-marks="h2"]')
    marked = chosen(opened)
    assert len(marked) >= 2
    assert opened.run("document.querySelector('#view svg').classList.contains('chosen')")
    opened.press("Escape")
    assert chosen(opened) == []


def test_a_chosen_path_is_brought_into_view(opened: Browser):
    opened.click('button[data-zoom="0"]')
    everything = view_box(opened)
    opened.click('li[data-marks="p1-1"]')
    assert view_box(opened) != everything
    within = """(([view, boxes]) => boxes.every(box => box.left >= view.left && box.right <= view.right &&
        box.top >= view.top && box.bottom <= view.bottom))([document.querySelector('#view').getBoundingClientRect(),
        [...document.querySelectorAll('#view .node.on rect')].map(node => node.getBoundingClientRect())])"""
    assert opened.run(within)
    opened.press("Escape")
    opened.click('button[data-zoom="0"]')
    assert view_box(opened) == everything


def test_clicking_a_path_marks_it_alone(opened: Browser):
    opened.click('li[data-marks="p1-1"]')
    assert opened.run("document.querySelectorAll('#list .on').length") == 1
    opened.click('li[data-marks="p1-1"]')
    assert chosen(opened) == []


def test_a_node_can_be_clicked_and_marks_the_list(opened: Browser):
    opened.click('.node[data-hit="h1"]')
    assert opened.run("document.querySelector('.hit[data-marks=\"h1\"]').classList.contains('on')")
    opened.press("Escape")


def test_hovering_shows_the_text(opened: Browser):
    opened.move('.node[data-hit="h1"]')
    label = opened.run("document.querySelector('.node[data-hit=\"h1\"] text').textContent")
    assert label.rstrip("…") in opened.run("document.getElementById('detail').textContent")
    opened.mouse("mouseMoved", 5, 5)
    assert opened.run("document.getElementById('detail').textContent") == ""


def test_the_keyboard_reaches_and_chooses(opened: Browser):
    opened.run("document.querySelector('.hit').focus()")
    opened.press("Enter")
    assert len(chosen(opened)) >= 2
    opened.press("Tab")
    assert opened.run("document.activeElement.dataset.marks") == "p1-1"
    opened.press("Escape")
    assert chosen(opened) == []


def test_wheel_keys_and_buttons_zoom_and_dragging_moves(opened: Browser):
    opened.click('button[data-zoom="0"]')
    start = view_box(opened)
    opened.mouse("mouseWheel", 400, 400, deltaX=0, deltaY=-200)
    assert view_box(opened)[2] < start[2]
    opened.click('button[data-zoom="0"]')
    assert view_box(opened) == start
    opened.mouse("mousePressed", 60, 700)
    opened.mouse("mouseMoved", 160, 700, pressed=True)
    opened.mouse("mouseReleased", 160, 700)
    assert view_box(opened)[0] < start[0]
    opened.run("document.querySelector('#view svg').focus()")
    opened.press("0")
    assert view_box(opened) == start
    opened.press("+")
    assert view_box(opened)[2] < start[2]
    opened.press("0")


def test_a_hostile_page_runs_nothing(tmp_path: Path):
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine to open the page in")
    file = tmp_path / "hostile.html"
    file.write_text(page(made_of(HOSTILE)), encoding="utf-8")
    with Browser() as browser:
        browser.open(file)
        browser.click(".hit")
        assert browser.complaints == []
        assert browser.requests == [file.resolve().as_uri()]
        assert browser.run("document.querySelector('h1').textContent") == one_line(HOSTILE)
