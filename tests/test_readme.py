"""What the README tells people to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ragloom.arguments import command_line

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
LINES = [line.partition("  #")[0].strip() for kind, block in BLOCKS if not kind for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("ragloom ")])
def test_a_command_is_understood(line: str) -> None:
    command_line().parse_args(shlex.split(line)[1:])


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_a_make_target_is_there(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name
)
def test_a_link_to_a_file_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8"))
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not broken


@pytest.mark.model
def test_the_first_steps_in_python_answer_a_question(tmp_path: Path) -> None:
    code = next(block for kind, block in BLOCKS if kind == "python")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("1961")
