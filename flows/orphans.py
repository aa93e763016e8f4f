"""A scheduled flow run ends with the process that started it, even where that is killed.

`ragloom flow ... --cron` runs each flow in a process of its own. Killed, it cannot stop that one, which would go on
asking the model, and hold the workspace, with nobody to see or interrupt it.
"""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess


def end_with_parent() -> None:
    """Terminate this process when the one that spawned it is gone.

    The questions under way are finished, as with any SIGTERM. Does nothing where no process of Python spawned this one.
    """
    if (parent := parent_process()) is not None:
        threading.Thread(target=_terminated_after, args=[parent], daemon=True, name="end-with-parent").start()


def _terminated_after(parent: BaseProcess) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
