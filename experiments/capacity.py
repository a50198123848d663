"""The worth of a larger feed-forward to the baseline: an upper bound on what experts gain.

    python experiments/capacity.py [--out runs/experiment]

Comes after `multilingual.py`, whose tokens and recipes it uses. The dense model with feed-forwards
of one unit, of a quarter and of eight times the recipe's width; the Switch with fewer experts, with
every other feed-forward sparse, with narrow experts or experts of larger first output; both with
four times the rows and with four times the steps. Then the same in other shapes: a quarter of the
rows and four times the steps, four heads, four times the width with one layer per stack. One seed.
Prints held-out losses as Markdown. Results: docs/results/short-runs.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import tyro
from ladder import losses
from lanes import run_all
from multilingual import HALF, pretrain

LONG = 4 * HALF
WIDE_ROWS = 256
FEW_ROWS = 16
FEW_GROUPED = ("model.switch.encoder_group_tokens=2048", "model.switch.decoder_group_tokens=464")
HOLD = ("optimizer.hold_steps=1600",)  # a schedule of the same form over four times the steps
FOUR_HEADS = ("model.heads=4", "model.head=8")
WIDE = ("model.embed=128", "model.heads=4", "model.layers=1")
WIDE_ROUTER = ("model.switch.router_scale=0.088",)  # logits of unit variance, 1 / sqrt(embed)


class Trial(NamedTuple):
    """One run: its name, side, settings and number of steps."""

    name: str
    side: str
    settings: Sequence[str] = ()
    steps: int = HALF
    rows: int = 64


TRIALS = (
    Trial("mt5-mlp-1", "mt5", ("model.mlp=1",)),
    Trial("mt5-mlp-16", "mt5", ("model.mlp=16",)),
    Trial("mt5-mlp-64", "mt5"),
    Trial("mt5-mlp-512", "mt5", ("model.mlp=512",)),
    Trial("switch-mlp-16", "switch", ("model.mlp=16",)),
    Trial("switch-mlp-64", "switch"),
    Trial("switch-of-4", "switch", ("model.switch.experts=4",)),
    Trial("switch-every-2", "switch", ("model.switch.every=2",)),
    Trial("switch-louder", "switch", ("model.switch.expert_output_scale=4",)),
    Trial("mt5-256-rows", "mt5", steps=HALF // 2, rows=WIDE_ROWS),
    Trial("switch-256-rows", "switch", steps=HALF // 2, rows=WIDE_ROWS),
    Trial("mt5-long", "mt5", steps=LONG),
    Trial("switch-long", "switch", steps=LONG),
    Trial("mt5-16-rows-mlp-1", "mt5", (*HOLD, "model.mlp=1"), LONG, FEW_ROWS),
    Trial("mt5-16-rows", "mt5", HOLD, LONG, FEW_ROWS),
    Trial("switch-16-rows", "switch", (*HOLD, *FEW_GROUPED), LONG, FEW_ROWS),
    Trial("mt5-4-heads-mlp-1", "mt5", (*FOUR_HEADS, "model.mlp=1")),
    Trial("mt5-4-heads", "mt5", FOUR_HEADS),
    Trial("mt5-4-heads-mlp-512", "mt5", (*FOUR_HEADS, "model.mlp=512")),
    Trial("switch-4-heads", "switch", FOUR_HEADS),
    Trial("mt5-wide", "mt5", WIDE),
    Trial("mt5-wide-mlp-512", "mt5", (*WIDE, "model.mlp=512")),
    Trial("switch-wide", "switch", (*WIDE, *WIDE_ROUTER)),
)


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Where the experiment is."""

    out: Path = Path("runs/experiment")
    """Directory that `multilingual.py` wrote; everything is made there."""


def main(arguments: Arguments) -> None:
    """Runs what is not finished, and prints a table."""
    longest_first = sorted(TRIALS, key=lambda trial: -trial.steps * trial.rows)
    run_all([pretrain(arguments.out, *words(trial)) for trial in longest_first])
    print("| run | tokens | held-out nats |\n|---|---:|---:|")
    for trial in TRIALS:
        nats = fmean(losses(arguments.out / trial.name, trial.steps).values())
        print(f"| {trial.name} | {trial.steps * trial.rows * 157 / 1e6:.0f}M | {nats:.3f} |")


def words(trial: Trial) -> list[str]:
    """Returns the name, the recipe and the settings of a run."""
    settings = (
        f"steps={trial.steps}",
        f"rows={trial.rows}",
        f"evaluate_every={trial.steps // 8}",
        f"checkpoint_every={trial.steps}",
        *trial.settings,
    )
    return [trial.name, f"{trial.side}-experiment", *(f"--set={setting}" for setting in settings)]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
