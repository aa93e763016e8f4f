import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

KILLS = 50
DRIVER = Path(__file__).parents[1] / "support" / "killed_graph.py"
SHARED_MEMORY = Path("/dev/shm")  # killing a process does not ask for a disk


@pytest.mark.slow  # a hundred workspaces, each killed, looked at, and finished
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
def test_a_graph_killed_while_it_is_built_or_updated_answers_as_before_or_as_after() -> None:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        driver = subprocess.run(
            [sys.executable, "-W", "error", str(DRIVER), folder, "--kills", str(KILLS)],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert driver.returncode == 0, driver.stderr  # the driver compares each workspace with those of before and after
    for begun_from in json.loads(driver.stdout).values():
        assert begun_from["killed"] == KILLS
        assert min(begun_from["as before"], begun_from["as after"]) > 5
