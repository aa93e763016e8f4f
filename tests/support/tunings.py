"""What is tuned in tests: forty lands with a capital each, and settings that find them or do not."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from ragloom.components.datasets import Question, read_questions
from ragloom.pipelines.indexing import index_corpus
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.tuning import TuningPlan, tune
from ragloom.pipelines.tuning_runs import Objective
from ragloom.pipelines.tuning_space import Choice, Range, Space, Value
from ragloom.store import Store

COIN = 6  # with which the best of some settings gains much by luck
_ENDINGS = ("ia", "ona", "und", "mark", "stan")
LANDS = [f"{first}{last}" for first in ("Ar", "Bel", "Cor", "Dun", "El") for last in _ENDINGS]
LANDS += [f"{first}{last}" for first in ("Fin", "Gal", "Hel") for last in _ENDINGS]


def city(land: str) -> str:
    return f"Port {land[::-1].title()}"


def reads(prompt: str) -> str:
    """A model that answers what stands in the prompt, and knows every fourth capital by heart."""
    land = _asked(prompt)
    stands = f"{city(land)} is the capital of {land}" in prompt.rsplit("Question:", 1)[0]
    return city(land) if stands or LANDS.index(land) % 4 == 0 else "Atlantis"


def guesses(prompt: str) -> str:
    """A model that is right every other time, by a coin for each prompt: no settings are better than others."""
    land = _asked(prompt)
    return city(land) if hashlib.sha256(f"{COIN}{prompt}".encode()).digest()[0] % 2 else "Atlantis"


def _asked(prompt: str) -> str:
    rest = prompt.rsplit("capital of ", 1)[-1]
    return next(land for land in LANDS if rest.startswith(f"{land}?"))


def index_lands(workspace: Path) -> Path:
    """The workspace, with a passage for each land."""
    corpus = workspace.parent / "lands.jsonl"
    corpus.write_text(
        "\n".join(json.dumps({"title": land, "text": f"{city(land)} is the capital of {land}."}) for land in LANDS),
        encoding="utf-8",
    )
    with Store.open(workspace) as store:
        index_corpus([corpus], store, progress=False)
    return workspace


def write_questions(file: Path) -> Path:
    lines = [
        {
            "id": land,
            "question": f"What is the capital of {land}?",
            "answers": [city(land)],
            "supporting_titles": [land],
        }
        for land in LANDS
    ]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return file


def questions(folder: Path) -> list[Question]:
    return read_questions(write_questions(folder / "questions.jsonl"))


def settings_for(workspace: Path, base_url: str, **changes: object) -> Settings:
    values = {"workspace": workspace, "model": "scripted", "base_url": base_url, "workers": 1, **changes}
    return Settings.model_validate({"api_key_env": "RAGLOOM_TEST_KEY", "pipeline": "single", "k": 1, **values})


def plan_for(
    base: Settings, folder: Path, *, trials: int = 6, **space: list[Value] | tuple[float, float]
) -> TuningPlan:
    """A list is a choice, a tuple a range."""
    parameters = {
        name: Choice(tuple(values)) if isinstance(values, list) else Range(*values) for name, values in space.items()
    }
    return TuningPlan(Space(base, parameters), questions(folder), Objective("em"), trials=trials)


def main() -> None:
    """Tune `k` in the workspace with the endpoint that are named, until the end or until killed."""
    workspace, base_url = sys.argv[1:]
    plan = plan_for(settings_for(Path(workspace), base_url), Path(workspace).parent, trials=4, k=(1, 30))
    with Store.open(plan.space.base.workspace) as store:
        tune(plan, store, progress=False)


if __name__ == "__main__":
    main()
