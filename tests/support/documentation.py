"""The code blocks of a page of documentation, done from top to bottom as its reader would.

Commands run in a folder with the sample (`docs/sample`) and, as after the tutorial, its workspace and its questions as
`questions.jsonl` and `labelled.jsonl`. The model is a scripted endpoint. The python blocks of a page share their names.
`text` blocks show what comes out, or what needs a server that stays or other machines: of these no command is run, and
those of ragloom are only understood.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragloom.__main__ import main
from ragloom.arguments import command_line

ROOT = Path(__file__).parents[2]
_BLOCK = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_OWN_MODEL = "http://localhost:8000/v1"  # where pages have the reader's own model
_SERVED = "http://127.0.0.1:8100"  # where `ragloom serve` listens by itself


@dataclass(frozen=True)
class Block:
    """A block of a page, and the line it begins at."""

    kind: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """All blocks of the page, in its order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match[2], re.sub(f"^{match[1]}", "", match[3], flags=re.MULTILINE), text.count("\n", 0, match.start()) + 1
        )
        for match in _BLOCK.finditer(text)
    ]


@dataclass
class Reader:
    """Somebody who does what a page says.

    Attributes:
        folder: where, which is also the working folder of python blocks.
        model: base URL of the endpoint that answers.
        export: sets an environment variable until the end of the test.
    """

    folder: Path
    model: str
    export: Callable[[str, str], None]
    names: dict[str, Any] = field(default_factory=dict)
    _served: str = _SERVED
    _servers: list[subprocess.Popen[str]] = field(default_factory=list)

    def follow(self, block: Block) -> None:
        """Do what the block says; an error that names its line where that fails."""
        text = block.text.replace(_OWN_MODEL, self.model).replace(_SERVED, self._served)
        if block.kind == "python":
            exec(compile(text, f"<line {block.line}>", "exec"), self.names)
        elif block.kind in {"", "bash"}:
            for command in _commands(text):
                self._run(command)
        elif block.kind == "toml":
            tomllib.loads(text)
            self._write(text)
        elif block.kind == "json":
            json.loads(text)
        else:
            assert block.kind == "text", f"line {block.line}: {block.kind!r} blocks are not run"
            for command in _commands(text):
                if said := re.match(r"(?:\$ )?ragloom (.*)", command):
                    command_line().parse_args(shlex.split(said[1]))

    def leave(self) -> None:
        """Close the clients that a reader's interpreter would, and stop the servers that are running."""
        from openai import OpenAI

        for each in self.names.values():
            if isinstance(each, OpenAI):
                each.close()
        for server in self._servers:
            server.terminate()
        for server in self._servers:
            server.wait(30)
            if server.stdout:
                server.stdout.close()

    def _write(self, text: str) -> None:
        """A file that begins with a comment of its name is written."""
        if named := re.match(r"# (\S+\.toml)\n", text):
            (self.folder / named[1]).write_text(text, encoding="utf-8")

    def _run(self, command: str) -> None:
        if exported := re.fullmatch(r"export (\w+)=(.*)", command):
            self.export(exported[1], " ".join(shlex.split(exported[2])))
        elif command.startswith(("pip install", "make ")):
            pass  # what they set up is there
        elif command.endswith("&"):
            self._serve(f"{command.removesuffix('&')} --port 0")
        elif command.startswith("ragloom ") and not re.search("[|<>;]", command):
            assert main(shlex.split(command)[1:]) == 0, command  # the same without a new interpreter
        else:
            subprocess.run(_shell(command), cwd=self.folder, check=True)

    def _serve(self, command: str) -> None:
        """Start a server and wait until it says where it listens."""
        server = subprocess.Popen(
            _shell(f"exec {command}"),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._servers.append(server)
        said = []
        for line in server.stdout or ():
            said.append(line)
            if listens := re.search(r"http://[\w.:]+", line):
                self._served = listens[0]
                return
        raise AssertionError(f"{command} ended: {''.join(said)}")


def _shell(command: str) -> list[str]:
    return ["bash", "-euo", "pipefail", "-c", command]


def _commands(text: str) -> Iterator[str]:
    """The commands, continued lines joined, without comments."""
    for line in text.replace("\\\n", " ").splitlines():
        if command := re.sub(r"(^|\s)#.*$", "", line).strip():
            yield command
