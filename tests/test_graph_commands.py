"""`ragloom graph` as its users meet it."""

import json
from collections.abc import Callable
from pathlib import Path

import networkx as nx
import pytest
from scripted_endpoint import ScriptedEndpoint

from ragloom.__main__ import main
from ragloom.store import Store

Ragloom = Callable[..., tuple[int, str, str]]
QUESTION = "Where was the builder of Lower Mill born?"
NOTES = {
    "Lower Mill": "Lower Mill was built by Ada Quill in 1871.",
    "Ada Quill": "Ada Quill was born in Port Sorrel.",
    "Pier": "The pier {burned} down in %s winter of 1902.",
}


@pytest.fixture(autouse=True)
def walks_from_keywords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGLOOM_WALK_FROM", "bm25")


@pytest.fixture
def indexed(ragloom: Ragloom) -> Ragloom:
    write_notes(NOTES)
    assert ragloom("index", "notes.jsonl", "--no-dense")[0] == 0
    return ragloom


def write_notes(notes: dict[str, str]) -> None:
    lines = [
        json.dumps({"id": str(number), "title": title, "text": notes[title]}) for number, title in enumerate(notes)
    ]
    Path("notes.jsonl").write_text("\n".join(lines), encoding="utf-8")


def test_show_prints_the_paths_and_writes_the_page(indexed: Ragloom):
    code, out, err = indexed("graph", "show", QUESTION, "-k", "2")
    assert (code, err) == (0, "")
    assert ". Lower Mill  (score " in out
    assert "mentions 'ada quill' -> is the name of \"Ada Quill\" (" in out
    assert out.endswith("to look at: graph.html\n")
    page = Path("graph.html").read_text(encoding="utf-8")
    assert QUESTION in page
    assert 'data-hit="h2"' in page
    assert 'data-hit="h3"' not in page


def test_the_page_replaces_no_folder(indexed: Ragloom):
    Path("pages").mkdir()
    Path("pages/other.html").write_text("mine", encoding="utf-8")
    code, _, err = indexed("graph", "show", QUESTION, "--output", "pages")
    assert code == 65
    assert "cannot write pages: Is a directory" in err
    assert Path("pages/other.html").read_text(encoding="utf-8") == "mine"


def test_show_can_be_read_by_programs(indexed: Ragloom):
    code, out, _ = indexed("graph", "show", QUESTION, "--json", "--output", "pages/walk.html", "--paths", "1")
    shown = json.loads(out)
    assert code == 0
    assert shown["page"] == "pages/walk.html"
    assert Path("pages/walk.html").exists()
    assert [len(found["paths"]) for found in shown["found"][:2]] == [1, 1]
    assert shown["found"][0]["paths"][0]["steps"][0]["node"]["kind"] == "question"


def test_a_question_that_names_nothing_is_explained_by_why(indexed: Ragloom):
    code, out, _ = indexed("graph", "show", "why?")
    assert code == 0
    assert out.startswith("no walk: the question names nothing")
    assert "There was no walk" in Path("graph.html").read_text(encoding="utf-8")


def test_documents_do_nothing_to_the_terminal(ragloom: Ragloom):
    write_notes({"Lower \x1b[2J\x07 Mill": "Lower Mill was built by Ada Quill.\x1b]0;title\x07"})
    ragloom("index", "notes.jsonl", "--no-dense")
    _, out, _ = ragloom("graph", "show", "Who built Lower Mill?")
    assert "Lower \u241b[2J\u2407 Mill" in out
    assert not {"\x1b", "\x07"} & {*out, *Path("graph.html").read_text(encoding="utf-8")}


def test_stats_print_and_are_json(indexed: Ragloom):
    code, out, _ = indexed("graph", "stats", "--hubs", "1")
    assert code == 0
    assert "passages               3\n" in out
    assert out.count("\nhub ") == 1
    found = json.loads(indexed("graph", "stats", "--json")[1])
    assert (found["passages"], found["failed"], found["extractor"].split()[0]) == (3, 0, "rules")


@pytest.mark.parametrize(("form", "name"), [("graphml", "graph.graphml"), ("networkx-json", "graph.json")])
def test_export_writes_and_does_not_overwrite(indexed: Ragloom, form: str, name: str):
    code, out, _ = indexed("graph", "export", "--format", form, "--output", name)
    assert code == 0
    assert f"edges in {name}" in out
    code, _, err = indexed("graph", "export", "--format", form, "--output", name)
    assert code == 65
    assert f"there is already something at {name}" in err
    assert indexed("graph", "export", "--format", form, "--output", name, "--overwrite")[0] == 0


def test_an_export_is_of_the_format_that_its_name_ends_in(indexed: Ragloom):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("graph.graphml", "graph.json", "graph.parquet"):
        assert indexed("graph", "export", "--output", name)[0] == 0
    nodes = len(nx.read_graphml("graph.graphml"))
    assert len(json.loads(Path("graph.json").read_text(encoding="utf-8"))["nodes"]) == nodes
    assert parquet.read_metadata("graph.parquet/nodes.parquet").num_rows == nodes


def test_a_file_of_other_passages_is_refused(indexed: Ragloom):
    docs = [{"passage": "Elsewhere\nText.", "extracted_entities": ["Elsewhere"], "extracted_triples": []}]
    Path("openie.json").write_text(json.dumps({"docs": docs}), encoding="utf-8")
    code, _, err = indexed("graph", "build", "--import", "openie.json")
    assert code == 65
    assert "openie.json holds nothing of any passage in workspace" in err


def test_graphml_of_odd_characters_says_how_many_were_replaced(ragloom: Ragloom):
    write_notes({"Mill": "The mill\x01 was built\x0c in Port Sorrel."})
    ragloom("index", "notes.jsonl", "--no-dense")
    _, out, _ = ragloom("graph", "export", "--output", "graph.graphml")
    assert "2 characters that graphml cannot hold were replaced by visible ones" in out
    nodes = nx.read_graphml("graph.graphml", node_type=int).nodes.values()
    assert "The mill\u2401 was built\u240c in Port Sorrel." in [node.get("text") for node in nodes]


def test_build_reports_and_follows_the_documents(indexed: Ragloom):
    code, out, _ = indexed("graph", "build")
    assert code == 0
    assert "of 3 passages, with" in out
    write_notes({"Lower Mill": NOTES["Lower Mill"]})
    indexed("index", "notes.jsonl", "--no-dense")
    assert "of 1 passages, with" in indexed("graph", "build")[1]
    assert json.loads(indexed("graph", "build", "--json")[1])["passages"] == 1


def test_build_imports_released_triples(indexed: Ragloom):
    triples = [["Ada Quill", "born in", "Port Sorrel"], ["malformed"]]
    docs = [
        {
            "passage": f"Ada Quill\n{NOTES['Ada Quill']}",
            "extracted_entities": ["Ada Quill"],
            "extracted_triples": triples,
        },
        {"passage": "Elsewhere\nText.", "extracted_entities": [], "extracted_triples": []},
    ]
    Path("openie.json").write_text(json.dumps({"docs": docs}), encoding="utf-8")
    code, out, _ = indexed("graph", "build", "--import", "openie.json")
    assert code == 1
    assert "1 read, 0 read before, 2 failed" in out
    assert "1 malformed entities and triples were left out" in out
    assert "1 records of openie.json are no passages here" in out
    assert "failed: Pier: openie.json does not have it" in out
    extractor = out.rpartition("--extractor ")[2].strip().strip("'")
    assert json.loads(indexed("graph", "stats", "--json", "--extractor", extractor)[1])["facts"] == 1


def test_build_asks_a_model_and_keeps_what_it_found(indexed: Ragloom, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")

    def reply(prompt: str) -> str:
        if "burned" in prompt:
            return "no JSON"
        return json.dumps({"named_entities": ["Ada Quill"], "entities": ["Ada Quill"], "triples": [["a", "b", "c"]]})

    with ScriptedEndpoint(answer=reply) as endpoint:
        model = ("--extractor", "llm", "--base-url", endpoint.base_url, "--model", "scripted", "--workers", "1")
        code, out, _ = indexed("graph", "build", *model)
        asked = len(endpoint.requests)
        assert code == 1
        assert "2 read, 0 read before, 1 failed" in out
        assert "failed: Pier: " in out
        assert "--retry-failed tries them again" in out
        assert "0 read, 2 read before, 1 failed" in indexed("graph", "build", *model)[1]
        assert len(endpoint.requests) == asked
        indexed("graph", "build", *model, "--retry-failed")
        assert len(endpoint.requests) > asked


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("show", " "), 65, "the question is empty"),
        (("show", "Who?", "--k", "0"), 2, "argument k = '0'"),
        (("show", "Who?", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("show", "Who?", "--output", "notes.jsonl/page.html"), 65, "cannot write notes.jsonl/page.html"),
        (("stats", "--extractor", "absent"), 65, "holds nothing that the extractor 'absent' found"),
        (("stats", "--workspace", "empty"), 65, "there are no documents in empty"),
        (("build", "--workspace", "empty"), 65, "there are no documents in empty"),
        (("build", "--workspace", "absent"), 2, "there is no workspace at absent"),
        (("build", "--extractor", "absent"), 2, "there is no extractor 'absent'"),
        (("build", "--import", "absent.json"), 65, "absent.json"),
        (("build", "--import", "notes.jsonl"), 65, "notes.jsonl"),
        (("export", "--output", "empty"), 65, "there is already something at empty"),
        (("export", "--output", "notes.jsonl", "--overwrite", "--format", "parquet"), 65, "notes.jsonl"),
        (("export", "--output", "empty", "--overwrite"), 65, "empty is a folder"),
    ],
)
def test_bad_input_is_named_in_one_line(indexed: Ragloom, arguments: tuple[str, ...], code: int, problem: str):
    Store.open("empty").close()
    before = Path("notes.jsonl").read_bytes()
    found, out, err = indexed("graph", *arguments)
    assert found == code, err
    assert problem in err
    assert "Traceback" not in err + out
    assert len(err.splitlines()) <= 2
    assert Path("notes.jsonl").read_bytes() == before


def test_the_graph_can_be_seen_while_a_batch_is_writing(indexed: Ragloom):
    with Store.open("workspace"):
        code, out, err = indexed("graph", "stats")
    assert code == 0
    assert "passages               3" in out
    assert "going on without keeping what is built" in err


def test_help_of_every_action_teaches(capsys: pytest.CaptureFixture[str]):
    for action in ("build", "show", "stats", "export"):
        with pytest.raises(SystemExit) as ended:
            main(["graph", action, "--help"])
        assert ended.value.code == 0
        assert "--workspace" in capsys.readouterr().out
