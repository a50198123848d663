"""Confidence set of the share of a teacher's gain that a student keeps."""

from collections.abc import Sequence

from eval.statistics.fieller import RatioSet, ratio_set
from eval.statistics.standard_error import Contributions, standard_error


def retained_set(sides: Sequence[Contributions], kept_gain: float, gain: float) -> RatioSet:
    """Returns Fieller's set of the gain kept, from at least two pages.

    The degrees of freedom are those of student's gain − ratio × teacher's gain, at the estimate.

    Args:
        sides: contributions to the loss, or to the score, of baseline, teacher and student.
        kept_gain: the student's gain.
        gain: the teacher's gain.
    """
    baseline, teacher, student = sides

    def error(ratio: float, of_student: float):
        """Returns the standard error of of_student × student's gain − ratio × teacher's gain."""
        found = standard_error(
            [
                baseline.times(of_student - ratio),
                teacher.times(ratio),
                student.times(-of_student),
            ]
        )
        assert found is not None  # there are two pages
        return found

    of_student, of_teacher = error(0.0, 1.0).variance, error(1.0, 0.0).variance
    return ratio_set(
        kept_gain,
        gain,
        variances=(of_student, of_teacher),
        covariance=(of_student + of_teacher - error(1.0, 1.0).variance) / 2,
        quantile=error(kept_gain / gain, 1.0).quantile,
    )
