from pathlib import Path

import pytest

from ragloom.components.passage_prompts import Prompt
from ragloom.errors import ConfigError
from ragloom.types import Chunk

MILL = Chunk("c-mill", "Dovecote Mill was built in 1792.", "Dovecote Mill")
ISLE = Chunk("c-isle", "Kerrin Island has 900 inhabitants.", "Kerrin Island")


def written(tmp_path: Path, text: str) -> Prompt:
    path = tmp_path / "prompt.txt"
    path.write_text(text, encoding="utf-8")
    return Prompt.load(path)


SMALL = """A small one.
## system
Be brief, or say: {abstain}.
## example user
Question {fence}: 1 + 1?
## example assistant
2
## passage
[{number}] {title} {fence}
{text}
## user
{passages}
Question {fence}: {question}
## abstain
unknown
"""


def test_a_prompt_file_becomes_a_conversation(tmp_path: Path):
    messages = written(tmp_path, SMALL).messages("Where?", [MILL, ISLE])
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "Be brief, or say: unknown."
    assert messages[2]["content"] == "2"
    tag = messages[1]["content"][len("Question ") :].partition(":")[0]
    assert messages[3]["content"] == (
        f"[1] Dovecote Mill {tag}\nDovecote Mill was built in 1792.\n\n"
        f"[2] Kerrin Island {tag}\nKerrin Island has 900 inhabitants.\nQuestion {tag}: Where?"
    )


def test_a_prompt_has_a_phrase_of_another_name_and_further_slots_where_they_are_asked_for(tmp_path: Path):
    file = tmp_path / "prompt.txt"
    file.write_text("## user\n{question} {mood}, or {other}\n## other\nno\n", encoding="utf-8")
    prompt = Prompt.load(file, phrase="other", slots=("mood",))
    assert prompt.phrase == "no"
    assert prompt.messages("Why?", [MILL], mood="{question}")[0]["content"] == "Why? {question}, or no"
    with pytest.raises(ConfigError, match=r"line 1: '## user' lacks the slot \{verb\}"):
        Prompt.load(file, phrase="other", slots=("mood", "verb"))


def test_as_many_passages_fit_as_their_whole_conversation_allows(tmp_path: Path):
    prompt = written(tmp_path, SMALL)
    sizes = [
        sum(len(turn["content"]) for turn in prompt.messages("Where?", [MILL, ISLE][:shown])) for shown in range(3)
    ]
    fitting = [
        prompt.fitting("Where?", [MILL, ISLE], context_tokens=limit, count_tokens=len)
        for limit in (None, sizes[2], sizes[2] - 1, sizes[1])
    ]
    assert fitting == [2, 2, 1, 1]
    assert prompt.fitting("Where?", [], context_tokens=sizes[0], count_tokens=len) == 0


def test_the_best_passages_that_fit_are_counted_where_they_stand(tmp_path: Path):
    prompt = written(tmp_path, SMALL)
    passages = [Chunk("c-cove", "A cove.", "Cove"), MILL, ISLE]

    def conversation(*places: int) -> list[str]:
        return [turn["content"] for turn in prompt.messages("Where?", [passages[place] for place in places])]

    counted: list[str] = []

    def count_tokens(text: str) -> int:
        counted.append(text)
        return len(text)

    for places in [(2,), (0, 2), (0, 1, 2)]:
        allowed = sum(map(len, conversation(*places)))
        fitting = prompt.fitting(
            "Where?", passages, context_tokens=allowed, count_tokens=count_tokens, best_first=[2, 0, 1]
        )
        assert fitting == len(places)
        assert set(conversation(*places)) <= set(counted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL.replace("## user", "## usr"), r"prompt\.txt, line 11: there is no section '## usr'"),
        (SMALL.replace("{question}", ""), r"line 11: '## user' lacks the slot \{question\}"),
        (SMALL.replace("{text}", "{txt}"), r"line 10: there is no slot \{txt\}"),
        (SMALL.replace("[{number}]", ""), r"line 8: '## passage' lacks the slot \{number\}"),
        (SMALL.replace("## abstain\nunknown", ""), r"prompt\.txt has no section '## abstain'"),
        (SMALL.replace("unknown", " "), r"line 14: '## abstain' is empty"),
        (SMALL + "## abstain\nnone\n", r"line 16: a second '## abstain'"),
        (SMALL.replace("## example assistant\n2\n", ""), r"line 4: the last example has no answer"),
        (SMALL.replace("example assistant", "example user"), r"line 6: expected '## example assistant' here"),
        (SMALL.replace("## passage\n[{number}] {title} {fence}\n{text}\n", ""), r"has no section '## passage'"),
    ],
)
def test_a_wrong_prompt_file_is_named_with_the_line(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        written(tmp_path, text)
