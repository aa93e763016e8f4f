"""Where the nodes of a small picture go: in layers, by their distance from the first node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean

_SWEEPS = 24  # there and back again


def layered(edges: Iterable[tuple[int, int]], root: int) -> dict[int, tuple[int, float]]:
    """Layer of each node and its place therein; in a layer the places are at least 1 apart.

    A layer holds the nodes at the same distance from the root, in an order that keeps neighbours close to each other
    (barycentres: Sugiyama, Tagawa and Toda, 1981). The same edges give the same places, in whatever order they come.

    Args:
        edges: from a node to another; every node can be reached from the root.
        root: alone in layer 0.
    """
    following, neighbours = defaultdict[int, list[int]](list), defaultdict[int, list[int]](list)
    for source, target in sorted(set(edges)):
        following[source].append(target)
        neighbours[source].append(target)
        neighbours[target].append(source)
    layers = _layers(following, root)
    places = {node: float(place) for layer in layers for place, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        for layer in layers[:: -1 if sweep % 2 else 1]:
            places |= _spread({node: fmean(places[other] for other in neighbours[node] or [node]) for node in layer})
    return {node: (number, places[node]) for number, layer in enumerate(layers) for node in layer}


def _layers(following: defaultdict[int, list[int]], root: int) -> Sequence[list[int]]:
    layers, seen = [[root]], {root}
    while layers[-1]:
        new = dict.fromkeys(target for node in layers[-1] for target in following[node] if target not in seen)
        seen |= new.keys()
        layers.append(list(new))
    return layers[:-1]


def _spread(wanted: dict[int, float]) -> dict[int, float]:
    """Places in the wanted order, moved apart to a distance of 1 and then together to where they were wanted."""
    order = sorted(wanted, key=lambda node: (wanted[node], node))
    places = [wanted[order[0]]]
    for node in order[1:]:
        places.append(max(wanted[node], places[-1] + 1))
    shift = fmean(wanted.values()) - fmean(places)
    return {node: place + shift for node, place in zip(order, places, strict=True)}
