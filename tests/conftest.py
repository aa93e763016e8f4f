"""What the tests of several folders share."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ragloom.__main__ import main

if TYPE_CHECKING:
    from ragloom.components.local_server import LocalLLM


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests run in several processes: those that share what is slow to start, in the same one."""
    for item in items:
        shared = "flows" if "prefect_server" in getattr(item, "fixturenames", ()) else str(item.path)
        item.add_marker(pytest.mark.xdist_group(shared))


@pytest.fixture
def ragloom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """The command line, run in an empty folder: exit code, and what was written to stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def sample_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the sample corpus, its keyword index and its graph; only replies may be added to it."""
    from served import build_workspace

    return build_workspace(tmp_path_factory.mktemp("sample") / "workspace")


@pytest.fixture(scope="session")
def local_model() -> "Iterator[LocalLLM]":
    """The embedded model on a server that all tests share which only ask; who kills one starts another."""
    from ragloom.components.local_server import local_llm

    llm = local_llm(context_tokens=2048)
    yield llm
    llm.server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a Postgres server; what uses it makes schemas of its own."""
    from postgres_server import postgres_server

    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Prefect has a server, and a home folder that is not the user's."""
    from prefect_server import prefect_server

    with prefect_server():
        yield


@pytest.fixture
def event_loop_of_the_thread() -> Iterator[None]:
    """One that is closed: LlamaIndex's synchronous calls take the thread's, and leave open the one they make."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
