"""The report as a whole: its one sentence, what to be careful of, and `report.json`.

Whoever reads the sentence must be able to trust it when the candidate loses: it counts better and
worse languages alike, beyond noise and in all, and says in how many the baseline's final quality is
never reached. What weakens it stands beside it, as cautions. `report.json` holds every number of
the pictures; names carry their units.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from data.shared_lines import SharedLines
from eval import expert_sharing, side
from eval.distillation import Student
from eval.expert_sharing import ExpertSharing
from eval.funnel import Funnel
from eval.language_gain import LanguageGain, Summary
from eval.language_loss import Unit
from eval.side import Side

EVALUATIONS_WANTED = 30  # of a run: between fewer, an interpolated step is a guess
FIELDS_NAMED = 6  # of the differing ones, in the first screen's sentence


class Difference(NamedTuple):
    """A setting in which runs differ beyond the feed-forward: its value in each run of a side."""

    field: str
    baseline: tuple[str, ...]
    candidate: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a side was: one entry a side, means over its runs; None where not recorded.

    Attributes:
        name: what the report calls the side.
        recipe: its recipe's name.
        seeds: one a run.
        parameters: number of weights.
        flops_per_sequence: of the forward pass.
        experts: experts a switch layer; None for a dense side.
        devices: what it ran on.
        steps: training steps.
        step_seconds: median wall time of a step, compiling left out.
        tokens_per_second: median.
        dropped_share: share of tokens over capacity, mean over the last tenth of training.
        training_loss_nats: nats per target token, mean over the last tenth of training.
        held_out_loss_nats: nats per target token over all held-out pages, one entry a run.
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
class Report:
    """All that the renderings show; None and () where there is nothing of the kind.

    Attributes:
        baseline, candidate: the sides.
        facts: about each of them.
        summary: over languages.
        gains: by language, best first.
        funnel: the corpus.
        shared_lines: what held-out pages share with training pages, by language.
        experts: of one candidate run.
        students: dense runs that were taught by the candidate's.
        differences: of the runs, beyond the feed-forward.
        training_tokens_are: what the languages' training tokens count.
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
        """What losses and gains are compared in."""
        return side.unit_of(self.baseline, self.candidate)

    @property
    def sentence(self) -> str:
        """The answer, in one breath."""
        return f"{better_sentence(self)} {speed_sentence(self)}"


def better_sentence(report: Report) -> str:
    """Says in how many languages the candidate is better and worse."""
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


def speed_sentence(report: Report) -> str:
    """Says in how many languages the baseline's final quality is reached, and how soon."""
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


def cautions(report: Report) -> list[str]:
    """Says what a reader of the sentence has to keep in mind, gravest first."""
    of_runs = _differing(report), _other_unit(report), _lines_shared(report)
    of_scores = _few_evaluations(report), _one_run(report), _unscored(report)
    return [one for one in (*of_runs, *of_scores) if one]


def shared_total(shared: Mapping[str, SharedLines]) -> SharedLines:
    """Returns the sums over all languages, without examples."""
    lines, shared_lines, pages, sharing = (
        (sum(counts) for counts in zip(*(one[:4] for one in shared.values()), strict=True))
        if shared
        else (0, 0, 0, 0)
    )
    return SharedLines(lines, shared_lines, pages, sharing, ())


def _differing(report: Report) -> str:
    fields = [one.field for one in report.differences]
    if not fields:
        return ""
    more = f" and {len(fields) - FIELDS_NAMED} more" if len(fields) > FIELDS_NAMED else ""
    return (
        f"The runs differ beyond the feed-forward, which was allowed: "
        f"{', '.join(fields[:FIELDS_NAMED])}{more}. What they gain is not sparsity’s alone."
    )


def _other_unit(report: Report) -> str:
    if report.unit is Unit.NATS_PER_TOKEN:
        return ""
    return (
        "The sides have different vocabularies, so gains are in bits per byte of hidden text: the "
        "same pages, in which each vocabulary hides its own spans."
    )


def _lines_shared(report: Report) -> str:
    total = shared_total(report.shared_lines or {})
    if not total.shared_lines:
        return ""
    return (
        f"{total.shared_lines:,} of {total.lines:,} lines of held-out pages also stand on training "
        f"pages ({total.shared_lines / total.lines:.2%}; {total.pages_sharing:,} of "
        f"{total.pages:,} pages)."
    )


def _few_evaluations(report: Report) -> str:
    both = report.baseline, report.candidate
    fewest = min((len(one.steps) for one in both if one.trained), default=EVALUATIONS_WANTED)
    if fewest >= EVALUATIONS_WANTED:
        return ""
    return (
        f"Step speed-ups are interpolated between {fewest} evaluations; "
        f"{EVALUATIONS_WANTED} or more are wanted."
    )


def _one_run(report: Report) -> str:
    single = [one.name for one in (report.baseline, report.candidate) if len(one.runs) == 1]
    if not single:
        return ""
    return (
        f"One run of {' and of '.join(single)}: intervals speak about pages, not about how another "
        "seed would have fallen."
    )


def _unscored(report: Report) -> str:
    unscored = sum(gain.held_out_pages_unscored for gain in report.gains.values())
    if not unscored:
        return ""
    return f"Held-out pages that are too short to hide a token count nowhere: {unscored:,} of them."


def to_json(report: Report) -> dict[str, Any]:
    """Returns `report.json`."""
    shared, experts = report.shared_lines, report.experts
    return {
        "sentence": report.sentence,
        "cautions": cautions(report),
        "unit": report.unit.value,
        "differences": [one._asdict() for one in report.differences],
        "summary": asdict(report.summary),
        "languages": {code: asdict(gain) for code, gain in report.gains.items()},
        "baseline": asdict(report.facts[0]),
        "candidate": asdict(report.facts[1]),
        "training_tokens_are": report.training_tokens_are,
        "curves": {
            one.name: _curves(one, report.unit) for one in (report.baseline, report.candidate)
        },
        "held_out": None
        if shared is None
        else shared_total(shared)._asdict()
        | {"languages": {code: one._asdict() for code, one in shared.items()}},
        "experts": None if experts is None else expert_sharing.to_json(experts),
        "students": [asdict(one) for one in report.students],
        "corpus": None if report.funnel is None else asdict(report.funnel),
    }


def _curves(one: Side, unit: Unit) -> dict[str, Any]:
    """Returns a side's curves, mean over its runs; of all pages also each run's own."""
    units = {"loss_nats": Unit.NATS_PER_TOKEN}
    if unit is Unit.BITS_PER_BYTE:
        units["bits_per_byte"] = unit
    runs = [side.total_curve(run, Unit.NATS_PER_TOKEN).tolist() for run in one.runs]
    return {
        "steps": list(one.steps),
        **{name: _curves_in(one, each) for name, each in units.items()},
        "loss_nats_all_by_run": runs,
    }


def _curves_in(one: Side, unit: Unit) -> dict[str, list[float]]:
    by_language = zip(one.languages, one.curves(unit).T.tolist(), strict=True)
    return {"all": side.total_curve(one.losses, unit).tolist(), **dict(by_language)}


def speedup_text(gain: LanguageGain) -> str:
    """Returns `1.62`, or `< 1.00` when it was not reached, or `–` where there is none."""
    if gain.step_speedup is None:
        return "–" if gain.step_speedup_bound is None else f"< {gain.step_speedup_bound:.2f}"
    return f"{gain.step_speedup:.2f}"


def _in_time(time_speedup: float | None) -> str:
    return "" if time_speedup is None else f" and {1 / time_speedup:.0%} of the wall time"
