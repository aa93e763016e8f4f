"""What is bridged to loads with its bridge, and not before."""

import subprocess
import sys

import pytest

CODE = """
import sys
import {module}
print(*sorted({{"langchain_core", "llama_index"}} & sys.modules.keys()))
"""


@pytest.mark.parametrize(
    ("module", "loaded"),
    [
        ("ragloom.components.adapters", ""),
        ("ragloom.components.adapters.vector_stores", ""),
        ("ragloom.components.adapters.langchain", "langchain_core"),
        ("ragloom.components.adapters.opentelemetry", ""),
    ],
)
def test_a_module_loads_its_own_library_and_no_other(module: str, loaded: str):
    code = CODE.format(module=module)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == loaded
