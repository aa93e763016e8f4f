"""Layers of a picture: by distance, apart, and the same for the same edges."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ragloom.graph.layout import layered


@st.composite
def connected(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Edges of a graph that can be walked from node 0 to every node."""
    size = draw(st.integers(1, 15))
    tree = [(draw(st.integers(0, node - 1)), node) for node in range(1, size + 1)]
    more = draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), max_size=20))
    return tree + [(source, target) for source, target in more if source != target]


@given(connected())
def test_no_two_nodes_of_a_layer_overlap(edges: list[tuple[int, int]]):
    places = layered(edges, 0)
    assert places.keys() == {node for edge in edges for node in edge}
    for layer in {layer for layer, _ in places.values()}:
        row = sorted(place for other, place in places.values() if other == layer)
        assert all(right - left > 0.999999 for left, right in pairwise(row))


@given(connected())
def test_a_layer_holds_what_is_as_far_from_the_root(edges: list[tuple[int, int]]):
    places = layered(edges, 0)
    assert places[0][0] == 0
    for source, target in edges:
        assert places[target][0] <= places[source][0] + 1
    for node, (layer, _) in places.items():
        assert node == 0 or any(places[source][0] == layer - 1 for source, target in edges if target == node)


@given(connected())
def test_the_order_of_the_edges_does_not_matter(edges: list[tuple[int, int]]):
    assert layered(edges, 0) == layered(sorted(edges, reverse=True), 0)


def test_crossing_edges_are_untangled():
    places = layered([(0, 1), (0, 2), (1, 4), (2, 3)], 0)
    assert (places[1][1] < places[2][1]) == (places[4][1] < places[3][1])


def test_a_root_alone_is_a_picture():
    assert layered([], 0) == {0: (0, 0.0)}
