"""The contents of a report: what every form of it is made from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from data.dedup.shared_lines import SharedLines
from eval import frontier, groups, null_comparison, paired_runs, sides, speed_up
from eval.compare import Estimate, languages_in_mean
from eval.distillation import Student
from eval.experts import ExpertSharing
from eval.frontier import Network, Point
from eval.funnel import Funnel
from eval.gains import Comparison, LanguageGain, Summary
from eval.groups import Group, PrunedModel
from eval.losses import Unit, same_targets
from eval.paired_runs import RunComparison
from eval.sides import Difference, RunFacts, Side
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
        groups: baseline, candidate and further models.
        comparisons: the candidate with the baseline, of which the verdict is; then each further
            model with it, in the order of the groups.
        opponents: further networks of the baseline, and the candidate compared with each.
        networks: networks of the baseline and of the candidate, those of the verdict first.
        funnel: funnel of the corpus.
        shared_lines: lines shared by held-out and training pages, per language.
        experts: expert use of one candidate run.
        students: dense students of the candidate's runs.
        training_tokens_are: definition of the languages' training tokens.
        written: when, by which code and from what the report was made.
        task_differences: settings of fine-tuning in which the sides differ.
        tasks: scores of fine-tuned runs.
        sentences: nats per sentence of parallel texts.
        step_times: step times of one run per side, measured in turns.
    """

    groups: tuple[Group, ...]
    comparisons: tuple[Comparison, ...]
    opponents: tuple[tuple[Group, Comparison], ...] = ()
    networks: tuple[tuple[Network, ...], ...] = ()
    funnel: Funnel | None = None
    shared_lines: Mapping[str, SharedLines] | None = None
    experts: ExpertSharing | None = None
    students: tuple[Student, ...] = ()
    training_tokens_are: str
    written: Written
    task_differences: tuple[Difference, ...] = ()
    tasks: tuple[TaskComparison, ...] = ()
    sentences: tuple[SentenceComparison, ...] = ()
    step_times: StepTimes | None = None

    @property
    def compared(self) -> Comparison:
        """The comparison of candidate and baseline."""
        return self.comparisons[0]

    @property
    def baseline(self) -> Side:
        """The baseline."""
        return self.compared.baseline

    @property
    def candidate(self) -> Side:
        """The candidate."""
        return self.compared.candidate

    @property
    def facts(self) -> tuple[RunFacts, RunFacts]:
        """Facts about baseline and candidate."""
        return self.groups[0].facts, self.groups[1].facts

    @property
    def models(self) -> tuple[Side, ...]:
        """Losses of each group."""
        return tuple(group.side for group in self.groups)

    @property
    def further(self) -> list[tuple[Group, Comparison]]:
        """The further models with their comparisons."""
        return list(zip(self.groups[2:], self.comparisons[1:], strict=True))

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Settings in which both sides differ beyond the feed-forward."""
        return self.groups[1].differences + self.task_differences

    @property
    def gains(self) -> Mapping[str, LanguageGain]:
        """Gains of the candidate per language, best first."""
        return self.compared.gains

    @property
    def summary(self) -> Summary:
        """Counts, medians and means over languages."""
        return self.compared.summary

    @property
    def unit(self) -> Unit:
        """Unit of losses and gains."""
        return self.compared.unit

    @cached_property
    def nulls(self) -> list[Comparison]:
        """Each side with two runs or more, compared with itself."""
        return [
            null
            for side in self.compared.sides
            for null in null_comparison.null_comparisons(side, self.unit)
        ]

    @cached_property
    def pruned(self) -> list[PrunedModel]:
        """Losses of the further models that were pruned from the candidate, most experts first."""
        return groups.pruned_models(self.candidate, self.groups[2:])

    @property
    def pruned_otherwise(self) -> list[str]:
        """A sentence on each further model that was pruned and is not among `pruned`."""
        known = {model.name for model in self.pruned}
        return [
            f"What {group.name} lost by pruning is not known: it "
            + ("has another vocabulary" if group.pruning.sources else "was pruned from another run")
            + f" than {self.candidate.name}."
            for group in self.groups[2:]
            if group.pruning and group.name not in known
        ]

    @cached_property
    def equal(self) -> list[tuple[str, ...] | None]:
        """What each network of the baseline and the candidate have in common, as in `equal_in`."""
        if not self.networks:
            return [None]
        (first, *others), (candidate, *_) = self.networks
        times = self.step_times
        return [
            frontier.equal_in(first, candidate, times and times.step_time_ratio),
            *(frontier.equal_in(other, candidate) for other in others),
        ]

    @cached_property
    def trade_unit(self) -> Unit:
        """Unit of the points: bits per byte where a network has another vocabulary."""
        runs = [run.pages for side in self.networks for network in side for run in network.runs]
        alike = all(same_targets(runs[0], pages) for pages in runs)
        return Unit.NATS_PER_TOKEN if alike else Unit.BITS_PER_BYTE

    @cached_property
    def points(self) -> list[Point]:
        """Loss and costs of every run of the networks of both sides."""
        in_mean = languages_in_mean(self.compared.parts[0][1])
        by_script = {script.label: script.codes for script in self.compared.scripts}
        named = {frontier.ALL: in_mean} | {
            label: [code for code in codes if code in in_mean] for label, codes in by_script.items()
        }
        languages = {name: codes for name, codes in named.items() if codes}
        networks = [network for side in self.networks for network in side]
        return frontier.points(networks, self.trade_unit, languages) if in_mean else []

    @cached_property
    def mean_points(self) -> list[Point]:
        """The points as means over seeds, of which frontiers are made."""
        return frontier.means(self.points)

    def frontier(self, side: str, cost: str, languages: str = frontier.ALL) -> list[Point]:
        """Returns the frontier of a side by a cost, over all languages or those of a script."""
        of_side = [point for point in self.mean_points if point.side == side]
        return frontier.frontier(of_side, cost, languages)

    @cached_property
    def losses(self) -> dict[str, dict[str, tuple[Estimate, Estimate]]]:
        """Final losses of each model by language, in both units, with intervals."""
        return {model.name: sides.final_losses(model) for model in self.models}

    @cached_property
    def runs(self) -> RunComparison | None:
        """What the runs show as runs; None where a side has a single one."""
        return paired_runs.compare_runs(self.compared)

    @cached_property
    def lengths(self) -> list[tuple[Comparison, RunComparison | None]]:
        """The comparison after each length, with its runs as runs; none of one length."""
        return [(each, paired_runs.compare_runs(each)) for each in self.compared.lengths]

    @property
    def runs_sentence(self) -> str:
        """The paired interval and exact p-values; empty where a side has a single run."""
        return paired_runs.sentence(self.runs, self.compared)

    @property
    def null_sentence(self) -> str:
        """What the comparison shows between seeds of one side; empty with one run per side."""
        return null_comparison.sentence(self.nulls)

    @property
    def bills(self) -> list[str]:
        """What upcycling gains and costs, of the candidate and further models; empty if of none."""
        return [
            groups.sentence(group.bill, compared) if group.bill else ""
            for group, compared in zip(self.groups[1:], self.comparisons, strict=True)
        ]

    @property
    def time_sentence(self) -> str:
        """Step times of both sides and the time speed-up, or how to measure them."""
        names = self.compared.names
        return speed_up.sentence(self.step_times, names, self.intervals_over, self.one_seed)

    @property
    def one_seed(self) -> str:
        """Why there is no verdict where a side has a single run; empty where both have more."""
        single = self.compared.of_single_runs
        of = f" of {single[0]}" if len(single) == 1 else ""
        return f"one seed{of}: no verdict" if single else ""

    @property
    def intervals_over(self) -> str:
        """The sources of chance that the intervals include, in words."""
        several = [side.name for side in self.compared.sides if len(side.runs) > 1]
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
    return "–" if gain.speedup is None else f"{gain.speedup.ratio:.2f}"


def speedup_meaning(gain: LanguageGain) -> str:
    """Returns what `speedup_text` leaves out: that the value is a bound; empty where it is not."""
    if gain.speedup is None or not gain.speedup.is_bound:
        return ""
    bound = "at least" if gain.gain.value > 0 else "at most"
    return f"{bound} {speedup_text(gain)}: the target lies too far before the curve's first point"
