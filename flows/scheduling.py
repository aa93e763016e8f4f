"""A flow on a schedule: served from this process until it is interrupted."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from prefect import Flow
from prefect.client.schemas.schedules import CronSchedule
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType

from ragloom.errors import ConfigError
from ragloom.flows.connecting import check_server


def serve(
    flow: Flow[..., Any], parameters: dict[str, Any], *, deployment: str, cron: str, timezone: str | None
) -> None:
    """Run the flow whenever the expression says, until interrupted; one run at a time.

    Args:
        flow: one that its module exports.
        parameters: of every run; Prefect keeps them.
        deployment: its name; serving another under the same name replaces it.
        cron: five fields, or six with the seconds last.
        timezone: in which the fields are read, as IANA names it; None for UTC.

    Raises:
        ConfigError: the schedule is none, never comes, or there is no server that stays.
        RagloomError: the server does not answer.
    """
    next_run(cron, timezone)
    check_server()
    # A second run at the same time would wait for the workspace in vain.
    flow.serve(
        name=deployment,
        schedule=Cron(cron, timezone=timezone),
        parameters=parameters,
        limit=1,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )


def next_run(cron: str, timezone: str | None) -> datetime:
    """When the schedule comes next.

    Raises:
        ConfigError: it never does, or is no schedule.
    """
    from prefect.server.schemas.schedules import CronSchedule as Dates

    try:
        CronSchedule(cron=cron)
    except ValueError:
        raise ConfigError(
            f"--cron {cron!r} is no schedule", 'five fields: minute hour day month weekday, e.g. "0 3 * * *"'
        ) from None
    try:
        schedule = Dates(cron=cron, timezone=timezone)
    except ValueError:
        raise ConfigError(f"--timezone {timezone!r} is no time zone", "e.g. UTC or Europe/Berlin") from None
    try:
        (first,) = asyncio.run(schedule.get_dates(1))
    except ValueError:
        raise ConfigError(f"--cron {cron!r} never comes", "is there such a day in that month?") from None
    return first
