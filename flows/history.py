"""Which run of its workspace a flow run works on, and on which ones the same deployment worked before."""

from __future__ import annotations

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterId,
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext

LABEL = "ragloom.run"  # of the flow run in Prefect
_LOOKED_AT = 50


def runs_before(run_id: str) -> list[str]:
    """Note the run that this flow run works on; gives those of the completed flow runs before it, the last first.

    They are those of the same deployment, or, without one, of the same flow for the same file and workspace. A run that
    several of them worked on is named several times. Outside of a flow run there are none.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return []
    mine = context.flow_run
    deployment = [mine.deployment_id] if mine.deployment_id else None
    before = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=deployment, is_null_=None if deployment else True),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED])),
    )
    with get_client(sync_client=True) as client:
        client.update_flow_run_labels(mine.id, {LABEL: run_id})
        found = client.read_flow_runs(
            flow_filter=FlowFilter(id=FlowFilterId(any_=[mine.flow_id])),
            flow_run_filter=before,
            sort=FlowRunSort.START_TIME_DESC,
            limit=_LOOKED_AT,
        )
    work = _work(mine.parameters)
    return [
        str(run.labels[LABEL]) for run in found if LABEL in run.labels and (deployment or _work(run.parameters) == work)
    ]


def _work(parameters: dict[str, object]) -> tuple[object, object]:
    settings = parameters.get("settings")
    return parameters.get("questions"), settings.get("workspace") if isinstance(settings, dict) else None
