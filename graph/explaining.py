"""Why passages were found: the strongest paths of the walk from the question to each of them, as data and as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from ragloom.graph.building import KnowledgeGraph
from ragloom.graph.characters import one_line
from ragloom.graph.paths import NodePath, PathFinder
from ragloom.types import Chunk

if TYPE_CHECKING:
    from ragloom.graph.index import Walk

Kind = Literal["question", "phrase", "passage"]

QUESTION = -1  # its node number

_LEAST_SHARE = 0.01  # of a path beside a passage's first
_SHOWN_SEEDS = 8  # the strongest; a walk may start at every passage
_TITLE_CHARACTERS = 60  # of its text stand for a passage without a title


@dataclass(frozen=True, slots=True)
class Node:
    """A node that takes part in an explanation.

    Attributes:
        number: of the node in the graph, -1 for the question.
        kind: what it is.
        label: the question, the phrase, or the passage's title or first words; one line, control characters visible.
        text: a passage's whole text as it is, else empty.
        edges: how many edges join it to other nodes of the graph.
    """

    number: int
    kind: Kind
    label: str
    text: str = ""
    edges: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """A node on a path, and how the walk came there.

    Attributes:
        node: where it is now.
        link: what joins the node to the one before: for a seed, why the walk starts there; empty for the question.
        share: the probability of this step at the node before; 1 for the question.
    """

    node: Node
    link: str
    share: float


@dataclass(frozen=True, slots=True)
class Path:
    """A way from the question to a passage, without detours.

    Attributes:
        steps: the question, a seed, and so on to the passage.
        share: what this path, detours included, adds to the passage's score, as a part of that; in [0, 1].
    """

    steps: tuple[Step, ...]
    share: float

    def __str__(self) -> str:
        """The path in one line: `'fist power' (named in the question) -> is the name of "Fist Power" (31 %)`."""
        seed, *further = self.steps[1:]
        ways = [f"{_quoted(seed.node)} ({seed.link})", *(f"{step.link} {_quoted(step.node)}" for step in further)]
        return f"{' -> '.join(ways)} ({100 * self.share:.0f} %)"


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that was found, and the strongest paths to it.

    Attributes:
        node: the passage.
        chunk: the same.
        score: of its hit.
        paths: the largest share first; empty where the walk does not come there.
    """

    node: Node
    chunk: Chunk
    score: float
    paths: tuple[Path, ...]

    @property
    def explained(self) -> float:
        """How much of the walk's score the paths shown account for, in [0, 1]."""
        return min(1.0, sum(path.share for path in self.paths))


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the passages of one question were found.

    Attributes:
        question: as asked.
        fallback: why there was no walk; empty if there was one.
        seeds: the strongest, each as a step from the question.
        more_seeds: how many there are beside those.
        found: in the order of the hits.
        nodes: of the whole graph.
        edges: of the walk's whole graph.
    """

    question: str
    fallback: str
    seeds: tuple[Step, ...]
    more_seeds: int
    found: tuple[Found, ...]
    nodes: int
    edges: int

    @property
    def without_path(self) -> str:
        """How a passage without a path was found."""
        return "found by the search alone" if self.fallback else "not reached by the walk"

    def __str__(self) -> str:
        """The explanation in lines of text: each passage with its paths below."""
        lines = [f"no walk: {self.fallback}"] if self.fallback else []
        for rank, found in enumerate(self.found, 1):
            explained = f"{100 * found.explained:.0f} % explained" if found.paths else self.without_path
            lines.append(f"{rank}. {found.node.label}  (score {found.score:.3g}, {explained})")
            lines += [f"   {path}" for path in found.paths]
        return "\n".join(lines if self.found else [*lines, "nothing was found"])

    def _repr_html_(self) -> str:
        """For notebooks: the picture, and the text below it."""
        from ragloom.graph.drawing import figure

        return figure(self)


def explain(walk: Walk, graph: KnowledgeGraph, chunks: Sequence[Chunk], *, paths: int = 3) -> Explanation:
    """Why the hits of a walk were found: the strongest paths to each.

    Args:
        walk: from `GraphIndex.walk`.
        graph: that it walked over.
        chunks: in the graph's order.
        paths: at most so many for each hit.

    Raises:
        ValueError: paths below 1.
    """
    if paths < 1:
        raise ValueError(f"paths must be at least 1, got {paths}")
    place = {id_: row for row, id_ in enumerate(graph.chunk_ids)}
    targets = [len(graph.phrases) + place[hit.chunk.id] for hit in walk.hits]
    describe = _Description(walk, graph, chunks)
    found = describe.paths(targets, paths)
    seeds = sorted(describe.seeds(), key=lambda step: (-step.share, step.node.number))
    return Explanation(
        walk.query,
        one_line(walk.fallback),
        tuple(seeds[:_SHOWN_SEEDS]),
        max(0, len(seeds) - _SHOWN_SEEDS),
        tuple(
            Found(describe.node(target), hit.chunk, hit.score, found[target])
            for target, hit in zip(targets, walk.hits, strict=True)
        ),
        walk.transition.nodes,
        len(walk.transition.targets),
    )


class _Description:
    """Names the nodes and links of a walk."""

    def __init__(self, walk: Walk, graph: KnowledgeGraph, chunks: Sequence[Chunk]) -> None:
        self._walk, self._graph, self._chunks = walk, graph, chunks
        self._reset = np.zeros(walk.transition.nodes)
        reasons: defaultdict[int, dict[str, None]] = defaultdict(dict)  # a set in order
        for seed in walk.seeds:
            self._reset[seed.node] += seed.weight
            reasons[seed.node][one_line(seed.reason)] = None
        self._reasons = {node: ", ".join(texts) for node, texts in reasons.items()}
        self._degrees = np.diff(walk.transition.starts)
        self._finder = PathFinder(walk.transition, self._reset, walk.damping)

    def paths(self, targets: Sequence[int], k: int) -> dict[int, tuple[Path, ...]]:
        """The paths to each target, the largest share first."""
        found: dict[int, tuple[Path, ...]] = {}
        ways = {target: self._finder.strongest(target, k) for target in targets}
        added = iter(self._finder.contributions(list(chain(*ways.values())), self._walk.scores))
        for target, paths in ways.items():
            parts = list(islice(added, len(paths)))
            # A score may be less than its parts, by the tolerance of the walk and of the detours.
            whole = max(self._walk.scores[target], sum(parts)) if paths else 1.0
            shares = (Path(self._steps(path), float(part / whole)) for path, part in zip(paths, parts, strict=True))
            found[target] = _worth_showing(shares)
        return found

    def seeds(self) -> list[Step]:
        """Every seed once, as a step from the question."""
        return [self._seed(node) for node in self._reasons]

    def node(self, number: int) -> Node:
        phrases = len(self._graph.phrases)
        if number < phrases:
            return Node(number, "phrase", one_line(self._graph.phrases[number]), edges=int(self._degrees[number]))
        chunk = self._chunks[number - phrases]
        label = one_line(chunk.title) or one_line(chunk.text, _TITLE_CHARACTERS) or f"passage {number - phrases + 1}"
        return Node(number, "passage", label, chunk.text, int(self._degrees[number]))

    def _seed(self, number: int) -> Step:
        return Step(self.node(number), self._reasons[number], float(self._reset[number]))

    def _steps(self, path: NodePath) -> tuple[Step, ...]:
        question = Step(Node(QUESTION, "question", one_line(self._walk.query)), "", 1.0)
        further = (
            Step(self.node(after), self._link(before, after), self._finder.chance(before, after))
            for before, after in pairwise(path)
        )
        return (question, self._seed(path[0]), *further)

    def _link(self, before: int, after: int) -> str:
        """What the graph says of two nodes that an edge joins."""
        phrases = len(self._graph.phrases)
        named = self._graph.names[max(before, after) - phrases, min(before, after)]
        if after >= phrases:
            return "is the name of" if named else "is mentioned in"
        return "is about" if named else "mentions"


def _worth_showing(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The paths by share; of those with hardly any only the first."""
    ordered = sorted(paths, key=lambda path: -path.share)
    return (*ordered[:1], *(path for path in ordered[1:] if path.share >= _LEAST_SHARE))


def _quoted(node: Node) -> str:
    return f'"{node.label}"' if node.kind == "passage" else f"'{node.label}'"
