"""Eight pipelines over 40 questions of HotpotQA and 40 of MuSiQue, with the local model.

    python benchmarks/comparison.py [--write] [--report-only] [--out FOLDER] [--data FOLDER]

The first run takes between one and two hours of two cores, most of it IRCoT. It can be stopped and started again: what
is answered is kept in `benchmarks/workspaces/`, and the report is written on what there is. `--write` puts its tables
into the results. The folder holds `hotpotqa/` and `musique/`, each a published `corpus.json` and `questions.json`.
"""

import argparse
import sys
import time
from pathlib import Path

from retrieval import ROOT, write_into_results

from ragloom.pipelines.comparing import Plan, QuestionSet, answer_plan
from ragloom.pipelines.comparison import compared
from ragloom.pipelines.comparison_files import write_comparison
from ragloom.pipelines.comparison_paths import with_paths
from ragloom.pipelines.comparison_report import overview
from ragloom.pipelines.indexing import index_corpus, open_bm25, open_dense
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_embedder
from ragloom.store import Store

SETS = ("hotpotqa", "musique")
QUESTIONS = 40
BASELINE = "single"
VARIANTS = {
    "closed book": Settings(pipeline="closed-book"),
    "single": Settings(pipeline="single"),
    "fused": Settings(pipeline="hybrid"),
    "graph": Settings(pipeline="graph"),
    "notes": Settings(pipeline="notes", retriever="fused", note_taker="rules"),
    "clues": Settings(pipeline="clues", retriever="fused"),
    "gate + selection + order": Settings(
        pipeline="adaptive",
        gate="draft",
        retriever="graph",
        select="greedy-marginal",
        context_tokens=1024,
        order="sides",
    ),
    "IRCoT": Settings(pipeline="ircot", retriever="fused"),
}
SHOWN = ("Quality and cost", "Differences", "By number of gold passages", "Gates")


def main() -> int:
    """Answer what is missing, write the report, print its tables, and with `--write` put them into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--report-only", action="store_true", help="report on what is answered")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "workspaces" / "comparison")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    args = parser.parse_args()
    plan = plan_of_sets(args.data)
    begun = time.monotonic()
    runs = []
    if not args.report_only:
        for each in plan.sets:
            index(each)
        runs = answer_plan(plan, announce=lambda text: print(text, file=sys.stderr))
    comparison = with_paths(compared(plan, runs=runs), plan)
    written = write_comparison(comparison, args.out)
    print(f"{time.monotonic() - begun:.0f} s; {', '.join(map(str, written.files))}", file=sys.stderr)
    sections = [
        f"**{heading}**\n\n{written.tables[heading].markdown()}" for heading in SHOWN if heading in written.tables
    ]
    report = "\n\n".join([" ".join(overview(comparison)), *sections])
    print(report)
    if args.write:
        write_into_results("benchmarks/comparison.py", report)
    return 75 if comparison.pending else 0


def plan_of_sets(data: Path) -> Plan:
    """What is compared."""
    workspaces = ROOT / "benchmarks" / "workspaces"
    sets = (QuestionSet(name, data / name / "questions.json", workspaces / f"comparison-{name}") for name in SETS)
    return Plan(VARIANTS, tuple(sets), QUESTIONS, BASELINE)


def index(each: QuestionSet) -> None:
    """Bring the workspace of a set up to date with its corpus."""
    with Store.open(each.workspace) as store:
        index_corpus([each.questions.with_name("corpus.json")], store)
        open_bm25(store)
        open_dense(store, open_embedder(Settings(workspace=each.workspace)))


if __name__ == "__main__":
    sys.exit(main())
