"""Rematerialization: what the backward pass keeps of a block of layers, and what it computes again.

From least to most memory, and most to least time; every policy also keeps the block's input:

| policy | keeps | computes again |
|---|---|---|
| full | nothing else | the whole block |
| exchanges | results of all-to-alls | all but the experts' exchanges: no token is sent twice |
| attention | and queries, keys, values, the result of attention | norms, output, feed-forward |
| products | and the results of all products with weights | norms, activation functions |
| none | every value | nothing |

Where attention is not a kernel, `attention` and `products` also multiply queries with keys
again, as the weights of attention have no name. Results are the same. Gathered weights are
never kept, whatever the policy (`model/layers/products.py`).
"""

from collections.abc import Callable
from typing import Any

import jax

from model.config import Remat

# Names under which values are marked where they are computed.
EXCHANGED = "exchanged"
ATTENDED = "attended"
STATISTICS = "attention_statistics"
MULTIPLIED = "multiplied"

KEPT: dict[Remat, tuple[str, ...]] = {
    "full": (),
    "exchanges": (EXCHANGED,),
    "attention": (EXCHANGED, ATTENDED, STATISTICS),
    "products": (EXCHANGED, ATTENDED, STATISTICS, MULTIPLIED),
}


def rematerialize(body: Callable[..., Any], remat: Remat) -> Callable[..., Any]:
    """Returns the function of a scanned block, keeping what the policy names."""
    if remat == "none":
        return body
    policy = jax.checkpoint_policies.save_only_these_names(*KEPT[remat])
    return jax.checkpoint(body, policy=policy, prevent_cse=False)  # a scan keeps them apart
