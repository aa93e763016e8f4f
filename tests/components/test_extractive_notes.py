import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.extractive_notes import ExtractiveNoteTaker
from ragloom.components.note_claims import Claim
from ragloom.components.tokenizing import Tokenizer
from ragloom.types import Chunk, Hit

ALBUM = Chunk(
    "album", "It was recorded in a barn. The songs are by the cellist Tamsin Orrell, of Salt Choir.", "Low Tide"
)
CELLIST = Chunk("cellist", "She was born in Penmarrow. Her brother is a baker.", "Tamsin Orrell")
VILLAGE = Chunk("village", "Penmarrow lies on Kerrin Island.", "Penmarrow")
NUMBERS = Chunk("numbers", "Ten is a number. So is Eleven.", "Ten")
QUESTION = "Where was the cellist of Low Tide born?"


def capitalised(chunk: Chunk) -> list[str]:
    """Runs of two capitalised words and more, and single ones that open no sentence."""
    return re.findall(r"[A-Z]\w+(?: [A-Z]\w+)+|(?<=[a-z,] )[A-Z]\w+", chunk.text)


TAKER = ExtractiveNoteTaker(capitalised)


def hits(*chunks: Chunk) -> list[Hit]:
    return [Hit(chunk, 1 / rank) for rank, chunk in enumerate(chunks, 1)]


# ---- Claims


def test_sentences_that_fit_the_question_become_claims_best_first():
    note = TAKER.begin(QUESTION, hits(NUMBERS, ALBUM)).note
    assert [claim.text for claim in note] == [
        "Low Tide: The songs are by the cellist Tamsin Orrell, of Salt Choir.",
        "Low Tide: It was recorded in a barn.",
    ]


def test_a_claim_points_at_its_sentence():
    for claim in TAKER.begin(QUESTION, hits(ALBUM)).note:
        assert claim.text == f"Low Tide: {ALBUM.text[claim.start : claim.end]}"
        assert claim.chunk_id == "album"


def test_a_passage_without_a_title_gives_bare_sentences():
    note = TAKER.begin("Who is a baker?", hits(Chunk("c", "A baker bakes. A miller mills."))).note
    assert note == (Claim("A baker bakes.", "c", 0, 14),)


def test_words_of_names_count_twice():
    passages = hits(Chunk("plain", "the cellist was born"), Chunk("named", "all of Low Tide"))
    assert [claim.chunk_id for claim in TAKER.begin(QUESTION, passages).note] == ["named", "plain"]  # 4 to 2


def test_a_passage_whose_title_the_question_holds_counts_more():
    passages = hits(Chunk("other", "A born cellist.", "Harbour"), Chunk("titled", "A born cellist.", "Cellist"))
    assert [claim.chunk_id for claim in TAKER.begin(QUESTION, passages).note] == ["titled", "other"]


def test_refining_keeps_every_claim_and_adds_those_of_its_step():
    first = TAKER.begin(QUESTION, hits(ALBUM)).note
    second = TAKER.refine(QUESTION, first, hits(NUMBERS, ALBUM, CELLIST), 1).note
    assert second[: len(first)] == first
    assert [(claim.text, claim.step) for claim in second[len(first) :]] == [
        ("Tamsin Orrell: She was born in Penmarrow.", 1),
        ("Tamsin Orrell: Her brother is a baker.", 1),
    ]


def test_what_is_said_of_a_name_in_the_note_need_not_repeat_the_question():
    question = "Where does the cellist of Low Tide come from?"
    assert TAKER.begin(question, hits(CELLIST)).note == ()
    note = TAKER.begin(question, hits(ALBUM)).note
    assert "Tamsin Orrell: She was born in Penmarrow." in [
        claim.text for claim in TAKER.refine(question, note, hits(CELLIST), 1).note
    ]


def test_no_more_claims_are_added_than_allowed():
    taker = ExtractiveNoteTaker(capitalised, claims=1)
    first = taker.begin(QUESTION, hits(ALBUM, CELLIST)).note
    assert len(first) == 1
    assert len(taker.refine(QUESTION, first, hits(CELLIST), 1).note) == 2


def test_a_sentence_that_two_chunks_share_is_one_claim():
    twice = [Chunk(name, "The cellist was born. Then she sang.", "Low Tide") for name in ("one", "two")]
    assert [claim.chunk_id for claim in TAKER.begin(QUESTION, hits(*twice)).note] == ["one", "one"]


def test_passages_without_a_word_of_the_question_give_an_empty_note():
    assert TAKER.begin(QUESTION, hits(NUMBERS, VILLAGE)).note == ()
    assert TAKER.begin(QUESTION, ()).note == ()


# ---- Plans


def test_names_of_the_note_are_searched_for_with_what_their_claims_do_not_cover():
    plan = TAKER.plan(QUESTION, TAKER.begin(QUESTION, hits(ALBUM)).note, ())
    assert plan.queries == ("Tamsin Orrell born", "Salt Choir born")
    assert plan.missing == ("born",)
    assert not plan.complete


def test_a_name_that_was_asked_about_is_not_asked_about_again():
    note = TAKER.begin(QUESTION, hits(ALBUM)).note
    assert TAKER.plan(QUESTION, note, ["Tamsin Orrell's songs"]).queries == ("Salt Choir born",)


def test_a_name_that_the_question_or_a_title_of_the_note_holds_is_not_followed():
    note = TAKER.begin(QUESTION, hits(ALBUM, CELLIST)).note
    assert TAKER.plan(QUESTION, note, ()).queries == ("Salt Choir born", "Penmarrow cellist Low Tide")
    assert TAKER.plan("Is Salt Choir of Penmarrow with Tamsin Orrell born?", note, ()).queries == ()


def test_a_note_is_complete_where_it_has_every_word_of_the_question_and_no_name_to_follow():
    note = TAKER.begin("Is ten a number?", hits(NUMBERS)).note
    complete = TAKER.plan("Is ten a number?", note[:1], ())
    assert (complete.queries, complete.missing, complete.complete) == ((), (), True)
    lacking = TAKER.plan("Is ten a big number?", note[:1], ())
    assert (lacking.queries, lacking.missing, lacking.complete) == ((), ("big",), False)


def test_an_empty_note_leads_nowhere_and_is_not_complete():
    plan = TAKER.plan(QUESTION, (), ())
    assert plan.queries == ()
    assert not plan.complete


# ---- Verdicts


def test_a_note_is_better_with_another_word_of_the_question_or_another_name():
    one, two = Claim("A cellist.", "c", 0, 10), Claim("She was born.", "c", 10, 23)
    named, plain = Claim("She lives in Penmarrow.", "c", 23, 46), Claim("She sleeps.", "c", 46, 57)
    assert TAKER.better(QUESTION, (one,), (one, two))
    assert TAKER.better(QUESTION, (one,), (one, named))
    assert not TAKER.better(QUESTION, (one,), (one, plain))


def test_a_note_is_better_once_it_is_about_what_it_only_named():
    named = Claim("The cellist is Tamsin Orrell.", "album", 0, 29)
    about = Claim("Tamsin Orrell: A cellist.", "cellist", 0, 10)
    assert TAKER.better(QUESTION, (named,), (named, about))


def test_no_note_is_better_than_itself():
    note = TAKER.begin(QUESTION, hits(ALBUM, CELLIST)).note
    assert not TAKER.better(QUESTION, note, note)


# ---- Whatever the text


WORDS = st.sampled_from(
    ["Low", "Tide", "cellist", "born.", "Tamsin", "Orrell", "was", "?", "\n", "Dr.", "é", "\u2028", "3."]
)
TEXTS = st.lists(WORDS | st.text(max_size=4), max_size=12).map(" ".join)
CHUNKS = st.lists(st.tuples(TEXTS, TEXTS), max_size=4).map(
    lambda texts: [Chunk(str(number), text, title) for number, (text, title) in enumerate(texts)]
)


@given(TEXTS, CHUNKS, CHUNKS)
def test_claims_have_exact_places_and_no_query_repeats_whatever_the_text(
    question: str, first: list[Chunk], second: list[Chunk]
):
    note = TAKER.begin(question, hits(*first)).note
    refined = TAKER.refine(question, note, hits(*second), 1).note
    assert refined[: len(note)] == note
    asked = set(Tokenizer()(question))
    known = {word for claim in note for word in Tokenizer()(claim.text)}
    for claims, chunks, step in ((note, first, 0), (refined[len(note) :], second, 1)):
        texts = {chunk.id: chunk for chunk in chunks}
        for claim in claims:
            assert claim.text.endswith(texts[claim.chunk_id].text[claim.start : claim.end])
            assert claim.step == step
            assert set(Tokenizer()(claim.text)) & (asked if step == 0 else asked | known)
    assert len({claim.text for claim in refined}) == len(refined)

    earlier: list[str] = []
    while queries := TAKER.plan(question, refined, earlier).queries:
        assert len(queries) <= 2
        assert not {" ".join(Tokenizer()(query)) for query in queries} & {
            " ".join(Tokenizer()(query)) for query in earlier
        }
        earlier += queries


def test_a_taker_adds_at_least_one_claim():
    with pytest.raises(ValueError, match="claims must be at least 1, got 0"):
        ExtractiveNoteTaker(capitalised, claims=0)
