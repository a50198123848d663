"""What a loss costs: networks of both sides by seconds, FLOPs per token and parameters.

Runs of one network differ in their seed and length. Each run is a point: its loss after the last
step beside three costs.

* Device-seconds: steps * the median of the log's seconds per step * number of devices. A log counts
  waiting for data, no compiling, checkpoints or evaluations. Steps that a branch took over from its
  trunk count like its own. On one thread of a CPU they are seconds of a core.
* FLOPs per token: matrix products of the forward pass of a sequence, divided by its input and
  target tokens.
* Parameters: all weights, those of every expert too.

A loss is the mean over languages with two scored pages or more, each counted alike, as in the mean
gain; or over those of a script. The frontier of a side has its lowest losses: a point is on it if
no other point of the side has a lower or equal loss at the same cost or less. Its points are means
over seeds, because the best of four seeds is not what a fifth would reach.

Two networks are equal in a cost, or in width, if the opponent's differs by at most 5 % from the
candidate's. Time per step needs devices of one kind.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np

from eval.losses import PageLosses, Unit, by_language

EQUAL_WITHIN = 0.05  # of the candidate's
ALL = "all"  # languages
COSTS = {
    "device_seconds": "device-seconds",
    "flops_per_token": "FLOPs per token",
    "parameters": "parameters",
}


class NetworkRun(NamedTuple):
    """A run of a network.

    Attributes:
        seed: its seed.
        steps: number of its training steps.
        device_seconds: seconds of its steps, summed over devices; None if its log has no times.
        pages: held-out pages after the last step.
    """

    seed: int
    steps: int
    device_seconds: float | None
    pages: PageLosses


@dataclass(frozen=True, kw_only=True)
class Network:
    """The runs of one network, of all seeds and lengths; None is what was not recorded.

    Attributes:
        name: name in the report.
        side: name of its side: that of all networks of the baseline, or of the candidate.
        width: size of an embedding.
        parameters: number of weights.
        flops_per_token: FLOPs per token of the forward pass.
        step_device_seconds: device-seconds per step, median over runs.
        devices: kinds of the devices, each once.
        runs: its runs.
    """

    name: str
    side: str
    width: int
    parameters: int | None
    flops_per_token: float | None
    step_device_seconds: float | None
    devices: tuple[str, ...]
    runs: tuple[NetworkRun, ...]


class Point(NamedTuple):
    """The loss and the costs of a run, or the means over seeds of one network and length.

    Attributes:
        network, side: names of the network and of its side.
        seeds: its seed, or those of the mean.
        steps: number of training steps.
        device_seconds, flops_per_token, parameters: costs; None if not recorded.
        losses: mean loss over all languages and over those of each script.
    """

    network: str
    side: str
    seeds: tuple[int, ...]
    steps: int
    device_seconds: float | None
    flops_per_token: float | None
    parameters: int | None
    losses: dict[str, float]

    def cost(self, name: str) -> int | float | None:
        """Returns a cost by its name in `COSTS`."""
        return getattr(self, name)


def equal_in(
    opponent: Network, candidate: Network, step_time_ratio: float | None = None
) -> tuple[str, ...] | None:
    """Returns in what two networks are equal; None if nothing of it is known of both.

    Args:
        opponent: network of the baseline.
        candidate: network of the candidate.
        step_time_ratio: opponent's ÷ candidate's time per step, if it was measured in turns; by
            default that of the runs' logs.
    """
    ratios = {
        "FLOPs per token": _ratio(opponent.flops_per_token, candidate.flops_per_token),
        "parameters": _ratio(opponent.parameters, candidate.parameters),
        "time per step": step_time_ratio or _ratio_of_times(opponent, candidate),
        "width": _ratio(opponent.width, candidate.width),
    }
    known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
    low, high = 1 - EQUAL_WITHIN, 1 + EQUAL_WITHIN
    equal = tuple(name for name, ratio in known.items() if low <= ratio <= high)
    return equal if known else None


def _ratio(opponent: int | float | None, candidate: int | float | None) -> float | None:
    return opponent / candidate if opponent and candidate else None


def _ratio_of_times(opponent: Network, candidate: Network) -> float | None:
    if opponent.devices != candidate.devices:
        return None
    return _ratio(opponent.step_device_seconds, candidate.step_device_seconds)


def in_words(equal: tuple[str, ...] | None) -> str:
    """Returns how a sentence on a comparison begins; empty where nothing is known."""
    if equal is None:
        return ""
    if not equal:
        return f"With nothing equal within {EQUAL_WITHIN:.0%}"
    *first, last = equal
    return f"At equal {', '.join(first)} and {last}" if first else f"At equal {last}"


def points(
    networks: Sequence[Network], unit: Unit, languages: Mapping[str, Collection[str]]
) -> list[Point]:
    """Returns a point per run, ordered by network, length and seed.

    Args:
        networks: networks of both sides.
        unit: unit of the losses.
        languages: codes of the languages of each mean, by its name; none is empty.
    """
    return [
        Point(
            network=network.name,
            side=network.side,
            seeds=(run.seed,),
            steps=run.steps,
            device_seconds=run.device_seconds,
            flops_per_token=network.flops_per_token,
            parameters=network.parameters,
            losses=_mean_losses(run.pages, unit, languages),
        )
        for network in networks
        for run in sorted(network.runs, key=lambda run: (run.steps, run.seed))
    ]


def _mean_losses(
    pages: PageLosses, unit: Unit, languages: Mapping[str, Collection[str]]
) -> dict[str, float]:
    sums = by_language(pages)
    loss = dict(zip(sums.languages, sums.losses(unit).tolist(), strict=True))
    return {
        name: float(np.mean([loss[code] for code in sorted(codes)]))
        for name, codes in languages.items()
    }


def means(of_runs: Sequence[Point]) -> list[Point]:
    """Returns the mean over seeds of each network and length; of times only if all runs have one.

    `of_runs` are ordered as `points` orders them.
    """
    of_lengths = []
    for _, together in groupby(of_runs, key=lambda point: (point.network, point.steps)):
        first, *_ = runs = list(together)
        seconds = [run.device_seconds for run in runs if run.device_seconds is not None]
        losses = {name: float(np.mean([run.losses[name] for run in runs])) for name in first.losses}
        of_lengths.append(
            first._replace(
                seeds=tuple(seed for run in runs for seed in run.seeds),
                device_seconds=float(np.mean(seconds)) if len(seconds) == len(runs) else None,
                losses=losses,
            )
        )
    return of_lengths


def frontier(of_side: Sequence[Point], cost: str, languages: str = ALL) -> list[Point]:
    """Returns the points that no other is below for the same cost or less, cheapest first."""
    known = [(price, point) for point in of_side if (price := point.cost(cost)) is not None]
    best: list[Point] = []
    for _, point in sorted(known, key=lambda entry: (entry[0], entry[1].losses[languages])):
        if not best or point.losses[languages] < best[-1].losses[languages]:
            best.append(point)
    return best
