import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ragloom.components.completions import Api
from ragloom.components.llm import Cached, OpenAILLM, ScriptedLLM
from ragloom.components.local_server import LocalLLM, local_llm
from ragloom.components.memory_state import ReadAhead, read_ahead
from ragloom.errors import LLMError
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Message, Options, Reply

USER = Path(__file__).parents[1] / "support" / "memory_reader.py"
PEOPLE = ("Amalia", "Bruno", "Clara", "Dora", "Emil", "Frida", "Georg", "Hilda", "Ivo", "Jana")
MEMORY: list[Message] = [
    {"role": "user", "content": "\n".join(f"{name} lives in house {at} of the lane." for at, name in enumerate(PEOPLE))}
]
OTHER: list[Message] = [{"role": "user", "content": "Nobody knows what the baker of the village does at night."}]


def asks(question: str, memory: list[Message] = MEMORY) -> list[Message]:
    return [{"role": "user", "content": f"{memory[0]['content']}\n\nQuestion: {question}\nAnswer:"}]


def ask(llm: ReadAhead | LocalLLM, question: str, *, cache: bool = True) -> Reply:
    return llm(asks(question), max_tokens=8, temperature=0.0, logprobs=1, extra={"cache_prompt": cache})


def read(reply: Reply) -> int:
    """How many tokens of its prompt the server read for a reply."""
    return reply.usage.prompt_tokens - reply.usage.cached_tokens


def states(store: Store) -> list[Path]:
    return sorted(store.folder.glob("derived/memory-state-*/state"))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as store:
        yield store


@pytest.mark.model
def test_the_beginning_is_read_once_whatever_is_asked_in_between(local_model: LocalLLM, store: Store):
    llm = ReadAhead(local_model, MEMORY, store)
    with Run() as first:
        ask(llm, "Where does Clara live?")
    local_model(OTHER, max_tokens=4, temperature=0.0)
    second = ask(llm, "Who lives in house 7?")
    assert first.spent.calls == 2
    assert read(second) < 20
    assert second.usage.cached_tokens > 100
    step = first.record().spans[0]
    assert (step.name, step.attributes["tokens"]) == ("take up state", first.record().spans[1].attributes["tokens"] - 1)


@pytest.mark.model
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_what_was_read_before_is_counted_however_the_model_is_asked(
    local_model: LocalLLM, store: Store, api: Api, streamed: bool
):
    llm = ReadAhead(replace(local_model, api=api), MEMORY, store)
    options = Options(max_tokens=4, temperature=0.0)
    if streamed:
        options["on_text"] = [].append
    llm(asks("Where does Clara live?"), **options)
    with Run() as second:
        llm(asks("Who lives in house 7?"), **options)
    assert read(llm(asks("Who lives in house 3?"), **options)) < 25
    (taken,) = [step.attributes["cached_tokens"] for step in second.record().spans if step.name == "llm"]
    assert taken == second.spent.cached_tokens > 100


@pytest.mark.model
def test_replies_are_the_same_to_the_bit(local_model: LocalLLM, store: Store):
    llm = ReadAhead(local_model, MEMORY, store)
    for question in ("Where does Clara live?", "Who lives in house 7?", "Who lives in house 3?"):
        local_model(OTHER, max_tokens=4, temperature=0.0)
        taken_up, afresh = ask(llm, question), ask(local_model, question, cache=False)
        assert read(taken_up) < read(afresh) == afresh.usage.prompt_tokens
        assert (taken_up.text, taken_up.logprobs) == (afresh.text, afresh.logprobs)


@pytest.mark.model
def test_another_process_takes_up_what_this_one_read(local_model: LocalLLM, store: Store):
    reply = ask(ReadAhead(local_model, MEMORY, store), "Where does Clara live?")
    texts = MEMORY[0]["content"], asks("Where does Clara live?")[0]["content"]
    command = [sys.executable, "-W", "error", USER, store.folder, *texts]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said[0] == f"1 calls, {read(reply)} tokens read"
    assert said[1] == repr(reply.text)


@pytest.mark.model
def test_a_damaged_state_is_refused_and_the_memory_read_again(
    local_model: LocalLLM, store: Store, caplog: pytest.LogCaptureFixture
):
    ask(ReadAhead(local_model, MEMORY, store), "Where does Clara live?")
    (file,) = states(store)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with Run() as run, caplog.at_level(logging.WARNING):
        reply = ask(ReadAhead(local_model, MEMORY, store), "Where does Clara live?")
    assert "memory-state" in caplog.text
    assert "damaged" in caplog.text
    assert run.spent.calls == 2
    assert reply.text == ask(local_model, "Where does Clara live?", cache=False).text


@pytest.mark.model
def test_the_state_of_another_memory_or_model_is_not_used_and_goes(local_model: LocalLLM, store: Store):
    ask(ReadAhead(local_model, MEMORY, store), "Where does Clara live?")
    (first,) = states(store)
    ReadAhead(local_model, OTHER, store)(asks("Who knows?", OTHER), max_tokens=1, temperature=0.0)
    (second,) = states(store)
    assert first != second
    smaller = local_llm(context_tokens=512)
    with Run() as run:
        ReadAhead(smaller, OTHER, store)(asks("Who knows?", OTHER), max_tokens=1, temperature=0.0)
    smaller.server.close()
    assert run.spent.calls == 2
    assert states(store) != [second]
    assert len(states(store)) == 1


@pytest.mark.model
def test_a_file_that_is_no_state_is_refused_with_the_servers_words(local_model: LocalLLM, tmp_path: Path):
    file = tmp_path / "state"
    file.write_bytes(b"nothing of the kind")
    with pytest.raises(LLMError, match=r"refuses /slots/0\?action=restore: Unable to restore slot"):
        local_model.restore_state(file)


@pytest.mark.model
def test_a_server_that_died_takes_the_state_up_again(local_model: LocalLLM, store: Store):
    llm = ReadAhead(local_model, MEMORY, store)
    expected = ask(llm, "Where does Clara live?").text
    local_model.server.close()
    reply = ask(llm, "Where does Clara live?")
    assert reply.text == expected
    assert read(reply) < 20


@pytest.mark.model
def test_where_no_state_can_be_kept_the_model_reads_all_and_says_so(
    local_model: LocalLLM, store: Store, caplog: pytest.LogCaptureFixture
):
    long = [Message(role="user", content="word " * 2100)]  # more than the model can read
    with caplog.at_level(logging.WARNING):
        reply = ReadAhead(local_model, long, store)(asks("Where does Clara live?"), max_tokens=4, temperature=0.0)
    assert reply.text
    assert re.search(r"smollm2 reads its memory again: .*exceeds the available context size", caplog.text)
    assert states(store) == []


@pytest.mark.model
def test_the_way_that_a_state_takes_goes_with_the_server_and_where_it_is_gone_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = local_llm(context_tokens=512)
    tokens = model.save_state(MEMORY, tmp_path / "state")
    assert model.restore_state(tmp_path / "state") == tokens > 100
    (folder,) = tmp_path.glob("ragloom-states-*")
    assert [file.name for file in folder.iterdir()] == ["lock"]
    model.server.close()
    assert not folder.exists()
    model.server.url()
    (folder,) = tmp_path.glob("ragloom-states-*")
    shutil.rmtree(folder)
    with pytest.raises(LLMError, match="cannot be handed over"):
        model.restore_state(tmp_path / "state")
    model.server.close()


def test_only_a_model_on_this_machine_reads_ahead(store: Store):
    hosted, scripted, own = OpenAILLM("m", base_url="http://127.0.0.1:1/v1"), ScriptedLLM({}), local_llm()
    assert read_ahead(hosted, MEMORY, store) is hosted
    assert read_ahead(scripted, MEMORY, store) is scripted
    assert read_ahead(own, [], store) is own
    ahead = read_ahead(Cached(own, store), MEMORY, store)
    assert isinstance(ahead, Cached)
    assert isinstance(ahead.llm, ReadAhead)
