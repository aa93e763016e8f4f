import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 20
DRIVER = Path(__file__).parents[1] / "support" / "killed_indexing.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
def test_indexing_killed_20_times_ends_as_if_nobody_had_killed_it(tmp_path: Path) -> None:
    driver = subprocess.run(
        [sys.executable, "-W", "error", str(DRIVER), str(tmp_path), "--kills", str(KILLS)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert driver.returncode == 0, driver.stderr  # the driver compares each resumed workspace with one never killed
    result = json.loads(driver.stdout)
    assert result["landed"] == KILLS
    assert result["sizes"] == {"documents": 400, "chunks": 1200, "vectors": 1200, "hits": 40, "problems": 0}
