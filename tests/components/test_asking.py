import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scripted_endpoint import ScriptedEndpoint

import ragloom.components
from ragloom.components.asking import AskMarker, SelfAssessment, VerbalisedConfidence
from ragloom.components.gating import Observation, Signal
from ragloom.components.llm import Cached, OpenAILLM, ScriptedLLM
from ragloom.components.passage_prompts import Prompt
from ragloom.errors import BadReply, InputError, LLMError
from ragloom.store import Store
from ragloom.types import Answer, Options

PROMPTS = Path(ragloom.components.__file__).parent / "prompts"
QUESTION = "Who built {Dovecote} Mill? {question} {help}"
TODAY = date(2024, 2, 29)


def asked(reply: str, question: str = QUESTION) -> Observation:
    return AskMarker(ScriptedLLM([reply]))(question)


def confident(answer: str, confidence: float) -> Observation:
    return VerbalisedConfidence(ScriptedLLM([json.dumps({"answer": answer, "confidence": confidence})]))(QUESTION)


def reworded(name: str, folder: Path, **arguments: object) -> Prompt:
    """A packaged prompt with another word in it."""
    text = (PROMPTS / f"gate-{name}.txt").read_text(encoding="utf-8")
    file = folder / f"gate-{name}.txt"
    file.write_text(text.replace("Africa", "AFRICA").replace("Nile", "Congo"), encoding="utf-8")
    return Prompt.load(file, **arguments)  # type: ignore[arg-type]  # those of `load`


# ---- Answer, or ask


@pytest.mark.parametrize(
    "reply",
    ["LOOKUP", " lookup\n", '"LOOKUP".', "**LOOKUP**", "<LOOKUP>", "\u201eLOOKUP\u201c", "LOOKUP\n\nQuestion: Who?"],
)
def test_the_marker_fires_whatever_stands_around_it(reply: str):
    observation = asked(reply)
    assert observation == Observation({"ask_marker": 1.0}, note="marker")


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("The function LOOKUP of Excel", "The function LOOKUP of Excel"),
        ("Josiah Pell (no LOOKUP)", "Josiah Pell (no LOOKUP)"),
        ("Lookups", "Lookups"),
        ("Josiah Pell\nLOOKUP", "Josiah Pell"),
        ("\n Josiah Pell\nof Ashby Fen", "Josiah Pell"),
        ("ヨシア・ペル", "ヨシア・ペル"),
    ],
)
def test_a_real_answer_is_kept_for_the_mode_without_passages(reply: str, text: str):
    observation = asked(reply)
    assert observation == Observation({"ask_marker": 0.0}, {"none": Answer(text)})


@pytest.mark.parametrize(
    ("reply", "phrase"),
    [("I don\u2019t know.", "i don't know"), ("Unknown", "unknown"), ("我不知道。", "我不知道")],
)
def test_a_reply_that_knows_nothing_asks_for_help(reply: str, phrase: str):
    assert asked(reply) == Observation({"ask_marker": 1.0}, note=f"does not know: {phrase}")


@pytest.mark.parametrize("reply", ["", "  \n", "[1]"])
def test_an_empty_reply_asks_for_help(reply: str):
    assert asked(reply) == Observation({"ask_marker": 1.0}, note="empty")


@pytest.mark.parametrize("fault", ["empty-content", "blank-content", "null-content"])
def test_an_empty_reply_of_a_server_asks_for_help(fault: str):
    with ScriptedEndpoint(script=lambda _: fault) as endpoint:
        observation = AskMarker(OpenAILLM("scripted", endpoint.base_url, backoff_s=0.001))(QUESTION)
    assert observation.note == "empty"


@pytest.mark.parametrize("fault", ["html", "no-choices", "odd-finish"])
def test_a_malformed_reply_is_no_call_for_help(fault: str):
    with ScriptedEndpoint(script=lambda _: fault) as endpoint:
        signal = AskMarker(OpenAILLM("scripted", endpoint.base_url, backoff_s=0.001))
        with pytest.raises(BadReply):
            signal(QUESTION)


def test_the_phrases_that_ask_for_help_can_be_others():
    signal = AskMarker(ScriptedLLM(["I don't know", "keine Ahnung"]), unknowing=("keine Ahnung",))
    assert [signal("q").note for _ in range(2)] == ["", "does not know: keine Ahnung"]


@pytest.mark.parametrize("question", [QUESTION, "東京の人口は", "Wer schrieb {fence}?\n## user"])
def test_a_question_stands_in_the_prompt_as_it_is(question: str):
    llm = ScriptedLLM(lambda _: '{"answer": "yes", "confidence": 1}')
    for signal in (AskMarker(llm), SelfAssessment(llm, today=TODAY), VerbalisedConfidence(llm)):
        signal(question)
    assert all(f"Question: {question}\n" in request[-1]["content"] for request in llm.requests)
    assert all("{help}" not in turn["content"] for request in llm.requests for turn in request[:-1])


@given(st.text())
@example("LOOKUP LOOKUP")
@example("\ud800")
def test_any_reply_either_asks_or_answers(reply: str):
    observation = asked(reply, "q")
    fired = observation.features["ask_marker"]
    assert fired in {0.0, 1.0}
    assert bool(observation.note) == bool(fired)
    assert ("none" in observation.answers) == (not fired)
    assert all(answer.text in reply for answer in observation.answers.values())


@given(
    st.text(alphabet=" \t\n\"'`*.,:;!?<>[](){}_-\u201c\u201d\u300c\u300d"), st.text(alphabet=" \"'`*.!<>_\u201d\u300d")
)
def test_marks_around_the_marker_never_hide_it(before: str, after: str):
    lines = before.split("\n")
    if any(line.strip() for line in lines[:-1]):
        before = lines[-1]
    assert asked(f"{before}LOOKUP{after}").note == "marker"


# ---- Outside information


@pytest.mark.parametrize(
    "reply", ["yes", "Yes.", "[Yes]", "**yes**, because", "It is recent, so yes", "Yes or no? Yes"]
)
def test_yes_is_a_need(reply: str):
    assert SelfAssessment(ScriptedLLM([reply]))(QUESTION) == Observation({"self_assessment": 1.0})


@pytest.mark.parametrize("reply", ["no", "No.", "[no]", "no, yes was wrong", "The answer is: no"])
def test_no_is_none(reply: str):
    assert SelfAssessment(ScriptedLLM([reply]))(QUESTION) == Observation({"self_assessment": 0.0})


@pytest.mark.parametrize("reply", ["maybe", "either yes or no", "know", "...", "是"])
def test_neither_yes_nor_no_is_a_bad_reply(reply: str):
    with pytest.raises(BadReply, match="neither 'yes' nor 'no'"):
        SelfAssessment(ScriptedLLM([reply]))(QUESTION)


def test_the_prompt_tells_the_date_and_shows_both_replies_twice():
    llm = ScriptedLLM(["no"])
    SelfAssessment(llm, today=TODAY)(QUESTION)
    *shown, last = llm.requests[0]
    assert last["content"].startswith("Today is 2024-02-29.\n")
    assert sorted(turn["content"] for turn in shown if turn["role"] == "assistant") == ["no", "no", "yes", "yes"]


def test_without_a_date_it_is_the_day_of_the_call():
    llm = ScriptedLLM(["no"])
    before = datetime.now(UTC).date()
    SelfAssessment(llm)(QUESTION)
    told = date.fromisoformat(llm.requests[0][-1]["content"][len("Today is ") :][:10])
    assert abs(told - before) <= timedelta(days=1)


def test_a_reply_is_kept_for_one_day(tmp_path: Path):
    llm = ScriptedLLM(lambda _: "no")
    with Store.open(tmp_path) as store:
        cached = Cached(llm, store)
        for day in (TODAY, TODAY, TODAY + timedelta(days=1)):
            SelfAssessment(cached, today=day)(QUESTION)
    assert llm.calls == 2


# ---- Confidence


@pytest.mark.parametrize(("confidence", "doubt"), [(100, 0.0), (0, 1.0), (75, 0.25), (12.5, 0.875)])
def test_doubt_is_what_confidence_lacks(confidence: float, doubt: float):
    assert confident("Josiah Pell", confidence) == Observation(
        {"confidence_doubt": doubt}, {"none": Answer("Josiah Pell")}
    )


def test_an_answer_that_is_not_known_is_full_doubt_however_sure():
    observation = confident("I do not know", 95)
    assert observation.features == {"confidence_doubt": 1.0}
    assert observation.answers["none"].abstained
    assert observation.note == "does not know: I do not know"


def test_an_empty_answer_is_full_doubt_and_no_answer():
    assert confident(" ", 95) == Observation({"confidence_doubt": 1.0}, note="empty")


def test_a_reply_of_another_form_is_asked_for_once_more():
    llm = ScriptedLLM(["Josiah Pell, 80 %", '{"answer": "Josiah Pell", "confidence": 80}'])
    assert VerbalisedConfidence(llm)(QUESTION).features["confidence_doubt"] == pytest.approx(0.2)
    assert llm.calls == 2


@pytest.mark.parametrize("confidence", ["101", "-1", '"high"', "NaN", "null", "true"])
def test_a_confidence_that_is_none_is_a_bad_reply(confidence: str):
    with pytest.raises(BadReply):
        VerbalisedConfidence(ScriptedLLM([f'{{"answer": "x", "confidence": {confidence}}}'] * 2))(QUESTION)


@given(st.text(), st.floats(0, 100))
def test_doubt_lies_between_0_and_1_for_every_answer(answer: str, confidence: float):
    assert 0 <= confident(answer, confidence).features["confidence_doubt"] <= 1


@given(st.text())
def test_any_reply_is_a_doubt_or_a_bad_reply(reply: str):
    signal = VerbalisedConfidence(ScriptedLLM([reply, reply]))
    try:
        doubt = signal("q").features["confidence_doubt"]
    except BadReply:
        return
    assert 0 <= doubt <= 1


# ---- All of them

SIGNALS = [(AskMarker, "ask", {"phrase": "help"}), (VerbalisedConfidence, "confidence", {})]
SIGNALS += [(SelfAssessment, "need", {"phrase": "need", "slots": ("today",)})]


@pytest.mark.parametrize(("make", "name", "loading"), SIGNALS)
def test_identity_is_model_prompt_and_options(make, name: str, loading, tmp_path: Path):
    llm = ScriptedLLM([])
    ours = make(llm).identity
    other_options = make(llm, options=Options(temperature=0.1)).identity
    other_prompt = make(llm, prompt=reworded(name, tmp_path, **loading)).identity
    assert len({ours, other_options, other_prompt, make(ScriptedLLM([], identity="other")).identity}) == 4
    assert make(ScriptedLLM(["x"])).identity == ours
    assert str(PROMPTS) not in ours


@pytest.mark.parametrize(("make", "name", "loading"), SIGNALS)
def test_identity_does_not_depend_on_where_the_prompt_lies(make, name: str, loading, tmp_path: Path):
    copy = tmp_path / "mine.txt"
    copy.write_bytes((PROMPTS / f"gate-{name}.txt").read_bytes())
    assert make(ScriptedLLM([]), prompt=Prompt.load(copy, **loading)).identity == make(ScriptedLLM([])).identity


def test_identity_holds_the_date_only_where_one_was_given():
    llm = ScriptedLLM([])
    dates = [SelfAssessment(llm, today=day).identity for day in (None, TODAY, TODAY + timedelta(days=1))]
    assert len(set(dates)) == 3


def test_identity_holds_the_phrases_that_ask_for_help():
    assert AskMarker(ScriptedLLM([]), unknowing=("pass",)).identity != AskMarker(ScriptedLLM([])).identity


@pytest.mark.parametrize("make", [AskMarker, SelfAssessment, VerbalisedConfidence])
def test_an_empty_question_is_refused_before_the_model_is_asked(make):
    llm = ScriptedLLM([])
    with pytest.raises(InputError, match="empty"):
        make(llm)(" ")
    assert llm.calls == 0


@pytest.mark.parametrize("make", [AskMarker, SelfAssessment, VerbalisedConfidence])
def test_a_model_that_cannot_be_asked_is_an_error(make):
    with pytest.raises(LLMError, match="the script has 0 replies"):
        make(ScriptedLLM([]))(QUESTION)


@pytest.mark.parametrize("make", [AskMarker, SelfAssessment, VerbalisedConfidence])
def test_what_is_measured_is_what_was_announced(make):
    signal: Signal = make(ScriptedLLM(lambda _: '{"answer": "yes", "confidence": 5}'))
    assert tuple(signal(QUESTION).features) == signal.features
    assert signal.needs == frozenset()
