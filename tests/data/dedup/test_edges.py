import numpy as np
from clusters_in_memory import clusters
from hypothesis import given
from hypothesis import strategies as st

from data.dedup.edges import edges

ENTRIES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 25)), max_size=60)


def arrays(entries: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(entries, np.uint64).reshape(-1, 2)
    return both[:, 0] * np.uint64(2**60), both[:, 1] * np.uint64(2**58)


def slow_clusters(entries: list[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Merges sets of pages until nothing changes."""
    sets = [frozenset(page for k, page in entries if k == key) for key, _ in entries]
    found: list[frozenset[int]] = []
    for one in sets:
        meeting = [other for other in found if other & one]
        found = [other for other in found if not other & one] + [one.union(*meeting)]
    return {page << 58: cluster for cluster in found for page in cluster if len(cluster) > 1}


@given(ENTRIES)
def test_clusters_are_the_pages_that_keys_connect(entries):
    found = clusters(edges(*arrays(entries)))
    expected = slow_clusters(entries)
    assert found.page.tolist() == sorted(expected)
    for page, representative, size in zip(*map(np.ndarray.tolist, found), strict=True):
        assert representative == min(expected[page]) << 58
        assert size == len(expected[page])


@given(ENTRIES, st.data())
def test_neither_order_nor_partitions_of_keys_matter(entries, data):
    whole = clusters(edges(*arrays(entries)))
    mixed = data.draw(st.permutations(entries))
    parts = [edges(*arrays([one for one in mixed if one[0] % 3 == part])) for part in (1, 0, 2)]
    for one, other in zip(whole, clusters(np.concatenate(parts)), strict=True):
        np.testing.assert_array_equal(one, other)


@given(ENTRIES)
def test_edges_are_in_order_and_each_is_there_once(entries):
    pairs = [tuple(pair) for pair in edges(*arrays(entries + entries)).tolist()]
    assert pairs == sorted(set(pairs))
    assert all(representative < page for page, representative in pairs)
