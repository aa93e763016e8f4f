import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragloom.components.completions import estimate_tokens
from ragloom.components.memory import Entry, Kind, Memory
from ragloom.errors import ConfigError, InputError
from ragloom.run import Run

TOWNS = ("Aldbury", "Borford", "Camwick", "Dunbury", "Eskford", "Falwick", "Gorbury", "Hexford")


def listed(kind: Kind = "extractive") -> Memory:
    return Memory(kind, tuple(Entry(town, f"{town} lies by the sea.", (town,)) for town in TOWNS), "tests")


def tree() -> Memory:
    """Eight towns, four summaries of two, two of four, and a root."""
    entries = list(listed().entries)
    begin, level = 0, 0
    while len(entries) - begin > 1:
        below, level = range(begin, len(entries)), level + 1
        begin = below.stop
        entries += [Entry("", f"Summary {place} of two.", (), level, (place, place + 1)) for place in below[::2]]
    return Memory("tree", tuple(entries), "tests")


def words(text: str) -> int:
    return len(text.split())


def recalled(memory: Memory, query: str, tokens: int | None) -> Sequence[int]:
    return memory.recall(query, context_tokens=tokens, count_tokens=words).places


@pytest.mark.parametrize("memory", [listed(), listed("glossary"), tree()])
@pytest.mark.parametrize("tokens", [None, 500])
def test_a_memory_that_fits_is_the_same_for_every_query(memory: Memory, tokens: int | None) -> None:
    found = [memory.recall(query, context_tokens=tokens) for query in ("Eskford", "Who?", "", "\0 {slot} %s")]
    assert {each.text.encode() for each in found} == {memory.text.encode()}
    assert {(len(each.places), each.left_out) for each in found} == {(len(memory.entries), 0)}
    assert all(entry.text in memory.text for entry in memory.entries)


def test_headings_have_numbers_titles_and_a_tag_that_no_entry_holds() -> None:
    memory = Memory("gists", (Entry("A\nB", "First.", ()), Entry("", "[1] A #0000\nSecond.", ())), "tests")
    first, second = (line for line in memory.text.splitlines() if line.startswith("[") and not line.endswith("#0000"))
    tag = first.rpartition("#")[2]
    assert (first, second) == (f"[1] A B #{tag}", f"[2] #{tag}")
    assert len(tag) >= 4
    assert tag not in "".join(entry.title + entry.text for entry in memory.entries)


def test_what_does_not_fit_descends_to_the_most_relevant_entries_in_document_order() -> None:
    memory = listed()
    with Run() as run:
        found = memory.recall("Is Gorbury or Camwick by the sea?", context_tokens=18, count_tokens=words)
    assert found.places == (2, 6)
    assert found.left_out == 6
    assert words(found.text) <= 18
    (step,) = run.record().spans
    assert step.name == "recall"
    assert (step.attributes["shown"], step.attributes["left_out"]) == (2, 6)


def test_where_nothing_matches_the_first_entries_are_taken() -> None:
    assert recalled(listed(), "quarterly revenue", 18) == (0, 1)


def test_a_glossary_has_the_entries_of_the_query_and_those_of_most_passages() -> None:
    entries = [*listed().entries]
    entries[5] = replace(entries[5], chunk_ids=("a", "b", "c"))
    memory = Memory("glossary", tuple(entries), "tests")
    assert recalled(memory, "What lies near Hexford?", 18) == (5, 7)


def test_a_tree_shows_its_root_and_descends_to_the_branch_of_the_query() -> None:
    memory = tree()
    found = memory.recall("Where is Dunbury?", context_tokens=36, count_tokens=words)
    assert found.places == (14, 12, 9, 3, 13)  # the root, the way to the town, a summary of the others
    assert found.left_out == 0
    assert words(found.text) <= 36


def test_a_summary_stands_in_the_place_of_what_does_not_fit() -> None:
    memory = tree()
    assert recalled(memory, "Is it Camwick or Dunbury?", 36) == (14, 12, 2, 3, 13)  # both are there, not their summary
    assert recalled(memory, "Where is Dunbury?", 7) == (14,)
    assert recalled(memory, "Where is Dunbury?", 21) == (14, 12, 9)
    assert recalled(memory, "Where is Dunbury?", 26) == (14, 12, 9, 3)  # the way to the town, without its neighbour


def test_a_memory_of_which_nothing_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no entry .* fits into 3 tokens: the shortest takes 8; raise memory_tokens"):
        listed().recall("Dunbury", context_tokens=3, count_tokens=words)


def test_of_a_tree_the_root_is_what_has_to_fit() -> None:
    leaves = (Entry("a", "short", ()), Entry("b", "short", ()))
    memory = Memory("tree", (*leaves, Entry("", "a long root of many words", (), 1, (0, 1))), "tests")
    with pytest.raises(ConfigError, match="fits into 5 tokens: the root takes 8; raise memory_tokens"):
        memory.recall("short", context_tokens=5, count_tokens=words)


def test_an_empty_memory_recalls_nothing() -> None:
    memory = Memory("extractive", (), "tests")
    assert memory.recall("Who?", context_tokens=5).text == ""
    assert memory.search("Who?", 3) == []


@given(
    st.lists(st.tuples(st.text(max_size=30), st.text(max_size=200)), max_size=12),
    st.text(max_size=30),
    st.integers(1, 300),
)
def test_what_is_recalled_fits_and_is_counted(texts: list[tuple[str, str]], query: str, tokens: int) -> None:
    memory = Memory("gists", tuple(Entry(title, text, ()) for title, text in texts), "tests")
    try:
        found = memory.recall(query, context_tokens=tokens, count_tokens=estimate_tokens)
    except ConfigError:
        assert estimate_tokens(memory.text) > tokens
        return
    assert not texts or estimate_tokens(found.text) <= tokens
    assert list(found.places) == sorted(set(found.places))
    assert len(found.places) + found.left_out == len(texts)
    assert all(memory.entries[place].text in found.text for place in found.places)


def test_entries_are_found_by_title_and_text() -> None:
    entries = (Entry("Aldbury", "A port.", ()), Entry("Borford", "Near Aldbury.", ()), Entry("Camwick", "A mill.", ()))
    memory = Memory("gists", entries, "tests")
    assert memory.search("mills of Camwick", 5) == [2]
    assert sorted(memory.search("Aldbury", 5)) == [0, 1]
    assert len(memory.search("Aldbury", 1)) == 1


@settings(max_examples=25)  # each writes a file
@given(st.lists(st.tuples(st.text(), st.text(), st.lists(st.text(), max_size=2)), max_size=4))
def test_a_saved_memory_is_equal_when_it_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, str, list[str]]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "memory.json"
    entries = [Entry(title, text, tuple(ids), by="model") for title, text, ids in texts]
    entries.append(Entry("", "half a character: \ud83d", (), 1, tuple(range(len(texts)))))
    memory = Memory("tree", tuple(entries), "tests", "corpus")
    memory.save(file)
    loaded = Memory.load(file)
    assert loaded == memory
    assert loaded.key == memory.key
    assert loaded.recall("Who?", context_tokens=None) == memory.recall("Who?", context_tokens=None)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 2}, "is no memory of format 1; build the memory again"),
        (
            {"kind": "gossip"},
            "the field 'kind' must be one of full-text, gists, tree, glossary, extractive, found 'gossip'",
        ),
        ({"corpus": None}, "the field 'corpus' must be a string"),
        ({"entries": [1]}, "the field 'entries' must be a list of objects"),
        ({"entries": [{}]}, r"entries\[0\]: the field 'parts' must be a list"),
        ({"parts": [0]}, r"entries\[0\]: the field 'parts' must hold places of entries before it, below 0, found 0"),
        ({"parts": [0.5]}, "the field 'parts' must hold places"),
        ({"level": -1}, "the field 'level' must hold a whole number from 0, found -1"),
        ({"by": "hand"}, "the field 'by' must be one of model, rules, found 'hand'"),
        ({"text": 3}, "the field 'text' must be a string, found a number"),
        ({"chunk_ids": "ab"}, "the field 'chunk_ids' must be a list of strings"),
    ],
)
def test_a_file_that_is_no_memory_is_refused(tmp_path: Path, change: dict[str, object], problem: str) -> None:
    file = tmp_path / "memory.json"
    listed().save(file)
    data = json.loads(file.read_text(encoding="utf-8"))
    (data if change.keys() & {"format", "kind", "corpus", "entries"} else data["entries"][0]).update(change)
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=f"memory.json.*{problem}"):
        Memory.load(file)


def test_a_file_that_is_missing_or_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file"):
        Memory.load(tmp_path / "absent.json")
    (tmp_path / "memory.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"memory\.json"):
        Memory.load(tmp_path / "memory.json")
