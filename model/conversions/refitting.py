"""The last matrix of a pruned network's experts, fitted to what all experts computed on some text.

Layer by layer, with t over the tokens that an expert of the pruned network gets:

    minimize  sum over t |target_t - gate_t hidden_t down|^2  +  ridge |down - down before|^2

The target is the whole network's residual stream after the layer, minus two terms of the pruned
network: its residual stream before the feed-forward, and the output of its shared expert. So each
layer also corrects the deviations of earlier layers. Least squares has a closed form: no gradient,
no learning rate, one pass over the text.
Source: the reconstruction of He et al. 2017 (channel pruning), section 3.1. `ridge` is `RIDGE`
times the mean squared hidden unit; an expert without tokens keeps its matrix.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from model.batch import Batch
from model.call import Call
from model.decoding.never_dropping import never_dropping
from model.layers.feed_forward import activated
from model.stack import Layer, Stack, StackInputs
from model.switch.switch_layer import SwitchLayer
from model.transformer import Transformer

RIDGE = 0.001  # chosen here; any small number keeps the systems of little text solvable


class Moments(NamedTuple):
    """Sums over an expert's tokens of products of hidden units, times their gates."""

    units: Float[Array, "experts mlp mlp"]
    targets: Float[Array, "experts mlp embed"]


class Stream(NamedTuple):
    """One batch on its way through a stack of both networks.

    Attributes:
        whole, pruned: residual streams.
        inputs_of_whole, inputs_of_pruned: what the layers of each share.
    """

    whole: Float[Array, "batch length embed"]
    pruned: Float[Array, "batch length embed"]
    inputs_of_whole: StackInputs
    inputs_of_pruned: StackInputs


def refitted(
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
    streams = [_into_encoder(both, batch, call) for batch in batches]
    encoder, streams = _refitted_stack(both[0].encoder, both[1].encoder, streams, call)
    sources = [_normed(both, stream) for stream in streams]
    streams = [
        _into_decoder(both, batch, source, call)
        for batch, source in zip(batches, sources, strict=True)
    ]
    decoder, _ = _refitted_stack(both[0].decoder, both[1].decoder, streams, call)
    return eqx.tree_at(
        lambda one: [stack.blocks[-1].feed_forward.down for stack in (one.encoder, one.decoder)],
        pruned,
        [encoder, decoder],
    )


@eqx.filter_jit  # a lookup over a mesh is otherwise compiled at every call
def _embedded(
    network: Transformer, ids: Int[Array, "batch length"], call: Call
) -> Float[Array, "batch length embed"]:
    return network.embed(ids, call)


def _into_encoder(both: tuple[Transformer, Transformer], batch: Batch, call: Call) -> Stream:
    inputs = StackInputs(batch.source_to_source, batch.is_source, None, None)
    whole, pruned = (_embedded(one, batch.inputs, call) for one in both)
    return Stream(whole, pruned, inputs, inputs)


def _into_decoder(
    both: tuple[Transformer, Transformer], batch: Batch, sources: Sequence[Array], call: Call
) -> Stream:
    targets = batch.target_to_target, batch.is_target
    of_whole, of_pruned = (
        StackInputs(*targets, source, batch.target_to_source) for source in sources
    )
    whole, pruned = (_embedded(one, batch.decoder_inputs, call) for one in both)
    return Stream(whole, pruned, of_whole, of_pruned)


def _normed(both: tuple[Transformer, Transformer], stream: Stream) -> list[Array]:
    """Returns what the decoders read: the encoders' streams after their final norms."""
    streams = zip(both, (stream.whole, stream.pruned), strict=True)
    return [one.encoder.final_norm(x) for one, x in streams]


def _refitted_stack(
    whole: Stack, pruned: Stack, streams: list[Stream], call: Call
) -> tuple[Float[Array, "blocks experts mlp embed"], list[Stream]]:
    """Returns the fitted matrices of a stack's blocks, and the streams behind its last block."""
    fitted = []
    for block in range(len(whole.blocks[0].self_norm.scale)):
        for place in range(len(whole.blocks)):
            layers = _layer(whole, block, place), _layer(pruned, block, place)
            streams = [_attended(whole, pruned, *layers, stream, call) for stream in streams]
            if isinstance(layers[1].feed_forward, SwitchLayer):
                down = _fitted(pruned, layers[1], streams, call)
                fitted.append(down)
                layers = layers[0], eqx.tree_at(lambda one: one.feed_forward.down, layers[1], down)
            streams = [_fed(pruned, layers[1], stream, call) for stream in streams]
    return jnp.stack(fitted), streams


def _layer(stack: Stack, block: int, place: int) -> Layer:
    return jax.tree.map(lambda leaf: leaf[block], stack.blocks[place])


def _no_block() -> Int[Array, ""]:
    """Returns a number for a block, which seeds noise: there is none here."""
    return jnp.zeros((), jnp.int32)


@eqx.filter_jit
def _attended(
    whole: Stack, pruned: Stack, of_whole: Layer, of_pruned: Layer, stream: Stream, call: Call
) -> Stream:
    """Returns the whole network's stream behind a layer, and the pruned one's before its experts.

    Nothing is left to do for the whole network in this layer, whose output is the target.
    """
    x, inputs = stream.whole, stream.inputs_of_whole
    x = x + whole.attend(of_whole, x, inputs, call.mesh)
    x = x + whole.feed_forward(of_whole, x, inputs.is_token, call, _no_block())[0]
    y = stream.pruned + pruned.attend(of_pruned, stream.pruned, stream.inputs_of_pruned, call.mesh)
    return stream._replace(whole=x, pruned=y)


@eqx.filter_jit
def _fed(pruned: Stack, layer: Layer, stream: Stream, call: Call) -> Stream:
    """Returns the streams behind the pruned network's feed-forward, too."""
    is_token = stream.inputs_of_pruned.is_token
    y, _ = pruned.feed_forward(layer, stream.pruned, is_token, call, _no_block())
    return stream._replace(pruned=stream.pruned + y)


def _fitted(
    pruned: Stack, layer: Layer, streams: Sequence[Stream], call: Call
) -> Float[Array, "experts mlp embed"]:
    """Returns the last matrices that minimize the squared distance, solved in double precision."""
    moments = [_moments(pruned, layer, stream, call) for stream in streams]
    units, targets = (np.sum([np.asarray(one, np.float64) for one in part], axis=0)
                      for part in zip(*moments, strict=True))  # fmt: skip
    before = np.asarray(layer.feed_forward.down, np.float64)
    width = units.shape[-1]
    mean = np.maximum(np.trace(units, axis1=1, axis2=2) / width, np.finfo(np.float32).tiny)
    penalty = RIDGE * mean[:, None, None] * np.eye(width)
    down = before + np.linalg.solve(units + penalty, targets - units @ before)
    return jnp.asarray(down, layer.feed_forward.down.dtype)


@eqx.filter_jit
def _moments(pruned: Stack, layer: Layer, stream: Stream, call: Call) -> Moments:
    """Returns the sums over one batch, expert after expert: each reads all tokens."""
    is_token = stream.inputs_of_pruned.is_token
    experts: Any = layer.feed_forward
    _, routing = pruned.feed_forward(layer, stream.pruned, is_token, call, _no_block())
    assert routing is not None  # a sparse layer
    x = layer.feed_forward_norm(stream.pruned)
    missing = stream.whole - stream.pruned
    missing = missing if experts.shared is None else missing - experts.shared(x, call.mesh)
    x, missing = (part.reshape(-1, x.shape[-1]) for part in (x, missing))
    gate = routing.gate.reshape(-1, 1)  # 0 for padding
    index = routing.expert_index.reshape(-1, 1)

    def of_expert(expert: tuple[Int[Array, ""], Any, Array]) -> Moments:
        number, inward, up = expert
        part = jnp.where(index == number, gate, 0).astype(x.dtype)
        units = activated(None if inward is None else x @ inward, x @ up) * part
        wide = units.astype(jnp.float32)
        return Moments(wide.T @ wide, wide.T @ missing.astype(jnp.float32))

    numbers = jnp.arange(len(experts.up))
    return jax.lax.map(of_expert, (numbers, experts.gate, experts.up))
