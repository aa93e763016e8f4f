"""Work in a fork, for the scripts that kill it."""

import os
import threading
from collections.abc import Callable

from tqdm import tqdm

# Its own lock is one of all forks: who is killed while holding it leaves the others waiting without end.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0  # else a thread may hold the lock in the moment of a fork


def fork(work: Callable[[], object]) -> int:
    """Do the work in a fork and give its pid."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return pid
