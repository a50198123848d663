"""Pruning: a network with fewer experts per switch layer, for some languages.

The experts of a layer that a language uses are few and differ by language (Koishekenov et al. 2023:
80 % of NLLB's experts can go). A dropped expert leaves with its column of the router. Its tokens go
to the most probable expert that is left, and gates are the softmax over those. Arrays are named as
in a checkpoint, so they are pruned one at a time: a network need not be in memory twice.

**Merging** dropped experts into kept ones is optional. Source: MC-SMoE (Li et al. 2024, "Merge,
Then Compress"), section 3.2, in this order:

1. Each dropped expert joins the kept one whose router column is most similar (cosine), because
   tokens of one are then likely to score high with the other.
2. The hidden units of the joining expert are permuted to match the kept one's: experts that were
   initialized at random share no order of units, and the mean of two unlike units resembles
   neither. The permutation maximizes the sum, over pairs of matched units, of the inner product
   of their weights (`gate`, `up`, `down`).
3. The merged expert is the mean of its group, weighted by load. A group that nothing was sent to
   keeps the kept expert as it is, and an expert without load adds nothing.

**Fitting** the last matrix of each expert to some text is optional too. Layer by layer, with t over
the tokens that an expert of the pruned network gets:

    minimize  sum over t |target_t - gate_t hidden_t down|^2  +  ridge |down - down before|^2

The target is the whole network's residual stream after the layer, minus two terms of the pruned
network: its residual stream before the feed-forward, and the output of its shared expert. So each
layer also corrects the deviations of earlier layers. Least squares has a closed form: no gradient,
no learning rate, one pass over the text.
Source: the reconstruction of He et al. 2017 (channel pruning), section 3.1. `ridge` is `RIDGE`
times the mean squared hidden unit; an expert without tokens keeps its matrix.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import keystr
from jaxtyping import Array, Float, Int, Shaped

from model.batch import Batch, Call
from model.config import ModelConfig
from model.decoding.generation import never_dropping
from model.layers.feed_forward import activate
from model.sharding.layouts import dimension_names, is_names
from model.switch.balancing import BIAS
from model.switch.switch_layer import SwitchLayer
from model.transformer import Layer, Stack, StackInputs, Transformer

EXACT = 9  # decimals: 0.7 * 10 is 7.000000000000001 and means 7
RIDGE = 0.3  # chosen on one run of 158M tokens (docs/decisions/pruning.md)


def kept_count(experts: int, share: float) -> int:
    """Returns the number of experts of a layer that stay: a share of them, rounded up."""
    return max(math.ceil(round(share * experts, EXACT)), 1)


def most_important_experts(
    importance: Float[np.ndarray, "layers experts"], count: int
) -> Int[np.ndarray, "layers kept"]:
    """Returns the most important experts of each layer, ascending; the first among equals.

    Args:
        importance: a number per expert; the encoder's layers before the decoder's.
        count: number of experts to keep per layer.
    """
    by_importance = np.argsort(-importance, axis=-1, kind="stable")
    return np.sort(by_importance[:, :count], axis=-1)


def stack_rows(
    layers: Shaped[np.ndarray, "layers rest"], name: str
) -> Shaped[np.ndarray, "blocks rest"]:
    """Returns the rows for the layers of the stack to which the array with this name belongs."""
    encoder, decoder = np.split(layers, 2)
    return decoder if name.startswith(".decoder") else encoder


def pruned_config(config: ModelConfig, experts: int) -> ModelConfig:
    """Returns the configuration of a sparse network with fewer experts.

    Its dispatch is dropless: the languages that it is for load the experts unevenly, and a token
    over capacity would be lost. Where each token then has every expert, biases by quantiles leave:
    they chose experts and entered no gate.
    """
    assert config.switch is not None  # a sparse network
    rate = 0.0 if experts == config.switch.choices else config.switch.quantile_rate
    switch = replace(config.switch, experts=experts, dispatch="dropless", quantile_rate=rate)
    return replace(config, switch=switch)


def expert_axes(shapes: Transformer) -> dict[str, int]:
    """Returns the axis of the experts by name of array, of each array that has one."""
    names, _ = jax.tree_util.tree_flatten_with_path(dimension_names(shapes), is_leaf=is_names)
    return {
        keystr(path): dimensions.index("experts")
        for path, dimensions in names
        if "experts" in dimensions
    }


def pruned_arrays(
    arrays: Mapping[str, Shaped[np.ndarray, "..."]],
    axes: Mapping[str, int],
    kept: Int[np.ndarray, "layers kept"],
) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Returns arrays without the dropped experts, by name.

    Args:
        arrays: some arrays of a network, by name.
        axes: axis of the experts by name, as from `expert_axes`.
        kept: experts of each layer that stay; the encoder's layers before the decoder's.
    """
    pruned = dict(arrays)
    for name in arrays.keys() & axes.keys():
        blocks = zip(arrays[name], stack_rows(kept, name), strict=True)
        pruned[name] = np.stack(
            [np.take(block, experts, axis=axes[name] - 1) for block, experts in blocks]
        )
    return pruned


def with_rows(network: Transformer, rows: Int[np.ndarray, " rows"]) -> Transformer:
    """Returns a network with some rows of its vocabulary, whose logits stay what they were.

    Its arrays may lie on the host, as those that are cut need not fit a device.
    """
    return Transformer(
        embedding=jnp.asarray(network.embedding[rows]),
        encoder=network.encoder,
        decoder=network.decoder,
        logits=None if network.logits is None else jnp.asarray(network.logits[:, rows]),
        config=replace(network.config, vocabulary_rows=len(rows)),
    )


class LayerExperts(NamedTuple):
    """The experts of one switch layer; without a gate they are ReLU networks."""

    gate: Float[np.ndarray, "experts embed mlp"] | None
    up: Float[np.ndarray, "experts embed mlp"]
    down: Float[np.ndarray, "experts mlp embed"]

    def units(self, expert: int) -> Float[np.ndarray, "mlp weights"]:
        """Returns all weights of each hidden unit of an expert."""
        inward = [matrix[expert].T for matrix in (self.gate, self.up) if matrix is not None]
        return np.concatenate([*inward, self.down[expert]], axis=1)


def merged_arrays(
    arrays: Mapping[str, Shaped[np.ndarray, "blocks ..."]],
    kept: Int[np.ndarray, "blocks kept"],
    load: Float[np.ndarray, "blocks experts"],
) -> dict[str, Shaped[np.ndarray, "blocks ..."]]:
    """Returns the arrays of the switch layers of a stack with dropped experts merged, by name.

    Args:
        arrays: router and experts of all blocks, by names that end in `.router`, `.gate`, `.up` and
            `.down`; without a gate the experts are ReLU networks. Kept experts keep their biases
            (`.expert_bias`), if there are any.
        kept: experts of each block that stay.
        load: assignments to each expert of each block.
    """
    by_field = {name.rpartition(".")[2]: array for name, array in arrays.items()}
    merged: dict[str, list[np.ndarray]] = {field: [] for field in by_field}
    for block, (experts, block_load) in enumerate(zip(kept, load, strict=True)):
        fields = {field: array[block] for field, array in by_field.items()}
        layer = LayerExperts(fields.get("gate"), fields["up"], fields["down"])
        joined = nearest_kept(fields["router"], experts)
        fields |= merged_experts(layer, joined, block_load, experts)._asdict()
        for field in ("router", BIAS):
            if field in by_field:
                fields[field] = fields[field][..., experts]
        for field in by_field:
            merged[field].append(fields[field])
    return {name: np.stack(merged[name.rpartition(".")[2]]) for name in arrays}


def nearest_kept(
    router: Float[np.ndarray, "embed experts"], kept: Int[np.ndarray, " kept"]
) -> Int[np.ndarray, " experts"]:
    """Returns for each expert the kept expert that it joins; a kept one joins itself.

    Args:
        router: weights of the router.
        kept: numbers of the experts that stay.
    """
    columns = router / np.maximum(np.linalg.norm(router, axis=0), 1e-30)
    nearest = kept[np.argmax(columns.T @ columns[:, kept], axis=1)]
    nearest[kept] = kept
    return nearest


def merged_experts(
    experts: LayerExperts,
    joined: Int[np.ndarray, " experts"],
    load: Float[np.ndarray, " experts"],
    kept: Int[np.ndarray, " kept"],
) -> LayerExperts:
    """Returns the kept experts of a layer, each the mean of its group.

    Args:
        experts: all experts of the layer.
        joined: for each expert the kept expert that it joins.
        load: assignments to each expert.
        kept: numbers of the experts that stay.
    """
    groups = [
        _group_mean(experts, np.flatnonzero(joined == expert), expert, load)
        for expert in kept.tolist()
    ]
    gates, ups, downs = zip(*groups, strict=True)
    return LayerExperts(
        None if experts.gate is None else np.stack(gates), np.stack(ups), np.stack(downs)
    )


def _group_mean(
    experts: LayerExperts,
    group: Int[np.ndarray, " group"],
    kept: int,
    load: Float[np.ndarray, " experts"],
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Returns gate, up and down of the mean of a group, in the kept expert's order of units."""
    used = [expert for expert in group.tolist() if load[expert] > 0]
    if used in ([], [kept]):
        return tuple(None if part is None else part[kept] for part in experts)  # pyright: ignore[reportReturnType]
    weights = load[used] / load[used].sum()
    order = {expert: unit_order(experts, expert, kept) for expert in used}
    gate, up = (
        None
        if matrix is None
        else _weighted_mean(weights, [matrix[expert][:, order[expert]] for expert in used])
        for matrix in (experts.gate, experts.up)
    )
    down = _weighted_mean(weights, [experts.down[expert][order[expert]] for expert in used])
    assert up is not None
    return gate, up, down


def unit_order(experts: LayerExperts, expert: int, kept: int) -> Int[np.ndarray, " mlp"]:
    """Returns which hidden unit of an expert takes the place of each unit of a kept one."""
    if expert == kept:
        return np.arange(experts.up.shape[-1])
    from scipy.optimize import linear_sum_assignment  # imported where it computes: a second

    likeness = experts.units(kept) @ experts.units(expert).T
    return linear_sum_assignment(likeness, maximize=True)[1]


def _weighted_mean(weights: np.ndarray, matrices: list[np.ndarray]) -> np.ndarray:
    total = sum(weight * matrix for weight, matrix in zip(weights, matrices, strict=True))
    return np.asarray(total, matrices[0].dtype)


class Moments(NamedTuple):
    """Sums over an expert's tokens of products of hidden units, times their gates."""

    units: Float[Array, "experts mlp mlp"]
    targets: Float[Array, "experts mlp embed"]


class Stream(NamedTuple):
    """One batch on its way through a stack of both networks.

    Attributes:
        whole, pruned: residual streams.
        whole_inputs, pruned_inputs: inputs that the layers of each share.
    """

    whole: Float[Array, "batch length embed"]
    pruned: Float[Array, "batch length embed"]
    whole_inputs: StackInputs
    pruned_inputs: StackInputs


def refitted_network(
    whole: Transformer, pruned: Transformer, batches: Sequence[Batch], mesh: Mesh
) -> Transformer:
    """Returns the pruned network with fitted last matrices of its experts.

    Args:
        whole: the network before pruning; with one expert per token.
        pruned: the network after it.
        batches: text, in batches of one shape.
        mesh: one device.
    """
    lengths = batches[0].inputs.shape[1], batches[0].targets.shape[1]
    both = never_dropping(whole, *lengths), never_dropping(pruned, *lengths)
    call = Call(mesh)
    streams = [_encoder_stream(both, batch, call) for batch in batches]
    encoder, streams = _refit_stack(both[0].encoder, both[1].encoder, streams, call)
    sources = [
        (both[0].encoder.final_norm(stream.whole), both[1].encoder.final_norm(stream.pruned))
        for stream in streams
    ]
    streams = [
        _decoder_stream(both, batch, source, call)
        for batch, source in zip(batches, sources, strict=True)
    ]
    decoder, _ = _refit_stack(both[0].decoder, both[1].decoder, streams, call)
    return eqx.tree_at(
        lambda network: [
            stack.blocks[-1].feed_forward.down for stack in (network.encoder, network.decoder)
        ],
        pruned,
        [encoder, decoder],
    )


@eqx.filter_jit  # a lookup over a mesh is otherwise compiled at every call
def _embed(
    network: Transformer, ids: Int[Array, "batch length"], call: Call
) -> Float[Array, "batch length embed"]:
    return network.embed(ids, call)


def _encoder_stream(both: tuple[Transformer, Transformer], batch: Batch, call: Call) -> Stream:
    inputs = StackInputs(batch.source_to_source, batch.is_source, None, None)
    whole, pruned = (_embed(network, batch.inputs, call) for network in both)
    return Stream(whole, pruned, inputs, inputs)


def _decoder_stream(
    both: tuple[Transformer, Transformer], batch: Batch, sources: tuple[Array, Array], call: Call
) -> Stream:
    targets = batch.target_to_target, batch.is_target
    whole_inputs, pruned_inputs = (
        StackInputs(*targets, source, batch.target_to_source) for source in sources
    )
    whole, pruned = (_embed(network, batch.decoder_inputs, call) for network in both)
    return Stream(whole, pruned, whole_inputs, pruned_inputs)


def _refit_stack(
    whole: Stack, pruned: Stack, streams: list[Stream], call: Call
) -> tuple[Float[Array, "blocks experts mlp embed"], list[Stream]]:
    """Returns the fitted matrices of a stack's blocks, and the streams behind its last block."""
    fitted = []
    for block in range(len(whole.blocks[0].self_norm.scale)):
        for place in range(len(whole.blocks)):
            whole_layer, layer = _layer(whole, block, place), _layer(pruned, block, place)
            streams = [
                _after_attention(whole, pruned, whole_layer, layer, stream, call)
                for stream in streams
            ]
            if isinstance(layer.feed_forward, SwitchLayer):
                fitted.append(_fitted_matrices(pruned, layer, streams, call))
                layer = eqx.tree_at(lambda layer: layer.feed_forward.down, layer, fitted[-1])
            streams = [_after_feed_forward(pruned, layer, stream, call) for stream in streams]
    return jnp.stack(fitted), streams


def _layer(stack: Stack, block: int, place: int) -> Layer:
    return jax.tree.map(lambda leaf: leaf[block], stack.blocks[place])


def _no_block() -> Int[Array, ""]:
    """Returns a number for a block, which seeds noise: there is none here."""
    return jnp.zeros((), jnp.int32)


@eqx.filter_jit
def _after_attention(
    whole: Stack,
    pruned: Stack,
    whole_layer: Layer,
    pruned_layer: Layer,
    stream: Stream,
    call: Call,
) -> Stream:
    """Returns the whole network's stream behind a layer, and the pruned one's before its experts.

    Nothing is left to do for the whole network in this layer, whose output is the target.
    """
    x, inputs = stream.whole, stream.whole_inputs
    x = x + whole.attend(whole_layer, x, inputs, call.mesh)
    x = x + whole.feed_forward(whole_layer, x, inputs.is_token, call, _no_block())[0]
    y = stream.pruned
    y = y + pruned.attend(pruned_layer, y, stream.pruned_inputs, call.mesh)
    return stream._replace(whole=x, pruned=y)


@eqx.filter_jit
def _after_feed_forward(pruned: Stack, layer: Layer, stream: Stream, call: Call) -> Stream:
    """Returns the streams behind the pruned network's feed-forward, too."""
    is_token = stream.pruned_inputs.is_token
    y, _ = pruned.feed_forward(layer, stream.pruned, is_token, call, _no_block())
    return stream._replace(pruned=stream.pruned + y)


def _fitted_matrices(
    pruned: Stack, layer: Layer, streams: Sequence[Stream], call: Call
) -> Float[Array, "experts mlp embed"]:
    """Returns the last matrices that minimize the squared distance, solved in double precision."""
    moments = [_moments(pruned, layer, stream, call) for stream in streams]
    units, targets = (
        np.sum([np.asarray(batch, np.float64) for batch in sums], axis=0)
        for sums in zip(*moments, strict=True)
    )
    before = np.asarray(layer.feed_forward.down, np.float64)
    width = units.shape[-1]
    mean = np.maximum(np.trace(units, axis1=1, axis2=2) / width, np.finfo(np.float32).tiny)
    penalty = RIDGE * mean[:, None, None] * np.eye(width)
    down = before + np.linalg.solve(units + penalty, targets - units @ before)
    return jnp.asarray(down, layer.feed_forward.down.dtype)


@eqx.filter_jit
def _moments(pruned: Stack, layer: Layer, stream: Stream, call: Call) -> Moments:
    """Returns the sums over one batch, expert after expert: each reads all tokens."""
    is_token = stream.pruned_inputs.is_token
    experts: Any = layer.feed_forward
    _, routing = pruned.feed_forward(layer, stream.pruned, is_token, call, _no_block())
    assert routing is not None  # a sparse layer
    x = layer.feed_forward_norm(stream.pruned)
    missing = stream.whole - stream.pruned
    missing = missing if experts.shared is None else missing - experts.shared(x, call.mesh)
    x, missing = (part.reshape(-1, x.shape[-1]) for part in (x, missing))
    gate = routing.gate.reshape(-1, 1)  # 0 for padding
    index = routing.expert_index.reshape(-1, 1)

    def expert_moments(expert: tuple[Int[Array, ""], Any, Array]) -> Moments:
        number, inward, up = expert
        part = jnp.where(index == number, gate, 0).astype(x.dtype)
        units = activate(None if inward is None else x @ inward, x @ up) * part
        wide = units.astype(jnp.float32)
        return Moments(wide.T @ wide, wide.T @ missing.astype(jnp.float32))

    numbers = jnp.arange(len(experts.up))
    return jax.lax.map(expert_moments, (numbers, experts.gate, experts.up))
