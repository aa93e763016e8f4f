"""The workers of a cluster, Dask's or Ray's, through Prefect's task runners."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from ragloom.errors import ConfigError, RagloomError
from ragloom.flows.connecting import START

T = TypeVar("T")

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's reports to its makers; it reads this when it is imported

_SECONDS_TO_CONNECT = 10
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_RAY_OBJECTS = 100 << 20  # bytes of shared memory: what workers send is small


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a flow has its slices worked on.

    Attributes:
        on: `dask` or `ray`.
        address: of a running scheduler, `tcp://host:8786` or `ray://host:10001`; None for processes of this machine.
        workers: slices worked on at a time; on this machine, so many processes.
    """

    on: Literal["dask", "ray"]
    address: str | None = None
    workers: int = 2

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")


def check_cluster(cluster: Cluster) -> None:
    """See that the cluster can be used, as far as that shows without using it.

    Raises:
        ConfigError: the extra is not installed, nothing answers at the address, or its workers could not reach
            Prefect's server.
    """
    try:
        import_module(f"prefect_{cluster.on}.task_runners")
        import_module(cluster.on)
    except ImportError as error:
        raise ConfigError(
            f"working on {cluster.on} needs packages that are not there ({error})",
            f"pip install 'ragloom[{cluster.on}]'",
        ) from None
    if cluster.address is not None:
        _check_address(cluster.address)


@contextmanager
def workers_of(cluster: Cluster) -> Iterator[TaskRunner[Any]]:
    """A task runner for the cluster, to be used within a flow.

    Raises:
        ConfigError: see `check_cluster`; or what answers at the address is no cluster, or one without workers.
    """
    check_cluster(cluster)
    with (_dask if cluster.on == "dask" else _ray)(cluster) as runner:
        yield runner


def result_of(future: PrefectFuture[T]) -> T:
    """What a worker gave back.

    Raises:
        RagloomError: what it raised, or that it did not come to an end.
    """
    try:
        return future.result()
    except RagloomError:
        raise
    except Exception as error:
        raise RagloomError(
            f"the cluster gave a slice up: {error!r}",
            "what was answered is kept; run the flow again to go on from here",
        ) from error


def _check_address(address: str) -> None:
    try:
        place = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host, port = None, None
    if not host or port is None:
        raise ConfigError(f"{address!r} is no address of a cluster", "e.g. tcp://host:8786 or ray://host:10001")
    if host not in _LOCAL and urlsplit(PREFECT_API_URL.value() or "").hostname in {None, *_LOCAL}:
        raise ConfigError(
            f"the workers at {address} report to Prefect's server, and this one answers on this machine only", START
        )
    try:
        socket.create_connection((host, port), timeout=_SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise ConfigError(
            f"nothing answers at {address} ({error})",
            "start the cluster, or leave the address out to use processes of this machine",
        ) from None


@contextmanager
def _dask(cluster: Cluster) -> Iterator[TaskRunner[Any]]:
    from prefect_dask.task_runners import DaskTaskRunner

    if cluster.address is None:
        logging.getLogger("distributed").setLevel(logging.ERROR)  # else every process tells of its end
        processes = {"n_workers": cluster.workers, "threads_per_worker": 1, "dashboard_address": None}
        runner = DaskTaskRunner(cluster_kwargs=processes)
    else:
        runner = DaskTaskRunner(address=cluster.address, client_kwargs={"timeout": _SECONDS_TO_CONNECT})
    with runner:
        try:
            client = runner.client  # made now, and once: threads that ask for it together would start two clusters
        except (OSError, ValueError) as error:
            raise ConfigError(f"what answers at {cluster.address} is no scheduler of Dask's ({error})") from None
        if not client.nthreads():  # type: ignore[no-untyped-call]
            raise ConfigError(f"the scheduler at {cluster.address} has no workers", "start some: dask worker ADDRESS")
        yield runner


@contextmanager
def _ray(cluster: Cluster) -> Iterator[TaskRunner[Any]]:
    from prefect_ray.task_runners import RayTaskRunner

    if cluster.address is None:
        local = {"num_cpus": cluster.workers, "include_dashboard": False, "object_store_memory": _RAY_OBJECTS}
        runner = RayTaskRunner(init_kwargs=local)
    else:
        runner = RayTaskRunner(address=cluster.address)
    try:
        runner.__enter__()
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"no cluster of Ray's can be used ({error})") from error
    try:
        yield runner
    finally:
        runner.__exit__(None, None, None)
