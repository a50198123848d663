"""The cost of sparsity: against the FLOP-matched dense network, and of many experts against few.

    sparse   forward, backward and update; capacity factor 1.25. The paper's own ratio is 1.76 (128
             experts on TPUs; table 1, examples per second). Target: at most 1.25.
    experts  128 against 8, forward and backward, 128 tokens per routed expert. Target: at most 1.2.
    dispatch compiled FLOPs of dispatch and combine, relative to the whole layer's. Target: under
             3 % (the reference's one-hot products: some 50 %).

The sides of a comparison take turns, step by step, so a machine's drift affects both alike. Quote
the median ratio of CPU-seconds with its spread; wall time means little on a shared machine. Writes
benchmarks/results/step_cost.json.
"""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from model.batch import Batch, Call
from model.config import MeshShape, ModelConfig, OptimizerConfig, SwitchConfig
from model.loss.training_loss import training_loss
from model.sharding.exchanges import over_devices
from model.sharding.mesh import make_mesh
from model.switch.capacity import Experts, capacity_dispatch
from model.switch.switch_layer import SwitchLayer
from model.trainer import Trainer, make_trainer

VOCABULARY = 2048
DENSE = ModelConfig(
    vocabulary_rows=VOCABULARY,
    embed=256,
    heads=4,
    head=64,
    mlp=1024,
    layers=2,
    activation_dtype="float32",
)
ROUNDS, WARM = 5, 1


def sparse(experts: int, group: int) -> ModelConfig:
    """The dense network with every other feed-forward sparse."""
    switch = SwitchConfig(
        experts=experts, every=2, encoder_group_tokens=group, decoder_group_tokens=group
    )
    return replace(DENSE, switch=switch)


class Timed:
    """One side, with the cost of each of its steps."""

    def __init__(self, step: Callable[[Batch], float]):
        self.step = step
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def take(self, batch: Batch) -> None:
        """Times a step."""
        cpu, wall = time.process_time(), time.perf_counter()
        self.dropped_share = self.step(batch)
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)


def trainer(config: ModelConfig) -> Trainer:
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    return make_trainer(config, OptimizerConfig(), steps=10_000, seed=0, mesh=mesh)


def whole_step(config: ModelConfig) -> Timed:
    """Forward, backward and update."""
    one = trainer(config)
    state = [one.init()]

    def step(batch: Batch) -> float:
        state[0], metrics = one.step(state[0], batch)
        jax.block_until_ready(state[0])
        return float(metrics.losses.dropped_share)

    return Timed(step)


def gradients(config: ModelConfig) -> Timed:
    """Forward and backward."""
    one = trainer(config)
    arrays = one.init().arrays
    call = Call(one.mesh, jax.random.key(0))

    def loss(arrays: Any, batch: Batch):
        return training_loss(eqx.combine(arrays, one.static), batch, call)

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def step(batch: Batch) -> float:
        (_, (losses, _)), slopes = compiled(arrays, batch)
        jax.block_until_ready(slopes)
        return float(losses.dropped_share)

    return Timed(step)


def random_batch(generator: np.random.Generator, rows: int, source: int, target: int) -> Batch:
    inputs, targets = (
        jnp.array(generator.integers(3, VOCABULARY, (rows, length)), jnp.int32)
        for length in (source, target)
    )
    return Batch(inputs=inputs, targets=targets, language=jnp.zeros(rows, jnp.int32))


def compare(
    sides: dict[str, Timed], rows: int, source: int, target: int, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Runs the sides in turns; the others are compared with the first."""
    generator = np.random.default_rng(0)
    for _ in range(rounds + WARM):
        batch = random_batch(generator, rows, source, target)
        for side in sides.values():
            side.take(batch)
    first = next(iter(sides.values()))
    result = {name: summary(side, first) for name, side in sides.items()}
    for name, numbers in result.items():
        print(describe(name, numbers), flush=True)
    return result


def summary(side: Timed, first: Timed) -> dict[str, Any]:
    return {
        "cpu_seconds": statistics.median(side.cpu[WARM:]),
        "wall_seconds": statistics.median(side.wall[WARM:]),
        "cpu_ratio": ratios(side.cpu[WARM:], first.cpu[WARM:]),
        "wall_ratio": ratios(side.wall[WARM:], first.wall[WARM:]),
        "dropped_share": side.dropped_share,
    }


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Median, lowest and highest ratio of successive steps."""
    values = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def describe(name: str, numbers: dict[str, Any]) -> str:
    cpu, wall = numbers["cpu_ratio"], numbers["wall_ratio"]
    return (
        f"  {name:12} {numbers['cpu_seconds']:.3f} CPU-s per step, "
        f"x{cpu['median']:.2f} ({cpu['low']:.2f} to {cpu['high']:.2f}) CPU, "
        f"x{wall['median']:.2f} ({wall['low']:.2f} to {wall['high']:.2f}) wall, "
        f"dropped {numbers['dropped_share']:.1%}"
    )


class NoExperts(NamedTuple):
    """Stands in for the experts, of which only the number is read, and returns its input."""

    total: int
    up: range
    microbatch: int = 0
    microbatches: int = 1

    def __call__(self, rows: jax.Array, *_: object) -> jax.Array:
        return rows


def dispatch_share(experts: int, tokens: int) -> float:
    """Returns compiled FLOPs of dispatch and combine over those of the layer, with backward."""
    config = sparse(experts, tokens)
    assert config.switch is not None
    routing = config.switch.routing(decoder=False, training=True)
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    layer = SwitchLayer.init(config, config.switch, key=jax.random.key(0))
    x = jnp.ones((1, tokens, config.embed))

    def whole(layer: SwitchLayer, x: jax.Array) -> jax.Array:
        real = jnp.ones(x.shape[:2], bool)
        return jnp.sum(jnp.square(layer(x, real, routing, key=jax.random.key(0), mesh=mesh)[0]))

    def way(gate: jax.Array, x: jax.Array, expert: jax.Array) -> tuple[jax.Array]:
        y, kept = capacity_dispatch(
            x, expert, cast(Experts, NoExperts(experts, range(experts))), routing.capacity
        )
        return (jnp.sum(y * (gate * kept)[..., None], axis=2),)

    def there_and_back(gate: jax.Array, x: jax.Array, expert: jax.Array) -> jax.Array:
        names = ("batch length top_k", "batch length embed", "batch length top_k")
        return jnp.sum(jnp.square(over_devices(way, mesh, names, names[1:2])(gate, x, expert)[0]))

    expert = jnp.zeros((1, tokens, 1), jnp.int32)
    return flops(there_and_back, x[..., :1], x, expert) / flops(whole, layer, x)


def flops(function: Callable[..., jax.Array], *arguments: Any) -> float:
    compiled = jax.jit(jax.grad(function, argnums=(0, 1))).lower(*arguments).compile()
    return compiled.cost_analysis()["flops"]


def main() -> None:
    print("sparse: forward, backward and update against the FLOP-matched dense network")
    result = {
        "sparse": compare(
            {"dense": whole_step(DENSE)}
            | {f"{n} experts": whole_step(sparse(n, 2048)) for n in (8, 32)},
            rows=16,
            source=128,
            target=128,
        )
    }
    print("experts: forward and backward, 128 tokens per routed expert where there are 128")
    result["experts"] = compare(
        {f"{n} experts": gradients(sparse(n, 2048)) for n in (8, 128)},
        rows=128,
        source=128,
        target=128,
        rounds=3,
    )
    result["dispatch"] = {f"{n} experts": dispatch_share(n, 2048) for n in (8, 128)}
    for name, share in result["dispatch"].items():
        print(f"dispatch: {share:.2%} of the layer's compiled FLOPs, {name}")
    path = Path(__file__).parents[1] / "results" / "step_cost.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
