"""Pages that belong together because they share keys: edges of a partition of keys, then clusters.

A key is a MinHash band (`near_duplicates`) or a line's hash (`line_rules.as_numbers`, the first of
its two numbers). A page is a number that no other page has, and the smallest one speaks for its
cluster: with `line_rules.rank_of` no site is favoured, and two of a million pages have one number
with probability 3e-8 (of 5 billion: 0.5; take serial numbers then). Keys can be cut into any
partitions: each gives its edges on its own, and the union of the edges has the same clusters,
whatever the order and the cuts. Clusters are edges again (page, representative), so that parts can
be united early:

    clusters(A + B) = clusters(as_edges(clusters(A)) + B)

Only pages with company appear: memory goes with the duplicates, 16 bytes an edge.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64

Edges = UInt64[np.ndarray, "edges 2"]


class Clusters(NamedTuple):
    """Each page that has company, in ascending order.

    Attributes:
        page: its number.
        representative: the smallest number of its cluster.
        size: how many pages the cluster has.
    """

    page: UInt64[np.ndarray, " pages"]
    representative: UInt64[np.ndarray, " pages"]
    size: Int64[np.ndarray, " pages"]


def edges(keys: UInt64[np.ndarray, " entries"], pages: UInt64[np.ndarray, " entries"]) -> Edges:
    """Returns (page, smallest page with the same key), each pair once, in order.

    Args:
        keys: of one partition; all entries of a key must be in the same one.
        pages: whose each key is.
    """
    order = np.lexsort((pages, keys))
    keys, pages = keys[order], pages[order]
    begins = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))[: len(keys)])
    smallest = np.repeat(pages[begins], np.diff(np.append(begins, len(keys))))
    pairs = np.stack((pages, smallest), axis=1)
    return np.unique(pairs[pages != smallest], axis=0)


def clusters(pairs: Edges) -> Clusters:
    """Returns the connected components of all partitions' edges."""
    # Here, for only one step of one rule set waits for it.
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


def as_edges(found: Clusters) -> Edges:
    """Returns clusters as edges, one a page that is not its own representative."""
    pairs = np.stack((found.page, found.representative), axis=1)
    return pairs[found.page != found.representative]
