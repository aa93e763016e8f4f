"""A process that asks the local model about a memory: `python memory_reader.py WORKSPACE BEGINNING PROMPT`."""

import sys

from ragloom.components.local_server import local_llm
from ragloom.components.memory_state import ReadAhead
from ragloom.run import Run
from ragloom.store import Store
from ragloom.types import Message

folder, beginning, prompt = sys.argv[1:]
with Store.open(folder, write=False) as store, Run() as run:
    llm = ReadAhead(local_llm(context_tokens=2048), [Message(role="user", content=beginning)], store)
    reply = llm([Message(role="user", content=prompt)], max_tokens=8, temperature=0.0)
read = run.spent.prompt_tokens - run.spent.cached_tokens
sys.stdout.write(f"{run.spent.calls} calls, {read} tokens read\n{reply.text!r}\n")
