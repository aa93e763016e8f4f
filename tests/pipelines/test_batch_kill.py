import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from scripted_endpoint import ScriptedEndpoint, digest_answer

QUESTIONS = 200
KILLS = 20
DRIVER = Path(__file__).parents[1] / "support" / "killed_batch.py"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the driver forks")
def test_a_batch_killed_20_times_answers_everything_once_and_repeats_no_more_than_was_under_way(tmp_path: Path):
    with ScriptedEndpoint(delay_s=0.05) as endpoint:
        driver = subprocess.run(
            [
                *(sys.executable, str(DRIVER), str(tmp_path / "batches"), "--base-url", endpoint.base_url),
                *("--questions", str(QUESTIONS), "--kills", str(KILLS)),
            ],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "RAGLOOM_TEST_KEY": "key", "OMP_NUM_THREADS": "1"},
        )
        assert driver.returncode == 0, driver.stderr
        prompts = Counter(request.prompt for request in endpoint.requests if "completions" in request.path)
    result = json.loads(driver.stdout)
    rounds = result["rounds"]
    assert result["kills"] == KILLS

    expected = {prompt: digest_answer(prompt) for prompt in prompts}
    for done in rounds:
        assert done["counts"] == {"done": QUESTIONS, "failed": 0, "pending": 0}
        assert [question_id for question_id, _ in done["answers"]] == [f"q{number}" for number in range(QUESTIONS)]
        assert {text for _, text in done["answers"]} == set(expected.values())
        assert done["problems"] == []
    assert all(done["answers"] == rounds[0]["answers"] for done in rounds)

    requests = sum(prompts.values())
    repeated = requests - QUESTIONS * len(rounds)
    assert 0 < repeated <= KILLS * result["workers"]  # none at all would mean that no kill hit a call
    in_ledger = sum(sum(done["attempts"].values()) for done in rounds)
    assert in_ledger >= requests  # whatever may have been paid twice can be seen
