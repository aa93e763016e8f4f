"""Work in a fork, for the scripts that kill it."""

import os
from collections.abc import Callable


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
