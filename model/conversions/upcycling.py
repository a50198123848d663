"""A Switch of a dense network: every expert begins as a copy of the feed-forward in its place.

Source: Komatsuzaki et al. 2022 (Sparse Upcycling). They draw routers as usual, so the output of a
copied expert is multiplied by a small gate, and training has to undo the damage. Here the Switch
first computes the same function as the dense network. With routers near zero each of `n` experts
has probability 1 / n, and an expert's last matrix is multiplied by a factor that offsets its gate:

    top-1:  y = gate * expert(x), gate = 1 / n       last matrix * n
    top-k:  gates are normalized to sum to 1         last matrix * 1, whatever the logits

Adafactor's steps are relative to a matrix, so the larger matrix learns as fast as the dense one
did. While a router becomes sure of itself, its gate rises from 1 / n and the output with it; that
is slow, because the router moves slowly, and experts shrink meanwhile. He et al. 2024 (Upcycling
Large Language Models, Megatron-Core) also scale weights to make up for gates, and find softmax over
all experts better than over the chosen ones. A single gate fixed at 1 would need no factor, but has
no gradient, which leaves the router to the balance loss.

What does not fit into an expert's capacity is dropped, and then the function is not the dense one.

Moments of the optimizer are carried. Per token, the gradient of a matrix is the dense gradient
times `s`: the gate for the last matrix, the gate times its factor for the others. An expert sees a
share `p` = k / n of the tokens. Gradients of different tokens are mostly noise, so sums of their
squares go with the number of tokens: first moments are multiplied by s * p, second ones by s^2 * p
(measured over 12 batches: s^2 * p times 0.7 to 1.2; without noise it would be p times that).
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from model.config import SwitchConfig
from model.optimizer import PerMatrixState
from model.step import TrainState
from model.switch.switch_layer import SwitchLayer
from model.trainer import Trainer
from model.transformer import Stack, Transformer

# Standard deviation of the first router logits, if none is given. Gates are then 1 / experts to
# 1e-6 of it, and float32, whose steps just below 1 are 6e-8, still tells experts apart.
LOGITS = 3e-7
INNER, LAST = ("gate", "up"), "down"  # matrices of a feed-forward and of an expert
FIRST_MOMENTS, SECOND_MOMENTS = ("mu",), ("nu", "v", "v_row", "v_col")  # Optax's names
CopyMatrix = Callable[[str, PyTree], PyTree]  # of a matrix's name and of its stack over blocks


class Copy(NamedTuple):
    """How an expert's copy of a feed-forward differs from it.

    Attributes:
        gate: gate of every assignment at first.
        output: factor on the last matrix, so that a token's outputs sum to the dense one.
        share: share of the tokens that an expert sees.
    """

    gate: float
    output: float
    share: float

    @staticmethod
    def of(switch: SwitchConfig) -> "Copy":
        """Returns the copies of a switch layer."""
        gate = 1 / (switch.experts if switch.choices == 1 else switch.choices)
        return Copy(gate, 1 / (gate * switch.choices), switch.choices / switch.experts)


def first_arrays(
    dense: Transformer,
    drawn: Transformer,
    *,
    logits: float = LOGITS,
    noise: float = 0.0,
    key: Key[Array, ""],
) -> Transformer:
    """Returns a Switch's first arrays: the dense ones, copied experts and routers near zero.

    Args:
        dense: arrays of a dense network of the Switch's widths.
        drawn: random arrays of the Switch.
        logits: standard deviation of the first router logits.
        noise: standard deviation of what is added to each expert, relative to the root mean square
            of its matrix; 0 leaves experts equal until their tokens part them.
        key: key of the noise.
    """
    switch = _switch(drawn)
    output = Copy.of(switch).output

    def copy(name: str, matrices: Float[Array, "blocks in out"]) -> Array:
        return _per_expert(output * matrices if name == LAST else matrices, switch.experts)

    near_zero = logits / (switch.router_scale * drawn.config.embed**0.5)
    whole = _dense_in_sparse(dense, drawn, copy)
    whole = eqx.tree_at(_routers, whole, [near_zero * router for router in _routers(drawn)])
    if noise == 0:
        return whole
    matrices = _expert_matrices(whole)
    keys = jax.random.split(key, len(matrices))
    noisy = [_with_noise(matrix, noise, key) for matrix, key in zip(matrices, keys, strict=True)]
    return eqx.tree_at(_expert_matrices, whole, noisy)


def first_moments(dense: TrainState, drawn: TrainState) -> PerMatrixState:
    """Returns a Switch's first optimizer state: the dense run's, rescaled in experts.

    Args:
        dense: state of the dense run.
        drawn: state of the Switch at step 0, whose routers' moments are kept.
    """
    switch = _switch(drawn.arrays)
    gate, output, share = Copy.of(switch)

    def copy(name: str, state: PyTree) -> PyTree:
        per_token = gate if name == LAST else gate * output
        return _rescaled_moments(_per_expert(state, switch.experts), per_token, share)

    return PerMatrixState(_dense_in_sparse(dense.optimizer.states, drawn.optimizer.states, copy))


def _switch(model: Transformer) -> SwitchConfig:
    assert model.config.switch is not None  # an upcycled network is sparse
    return model.config.switch


def _dense_in_sparse(dense: Transformer, drawn: Transformer, copy: CopyMatrix) -> Transformer:
    """Returns `drawn` with all of `dense`; the leaves are arrays or their optimizer states."""
    parts = [
        dense.embedding,
        _stack(dense.encoder, drawn.encoder, copy),
        _stack(dense.decoder, drawn.decoder, copy),
    ]

    def to_replace(model: Transformer) -> list[PyTree]:
        places = [model.embedding, model.encoder, model.decoder]
        return places if model.logits is None else [*places, model.logits]

    if dense.logits is not None:
        parts.append(dense.logits)
    return eqx.tree_at(to_replace, drawn, parts)


def _stack(dense: Stack, drawn: Stack, copy: CopyMatrix) -> Stack:
    """Returns a sparse stack; its block `b` has the dense layers from `b * period` on."""
    (layers,), period = dense.blocks, len(drawn.blocks)
    blocks = [jax.tree.map(lambda leaf, at=at: leaf[at::period], layers) for at in range(period)]
    feed_forward, own = blocks[-1].feed_forward, drawn.blocks[-1].feed_forward
    names = [name for name in (*INNER, LAST) if getattr(own, name) is not None]
    experts = eqx.tree_at(
        lambda layer: [getattr(layer, name) for name in names],
        own,
        [copy(name, getattr(feed_forward, name)) for name in names],
    )
    blocks[-1] = eqx.tree_at(lambda layer: layer.feed_forward, blocks[-1], experts)
    return eqx.tree_at(
        lambda stack: (stack.blocks, stack.position_bias, stack.final_norm),
        drawn,
        (tuple(blocks), dense.position_bias, dense.final_norm),
    )


def _per_expert(stacked: PyTree, experts: int) -> PyTree:
    """Returns leaves of [blocks, ...] repeated as [blocks, experts, ...]."""
    return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], experts, axis=1), stacked)


def _rescaled_moments(state: PyTree, per_token: float, share: float) -> PyTree:
    """Returns a matrix's optimizer state for gradients of a factor per token, of fewer tokens."""

    def rescale(path: tuple, leaf: Array) -> Array:
        name = getattr(path[-1], "name", "")
        if name in FIRST_MOMENTS:
            return leaf * (per_token * share)
        return leaf * (per_token**2 * share) if name in SECOND_MOMENTS else leaf

    return jax.tree_util.tree_map_with_path(rescale, state)


def _switch_layers(model: Transformer) -> list[SwitchLayer]:
    layers = [stack.blocks[-1].feed_forward for stack in (model.encoder, model.decoder)]
    return [layer for layer in layers if isinstance(layer, SwitchLayer)]


def _routers(model: Transformer) -> list[PyTree]:
    return [layer.router for layer in _switch_layers(model)]


def _expert_matrices(model: Transformer) -> list[PyTree]:
    names = (*INNER, LAST)
    matrices = [getattr(layer, name) for layer in _switch_layers(model) for name in names]
    return [matrix for matrix in matrices if matrix is not None]


def _with_noise(
    matrices: Float[Array, "blocks experts in out"], noise: float, key: Key[Array, ""]
) -> Float[Array, "blocks experts in out"]:
    size = jnp.sqrt(jnp.mean(jnp.square(matrices), axis=(-2, -1), keepdims=True))
    return matrices + noise * size * jax.random.normal(key, matrices.shape)


NOISE = 2**32 - 2  # key of the experts' noise within the seed's; FIRST_WEIGHTS is another


class Beginning(NamedTuple):
    """How a Switch begins as a dense run.

    Attributes:
        step: first step of the Switch.
        seed: seed of its routers and of the noise.
        logits: standard deviation of the first router logits.
        noise: noise on the experts' copies, relative to each matrix.
        carries_moments: whether the dense run's optimizer state is carried.
    """

    step: int
    seed: int
    logits: float
    noise: float
    carries_moments: bool


def first_state(dense: Trainer, switch: Trainer, beginning: Beginning) -> jax.stages.Wrapped:
    """Returns the function from a dense run's state to the first state of a Switch.

    The Switch's random state is drawn inside, so that the compiler leaves out all of it that is
    replaced: only routers are drawn, and no second state of the Switch is in memory.
    """

    def first(state: TrainState) -> TrainState:
        drawn = switch.init()
        arrays = first_arrays(
            state.arrays,
            drawn.arrays,
            logits=beginning.logits,
            noise=beginning.noise,
            key=jax.random.fold_in(jax.random.key(beginning.seed), NOISE),
        )
        carries = beginning.carries_moments
        moments = first_moments(state, drawn) if carries else drawn.optimizer
        return TrainState(arrays, moments, drawn.step + beginning.step)

    return jax.jit(first, in_shardings=(dense.shardings,), out_shardings=switch.shardings)
