import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.components.memory import Memory
from ragloom.errors import BudgetExceeded, EndpointUnreachable, InputError, RequestRefused
from ragloom.pipelines.memory_building import MemoryReport, StaleMemory, build_memory, open_memory
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget, Run
from ragloom.store import Store
from ragloom.types import Chunk, Document, content_id, document

DOCUMENTS = 90
FILLER = " It has stood there for a long time, and many have come to see it, to paint it and to go away again." * 3


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(answer=digest) as endpoint:
        yield endpoint


@pytest.fixture
def settings(tmp_path: Path, endpoint: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    return Settings(
        workspace=tmp_path / "workspace",
        memory="gists",
        model="strong",
        memory_model="light",
        base_url=endpoint.base_url,
        workers=2,
        deadline_s=5,
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.workspace) as store:
        put(store, range(DOCUMENTS))
        yield store


def digest(prompt: str) -> str:
    """What the passages of the last message say of mills."""
    return " ".join(re.findall(r"Mill \d+ was built in \d+\.", prompt))


def mill(number: int, year: int) -> tuple[Document, list[Chunk]]:
    whole = document(f"Mill {number} was built in {year}.{FILLER}", title=f"Mill {number}", source=f"{number:03}")
    return whole, [Chunk(content_id(whole.id, "0", whole.text), whole.text, whole.title, whole.id)]


def put(store: Store, numbers: Sequence[int], *, year: int = 1871) -> None:
    store.put_documents([mill(number, year) for number in numbers], origin="o", splitting="s")


def build(settings: Settings, store: Store, *, retry_failed: bool = False) -> MemoryReport:
    return build_memory(settings, store, retry_failed=retry_failed, progress=False)


def test_a_model_writes_each_entry_once_and_it_is_opened_as_it_was_written(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    report = build(settings, store)
    assert report.written == report.entries == endpoint.count > 5
    assert (report.reused, report.failed) == (0, [])
    memory = open_memory(settings, store)
    assert memory.key == report.key
    assert memory.corpus == store.corpus_id()
    assert {entry.by for entry in memory.entries} == {"model"}
    assert "Mill 7 was built in 1871." in memory.text
    assert {request.body["model"] for request in endpoint.requests} == {"light"}
    again = build(settings, store)
    assert (again.written, again.reused, again.key) == (0, report.entries, report.key)
    assert endpoint.count == report.entries


def test_a_changed_document_makes_a_memory_by_a_model_stale_until_its_groups_are_written(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    build(settings, store)
    asked = endpoint.count
    put(store, [30], year=1999)
    with pytest.raises(
        StaleMemory, match=r"lacks \d of \d+ entries; run `ragloom memory build --memory gists`"
    ) as stale:
        open_memory(settings, store)
    report = build(settings, store)
    assert endpoint.count - asked == report.written == stale.value.missing <= 3
    assert report.reused == report.entries - report.written
    assert "Mill 30 was built in 1999." in open_memory(settings, store).text
    store.remove_documents(["030"])
    put(store, [30])
    asked = endpoint.count
    assert build(settings, store).written == 0  # as it was before
    assert endpoint.count == asked


def test_a_tree_has_the_path_to_its_root_written_anew(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    by_tree = settings.model_copy(update={"memory": "tree"})
    first = build(by_tree, store)
    assert first.written == endpoint.count == first.entries
    memory = open_memory(by_tree, store)
    assert memory.entries[-1].level >= 1
    put(store, [30], year=1999)
    asked = endpoint.count
    with pytest.raises(StaleMemory, match="run `ragloom memory build --memory tree`"):
        open_memory(by_tree, store)
    second = build(by_tree, store)
    assert 2 <= endpoint.count - asked == second.written <= 8
    assert open_memory(by_tree, store).key == second.key != first.key


def test_a_build_that_its_budget_stops_goes_on_where_it_was(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    with pytest.raises(BudgetExceeded), Run(Budget(calls=4)):
        build(settings, store)
    assert endpoint.count == 4
    with pytest.raises(StaleMemory, match="lacks"):
        open_memory(settings, store)
    report = build(settings, store)
    assert report.reused == 4
    assert endpoint.count == report.entries


def test_a_memory_that_was_not_built_is_refused(settings: Settings, store: Store) -> None:
    with pytest.raises(StaleMemory, match="light chat was not built; run `ragloom memory build --memory gists`"):
        open_memory(settings, store)


def test_where_the_model_says_nothing_of_use_sentences_are_taken_and_another_try_is_wanted(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    endpoint.answer = lambda prompt: "Sorry, no." if "Mill 30 " in prompt else digest(prompt)
    report = build(settings, store)
    ((titles, error),) = [(failure.titles, failure.error) for failure in report.failed]
    assert "Mill 30" in titles
    assert "none of 2 replies says anything of the passages" in error
    (entry,) = [entry for entry in open_memory(settings, store).entries if "Mill 30" in entry.title]
    assert entry.by == "rules"
    assert "Mill 30 was built in 1871." in entry.text
    asked = endpoint.count
    assert build(settings, store).failed == report.failed
    assert endpoint.count == asked
    endpoint.answer = digest
    better = build(settings, store, retry_failed=True)
    assert (better.written, better.failed) == (1, [])
    assert endpoint.count == asked + 1  # the replies of no use are kept, another is asked for
    assert {entry.by for entry in open_memory(settings, store).entries} == {"model"}


def test_a_model_that_cannot_be_asked_ends_the_build_and_what_was_written_stays(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    endpoint.script = lambda number: "ok" if number <= 2 else "quota"
    with pytest.raises(RequestRefused):
        build(settings, store)
    asked = endpoint.count
    assert asked <= 2 + 10 + 2  # ten in a row, and those under way
    endpoint.script = ()
    report = build(settings, store)
    assert report.reused == 2
    assert report.failed == []


def test_an_endpoint_that_is_not_there_is_said(settings: Settings, store: Store) -> None:
    away = settings.model_copy(update={"base_url": "http://127.0.0.1:9/v1", "deadline_s": 0.5})
    with pytest.raises(EndpointUnreachable):
        build(away, store)


@pytest.mark.parametrize("kind", ["extractive", "full-text", "glossary"])
def test_a_memory_without_a_model_is_built_where_it_is_used_and_follows_the_documents(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint, kind: str
) -> None:
    by_rules = settings.model_copy(update={"memory": kind})
    memory = open_memory(by_rules, store)
    assert memory.kind == kind
    assert memory == open_memory(by_rules, store)
    assert build(by_rules, store).reused == len(memory.entries)
    put(store, [30], year=1999)
    assert "1999" in open_memory(by_rules, store).text
    report = build(by_rules, store)
    assert (report.written, report.key) == (0, open_memory(by_rules, store).key)
    assert endpoint.count == 0


def test_a_memory_can_be_opened_where_nothing_can_be_written(settings: Settings, store: Store) -> None:
    build(settings, store)
    by_rules = settings.model_copy(update={"memory": "extractive"})
    with Store.open(settings.workspace, write=False) as reader:
        assert open_memory(settings, reader) == open_memory(settings, store)
        assert open_memory(by_rules, reader) == open_memory(by_rules, store)


def test_a_damaged_memory_is_put_together_again_without_asking(
    settings: Settings, store: Store, endpoint: ScriptedEndpoint
) -> None:
    build(settings, store)
    memory, asked = open_memory(settings, store), endpoint.count
    (file,) = (settings.workspace / "derived").glob("memory-*/memory.json")
    file.write_bytes(file.read_bytes()[:-100])
    assert open_memory(settings, store) == memory
    assert endpoint.count == asked


def test_another_model_has_a_memory_of_its_own(settings: Settings, store: Store) -> None:
    build(settings, store)
    with pytest.raises(StaleMemory, match="other chat was not built"):
        open_memory(settings.model_copy(update={"memory_model": "other"}), store)
    assert isinstance(open_memory(settings, store), Memory)


def test_a_workspace_without_documents_has_no_memory(settings: Settings, tmp_path: Path) -> None:
    with Store.open(tmp_path / "empty") as empty:
        for work in (build_memory, open_memory):
            with pytest.raises(InputError, match="there are no documents"):
                work(settings, empty)
