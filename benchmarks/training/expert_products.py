"""The matrix products of many experts in three forms: one batch, a loop, or unrolled.

Forward and backward of the gated network in CPU-seconds, over those of the dense network on as many
rows: the reason for the form in `model/switch/capacity.py`. The forms take turns; the least of the
rounds is printed. Writes benchmarks/results/expert_products.json.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

EMBED, MLP, ROUNDS = 256, 1024, 5
SIZES = ((8, 320), (32, 80), (128, 20), (128, 160))
MOST_WRITTEN_OUT = 32  # compiling 128 takes minutes

Form = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def network(x: jax.Array, gate: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
    """One expert, or a batch of them by broadcasting."""
    return (jax.nn.gelu(x @ gate, approximate=True) * (x @ up)) @ down


def looped(*arrays: jax.Array) -> jax.Array:
    return jax.lax.map(lambda one: network(*one), arrays)


def written_out(*arrays: jax.Array) -> jax.Array:
    return jnp.stack([network(*one) for one in zip(*arrays, strict=True)])


def step(form: Form, arrays: tuple[jax.Array, ...]) -> Callable[[], float]:
    """Returns a function that measures CPU-seconds of forward and backward."""
    slopes = jax.jit(jax.grad(lambda arrays: jnp.sum(jnp.square(form(*arrays)))))
    jax.block_until_ready(slopes(arrays))

    def take() -> float:
        start = time.process_time()
        jax.block_until_ready(slopes(arrays))
        return time.process_time() - start

    return take


def compare(experts: int, rows: int) -> dict[str, dict[str, float]]:
    """Returns each form's least and median CPU-seconds over the dense network's least."""
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = ((rows, EMBED), (EMBED, MLP), (EMBED, MLP), (MLP, EMBED))
    many = tuple(
        0.05 * jax.random.normal(key, (experts, *shape))
        for key, shape in zip(keys, shapes, strict=True)
    )
    dense = (many[0].reshape(-1, EMBED), *(weight[0] for weight in many[1:]))
    sides = {"dense": step(network, dense), "batch": step(network, many)}
    sides["loop"] = step(looped, many)
    if experts <= MOST_WRITTEN_OUT:
        sides["written out"] = step(written_out, many)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(ROUNDS):
        for name, take in sides.items():
            taken[name].append(take())
    least = min(taken["dense"])
    return {
        name: {"least": min(values) / least, "median": statistics.median(values) / least}
        for name, values in taken.items()
        if name != "dense"
    }


def main() -> None:
    result: dict[str, Any] = {}
    for experts, rows in SIZES:
        name = f"{experts} experts of {rows} rows"
        result[name] = compare(experts, rows)
        forms = ", ".join(f"{form} x{value['least']:.2f}" for form, value in result[name].items())
        print(f"{name:24} {forms}", flush=True)
    path = Path(__file__).parents[1] / "results" / "expert_products.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
