"""`RUN/tasks/NAME/routing-SPLIT-step=N.parquet`: which experts the tokens of a task are sent to.

It counts the tokens of the inputs, which the encoder reads, and of the correct targets, which the
decoder reads as in training. So the counts do not depend on the network's answers, and two runs are
counted on the same tokens. Dispatch is dropless, as it is for answers. The columns are those of
pretraining's evaluations (`eval/experts.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Int, Num

from eval.experts import Usage, added, by_language, columns
from model.batch import Batch, Call
from model.decoding.generation import never_dropping
from model.loss.training_loss import row_routings
from model.switch.balancing import RowRouting
from model.transformer import Transformer


def routed(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    targets: Int[Array, "batch target"],
    mesh: Mesh,
) -> RowRouting:
    """Returns the routing sums of each row of a sparse network.

    Args:
        model: the network.
        inputs, targets: ids with EOS, right-padded; the mesh's batch axes must divide the rows.
        mesh: the devices.
    """
    model = never_dropping(model, inputs.shape[1], targets.shape[1])
    assert model.config.switch is not None  # a sparse network
    batch = Batch(inputs, targets, jnp.zeros(len(inputs), jnp.int32))
    return row_routings(model(batch, Call(mesh)), batch, model.config.switch.experts)


def usage_columns(
    routings: Iterable[Sequence[Num[np.ndarray, "layers batch ..."]]],
    languages: Sequence[str],
    every: int,
) -> dict[str, list[Any]]:
    """Returns the columns of a routing file.

    Args:
        routings: `RowRouting` of each batch, on the host; rows beyond the languages are padding.
        languages: language of each example, in the order of the rows.
        every: distance between sparse feed-forward layers of a stack.
    """
    codes, of_example = np.unique(np.array(languages), return_inverse=True)
    usage: Usage | None = None
    first = 0
    for routing in routings:
        rows = routing[0].shape[1]
        numbers = np.full(rows, -1)
        some = of_example[first : first + rows]
        numbers[: len(some)] = some
        usage = added(usage, by_language(routing, numbers, len(codes)))
        first += rows
    assert usage is not None  # a task has examples
    return columns(usage, codes.tolist(), every)
