"""The project's shape: where code lies, what may import what, and what stands nowhere."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "ragloom"
FOLDERS = ("components", "graph", "pipelines", "flows")
LAYERS = ("core", *FOLDERS, "command line")  # each may import itself and what stands before it
COMMAND_LINE = {
    *("__init__", "__main__", "arguments", "command_options", "console", "gate_commands", "graph_commands"),
    *("compare_commands", "tune_commands"),
    "memory_commands",
    "notebook",
    *("chat_format", "http_guard", "mcp_server", "openai_api", "serve_commands", "serving", "web_server"),
}

# A third-party package is imported in its home only, so that it can be replaced, and loaded late, in one place.
# A home is a module, or a package with everything in it.
HOMES = {
    "bm25s": {"components.bm25"},
    "faiss": {"components.dense", "graph.synonyms"},
    "gguf": {"components.requantise"},
    "httpcore": {"components.transport"},
    "httpcore2": {"components.transport"},
    "httpx": {"components.transport", "flows.connecting"},
    "httpx2": {"components.transport"},
    "IPython": {"notebook"},
    "ir_measures": {"pipelines.evaluation"},
    "json_repair": {"components.structured"},
    "jsonschema": {"components.structured"},
    "langchain_core": {"components.adapters"},
    "llama_index": {"components.adapters", "components.ingestion", "components.splitting"},
    "mcp": {"mcp_server"},
    "matplotlib": {"pipelines.comparison_plots"},
    "networkx": {"graph.exporting"},
    "numba": {"graph.local_push"},
    "onnxruntime": {"components.minilm"},
    "openai": {"components.embedding", "components.endpoint", "components.llm", "components.transport"},
    "optuna": {"pipelines.tuning_search"},
    "openinference": {"components.adapters.opentelemetry"},
    "opentelemetry": {"components.adapters.opentelemetry"},
    "prefect": {"flows"},
    "prefect_dask": {"flows.clusters"},
    "prefect_ray": {"flows.clusters"},
    "psycopg": {"postgres"},
    "pyarrow": {"graph.exporting", "pipelines.comparison_files", "pipelines.export"},
    "pydantic": {"components.adapters", "mcp_server", "pipelines.comparing", "pipelines.settings"},
    "rank_bm25": {"components.bm25"},
    "scipy": {
        "graph",
        "pipelines.comparison_statistics",
        "pipelines.drift",
        "pipelines.evaluation",
        "pipelines.gate_fitting",
        "pipelines.gate_objectives",
    },
    "sklearn": {"pipelines.gate_fitting"},
    "spacy": {"graph.spacy_extraction"},
    "sentence_transformers": {"components.combination_scores"},
    "starlette": {"openai_api"},
    "Stemmer": {"components.tokenizing"},
    "tokenizers": {"components.minilm"},
    "tqdm": {"components.local_models", "components.pinned_wheels", "graph.extracting", "pipelines"},
    "uvicorn": {"web_server", "flows"},
    "xllamacpp": {"components.llama_server"},
}
EVERYWHERE = {"numpy", "ragloom"} | sys.stdlib_module_names

CODE_FROM_DATA = {"pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
CALLS_THAT_RUN_DATA = {"eval", "exec", "__import__", "yaml.load", "torch.load", "faiss.deserialize_index"}
OPENS_A_HOLE = re.compile("allow_pickle$|allow_dangerous|trust_remote_code$")


def library() -> dict[str, ast.Module]:
    """Every module of the library by its name within ragloom, e.g. `components.bm25`; `__init__` for the package."""
    files = {file.relative_to(PACKAGE): file for file in PACKAGE.glob("*.py")}
    for folder in FOLDERS:
        files |= {file.relative_to(ROOT): file for file in (ROOT / folder).rglob("*.py")}
    return {
        ".".join(name.with_suffix("").parts).removesuffix(".__init__"): ast.parse(file.read_text(encoding="utf-8"))
        for name, file in sorted(files.items())
    }


MODULES = library()


def imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports anywhere, late imports and those for annotations included, by full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_module(imported: str) -> str:
    """The module of ragloom that an imported name stands in: `ragloom.run.Budget` is in `run`."""
    name = imported.removeprefix("ragloom.")
    while name not in MODULES:
        name = name.rpartition(".")[0] or "__init__"
    return name


def layer(module: str) -> int:
    top = module.partition(".")[0]
    if top in FOLDERS:
        return LAYERS.index(top)
    return LAYERS.index("command line" if top in COMMAND_LINE else "core")


def is_within(module: str, place: str) -> bool:
    return module == place or module.startswith(place + ".")


@pytest.mark.parametrize("module", [name for name in MODULES if name != "__init__"])
def test_imports_point_downwards(module: str) -> None:
    upwards = [
        name
        for name in imports(MODULES[module])
        if is_within(name, "ragloom") and layer(own_module(name)) > layer(module)
    ]
    assert not upwards, f"{LAYERS[layer(module)]} may not import from a layer above"


def test_little_but_the_command_line_builds_on_the_adapters() -> None:
    adapters = "components.adapters"
    users = {
        module
        for module, tree in MODULES.items()
        for name in imports(tree)
        if is_within(name, "ragloom") and is_within(own_module(name), adapters) and not is_within(module, adapters)
    }
    users -= {"pipelines.opening"}  # where OpenTelemetry's own variables are set, to send traces
    assert {user for user in users if LAYERS[layer(user)] != "command line"} == set()


@pytest.mark.parametrize("module", MODULES)
def test_third_party_packages_are_imported_at_home_only(module: str) -> None:
    packages = {name.partition(".")[0] for name in imports(MODULES[module])} - EVERYWHERE
    strays = {name for name in packages if not any(is_within(module, home) for home in HOMES.get(name, ()))}
    assert not strays, "import them in their home (see HOMES in this file), or give a new one a home"


def test_every_home_is_a_module_that_imports_its_package() -> None:
    empty = [
        (package, home)
        for package, homes in HOMES.items()
        for home in homes
        if not any(
            is_within(module, home) and any(is_within(name, package) for name in imports(tree))
            for module, tree in MODULES.items()
        )
    ]
    assert not empty


@pytest.mark.parametrize("folder", FOLDERS)
def test_links_and_folders_agree(folder: str) -> None:
    link = PACKAGE / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..", "..", folder)
    assert (link / "__init__.py").samefile(ROOT / folder / "__init__.py")


def test_the_package_has_no_other_folders() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert found == set(FOLDERS)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_refuses_to_be_imported_under_its_bare_name(folder: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert f"ImportError: import ragloom.{folder}, not {folder}" in ended.stderr


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_read_can_run_as_code(module: str) -> None:
    tree = MODULES[module]
    found = {name for name in imports(tree) if name.partition(".")[0] in CODE_FROM_DATA}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            found |= {ast.unparse(node.func)} & CALLS_THAT_RUN_DATA
        if isinstance(node, ast.keyword) and OPENS_A_HOLE.match(node.arg or "") and ast.unparse(node.value) != "False":
            found.add(f"{node.arg}={ast.unparse(node.value)}")
    assert not found


# Paths of one machine, and hosts that only some machines can reach: pip's own configuration names the registry.
# The brackets keep this file from finding itself.
PLACES = re.compile(
    r"(?<![\w.])/(?:[w]ork|[r]oot|[t]mp|[h]ome|[U]sers)/|[A-Z]:\\\\?[U]sers"
    r"|[p]ypi\.org|[p]ythonhosted\.org|[a]naconda\.org|--(?:[e]xtra-)?index-url|[t]rusted-host"
)


def test_no_file_names_a_machine_or_a_package_registry() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: git cannot tell which files belong to the project")
    listing = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    files = [ROOT / name for name in listing if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]
    found = []
    for file in files:
        text = file.read_bytes().decode("utf-8", "replace")
        found += [f"{file.relative_to(ROOT)}: {match[0]}" for match in PLACES.finditer(text)]
    assert not found
