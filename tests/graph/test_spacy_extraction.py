import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ragloom.errors import ConfigError
from ragloom.graph.extraction import Extraction
from ragloom.graph.spacy_extraction import NUMBERS, SpacyExtractor
from ragloom.run import map_threads
from ragloom.types import Chunk

pytestmark = pytest.mark.skipif(importlib.util.find_spec("spacy") is None, reason="the extra `spacy` is not installed")

EXTRACT = SpacyExtractor()


def found(text: str, extract: SpacyExtractor = EXTRACT) -> Extraction:
    return extract(Chunk("", text))


def statements(text: str) -> set[tuple[str, str, str]]:
    return {(triple.subject, triple.relation, triple.object) for triple in found(text).triples}


# ---- Entities


@pytest.mark.model
def test_names_come_in_the_order_of_the_text_and_as_often_as_they_stand_there():
    text = "Marie Curie was born in Warsaw. In 1891 Marie Curie moved to Paris, and Paris became her home."
    assert found(text).entities == ("Marie Curie", "Warsaw", "1891", "Marie Curie", "Paris", "Paris")


@pytest.mark.model
def test_names_stand_without_article_and_genitive():
    text = "The river crosses the Colorado Desert. Germany's chancellor lives in The Hague."
    assert found(text).entities == ("Colorado Desert", "Germany", "The Hague")


@pytest.mark.model
def test_a_name_across_a_line_end_is_one_name():
    assert "New York" in found("She moved from London to New\n  York in spring.").entities


@pytest.mark.model
def test_labels_to_leave_out_are_the_callers_choice():
    text = "Two ships left Hamburg on 3 May 1920, the first for Boston."
    assert found(text).entities == ("Hamburg", "3 May 1920", "Boston")
    assert found(text, SpacyExtractor(ignored=frozenset())).entities == (
        "Two",
        "Hamburg",
        "3 May 1920",
        "first",
        "Boston",
    )
    assert found(text, SpacyExtractor(ignored=NUMBERS | {"DATE"})).entities == ("Hamburg", "Boston")


@pytest.mark.model
def test_the_title_is_not_read():
    chunk = Chunk("", "It is a river in Austria.", title="Vienna")
    assert EXTRACT(chunk) == EXTRACT(replace(chunk, title="")) == Extraction(("Austria",))


# ---- Triples


@pytest.mark.model
@pytest.mark.parametrize(
    ("sentence", "statement"),
    [
        ("Alfred Hitchcock directed the famous film.", ("Alfred Hitchcock", "directed", "famous film")),
        ("The film was directed by Alfred Hitchcock.", ("film", "directed by", "Alfred Hitchcock")),
        ("Vertigo is a film directed by Alfred Hitchcock.", ("film", "directed by", "Alfred Hitchcock")),
        ("Anna Smith, who wrote the novel, lives in Oslo.", ("Anna Smith", "wrote", "novel")),
        ("Anna Smith, who wrote the novel, lives in Oslo.", ("Anna Smith", "lives in", "Oslo")),
        ("Anna Smith and Peter Jones founded Acme.", ("Peter Jones", "founded", "Acme")),
        ("Anna Smith visited Norway and Sweden.", ("Anna Smith", "visited", "Sweden")),
        ("Anna Smith left London and moved to Paris.", ("Anna Smith", "moved to", "Paris")),
        ("Anna Smith did not leave London.", ("Anna Smith", "not leave", "London")),
        ("Anna Smith took over Acme.", ("Anna Smith", "took over", "Acme")),
        ("Anna Smith was born in Oslo. She moved to Paris.", ("Anna Smith", "moved to", "Paris")),
    ],
)
def test_a_clause_states_what_its_subject_does(sentence: str, statement: tuple[str, str, str]):
    assert statement in statements(sentence)


@pytest.mark.model
@pytest.mark.parametrize(
    "sentence",
    [
        "It rains.",
        "She moved to Paris.",  # who did?
        "Anna Smith paid 20 dollars.",  # an amount names nothing
        "Anna Smith met Anna Smith.",
        "Berlin.",
        "Where, when, why?",
    ],
)
def test_what_has_no_two_things_states_nothing(sentence: str):
    assert statements(sentence) == set()


@pytest.mark.model
def test_a_list_counts_by_its_first_ten():
    countries = "Norway, Sweden, Spain, France, Italy, Greece, Turkey, Egypt, Kenya, Ghana, Chile, Peru and Brazil"
    visited = [triple.object for triple in found(f"Anna Smith visited {countries}.").triples]
    assert visited == countries.split(", ")[:10]


# ---- Texts of all kinds


@pytest.mark.model
@pytest.mark.parametrize("text", ["", " \n\t", "...", "\0", "\ud800", "😀👩‍👩‍👧", "the 's"])
def test_where_nothing_is_named_nothing_is_found(text: str):
    assert found(text) == Extraction()


@pytest.mark.model
@pytest.mark.parametrize("junk", ["\0", "\ud800", "😀", "\u202e", "(" * 2000 + " ", "Он родился в Москве.", "\r\n\r\n"])
def test_a_name_is_found_beside_what_is_no_english(junk: str):
    assert "London" in found(f"{junk} The office is in London.").entities


@pytest.mark.model
@pytest.mark.parametrize("padding", [" " * 1_100_000, "It rained. " * 2000])
def test_a_name_is_found_at_the_end_of_a_text_that_spacy_refuses_or_that_is_long(padding: str):
    assert found(f"{padding}The office is in London.").entities == ("London",)


@pytest.mark.model
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=20) | st.sampled_from(["Anna Smith", "Paris", "left", "the", "'s", "."]), max_size=12))
def test_whatever_is_found_stands_in_the_text(words: list[str]):
    text = " ".join(" ".join(words).encode("utf-8", "replace").decode().replace("\0", "").split())
    extraction = found(text)
    phrases = {*extraction.entities, *(triple.object for triple in extraction.triples)}
    assert all(phrase and phrase in " ".join(text.split()) for phrase in phrases)
    assert extraction == found(text)


@pytest.mark.model
def test_threads_find_what_one_finds():
    texts = [
        f"Anna Smith moved to {city} in {year}." for city in ("Paris", "Oslo", "Rome") for year in range(1900, 1920)
    ]
    together = dict(map_threads(lambda text: (text, found(text)), texts, workers=4))
    assert together == {text: found(text) for text in texts}


# ---- Models


def test_the_identity_says_what_the_extractions_depend_on():
    from spacy.about import __version__

    assert EXTRACT.identity.startswith(f"spacy {__version__} en_core_web_sm 3.8.0 rules 1 CARDINAL MONEY")
    assert SpacyExtractor(ignored=frozenset()).identity == f"spacy {__version__} en_core_web_sm 3.8.0 rules 1"


def test_an_unknown_model_is_named_with_the_way_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "no_such_model").mkdir()  # which spaCy would load
    monkeypatch.chdir(tmp_path)
    extract = SpacyExtractor("no_such_model")
    message = r"no spaCy pipeline 'no_such_model'; install it \(python -m spacy download no_such_model\)"
    with pytest.raises(ConfigError, match=message):
        found("Paris", extract)
    with pytest.raises(ConfigError, match=message):
        _ = extract.identity


def test_without_spacy_the_extra_that_brings_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    extract = installed_model(tmp_path, monkeypatch, "hungarian_names_1")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(ConfigError, match=r"hungarian_names_1 needs the package spacy; pip install 'ragloom\[spacy\]'"):
        found("Pécs", extract)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(ConfigError, match=r"needs the package spacy; pip install 'ragloom\[spacy\]'"):
        _ = extract.identity


def test_an_installed_pipeline_of_another_language_finds_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    extract = installed_model(tmp_path, monkeypatch, "hungarian_names_2")
    assert found("Itt van Pécs , a város.", extract) == Extraction(("Pécs",))
    assert " hungarian_names_2 4.5.6 " in extract.identity


def test_a_pipeline_without_a_parser_finds_names_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    extract = installed_model(tmp_path, monkeypatch, "english_names", language="en", parsed=False)
    assert found("Anna Smith visited Pécs .", extract) == Extraction(("Pécs",))


def installed_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, language: str = "hu", parsed: bool = True
) -> SpacyExtractor:
    """A package of a pipeline that knows one city and may call every word a subject, installed in the folder."""
    (folder / f"{name}.py").write_text(
        "import spacy\n"
        "from spacy.language import Language\n"
        f"@Language.component('{name}')\n"
        "def parse(doc):\n"
        "    for token in doc:\n"
        "        token.dep_ = 'nsubj'\n"
        "    return doc\n"
        "def load(**options):\n"
        f"    pipeline = spacy.blank('{language}')\n"
        "    pipeline.add_pipe('entity_ruler').add_patterns([{'label': 'LOC', 'pattern': 'Pécs'}])\n"
        f"    pipeline.add_pipe('{name}') if {parsed} else None\n"
        "    return pipeline\n",
        encoding="utf-8",
    )
    info = folder / f"{name}-4.5.6.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.5.6\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[spacy_models]\n{name} = {name}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    return SpacyExtractor(name)
