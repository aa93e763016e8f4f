import os
import signal
import subprocess
import sys
from pathlib import Path

# A process that spawns another, as Prefect does for each scheduled run; only that one keeps the pipe open at the end.
PARENT = """
import multiprocessing, os, signal, sys
from ragloom.flows.orphans import end_with_parent

def terminated(*_):
    print("terminated", flush=True)
    sys.exit()

def child():
    signal.signal(signal.SIGTERM, terminated)
    end_with_parent()
    print("begun", flush=True)
    signal.pause()

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=child).start()
    signal.pause()
"""


def test_a_run_ends_with_the_process_that_spawned_it_even_where_that_is_killed(tmp_path: Path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "begun\n"
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.stdout.read() == "terminated\n"
