"""Compiles attention, forward and backward, for a topology: `python -m ... v6e:2x2 [TOKENS ...]`.

Prints a JSON object: text of the compiled program by name of the attention, of the recipes' or, if
numbers of tokens are given, of those that have a kernel. It is a program of its own, as a compiler
may abort.
"""

import functools
import json
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from model.config import MeshShape
from model.layers.attention import has_kernel
from model.sharding.mesh import make_mesh
from pipeline.planning.topology import topology
from tests.helpers.kernels_of_a_device import fused_attention

ROWS, HEAD = 2, 64
# Heads of a device, source and target tokens; Switch-C's 30 heads are split over two devices.
SIZES = {"t5-base": (12, 512, 114), "mt5-base": (12, 1024, 229), "switch-c": (15, 512, 114)}


def compiled(device, heads: int, queries: int, keys: int, *, biased: bool, causal: bool) -> str:
    """Returns the program of one attention and its gradients on one device."""
    here = SingleDeviceSharding(device)
    like = functools.partial(jax.ShapeDtypeStruct, sharding=here)
    query, key = (like((ROWS, n, heads * HEAD), jnp.bfloat16) for n in (queries, keys))
    table = like((32, heads), jnp.float32) if biased else None
    mask = None if causal else like((ROWS, keys), jnp.bool_)

    def run(query, keys, values, table, mask, gradient):
        options = {"heads": heads, "bidirectional": not causal, "causal": causal}
        call = functools.partial(fused_attention, key_mask=mask, device=device, **options)
        value, backward = jax.vjp(call, query, keys, values, table)
        return value, backward(gradient)

    return jax.jit(run).lower(query, key, key, table, mask, query).compile().as_text()


def has_kernel_for(device, heads: int, tokens: int) -> bool:
    """Returns whether self-attention over so many tokens has a kernel on the device."""
    row: Any = jax.ShapeDtypeStruct((ROWS, tokens, heads * HEAD), jnp.bfloat16)
    return has_kernel(row, row, heads, make_mesh(MeshShape(), [device]))


def main(name: str, lengths: Sequence[int]) -> None:
    """Prints the programs of the recipes' attentions, or of mt5-base's encoder at other lengths."""
    jax.config.update("jax_platforms", "cpu")
    device = topology(name).devices[0]
    compile_for = functools.partial(compiled, device)
    programs = {
        str(tokens): compile_for(12, tokens, tokens, biased=True, causal=False)
        for tokens in lengths
        if has_kernel_for(device, 12, tokens)
    }
    sizes = {} if lengths else SIZES
    for recipe, (heads, source, target) in sizes.items():
        programs |= {
            f"{recipe} encoder": compile_for(heads, source, source, biased=True, causal=False),
            f"{recipe} decoder": compile_for(heads, target, target, biased=True, causal=True),
            f"{recipe} across": compile_for(heads, target, source, biased=False, causal=False),
        }
    print(json.dumps(programs))


if __name__ == "__main__":
    main(sys.argv[1], list(map(int, sys.argv[2:])))
