"""Writes documents, calls and answers into a workspace, as one of several processes that do so at once.

python shared_writer.py FOLDER NAME COUNT
"""

import sys

from store_model import entry

from ragloom.store import Store
from ragloom.types import Reply, Usage

folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Store.open(folder) as store:
    for number in range(count):
        store.put_documents([entry(f"{name}-{number}", f"text {number} of {name}")], origin=name, splitting="s")
        attempt = store.begin_attempt(f"{name}-{number}", model="m", run_id="r")
        store.finish_attempt(attempt, Reply(f"reply {number}", Usage(calls=1)))
        store.commit_item("r", f"{name}-{number}", status="done", result={"by": name})
