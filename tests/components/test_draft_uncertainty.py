import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scripted_endpoint import ScriptedEndpoint

import ragloom.components
from ragloom.components.draft_uncertainty import DraftUncertainty, uncertainty
from ragloom.components.gate_rules import Fixed, Threshold
from ragloom.components.gating import FirstUsable, Signal, SignalGate, SignalMissing
from ragloom.components.llm import Cached, OpenAILLM, ScriptedLLM
from ragloom.components.local_server import LocalLLM
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import PromptReader
from ragloom.errors import BadReply, InputError, RequestRefused
from ragloom.pipelines.question_answering import ClosedBook
from ragloom.store import Store
from ragloom.types import Options, Reply, RunRecord, TokenLogprob

PROMPTS = Path(ragloom.components.__file__).parent / "prompts"
QUESTION = "Wer schrieb »Faust«?"
MARGIN, ENTROPY, LEAST, PERPLEXITY = ("draft_margin", "draft_entropy", "draft_least", "draft_perplexity")
NAN = pytest.approx(math.nan, nan_ok=True)


def token(text: str, *probabilities: float) -> TokenLogprob:
    """A token with the first probability, among alternatives with all of them."""
    others = [(f"{text} or {rank}", math.log(p)) for rank, p in enumerate(probabilities[1:], 1)]
    return TokenLogprob(text, math.log(probabilities[0]), ((text, math.log(probabilities[0])), *others))


def drafted(text: str, tokens: Sequence[TokenLogprob] | None, **options: object) -> DraftUncertainty:
    reply = Reply(text, logprobs=None if tokens is None else tuple(tokens), model="tiny")
    return DraftUncertainty(ScriptedLLM([reply]), **options)  # type: ignore[arg-type]  # its own


# ---- Numbers


def test_two_tokens_by_hand():
    measured = uncertainty([token("Goe", 0.7, 0.2), token("the", 0.5, 0.5)])
    assert measured == {
        MARGIN: pytest.approx((0.5 + 1.0) / 2),
        ENTROPY: pytest.approx((0.249672 + 0.321888 + 0.230259 + 0.693147) / 2, abs=1e-5),
        LEAST: pytest.approx(math.log(2)),
        PERPLEXITY: pytest.approx(1 / math.sqrt(0.7 * 0.5)),
    }


def test_a_sure_token_has_no_uncertainty():
    assert uncertainty([token("yes", 1.0)]) == {MARGIN: 0.0, ENTROPY: 0.0, LEAST: 0.0, PERPLEXITY: 1.0}


def test_a_token_that_was_chosen_against_the_odds_is_surprising_but_no_more_unsure():
    chosen = TokenLogprob("b", math.log(0.1), (("a", math.log(0.8)), ("b", math.log(0.1))))
    assert uncertainty([chosen])[MARGIN] == pytest.approx(0.3)
    assert uncertainty([chosen])[LEAST] == pytest.approx(math.log(10))


def test_a_chosen_token_that_is_not_among_the_alternatives_counts_as_one():
    rare = TokenLogprob("c", math.log(0.1), (("a", math.log(0.6)), ("b", math.log(0.3))))
    entropy = -sum(p * math.log(p) for p in (0.6, 0.3, 0.1))
    assert uncertainty([rare])[ENTROPY] == pytest.approx(entropy)


@pytest.mark.parametrize(("chosen", "margin"), [(0.9, 0.2), (0.5, 1.0), (0.2, 1.0)])
def test_without_alternatives_all_others_stand_for_the_second(chosen: float, margin: float):
    assert uncertainty([TokenLogprob("a", math.log(chosen))])[MARGIN] == pytest.approx(margin)


@pytest.mark.parametrize("logprob", [-math.inf, -9999.0, -20.8])
def test_tiny_probabilities_count_as_one_in_a_billion(logprob: float):
    measured = uncertainty([TokenLogprob("a", logprob, (("a", logprob), ("b", 0.0)))])
    assert measured[LEAST] == pytest.approx(math.log(1e9))
    assert measured[PERPLEXITY] == pytest.approx(1e9)
    assert measured[MARGIN] == pytest.approx(0, abs=1e-8)


def test_no_tokens_are_unknown():
    assert uncertainty([]) == {MARGIN: NAN, ENTROPY: NAN, LEAST: NAN, PERPLEXITY: NAN}


LOGPROBS = st.floats(max_value=0.001, allow_nan=False) | st.just(-math.inf)
TOKENS = st.builds(
    TokenLogprob, st.sampled_from("abc"), LOGPROBS, st.lists(st.tuples(st.sampled_from("abcd"), LOGPROBS)).map(tuple)
)


@given(st.lists(TOKENS, min_size=1))
@example([TokenLogprob("a", -1.0, tuple((letter, -1.0) for letter in "abcde"))])
def test_numbers_stay_in_their_ranges_whatever_a_server_says(tokens: list[TokenLogprob]):
    measured = uncertainty(tokens)
    most = max(len(token.alternatives) for token in tokens) + 2  # the chosen one, and what is left over
    assert 0 <= measured[MARGIN] <= 1
    assert -1e-12 <= measured[ENTROPY] <= math.log(most) + 1e-12
    assert 0 <= measured[LEAST] <= math.log(1e9) + 1e-9
    assert 1 <= measured[PERPLEXITY] <= 1e9 * (1 + 1e-6)
    assert math.log(measured[PERPLEXITY]) <= measured[LEAST] + 1e-9


@given(st.lists(st.floats(0.01, 0.99), min_size=1))
def test_the_order_of_tokens_does_not_matter(chosen: list[float]):
    forwards = [token(str(place), p, 1 - p) for place, p in enumerate(chosen)]
    assert uncertainty(forwards) == pytest.approx(uncertainty(forwards[::-1]))


# ---- Drafts


def test_the_draft_is_the_answer_of_the_mode_without_passages():
    signal = drafted("Johann Wolfgang Goethe [1]", [token("Johann", 0.5, 0.5)])
    observation = signal(QUESTION)
    assert observation.answers["none"].text == "Johann Wolfgang Goethe"
    assert observation.features["draft_words"] == 3.0
    assert observation.features["draft_unsure"] == 0.0
    assert observation.features[MARGIN] == 1.0
    assert tuple(observation.features) == signal.features


@pytest.mark.parametrize("text", ["I do not know", "I'm not sure.", "Ich weiß es nicht."])
def test_a_draft_that_admits_ignorance_says_so(text: str):
    assert drafted(text, [token("I", 0.9)])(QUESTION).features["draft_unsure"] == 1.0


def test_only_the_first_line_of_a_short_answer_counts():
    line = [token(" ", 0.1), token("\n", 0.1), token("Goe", 0.7, 0.2), token(" the", 0.5, 0.5), token(".\n", 0.7, 0.2)]
    rest = [token("Question", 0.001), token(":", 0.001)]
    measured = drafted("Goe the.\nQuestion:", [*line, *rest])(QUESTION).features
    assert {name: measured[name] for name in uncertainty(line[2:])} == uncertainty(line[2:])


def test_all_lines_of_a_long_answer_count():
    tokens = [token("Goethe", 0.7, 0.2), token("\n", 0.9), token("wrote", 0.5, 0.5)]
    measured = drafted("Goethe\nwrote", tokens, mode="long")(QUESTION).features
    assert measured[LEAST] == uncertainty(tokens)[LEAST]


def test_the_mark_of_the_end_is_no_token_of_the_draft():
    measured = drafted("Goethe", [token("Goethe", 0.9, 0.1), token("", 0.2, 0.1)])(QUESTION).features
    assert measured[LEAST] == pytest.approx(-math.log(0.9))


def test_without_tokens_the_uncertainty_is_unknown_and_the_words_are_not():
    observation = drafted("Goethe", [])(QUESTION)
    assert math.isnan(observation.features[MARGIN])
    assert observation.features["draft_words"] == 1.0
    assert observation.note == "no tokens"


def test_the_call_is_that_of_the_closed_book_pipeline_and_five_alternatives():
    with ScriptedEndpoint() as endpoint:
        llm = OpenAILLM("scripted", endpoint.base_url)
        observation = DraftUncertainty(llm)(QUESTION)
        answer = ClosedBook(PromptReader(llm))(QUESTION)
    ours, theirs = (request.body for request in endpoint.requests)
    assert ours == {**theirs, "logprobs": True, "top_logprobs": 5}
    assert observation.answers["none"] == replace(answer, run=RunRecord())
    assert observation.features[PERPLEXITY] == pytest.approx(math.exp(0.25))


def test_a_kept_draft_measures_the_same(tmp_path: Path):
    with ScriptedEndpoint() as endpoint, Store.open(tmp_path) as store:
        signal = DraftUncertainty(Cached(OpenAILLM("scripted", endpoint.base_url), store))
        assert signal(QUESTION) == signal(QUESTION)
        assert endpoint.count == 1


# ---- What cannot be measured


def test_a_model_without_log_probabilities_is_named():
    with pytest.raises(SignalMissing, match=r"tiny gives no log-probabilities.*; use a server that gives them"):
        drafted("Goethe", None)(QUESTION)


def test_a_server_that_refuses_log_probabilities_lets_the_next_gate_decide():
    with ScriptedEndpoint(refuses={"logprobs": "logprobs are not supported by this model"}) as endpoint:
        signal = DraftUncertainty(OpenAILLM("scripted", endpoint.base_url))
        with pytest.raises(SignalMissing, match="scripted chat gives no log-probabilities"):
            signal(QUESTION)
        gate = SignalGate((signal,), Threshold(MARGIN, 0.5))
        assert FirstUsable((gate, SignalGate((), Fixed("single"))))(QUESTION).mode == "single"


def test_another_refusal_is_no_missing_signal():
    with ScriptedEndpoint(script=["400"]) as endpoint, pytest.raises(RequestRefused, match="maximum context length"):
        DraftUncertainty(OpenAILLM("scripted", endpoint.base_url))(QUESTION)


def test_an_empty_draft_is_a_bad_reply():
    with pytest.raises(BadReply):
        drafted(" ", [])(QUESTION)


def test_an_empty_question_is_refused():
    with pytest.raises(InputError, match="empty"):
        drafted("x", [])("\n")


def test_identity_is_model_mode_prompt_and_options(tmp_path: Path):
    llm = ScriptedLLM([])
    other = tmp_path / "other.txt"
    other.write_text(
        (PROMPTS / "closed-book-short.txt").read_text(encoding="utf-8").replace("Africa", "Asia"), encoding="utf-8"
    )
    signals = [
        DraftUncertainty(llm),
        DraftUncertainty(ScriptedLLM([], identity="other")),
        DraftUncertainty(llm, mode="long"),
        DraftUncertainty(llm, prompt=Prompt.load(other)),
        DraftUncertainty(llm, options=Options(temperature=0.0, max_tokens=20)),
        DraftUncertainty(llm, options=Options(temperature=0.0, logprobs=2)),
    ]
    assert len({signal.identity for signal in signals}) == len(signals)
    assert DraftUncertainty(llm, options=Options(temperature=0.0, logprobs=5)).identity == signals[0].identity
    announced: Signal = signals[0]
    assert announced.needs == {"logprobs"}


@pytest.mark.model
def test_the_local_model_is_surer_of_a_capital_than_of_a_stranger(local_model: LocalLLM):
    known, unknown = map(
        DraftUncertainty(local_model), ("What is the capital of France?", "What is Henry Feilden's occupation?")
    )
    answer = ClosedBook(PromptReader(local_model))("What is the capital of France?")
    assert known.answers["none"].text == answer.text == "Paris"
    assert known.features[MARGIN] < unknown.features[MARGIN]
    assert known.features[PERPLEXITY] < unknown.features[PERPLEXITY]
