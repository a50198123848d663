"""The contents of a report.

Its sentences are in `verdict`, what weakens them in `cautions`, and what seeds alone make in
`null_comparison`.
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


class Written(NamedTuple):
    """Where a report came from.

    Attributes:
        date: day of writing, in UTC, as 2026-11-26.
        code_version: version of the package that wrote it.
        commit: commit of the code that wrote it; None for an installed package.
        baseline, candidate, students: directories of the runs, as they were named.
        corpus, tokens: what was named; None where nothing was.
    """

    date: str
    code_version: str
    commit: str | None
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    students: tuple[str, ...]
    corpus: str | None
    tokens: str | None


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
        written: when, by which code and from what the report was made.
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
    written: Written

    @property
    def unit(self) -> Unit:
        """Unit of losses and gains."""
        return side.unit_of(self.baseline, self.candidate)

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
