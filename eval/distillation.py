"""The share of a sparse teacher's gain that dense students keep, against their compression.

Reference: Fedus et al. 2022 (Switch Transformer), section 4.2 and tables 6 to 8:

    gain retained = (student − baseline) ÷ (teacher − baseline)      of negative log perplexities
                  = (baseline's loss − student's) ÷ (baseline's loss − teacher's)
    compression   = 1 − student's parameters ÷ teacher's parameters

Overall losses are sums over all held-out pages of the counted languages. A ratio of gains means
something only where there is a gain. Its interval is Fieller's set (`statistics`), with the same
pages on all three sides. Where the interval of the teacher's gain includes 0, or the runs of a side
are too few or differ much, that set is unbounded: the ratio is then None, and the report states
why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.languages import get
from eval.compare import Scores, estimate, ratios
from eval.gains import counted_pages
from eval.losses import Unit
from eval.sides import Side, common_scores
from eval.statistics import retained_set

ALL = "all"  # languages together
# Table 7, teachers of 1.1, 2.0, 3.8, 7.4 and 14.7 billion parameters, a student of 223 million.
PAPER = ((0.82, 0.37), (0.90, 0.32), (0.95, 0.30), (0.97, 0.27), (0.99, 0.28))


@dataclass(frozen=True, kw_only=True)
class Retained:
    """The part of the teacher's gain that a student keeps, in one language or overall.

    Attributes:
        loss_nats_baseline, loss_nats_teacher, loss_nats_student: nats per target token.
        gain_nats_teacher, gain_nats_student: the baseline's loss minus that of teacher or student.
        gain_is_clear: whether the 95 % interval of the teacher's gain lies above 0. Counts of
            languages beyond noise are stricter: they are corrected for their number.
        gain_retained: student's gain ÷ teacher's gain; None where the teacher's gain is not above 0
            beyond noise or Fieller's set is unbounded.
        gain_retained_low, gain_retained_high: ends of Fieller's 95% set.
    """

    loss_nats_baseline: float
    loss_nats_teacher: float
    loss_nats_student: float
    gain_nats_teacher: float
    gain_nats_student: float
    gain_is_clear: bool
    gain_retained: float | None
    gain_retained_low: float | None
    gain_retained_high: float | None


@dataclass(frozen=True, kw_only=True)
class Student:
    """The runs of one student's recipe.

    Attributes:
        name: name of the recipe.
        seeds: seed of each run.
        steps: number of training steps.
        parameters: number of weights; None if not recorded.
        compression: 1 − parameters ÷ the teacher's; None if either was not recorded.
        overall: gain kept over all held-out pages of the languages, script variants left out.
        median_over_languages: median of `gain_retained` over the languages that have one.
        languages: gain kept by language code.
    """

    name: str
    seeds: tuple[int, ...]
    steps: int
    parameters: int | None
    compression: float | None
    overall: Retained
    median_over_languages: float | None
    languages: dict[str, Retained]

    @property
    def compared(self) -> dict[str, Retained]:
        """Languages and script variants in which a share kept is given."""
        return {c: kept for c, kept in self.languages.items() if kept.gain_retained is not None}


def compare_student(
    baseline: Side,
    teacher: Side,
    student: Side,
    *,
    parameters: int | None,
    teacher_parameters: int | None,
) -> Student:
    """Returns the gain that a student's runs keep, overall and per language."""
    sides = baseline, teacher, student
    scores = common_scores(sides, Unit.NATS_PER_TOKEN)
    languages = {code: retained_gain(scores, code) for code in student.languages}
    compression = None
    if parameters is not None and teacher_parameters is not None:
        compression = 1 - parameters / teacher_parameters
    counted = [
        row.gain_retained
        for code, row in languages.items()
        if row.gain_retained is not None and not get(code).is_script_variant
    ]
    return Student(
        name=student.name,
        seeds=student.seeds,
        steps=student.steps[-1],
        parameters=parameters,
        compression=compression,
        overall=retained_gain([_pooled_scores(side) for side in sides], ALL),
        median_over_languages=float(np.median(counted)) if counted else None,
        languages=languages,
    )


def _pooled_scores(side: Side) -> Scores:
    """Returns the loss over all pages of the languages, script variants left out."""
    sizes = side.final_pages[0].target_tokens
    amounts = np.stack([pages.loss_nats for pages in side.final_pages])
    counted = counted_pages(side) & (sizes > 0)
    return ratios((ALL,), np.zeros(sizes.size, np.int64), amounts, sizes, counted)


def compared_languages(students: Sequence[Student]) -> list[str]:
    """Returns the languages in which a share of any student is given."""
    codes = {code for student in students for code in student.compared}
    return [code for code in students[0].languages if code in codes]


def why_none(kept: Retained) -> str:
    """Returns in words why no share of a teacher's gain is given."""
    if kept.gain_is_clear:
        return "unbounded"
    return "gain may be 0" if kept.gain_nats_teacher > 0 else "no gain"


def retained_gain(scores: Sequence[Scores], code: str) -> Retained:
    """Returns the gain kept in a language, from scores of baseline, teacher and student."""
    baseline, teacher, student = (estimate([(1.0, side)], [code]).value for side in scores)
    gain, kept_gain = baseline - teacher, baseline - student
    low_gain = estimate([(1.0, scores[0]), (-1.0, scores[1])], [code]).low
    is_clear = low_gain is not None and low_gain > 0
    ratio, low, high = None, None, None
    if is_clear:  # so there are two pages
        contributions = [side.over([code])[1] for side in scores]
        if bounds := retained_set(contributions, kept_gain, gain).bounds:
            ratio, (low, high) = kept_gain / gain, bounds
    return Retained(
        loss_nats_baseline=baseline,
        loss_nats_teacher=teacher,
        loss_nats_student=student,
        gain_nats_teacher=gain,
        gain_nats_student=kept_gain,
        gain_is_clear=is_clear,
        gain_retained=ratio,
        gain_retained_low=low,
        gain_retained_high=high,
    )


def sentence(student: Student, teacher: str) -> str:
    """Returns the sentence on what the student keeps, and how much smaller it is."""
    overall = student.overall
    smaller = (
        "" if student.compression is None else f" with {student.compression:.0%} fewer parameters"
    )
    if overall.gain_nats_teacher <= 0:
        return (
            f"{student.name}: {teacher} gains nothing over all pages "
            f"({overall.gain_nats_teacher:+.3f} nats), so there is no gain to keep."
        )
    if overall.gain_retained is None or overall.gain_retained_low is None:
        noise = (
            "the runs of a side are too few or differ too much"
            if overall.gain_is_clear
            else f"the interval of {teacher}’s gain over all pages includes 0"
        )
        return f"{student.name}: {noise}, so no share that is kept is given."
    variants = sum(get(code).is_script_variant for code in student.compared)
    beside = f", script variants beside them: {variants}" if variants else ""
    kept = f"keeps {overall.gain_retained:.0%}"
    if overall.gain_nats_student < 0:
        behind = f"{-overall.gain_nats_student:.3f} nats behind the baseline"
        kept = f"is {behind}, {overall.gain_retained:.0%}"
    return (
        f"{student.name} {kept} of {teacher}’s gain{smaller} "
        f"(95% interval {overall.gain_retained_low:.0%} to {overall.gain_retained_high:.0%}; "
        f"languages in which a share is given: "
        f"{len(student.compared) - variants}{beside})."
    )
