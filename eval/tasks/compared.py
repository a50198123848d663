"""Both sides of a report on one task: scores and gains per way of fine-tuning, metric and language.

A mode is a choice of training languages. Examples that share text with the pretraining corpus in
any run are left out of the scores "without overlaps", so both sides keep the same examples. Where
no run looked for overlap with an example, the number of overlaps is None, which is not 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from data.languages import get
from eval.experts.sharing import ExpertSharing
from eval.statistics.intervals import FALSE_DISCOVERY_RATE
from eval.tasks.metrics import Metric
from eval.tasks.predictions import Predictions, check_same_examples
from eval.tasks.scores import (
    Estimate,
    Runs,
    language_gains,
    language_scores,
    mean_gain,
    mean_score,
)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One number of both sides: of a language, or the mean over languages.

    Attributes:
        baseline, candidate: the number of each side.
        gain: difference of the sides, above zero where the candidate is better.
    """

    baseline: Estimate
    candidate: Estimate
    gain: Estimate

    @property
    def verdict(self) -> str:
        """`better` or `worse` beyond noise, otherwise `unclear`."""
        if self.gain.p_value is None or self.gain.p_value >= FALSE_DISCOVERY_RATE:
            return "unclear"
        return "better" if self.gain.value > 0 else "worse"


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of both sides by one metric.

    Attributes:
        metric: name of the metric.
        without_overlaps: whether examples that overlap with the pretraining corpus are left out.
        mean: mean over languages; None where no language has two examples.
        languages: by code.
    """

    metric: str
    without_overlaps: bool
    mean: Compared | None
    languages: Mapping[str, Compared]

    @property
    def label(self) -> str:
        """The metric, and what is left out."""
        return self.metric + (", without overlaps" if self.without_overlaps else "")

    @property
    def counted(self) -> list[Compared]:
        """Languages that are counted: all but script variants."""
        return [one for code, one in self.languages.items() if not get(code).is_script_variant]

    @property
    def counts(self) -> dict[str, int]:
        """Number of languages that are better and worse, and of those beyond noise."""
        counted = self.counted
        return {
            "languages_counted": len(counted),
            "languages_better": sum(one.gain.value > 0 for one in counted),
            "languages_worse": sum(one.gain.value < 0 for one in counted),
            "languages_better_significantly": sum(one.verdict == "better" for one in counted),
            "languages_worse_significantly": sum(one.verdict == "worse" for one in counted),
        }


@dataclass(frozen=True, kw_only=True)
class Mode:
    """Scores of both sides in one mode.

    Attributes:
        name: training languages, in words.
        trained_on: their codes; all if empty.
        baseline_seeds, candidate_seeds: seeds of each side's runs.
        examples: number of examples in all languages.
        overlapping: number of those that overlap with the pretraining corpus; None if that was not
            looked for.
        overlapping_by_language: the same by language.
        scores: one entry per metric, then the same without overlaps where there are any.
    """

    name: str
    trained_on: tuple[str, ...]
    baseline_seeds: tuple[int, ...]
    candidate_seeds: tuple[int, ...]
    examples: int
    overlapping: int | None
    overlapping_by_language: Mapping[str, int] | None
    scores: tuple[Scores, ...]


@dataclass(frozen=True, kw_only=True)
class TaskComparison:
    """A task as a report shows it.

    Attributes:
        name: name of the task.
        split: split that was predicted.
        modes: its modes.
        experts: expert use of one candidate run on its examples; None where none is recorded.
    """

    name: str
    split: str
    modes: tuple[Mode, ...]
    experts: ExpertSharing | None = None

    @property
    def labels(self) -> list[str]:
        """Metrics of any mode, each once."""
        return list(dict.fromkeys(one.label for mode in self.modes for one in mode.scores))

    @property
    def overlapping(self) -> Mapping[str, int] | None:
        """Number of overlapping examples by language; None where no mode has it."""
        found = (one.overlapping_by_language for one in self.modes)
        return next((one for one in found if one is not None), None)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One row per mode, metric and language, with the ends of intervals."""
        return [
            {"task": self.name, "trained_on": mode.name, "metric": one.metric}
            | {"without_overlaps": one.without_overlaps, "code": code, **_cells(found)}
            | {"overlapping": (mode.overlapping_by_language or {}).get(code)}
            for mode in self.modes
            for one in mode.scores
            for code, found in one.languages.items()
        ]

    def by(self, label: str) -> dict[str, Scores]:
        """Returns the scores by one metric of each mode that has it."""
        return {mode.name: one for mode in self.modes for one in mode.scores if one.label == label}


def codes_of(scores: Mapping[str, Scores]) -> list[str]:
    """Returns the languages of any of the scores, ordered by code."""
    return sorted({code for one in scores.values() for code in one.languages})


def mode_scores(
    name: str,
    baseline: Mapping[int, Predictions],
    candidate: Mapping[int, Predictions],
    metrics: Iterable[Metric],
    *,
    trained_on: tuple[str, ...] = (),
) -> Mode:
    """Returns both sides' scores in one mode.

    Args:
        name: the mode, in words.
        baseline, candidate: predictions of each side by seed.
        metrics: metrics of the task.
        trained_on: training languages; all if empty.

    Raises:
        DataError: if the runs predicted different examples.
    """
    sides = list(baseline.values()), list(candidate.values())
    check_same_examples([*sides[0], *sides[1]])
    overlapping = _overlapping([*sides[0], *sides[1]])
    kept: list[tuple[Runs, ...]] = [sides]
    if overlapping is not None and overlapping.any():
        kept.append(_without(sides, overlapping))
    languages, of_example = sides[0][0].by_language
    counts = None if overlapping is None else np.bincount(of_example, overlapping, len(languages))
    return Mode(
        name=name,
        trained_on=trained_on,
        baseline_seeds=tuple(baseline),
        candidate_seeds=tuple(candidate),
        examples=of_example.size,
        overlapping=None if counts is None else int(counts.sum()),
        overlapping_by_language=None
        if counts is None
        else dict(zip(languages, counts.astype(int).tolist(), strict=True)),
        scores=tuple(
            scores(one, *runs, without_overlaps=number > 0)
            for number, runs in enumerate(kept)
            for one in metrics
            if runs[0][0].language.size
        ),
    )


def scores(
    metric: Metric,
    baseline: Runs,
    candidate: Runs,
    *,
    without_overlaps: bool = False,
    less_is_better: bool = False,
) -> Scores:
    """Returns both sides' scores by one metric, each run scored once.

    Raises:
        DataError: if the runs predicted different examples.
    """
    found = {id(run): metric.statistics(run) for run in (*baseline, *candidate)}
    metric = metric._replace(statistics=lambda run: found[id(run)])
    one, other = (candidate, baseline) if less_is_better else (baseline, candidate)
    gains = language_gains(one, other, metric)
    each = [language_scores(runs, metric) for runs in (baseline, candidate)]
    means = [mean_score(baseline, metric), mean_score(candidate, metric)]
    means.append(mean_gain(one, other, metric))
    return Scores(
        metric=metric.name,
        without_overlaps=without_overlaps,
        mean=_compared(*means),
        languages={
            code: Compared(baseline=each[0][code], candidate=each[1][code], gain=gain)
            for code, gain in gains.items()
        },
    )


def _cells(found: Compared) -> dict[str, Any]:
    estimates = {name: getattr(found, name) for name in ("baseline", "candidate", "gain")}
    cells = {
        f"{name}{end}": value
        for name, one in estimates.items()
        for end, value in (("", one.value), ("_low", one.low), ("_high", one.high))
    }
    return cells | {"examples": found.gain.examples, "verdict": found.verdict}


def _compared(
    baseline: Estimate | None, candidate: Estimate | None, gain: Estimate | None
) -> Compared | None:
    if baseline is None or candidate is None or gain is None:
        return None
    return Compared(baseline=baseline, candidate=candidate, gain=gain)


def _overlapping(runs: Sequence[Predictions]) -> Bool[np.ndarray, " examples"] | None:
    """Returns what overlaps with the corpus of any run; None if an example was not compared."""
    if not np.any([run.compared for run in runs], axis=0).all():
        return None
    return np.any([run.overlaps for run in runs], axis=0)


def _without(sides: tuple[Runs, Runs], left_out: Bool[np.ndarray, " examples"]):
    return tuple([run.only(~left_out) for run in runs] for runs in sides)
