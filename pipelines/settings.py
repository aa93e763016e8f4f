"""What a pipeline is made of, as plain values: from arguments, the environment and a TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ragloom.errors import ConfigError
from ragloom.run import Budget

ENVIRONMENT_PREFIX = "RAGLOOM_"
DEFAULT_FILE = Path("ragloom.toml")
SELECTED_TOKENS = 1024  # of a prompt whose passages are selected, where no limit is set


class Settings(BaseModel):
    """Everything that decides how questions are answered. Plain JSON values, so that a flow can take it as a parameter.

    Secrets are never among them: `api_key_env` is the name of the environment variable that holds the key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    workspace: Path = Field(default=Path("workspace"), description="folder of the index, the caches and the answers")
    chunk_tokens: int = Field(default=512, ge=64, description="longer documents are split, in tokens")
    pipeline: Literal[
        "closed-book", "single", "hybrid", "graph", "ircot", "notes", "clues", "memory", "summary", "adaptive"
    ] = Field(
        default="hybrid",
        description="how questions are answered: from what the model knows, from what one retriever finds, from BM25 "
        "and embeddings, from a walk over the knowledge graph, from retrieval and thought in turns, from a note that "
        "is collected until it stops growing, from what the clues of a memory find, from the memory alone, as a "
        "summary of key points with their evidence, or as a gate decides",
    )
    retriever: Literal["bm25", "dense", "fused", "graph"] = Field(
        default="bm25", description="what the single, ircot, notes, clues, summary and adaptive pipelines retrieve with"
    )
    memory: Literal["extractive", "glossary", "gists", "tree", "full-text"] = Field(
        default="extractive",
        description="what stands for the whole corpus: sentences taken from it, a glossary of the knowledge graph, "
        "gists or a tree of summaries written by the model, or all of it",
    )
    memory_tokens: int = Field(default=2048, ge=1, description="most of a memory that is put to a model, in tokens")
    memory_model: str | None = Field(
        default=None, description="a lighter model for memory and clues; by default the one that answers"
    )
    memory_base_url: str | None = Field(
        default=None, description="OpenAI-compatible endpoint of the memory's model; by default that of the other"
    )
    clue_maker: Literal["phrases", "llm"] = Field(
        default="phrases",
        description="what makes clues: phrases of the memory, without a model, or the model, which recalls them",
    )
    clues_when: Literal["always", "weak"] = Field(
        default="always", description="clues for every question, or only where the question itself finds little"
    )
    note_taker: Literal["llm", "rules"] = Field(
        default="llm", description="what writes the notes: the model, or rules that quote passages and call no model"
    )
    note_tokens: int | None = Field(
        default=None, ge=1, description="what collecting a note for one question may spend, in tokens"
    )
    note_seconds: float | None = Field(
        default=None, gt=0, description="what collecting a note for one question may take, in seconds"
    )
    gate: str = Field(
        default="ask",
        description="what the adaptive pipeline decides by: never, always, random, ask, self-assessment, confidence, "
        "draft, samples, prompts, popularity, retrieval, neighbours, or the file of a calibrated gate (several, "
        "separated by commas: the first that works with the model)",
    )
    gate_bound: float | None = Field(
        default=None,
        description="a gate that is named rather than calibrated retrieves beyond it; for random, the share of "
        "questions it retrieves for (default: see docs/gating.md)",
    )
    when_needed: Literal["single", "iterative"] = Field(
        default="single", description="what a gate that only knows whether to retrieve leads to"
    )
    iterative: Literal["notes", "ircot"] = Field(default="notes", description="how a gate's iterative mode retrieves")
    retrieval_rate: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="retrieve for exactly this share of a batch: for the questions that the gate finds to need it most",
    )
    popularity: Path | None = Field(
        default=None, description="table of names and page views for the popularity gate; by default the corpus's own"
    )
    outcomes: Path | None = Field(default=None, description="outcomes of past questions, for gates that look at them")
    allow_mismatch: bool = Field(
        default=False, description="use a gate that was calibrated with another model or prompt, with a warning"
    )
    extractor: str = Field(
        default="rules",
        description="what finds the entities of the knowledge graph: rules, spacy, llm, or what an imported file is "
        "stored under",
    )
    walk_from: Literal["bm25", "dense", "fused"] = Field(
        default="fused", description="what finds the passages that a walk over the graph starts from"
    )
    steps: int | None = Field(
        default=None,
        ge=1,
        description="retrievals of the ircot pipeline, a thought between each two; rounds of the notes pipeline after "
        "its first retrieval; by default 2 and 3",
    )
    k: int = Field(default=5, ge=1, description="passages given to the reader; of selectors, top-k alone heeds it")
    select: (
        Literal[
            "top-k",
            "greedy-fill",
            "ratio-greedy",
            "knapsack",
            "mmr",
            "greedy-marginal",
            "beam",
            "local-search",
            "mcts",
            "corag",
        ]
        | None
    ) = Field(
        default=None,
        description="how passages are chosen from the candidates, so that the prompt fits context_tokens (1,024 if "
        "not set, of which the packaged prompts take half); by default the best k are taken",
    )
    candidates: int = Field(
        default=30, ge=1, description="passages retrieved to select from; the best 60 of them are looked at"
    )
    utility: Literal["coverage", "embedding", "rating", "draft"] = Field(
        default="coverage",
        description="what combinations of passages are scored by: what they cover of the question, the embedding of "
        "their text, the model's rating, or how sure the model is of its answer from them",
    )
    evaluations: int | None = Field(
        default=None,
        ge=0,
        description="combinations that a selector may score for a question; by default 600, and 100 where each is a "
        "call to the model",
    )
    order: str | None = Field(
        default=None,
        description="order of the passages in the prompt: relevance, reverse, sides, sides-mirror, document, grouped, "
        "chronological, random, or the file of a calibrated order; by default as they were found or selected",
    )
    mode: Literal["short", "long", "yes-no"] = Field(default="short", description="kind of answer")
    prompt: Path | None = Field(default=None, description="a prompt file instead of the built-in one")
    context_tokens: int | None = Field(default=None, ge=1, description="longest context given to the model, in tokens")
    model: str = Field(default="smollm2", description="name of a local model, or of one at the base URL")
    base_url: str | None = Field(default=None, description="OpenAI-compatible endpoint of the model")
    api: Literal["chat", "completions"] | None = Field(
        default=None, description="how the model is asked; by default as suits a local model, and chat at a base URL"
    )
    api_key_env: str = Field(default="OPENAI_API_KEY", description="environment variable that holds the key")
    max_tokens: int | None = Field(default=None, ge=1, description="longest answer, in tokens")
    seed: int | None = Field(default=None, description="seed passed on to the model")
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        description="longest time for one call, retries included; by default 120, and 600 for a local model",
    )
    embedder: str = Field(
        default="minilm", description="the local embedder, or the name of one at the embedding base URL"
    )
    embedding_base_url: str | None = Field(default=None, description="OpenAI-compatible endpoint of the embedder")
    workers: int | None = Field(
        default=None, ge=1, description="questions answered side by side; by default 8, and 1 with a local model"
    )
    max_total_tokens: int | None = Field(default=None, ge=0, description="budget of a run, in tokens")
    max_calls: int | None = Field(default=None, ge=0, description="budget of a run, in calls to the model")
    max_cost: float | None = Field(default=None, ge=0, description="budget of a run, in US dollars")
    max_seconds: float | None = Field(default=None, ge=0, description="budget of a run, in seconds")

    @property
    def most_context_tokens(self) -> int | None:
        """Longest prompt, in tokens. Where passages are selected there is always a limit to select for."""
        return self.context_tokens or (None if self.select is None else SELECTED_TOKENS)

    @property
    def questions_at_once(self) -> int:
        """Questions answered side by side. A local model answers one at a time, the others would only wait."""
        return self.workers or (1 if self.base_url is None else 8)

    @property
    def budget(self) -> Budget:
        """What a run may spend."""
        return Budget(self.max_total_tokens, self.max_calls, self.max_cost, self.max_seconds)


def load_settings(
    arguments: Mapping[str, Any], *, file: Path | None = None, environment: Mapping[str, str] | None = None
) -> Settings:
    """Settings from arguments (None where not given), then `RAGLOOM_…` variables, then a TOML file, then the defaults.

    Args:
        arguments: by the names of the fields.
        file: the TOML file; without one, `ragloom.toml` in the current folder if there is one.
        environment: stands in for `os.environ`.

    Raises:
        ConfigError: a value that cannot work, an unknown name in the file, or a broken file; says where it came from.
    """
    variables = os.environ if environment is None else environment
    layers: list[tuple[str, dict[str, Any]]] = [
        ("argument", {name: value for name, value in arguments.items() if value is not None}),
        (
            "environment variable",
            {
                name: variables[ENVIRONMENT_PREFIX + name.upper()]
                for name in Settings.model_fields
                if ENVIRONMENT_PREFIX + name.upper() in variables
            },
        ),
    ]
    if file is not None or DEFAULT_FILE.is_file():
        layers.append((str(file or DEFAULT_FILE), _read_toml(file or DEFAULT_FILE)))
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for place, values in reversed(layers):
        merged.update(values)
        origin.update(dict.fromkeys(values, place))
    try:
        return Settings(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        shown = ENVIRONMENT_PREFIX + name.upper() if origin[name] == "environment variable" else name
        reason = "there is no such setting" if first["type"] == "extra_forbidden" else first["msg"].lower()
        raise ConfigError(
            f"{origin[name]} {shown} = {merged[name]!r}: {reason}", "`ragloom batch --help` lists the settings"
        ) from None


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the settings file {file}: {error}") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
