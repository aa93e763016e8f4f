import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.flows import load_flow_from_entrypoint

ROOT = Path(__file__).parents[2]
FLOWS = (
    *("index_corpus", "build_graph", "build_memory", "batch_qa", "evaluate", "calibrate_gate", "compare_pipelines"),
)
DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


def load(entrypoint: str) -> Flow[..., Any]:
    return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("separator", [":", "."])
def test_prefect_loads_every_flow_by_its_module(name: str, separator: str):
    assert load(f"ragloom.flows.{name}{separator}{name}").fn.__name__ == name


@pytest.mark.parametrize("name", FLOWS)
def test_flows_keep_no_results(name: str):
    assert load(f"ragloom.flows.{name}:{name}").persist_result is False


def test_every_flow_has_a_deployment():
    assert {deployment["entrypoint"] for deployment in DEPLOYMENTS} == {f"ragloom.flows.{n}:{n}" for n in FLOWS}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["entrypoint"])
def test_deployments_have_a_schedule_and_parameters_that_their_flow_takes(deployment: dict[str, Any]):
    flow = load(deployment["entrypoint"])
    assert flow.validate_parameters(deployment["parameters"])["settings"].model == "smollm2"
    assert all(CronSchedule(**schedule) for schedule in deployment["schedules"])
    assert deployment["work_pool"] == {"name": "ragloom"}


def test_prefect_is_told_to_report_nothing_and_to_be_patient_unless_the_user_says_otherwise():
    theirs = {
        "PREFECT_SERVER_ANALYTICS_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "7",
        "DO_NOT_TRACK": "0",
    }
    mine = {name: value for name, value in os.environ.items() if name not in theirs}
    kept = f"import os, ragloom.flows; print(*(os.environ[name] for name in {list(theirs)}))"
    read = (
        "import os, ragloom.flows; from prefect.settings import get_current_settings;"
        "server = get_current_settings().server;"
        "print(server.analytics_enabled, server.ephemeral.startup_timeout_seconds, os.environ['DO_NOT_TRACK'])"
    )
    assert said(read, mine) == ["False", "120", "1"]
    assert said(kept, mine | theirs) == ["true", "7", "0"]  # not by Prefect, whose import takes seconds


def said(code: str, environment: dict[str, str]) -> list[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
