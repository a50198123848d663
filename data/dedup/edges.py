"""Edges between pages that share keys, from each hash partition of the keys.

A key is a MinHash band (`minhash.band_keys`) or the first half of a line's hash
(`dedup.line_dedup.as_numbers`). A page is a unique number; the smallest number of a cluster is its
representative. `line_dedup.rank_of` makes numbers that favour no site; two of a million pages then
collide with probability 3e-8 (of 5 billion: 0.5, which needs serial numbers instead).

Each partition of the keys yields its edges independently. The union of all edges has the same
clusters, whatever the partitioning and the order; `components.py` finds them.

Only pages that share a key appear: memory grows with the duplicates, 16 bytes per edge.
"""

import numpy as np
from jaxtyping import UInt64

from data.sorted_numbers import distinct_pairs, is_first, lengths_of

Edges = UInt64[np.ndarray, "edges 2"]


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
