"""Where the best passages end up: our `sides` beside the reorderings of Haystack, LangChain and LlamaIndex.

    pip install haystack-ai langchain-community        # in an environment of its own, with ragloom
    python benchmarks/orders.py

Each is given ten passages, best first, then nine, and so on; ranks are printed in the order of the prompt. All of them
follow retrieval reordering or the finding behind it (arXiv:2410.05983, arXiv:2307.03172). The script ends with an error
if one does not do what `components/reordering.py` says of it, and leaves out what is not installed.
"""

import sys
import warnings
from collections.abc import Callable, Sequence

from ragloom.components.reordering import sides
from ragloom.pipelines.report import Table
from ragloom.types import Chunk, Hit

KS = range(1, 11)
Reordering = Callable[[Sequence[str]], list[str]]  # texts, best first, as the library would put them into the prompt
Expected = Callable[[int], list[str]]


def formula(k: int) -> list[str]:
    """The ranks by position, from the formula of arXiv:2410.05983, section 4."""
    where = {rank: (rank + 1) / 2 if rank % 2 else (k + 1) - rank / 2 for rank in range(1, k + 1)}
    return [str(rank) for rank in sorted(where, key=where.__getitem__)]


def ours(texts: Sequence[str]) -> list[str]:
    """By `sides`."""
    return [hit.chunk.text for hit in sides("", [Hit(Chunk(text, text), -rank) for rank, text in enumerate(texts)])]


def haystack() -> Reordering:
    """By LostInTheMiddleRanker."""
    from haystack import Document
    from haystack.components.rankers import LostInTheMiddleRanker

    def reorder(texts: Sequence[str]) -> list[str]:
        found = LostInTheMiddleRanker().run(documents=[Document(content=text) for text in texts])
        return [document.content or "" for document in found["documents"]]

    return reorder


def langchain() -> Reordering:
    """By LongContextReorder of langchain-community."""
    from langchain_community.document_transformers import LongContextReorder
    from langchain_core.documents import Document

    def reorder(texts: Sequence[str]) -> list[str]:
        found = LongContextReorder().transform_documents([Document(page_content=text) for text in texts])
        return [document.page_content for document in found]

    return reorder


def llama_index() -> Reordering:
    """By LongContextReorder, which sorts by score itself."""
    from llama_index.core.postprocessor import LongContextReorder
    from llama_index.core.schema import NodeWithScore, TextNode

    def reorder(texts: Sequence[str]) -> list[str]:
        nodes = [NodeWithScore(node=TextNode(text=text), score=1 / rank) for rank, text in enumerate(texts, 1)]
        return [found.node.get_content() for found in LongContextReorder().postprocess_nodes(nodes)]

    return reorder


def mirrored(k: int) -> list[str]:
    """The formula for odd numbers, its mirror for even ones."""
    return formula(k) if k % 2 else formula(k)[::-1]


LIBRARIES = {
    "Haystack": ("haystack-ai", haystack, formula),
    "LangChain": ("langchain-community", langchain, mirrored),
    "LlamaIndex": ("llama-index-core", llama_index, mirrored),
}


def installed() -> dict[str, tuple[Reordering, Expected]]:
    """The reorderings to compare, with what is expected of each."""
    found: dict[str, tuple[Reordering, Expected]] = {"ragloom": (ours, formula)}
    for name, (package, load, expected) in LIBRARIES.items():
        try:
            with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
                found[name] = (load(), expected)
        except ImportError as error:
            print(f"{name} is left out: {error}; pip install {package}", file=sys.stderr)
    return found


def described(order: list[str]) -> str:
    """The ranks, and whether they are the publication's, its mirror, or neither."""
    paper = formula(len(order))
    kind = "paper" if order == paper else "mirror" if order == paper[::-1] else "other"
    return f"{' '.join(order)} ({kind})"


def main() -> None:
    """Compare, print, and end with an error where a library does something else than we say."""
    systems = installed()
    rows, wrong = [], []
    for k in KS:
        texts = [str(rank) for rank in range(1, k + 1)]
        orders = {name: reorder(texts) for name, (reorder, _) in systems.items()}
        wrong += [f"{name} for {k}" for name, (_, expected) in systems.items() if orders[name] != expected(k)]
        rows.append((str(k), *(described(order) for order in orders.values())))
    print(Table(("passages", *systems), tuple(rows)).markdown())
    if wrong:
        sys.exit(f"not in the order that was expected: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
