import bm25s  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from Stemmer import Stemmer  # type: ignore[import-not-found]

from ragloom.components.tokenizing import STOP_WORDS, Tokenizer, searchable
from ragloom.types import Chunk

WORDS = st.sampled_from(
    ["The", "film", "Films", "director", "directed", "who", "İstanbul", "naïve", "12", "it's", "ﬁre", "東京"]
)
TEXTS = st.lists(st.lists(WORDS | st.text(max_size=6), max_size=12).map(" ".join), max_size=6)
TOKENIZERS = st.builds(Tokenizer, stem=st.booleans(), stop_words=st.booleans())


def test_searched_text_is_title_and_text_on_lines_of_their_own() -> None:
    assert searchable(Chunk("1", "A shark.", "Jaws")) == "Jaws\nA shark."
    assert searchable(Chunk("1", "A shark.")) == "A shark."


@pytest.mark.parametrize(
    ("tokenizer", "tokens"),
    [
        (Tokenizer(stem=False, stop_words=False), ["the", "films", "of", "1975_b", "it", "s", "jaws"]),
        (Tokenizer(stem=False), ["films", "1975_b", "s", "jaws"]),
        (Tokenizer(stop_words=False), ["the", "film", "of", "1975_b", "it", "s", "jaw"]),
        (Tokenizer(), ["film", "1975_b", "s", "jaw"]),
    ],
)
def test_words_are_lowered_and_optionally_stemmed_and_thinned(tokenizer: Tokenizer, tokens: list[str]) -> None:
    assert tokenizer("The films of 1975_b: it's JAWS!") == tokens


@pytest.mark.parametrize("text", ["", " \n\t", "?!…", "\0", "\ud800", "the of Who"])
def test_text_without_words_that_are_kept_has_no_tokens(text: str) -> None:
    assert Tokenizer()(text) == []


def test_lone_surrogates_and_nul_only_separate_words() -> None:
    assert Tokenizer()("red\ud800green\0blue") == ["red", "green", "blue"]


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert Tokenizer()("Cafe\u0301") == Tokenizer()("Caf\u00e9") == ["café"]


def test_a_long_text_keeps_every_token() -> None:
    assert Tokenizer(stem=False)("word " * 200_000) == ["word"] * 200_000


@given(TEXTS, TOKENIZERS)
def test_numbered_tokens_are_those_of_the_texts(texts: list[str], tokenizer: Tokenizer) -> None:
    numbers, vocabulary = tokenizer.numbered(texts)
    tokens = {number: token for token, number in vocabulary.items()}
    assert [[tokens[number] for number in text] for text in numbers] == [tokenizer(text) for text in texts]
    assert sorted(tokens) == list(range(len(vocabulary)))


@pytest.mark.parametrize("stem", [False, True])
@given(text=st.lists(WORDS, max_size=20).map(" ".join))
def test_tokens_are_those_of_bm25s(text: str, stem: bool) -> None:
    expected = bm25s.tokenize(
        text.lower(),
        token_pattern=r"\w+",
        stopwords=sorted(STOP_WORDS),
        stemmer=Stemmer("english") if stem else None,
        return_ids=False,
        show_progress=False,
    )
    assert Tokenizer(stem=stem)(text) == expected[0]
