"""How well a small model reads: EM and F1 with each question's gold passages, with BM25's, and with none.

    python benchmarks/reader_quality.py ../shared/datasets/hotpotqa --questions 100 [prompt.txt ...]

Prompt files are compared with the packaged prompt, question by question. The model is the local default, or a base
model behind `--base-url`.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ragloom.components.bm25 import BM25
from ragloom.components.datasets import Question, gold_chunks, read_questions
from ragloom.components.ingestion import read_documents
from ragloom.components.llm import OpenAILLM
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import PromptReader
from ragloom.components.splitting import WholePassages
from ragloom.errors import BadReply
from ragloom.pipelines.evaluation import Interval, Scores, bootstrap, compare, evaluate_answers
from ragloom.pipelines.question_answering import ClosedBook, RetrieveThenRead
from ragloom.types import LLM, Answer, Chunk, Hit, Pipeline, Retriever

SEED = 0


@dataclass(frozen=True)
class Gold:
    """The retriever that knows the answer: the chunks of each question's gold passages, in corpus order."""

    wanted: dict[str, frozenset[str]]
    chunks: Sequence[Chunk]

    def __call__(self, query: str, k: int, /) -> list[Hit]:
        """All of them, whatever k."""
        return [Hit(chunk, 1.0) for chunk in self.chunks if chunk.id in self.wanted[query]]


def ask(pipeline: Pipeline, question: Question) -> Answer | None:
    try:
        return pipeline(question.text)
    except BadReply:
        return None


def measure(name: str, pipeline: Pipeline, questions: Sequence[Question], wanted: dict[str, frozenset[str]]) -> Scores:
    """Answer the questions and print what came of it."""
    items = [(question, ask(pipeline, question)) for question in tqdm(questions, desc=name, leave=False)]
    found = evaluate_answers(items, system=name)
    cited = [(wanted[question.text], reply.citations) for question, reply in items if reply is not None]
    by_model = sum(any(citation.by == "model" for citation in citations) for _, citations in cited)
    right = sum(any(citation.chunk_id in gold for citation in citations) for gold, citations in cited)
    quality = ", ".join(
        f"{metric} {shown(bootstrap(found.scores.values[metric], seed=SEED))}" for metric in ("em", "f1")
    )
    print(f"{name}: {quality}")
    print(f"    abstained {found.abstained}, failed {found.failed}; {by_model} cite, {right} point at a gold passage")
    tokens = found.usage.prompt_tokens / max(found.answered, 1)
    print(f"    {tokens:.0f} prompt tokens a question, {found.latency_p50:.2f} s p50", flush=True)
    return found.scores


def shown(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def open_model(name: str, base_url: str | None) -> LLM:
    if base_url is not None:
        return OpenAILLM(name, base_url=base_url, api="completions", deadline_s=600)
    from ragloom.components.local_server import local_llm

    return local_llm(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with questions.json and corpus.json")
    parser.add_argument("prompts", nargs="*", type=Path, help="prompt files to compare with the packaged one")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--base-url")
    arguments = parser.parse_args()

    questions = read_questions(arguments.folder / "questions.json")[: arguments.questions]
    split = WholePassages()
    chunks = [chunk for document in read_documents(arguments.folder / "corpus.json") for chunk in split(document)]
    wanted = {question.text: frozenset().union(*gold_chunks(question, chunks)) for question in questions}
    print(f"{arguments.model}, {len(questions)} questions of {arguments.folder.name}, {len(chunks)} passages")

    llm = open_model(arguments.model, arguments.base_url)
    readers = [("packaged prompt", PromptReader(llm))]
    readers += [(path.name, PromptReader(llm, prompt=Prompt.load(path))) for path in arguments.prompts]
    measure("closed book", ClosedBook(readers[0][1]), questions, wanted)
    retrievers: dict[str, Retriever] = {"gold passages": Gold(wanted, chunks), "BM25 top 5": BM25(chunks)}
    for passages, retriever in retrievers.items():
        scores = [
            measure(f"{passages}, {name}", RetrieveThenRead(retriever, reader), questions, wanted)
            for name, reader in readers
        ]
        for other in scores[1:]:
            print(f"    {other.system} against packaged: f1 {shown(compare(other, scores[0], 'f1', seed=SEED))}")


if __name__ == "__main__":
    main()
