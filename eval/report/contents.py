"""The contents of a report: what every form of it is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from data.dedup.shared_lines import SharedLines
from eval import further_models, null_comparison, paired_runs, sides, speed_up
from eval.distillation import Student
from eval.experts import ExpertSharing
from eval.funnel import Funnel
from eval.further_models import Bill, FurtherModel, PrunedModel, pruned_models
from eval.gains import LanguageGain, ScriptGain, Summary, script_gains
from eval.losses import Unit
from eval.null_comparison import NullComparison
from eval.paired_runs import LengthGain, RunComparison
from eval.sides import Difference, LanguageLoss, RunFacts, Side
from eval.speed_up import StepTimes
from eval.tasks.comparison import SentenceComparison, TaskComparison


class Written(NamedTuple):
    """Where a report came from.

    Attributes:
        date: day of writing, in UTC, as 2026-11-26.
        code_version: version of the package that wrote it.
        commit: commit of the code that wrote it; None for an installed package.
        baseline, candidate, students, also, tasks: directories of the runs, as they were named.
        corpus, tokens, step_times: what was named; None where nothing was.
    """

    date: str
    code_version: str
    commit: str | None
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]
    students: tuple[str, ...]
    also: tuple[str, ...]
    corpus: str | None
    tokens: str | None
    tasks: tuple[str, ...] = ()
    step_times: str | None = None


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
        further: models beside the two sides.
        tasks: scores of fine-tuned runs.
        sentences: nats per sentence of parallel texts.
        bill: cost of an upcycled candidate.
        step_times: step times of one run per side, measured in turns.
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
    further: tuple[FurtherModel, ...] = ()
    tasks: tuple[TaskComparison, ...] = ()
    sentences: tuple[SentenceComparison, ...] = ()
    bill: Bill | None = None
    step_times: StepTimes | None = None

    @property
    def models(self) -> tuple[Side, ...]:
        """Both sides and the further models."""
        return self.baseline, self.candidate, *(model.side for model in self.further)

    @property
    def pruned(self) -> list[PrunedModel]:
        """Losses of the further models that were pruned from the candidate, most experts first."""
        return pruned_models(self.candidate, self.further)

    @property
    def pruned_otherwise(self) -> list[str]:
        """A sentence on each further model that was pruned and is not among `pruned`."""
        known = {model.name for model in self.pruned}
        return [
            f"What {model.name} lost by pruning is not known: it "
            + ("has another vocabulary" if model.pruning.sources else "was pruned from another run")
            + f" than {self.candidate.name}."
            for model in self.further
            if model.pruning and model.name not in known
        ]

    @property
    def further_bills(self) -> list[str]:
        """A sentence on the gain and cost of each further model that was upcycled."""
        return [
            further_models.sentence(
                model.bill, model.summary, model.unit, (self.baseline.name, model.name)
            )
            for model in self.further
            if model.bill is not None
        ]

    @property
    def further_rows(self) -> list[tuple[RunFacts, Summary, Unit]]:
        """Facts, summary and unit of each further model."""
        return [(model.facts, model.summary, model.unit) for model in self.further]

    @cached_property
    def losses(self) -> dict[str, dict[str, LanguageLoss]]:
        """Final losses of each model by language, with intervals."""
        return {model.name: sides.language_losses(model) for model in self.models}

    @property
    def unit(self) -> Unit:
        """Unit of losses and gains."""
        return sides.common_unit(self.baseline, self.candidate)

    @cached_property
    def scripts(self) -> list[ScriptGain]:
        """Gains by script; none where there would be a single row."""
        return script_gains(self.gains, self.baseline, self.candidate, self.unit)

    @cached_property
    def runs(self) -> RunComparison | None:
        """What the runs show as runs; None where a side has a single one."""
        return paired_runs.compare_runs(self.baseline, self.candidate, self._seeds, self.unit)

    @cached_property
    def lengths(self) -> list[LengthGain]:
        """The gain after each length; none where both sides do not have several."""
        return paired_runs.length_gains(self.baseline, self.candidate, self._seeds, self.unit)

    @property
    def _seeds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return self.facts[0].seeds, self.facts[1].seeds

    @property
    def runs_sentence(self) -> str:
        """The paired interval and exact p-values; empty where a side has a single run."""
        names = self.baseline.name, self.candidate.name
        return paired_runs.sentence(self.runs, names, self.unit)

    @property
    def null_sentence(self) -> str:
        """What the comparison shows between seeds of one side; empty with one run per side."""
        return null_comparison.sentence(self.nulls)

    @property
    def null_with_most_languages(self) -> NullComparison | None:
        """The null comparison that shows the most languages; None with one run per side."""
        return null_comparison.with_most_languages(self.nulls)

    @property
    def bill_sentence(self) -> str:
        """What upcycling gains and costs; empty if the candidate was not upcycled."""
        names = self.baseline.name, self.candidate.name
        bill = self.bill
        return "" if bill is None else further_models.sentence(bill, self.summary, self.unit, names)

    @property
    def time_sentence(self) -> str:
        """Step times of both sides and the time speed-up, or how to measure them."""
        names = self.baseline.name, self.candidate.name
        return speed_up.sentence(self.step_times, names, self.intervals_over, self.one_seed)

    @property
    def one_seed(self) -> str:
        """Why there is no verdict where a side has a single run; empty where both have more."""
        single = [side.name for side in (self.baseline, self.candidate) if len(side.runs) == 1]
        of = f" of {single[0]}" if len(single) == 1 else ""
        return f"one seed{of}: no verdict" if single else ""

    @property
    def intervals_over(self) -> str:
        """The sources of chance that the intervals include, in words."""
        several = [side.name for side in (self.baseline, self.candidate) if len(side.runs) > 1]
        if not several:
            return "pages only"
        return "pages and runs" if len(several) == 2 else f"pages and the runs of {several[0]}"


def shared_total(shared: Mapping[str, SharedLines]) -> SharedLines:
    """Returns the sums over all languages, without examples."""
    counts = [lines[:4] for lines in shared.values()] or [(0, 0, 0, 0)]
    lines, shared_lines, pages, sharing = map(sum, zip(*counts, strict=True))
    return SharedLines(lines, shared_lines, pages, sharing, ())


def speedup_text(gain: LanguageGain) -> str:
    """Returns `1.62`, or `–` where there is none."""
    return "–" if gain.step_speedup is None else f"{gain.step_speedup:.2f}"


def speedup_meaning(gain: LanguageGain) -> str:
    """Returns what `speedup_text` leaves out: that the value is a bound; empty where it is not."""
    if gain.step_speedup is None or not gain.step_speedup_is_bound:
        return ""
    bound = "at least" if gain.gain > 0 else "at most"
    return (
        f"{bound} {gain.step_speedup:.2f}: the target lies too far before the curve's first point"
    )
