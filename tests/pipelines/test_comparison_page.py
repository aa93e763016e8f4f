"""The page of a comparison: self-contained, escaped, the same again, and working in a browser."""

import json
import re
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from comparisons import judged, made_of
from hypothesis import given, settings
from hypothesis import strategies as st

from ragloom.pipelines.comparison import Comparison
from ragloom.pipelines.comparison_page import page
from ragloom.pipelines.comparison_report import tables

pytest.importorskip("matplotlib")

HOSTILE = (
    "</script></style></svg><script>hostile()</script><img src=x onerror=hostile()>\" onload='hostile()' "
    "<!-- &lt; \u05d0"
)
QUESTIONS = 60


def compared(text: str = "plain", questions: int = QUESTIONS) -> Comparison:
    """Three variants: one right on every second question, one on every third, one on none and failing on the last."""
    rows = [
        judged(
            question, name, right=bool(step) and question % step == 0, text=text, tokens=10 * place + question % 7 + 1
        )
        for place, (name, step) in enumerate((("closed", 3), ("single", 2), ("graph", 0)))
        for question in range(questions)
    ]
    rows[-1] = replace(rows[-1], status="failed", error=text, answer="")
    found = made_of(rows, text)
    return replace(
        found, failures=(("graph", text),), notes=(text,), paths={("graph", ("set", "q0")): (f"{text}: a -> b",)}
    )


def shown(comparison: Comparison, **options: int) -> str:
    return page(comparison, tables(comparison), **options)


class Outline(HTMLParser):
    """Elements, attributes and the texts of scripts of a page as a browser takes them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = [""]
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("")

    def handle_data(self, data: str) -> None:
        if self.tags[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return shown(compared(HOSTILE))


def test_hostile_text_is_text(html: str):
    outline = Outline(html)
    assert outline.tags.count("script") == 2
    assert "img" not in outline.tags
    assert not any(name.startswith("on") for name, _ in outline.attributes)
    data, script = outline.scripts
    assert json.loads(data)["questions"][0]["gold"] == [HOSTILE]
    assert "hostile" not in script


@given(st.text())
@settings(max_examples=30, deadline=None)
def test_a_page_has_the_same_elements_whatever_the_text(text: str):
    clean = text.encode("utf-8", "backslashreplace").decode()  # as a comparison holds it
    assert Outline(shown(unjudged(f"plain{clean}"))).tags == Outline(shown(unjudged("plain"))).tags


def unjudged(text: str) -> Comparison:
    """Answers that nothing is known of, and that cost the same: there is nothing to plot, which takes its time."""
    nothing = {"em": None, "f1": None, "contains": None, "gold_answers": (text,), "gold_passages": None, "recall": None}
    rows = [replace(judged(0, name, right=True, text=text), **nothing) for name in ("closed", "single")]
    return replace(made_of(rows, text), notes=(text,), failures=(("single", text),))


def test_the_policy_allows_the_script_and_style_of_the_page_and_no_others(html: str):
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    inline = re.findall(r"<(style|script)>(.*?)</\1>", html, re.DOTALL)
    assert [kind for kind, _ in inline] == ["style", "script"]
    assert re.findall(r"'sha256-([^']+)'", policy[1]) == [
        b64encode(sha256(text.encode()).digest()).decode() for _, text in inline
    ]
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert "style" not in {name for name, _ in Outline(html).attributes}


def test_nothing_is_loaded_from_anywhere(html: str):
    loads = [value for name, value in Outline(html).attributes if name in {"src", "href", "xlink:href", "action"}]
    assert all(value is not None and value.startswith("#") for value in loads)
    assert not re.search(r"@import|url\((?!#)", shown(compared()))


def test_ids_are_unique_across_plots(html: str):
    ids = [value for name, value in Outline(html).attributes if name == "id"]
    referred = {value[1:] for name, value in Outline(html).attributes if name == "xlink:href" and value}
    assert len({*ids}) == len(ids)
    assert referred <= {*ids}


def test_what_is_too_much_for_a_page_is_left_out_and_said():
    html = shown(compared(), detailed=30)
    assert "Passages and traces are those of the first 10 questions" in html
    questions = json.loads(Outline(html).scripts[0])["questions"]
    assert ["spans" in question["answers"][0] for question in questions] == [True] * 10 + [False] * (QUESTIONS - 10)


# ---- In a browser


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on this machine to open the page in")
    file = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(shown(compared(HOSTILE)), encoding="utf-8")
    with Browser() as browser:
        browser.open(file)
        yield browser
        assert browser.complaints == []
        assert browser.requests == [file.resolve().as_uri()]


def choose(browser: Browser, name: str, value: str) -> None:
    browser.run(
        f"((field, value) => {{ field.value = value; field.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
        f"(document.querySelector('[name={name}]'), {json.dumps(value)})"
    )


def said(browser: Browser) -> str:
    return str(browser.run("document.getElementById('count').textContent"))


def test_questions_are_drawn_page_by_page(opened: Browser):
    choose(opened, "show", "all")
    assert said(opened) == "Shown: 1 to 25 of 60, of 60 questions"
    assert opened.run("document.querySelectorAll('.question').length") == 25
    assert opened.run("document.querySelectorAll('article').length") == 0
    opened.click("#pages button:last-child")
    opened.click("#pages button:last-child")
    assert said(opened) == "Shown: 51 to 60 of 60, of 60 questions"
    assert opened.run("document.querySelector('#pages button:last-child').disabled") is True
    opened.click("#pages button:first-child")
    assert said(opened) == "Shown: 26 to 50 of 60, of 60 questions"


@pytest.mark.parametrize(
    ("show", "count"),
    [("won", 20), ("lost", 10), ("alone", 20), ("differ", 40), ("nobody", 20), ("everybody", 0), ("failed", 0)],
)
def test_what_is_shown_can_be_chosen(opened: Browser, show: str, count: int):
    """Of 60 questions, `single` is right on every second, `closed` on every third, and `graph` on none."""
    choose(opened, "variant", "1")
    choose(opened, "show", show)
    assert re.search(rf"of {count}, of 60" if count else "none, of 60", said(opened))


def test_words_and_order_choose_questions(opened: Browser):
    choose(opened, "show", "all")
    choose(opened, "words", "HOSTILE 59?")
    assert "1 to 1 of 1," in said(opened)
    choose(opened, "words", "")
    choose(opened, "order", "worse")
    assert opened.run("document.querySelector('.question bdi').textContent").endswith(" 3?")
    choose(opened, "order", "asked")


def test_a_question_opens_by_keyboard_with_answers_passages_paths_and_trace(opened: Browser):
    choose(opened, "show", "all")
    opened.run("document.querySelector('.question summary').focus()")
    opened.press("Enter")
    assert opened.run("document.querySelectorAll('.question[open] article').length") == 3
    texts = opened.run("[...document.querySelectorAll('article .answer')].map(each => each.textContent)")
    assert texts == [HOSTILE] * 3
    opened.run("document.querySelectorAll('article:nth-of-type(3) details').forEach(each => { each.open = true; })")
    opened.run("new Promise(done => setTimeout(done))")
    graph = opened.run("document.querySelector('article:nth-of-type(3)').textContent")
    assert f"{HOSTILE}: a -> b" in graph
    bars = opened.run(
        "[...document.querySelectorAll('.trace .track > span')].map(each => [each.style.left, each.style.width])"
    )
    assert bars == [["0%", "20%"], ["20%", "80%"], ["40%", "60%"]]
    assert opened.run("document.querySelectorAll('img, .question script').length") == 0


def test_plots_are_pictures_with_names(opened: Browser):
    names = opened.run(
        "[...document.querySelectorAll('figure svg[role=img]')].map(each => each.getAttribute('aria-label'))"
    )
    assert any("Pareto front" in name for name in names)
    assert any("tokens" in name for name in names)
    sizes = opened.run("[...document.querySelectorAll('figure svg')].map(each => each.getBoundingClientRect().height)")
    assert min(sizes) > 100


def test_every_control_has_a_name(opened: Browser):
    unnamed = opened.run(
        "[...document.querySelectorAll('input, select')].filter(each => !each.labels.length || "
        "!each.labels[0].textContent.trim()).length"
    )
    assert unnamed == 0


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine to open the page in")
def test_a_phone_shows_it_without_scrolling_sideways_in_the_dark(tmp_path: Path):
    file = tmp_path / "index.html"
    file.write_text(shown(compared("word " * 40)), encoding="utf-8")
    with Browser(width=360, height=740, dark=True) as browser:
        browser.open(file)
        browser.click(".question summary")
        assert browser.run("document.documentElement.scrollWidth <= innerWidth") is True
        paper = browser.run("getComputedStyle(document.body).backgroundColor")
        assert sum(map(int, re.findall(r"\d+", paper))) < 150
        assert browser.complaints == []
