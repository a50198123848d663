"""What a sparse step costs against the FLOP-matched dense one: same tokens, interleaved.

The paper's own ratio is 1.76 at capacity factor 1.25 (128 experts, TPU; table 1, examples a
second). Each round times both, one after the other, so that a machine's drift hits both alike;
quote the median ratio and its spread. Writes benchmarks/results/step_cost.json.
"""

import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from model.batch import Batch
from model.config import ModelConfig, SwitchConfig
from model.optimizer import OptimizerConfig
from model.sharding import MeshShape, make_mesh
from model.train_step import make_trainer

ROWS, SOURCE, TARGET = 16, 128, 32
ROUNDS, WARM = 9, 2
DENSE = ModelConfig(
    vocabulary_rows=2048,
    embed=256,
    heads=4,
    head=64,
    mlp=1024,
    layers=4,
    activation_dtype="float32",
)


def sparse(experts: int) -> ModelConfig:
    switch = SwitchConfig(
        experts=experts,
        every=2,
        encoder_group_tokens=ROWS * SOURCE,
        decoder_group_tokens=ROWS * TARGET,
    )
    return replace(DENSE, switch=switch)


class Timed:
    """One side: its compiled step, its state, and what each step took."""

    def __init__(self, config: ModelConfig):
        mesh = make_mesh(MeshShape(), jax.devices()[:1])
        self.trainer = make_trainer(config, OptimizerConfig(), steps=10_000, seed=0, mesh=mesh)
        self.state = self.trainer.init()
        self.cpu: list[float] = []
        self.wall: list[float] = []
        self.dropped = 0.0

    def step(self, batch: Batch) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        self.state, metrics = self.trainer.step(self.state, batch)
        jax.block_until_ready(self.state)
        self.cpu.append(time.process_time() - cpu)
        self.wall.append(time.perf_counter() - wall)
        self.dropped = float(metrics.losses.dropped_share)


def random_batch(generator: np.random.Generator) -> Batch:
    shape = {"inputs": (ROWS, SOURCE), "targets": (ROWS, TARGET)}
    ids = {name: generator.integers(3, 2048, size) for name, size in shape.items()}
    return Batch(
        **{name: jnp.array(array, jnp.int32) for name, array in ids.items()},
        language=jnp.zeros(ROWS, jnp.int32),
    )


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    values = [a / b for a, b in zip(ours, theirs, strict=True)][WARM:]
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def main() -> None:
    sides = {"dense": Timed(DENSE), "8 experts": Timed(sparse(8)), "32 experts": Timed(sparse(32))}
    generator = np.random.default_rng(0)
    for _ in range(ROUNDS + WARM):
        batch = random_batch(generator)
        for side in sides.values():
            side.step(batch)
    result = {}
    for name, side in sides.items():
        result[name] = {
            "cpu_seconds": statistics.median(side.cpu[WARM:]),
            "wall_seconds": statistics.median(side.wall[WARM:]),
            "cpu_ratio_to_dense": ratios(side.cpu, sides["dense"].cpu),
            "wall_ratio_to_dense": ratios(side.wall, sides["dense"].wall),
            "dropped_share": side.dropped,
        }
        cpu, wall = (result[name][f"{what}_ratio_to_dense"] for what in ("cpu", "wall"))
        print(
            f"{name:10} {result[name]['cpu_seconds']:.3f} CPU-s a step, "
            f"x{cpu['median']:.2f} ({cpu['low']:.2f} to {cpu['high']:.2f}) CPU, "
            f"x{wall['median']:.2f} ({wall['low']:.2f} to {wall['high']:.2f}) wall, "
            f"dropped {side.dropped:.1%}"
        )
    path = Path(__file__).parent / "results" / "step_cost.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
