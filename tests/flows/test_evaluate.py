from pathlib import Path

import pytest

from ragloom.components.datasets import read_questions
from ragloom.components.splitting import WholePassages
from ragloom.errors import InputError
from ragloom.flows.evaluate import evaluate
from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.outcome_collection import begin_outcomes
from ragloom.pipelines.settings import Settings
from ragloom.store import Store

pytestmark = pytest.mark.usefixtures("prefect_server")


def test_retrievers_are_compared_on_labelled_questions(settings: Settings, corpus: Path, questions: Path):
    with Store.open(settings.workspace) as store:
        index_corpus([corpus], store, splitter=WholePassages(), progress=False)
    table = evaluate(settings, [str(questions)])
    assert [row[table["columns"].index("retriever")] for row in table["rows"]] == ["bm25", "dense", "fused"]
    assert table["rows"][0][table["columns"].index("recall@2")] == "1.000"


def test_without_questions_all_runs_of_the_workspace_are_compared(settings: Settings, questions: Path):
    answer_file(settings, questions, progress=False)
    answer_file(settings.model_copy(update={"mode": "long"}), questions, progress=False)
    with Store.open(settings.workspace) as store:  # a run of another kind is none of answers
        begin_outcomes(settings, read_questions(questions), store, signals=[], modes=["none"])
    table = evaluate(settings)
    assert len(table["rows"]) == 2
    (only,) = evaluate(settings, runs=[table["rows"][1][0]])["rows"]
    assert only[0] == table["rows"][1][0]


def test_a_workspace_without_runs_says_what_to_do(settings: Settings):
    with Store.open(settings.workspace):
        pass
    with pytest.raises(InputError, match=r"no runs in .*run `ragloom batch` first"):
        evaluate(settings)
