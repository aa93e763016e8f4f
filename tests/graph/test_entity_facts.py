from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.entity_facts import entity_facts
from ragloom.graph.extraction import Extraction, Triple
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.types import Chunk

CHUNKS = [
    Chunk("1", "The mill stands on the Esk. It was built by Ada Quill.", "Lower Mill"),
    Chunk("2", "She was born in Port Sorrel. Ada Quill knew Tom Reed.", "Ada Quill"),
    Chunk("3", "In 1902 Ada Quill left Lower Mill for good.", "Esk Valley"),
]


def test_an_entity_has_the_sentences_that_name_it_its_own_passage_first() -> None:
    facts = entity_facts(KnowledgeGraph.build(CHUNKS, RuleExtractor(), "rules"), CHUNKS)
    assert facts["Ada Quill"] == [
        ("2", "Ada Quill knew Tom Reed."),
        ("1", "Lower Mill: It was built by Ada Quill."),
        ("3", "Esk Valley: In 1902 Ada Quill left Lower Mill for good."),
    ]
    assert facts["Lower Mill"][0] == ("1", "The mill stands on the Esk.")  # nothing names it there: the first one
    assert "tom reed" not in facts  # one passage mentions him, and none is about him
    assert list(facts)[:2] == ["Ada Quill", "Lower Mill"]


def test_further_passages_are_counted_without_a_line() -> None:
    facts = entity_facts(KnowledgeGraph.build(CHUNKS, RuleExtractor(), "rules"), CHUNKS, most=1)
    assert [line for _, line in facts["Ada Quill"]] == ["Ada Quill knew Tom Reed.", "", ""]


def test_a_triple_comes_before_sentences() -> None:
    stated = Extraction(("Ada Quill",), (Triple("Ada Quill", "built", "Lower Mill"),))
    graph = KnowledgeGraph.build(CHUNKS, lambda chunk: stated if chunk.id == "1" else Extraction(), "tests")
    assert entity_facts(graph, CHUNKS)["Lower Mill"][0] == ("1", "ada quill built lower mill")


def test_no_passages_have_no_entities() -> None:
    assert entity_facts(KnowledgeGraph.empty("rules"), []) == {}
