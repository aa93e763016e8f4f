import random
from collections.abc import Sequence
from typing import Unpack

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.postprocessor import LongContextReorder
from llama_index.core.schema import NodeWithScore, TextNode

from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import PromptReader, packaged_prompt
from ragloom.components.reordering import (
    ORDERS,
    ChronologicalOrder,
    FixedOrder,
    RandomOrder,
    best_first,
    document,
    grouped,
    inverse,
    relevance,
    reverse,
    sides,
    sides_mirror,
)
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.run import Run
from ragloom.types import Chunk, Hit, Message, Options, Refiner, Reply

NAN = float("nan")
ALL: dict[str, Refiner] = {**ORDERS, "fixed": FixedOrder(("c3", "c1")), "another seed": RandomOrder(7)}


def ranked(k: int) -> list[Hit]:
    return [Hit(Chunk(f"c{rank}", f"Passage {rank}."), 1 / rank) for rank in range(1, k + 1)]


def ranks(hits: Sequence[Hit]) -> list[int]:
    return [int(hit.chunk.id[1:]) for hit in hits]


def scored(*scores: float) -> list[Hit]:
    return [Hit(Chunk(f"c{place}", ""), score) for place, score in enumerate(scores, 1)]


@st.composite
def hit_lists(draw: st.DrawFn) -> list[Hit]:
    scores = draw(st.lists(st.sampled_from([0.0, 1.0, NAN]) | st.floats(-2, 2), max_size=9))
    return [
        Hit(
            Chunk(
                f"c{place}",
                "",
                document_id=draw(st.sampled_from(["", "d1", "d2"])),
                position=draw(st.integers(0, 3)),
                meta={"date": draw(st.sampled_from(["2020", "2021-05", "soon", None]))},
            ),
            score,
        )
        for place, score in enumerate(scores)
    ]


# ---- What all orders have in common


@given(hits=hit_lists(), name=st.sampled_from(sorted(ALL)))
def test_every_order_is_a_permutation_that_leaves_its_input_alone(hits: list[Hit], name: str):
    given_hits = list(hits)
    ordered = ALL[name]("q", hits)
    assert hits == given_hits
    assert sorted(map(id, ordered)) == sorted(map(id, hits))
    assert all(one is other for one, other in zip(ordered, ALL[name]("q", hits), strict=True))


@given(hits=hit_lists(), name=st.sampled_from(sorted(ALL)))
def test_the_inverse_leads_from_each_place_in_the_prompt_to_the_hit_as_given(hits: list[Hit], name: str):
    ordered = ALL[name]("q", hits)
    places = inverse(hits, ordered)
    assert sorted(places) == list(range(len(hits)))
    assert all(hits[place] is hit for place, hit in zip(places, ordered, strict=True))


def test_chunks_that_are_there_twice_are_matched_in_turn_and_strangers_are_refused():
    a, b = Hit(Chunk("a", ""), 1.0), Hit(Chunk("b", ""), 2.0)
    assert inverse([a, b, a], [a, a, b]) == [0, 2, 1]
    with pytest.raises(ValueError, match="2 hits are no order of 1"):
        inverse([a], [a, b])
    with pytest.raises(ValueError, match="chunk b does not stand among the hits that were ordered as often"):
        inverse([a, a], [a, b])


@pytest.mark.parametrize("name", ["relevance", "reverse", "sides", "sides-mirror"])
def test_orders_by_score_do_not_depend_on_how_the_hits_arrive(name: str):
    hits = ranked(9)
    shuffled = random.Random(3).sample(hits, len(hits))
    assert ORDERS[name]("q", shuffled) == ORDERS[name]("q", hits)


# ---- By score


def paper(k: int) -> list[int]:
    """The ranks by position, from the formula of arXiv:2410.05983: where each rank stands."""
    where = {rank: (rank + 1) // 2 if rank % 2 else (k + 1) - rank // 2 for rank in range(1, k + 1)}
    return sorted(where, key=where.__getitem__)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (0, []),
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 3, 2]),
        (4, [1, 3, 4, 2]),
        (5, [1, 3, 5, 4, 2]),
        (6, [1, 3, 5, 6, 4, 2]),
        (7, [1, 3, 5, 7, 6, 4, 2]),
        (8, [1, 3, 5, 7, 8, 6, 4, 2]),
        (9, [1, 3, 5, 7, 9, 8, 6, 4, 2]),
        (10, [1, 3, 5, 7, 9, 10, 8, 6, 4, 2]),
    ],
)
def test_sides_is_the_order_of_the_publication(k: int, expected: list[int]):
    assert ranks(sides("q", ranked(k))) == expected == paper(k)
    assert ranks(sides_mirror("q", ranked(k))) == expected[::-1]
    assert ranks(relevance("q", ranked(k))) == list(range(1, k + 1))
    assert ranks(reverse("q", ranked(k))) == list(range(k, 0, -1))


@given(k=st.integers(2, 60))
def test_the_best_two_stand_at_the_ends_whether_there_are_evenly_many_or_not(k: int):
    ordered = ranks(sides("q", ranked(k)))
    assert (ordered[0], ordered[-1]) == (1, 2)
    mirrored = ranks(sides_mirror("q", ranked(k)))
    assert (mirrored[0], mirrored[-1]) == (2, 1)


@given(k=st.integers(0, 30))
def test_reordering_by_score_twice_is_reordering_once(k: int):
    hits = ranked(k)
    for order in (relevance, reverse, sides, sides_mirror):
        assert order("q", order("q", hits)) == order("q", hits)


def test_equal_scores_keep_the_order_given_and_missing_ones_come_last():
    hits = scored(0.5, NAN, 0.9, 0.5, NAN, float("-inf"))
    assert ranks(relevance("q", hits)) == [3, 1, 4, 6, 2, 5]
    assert ranks(reverse("q", hits)) == [5, 2, 6, 4, 1, 3]
    assert ranks(sides("q", hits)) == [3, 4, 2, 5, 6, 1]
    assert best_first([None, 0.0, None, float("inf"), 0.0]) == [3, 1, 4, 0, 2]
    assert ranks(sides("q", scored(1, 1, 1, 1, 1))) == [1, 3, 5, 4, 2]


@pytest.mark.parametrize("k", range(11))
def test_llama_indexs_reordering_is_ours_for_odd_numbers_and_our_mirror_for_even_ones(k: int):
    nodes = [NodeWithScore(node=TextNode(id_=hit.chunk.id), score=hit.score) for hit in ranked(k)]
    theirs = [int(node.node.node_id[1:]) for node in LongContextReorder().postprocess_nodes(nodes)]
    assert theirs == ranks((sides if k % 2 else sides_mirror)("q", ranked(k)))


# ---- By where the passages come from


def part(name: str, document_id: str, position: int, score: float, **meta: str) -> Hit:
    return Hit(Chunk(name, "", document_id=document_id, position=position, meta=meta), score)


def names(hits: Sequence[Hit]) -> str:
    return " ".join(hit.chunk.id for hit in hits)


def missing(order: Refiner, hits: list[Hit]) -> tuple[str, list[object]]:
    with Run() as run:
        ordered = order("q", hits)
    return names(ordered), [step.attributes["missing"] for step in run.record().spans]


def test_document_order_is_that_of_sources_then_of_documents_then_of_positions():
    hits = [
        part("b7", "b", 7, 0.9, source="2.txt"),
        part("a10", "a", 10, 0.8, source="3.txt"),
        part("a9", "a", 9, 0.1, source="3.txt"),
        part("b2", "b", 2, 0.2, source="2.txt"),
    ]
    assert names(document("q", hits)) == "b2 b7 a9 a10"
    plain = [part("b0", "b", 0, 0.9), part("a1", "a", 1, 0.5), part("a0", "a", 0, 0.1)]
    assert names(document("q", plain)) == "a0 a1 b0"


def test_chunks_without_a_document_have_no_position_and_follow_by_score_which_is_recorded():
    hits = [part("x", "", 0, 0.1), part("y", "", 0, 0.9), part("a1", "a", 1, 0.2), part("a0", "a", 0, 0.1)]
    assert missing(document, hits) == ("a0 a1 y x", [2])
    assert missing(document, hits[2:]) == ("a0 a1", [])


def test_parts_of_a_document_at_one_position_stand_by_where_they_start():
    late, early = Hit(Chunk("late", "", document_id="d", start=90), 1.0), Hit(Chunk("early", "", document_id="d"), 0.5)
    assert names(document("q", [late, early])) == names(grouped("q", [late, early])) == "early late"


def test_groups_stand_by_their_best_hit_and_each_in_its_documents_order():
    hits = [
        part("a3", "a", 3, 0.2),
        part("b5", "b", 5, 0.9),
        part("x", "", 0, 0.5),
        part("a1", "a", 1, 0.6),
        part("b1", "b", 1, NAN),
        part("y", "", 0, 0.4),
    ]
    assert names(grouped("q", hits)) == "b1 b5 a1 a3 x y"


def test_chronological_order_is_oldest_first_and_records_dates_that_are_missing():
    hits = [
        part("none", "", 0, 0.1),
        part("day", "", 0, 0.2, date="2020-05-02"),
        part("year", "", 0, 0.3, date="2020"),
        part("soon", "", 0, 0.4, date="soon"),
        part("month", "", 0, 0.5, date="2020-05"),
        part("impossible", "", 0, 0.05, date="2020-02-30"),
        part("east", "", 0, 0.6, date="2020-05-02T01:00:00+02:00"),
        part("also", "", 0, 0.7, date="2020-05-02"),
    ]
    assert missing(ORDERS["chronological"], hits) == ("year month east day also soon none impossible", [3])
    published = [Hit(Chunk("new", "", meta={"published": 2021}), 1.0), part("old", "", 0, 0.5, published="1999-12-31")]
    assert missing(ChronologicalOrder("published"), published) == ("old new", [])


# ---- By chance, and as told


def test_random_orders_repeat_with_their_seed_and_differ_between_seeds_and_queries():
    hits = ranked(8)
    first = ranks(RandomOrder(1)("q", hits))
    assert ranks(RandomOrder(1)("q", hits)) == first
    assert ranks(RandomOrder(2)("q", hits)) != first
    assert ranks(RandomOrder(1)("another", hits)) != first


def test_over_many_queries_a_random_order_puts_each_rank_everywhere_about_as_often():
    firsts = [ranks(RandomOrder(0)(str(query), ranked(4)))[0] for query in range(2000)]
    assert all(abs(firsts.count(rank) / 2000 - 0.25) < 0.05 for rank in (1, 2, 3, 4))


def test_a_fixed_order_puts_what_it_does_not_name_behind_as_it_was():
    assert ranks(FixedOrder(("c4", "gone", "c2", "c4"))("q", ranked(5))) == [4, 2, 1, 3, 5]


# ---- In a pipeline


def shown(messages: Sequence[Message]) -> list[int]:
    """The ranks of the passages in a prompt, by the order in which they stand there."""
    text = messages[-1]["content"]
    return sorted(
        (rank for rank in range(1, 10) if f"Passage {rank}." in text), key=lambda rank: text.index(f"e {rank}.")
    )


def asked(k: int, order: Refiner, *, context_tokens: int | None = None, reply: str = "It [1]") -> tuple[list[int], ...]:
    """The ranks that stand in the prompt, those of the answer's hits, and those that it cites."""
    prompts: list[list[int]] = []

    def llm(messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        prompts.append(shown(messages))
        return Reply(reply)

    reader = PromptReader(llm, mode="long", context_tokens=context_tokens, count_tokens=len)
    answer = RetrieveThenRead(lambda query, k: ranked(9)[:k], reader, k=k, refiners=(order,))("Which?")
    return prompts[0], ranks(answer.hits), [int(citation.chunk_id[1:]) for citation in answer.citations]


@pytest.mark.parametrize("name", sorted(ALL))
def test_a_citation_points_at_the_chunk_that_stood_under_its_number(name: str):
    in_prompt, hits, cited = asked(6, ALL[name], reply="One [2], another [6], and one [1].")
    assert in_prompt == hits == ranks(ALL[name]("Which?", ranked(6)))
    assert cited == [hits[1], hits[5], hits[0]]
    assert [inverse(ranked(6), ALL[name]("Which?", ranked(6)))[number - 1] + 1 for number in (2, 6, 1)] == cited


@pytest.mark.parametrize("name", sorted(ALL))
def test_the_best_k_are_chosen_before_they_are_ordered(name: str):
    assert sorted(asked(4, ALL[name])[0]) == [1, 2, 3, 4]


def conversation(prompt: Prompt, hits: Sequence[Hit]) -> int:
    return sum(len(message["content"]) for message in prompt.messages("Which?", [hit.chunk for hit in hits]))


@pytest.mark.parametrize("name", sorted(ORDERS))
@pytest.mark.parametrize("fits", [1, 2, 3, 5])
def test_what_a_prompt_cannot_hold_is_the_worst_whatever_the_order(name: str, fits: int):
    order = ORDERS[name]
    in_prompt, hits, cited = asked(
        6, order, context_tokens=conversation(packaged_prompt("long"), ranked(fits)), reply=f"It [{fits}]"
    )
    assert in_prompt == hits == [rank for rank in ranks(order("Which?", ranked(6))) if rank <= fits]
    assert cited == [hits[-1]]
