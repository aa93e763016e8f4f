"""What the embedded model answers to 100 HotpotQA questions, without passages and with retrieved ones.

    python benchmarks/answers.py [--write] [--data FOLDER]

The folder holds `hotpotqa/` with a `corpus.json` and `questions.json`. The first run makes 550 calls to the model,
about half an hour of two cores; what is answered is kept in `benchmarks/workspaces/`.
"""

from retrieval import ROOT, arguments, write_into_results

from ragloom.pipelines.batch import answer_file
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.report import answers_table
from ragloom.pipelines.settings import Settings
from ragloom.store import Store


def main() -> None:
    """Answer what is not answered yet, print, and with `--write` put the table into the results."""
    args = arguments(__doc__)
    data = args.data / "hotpotqa"
    workspace = ROOT / "benchmarks" / "workspaces" / "hotpotqa"
    with Store.open(workspace) as store:
        index_corpus([data / "corpus.json"], store)
    settings = [Settings(workspace=workspace, pipeline=name) for name in ("closed-book", "single", "hybrid", "graph")]
    settings.append(Settings(workspace=workspace, pipeline="notes", retriever="fused", note_taker="rules"))
    runs = [answer_file(each, data / "questions.json").run_id for each in settings]
    with Store.open(workspace, write=False) as store:
        table = answers_table(store, runs).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/answers.py", table)


if __name__ == "__main__":
    main()
