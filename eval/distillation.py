"""The share of a sparse teacher's gain that dense students keep, against their compression.

Reference: Fedus et al. 2022 (Switch Transformer), section 4.2 and tables 6 to 8:

    gain retained = (student − baseline) ÷ (teacher − baseline)      of negative log perplexities
                  = (baseline's loss − student's) ÷ (baseline's loss − teacher's)
    compression   = 1 − student's parameters ÷ teacher's parameters

Overall losses are sums over all held-out pages of the counted languages. A ratio of gains means
something only where there is a gain: if the interval of the teacher's gain includes 0, the ratio is
None. Intervals come from the bootstrap (`intervals`), with the same pages on all three sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from data.languages import get
from eval import intervals
from eval.intervals import Scores
from eval.language_loss import Unit
from eval.side import Side

# Table 7, teachers of 1.1, 2.0, 3.8, 7.4 and 14.7 billion parameters, a student of 223 million.
PAPER = ((0.82, 0.37), (0.90, 0.32), (0.95, 0.30), (0.97, 0.27), (0.99, 0.28))


@dataclass(frozen=True, kw_only=True)
class Retained:
    """The part of the teacher's gain that a student keeps, in one language or overall.

    Attributes:
        loss_nats_baseline, loss_nats_teacher, loss_nats_student: nats per target token.
        gain_nats_teacher, gain_nats_student: the baseline's loss minus that of teacher or student.
        gain_retained: student's gain ÷ teacher's gain; None where the interval of the teacher's
            gain is not above 0.
        gain_retained_low, gain_retained_high: 95% interval of `gain_retained`.
    """

    loss_nats_baseline: float
    loss_nats_teacher: float
    loss_nats_student: float
    gain_nats_teacher: float
    gain_nats_student: float
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
        """Languages and script variants in which the teacher's gain exceeds its interval."""
        return {code: one for code, one in self.languages.items() if one.gain_retained is not None}


def student(
    baseline: Side,
    teacher: Side,
    one: Side,
    *,
    seeds: tuple[int, ...],
    parameters: int | None,
    teacher_parameters: int | None,
) -> Student:
    """Returns the gain that a student's runs keep, overall and per language."""
    sides = baseline, teacher, one
    languages = {
        code: retained([side.scores(code, Unit.NATS_PER_TOKEN) for side in sides])
        for code in one.languages
    }
    compression = None
    if parameters is not None and teacher_parameters is not None:
        compression = 1 - parameters / teacher_parameters
    counted = [
        row.gain_retained
        for code, row in languages.items()
        if row.gain_retained is not None and not get(code).is_script_variant
    ]
    return Student(
        name=one.name,
        seeds=seeds,
        steps=one.steps[-1],
        parameters=parameters,
        compression=compression,
        overall=retained([_all_pages(side) for side in sides]),
        median_over_languages=float(np.median(counted)) if counted else None,
        languages=languages,
    )


def retained(sides: Sequence[Scores]) -> Retained:
    """Returns the gain kept, from scores of baseline, teacher and student on the same pages."""
    baseline, teacher, kept = (side.loss() for side in sides)
    gain, kept_gain = baseline - teacher, baseline - kept
    ratio = low = high = None
    resampled = intervals.scored(sides)
    if resampled[0].sizes.size > 1:
        drawn: Float[np.ndarray, "3 resamples"] = intervals.resampled_losses(resampled)
        gains = drawn[0] - drawn[1:]
        tails = [intervals.TAIL, 1 - intervals.TAIL]
        if np.quantile(gains[0], tails[0]) > 0:
            ratio = kept_gain / gain
            low, high = np.quantile(gains[1] / gains[0], tails).tolist()
    return Retained(
        loss_nats_baseline=baseline,
        loss_nats_teacher=teacher,
        loss_nats_student=kept,
        gain_nats_teacher=gain,
        gain_nats_student=kept_gain,
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
    if overall.gain_retained is None or overall.gain_retained_low is None:
        return (
            f"{student.name}: {teacher}’s gain over all pages is within noise, so none can be kept."
        )
    variants = sum(get(code).is_script_variant for code in student.compared)
    beside = f", script variants beside them: {variants}" if variants else ""
    return (
        f"{student.name} keeps {overall.gain_retained:.0%} of {teacher}’s gain{smaller} "
        f"(95% interval {overall.gain_retained_low:.0%} to {overall.gain_retained_high:.0%}; "
        f"languages in which {teacher}’s gain exceeds its interval: "
        f"{len(student.compared) - variants}{beside})."
    )


def _all_pages(side: Side) -> Scores:
    """Returns the scores on all pages of the languages, script variants left out."""
    unit = Unit.NATS_PER_TOKEN
    languages, of_page = side.pages[0].held_out.by_language
    counted = np.array([not get(code).is_script_variant for code in languages])[of_page]
    amounts = np.stack([pages.amounts(unit)[counted] for pages in side.pages])
    return Scores(amounts, side.pages[0].sizes(unit)[counted])
