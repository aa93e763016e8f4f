"""The MCP server as assistants meet it: through the package's own client, in process and over stdin and stdout."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import QUESTION, Served, serving, until

pytest.importorskip("mcp", reason="the extra mcp is not installed")

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from scripted_endpoint import ScriptedEndpoint

from ragloom.mcp_server import mcp_server


@pytest.fixture(scope="module")
def served(sample_workspace: Path) -> Iterator[Served]:
    with serving(sample_workspace) as served:
        yield served


def call(served: Served, tool: str, /, answer_s: float = 60.0, **arguments: Any) -> Any:
    async def once() -> Any:
        async with Client(mcp_server(served.service, pipeline="single", answer_s=answer_s)) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(once())


def test_there_are_three_tools_and_they_say_what_they_give(served: Served):
    async def listed() -> Any:
        async with Client(mcp_server(served.service, pipeline="single")) as client:
            return (await client.list_tools()).tools

    tools = {tool.name: tool for tool in asyncio.run(listed())}
    assert set(tools) == {"ask", "retrieve", "explain"}
    assert "graph" in tools["ask"].description
    assert set(tools["ask"].output_schema["properties"]) >= {"answer", "citations", "abstained"}


def test_ask_answers_with_citations(served: Served):
    result = call(served, "ask", question=QUESTION)
    assert not result.is_error
    found = result.structured_content
    assert found["answer"] == "Ines Corvale"
    assert found["citations"][0]["source"] == "gannet-point-light.md"
    assert json.loads(result.content[0].text)["answer"] == "Ines Corvale"  # for clients that only read text


def test_a_pipeline_can_be_named(served: Served):
    assert call(served, "ask", question=QUESTION, pipeline="closed-book").structured_content["citations"] == []


def test_retrieve_gives_as_many_passages_as_asked_for(served: Served):
    before = served.model.count
    passages = call(served, "retrieve", query="Gannet Point Light", k=3).structured_content["passages"]
    assert [passage["rank"] for passage in passages] == [1, 2, 3]
    assert any("Ines Corvale" in passage["text"] for passage in passages)
    assert served.model.count == before


def test_explain_shows_paths_from_the_question_to_passages(served: Served):
    found = call(served, "explain", question="Where was the engineer of Gannet Point Light born?", k=3)
    explained = found.structured_content
    assert any("gannet point light" in start for start in explained["starts"])
    assert any("->" in path for passage in explained["found"] for path in passage["paths"])


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        ("ask", {"question": ""}, "the question is empty"),
        ("ask", {"question": "Who?", "pipeline": "best"}, "there is no pipeline 'best'; there are closed-book"),
        ("retrieve", {"query": "x", "k": 0}, "greater than or equal to 1"),
        ("retrieve", {"query": "x", "k": 10_000}, "less than or equal to 50"),
        ("explain", {"question": " "}, "the question is empty"),
    ],
)
def test_what_cannot_be_done_is_told(served: Served, tool: str, arguments: dict[str, Any], told: str):
    result = call(served, tool, **arguments)
    assert result.is_error
    assert told in result.content[0].text


def test_what_is_wrong_with_the_model_is_no_protocol_error(sample_workspace: Path):
    with serving(sample_workspace, script=lambda _: "404") as broken:
        result = call(broken, "ask", question=QUESTION)
    assert result.is_error
    assert "Traceback" not in result.content[0].text


def test_an_answer_that_takes_too_long_is_given_up(sample_workspace: Path):
    with serving(sample_workspace, script=["stream-endless"]) as slow:
        result = call(slow, "ask", question=QUESTION, answer_s=0.2)
        assert "longer than 0.2 s" in result.content[0].text
        until(lambda: slow.service.under_way == 0)


def test_the_command_speaks_mcp_over_stdin_and_stdout(sample_workspace: Path):
    async def over_stdio(model: ScriptedEndpoint) -> Any:
        process = StdioServerParameters(
            command=sys.executable,
            args=[
                *(
                    str(Path(__file__).parent / "support" / "serve_process.py"),
                    "--mcp",
                    "--workspace",
                    str(sample_workspace),
                ),
                *("--base-url", model.base_url, "--model", "scripted", "--pipeline", "single", "--offer", "single"),
            ],
            env={**os.environ, "OPENAI_API_KEY": "none"},
        )
        async with Client(stdio_client(process)) as client:
            return await client.call_tool("ask", {"question": QUESTION})

    with ScriptedEndpoint(lambda _: "Ines Corvale [1]") as model:
        assert asyncio.run(over_stdio(model)).structured_content["answer"] == "Ines Corvale"
