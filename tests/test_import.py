import subprocess
import sys

import pytest

SLOW = {"openai", "prefect", "llama_index", "langchain_core", "faiss", "onnxruntime", "scipy", "ir_measures", "pandas"}


def loaded_by(module: str) -> set[str]:
    """Top-level packages in a fresh interpreter after the import."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "ragloom",
        "ragloom.types",
        "ragloom.run",
        "ragloom.store",
        "ragloom.components",
        "ragloom.components.reading",
        "ragloom.graph",
        "ragloom.pipelines",
        "ragloom.pipelines.question_answering",
    ],
)
def test_slow_packages_are_loaded_only_where_they_are_used(module: str):
    loaded = loaded_by(module)
    assert "ragloom" in loaded
    assert loaded & SLOW == set()


def test_what_is_loaded_is_seen():
    assert "scipy" in loaded_by("scipy")
