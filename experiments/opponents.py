"""Dense networks of equal time and of equal parameters against a Switch, at three widths.

    python experiments/opponents.py [--documents DIR] [--web GLOB] [--out DIR] [--keep DIR]

docs/results/opponents-design.md fixes what is run and measured, and in which order: here it is the
order of `main`. A network is a recipe of the multilingual experiments at a width: four heads share
the width, and a feed-forward is twice as wide. A network that is compared has the learning rate of
its own that suits it best. Trunks, branches, seeds and lengths are those of `long.py`. A finished
run is not repeated, and one that was cut short resumes, so it is started as often as needed:

    taskset --cpu-list 1 nice -n 19 python experiments/opponents.py

`--keep DIR` trains nothing: it copies of each finished run what a reader needs, a few hundred
kilobytes, to DIR.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import long
import text
import tyro
from lanes import Task, pretrain, run_chains

SCALES = (1.0, 1.4, 2.0)
BEYOND = {SCALES[0]: 0.7, SCALES[-1]: 2.8}  # the further point where the best is at an edge
# Losses by scale of the runs that `long.py` made of the networks of width 32.
EARLIER = {
    "mt5-32": {1.0: 3.2809, 1.4: 3.2665, 2.0: 3.2798, 2.8: 3.3186},
    "switch-32": {1.0: 3.2036, 2.0: 3.2189},
}
SHORT, ALL = long.LENGTHS, (*long.LENGTHS, *long.LONGER)
KEPT = (
    "recipe.json",
    "manifest.json",
    "mixture.json",
    "time.json",
    "skipped.jsonl",
    "alarms.jsonl",
    "metrics.jsonl",
    "evaluation/*.parquet",
)


class Network(NamedTuple):
    """A network of the multilingual experiments.

    Attributes:
        side: dense or sparse.
        width: size of an embedding.
    """

    side: Literal["mt5", "switch"]
    width: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"{self.side}-{self.width}"

    def settings(self) -> Sequence[str]:
        """Returns what differs from the recipe, which has width 32."""
        width = self.width
        sizes = f"model.embed={width}", f"model.head={width // 4}", f"model.mlp={2 * width}"
        if self.side == "mt5" or width == 32:
            return sizes
        # Logits of a router begin with unit variance at every width.
        return *sizes, f"model.switch.router_scale={width**-0.5:.4f}"


SWITCH = Network("switch", 32)
OPPONENTS = Network("mt5", 40), Network("mt5", 48)  # of about its time, of about its parameters
PUBLISHED = Network("mt5", 32), SWITCH  # made again with one seed, for their weights
# At each width the Switch, mT5, and the dense networks of the Switch's time and parameters.
WIDER = {
    64: (Network("mt5", 64), Network("switch", 64), Network("mt5", 72), Network("mt5", 120)),
    128: (Network("mt5", 128), Network("switch", 128), Network("mt5", 144), Network("mt5", 288)),
}
WIDER_LENGTHS = {64: ALL[:3], 128: ALL[:2]}


@dataclass(frozen=True, kw_only=True)
class Arguments(text.Arguments):
    """Where the text is, and where results are written."""

    out: Path = Path("runs/opponents")
    """Directory for all results."""
    keep: Path | None = None
    """Folder to which finished runs' evaluations are copied, instead of training."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, or copies what is."""
    out = arguments.out
    if arguments.keep:
        keep(out, arguments.keep)
        return
    text.prepare(arguments)
    for network in (SWITCH, *OPPONENTS):
        find_rate(out, network)
    first = [*OPPONENTS] if best_scale(out, SWITCH) == 1.4 else [*OPPONENTS, SWITCH]
    train(out, first, long.SEEDS, SHORT)
    train(out, OPPONENTS, long.SEEDS, ALL)
    train(out, PUBLISHED, long.SEEDS[:1], ALL)
    for width, networks in WIDER.items():
        for network in networks:
            find_rate(out, network)
        train(out, networks, long.SEEDS, WIDER_LENGTHS[width])


def find_rate(out: Path, network: Network) -> None:
    """Makes a network's runs of three scales, and of one more if the best is at an edge."""
    earlier = EARLIER.get(network.name, {})
    run_chains([[rate_run(out, network, scale)] for scale in SCALES if scale not in earlier])
    losses = rate_losses(out, network)
    further = BEYOND.get(min(losses, key=lambda scale: losses[scale]))
    if further and further not in losses:
        run_chains([[rate_run(out, network, further)]])


def rate_run(out: Path, network: Network, scale: float) -> Task:
    """Returns a run that shows what a scale gives."""
    steps = SHORT[0] if network.width >= min(WIDER) else long.RATE_STEPS
    return pretrain(
        out,
        rate_name(network, scale),
        f"{network.side}-multilingual",
        *("--set", *network.settings(), f"seed={long.RATE_SEED}", *long.COMMON),
        *(f"optimizer.scale={scale}", *long.decayed(steps)),
    )


def rate_name(network: Network, scale: float) -> str:
    """Returns the name of a run of `find_rate`."""
    return f"rate/{network.name}-{scale}"


def rate_losses(out: Path, network: Network) -> dict[float, float]:
    """Returns held-out losses in nats per target token, by scale."""
    runs = {scale: out / rate_name(network, scale) for scale in (BEYOND[1.0], *SCALES, BEYOND[2.0])}
    made = {scale: long.held_out_loss(run) for scale, run in runs.items() if is_finished(run)}
    return EARLIER.get(network.name, {}) | made


def best_scale(out: Path, network: Network) -> float:
    """Returns the smallest scale whose loss is within `long.TIE` of the lowest."""
    return long.smallest_of_the_best(rate_losses(out, network))


def train(
    out: Path, networks: Iterable[Network], seeds: Iterable[int], lengths: Sequence[int]
) -> None:
    """Trains networks with every seed to these lengths, each seed of all networks in turn."""
    run_chains([chain(out, network, seed, lengths) for seed in seeds for network in networks])


def chain(out: Path, network: Network, seed: int, lengths: Sequence[int]) -> Sequence[Task]:
    """Returns a trunk and its branches of these lengths; no trunk is made shorter."""
    scale = 1.4 if network in PUBLISHED and len(lengths) > 2 else best_scale(out, network)
    folder, recipe = f"{network.name}-{scale}-{seed}", f"{network.side}-multilingual"
    common = *network.settings(), f"seed={seed}", *long.COMMON, f"optimizer.scale={scale}"
    trunk = f"{folder}/trunk"
    steps = max(long.branch_at(lengths[-1]), long.steps_of(out / trunk))
    steady = "optimizer.decay_from=1", f"steps={steps}", f"keep_every={long.KEPT}"
    often = f"evaluate_every={long.branch_at(lengths[0])}"
    return [
        pretrain(out, trunk, recipe, "--set", *common, *steady, often),
        *(
            pretrain(
                out,
                f"{folder}/{length}",
                recipe,
                *(f"--trunk={out}/{trunk}", f"--branch-at={long.branch_at(length)}"),
                *("--set", *common, *long.decayed(length)),
            )
            for length in lengths
        ),
    ]


def is_finished(run: Path) -> bool:
    """Returns whether a run has reached its end."""
    return (run / "manifest.json").exists()


def keep(out: Path, folder: Path) -> None:
    """Copies losses, loads of experts, logs, mixtures and times of finished runs, not of trunks."""
    for manifest in sorted(out.glob("*/*/manifest.json")):
        run = manifest.parent
        if run.name == "trunk" or not (run / "recipe.json").exists():
            continue
        kept = folder / run.relative_to(out)
        for path in (path for pattern in KEPT for path in run.glob(pattern)):
            target = kept / path.relative_to(run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
