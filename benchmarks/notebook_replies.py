"""Record anew the replies that notebooks answer from, with the local model: needed where prompts or notebooks change.

    python benchmarks/notebook_replies.py six_techniques [comparing_pipelines ...]

The notebook itself is run, with a recorded `local_llm()` where it has `Replay.load("NAME.jsonl")`, so that the requests
are its own. Takes a minute or two each.
"""

import argparse
import json
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def record(name: str) -> Path:
    """Run the notebook of that name on the local model; gives the file with what it replied."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    replayed, recorded = f'Replay.load("{name}.jsonl")', f'Recording(local_llm(), "{name}.aside.jsonl")'
    if not any(replayed in cell.source for cell in notebook.cells):
        raise SystemExit(f"the notebook {name} has no {replayed}")
    for cell in notebook.cells:
        cell.source = cell.source.replace(replayed, recorded)
    imports = "from ragloom.components.llm import Recording\nfrom ragloom.components.local_server import local_llm"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(imports))
    aside = NOTEBOOKS / f"{name}.aside.jsonl"
    aside.unlink(missing_ok=True)
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    entries = [json.loads(line) for line in aside.read_text(encoding="utf-8").splitlines()]
    aside.unlink()
    kept = {entry["key"]: entry["reply"] for entry in entries}  # without the prompts, which nothing is read from
    file = NOTEBOOKS / f"{name}.jsonl"
    lines = (json.dumps({"key": key, "reply": reply}) + "\n" for key, reply in kept.items())
    file.write_text("".join(lines), encoding="utf-8")
    return file


def main() -> None:
    """Record the notebooks that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    for name in parser.parse_args().names:
        print(record(name))


if __name__ == "__main__":
    main()
