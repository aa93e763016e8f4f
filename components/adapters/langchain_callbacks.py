"""A trace for LangChain's callbacks and the tracers behind them. Import it from `adapters.langchain`."""

from __future__ import annotations

from collections import defaultdict

from langchain_core.callbacks import CallbackManager, Callbacks
from langchain_core.outputs import Generation, LLMResult

from ragloom.errors import RagloomError
from ragloom.types import RunRecord, Span


def replay_trace(record: RunRecord, callbacks: Callbacks) -> None:
    """Tell callbacks of each step of a run that is over: an LLM run for each call of a model, a chain for the rest.

    They come in the order and the nesting of the trace. When a step began and how long it took are the metadata
    `start_s` and `seconds`, since LangChain's own times are those of the telling.
    """
    steps_of: dict[int, list[int]] = defaultdict(list)
    for place, step in enumerate(record.spans):
        steps_of[step.parent].append(place)

    def tell(parent: int, callbacks: Callbacks) -> None:
        for place in steps_of[parent]:
            step = record.spans[place]
            times = {"start_s": step.start, "seconds": step.seconds}
            manager = CallbackManager.configure(inheritable_callbacks=callbacks, local_metadata=times)
            if step.name == "llm":
                _tell_call(step, manager)
                continue
            run = manager.on_chain_start(None, {}, name=step.name)
            tell(place, run.get_child())
            if "error" in step.attributes:
                run.on_chain_error(RagloomError(str(step.attributes["error"])))
            else:
                run.on_chain_end(dict(step.attributes))

    tell(-1, callbacks)


def _tell_call(step: Span, manager: CallbackManager) -> None:
    told = dict(step.attributes)
    model = str(told.get("model", ""))
    # The trace has no text: the prompt and the reply are empty.
    for run in manager.on_llm_start({"name": model}, [""], name=model):
        if "error" in told:
            run.on_llm_error(RagloomError(str(told["error"])))
        else:
            output = {"token_usage": {"total_tokens": told.get("tokens")}, "model_name": model}
            run.on_llm_end(LLMResult(generations=[[Generation(text="", generation_info=told)]], llm_output=output))
