import math
import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.candidates import Scoring, candidates
from ragloom.components.combinations import Combination, Cost
from ragloom.components.coverage import PreparedCoverage, SetCoverage
from ragloom.components.selection_baselines import GreedyMarginal
from ragloom.types import Chunk, Hit

QUESTION = "On which island does the cellist of Low Tide live?"
CELLIST = Chunk("cellist", "Tamsin Orrell is a cellist from Penmarrow Bay. She recorded Low Tide.", "Tamsin Orrell")
VILLAGE = Chunk("village", "A fishing village on Kerrin Island.", "Penmarrow Bay")
TIDES = Chunk("tides", "A low tide comes twice a day.", "Tides")
NOTHING = dict.fromkeys(("asked", "terms", "bridge", "shared", "answer", "redundancy", "length"), 0.0)


def coverage(**weights: Any) -> SetCoverage:
    """Without any term but those that are named, and relevance."""
    return SetCoverage(**(NOTHING | {"entities": capitalised} | weights))


def capitalised(chunk: Chunk) -> list[str]:
    return re.findall(r"[A-Z]\w+(?: [A-Z]\w+)*", chunk.text)


def hits(*chunks: Chunk) -> tuple[Hit, ...]:
    """With scores that count down to 0."""
    return tuple(Hit(chunk, len(chunks) - place - 1.0) for place, chunk in enumerate(chunks))


def worth(utility: SetCoverage, chosen: Sequence[int], found: Sequence[Hit], question: str = QUESTION) -> float:
    """Of the candidates at those places."""
    (value,) = utility.prepared(question, found)(question, [tuple(found[place] for place in chosen)])
    return value


# ---- The terms of the sum


def test_relevance_is_the_square_of_the_scaled_score() -> None:
    found = hits(CELLIST, TIDES, VILLAGE)
    assert [worth(coverage(), [place], found) for place in range(3)] == [1, 0.25, 0]
    assert worth(coverage(), [0, 1, 2], found) == 1.25


def test_equal_scores_are_all_relevant() -> None:
    found = (Hit(CELLIST, 2.0), Hit(TIDES, 2.0))
    assert worth(coverage(), [0, 1], found) == 2


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_an_unusable_score_counts_as_the_lowest(score: float) -> None:
    found = (Hit(CELLIST, 2.0), Hit(VILLAGE, 1.0), Hit(TIDES, score))
    assert [worth(coverage(), [place], found) for place in range(3)] == [1, 0, 0]


def test_a_chunk_that_the_question_names_is_worth_more() -> None:
    found = hits(TIDES, VILLAGE)
    question = "Where is Penmarrow Bay?"
    assert worth(coverage(asked=0.6), [1], found, question) - worth(coverage(), [1], found, question) == 0.6
    assert worth(coverage(asked=0.6), [0], found, question) == worth(coverage(), [0], found, question)


def test_a_name_of_one_word_counts_where_it_is_an_entity() -> None:
    found = hits(CELLIST, TIDES)
    assert worth(coverage(asked=0.6), [1], found, "What are tides?") == 0
    assert worth(coverage(asked=0.6), [1], found, "who wrote Tides?") == 0.6


def test_accents_and_case_make_no_other_name() -> None:
    found = (Hit(Chunk("e", "", "Évora Nova"), 1.0), Hit(TIDES, 0.0))
    assert worth(coverage(asked=0.6), [0], found, "where is EVORA NOVA?") == 1.6


def test_a_covered_word_counts_by_its_rarity() -> None:
    one, both = Chunk("1", "lighthouse kerrin"), Chunk("2", "lighthouse")
    question = "lighthouse of kerrin finished"  # nothing holds the last word: it can make no difference
    rare, common = math.log(3 / 1.5), math.log(3 / 2.5)
    found = (Hit(both, 0.0), Hit(one, 0.0))
    utility = coverage(terms=3.0)
    assert worth(utility, [0], found, question) == pytest.approx(1 + 3 * common / (rare + common))
    assert worth(utility, [0, 1], found, question) == pytest.approx(2 + 3)


def test_words_of_names_count_twice() -> None:
    found = (Hit(Chunk("1", "kerrin"), 0.0), Hit(Chunk("2", "lighthouse"), 0.0))
    assert worth(coverage(terms=3.0), [0], found, "lighthouse of Kerrin") == pytest.approx(1 + 2)


def test_a_chunk_bridges_to_the_one_that_it_names() -> None:
    found = hits(CELLIST, TIDES, VILLAGE)
    utility = coverage(bridge=1.0)
    assert worth(utility, [0, 2], found) == 1 + 1
    assert worth(utility, [0, 1], found) == 1 + 0.25
    assert worth(utility, [2], found) == 0


def test_a_bridge_is_as_good_as_its_beginning_is_relevant() -> None:
    found = hits(TIDES, CELLIST, VILLAGE)
    assert worth(coverage(bridge=1.0), [1, 2], found) == 0.25 + 0.5
    asked = "Where does Tamsin Orrell live?"
    assert worth(coverage(bridge=1.0), [1, 2], found, asked) == 0.25 + 1


def test_a_chunk_counts_its_best_bridge_only() -> None:
    other = Chunk("other", "Boats leave Penmarrow Bay at noon.", "Boats")
    found = (Hit(CELLIST, 1.0), Hit(other, 0.5), Hit(VILLAGE, 0.0))
    assert worth(coverage(bridge=1.0), [0, 1, 2], found) == 1 + 0.25 + 1


def test_chunks_of_one_title_do_not_bridge() -> None:
    more = Chunk("more", "Penmarrow Bay has a lighthouse.", "Penmarrow Bay")
    assert worth(coverage(bridge=1.0, shared=1.0, answer=1.0), [0, 1], hits(VILLAGE, more)) == 1


def test_a_shared_name_bridges_by_its_rarity_unless_the_question_has_it() -> None:
    first, second, third = (
        Chunk(str(number), text) for number, text in enumerate(["at Ashby Fen.", "in Ashby Fen.", "by Ashby Fen."])
    )
    utility = coverage(shared=0.5)
    assert worth(utility, [0, 1], hits(first, second)) == pytest.approx(1 + 0.5)
    rarity = math.log(4 / 3) / math.log(4 / 2)
    assert worth(utility, [0, 1], hits(first, second, third)) == pytest.approx(1.25 + 0.5 * rarity * 1.5)
    assert worth(utility, [0, 1], hits(first, second), "What grows in Ashby Fen?") == 1


def test_a_bridge_is_better_where_its_sentence_answers() -> None:
    start = Chunk("start", "The journal is published in Ashby Fen.")
    question = "Who founded the place that publishes the journal?"
    beside = Chunk("beside", "Ashby Fen is wet. Others founded it.")
    within = Chunk("within", "Ashby Fen was founded by Pell.")
    utility = coverage(answer=2.0)
    assert worth(utility, [0, 1], hits(start, beside), question) == 1
    # "found" and "publish", "journal" are held by one of two candidates each: a third of the question is told.
    assert worth(utility, [0, 1], hits(start, within), question) == pytest.approx(1 + 2 / 3)


def test_an_overlap_is_lost() -> None:
    found = (Hit(Chunk("1", "red green blue white"), 0.0), Hit(Chunk("2", "green blue"), 0.0))
    assert worth(coverage(redundancy=0.2), [0, 1], found) == pytest.approx(2 - 2 * 0.2)


def test_length_is_lost_by_the_thousand_characters() -> None:
    assert worth(coverage(length=0.15), [0], [Hit(Chunk("1", "x" * 2000), 0.0)]) == pytest.approx(1 - 0.3)


# ---- The whole


def test_a_distractor_lowers_the_worth() -> None:
    copy = Chunk("copy", CELLIST.text + " More of it.", "Tamsin Orrell")
    found = hits(CELLIST, VILLAGE, TIDES, copy)
    assert worth(SetCoverage(), [0, 1, 3], found) < worth(SetCoverage(), [0, 1], found)


def test_a_chain_is_worth_more_than_its_chunks() -> None:
    found = hits(CELLIST, TIDES, VILLAGE)
    parts = worth(SetCoverage(), [0], found) + worth(SetCoverage(), [2], found)
    assert worth(SetCoverage(), [0, 2], found) > parts


def test_selectors_prepare_it_for_their_candidates() -> None:
    found = hits(CELLIST, TIDES, VILLAGE)
    scoring = Scoring(QUESTION, candidates(found, 1000, Cost()), SetCoverage())
    assert isinstance(scoring.utility, PreparedCoverage)
    assert scoring([(0, 2)]) == [worth(SetCoverage(), [0, 2], found)]


def test_the_chain_is_selected_rather_than_what_matches_next_best() -> None:
    selection = GreedyMarginal(SetCoverage(), 65).select(QUESTION, hits(CELLIST, TIDES, VILLAGE))
    assert [hit.chunk.id for hit in selection.hits] == ["cellist", "village"]


def test_without_preparation_a_combination_stands_for_all_candidates() -> None:
    found = hits(CELLIST, VILLAGE)
    assert SetCoverage()(QUESTION, [found, found[:1]]) == [
        worth(SetCoverage(), [0, 1], found),
        worth(SetCoverage(), [0], found[:1]),
    ]


def test_other_chunks_than_those_prepared_for_are_refused() -> None:
    with pytest.raises(ValueError, match="'tides'"):
        SetCoverage().prepared(QUESTION, hits(CELLIST))(QUESTION, [hits(TIDES)])


def test_nothing_can_be_prepared_for() -> None:
    assert SetCoverage().prepared(QUESTION, [])(QUESTION, []) == []


@pytest.mark.parametrize("weight", [-0.1, math.nan, math.inf])
def test_weights_are_numbers_from_0(weight: float) -> None:
    with pytest.raises(ValueError, match=f"bridge must be a number from 0, got {weight}"):
        SetCoverage(bridge=weight)


WORDS = st.lists(st.sampled_from(["Ashby Fen", "low", "tide.", "Kerrin", "", "été", "\n", "Pell?"]), max_size=8)
TEXTS = WORDS.map(" ".join)
SCORES = st.floats(-1e6, 1e6) | st.just(math.nan)


@st.composite
def found_hits(draw: st.DrawFn) -> tuple[Hit, ...]:
    parts = draw(st.lists(st.tuples(TEXTS, TEXTS, SCORES), min_size=1, max_size=6))
    return tuple(Hit(Chunk(str(place), text, title), score) for place, (text, title, score) in enumerate(parts))


@given(found_hits(), TEXTS, st.randoms(use_true_random=False))
def test_worth_is_finite_and_depends_on_the_set_alone(found: Combination, question: str, random: Any) -> None:
    utility = SetCoverage(entities=capitalised).prepared(question, found)
    combinations = [tuple(random.sample(found, random.randint(1, len(found)))) for _ in range(5)]
    together = utility(question, combinations)
    assert all(map(math.isfinite, together))
    assert [utility(question, [each])[0] for each in combinations] == together
    assert utility(question, [tuple(reversed(each)) for each in combinations]) == together
