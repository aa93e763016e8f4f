"""What personalised PageRank costs a query, beside igraph as HippoRAG calls it and networkx, on graphs of growing size.

    python benchmarks/pagerank.py [--write] [--data FOLDER] [--nodes 10000 100000 1000000] [--rounds 5]

The first graph has the phrases of HippoRAG's GPT-3.5 triples of MuSiQue (in the folder's `musique/`) as nodes and their
triples as edges; the others are random, grown by preferential attachment. A query has five random seeds with random
weights. Times are CPU time on one thread, the least of several rounds in which all take turns. "Top 20" is the share of
the first 20 nodes that are among those of the answer exact to 1e-10 (ties count as right), "nodes" have a score.

igraph is no dependency, and its licence is the GPL. To measure it, `pip install igraph` beside ragloom, best into an
environment made for that; without it its rows are left out.
"""

import argparse
import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # before numpy loads

import json
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
from log_plot import log_plot
from numpy.typing import NDArray
from retrieval import ROOT, write_into_results
from scipy.sparse import coo_array

from ragloom.graph.extraction import extraction_of, normalise
from ragloom.graph.local_push import local_push
from ragloom.graph.ranking import Transition, personalised_pagerank
from ragloom.pipelines.report import Table

DAMPINGS = (0.5, 0.8)  # HippoRAG's and ragloom's
QUERIES = 50
IGRAPH, NETWORKX, EXACT, PUSH = "igraph", "networkx", "ragloom, exact to 1e-4", "ragloom, local push"


class Graph(NamedTuple):
    """Undirected: the ends of each edge, (edges, 2), and its weight, (edges,)."""

    name: str
    nodes: int
    edges: NDArray[np.int64]
    weights: NDArray[np.float64]

    def transition(self) -> Transition:
        """Every edge in both directions."""
        starts, ends = np.concatenate([self.edges, self.edges[:, ::-1]]).T
        both = np.concatenate([self.weights, self.weights])
        return Transition.from_weights(coo_array((both, (starts, ends)), shape=(self.nodes, self.nodes)))


class Query(NamedTuple):
    """Seeds, and the same as one number for each node."""

    nodes: NDArray[np.int64]
    weights: NDArray[np.float64]
    reset: NDArray[np.float64]


class Found(NamedTuple):
    """Nodes and their scores."""

    nodes: NDArray[np.intp]
    scores: NDArray[np.float64]


Rank = Callable[[Query], Any]  # what it gives is read by `found`, outside of the time that is taken


class Peer(NamedTuple):
    """A way to rank, prepared for a graph and a damping; the larger the graph, the fewer queries it gets."""

    name: str
    prepare: Callable[[Graph, float], Rank]
    node_visits: float


class Cost(NamedTuple):
    """CPU seconds a query, share of the right first 20, and nodes with a score."""

    seconds: float
    overlap: float
    nodes: float


def as_hipporag(graph: Graph, damping: float) -> Rank:
    import igraph  # type: ignore[import-not-found]

    built = igraph.Graph(n=graph.nodes, edges=graph.edges.tolist())
    built.es["weight"] = graph.weights.tolist()
    return lambda query: built.personalized_pagerank(
        vertices=range(graph.nodes),
        damping=damping,
        directed=False,
        weights="weight",
        reset=query.reset,
        implementation="prpack",
    )


def by_networkx(graph: Graph, damping: float) -> Rank:
    built: nx.Graph[int] = nx.Graph()
    built.add_nodes_from(range(graph.nodes))
    built.add_weighted_edges_from(zip(*graph.edges.T.tolist(), graph.weights.tolist(), strict=True))

    def rank(query: Query) -> Any:
        seeds = dict(zip(query.nodes.tolist(), query.weights.tolist(), strict=True))
        ranks = nx.pagerank(built, alpha=damping, personalization=seeds)
        return [ranks[node] for node in range(graph.nodes)]

    return rank


def exact(tolerance: float) -> Callable[[Graph, float], Rank]:
    def prepare(graph: Graph, damping: float) -> Rank:
        transition = graph.transition()
        return lambda query: personalised_pagerank(transition, query.reset, damping=damping, tolerance=tolerance)

    return prepare


def push(graph: Graph, damping: float) -> Rank:
    transition = graph.transition()
    return lambda query: local_push(transition, query.nodes, query.weights, damping=damping)


def peers() -> Iterator[Peer]:
    if find_spec("igraph"):
        yield Peer(IGRAPH, as_hipporag, 1e6)
    yield Peer(NETWORKX, by_networkx, 1e5)
    yield Peer("ragloom, exact to 1e-8", exact(1e-8), 1e6)
    yield Peer(EXACT, exact(1e-4), 1e6)
    yield Peer("ragloom, to 1e-2 (local push without numba)", exact(1e-2), 1e6)
    if find_spec("numba"):
        yield Peer(PUSH, push, 1e12)


def musique(file: Path) -> Graph:
    """Phrases, with an edge where they are subject and object of a triple, weighing the number of such triples."""
    numbers: dict[str, int] = {}
    counts: Counter[tuple[int, int]] = Counter()
    for document in json.loads(file.read_text(encoding="utf-8"))["docs"]:
        for triple in extraction_of([], document["extracted_triples"]).triples:
            names = normalise(triple.subject), normalise(triple.object)
            start, end = sorted(numbers.setdefault(name, len(numbers)) for name in names)
            if start != end:
                counts[start, end] += 1
    return Graph("MuSiQue, GPT-3.5 triples", len(numbers), np.array(list(counts)), np.array([*counts.values()], float))


def preferential_attachment(nodes: int, edges_each: int = 4) -> Graph:
    """Each node comes with edges to nodes drawn in proportion to the edges they have (Barabasi and Albert 1999).

    An end of a random edge is such a draw: one half of the time it is that edge's older end, which may be one drawn
    in the same way, and is looked up once those before it are known.
    """
    generator = np.random.default_rng(0)
    newer = np.repeat(np.arange(nodes), edges_each)
    drawn = (generator.random(len(newer)) * edges_each * newer).astype(np.int64)  # an edge of a node before
    older = np.where(generator.random(len(newer)) < 0.5, newer[drawn], -drawn - 1)  # below 0: as that edge
    older[:edges_each] = 0
    while (waiting := np.flatnonzero(older < 0)).size:
        older[waiting] = older[-older[waiting] - 1]
    numbers = generator.permutation(nodes)  # else old nodes lie together in memory, and their neighbours do
    edges = np.sort(np.column_stack([numbers[newer], numbers[older]]), axis=1)
    edges = np.unique(edges[edges[:, 0] != edges[:, 1]], axis=0)
    return Graph("random", nodes, edges, np.ones(len(edges)))


def queries(nodes: int) -> Iterator[Query]:
    generator = np.random.default_rng(1)
    for _ in range(QUERIES):
        seeds, weights = generator.choice(nodes, 5, replace=False), generator.random(5)
        reset = np.zeros(nodes)
        reset[seeds] = weights
        yield Query(seeds, weights, reset)


def measure(graph: Graph, damping: float, rounds: int) -> dict[str, Cost]:
    """What each peer costs; one that would take too long is left out."""
    asked = list(queries(graph.nodes))
    few = {peer: asked[: min(QUERIES, int(peer.node_visits / graph.nodes))] for peer in peers()}
    ranks = {peer: peer.prepare(graph, damping) for peer in few if few[peer]}
    answers = {peer: [found(rank(query)) for query in few[peer]] for peer, rank in ranks.items()}
    least = dict.fromkeys(ranks, float("inf"))
    for _ in range(rounds):
        for peer, rank in ranks.items():
            start = time.process_time()
            for query in few[peer]:
                rank(query)
            least[peer] = min(least[peer], (time.process_time() - start) / len(few[peer]))
    overlaps: dict[Peer, list[float]] = {peer: [] for peer in ranks}
    right = exact(1e-10)(graph, damping)
    for place, query in enumerate(asked):
        reference = right(query)
        for peer in ranks:
            overlaps[peer] += [overlap(answer, reference) for answer in answers[peer][place : place + 1]]
    return {peer.name: Cost(least[peer], mean(overlaps[peer]), mean(map(size, answers[peer]))) for peer in ranks}


def size(answer: Found) -> int:
    return int(np.count_nonzero(answer.scores))


def found(answer: Any) -> Found:
    """What a peer gave: scores of all nodes, or nodes and their scores."""
    return Found(*answer) if isinstance(answer, tuple) else Found(np.arange(len(answer)), np.array(answer))


def overlap(answer: Found, right: NDArray[np.float64], k: int = 20) -> float:
    first = answer.nodes[np.lexsort((answer.nodes, -answer.scores))[:k]]
    least = np.partition(right, -k)[-k]
    return float((right[first] >= least - 1e-9).sum()) / k


def rows_of(graph: Graph, costs: Sequence[dict[str, Cost]]) -> Iterator[tuple[str, ...]]:
    for place, name in enumerate(costs[0]):
        sizes = f"{graph.name}: {graph.nodes:,} nodes, {len(graph.edges):,} edges" if place == 0 else ""
        yield sizes, name, *(cell for each in costs for cell in cells(each, name))


def cells(costs: dict[str, Cost], name: str) -> tuple[str, ...]:
    cost, igraph = costs[name], costs.get(IGRAPH)
    faster = f"{igraph.seconds / cost.seconds:,.1f}" if igraph and cost is not igraph else ""
    return f"{1e3 * cost.seconds:,.3g}", faster, f"{cost.overlap:.3f}", f"{cost.nodes:,.0f}"


def plot(costs: Mapping[int, dict[str, Cost]]) -> str:
    lines = {
        name: [(float(nodes), 1e3 * each[name].seconds) for nodes, each in costs.items() if name in each]
        for name in (NETWORKX, IGRAPH, EXACT, PUSH)
    }
    shown = {name: line for name, line in lines.items() if line}
    return log_plot("Personalised PageRank: CPU time of a query, damping 0.5", "nodes", "milliseconds", shown)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "datasets")
    parser.add_argument("--nodes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--write", action="store_true", help="write the table into docs/results.md and the plot into docs/"
    )
    return parser.parse_args()


def graphs(data: Path, nodes: Sequence[int]) -> Iterator[Graph]:
    """One at a time, since the large ones fill memory."""
    triples = data / "musique" / "openie_gpt-3.5-turbo.json"
    if triples.exists():
        yield musique(triples)
    else:
        print(
            f"{triples} is not there (name its folder with --data): the graph of MuSiQue is left out", file=sys.stderr
        )
    yield from map(preferential_attachment, nodes)


def main() -> None:
    """Measure, print, and with `--write` put the table into the results and the plot into `docs/`."""
    args = arguments()
    for package in ("igraph", "numba"):
        if not find_spec(package):
            print(f"{package} is not installed (pip install {package}): its rows are left out", file=sys.stderr)
    there = [f"{name} {version(name)}" for name in ("igraph", "networkx", "scipy", "numba") if find_spec(name)]
    print(f"Python {platform.python_version()}, {', '.join(there)}")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    rows: list[tuple[str, ...]] = []
    points: dict[int, dict[str, Cost]] = {}
    for graph in graphs(args.data, args.nodes):
        costs = [measure(graph, damping, args.rounds) for damping in DAMPINGS]
        rows += rows_of(graph, costs)
        if graph.name == "random":
            points[graph.nodes] = costs[0]
        print(f"{graph.nodes:,} nodes measured, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    columns = [f"damping {damping}: {name}" for damping in DAMPINGS for name in ("ms", "faster", "top 20", "nodes")]
    table = Table(("graph", "ranked by", *columns), tuple(rows)).markdown()
    print(table)
    if args.write:
        write_into_results("benchmarks/pagerank.py", table)
        (ROOT / "docs" / "pagerank.svg").write_text(plot(points), encoding="utf-8")


if __name__ == "__main__":
    main()
