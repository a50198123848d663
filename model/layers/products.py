"""Products of activations and stored weights, gathered once per use; and initial weights.

A stored weight is float32 and split over the batch's axes (FSDP). Each use casts it to the type of
the activations and gathers it, so half the bytes cross a link. The backward pass gathers it again
instead of keeping it, which would hold the whole model on each device. The weight's gradient is
summed in float32, over tokens and devices, into the part that the device stores.

Every step of this is written out. With constraints alone, XLA's partitioner split the products of
weight gradients into loops over parts of the result (windowed einsums): T5-Base on 16 devices then
read its activations eight times per product.

Softmax needs scores and logits in float32, while their operands are bfloat16. JAX would carry
float32 into the backward pass: it would widen both operands and multiply them in float32, the most
expensive products of the network at the slowest precision. Here the incoming gradient is narrowed
first. With float32 operands nothing changes.

Initial weights are truncated normal of variance s / fan_in (Switch, section 2.4). With fan-in n the
standard deviation after truncation is exactly sqrt(s / n): a normal distribution of standard
deviation sqrt(s / n) / 0.88 is truncated at two standard deviations. The paper's text truncates one
of standard deviation sqrt(s / n), which leaves 0.77 of that variance. T5 has s = 1. With s = 0.1
the paper found sparse models to be stable (table 3: -2.72 +- 0.01 instead of -3.60 +- 0.68).
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn.initializers import variance_scaling
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Int, Key, Num

from model.sharding.exchanges import gather_stored, on_devices, sum_over_model, sum_to_stored
from model.sharding.layouts import spec, storage

TABLE, IDS, ROWS = "vocabulary embed", "batch length", "batch length embed"  # of `lookup`


def kernel(
    shape: tuple[int, ...], *, fan_in: int, scale: float, key: Key[Array, ""]
) -> Float[Array, "..."]:
    """Draws one weight; its variance depends on `fan_in`, whatever the number of dimensions."""
    draw = variance_scaling(scale, "fan_in", "truncated_normal")
    return draw(key, (fan_in, math.prod(shape) // fan_in), jnp.float32).reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def summed_in_float32(
    subscripts: str, a: Num[Array, "*a"], b: Num[Array, "*b"]
) -> Float32[Array, "*out"]:
    """Returns `einsum(subscripts, a, b)` in float32; its gradients are products in `a`'s type."""
    return _float32_forward(subscripts, a, b)[0]


def _float32_forward(subscripts: str, a: Array, b: Array) -> tuple[Array, tuple[Array, Array]]:
    return jnp.einsum(subscripts, a, b, preferred_element_type=jnp.float32), (a, b)


def _float32_backward(
    subscripts: str, operands: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    _, pull_back = jax.vjp(lambda a, b: jnp.einsum(subscripts, a, b), *operands)
    return pull_back(cotangent.astype(operands[0].dtype))


summed_in_float32.defvjp(_float32_forward, _float32_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(
    dimensions: str, x: Float[Array, "*x"], weight: Float[Array, "*weight"], mesh: Mesh
) -> Float[Array, "*y"]:
    """Returns the product of activations and a weight, in the type of the activations.

    Args:
        dimensions: names of all dimensions, such as "batch length embed, embed mlp -> batch length
            mlp"; a name that the result lacks is summed over.
        x: activations.
        weight: stored weight.
        mesh: the devices.
    """
    return _product_forward(dimensions, x, weight, mesh)[0]


def _product_forward(dimensions: str, x: Array, weight: Array, mesh: Mesh) -> tuple[Array, Any]:
    x_names, weight_names, y_names = _array_names(dimensions)
    stored = storage(weight_names, weight.shape, mesh)
    specs = spec(x_names, stored.mesh), stored.spec

    def on_device(x: Array, part: Array) -> Array:
        whole = gather_stored(part.astype(x.dtype), stored)
        y = jnp.einsum(_subscripts(x_names, weight_names, y_names), x, whole)
        return _summed_over_model(y, x_names, y_names)

    run = on_devices(on_device, stored.mesh, specs, spec(y_names, stored.mesh))
    return run(x, weight), (x, weight)


def _product_backward(
    dimensions: str, mesh: Mesh, kept: tuple[Array, Array], cotangent: Array
) -> tuple[Array, Array]:
    x_names, weight_names, y_names = _array_names(dimensions)
    stored = storage(weight_names, kept[1].shape, mesh)

    def on_device(x: Array, part: Array, cotangent: Array) -> tuple[Array, Array]:
        whole = gather_stored(part.astype(x.dtype), stored)
        dx = jnp.einsum(_subscripts(y_names, weight_names, x_names), cotangent, whole)
        subscripts = _subscripts(x_names, y_names, weight_names)
        dweight = jnp.einsum(subscripts, x, cotangent, preferred_element_type=jnp.float32)
        return _summed_over_model(dx, y_names, x_names), sum_to_stored(dweight, stored, x.dtype)

    specs = spec(x_names, stored.mesh), stored.spec, spec(y_names, stored.mesh)
    return on_devices(on_device, stored.mesh, specs, specs[:2])(*kept, cotangent)


product.defvjp(_product_forward, _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def lookup(
    table: Float[Array, "vocabulary embed"],
    ids: Int[Array, "batch length"],
    dtype: Any,
    mesh: Mesh,
) -> Float[Array, "batch length embed"]:
    """Returns the rows of a stored table, in another type.

    Gathered like the weight of a product. Only the device of the model axis that has an id's row
    adds it to the sum over that axis.
    """
    return _lookup_forward(table, ids, dtype, mesh)[0]


def _lookup_forward(table: Array, ids: Array, dtype: Any, mesh: Mesh) -> tuple[Array, Any]:
    stored = storage(TABLE, table.shape, mesh)

    def on_device(part: Array, ids: Array) -> Array:
        whole = gather_stored(part.astype(dtype), stored)
        rows = whole.at[_own_rows(ids, len(whole))].get(mode="fill", fill_value=0)
        return _summed_over_model(rows, TABLE, "")

    specs = stored.spec, spec(IDS, stored.mesh)
    run = on_devices(on_device, stored.mesh, specs, spec(ROWS, stored.mesh))
    return run(table, ids), (table, ids)


def _lookup_backward(
    dtype: Any, mesh: Mesh, kept: tuple[Array, Array], cotangent: Array
) -> tuple[Array, None]:
    table, ids = kept
    stored = storage(TABLE, table.shape, mesh)
    rows = table.shape[0] // mesh.shape["model"]

    def on_device(ids: Array, cotangent: Array) -> Array:
        whole = jnp.zeros((rows, cotangent.shape[-1]), jnp.float32)
        own = _own_rows(ids, rows)
        whole = whole.at[own].add(cotangent.astype(jnp.float32), mode="drop")
        return sum_to_stored(whole, stored, cotangent.dtype)

    specs = spec(IDS, stored.mesh), spec(ROWS, stored.mesh)
    return on_devices(on_device, stored.mesh, specs, stored.spec)(ids, cotangent), None


lookup.defvjp(_lookup_forward, _lookup_backward)


def _own_rows(ids: Array, rows: int) -> Array:
    """Returns each id's row in this device's part of the table; `rows` for another device's."""
    own = ids - jax.lax.axis_index("model") * rows
    return jnp.where((own >= 0) & (own < rows), own, rows)


def _summed_over_model(partial: Array, before: str, after: str) -> Array:
    """Returns the sum over the model axis if a dimension that it splits is gone."""
    split = {name for name in before.split() if spec(name)[0] == "model"}
    return partial if split <= set(after.split()) else sum_over_model(partial)


def _array_names(dimensions: str) -> tuple[str, str, str]:
    """Returns the names of x, of the weight and of the result."""
    operands, y = dimensions.split("->")
    x, weight = operands.split(",")
    return x.strip(), weight.strip(), y.strip()


@functools.cache
def _subscripts(*operands: str) -> str:
    """Returns einsum's subscripts for the names of two operands and of the result."""
    names = sorted(set(" ".join(operands).split()))
    letters = {name: chr(ord("a") + at) for at, name in enumerate(names)}
    a, b, result = ("".join(letters[name] for name in array.split()) for array in operands)
    return f"{a},{b}->{result}"
