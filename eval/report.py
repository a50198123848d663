"""The contents of a report, and its one sentence.

The sentence must be as reliable when the candidate loses. It counts better and worse languages
alike, beyond noise and in total, and those that never reach the baseline's final quality. What
weakens the sentence stands beside it (`cautions`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from data.dedup.shared_lines import SharedLines
from eval import side
from eval.distillation import Student
from eval.expert_sharing import ExpertSharing
from eval.funnel import Funnel
from eval.language_gain import LanguageGain, Summary
from eval.language_loss import Unit
from eval.side import Side


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
        step_seconds: median wall time per step, without compilation.
        tokens_per_second: median over steps.
        dropped_share: share of dropped tokens, mean over the last tenth of training.
        training_loss_nats: nats per target token, mean over the last tenth of training.
        held_out_loss_nats: nats per target token over all held-out pages, one entry per run.
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
    tokens_per_second: float | None
    dropped_share: float | None
    training_loss_nats: float | None
    held_out_loss_nats: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ReportContents:
    """Everything that JSON, Markdown and HTML show; None and () where there is none.

    Attributes:
        baseline, candidate: the two sides.
        facts: facts about baseline and candidate.
        summary: counts, medians and means over languages.
        gains: gains per language, best first.
        funnel: funnel of the corpus.
        shared_lines: lines shared by held-out and training pages, per language.
        experts: expert use of one candidate run.
        students: dense students of the candidate's runs.
        differences: settings in which the runs differ beyond the feed-forward.
        training_tokens_are: definition of the languages' training tokens.
    """

    baseline: Side
    candidate: Side
    facts: tuple[RunFacts, RunFacts]
    summary: Summary
    gains: Mapping[str, LanguageGain]
    funnel: Funnel | None
    shared_lines: Mapping[str, SharedLines] | None
    experts: ExpertSharing | None
    differences: tuple[Difference, ...]
    students: tuple[Student, ...]
    training_tokens_are: str

    @property
    def unit(self) -> Unit:
        """Unit of losses and gains."""
        return side.unit_of(self.baseline, self.candidate)

    @property
    def sentence(self) -> str:
        """The result in one sentence on quality and one on speed."""
        return f"{better_sentence(self)} {speed_sentence(self)}"


def better_sentence(report: ReportContents) -> str:
    """Returns in how many languages the candidate is better and worse."""
    summary = report.summary
    better, worse = (
        summary.languages_improved_significantly,
        summary.languages_worse_significantly,
    )
    opening = (
        f"{report.candidate.name} is better than {report.baseline.name} in "
        f"{summary.languages_improved} of {summary.languages} languages"
    )
    if better == worse == 0:
        return f"{opening} and worse in {summary.languages_worse}, nowhere beyond noise."
    return (
        f"{opening} ({better} beyond noise) and worse in {summary.languages_worse} "
        f"({worse} beyond noise)."
    )


def speed_sentence(report: ReportContents) -> str:
    """Returns in how many languages the baseline's final quality is reached, and how soon."""
    summary = report.summary
    if summary.languages_not_reached is None or summary.median_step_speedup is None:
        imported = [one.name for one in (report.baseline, report.candidate) if not one.trained]
        return f"No step speed-up is given: {' and '.join(imported)} was not trained here."
    reached = summary.languages - summary.languages_not_reached
    opening = (
        f"It reaches {report.baseline.name}’s final quality in {reached} of {summary.languages}"
    )
    if reached == 0:
        return f"It reaches {report.baseline.name}’s final quality in none."
    if summary.median_step_speedup_is_bound:
        return f"{opening}; in the median language it does not."
    return (
        f"{opening}; the median language needs 1/{summary.median_step_speedup:.2f} of the steps"
        f"{_in_time(summary.time_speedup)}."
    )


def shared_total(shared: Mapping[str, SharedLines]) -> SharedLines:
    """Returns the sums over all languages, without examples."""
    counts = [one[:4] for one in shared.values()] or [(0, 0, 0, 0)]
    lines, shared_lines, pages, sharing = map(sum, zip(*counts, strict=True))
    return SharedLines(lines, shared_lines, pages, sharing, ())


def speedup_text(gain: LanguageGain) -> str:
    """Returns `1.62`, `< 1.00` if it was not reached, or `–` if a side was not trained here."""
    if gain.step_speedup is None:
        return "–" if gain.step_speedup_bound is None else f"< {gain.step_speedup_bound:.2f}"
    return f"{gain.step_speedup:.2f}"


def _in_time(time_speedup: float | None) -> str:
    return "" if time_speedup is None else f" and {1 / time_speedup:.0%} of the wall time"
