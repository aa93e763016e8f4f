import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragloom.components.clue_reading import LONGEST, MOST_CLUES, ClueReading, alike, words

QUESTION = "Where does the engineer of the Varn Bridge live?"
MEMORY = "The Varn Bridge was designed by Edda Halloran, an engineer. She lives in Tolmouth with her sister."
INSTRUCTIONS = (
    "Write nothing but lines of the kind that the task asks for.\nSentences that the texts may hold about it #ab12:"
)
READING = ClueReading(QUESTION, MEMORY, INSTRUCTIONS)


def spans(reply: str, reading: ClueReading = READING, **options: bool) -> list[str]:
    return reading.lines(reply, least_words=4, **options)


@pytest.mark.parametrize(
    "line",
    [
        "- Edda Halloran built three bridges",
        "1. Edda Halloran built three bridges",
        "12) Edda Halloran built three bridges",
        "(3) Edda Halloran built three bridges",
        "[2] Edda Halloran built three bridges",
        "* **Edda Halloran built three bridges**",
        '1. "Edda Halloran built three bridges",',
        "\u2022 \u201cEdda Halloran built three bridges\u201d",
        "Clue 1: Edda Halloran built three bridges",
        "2. **Question 2:** Edda Halloran built three bridges",
        "> Edda Halloran built three bridges",
        "```\nEdda Halloran built three bridges\n```",
        '["Edda Halloran built three bridges"]',
        '```json\n{"clues": ["Edda Halloran built three bridges"]}\n```',
        '{"clues": [{"kind": "span", "text": "Edda Halloran built three bridges"}], "draft": null}',
        '[["Edda Halloran built three bridges"]]',
        "Here are the sentences you asked for:\nEdda Halloran built three bridges",
    ],
)
def test_a_clue_is_bare_whatever_is_put_around_it(line: str):
    assert spans(line) == ["Edda Halloran built three bridges"]


@pytest.mark.parametrize(
    "line",
    [
        "J. K. Rowling wrote the book",
        "1951 was a year of floods",
        '"Low Tide" was recorded in "Ashby"',
        "A. Halloran drew it all",
    ],
)
def test_what_looks_like_a_mark_and_is_none_stays(line: str):
    assert spans(line) == [line]


def test_lines_of_few_words_are_no_spans_but_can_be_questions():
    assert spans("Edda Halloran\nwas born there") == []
    assert READING.lines("Who was she?\nWhy not?", least_words=3) == ["Who was she?"]


def test_two_characters_without_spaces_between_them_are_a_word():
    reading = ClueReading("哈洛兰的家在哪里", "哈洛兰住在托尔茅斯 和她的妹妹一起。")
    assert spans("她\n哈洛兰住在托尔茅斯", reading) == ["哈洛兰住在托尔茅斯"]


def test_what_says_the_same_is_kept_once():
    reply = "Edda Halloran built the old bridge.\nedda halloran built an old bridge\nThe old bridge Edda Halloran built"
    assert spans(reply) == ["Edda Halloran built the old bridge."]
    assert READING.lines("Edda Halloran built the old bridge", least_words=4, known=[reply.splitlines()[0]]) == []


def test_the_question_said_twice_is_still_the_question():
    said = "The home of the engineer of the Varn Bridge is the home of the engineer of the Varn Bridge"
    assert spans(said, ClueReading("Where is the home of the engineer of the Varn Bridge?")) == []


def test_what_differs_in_a_name_is_not_the_same():
    questions = "When was Dovecote Mill by the river built?\nWhen was Larkhill Mill by the river built?"
    assert READING.lines(questions, least_words=3) == questions.splitlines()
    assert not alike("Who is the director of Jaws?", "Who is the mother of the director of Jaws?")


def test_the_question_itself_is_no_clue():
    assert READING.lines(f"1. {QUESTION}\nwhere does the engineer of the Varn bridge live", least_words=3) == []


@pytest.mark.parametrize(
    ("loop", "left"),
    [
        ("the bridge that she built and the bridge that she built and the bridge", "the bridge that she built and"),
        ("it is a very very very very very long bridge", "it is a very"),
        ("a bridge, a bridge, a bridge, a bridge", None),
    ],
)
def test_a_loop_is_cut_to_its_first_round(loop: str, left: str | None):
    assert spans(loop) == ([] if left is None else [left])


def test_a_clue_is_cut_where_it_becomes_a_page():
    page = " ".join(f"word{number}" for number in range(500))
    assert [len(words(clue)) for clue in spans(page)] == [LONGEST]


def test_no_more_clues_than_the_cap():
    assert len(spans("\n".join(f"Bridge number {n} crosses river{n}" for n in range(50)))) == MOST_CLUES


@pytest.mark.parametrize(
    "line",
    [
        "哈洛兰住在托尔茅斯的房子里",
        "Инженер моста жила в Тольмуте",
        "Der Ingenieur der Brücke wurde in dem Ort geboren",
    ],
)
def test_a_clue_in_a_language_that_neither_question_nor_memory_has_is_none(line: str):
    assert spans(line) == []
    assert spans(line, ClueReading(QUESTION, f"{line}, und das war von der Zeit")) == [line]


def test_names_of_other_languages_are_no_other_language():
    line = "Universidad de la República in Montevideo"
    assert spans(line) == [line]


def test_what_was_copied_from_the_instructions_is_no_clue_unless_the_memory_says_it():
    line = "Write nothing but lines of the kind"
    assert spans(line) == []
    assert spans(line, ClueReading(QUESTION, f"The sign says: {line}.", INSTRUCTIONS)) == [line]


def test_a_reply_that_goes_on_with_the_prompt_is_cut_there():
    reply = "Edda Halloran built three bridges\n\nQuestion #ab12: Who was her sister?\nHer sister was a painter too"
    assert spans(reply) == ["Edda Halloran built three bridges"]
    assert spans(reply.replace("ab12", "100a")) == ["Edda Halloran built three bridges"]  # a tag of its own making
    assert spans("Her song was #1 for a year\nIt was #12 in Ashby then") == [
        "Her song was #1 for a year",
        "It was #12 in Ashby then",
    ]


def test_the_last_line_of_a_reply_that_was_cut_off_is_unfinished():
    reply = "Edda Halloran built three bridges\nHer sister lived in the"
    assert spans(reply, cut_off=True) == ["Edda Halloran built three bridges"]
    assert spans("Edda Halloran built three", cut_off=True) == ["Edda Halloran built three"]


@pytest.mark.parametrize("reply", ["", "   \n", "...", "```\n```", "\u200b", "[]", "[[[[", "{}", "I", "\ud83d"])
def test_a_reply_that_says_nothing_gives_nothing(reply: str):
    assert spans(reply) == []
    assert READING.draft(reply if reply != "I" else "") == ""


@pytest.mark.parametrize(
    ("reply", "draft"),
    [
        ("Tolmouth\nQuestion: who else?", "Tolmouth"),
        ("Answer: in Tolmouth.", "in Tolmouth."),
        ("I don't know.", ""),
        ("unknown", ""),
        (QUESTION, ""),
        ("Question #ab12: What?", ""),
    ],
)
def test_a_draft_is_the_first_line_that_answers(reply: str, draft: str):
    assert READING.draft(reply) == draft


ODD = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(["1.", "- ", '"', "the", "bridge", "\n", "#ab12", "東京", "```", "[", "]", ":", QUESTION])
    ).map(" ".join),
)


@given(ODD, st.booleans())
@example("1. 1. 1. - - -" * 50, False)
def test_clues_are_bare_different_and_never_the_question_whatever_the_reply(reply: str, cut_off: bool):
    clues = spans(reply, cut_off=cut_off)
    assert len(clues) <= MOST_CLUES
    for place, clue in enumerate(clues):
        assert "\n" not in clue
        assert clue == clue.strip()
        assert len(words(clue)) >= 4
        assert len(words(clue)) <= LONGEST
        assert "#ab12" not in clue
        assert not alike(clue, QUESTION)
        assert not any(alike(clue, other) for other in clues[:place])
    assert spans(reply, cut_off=cut_off) == clues
