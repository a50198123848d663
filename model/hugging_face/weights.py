"""Weights of Hugging Face's T5, MT5 and SwitchTransformers, to ours and back; files of an export.

Both directions are pure functions between their state (name to array) and our network, by one list
of names, `weight_names`; a round trip keeps all bits. Their `Linear` stores (out, in), ours is
(in, out); their layers are separate, ours are stacked along blocks and experts. A slope of position
biases becomes part of their table. Names as of Transformers 5.24.

An export needs one matrix at a time. The whole stack of a large network fits neither a device nor
a host, so only the part is gathered. Along dimensions that no axis splits it is a slice, which
reads only itself. Along split ones its bits are moved as integers: the partitioner adds zeros of
the other devices, and a sum of floats would turn -0.0 into 0.0. It becomes one file, or several
with an index.
"""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Float32

from model.config import ConfigurationError, ModelConfig
from model.sharding.layouts import by_path
from model.transformer import Transformer, transformer_shapes

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
MOST_BYTES = 5 * 10**9  # of a file, and so of the weights that a host holds at one time
FLOAT32_BYTES = 4

# Copies of the embedding, which SwitchTransformers with untied logits has in its files.
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
MORE_NAMES = 100_000  # than there are arrays: all that are missing are counted up to this
# Present in old T5 files; never read.
LEFT_OVER = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def gathered_part(array: Float32[Array | np.ndarray, "..."], at: tuple[int, ...]) -> np.ndarray:
    """Returns `array[at]` on every host; every host must call this.

    Args:
        array: array on a mesh, or on this machine alone.
        at: indices along the first dimensions, which may be split over devices.
    """
    sharding = getattr(array, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return np.asarray(array)[at]
    everywhere = NamedSharding(sharding.mesh, PartitionSpec())
    shard = sharding.shard_shape(array.shape)
    split = tuple(shard[number] < array.shape[number] for number in range(len(at)))
    bits = _part_bits(array, np.array(at, np.int32), everywhere, split)
    return np.asarray(bits).view(np.float32)


@partial(jax.jit, static_argnames=("everywhere", "split"))
def _part_bits(
    array: jax.Array, at: jax.Array, everywhere: NamedSharding, split: tuple[bool, ...]
) -> jax.Array:
    for number, is_split in enumerate(split):
        if not is_split:
            array = jax.lax.dynamic_slice_in_dim(array, at[number], 1, axis=number)
    bits = jax.lax.bitcast_convert_type(array, jnp.uint32)
    for number, is_split in enumerate(split):
        chosen = jnp.arange(bits.shape[0]) == at[number] if is_split else jnp.ones(1, bool)
        chosen = chosen.reshape(-1, *[1] * (bits.ndim - 1))
        bits = jnp.sum(jnp.where(chosen, bits, 0), axis=0, dtype=jnp.uint32)
    return jax.lax.with_sharding_constraint(bits, everywhere)


def weight_files(
    shapes: Mapping[str, tuple[int, ...]], most_bytes: int = MOST_BYTES
) -> dict[str, list[str]]:
    """Returns the names of the arrays in each file, in the order of the arrays.

    Args:
        shapes: shapes of the exported float32 arrays, by name.
        most_bytes: largest number of bytes in a file, unless one array alone has more.
    """
    parts: list[list[str]] = [[]]
    size = 0
    for name, shape in shapes.items():
        more = FLOAT32_BYTES * math.prod(shape)
        if parts[-1] and size + more > most_bytes:
            parts.append([])
            size = 0
        parts[-1].append(name)
        size += more
    if len(parts) == 1:
        return {WEIGHTS: parts[0]}
    count = len(parts)
    return {
        f"model-{number:05d}-of-{count:05d}.safetensors": part
        for number, part in enumerate(parts, 1)
    }


def weight_index(
    files: Mapping[str, list[str]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Any]:
    """Returns the index of several files, which names the file of each array."""
    size = sum(FLOAT32_BYTES * math.prod(shape) for shape in shapes.values())
    return {
        "metadata": {"total_size": size},
        "weight_map": {name: file for file, names in files.items() for name in names},
    }


class WeightName(NamedTuple):
    """The name of one of their arrays, and its place in ours.

    Attributes:
        theirs: name in Transformers.
        ours: path of our array, as in a checkpoint.
        at: index along the stacked dimensions of our array: block, then expert.
        outputs: rows of their (out, in) matrix; None for an array with the same layout in both.
    """

    theirs: str
    ours: str
    at: tuple[int, ...]
    outputs: int | None


def weight_names(config: ModelConfig) -> Iterator[WeightName]:
    """Yields each of their arrays once."""
    yield WeightName("shared.weight", ".embedding", (), None)
    if not config.tied_logits:
        yield WeightName("lm_head.weight", ".logits", (), config.vocabulary_rows)
    for stack in ("encoder", "decoder"):
        first = f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        yield WeightName(first, f".{stack}.position_bias.table", (), None)
        yield WeightName(f"{stack}.final_layer_norm.weight", f".{stack}.final_norm.scale", (), None)
        for layer in range(config.layers):
            yield from _layer_names(config, stack, layer)


def _layer_names(config: ModelConfig, stack: str, layer: int) -> Iterator[WeightName]:
    block, inside = divmod(layer, config.layers_per_block)
    theirs, ours = f"{stack}.block.{layer}.layer", f".{stack}.blocks[{inside}]"
    attentions = [("SelfAttention", "self")]
    if stack == "decoder":
        attentions.append(("EncDecAttention", "cross"))
    width = config.heads * config.head
    for number, (name, kind) in enumerate(attentions):
        yield WeightName(
            f"{theirs}.{number}.layer_norm.weight", f"{ours}.{kind}_norm.scale", (block,), None
        )
        for short, long in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
            yield WeightName(
                f"{theirs}.{number}.{name}.{short}.weight",
                f"{ours}.{kind}_attention.{long}",
                (block,),
                config.embed if short == "o" else width,
            )
    last = f"{theirs}.{len(attentions)}"
    yield WeightName(f"{last}.layer_norm.weight", f"{ours}.feed_forward_norm.scale", (block,), None)
    ours = f"{ours}.feed_forward"
    module = f"{last}.{'DenseReluDense' if config.switch is None else 'mlp'}"
    if config.switch is None or inside != config.layers_per_block - 1:
        yield from _feed_forward_names(config, module, ours, (block,))
        return
    experts = config.switch.experts
    yield WeightName(f"{module}.router.classifier.weight", f"{ours}.router", (block,), experts)
    for expert in range(experts):
        name = f"{module}.experts.expert_{expert}"
        yield from _feed_forward_names(config, name, ours, (block, expert))


def _feed_forward_names(
    config: ModelConfig, theirs: str, ours: str, index: tuple[int, ...]
) -> Iterator[WeightName]:
    if config.feed_forward == "gated-gelu":
        yield WeightName(f"{theirs}.wi_0.weight", f"{ours}.gate", index, config.mlp)
        yield WeightName(f"{theirs}.wi_1.weight", f"{ours}.up", index, config.mlp)
    else:
        yield WeightName(f"{theirs}.wi.weight", f"{ours}.up", index, config.mlp)
    yield WeightName(f"{theirs}.wo.weight", f"{ours}.down", index, config.embed)


def exported_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of a network's export by name, without its arrays."""
    leaves = by_path(transformer_shapes(config))
    return {
        name.theirs: _shape_of_theirs(name, leaves[name.ours].shape[len(name.at) :])
        for name in _names_with_copies(config)
    }


def exported_arrays(model: Transformer, names: Collection[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of these names in Transformers' layout, gathered one after the other.

    Every host must take all of them.
    """
    arrays = by_path(model) | {
        f".{stack}.position_bias.table": getattr(model, stack).position_bias.biases
        for stack in ("encoder", "decoder")
    }
    for name in _names_with_copies(model.config):
        if name.theirs in names:
            array = gathered_part(arrays[name.ours], name.at)
            if name.outputs is not None:
                array = array.reshape(-1, name.outputs).T
            yield name.theirs, np.ascontiguousarray(array)


def _names_with_copies(config: ModelConfig) -> Iterator[WeightName]:
    yield from weight_names(config)
    if config.switch is not None and not config.tied_logits:
        for copy in COPIES:
            yield WeightName(copy, ".embedding", (), None)


def import_state(config: ModelConfig, state: Mapping[str, np.ndarray]) -> Transformer:
    """Returns the network with their arrays, in float32.

    Raises:
        ConfigurationError: if an array is missing, unknown, or of a shape that the config excludes.
    """
    shapes = transformer_shapes(config)
    state = checked_state(config, state)  # before the first allocation: a config may claim any size
    leaves = by_path(shapes)
    arrays = {name: np.empty(leaf.shape, np.float32) for name, leaf in leaves.items()}
    for name in weight_names(config):
        target, array = arrays[name.ours][name.at], state[name.theirs]
        arrays[name.ours][name.at] = array.T.reshape(target.shape) if name.outputs else array
    return jax.tree.unflatten(jax.tree.structure(shapes), list(arrays.values()))


def checked_state(config: ModelConfig, state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays that a network has, once names and shapes are those of its config.

    Args:
        config: the network.
        state: arrays by name, or shapes of all, or of those that are not among `compared_arrays`.

    Raises:
        ConfigurationError: if an array is missing, unknown, or of a shape that the config excludes.
    """
    state = _without_copies(config, state)
    # A config of 200 bytes may claim 16 million layers, whose names would take 100 GB.
    most = len(state) + MORE_NAMES
    expected = list(itertools.islice(weight_names(config), most))
    if len(expected) == most:
        raise ConfigurationError(
            f"The weights have {len(state)} arrays and by their config should have more than "
            f"{MORE_NAMES:,} others; they belong to another config."
        )
    _check_names({name.theirs for name in expected}, set(state))
    leaves = by_path(transformer_shapes(config))
    for name in expected:
        _check_shape(name, leaves[name.ours].shape[len(name.at) :], state[name.theirs].shape)
    return state


def compared_arrays(config: ModelConfig) -> tuple[str, ...]:
    """Returns the names of the arrays that have to be equal, of which the first one is imported."""
    return ("shared.weight", *COPIES, *(["lm_head.weight"] if config.tied_logits else []))


def _check_shape(name: WeightName, target: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Compares the shape of one of their arrays with that of its place in ours."""
    expected = _shape_of_theirs(name, target)
    if shape != expected:
        raise ConfigurationError(
            f"{name.theirs} is of shape {shape} and should by its config be {expected}; the "
            "weights belong to another config."
        )


def _shape_of_theirs(name: WeightName, target: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape of one of their arrays, from that of its place in ours."""
    return target if name.outputs is None else (name.outputs, math.prod(target) // name.outputs)


def _without_copies(config: ModelConfig, state: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state without copies; separate logits remain if they are untied."""
    shared = state.get("shared.weight")
    _, *copies = compared_arrays(config)
    for name in copies:
        if name in state and shared is not None and not _are_equal(state[name], shared):
            raise ConfigurationError(
                f"{name} differs from shared.weight; a network with several embeddings, or with "
                "logits that are scaled and untied, cannot be imported. If the config is wrong, "
                "correct tie_word_embeddings there."
            )
    left = {name: state[name] for name in state if name not in (*copies, LEFT_OVER)}
    if not config.tied_logits and shared is not None:
        left.setdefault("lm_head.weight", shared)  # MT5 may tie them, and never scales
    return left


def _are_equal(first: Any, second: Any) -> bool:
    """Returns whether two arrays are equal, or two shapes."""
    if isinstance(first, jax.ShapeDtypeStruct):
        return first.shape == second.shape
    return np.array_equal(first, second)


def _check_names(expected: set[str], present: set[str]) -> None:
    missing, unknown = sorted(expected - present), sorted(present - expected)
    if missing or unknown:
        raise ConfigurationError(
            f"The weights should have {len(expected)} arrays by their config; {len(missing)} are "
            f"missing {missing[:3]} and {len(unknown)} are unknown {unknown[:3]}; they belong to "
            "another config or another kind of model."
        )
