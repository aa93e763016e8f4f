"""Where the nodes of a small picture go: in columns, from left to right by their distance from the first node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

_SWEEPS = 24  # there and back again


def layered(edges: Iterable[tuple[int, int]], root: int) -> dict[int, tuple[int, float]]:
    """Column and row of each node; in a column the rows are at least 1 apart.

    A column holds the nodes at the same distance from the root, in an order that keeps neighbours level with each other
    (barycentres: Sugiyama, Tagawa and Toda, 1981). The same edges give the same places, in whatever order they come.

    Args:
        edges: from a node to another; every node can be reached from the root.
        root: alone in column 0.
    """
    following, neighbours = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for source, target in sorted(set(edges)):
        following[source].append(target)
        neighbours[source].append(target)
        neighbours[target].append(source)
    columns = _columns(following, root)
    rows = {node: float(place) for column in columns for place, node in enumerate(column)}
    for sweep in range(_SWEEPS):
        for column in columns[:: -1 if sweep % 2 else 1]:
            rows |= _spread({node: fmean(rows[other] for other in neighbours[node] or [node]) for node in column})
    return {node: (number, rows[node]) for number, column in enumerate(columns) for node in column}


def _columns(following: defaultdict[int, list[int]], root: int) -> Sequence[list[int]]:
    columns, seen = [[root]], {root}
    while columns[-1]:
        new = dict.fromkeys(target for node in columns[-1] for target in following[node] if target not in seen)
        seen |= new.keys()
        columns.append(list(new))
    return columns[:-1]


def _spread(wanted: dict[int, float]) -> dict[int, float]:
    """Rows in the wanted order, moved apart to a distance of 1 and then together to where they were wanted."""
    order = sorted(wanted, key=lambda node: (wanted[node], node))
    rows = [wanted[order[0]]]
    for node in order[1:]:
        rows.append(max(wanted[node], rows[-1] + 1))
    shift = fmean(wanted.values()) - fmean(rows)
    return {node: row + shift for node, row in zip(order, rows, strict=True)}
