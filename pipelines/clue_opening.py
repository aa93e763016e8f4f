"""From settings to what uses a memory: the retriever by clues, and the pipelines over it."""

from __future__ import annotations

from ragloom.components.clue_making import LLMClueMaker
from ragloom.components.clue_phrases import PhraseClues
from ragloom.components.clue_retrieval import ClueRetriever, weak_retrieval
from ragloom.components.clues import ClueMaker
from ragloom.components.draft_reading import DraftReader
from ragloom.components.memory import Memory
from ragloom.components.memory_state import read_ahead
from ragloom.components.reordering import document
from ragloom.pipelines.clue_answering import ClueAnswering, MemoryOnly, Summarising
from ragloom.pipelines.context import open_order, open_selector
from ragloom.pipelines.memory_building import open_memory
from ragloom.pipelines.settings import Settings
from ragloom.pipelines.wiring import model_options, open_memory_llm, open_reader, open_retriever
from ragloom.store import Store
from ragloom.types import LLM


def open_clue_retriever(settings: Settings, store: Store) -> ClueRetriever:
    """The retriever of the settings, with clues from their memory.

    Raises:
        InputError: there are no chunks, or a model writes the memory and has not written all of it.
    """
    memory = open_memory(settings, store)
    retriever = open_retriever(settings.retriever, settings, store)
    maker: ClueMaker = PhraseClues() if settings.clue_maker == "phrases" else open_clue_maker(settings, store, memory)
    gate = weak_retrieval(retriever) if settings.clues_when == "weak" else None
    return ClueRetriever(memory, retriever, maker, gate=gate)


def open_clue_maker(settings: Settings, store: Store, memory: Memory, *, only_draft: bool = False) -> LLMClueMaker:
    """The model that recalls clues from the memory, which it has read already where it runs on this machine."""

    def maker(llm: LLM) -> LLMClueMaker:
        return LLMClueMaker(
            llm,
            memory_tokens=settings.memory_tokens,
            context_tokens=settings.context_tokens,
            spans=not only_draft,
            questions=not only_draft,
            options=model_options(settings),
        )

    llm = open_memory_llm(settings, store)
    return maker(read_ahead(llm, maker(llm).beginning(memory), store))


def open_clue_answering(settings: Settings, store: Store) -> ClueAnswering:
    """The pipeline that retrieves by clues and answers, with the draft at hand where a model recalled one."""
    reader = open_reader(settings, store)
    return ClueAnswering(
        open_clue_retriever(settings, store),
        reader if settings.clue_maker == "phrases" else DraftReader(reader),
        k=settings.k if settings.select is None else settings.candidates,
        refiners=() if settings.select is None else (open_selector(settings, store),),
        arrange=document if settings.order is None else open_order(settings),
    )


def open_memory_only(settings: Settings, store: Store) -> MemoryOnly:
    """The pipeline that answers from the memory alone."""
    memory = open_memory(settings, store)
    return MemoryOnly(memory, open_clue_maker(settings, store, memory, only_draft=True))


def open_summarising(settings: Settings, store: Store) -> Summarising:
    """The pipeline that summarises key points of the memory, each with its evidence."""
    memory = open_memory(settings, store)
    points = open_clue_maker(settings, store, memory).points
    return Summarising(memory, points, open_retriever(settings.retriever, settings, store))
