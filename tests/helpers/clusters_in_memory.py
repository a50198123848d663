"""Connected components of all edges in one process: what the rounds of a job are compared with."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.dedup.minhash import Edges


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


def clusters(pairs: Edges) -> Clusters:
    """Returns the connected components of all partitions' edges."""
    page, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(pairs.shape)
    linked = np.ones(len(ends), np.int8)
    graph = coo_array((linked, (ends[:, 0], ends[:, 1])), shape=(len(page), len(page)))
    _, component = connected_components(graph, directed=False)
    _, first, size = np.unique(component, return_index=True, return_counts=True)
    # Pages are in ascending order, so a component's first page is its smallest.
    return Clusters(page, page[first[component]], size[component].astype(np.int64))
