"""Nats of each of several possible targets for each input: classification by likelihood.

The encoder runs once per input, and the decoder once for all labels: they lie side by side in one
row of targets, as packed examples do, and each sees the whole input. The keys and values of the
input are thus projected once, however many labels there are. Dispatch is dropless, so a score does
not depend on the rest of the batch.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model.batch import PADDING, Batch
from model.call import Call
from model.decoding.never_dropping import never_dropping
from model.loss.chunks import Computation, Labels, LogitFactors
from model.loss.cross_entropy import cross_entropy
from model.transformer import Transformer


def label_nats(
    model: Transformer,
    inputs: Int[Array, "batch source"],
    labels: Int[Array, "labels target"],
    call: Call,
) -> Float[Array, "batch labels"]:
    """Returns minus the log probability of each label for each input, in nats.

    Args:
        model: the network.
        inputs: ids with EOS, right-padded; the mesh's batch axes must divide the rows.
        labels: ids with EOS, right-padded. An id outside the vocabulary makes its label NaN.
        call: the devices, and the logits that one of them holds at a time.

    Returns:
        Sums over a label's tokens, EOS included. A row of padding has numbers without a meaning.
    """
    model = never_dropping(model, inputs.shape[1], labels.size)
    rows, batch = len(inputs), _side_by_side(inputs, labels)
    source = model.encode(batch, call).x
    factors = model.logit_factors(model.decode(batch, source, call).x)
    ids = batch.targets.reshape(-1, labels.shape[1])  # a row per input and label
    by_label = LogitFactors(factors.x.reshape(*ids.shape, -1), factors.matrix)
    targets = Labels(ids, ids != PADDING, jnp.ones(()))
    _, sums = cross_entropy(Computation(call.mesh, call.logits_bytes), by_label, targets)
    return sums.nats.reshape(rows, -1)


def _side_by_side(inputs: Int[Array, "batch source"], labels: Int[Array, "labels target"]) -> Batch:
    """Returns a batch whose rows have all labels as targets; inputs without example numbers."""
    rows = len(inputs)
    number = jnp.repeat(jnp.arange(len(labels)), labels.shape[1])
    targets, examples = (
        jnp.broadcast_to(one, (rows, labels.size)) for one in (labels.reshape(-1), number)
    )
    return Batch(inputs, targets, jnp.zeros(rows, jnp.int32), target_example=examples)
