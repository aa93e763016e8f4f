"""From settings to the parts of pipelines: the model, the retriever, the note taker, the reader."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from ragloom.components.embedding import OpenAIEmbedder
from ragloom.components.extractive_notes import ExtractiveNoteTaker
from ragloom.components.fusion import WeightedFusion
from ragloom.components.interleaving import InterleavedRetriever
from ragloom.components.llm import Cached, IdentifiedLLM, OpenAILLM
from ragloom.components.note_claims import NoteTaker
from ragloom.components.note_reading import NoteReader
from ragloom.components.note_taking import LLMNoteTaker
from ragloom.components.notes import NoteCollector
from ragloom.components.passage_prompts import Prompt
from ragloom.components.reading import PromptReader
from ragloom.errors import ConfigError, InputError
from ragloom.graph.extraction import Extractor
from ragloom.graph.rule_extraction import RuleExtractor
from ragloom.pipelines.collecting import CollectedPassages, CollectThenRead, entities_by_rules
from ragloom.pipelines.graph_indexing import open_graph
from ragloom.pipelines.indexing import open_bm25, open_dense
from ragloom.pipelines.settings import Settings
from ragloom.run import Budget
from ragloom.store import Store
from ragloom.types import Embedder, Options, Retriever

if TYPE_CHECKING:
    from ragloom.graph.building import KnowledgeGraph
    from ragloom.graph.index import GraphIndex

RetrieverName = Literal["bm25", "dense", "fused", "graph", "ircot", "notes", "clues"]


def open_llm(settings: Settings, store: Store | None = None) -> IdentifiedLLM:
    """The model of the settings; with a writable store its replies are kept there and asked for only once."""
    llm: IdentifiedLLM
    if settings.base_url is None:
        from ragloom.components.local_server import LocalLLM, local_llm

        llm = local_llm(settings.model, api=settings.api, deadline_s=settings.deadline_s or LocalLLM.deadline_s)
    else:
        llm = OpenAILLM(
            model=settings.model,
            base_url=settings.base_url,
            api=settings.api or "chat",
            api_key_env=settings.api_key_env,
            deadline_s=settings.deadline_s or OpenAILLM.deadline_s,
        )
    return Cached(llm, store) if store is not None and store.writable else llm


def open_memory_llm(settings: Settings, store: Store | None = None) -> IdentifiedLLM:
    """The model of memory and clues: a lighter one where the settings name it, else the one that answers."""
    lighter: dict[str, str] = {}
    if settings.memory_model is not None:
        lighter["model"] = settings.memory_model
    if settings.memory_base_url is not None:
        lighter["base_url"] = settings.memory_base_url
    return open_llm(settings.model_copy(update=lighter), store)


def open_embedder(settings: Settings) -> Embedder:
    """The embedder of the settings."""
    if settings.embedding_base_url is None:
        if settings.embedder != "minilm":
            raise ConfigError(
                f"there is no local embedder {settings.embedder!r}, only minilm",
                "set embedding_base_url to the endpoint that serves it",
            )
        from ragloom.components.minilm import LocalEmbedder

        return LocalEmbedder()
    return OpenAIEmbedder(settings.embedder, base_url=settings.embedding_base_url, api_key_env=settings.api_key_env)


def open_extractor(settings: Settings, store: Store) -> Extractor:
    """What reads chunks for the knowledge graph: the rules, spaCy, or the model of the settings.

    Raises:
        ConfigError: the settings name something else, such as the extractions of an imported file.
    """
    if settings.extractor == "rules":
        return RuleExtractor()
    if settings.extractor == "spacy":
        from ragloom.graph.spacy_extraction import SpacyExtractor

        return SpacyExtractor()
    if settings.extractor == "llm":
        from ragloom.graph.llm_extraction import LLMExtractor

        return LLMExtractor(open_llm(settings, store), options=model_options(settings))
    raise ConfigError(f"there is no extractor {settings.extractor!r}", "use rules, spacy or llm")


def open_graph_index(settings: Settings, store: Store) -> GraphIndex:
    """The graph index over the store's chunks, by the extractor of the settings.

    Raises:
        InputError: nothing that the extractor found is stored, and it is not the rules.
    """
    from ragloom.graph.index import GraphIndex

    passages = open_retriever(settings.walk_from, settings, store)
    return GraphIndex(open_knowledge_graph(settings, store), store.chunks(), passages)


def open_knowledge_graph(settings: Settings, store: Store) -> KnowledgeGraph:
    """The graph of the store's chunks, by the extractor of the settings.

    Raises:
        InputError: there are no chunks, or nothing that the extractor found is stored, and it is not the rules.
    """
    require_chunks(store)
    return open_graph(store, _extractor_identity(settings, store))


def open_retriever(name: RetrieverName, settings: Settings, store: Store) -> Retriever:
    """A retriever over the store's chunks.

    `fused` adds up the scores of BM25 and dense; `graph` walks over the knowledge graph; `ircot` interleaves the
    retriever of the settings with thoughts of their model; `notes` gives the passages that a note was collected from;
    `clues` searches for what a memory recalls as well.

    Raises:
        InputError: there are no chunks; every question would pass for one that the documents do not answer.
    """
    require_chunks(store)
    if name == "ircot":
        return InterleavedRetriever(
            open_llm(settings, store),
            open_retriever(settings.retriever, settings, store),
            steps=settings.steps or InterleavedRetriever.steps,
            context_tokens=settings.context_tokens,
            options=model_options(settings),
        )
    if name == "clues":
        from ragloom.pipelines.clue_opening import open_clue_retriever  # it opens its parts here

        return open_clue_retriever(settings, store)
    if name == "notes":
        return CollectedPassages(open_collector(settings, store))
    if name == "graph":
        return open_graph_index(settings, store)
    if name == "bm25":
        return open_bm25(store)
    dense = open_dense(store, open_embedder(settings))
    return dense if name == "dense" else WeightedFusion([open_bm25(store), dense], [0.5, 0.5])


def require_chunks(store: Store) -> None:
    """See that there is something to search.

    Raises:
        InputError: there are no chunks; every question would pass for one that the documents do not answer.
    """
    if not store.chunk_count():
        raise InputError(f"there are no documents in {store.folder}", "run `ragloom index` first, or set --workspace")


def open_prompt(settings: Settings) -> Prompt | None:
    """The prompt file of the settings; None for the packaged prompts."""
    return Prompt.load(settings.prompt) if settings.prompt else None


def open_reader(settings: Settings, store: Store, *, on_text: Callable[[str], None] | None = None) -> PromptReader:
    """The reader of the settings.

    Args:
        settings: its model, mode and limits.
        store: if it is writable, replies are kept in it.
        on_text: called with each piece of an answer as it is written.
    """
    options = model_options(settings)
    if on_text is not None:
        options["on_text"] = on_text
    return PromptReader(
        open_llm(settings, store),
        mode=settings.mode,
        prompt=open_prompt(settings),
        max_tokens=settings.max_tokens,
        context_tokens=settings.most_context_tokens,
        options=options,
    )


def open_collector(settings: Settings, store: Store) -> NoteCollector:
    """What collects notes over the retriever of the settings."""
    taker: NoteTaker
    if settings.note_taker == "rules":
        taker = ExtractiveNoteTaker(entities_by_rules)
    else:
        taker = LLMNoteTaker(
            open_llm(settings, store), context_tokens=settings.context_tokens, options=model_options(settings)
        )
    return NoteCollector(
        taker,
        open_retriever(settings.retriever, settings, store),
        k=settings.k,
        steps=settings.steps or NoteCollector.steps,
        budget=Budget(tokens=settings.note_tokens, seconds=settings.note_seconds),
    )


def open_notes(settings: Settings, store: Store) -> CollectThenRead:
    """The pipeline that collects notes and answers from them."""
    return CollectThenRead(
        open_collector(settings, store), NoteReader(open_reader(settings, store), passages=settings.k)
    )


def _extractor_identity(settings: Settings, store: Store) -> str:
    """What the extractions of the settings' extractor are stored under."""
    named = settings.extractor in {"rules", "spacy", "llm"}
    return open_extractor(settings, store).identity if named else settings.extractor


def model_options(settings: Settings) -> Options:
    """Options of every call to the model."""
    options = Options(temperature=0.0)
    if settings.seed is not None:
        options["seed"] = settings.seed
    return options
