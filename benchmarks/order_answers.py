"""What the order and the number of passages do to a local model's answers, on HotpotQA questions.

    python benchmarks/order_answers.py [--model smollm2] [--questions 40] [--write] [--data FOLDER]

Every question is answered from its best 1, 2, 3, 5 and 8 passages (fused retrieval), in every order. Differences are to
`relevance`, question by question. `majority` is the answer that most of the orders give, the first of equally many.
Order sensitivity is the share of questions that got different answers, normalised, from the same passages; a prompt's
fence is made from its passages in their order, and so differs, too. Each passage of HotpotQA is a document of its own,
so `document` is one more order without a meaning.

The folder holds `hotpotqa/` with a `corpus.json` and `questions.json`. 40 questions make 868 calls to the model, about
an hour of two cores. Replies are kept in `benchmarks/workspaces/`, so it can be stopped, started again, and given more
questions.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from retrieval import ROOT, write_into_results
from tqdm import tqdm

from ragloom.components.answer_words import normalise
from ragloom.components.datasets import Question, read_questions
from ragloom.components.llm import Cached
from ragloom.components.local_server import local_llm
from ragloom.components.minilm import LocalEmbedder
from ragloom.components.reading import PromptReader
from ragloom.components.reordering import RandomOrder, document, relevance, reverse, sides, sides_mirror
from ragloom.errors import BadReply
from ragloom.pipelines.evaluation import compare, evaluate_answers
from ragloom.pipelines.indexing import index_corpus, open_dense
from ragloom.pipelines.question_answering import RetrieveThenRead
from ragloom.pipelines.report import Table, signed
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import open_retriever
from ragloom.store import Store
from ragloom.types import Answer, Pipeline, Reader, Refiner, Retriever

KS = (1, 2, 3, 5, 8)
ORDERS: dict[str, Refiner] = {
    "relevance": relevance,
    "reverse": reverse,
    "sides": sides,
    "sides-mirror": sides_mirror,
    "document": document,
    "random, seed 0": RandomOrder(0),
    "random, seed 1": RandomOrder(1),
}
SEED = 0

Answers = dict[str, Answer | None]  # by order; None where the model gave no usable reply


def ask(pipeline: Pipeline, question: Question) -> Answer | None:
    """The answer; None where the model gave no usable reply."""
    try:
        return pipeline(question.text)
    except BadReply:
        return None


def answer_in_every_order(question: Question, k: int, retriever: Retriever, reader: Reader) -> Answers:
    """Those of all orders of the same k passages."""
    return {
        name: ask(RetrieveThenRead(retriever, reader, k=k, refiners=(order,)), question)
        for name, order in ORDERS.items()
    }


def said(answer: Answer | None) -> str:
    """What is compared between orders: the normalised answer, and nothing where there is none."""
    return "" if answer is None or answer.abstained else normalise(answer.text)


def passages(answer: Answer | None) -> tuple[str, ...]:
    """The passages that an answer was given from, in the prompt's order."""
    return () if answer is None else tuple(hit.chunk.id for hit in answer.hits)


def distinct(found: Answers) -> list[Answer | None]:
    """An answer for each permutation: with few passages, several orders are the same."""
    return list({passages(answer): answer for answer in found.values()}.values())


def majority(found: Answers) -> Answer | None:
    """The answer that most of the permutations give; of equally many the first."""
    voters = distinct(found)
    votes = Counter(map(said, voters))
    return max(voters, key=lambda answer: votes[said(answer)])


def rows(k: int, questions: Sequence[Question], found: Sequence[Answers]) -> Iterator[tuple[str, ...]]:
    """A row for each order of k passages that is not another one's for every question, and one for their majority."""
    systems = {name: [answers[name] for answers in found] for name in ORDERS}
    permuted = {tuple(map(passages, given)): name for name, given in reversed(systems.items())}
    systems = {name: given for name, given in systems.items() if name in permuted.values()}
    if len(systems) > 1:
        systems["majority"] = [majority(answers) for answers in found]
    first = evaluate_answers(list(zip(questions, systems["relevance"], strict=True))).scores
    for name, given in systems.items():
        measured = evaluate_answers(list(zip(questions, given, strict=True)))
        changed = sum(said(one) != said(other) for one, other in zip(given, systems["relevance"], strict=True))
        yield (
            *((str(k), f"{sensitivity(found):.0%}") if name == "relevance" else ("", "")),
            name,
            f"{measured.scores.mean('em'):.3f}",
            f"{measured.scores.mean('f1'):.3f}",
            "" if name == "relevance" else signed(compare(measured.scores, first, "f1", seed=SEED)),
            "" if name == "relevance" else f"{changed / len(questions):.0%}",
            f"{measured.abstained + measured.failed}",
        )


def sensitivity(found: Sequence[Answers]) -> float:
    """Share of the questions that got different answers from different orders of the same passages."""
    return sum(len(set(map(said, distinct(answers)))) > 1 for answers in found) / len(found)


def main() -> None:
    """Answer what is not answered yet, print, and with `--write` put the table into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2", help="a local model (default: smollm2)")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    args = parser.parse_args()
    folder = args.data / "hotpotqa"
    if not folder.is_dir():
        sys.exit(f"there is no hotpotqa in {args.data}; name its folder with --data")
    questions = read_questions(folder / "questions.json")[: args.questions]
    workspace = ROOT / "benchmarks" / "workspaces" / "hotpotqa"
    with Store.open(workspace) as store:
        index_corpus([folder / "corpus.json"], store)
        open_dense(store, LocalEmbedder())  # embeds what is new
        retriever = open_retriever("fused", Settings(workspace=workspace), store)
        reader = PromptReader(Cached(local_llm(args.model), store))
        found = [
            {k: answer_in_every_order(question, k, retriever, reader) for k in KS}
            for question in tqdm(questions, desc=args.model)
        ]
    columns = (
        "passages",
        "order sensitivity",
        "order",
        "EM",
        "F1",
        "F1 against relevance",
        "answers changed",
        "without an answer",
    )
    cells = [row for k in KS for row in rows(k, questions, [by_k[k] for by_k in found])]
    note = f"{args.model}, {len(questions)} questions of HotpotQA."
    table = Table(columns, tuple(cells), (note,)).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/order_answers.py", table)


if __name__ == "__main__":
    main()
