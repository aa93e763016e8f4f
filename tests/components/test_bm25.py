import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import bm25s  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi  # type: ignore[import-untyped]

from ragloom.components.bm25 import BM25, Variant
from ragloom.components.tokenizing import Tokenizer
from ragloom.errors import IndexMismatch
from ragloom.types import Chunk

PLAIN = Tokenizer(stem=False, stop_words=False)
VARIANTS: tuple[Variant, ...] = ("lucene", "okapi")

TREES = ["ash", "birch", "cedar", "elm", "fir", "oak", "pine", "yew"]
WORDS = st.sampled_from(TREES)
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), max_size=30)
QUERIES = st.lists(WORDS | st.sampled_from(["rose", "tulip"]), max_size=6).map(" ".join)


def chunks_of(texts: Sequence[str]) -> list[Chunk]:
    return [Chunk(f"c{number}", text) for number, text in enumerate(texts)]


def build(texts: Sequence[str], variant: Variant = "lucene", k1: float = 1.5, b: float = 0.75) -> BM25:
    return BM25(chunks_of(texts), variant=variant, k1=k1, b=b, tokenizer=PLAIN)


def found(retriever: BM25, query: str, k: int) -> list[tuple[str, float]]:
    return [(hit.chunk.id, hit.score) for hit in retriever(query, k)]


def ids(retriever: BM25, query: str, k: int) -> list[str]:
    return [hit.chunk.id for hit in retriever(query, k)]


def lucene_scores(texts: Sequence[str], query: str, k1: float = 1.5, b: float = 0.75) -> dict[str, float]:
    """The formula as it is written, of the chunks that share a word with the query."""
    documents = [text.split() for text in texts]
    average = sum(map(len, documents)) / len(documents)
    frequency = {word: sum(word in document for document in documents) for word in query.split()}
    scores = {}
    for number, document in enumerate(documents):
        tf = Counter(document)
        score = 0.0
        for word in query.split():
            idf = math.log(1 + (len(documents) - frequency[word] + 0.5) / (frequency[word] + 0.5))
            score += idf * tf[word] / (tf[word] + k1 * (1 - b + b * len(document) / average)) if tf[word] else 0
        if score:
            scores[f"c{number}"] = score
    return scores


# ---- The formulas


def test_lucene_example_computed_by_hand() -> None:
    # "oak" is in 2 of 3 chunks of 2, 1 and 3 words: idf = ln(1 + 1.5/2.5) = 0.4700; norms 1.5, 0.9375 and 2.0625
    [best, second] = build(["oak elm", "oak", "elm fir yew"])("oak", 5)
    assert (best.chunk.id, second.chunk.id) == ("c1", "c0")
    assert best.score == pytest.approx(0.470004 / 1.9375, rel=1e-5)
    assert second.score == pytest.approx(0.470004 / 2.5, rel=1e-5)


@given(TEXTS, QUERIES, st.sampled_from([0.0, 0.9, 1.5]), st.sampled_from([0.0, 0.4, 1.0]))
def test_lucene_scores_are_those_of_the_formula(texts: list[str], query: str, k1: float, b: float) -> None:
    hits = dict(found(build(texts, "lucene", k1, b), query, len(texts) + 1))
    assert hits == pytest.approx(lucene_scores(texts, query, k1, b) if any(texts) else {}, rel=1e-5)


@given(TEXTS.filter(any), QUERIES)
def test_okapi_scores_are_those_of_rank_bm25_where_its_idf_is_positive(texts: list[str], query: str) -> None:
    oracle = BM25Okapi([text.split() for text in texts])
    known = [word for word in query.split() if oracle.idf.get(word, 1) > 0]
    expected = dict(enumerate(oracle.get_scores(known).tolist()))
    hits = found(build(texts, "okapi"), " ".join(known), len(texts))
    assert dict(hits) == pytest.approx({f"c{place}": score for place, score in expected.items() if score}, rel=1e-5)


@given(TEXTS.filter(any), QUERIES)
def test_lucene_scores_are_those_of_bm25s(texts: list[str], query: str) -> None:
    oracle = bm25s.BM25(method="lucene")
    oracle.index([text.split() for text in texts], show_progress=False)
    known = [word for word in query.split() if word in oracle.vocab_dict]
    scores = oracle.get_scores(known).tolist() if known else []
    expected = {f"c{place}": score for place, score in enumerate(scores) if score}
    assert dict(found(build(texts), query, len(texts))) == pytest.approx(expected, rel=1e-5)


@given(TEXTS, WORDS)
def test_both_variants_order_chunks_alike_for_one_word(texts: list[str], word: str) -> None:
    assert ids(build(texts), word, 30) == ids(build(texts, "okapi"), word, 30)


@pytest.mark.parametrize(
    "texts", [["oak elm"], ["oak elm", "oak yew"], ["oak", "elm"], ["oak oak elm", "oak elm", "yew"]]
)
def test_okapi_finds_words_whose_idf_rank_bm25_has_at_zero_or_below(texts: list[str]) -> None:
    oracle = BM25Okapi([text.split() for text in texts])
    assert min(oracle.get_scores(["oak"])) <= 0
    hits = build(texts, "okapi")("oak", 5)
    assert {hit.chunk.text for hit in hits} == {text for text in texts if "oak" in text}
    assert all(hit.score > 0 for hit in hits)


def test_more_of_a_common_word_is_better_in_either_variant() -> None:
    for variant in VARIANTS:
        assert ids(build(["oak elm elm", "oak oak elm"], variant), "oak", 2) == ["c1", "c0"]


def test_title_is_searched() -> None:
    [hit] = BM25([Chunk("1", "A shark.", "Jaws"), Chunk("2", "A whale.", "Moby Dick")])("the film Jaws", 5)
    assert hit.chunk.id == "1"


# ---- What comes back


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, query=QUERIES, k=st.integers(1, 40))
def test_hits_are_the_first_k_of_all_that_share_a_word(variant: Variant, texts: list[str], query: str, k: int) -> None:
    retriever = build(texts, variant)
    hits = found(retriever, query, k)
    everything = found(retriever, query, len(texts) + 1)
    assert hits == everything[:k]
    assert {chunk_id for chunk_id, _ in everything} == {
        f"c{number}" for number, text in enumerate(texts) if set(text.split()) & set(query.split())
    }
    order = [(-score, int(chunk_id[1:])) for chunk_id, score in everything]
    assert order == sorted(order)
    assert all(score > 0 for _, score in everything)


@pytest.mark.parametrize("k", [1, 7, 60, 500, 3000])
def test_ties_keep_corpus_order_at_every_cut(k: int) -> None:
    # A large corpus, in which the best are chosen from groups: every third chunk ties at the top, the next ones below.
    texts = [["oak oak yew", "oak fir yew", "elm fir yew"][number % 3] for number in range(3000)]
    expected = [f"c{number}" for number in [*range(0, 3000, 3), *range(1, 3000, 3)]]
    assert ids(build(texts), "oak", k) == expected[:k]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 50, 1000]))
def test_best_of_a_large_corpus_are_those_of_sorting_it(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    texts = [" ".join(random.choice(TREES, random.integers(0, 6))) for _ in range(2500)]
    scores = lucene_scores(texts, "oak yew")
    hits = found(build(texts), "oak yew", k)
    assert [score for _, score in hits] == pytest.approx(sorted(scores.values(), reverse=True)[:k], rel=1e-5)
    assert dict(hits) == pytest.approx({chunk_id: scores[chunk_id] for chunk_id, _ in hits}, rel=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("texts", [[], [""], ["", " ", "?!"]])
def test_corpus_without_words_finds_nothing(variant: Variant, texts: list[str]) -> None:
    assert build(texts, variant)("oak", 3) == []


@pytest.mark.parametrize("query", ["", " ", "?", "rose", "\ud800", "\0"])
def test_query_without_known_words_finds_nothing(query: str) -> None:
    assert build(["oak", "elm"])(query, 3) == []


def test_blank_chunks_among_others_are_never_found() -> None:
    assert ids(build(["", "oak", " ", "oak elm"]), "oak elm", 9) == ["c3", "c1"]


def test_a_word_counts_as_often_as_the_query_holds_it() -> None:
    retriever = build(["oak", "elm", "yew"])
    [once] = retriever("oak", 1)
    [often] = retriever("oak " * 200_000, 1)  # 1 MB
    assert often.score == pytest.approx(200_000 * once.score, rel=1e-5)


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        build(["oak"])("oak", k)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"variant": "bm11"}, "variant must be one of lucene, okapi, got 'bm11'"),
        ({"k1": -0.5}, "k1 must be a number from 0, got -0.5"),
        ({"k1": math.nan}, "k1 must be a number from 0, got nan"),
        ({"b": 1.5}, r"b must be from 0 to 1, got 1\.5"),
    ],
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BM25([], **setting)  # type: ignore[arg-type]  # on purpose


# ---- Saving


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("texts", [["oak elm", "Naïve 東京 oak", ""], []])
def test_saved_index_finds_the_same(tmp_path: Path, variant: Variant, texts: list[str]) -> None:
    built = BM25(chunks_of(texts), variant=variant, k1=0.9, b=0.4, tokenizer=Tokenizer(stem=False))
    built.save(tmp_path)
    loaded = BM25.load(tmp_path, chunks_of(texts))
    for query in ("oak", "naïve elm", "東京", "who", "rose"):
        assert found(loaded, query, 5) == found(built, query, 5)
    assert (loaded.variant, loaded.k1, loaded.b, loaded.tokenizer) == (variant, 0.9, 0.4, Tokenizer(stem=False))


def test_saved_files_are_json_and_plain_arrays_and_the_same_every_time(tmp_path: Path) -> None:
    def saved(name: str) -> Iterator[tuple[str, bytes]]:
        folder = tmp_path / name
        folder.mkdir()
        build(["oak elm", "elm yew"]).save(folder)
        for file in sorted(folder.iterdir()):
            if file.suffix == ".npy":
                assert np.load(file, allow_pickle=False).dtype.kind in "if"
            else:
                json.loads(file.read_text(encoding="utf-8"))
            yield file.name, file.read_bytes()

    assert dict(saved("once")) == dict(saved("again"))


@pytest.mark.parametrize("texts", [["oak"], ["elm", "oak"], ["oak", "elm", "yew"]])
def test_index_of_other_chunks_is_refused(tmp_path: Path, texts: list[str]) -> None:
    BM25([Chunk(text, text) for text in ("oak", "elm")]).save(tmp_path)
    with pytest.raises(IndexMismatch, match="was built from other chunks; build it again"):
        BM25.load(tmp_path, [Chunk(text, text) for text in texts])
