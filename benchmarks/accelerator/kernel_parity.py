"""The fused attention kernel beside plain attention: values and gradients on this device.

The reference is plain attention in float32 with float32 products. The kernel in bfloat16 is judged
beside plain attention in bfloat16: both differ from the reference by rounding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from model.batch import Visible
from model.config import MeshShape
from model.layers.attention import KERNELS, attend_by_kernel
from model.layers.position_bias import BUCKETS, PositionBias, bucket
from model.sharding.mesh import make_mesh

NAMES = ("output", "query", "keys", "values", "table")


def parity(attention: tuple[int, int, int, int, int]) -> dict[str, Any]:
    """Returns the relative errors of kernel and plain attention, by kind, type and array."""
    found = {}
    for kind in ("encoder", "decoder", "cross"):
        arrays, gradient, mask = inputs(attention, cross=kind == "cross")
        with jax.default_matmul_precision("highest"):
            reference = results(plain, arrays, gradient, mask, kind, attention)
            float32 = results(fused, arrays, gradient, mask, kind, attention)
        half = [array.astype(jnp.bfloat16) for array in arrays[:3]] + arrays[3:]
        slope = gradient.astype(jnp.bfloat16)
        bfloat16 = {
            name: results(side, half, slope, mask, kind, attention)
            for name, side in {"kernel": fused, "plain": plain}.items()
        }
        found[kind] = {"kernel, float32": errors(float32, reference)} | {
            f"{name}, bfloat16": errors(one, reference) for name, one in bfloat16.items()
        }
    return found


def inputs(attention: tuple[int, int, int, int, int], cross: bool) -> tuple[list, Any, Any]:
    """Returns query, keys, values and table; the output's gradient; the mask of real keys."""
    rows, queries, keys, heads, head = attention
    queries = queries // 4 if cross else queries  # targets are about a quarter of the inputs
    generator = np.random.default_rng(0)

    def drawn(*shape: int) -> jax.Array:
        return jnp.asarray(generator.normal(size=shape), jnp.float32)

    width = heads * head
    arrays = [drawn(rows, queries, width) / head**0.5, drawn(rows, keys, width)]
    arrays += [drawn(rows, keys, width), drawn(BUCKETS, heads)]
    real = jnp.arange(keys)[None] < keys - jnp.arange(rows)[:, None] * 3
    return arrays, drawn(rows, queries, width), real


def results(attend, arrays, gradient, mask, kind, attention) -> list[np.ndarray]:
    """Returns output and gradients, in the order of `NAMES`."""

    def function(*arrays):
        return attend(*arrays, mask, kind, attention[3])

    def both(arrays, gradient):
        output, backward = jax.vjp(function, *arrays)
        return [output, *backward(gradient)]

    return [np.asarray(one, np.float32) for one in jax.jit(both)(arrays, gradient)]


def fused(query, keys, values, table, mask, kind, heads) -> jax.Array:
    """The kernel; interpreted where there is no accelerator."""
    device = jax.devices()[0]
    return attend_by_kernel(
        query,
        keys,
        values,
        None if kind == "cross" else PositionBias(table, bidirectional=kind == "encoder"),
        Visible(mask, kind == "decoder", None, None),
        heads,
        make_mesh(MeshShape(), [device]),
        interpret=None if device.platform in KERNELS else "gpu",
    )


def plain(query, keys, values, table, mask, kind, heads) -> jax.Array:
    """Attention that writes all scores, as in T5's paper."""
    parts = [one.reshape(*one.shape[:2], heads, -1) for one in (query, keys, values)]
    scores = jnp.einsum("bqhd,bkhd->bhqk", parts[0], parts[1], preferred_element_type=jnp.float32)
    positions = np.arange(keys.shape[1])[None] - np.arange(query.shape[1])[:, None]
    if kind != "cross":
        biases = table[bucket(positions, bidirectional=kind == "encoder")]
        scores += jnp.moveaxis(biases, -1, 0)
    seen = mask[:, None, None] & ((positions <= 0) | (kind != "decoder"))
    weights = jax.nn.softmax(jnp.where(seen, scores, -1e9)).astype(query.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, parts[2]).reshape(query.shape)


def errors(found: list[np.ndarray], reference: list[np.ndarray]) -> dict[str, float]:
    """Returns the largest difference of each array, relative to the reference's largest value."""
    return {
        name: float(np.max(np.abs(one - true)) / max(np.max(np.abs(true)), 1e-30))
        for name, one, true in zip(NAMES, found, reference, strict=True)
    }
