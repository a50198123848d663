"""Facts about the runs of a report's models, and the settings in which they differ."""

from dataclasses import dataclass
from typing import NamedTuple


class Difference(NamedTuple):
    """A setting that differs beyond the feed-forward, with its value per run of each side."""

    field: str
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """Facts about the runs of one side; None where not recorded.

    Attributes:
        name: name of the side in the report.
        recipe: name of the recipe.
        seeds: seed of each run.
        parameters: number of weights.
        flops_per_sequence: FLOPs per sequence of the forward pass.
        experts: number of experts per switch layer; None for a dense side.
        devices: numbers and kinds of devices.
        steps: number of training steps.
        step_seconds: median wall time per step by the runs' own logs, waiting for data included.
        step_seconds_spread: greatest ÷ least median of a tenth of a run, greatest of all runs.
        tokens_per_second: median over steps.
        dropped_share: share of dropped tokens, mean over the last tenth of training.
        training_loss_nats: nats per target token, mean over the last tenth of training.
        held_out_loss_nats: nats per target token over all held-out pages, one entry per run.
        commits: commits of the code that trained the runs.
    """

    name: str
    recipe: str
    seeds: tuple[int, ...]
    parameters: int | None
    flops_per_sequence: int | None
    experts: int | None
    devices: str
    steps: int
    step_seconds: float | None
    step_seconds_spread: float | None
    tokens_per_second: float | None
    dropped_share: float | None
    training_loss_nats: float | None
    held_out_loss_nats: tuple[float, ...]
    commits: tuple[str, ...]
