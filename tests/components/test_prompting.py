from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragloom.components.prompting import Section, Template, fence, read_sections
from ragloom.errors import ConfigError

MARKS = st.sampled_from(
    ["{question}", "{text}", "{{7*7}}", "{0}", "%s", "%(a)s", "${ENV}", "{", "}", "{}", "\\1", "\n"]
)
DATA = st.lists(MARKS | st.text(max_size=5), max_size=6).map("".join)


def section(text: str) -> Section:
    return Section("user", text, "p.txt", 1, 2)


@given(question=DATA, text=DATA)
def test_data_reaches_the_prompt_unchanged_and_only_there(question: str, text: str):
    template = Template.parse(section('Say {"a": 1} {text} and {question}, %s!'), required=("text", "question"))
    assert template.fill({"question": question, "text": text}) == 'Say {"a": 1} ' + text + " and " + question + ", %s!"


def test_a_slot_may_come_twice_or_at_the_ends():
    template = Template.parse(section("{text}{text}-{text}"), required=("text",))
    assert template.fill({"text": "{text}"}) == "{text}{text}-{text}"
    assert template.slots == {"text"}


def test_an_unknown_slot_is_named_with_its_line(tmp_path: Path):
    path = tmp_path / "p.txt"
    path.write_text("what this is\n\n## user\n\nHello\n{qestion}\n", encoding="utf-8")
    (user,) = read_sections(path, ("user",))
    with pytest.raises(
        ConfigError, match=r"p\.txt, line 6: there is no slot \{qestion\}.*slots there are: \{question\}"
    ):
        Template.parse(user, required=("question",))


def test_a_missing_slot_is_named_with_the_line_of_its_section():
    with pytest.raises(ConfigError, match=r"p\.txt, line 1: '## user' lacks the slot \{question\}"):
        Template.parse(section("Hello"), required=("question",))


def test_sections_come_in_order_without_the_blank_lines_around_them(tmp_path: Path):
    path = tmp_path / "p.txt"
    path.write_bytes(b"\xef\xbb\xbf## one\r\n\r\na\r\n\r\nb\r\n\r\n## two \r\n### not a heading\r\n## one\r\n")
    sections = read_sections(path, ("one", "two"))
    assert [(part.name, part.text, part.line, part.text_line) for part in sections] == [
        ("one", "a\n\nb", 1, 3),
        ("two", "### not a heading", 7, 8),
        ("one", "", 9, 10),
    ]


def test_an_unknown_section_is_named_with_its_line(tmp_path: Path):
    path = tmp_path / "p.txt"
    path.write_text("\n## usre\nHello\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"p\.txt, line 2: there is no section '## usre'; the sections are system, user"
    ):
        read_sections(path, ("user", "system"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot read the prompt file .*none\.txt"):
        read_sections(tmp_path / "none.txt", ())
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"cannot read the prompt file .*bad\.txt"):
        read_sections(tmp_path / "bad.txt", ())


@given(st.lists(st.text(max_size=20), max_size=4))
def test_a_fence_is_not_in_the_data_and_always_the_same(data: list[str]):
    tag = fence(data)
    assert not any(tag in text for text in data)
    assert fence(data) == tag
    assert len(tag) >= 4


def test_a_fence_that_the_data_holds_is_passed_over():
    every_tag = "".join(f"{number:04x}" for number in range(0x10000))
    tag = fence([every_tag, "question"])
    assert tag not in every_tag
    assert len(tag) > 4


def test_fences_of_different_data_differ():
    assert len({fence([f"question {number}"]) for number in range(100)}) > 95
