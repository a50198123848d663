"""Our training step against Hugging Face Transformers' on PyTorch: same network, same tokens.

T5 1.0's shape (ReLU, tied logits), dense and with 8 and 64 experts at every other feed-forward. As
in Transformers, each sequence is a routing group, with as many expert slots. Forward, backward and
update: ours with Adafactor, theirs with PyTorch's fused AdamW, its fastest. Both take turns on one
core, because CPU-seconds of several threads include their waiting for one another. Both routers
start alike and drop about a third; theirs multiplies kept tokens only, ours all slots. Targets,
relative to theirs: at most 1.0, 1.0 and 0.8.

Needs an interpreter that has parity/requirements_hugging_face.txt: `--python`, or else the one of
`make parity`. Writes benchmarks/results/against_transformers.json.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path
from typing import Any

CORE = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {CORE})  # inherited by the other process; JAX then starts no second thread

import numpy as np  # noqa: E402
from step_cost import describe, random_batch, ratios, whole_step  # noqa: E402

from model.config import ModelConfig, SwitchConfig  # noqa: E402

HERE = Path(__file__).parent
ROWS, LENGTH, LAYERS, VOCABULARY = 8, 128, 4, 2048
ROUNDS, WARM = 9, 2


def ours(experts: int) -> ModelConfig:
    switch = SwitchConfig(
        experts=experts or 1,
        every=2,
        encoder_group_tokens=LENGTH,
        decoder_group_tokens=LENGTH,
        minimum_capacity=1,
        z_loss_weight=1e-3,
    )
    return ModelConfig(
        vocabulary_rows=VOCABULARY,
        embed=256,
        heads=4,
        head=64,
        mlp=1024,
        layers=LAYERS,
        feed_forward="relu",
        tied_logits=True,
        switch=switch if experts else None,
        activation_dtype="float32",
    )


class Theirs:
    """A process that runs one training step per request."""

    def __init__(self, python: str, config: ModelConfig):
        switch = config.switch
        sizes = {
            "vocabulary": config.vocabulary_rows,
            "embed": config.embed,
            "head": config.head,
            "heads": config.heads,
            "mlp": config.mlp,
            "layers": config.layers,
            "experts": switch.experts if switch else 0,
            "capacity": switch.routing(decoder=False, training=True).capacity if switch else 0,
            "rows": ROWS,
            "length": LENGTH,
        }
        self.process = subprocess.Popen(
            [python, str(HERE / "material/transformers_steps.py"), json.dumps(sizes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.parameters = self._answer()["parameters"]
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def take(self) -> None:
        """Runs one step and returns its seconds."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        seconds = self._answer()
        self.cpu.append(seconds["cpu"])
        self.wall.append(seconds["wall"])

    def close(self) -> None:
        """Ends the process."""
        self.process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())


def compare(python: str, experts: int) -> dict[str, Any]:
    """Returns the seconds of both, and the ratio of ours to theirs."""
    config = ours(experts)
    mine, theirs = whole_step(config), Theirs(python, config)
    generator = np.random.default_rng(0)
    for _ in range(ROUNDS + WARM):
        mine.take(random_batch(generator, ROWS, LENGTH, LENGTH))
        theirs.take()
    theirs.close()
    numbers = {
        "cpu_seconds": float(np.median(mine.cpu[WARM:])),
        "wall_seconds": float(np.median(mine.wall[WARM:])),
        "cpu_seconds_theirs": float(np.median(theirs.cpu[WARM:])),
        "cpu_ratio": ratios(mine.cpu[WARM:], theirs.cpu[WARM:]),
        "wall_ratio": ratios(mine.wall[WARM:], theirs.wall[WARM:]),
        "dropped_share": mine.dropped_share,
        "parameters_theirs": theirs.parameters,
    }
    print(describe(f"{experts} experts" if experts else "dense", numbers), flush=True)
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--python", default=".venv-parity-torch/bin/python")
    parser.add_argument("--experts", type=int, nargs="*", default=[0, 8, 64])
    arguments = parser.parse_args()
    if not Path(arguments.python).exists():
        print(
            f"against_transformers: {arguments.python} was to have Transformers and is not there; "
            "make it from parity/requirements_hugging_face.txt, or name one by --python. "
            "Nothing was compared."
        )
        return
    result = {str(experts): compare(arguments.python, experts) for experts in arguments.experts}
    path = HERE.parent / "results" / "against_transformers.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
