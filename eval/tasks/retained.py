"""The share of a fine-tuned sparse teacher's gain on a task that a dense student keeps.

Reference: Fedus et al. 2022 (Switch Transformer), section 4.2 and table 8:

    gain retained = (student's score − baseline's) ÷ (teacher's score − baseline's)

Scores are means over languages. The interval is Fieller's set, as for losses
(`eval/distillation.py`), in which all translations of a sentence are one draw. The ratio is None
where the teacher's gain is not above 0 beyond noise, or where Fieller's set is unbounded, because
the runs of a side are too few or differ much.
"""

from dataclasses import dataclass

from eval.statistics.retained_gain import retained_set
from eval.tasks.metrics import Metric
from eval.tasks.scores import Estimate, Runs, mean_contributions, mean_gain, mean_score


@dataclass(frozen=True, kw_only=True)
class RetainedScore:
    """What a student keeps of its teacher's gain.

    Attributes:
        baseline, teacher, student: mean scores in percent.
        gain_teacher, gain_student: gains over the baseline in percentage points.
        gain_retained: student's gain ÷ teacher's; None where the teacher's gain is not above 0
            beyond noise or Fieller's set is unbounded.
        gain_retained_low, gain_retained_high: ends of Fieller's 95% set.
    """

    baseline: Estimate
    teacher: Estimate
    student: Estimate
    gain_teacher: Estimate
    gain_student: Estimate
    gain_retained: float | None
    gain_retained_low: float | None
    gain_retained_high: float | None


def retained_score(
    baseline: Runs, teacher: Runs, student: Runs, metric: Metric
) -> RetainedScore | None:
    """Returns the gain kept; None where no language has two examples.

    Raises:
        DataError: if the runs predicted different examples.
    """
    sides = baseline, teacher, student
    means = [mean_score(runs, metric) for runs in sides]
    gains = [mean_gain(baseline, runs, metric) for runs in (teacher, student)]
    contributions = [mean_contributions(runs, metric) for runs in sides]
    found = [one for one in (*means, *gains) if one is not None]
    parts = [one for one in contributions if one is not None]
    if len(found) < len(means) + len(gains) or len(parts) < len(sides):
        return None
    of_teacher, of_student = found[3].value, found[4].value
    bounds, least = None, found[3].low
    if least is not None and least > 0:
        bounds = retained_set(parts, of_student, of_teacher).bounds
    low, high = bounds or (None, None)
    return RetainedScore(
        baseline=found[0],
        teacher=found[1],
        student=found[2],
        gain_teacher=found[3],
        gain_student=found[4],
        gain_retained=None if bounds is None else of_student / of_teacher,
        gain_retained_low=low,
        gain_retained_high=high,
    )
