"""Clusters of pages that share keys: edges of each hash partition, then connected components.

A key is a MinHash band (`minhash.band_keys`) or the first half of a line's hash
(`dedup.line_dedup.as_numbers`). A page is a unique number; the smallest number of a cluster is its
representative. `line_dedup.rank_of` makes numbers that favour no site; two of a million pages then
collide with probability 3e-8 (of 5 billion: 0.5, which needs serial numbers instead).

Each partition of the keys yields its edges independently. The union of all edges has the same
clusters, whatever the partitioning and the order. `components.py` finds them without one process
that holds all edges; `clusters` is what it is compared with.

Only pages that share a key appear: memory grows with the duplicates, 16 bytes per edge.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

from data.sorted_numbers import distinct_pairs, is_first, lengths_of

Edges = UInt64[np.ndarray, "edges 2"]


class Clusters(NamedTuple):
    """The pages of clusters of two or more, in ascending order.

    Attributes:
        page: number of the page.
        representative: smallest page number of the page's cluster.
        size: number of pages in the page's cluster.
    """

    page: UInt64[np.ndarray, " pages"]
    representative: UInt64[np.ndarray, " pages"]
    size: Int64[np.ndarray, " pages"]


def edges(keys: UInt64[np.ndarray, " entries"], pages: UInt64[np.ndarray, " entries"]) -> Edges:
    """Returns (page, smallest page with the same key), each pair once, in order.

    Args:
        keys: keys of one partition, which must hold all entries of each of its keys.
        pages: page number of each key.
    """
    order = np.lexsort((pages, keys))
    keys, pages = keys[order], pages[order]
    first = is_first(keys)
    smallest = np.repeat(pages[first], lengths_of(first))
    linked = pages != smallest
    return np.stack(distinct_pairs(pages[linked], smallest[linked]), axis=1)


def clusters(pairs: Edges) -> Clusters:
    """Returns the connected components of all partitions' edges."""
    # Imported here: no step of a job needs SciPy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    page, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(pairs.shape)
    linked = np.ones(len(ends), np.int8)
    graph = coo_array((linked, (ends[:, 0], ends[:, 1])), shape=(len(page), len(page)))
    _, component = connected_components(graph, directed=False)
    _, first, size = np.unique(component, return_index=True, return_counts=True)
    # Pages are in ascending order, so a component's first page is its smallest.
    return Clusters(page, page[first[component]], size[component].astype(np.int64))
