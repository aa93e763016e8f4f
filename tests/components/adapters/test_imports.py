"""What is bridged to loads with its bridge, and not before."""

import subprocess
import sys

import pytest

CODE = """
import sys
import {modules}
print(*sorted({{"langchain_core", "llama_index"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("modules", "loaded"),
    [
        ("ragloom.components.adapters.vector_stores, ragloom.components.adapters.opentelemetry", ""),
        ("ragloom.components.adapters.langchain", "langchain_core"),
    ],
)
def test_modules_load_their_own_library_and_no_other(modules: str, loaded: str):
    code = CODE.format(modules=modules)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == loaded
