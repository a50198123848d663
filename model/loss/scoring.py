"""Scores of a batch, without training: loss sums of rows and routing sums of languages.

A batch is scored in parts of whole pools of routing groups, one after the other, so scoring takes
less memory than the training step of the same recipe: it keeps no activations, and a part is at
most a microbatch. A pool that several devices share is one part. The numbers are those of the batch
at once, because rows share nothing but the capacity of their pool; without capacity they share
nothing, and parts may have any number of rows.
"""

import functools

import jax
import jax.numpy as jnp

from model.batch import Batch, Call, join_rows, split_rows
from model.config import ModelConfig
from model.decoding.generation import never_dropping
from model.loss.cross_entropy import Computation, Labels, cross_entropy
from model.loss.training_loss import RowLosses, row_losses, row_routings
from model.sharding.layouts import batch_shards
from model.switch.balancing import RoutingSums, language_routing
from model.transformer import Transformer

# Input tokens per device and part, at least: a device multiplies 8,192 tokens of T5-Base for as
# long as it reads or gathers the weights, so smaller parts would take more time.
LEAST_TOKENS = 8192

Scores = tuple[RowLosses, RoutingSums | None]


def score(
    model: Transformer, batch: Batch, call: Call, *, languages: int, accumulate: int = 1
) -> Scores:
    """Returns the loss sums of each row, and the routing sums of each language.

    Args:
        model: the network.
        batch: the batch; its rows are whole routing groups on each device.
        call: mesh and size of the logits; without a key.
        languages: number of languages.
        accumulate: microbatches of training; a part is no larger than one.
    """
    rows = len(batch.inputs) // batch_shards(call.mesh)
    lengths = batch.inputs.shape[1], batch.targets.shape[1]
    if model.config.switch is not None and model.config.switch.dispatch == "dropless":
        model = never_dropping(model, *lengths)
    parts = part_count(model.config, rows, *lengths, accumulate)
    if parts == 1:
        return _part_scores(model, batch, call, languages)
    split = jax.tree.map(lambda rows: split_rows(rows, parts, call.mesh), batch)
    losses, routing = jax.lax.map(lambda part: _part_scores(model, part, call, languages), split)
    join = functools.partial(join_rows, mesh=call.mesh)
    return jax.tree.map(join, losses), jax.tree.map(lambda sums: jnp.sum(sums, axis=0), routing)


def part_count(config: ModelConfig, rows: int, inputs: int, targets: int, accumulate: int) -> int:
    """Returns the number of parts in which a device scores its rows.

    This is the largest number for which a part still consists of whole pools and has at least
    `LEAST_TOKENS` inputs, or at least those of a microbatch if they are fewer.

    Args:
        config: the network.
        rows: rows per device.
        inputs: inputs per row.
        targets: targets per row.
        accumulate: microbatches per batch.
    """
    least = min(LEAST_TOKENS, rows * inputs // accumulate)
    sizes = [
        size
        for size in range(1, rows + 1)
        if rows % size == 0
        and size * inputs >= least
        and _are_whole_pools(config, size * inputs, size * targets)
    ]
    return rows // min(sizes, default=rows)


def _are_whole_pools(config: ModelConfig, inputs: int, targets: int) -> bool:
    switch = config.switch
    if switch is None:
        return True
    encoder, decoder = (
        switch.routing(decoder=is_decoder, training=False) for is_decoder in (False, True)
    )
    return not (inputs % encoder.pool_tokens or targets % decoder.pool_tokens)


def _part_scores(model: Transformer, batch: Batch, call: Call, languages: int) -> Scores:
    output = model(batch, call)
    _, terms = cross_entropy(
        Computation(call.mesh, call.logits_bytes),
        model.logit_factors(output.decoded),
        Labels(batch.targets, batch.is_target, jnp.ones(())),
    )
    switch, routing = model.config.switch, None
    if switch is not None:
        rows = row_routings(output, batch, switch.experts)
        routing = language_routing(rows, batch.language, languages)
    return row_losses(terms, output, batch), routing
