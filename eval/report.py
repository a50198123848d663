"""The contents of a report, and its one sentence.

The sentence must be as reliable when the candidate loses. It counts better and worse languages
alike, beyond noise and in total, and those that do not reach the baseline's final quality. What
weakens the sentence stands beside it (`cautions`), and what seeds alone make (`null_comparison`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from data.dedup.shared_lines import SharedLines
from eval import null_comparison, side
from eval.distillation import Student
from eval.expert_sharing import ExpertSharing
from eval.funnel import Funnel
from eval.language_gain import LanguageGain, Summary
from eval.language_loss import Unit
from eval.null_comparison import NullComparison
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
        nulls: each side with two runs or more, compared with itself.
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
    nulls: tuple[NullComparison, ...]
    training_tokens_are: str

    @property
    def unit(self) -> Unit:
        """Unit of losses and gains."""
        return side.unit_of(self.baseline, self.candidate)

    @property
    def sentence(self) -> str:
        """The result in one sentence on quality and one on speed."""
        return f"{better_sentence(self)} {speed_sentence(self)}"

    @property
    def null_sentence(self) -> str:
        """What the comparison shows between seeds of one side; empty with one run per side."""
        return null_comparison.sentence(self.nulls)

    @property
    def intervals_over(self) -> str:
        """The sources of chance that intervals include: `pages`, or those and runs."""
        several = [one.name for one in (self.baseline, self.candidate) if len(one.runs) > 1]
        if not several:
            return "pages only"
        return "pages and runs" if len(several) == 2 else f"pages and the runs of {several[0]}"


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
    if summary.languages_not_reached is None or summary.mean_step_speedup is None:
        sides = report.baseline, report.candidate
        imported = [one.name for one in sides if not one.trained]
        if imported:
            return f"No step speed-up is given: {' and '.join(imported)} was not trained here."
        single = [one.name for one in sides if not one.has_curve]
        return f"No step speed-up is given: {' and '.join(single)} was evaluated only once."
    reached = summary.languages - summary.languages_not_reached
    low, high = summary.mean_step_speedup_low, summary.mean_step_speedup_high
    interval = "no interval: a language has a single page"
    if low is not None and high is not None:
        interval = f"95% interval {low:.2f} to {high:.2f}, over {report.intervals_over}"
    return (
        f"It reaches {report.baseline.name}’s final quality in {reached or 'none'} of "
        f"{summary.languages}; the mean step speed-up is {summary.mean_step_speedup:.2f} "
        f"({interval})."
    )


def shared_total(shared: Mapping[str, SharedLines]) -> SharedLines:
    """Returns the sums over all languages, without examples."""
    counts = [one[:4] for one in shared.values()] or [(0, 0, 0, 0)]
    lines, shared_lines, pages, sharing = map(sum, zip(*counts, strict=True))
    return SharedLines(lines, shared_lines, pages, sharing, ())


def speedup_text(gain: LanguageGain) -> str:
    """Returns `1.62`, or `–` where there is none."""
    return "–" if gain.step_speedup is None else f"{gain.step_speedup:.2f}"


def speedup_meaning(gain: LanguageGain) -> str:
    """Returns what `speedup_text` leaves out: that the value is a bound; empty where it is not."""
    if gain.step_speedup is None or not gain.step_speedup_is_bound:
        return ""
    bound = "at least" if gain.step_speedup >= 1 else "at most"
    return f"{bound} {gain.step_speedup:.2f}: the target lies before the first point of the curve"
