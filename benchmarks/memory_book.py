"""What a memory of a long book costs a local model, with its state kept on disk and without: 20 questions.

    python benchmarks/memory_book.py [--questions 20] [--write] [--record]

The book is Paradise Lost (80,000 words, downloaded once), the memory extractive: no model builds it, and the clues are
all that SmolLM2 is asked for, besides the answer. The answer's prompt comes between the clues of two questions, so the
server has forgotten the memory when the next one comes: `nothing kept` shows that on one question. `state kept` reads
the memory once and takes it up again from the workspace; `another process` does only that, in a process and a server of
its own, and must give the same clues. CPU seconds are those of the server, the reply included. Takes about ten minutes
of two cores.

With `--record` the replies are written to `notebooks/memory.jsonl`, which the notebook answers the same questions from:
to be done whenever the prompts or the memory change.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Unpack

from retrieval import ROOT, write_into_results

from ragloom.components.clue_making import LLMClueMaker
from ragloom.components.clue_retrieval import ClueRetriever
from ragloom.components.datasets import Question, read_questions
from ragloom.components.llm import IdentifiedLLM, Recording
from ragloom.components.local_server import LocalLLM, local_llm
from ragloom.components.memory import Memory
from ragloom.components.memory_building import MemoryBuilder
from ragloom.components.memory_state import ReadAhead
from ragloom.components.reading import PromptReader
from ragloom.components.sample_book import write_paradise_lost
from ragloom.components.splitting import SentenceSplitting
from ragloom.pipelines.evaluation import ANSWER_METRICS
from ragloom.pipelines.indexing import index_corpus, open_bm25
from ragloom.pipelines.report import Table
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import LLM, Message, Options, Reply, Usage

BUILDER = MemoryBuilder(group_tokens=6144, entry_tokens=128)
MEMORY_TOKENS = 6000  # all of it; the model's window is 8,192 tokens
K = 3  # passages that are read
LINES = 'root ::= line ("\\n" line)*\nline ::= [A-Z] [^\\n\\[#]+'  # else SmolLM2 goes on with headings of the memory
CLUES = Options(temperature=0.0, max_tokens=48, extra={"grammar": LINES})
RECORDED = ROOT / "notebooks" / "memory.jsonl"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Measured:
    """An LLM that notes what each call took, and the CPU seconds of its server."""

    llm: IdentifiedLLM
    model: LocalLLM
    calls: list[tuple[Usage, float]] = field(default_factory=list)

    def __call__(self, messages: Sequence[Message], /, **options: Unpack[Options]) -> Reply:
        """The model's reply."""
        began = cpu_seconds(self.model)
        with Run() as run:
            reply = self.llm(messages, **options)
        self.calls.append((run.spent, cpu_seconds(self.model) - began))
        return reply

    @property
    def identity(self) -> str:
        """That of the model."""
        return self.llm.identity

    def row(self, name: str, calls: slice) -> tuple[str, ...]:
        """Means over some of the calls."""
        taken = self.calls[calls]
        usages = [usage for usage, _ in taken]
        evaluated = [usage.prompt_tokens - usage.cached_tokens for usage in usages]
        most = max(evaluated)
        sent = sum(usage.prompt_tokens for usage in usages)
        return (
            name,
            str(len(taken)),
            f"{sent / len(taken):,.0f}",
            f"{mean(evaluated):,.0f}" + (f" (at most {most:,})" if len(taken) > 1 else ""),
            f"{1 - sum(evaluated) / sent:.1%}",
            f"{mean(usage.completion_tokens for usage in usages):.0f}",
            f"{mean(seconds for _, seconds in taken):.2f}",
        )


def cpu_seconds(model: LocalLLM) -> float:
    """What the model's server took so far; it is started if it does not run. Linux only."""
    model.server.url()
    fields = Path("/proc", str(model.server.pid), "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def open_memory(store: Store) -> Memory:
    """The memory of the store's book."""
    return Memory("extractive", BUILDER.extractive(store.chunks()), BUILDER.rules.identity, store.corpus_id())


def clue_maker(llm: LLM) -> LLMClueMaker:
    """One call for clues a question: they are the same for all kinds but for the task."""
    return LLMClueMaker(llm, memory_tokens=MEMORY_TOKENS, questions=False, draft=False, options=CLUES)


def with_state(maker: LLMClueMaker, model: LocalLLM, memory: Memory, store: Store) -> Measured:
    """The model, which takes up the memory as read, measured."""
    beginning = maker.beginning(memory)
    if not beginning:
        sys.exit("not all of the memory fits the prompt")
    return Measured(ReadAhead(model, beginning, store), model)


def again(store: Store, questions: Sequence[Question]) -> None:
    """As another process: print what each call took, and the clues."""
    model = local_llm()
    memory = open_memory(store)
    measured = with_state(clue_maker(model), model, memory, store)
    maker = clue_maker(measured)
    clues = [[clue.text for clue in maker(question.text, memory).clues] for question in questions]
    taken = [(u.prompt_tokens, u.completion_tokens, u.cached_tokens, seconds) for u, seconds in measured.calls]
    print(json.dumps({"clues": clues, "taken": taken}))


def in_another_process(store: Store, questions: int, model: LocalLLM) -> tuple[list[list[str]], Measured]:
    """The clues, and what the calls took."""
    command = [sys.executable, __file__, "--again", str(store.folder), "--questions", str(questions)]
    said = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    taken = [(Usage(sent, got, cached, calls=1), seconds) for sent, got, cached, seconds in said["taken"]]
    return said["clues"], Measured(model, model, taken)


def measure(store: Store, questions: Sequence[Question], record: Path) -> Table:
    """All rows; the replies are written to the file."""
    model = local_llm()
    memory = open_memory(store)
    bm25 = open_bm25(store)
    plain = Measured(model, model)
    clue_maker(plain)(questions[0].text, memory)
    PromptReader(model)(questions[0].text, bm25(questions[0].text, K))  # so that the server forgets the memory
    reader = PromptReader(Recording(model, record))
    kept = with_state(clue_maker(model), model, memory, store)
    retriever = ClueRetriever(memory, bm25, clue_maker(Recording(kept, record)))
    clues, right = [], 0.0
    for number, question in enumerate(questions, 1):
        found = retriever.search(question.text, K)
        clues.append([clue.text for clue in found.clues.clues])
        answer = reader(question.text, found.hits)
        right += ANSWER_METRICS["contains"](answer.text, question.answers)
        print(f"{number:2} {question.text} {clues[-1][:2]} -> {answer.text}", file=sys.stderr)
    others, other = in_another_process(store, len(questions), model)
    rows = (
        plain.row("nothing kept: any question", slice(None)),
        kept.row("state kept: first question, with the reading of the memory", slice(1)),
        kept.row("state kept: the others", slice(1, None)),
        other.row("another process: first question", slice(1)),
        other.row("another process: the others", slice(1, None)),
    )
    size = next(file.stat().st_size for file in store.folder.glob("derived/memory-state-*/state"))
    made = f"The memory: {len(memory.entries)} entries of {len(store.chunks())} passages."
    same = f"The other process gave {'the same' if others == clues else 'OTHER'} clues."
    notes = (
        f"{made} Its state: {size / 1e6:.0f} MB. {same}",
        f"Answers that hold a gold answer: {right:.0f} of {len(questions)}.",
    )
    columns = ("clue calls", "number", "prompt tokens", "of them read", "had already", "reply tokens", "CPU s")
    return Table(columns, rows, notes)


def keep_replies(record: Path) -> None:
    """Write the recorded replies beside the notebook, without their prompts, which hold the memory each."""
    entries = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({"key": entry["key"], "reply": entry["reply"]}) + "\n" for entry in entries]
    RECORDED.write_text("".join(lines), encoding="utf-8")


def main() -> None:
    """Measure, print, and with `--write` put the table into the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument("--write", action="store_true", help="write the table into docs/results.md")
    parser.add_argument("--record", action="store_true", help="write the replies for the notebook")
    parser.add_argument("--again", type=Path, help=argparse.SUPPRESS)  # the workspace, in the other process
    args = parser.parse_args()
    questions = read_questions(ROOT / "docs" / "sample" / "paradise-lost.jsonl")[: args.questions]
    if args.again is not None:
        with Store.open(args.again, write=False) as store:
            again(store, questions)
        return
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder, "workspace")) as store:
        book = Path(folder, "book")
        book.mkdir()
        write_paradise_lost(book)
        index_corpus([book], store, splitter=SentenceSplitting(), progress=False)
        record = Path(folder, "replies.jsonl")
        table = measure(store, questions, record).markdown()
        if args.record:
            keep_replies(record)
    print(table)
    if args.write:
        write_into_results("benchmarks/memory_book.py", table)


if __name__ == "__main__":
    main()
