"""Collect anew the outcomes that `notebooks/calibrating_a_gate.ipynb` works on, with the local model.

    python benchmarks/notebook_outcomes.py

Half of the questions are about the island of the sample corpus, which no model knows, and half ask for capitals, which
the corpus knows nothing of: a case where a gate is worth something even with a model of 135 million parameters. Each is
answered without passages, by a draft whose certainty is measured, and from two passages. Takes about five minutes.
"""

import tempfile
from pathlib import Path

from ragloom.components.datasets import Question, read_questions
from ragloom.components.draft_uncertainty import DraftUncertainty
from ragloom.components.llm import Cached
from ragloom.components.local_server import local_llm
from ragloom.components.question_features import QuestionFeatures
from ragloom.components.reading import PromptReader
from ragloom.components.splitting import WholePassages
from ragloom.pipelines.indexing import index_corpus, open_bm25
from ragloom.pipelines.outcome_collection import begin_outcomes, collect, outcomes_of
from ragloom.pipelines.outcomes import write_outcomes
from ragloom.pipelines.question_answering import ClosedBook, RetrieveThenRead
from ragloom.pipelines.settings import load_settings
from ragloom.store import Store

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "docs" / "sample"
OUTCOMES = ROOT / "notebooks" / "calibrating_a_gate.jsonl"

ISLAND = {
    "How long does the ferry from Lannet to Castle Moor take?": "96 minutes",
    "How many passengers can the Marigold carry?": "220",
    "Who is the captain of the Marigold?": "Joren Vask",
    "Who founded Lannet?": "Aldous Fenn",
    "In which year was Lannet founded?": "1674",
    "How many members does the council of Varrow have?": "nine",
    "What was mined under Mount Osk?": "Lead",
    "Who engraved the copper plates of ferns?": "Pell Haverin",
    "Where was Tobias Renn born?": "Lannet",
    "What is the blue cheese of Varrow called?": "Osk Blue",
    "Where did Odile Tarn teach music?": "Renn School",
    "Who is the director of the botanic garden?": "Noor Achterberg",
    "How high is the tower of Gannet Point Light?": "31 metres",
    "Who was the last keeper of Gannet Point Light?": "Silas Brune",
    "What is the name of the boat that won the regatta in August 2023?": "Kittiwake",
}
CAPITALS = {
    "France": "Paris",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Portugal": "Lisbon",
    "Germany": "Berlin",
    "Austria": "Vienna",
    "Greece": "Athens",
    "Poland": "Warsaw",
    "Sweden": "Stockholm",
    "Norway": "Oslo",
    "Denmark": "Copenhagen",
    "Finland": "Helsinki",
    "Ireland": "Dublin",
    "Belgium": "Brussels",
    "the Netherlands": "Amsterdam",
    "Russia": "Moscow",
    "Egypt": "Cairo",
    "Kenya": "Nairobi",
    "Japan": "Tokyo",
    "China": "Beijing",
    "South Korea": "Seoul",
    "Thailand": "Bangkok",
    "Canada": "Ottawa",
    "Mexico": "Mexico City",
    "Peru": "Lima",
    "Chile": "Santiago",
    "Argentina": "Buenos Aires",
    "Australia": "Canberra",
    "New Zealand": "Wellington",
    "the United Kingdom": "London",
}


def questions() -> list[Question]:
    """Those of the sample, and those of the lists above."""
    island = [question for question in read_questions(SAMPLE / "questions.jsonl") if question.answers]
    island += [Question(f"island-{n}", text, (answer,)) for n, (text, answer) in enumerate(ISLAND.items())]
    capitals = [
        Question(f"capital-{n}", f"What is the capital of {country}?", (city,), meta={"dataset": "capitals"})
        for n, (country, city) in enumerate(CAPITALS.items())
    ]
    return island + capitals


def main() -> None:
    """Collect the outcomes."""
    with tempfile.TemporaryDirectory() as folder, Store.open(folder) as store:
        index_corpus([SAMPLE / "corpus"], store, splitter=WholePassages(64), progress=False)
        llm = Cached(local_llm(), store)
        reader, signals = PromptReader(llm), (QuestionFeatures(), DraftUncertainty(llm))
        modes = {"none": ClosedBook(reader), "single": RetrieveThenRead(open_bm25(store), reader, k=2)}
        run_id = begin_outcomes(load_settings({}), questions(), store, signals=signals, modes=modes)
        print(collect(run_id, signals, modes, store, workers=1))
        write_outcomes(outcomes_of(store, run_id), OUTCOMES)
        print(f"{OUTCOMES.name}: {OUTCOMES.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
