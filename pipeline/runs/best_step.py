"""`RUN/best.json`: the scores of a fine-tuned run on development data, and its best step.

The best checkpoint is kept, and every command that opens the run without a step opens that one.
JAX is not imported.
"""

from collections.abc import Mapping

from msgspec import Struct

from data.stores.addresses import Place
from data.stores.files import exists
from data.stores.json_files import read_json, write_json
from data.stores.json_shapes import Count

BEST = "best.json"


class BestStep(Struct, frozen=True):
    """best.json.

    Attributes:
        step: step of the best score; of equal ones the first.
        score: that score: the mean over tasks, in percent, each the mean over its languages.
        scores: score at each evaluated step.
    """

    step: Count
    score: float
    scores: dict[str, float]


def best_step(directory: Place) -> int | None:
    """Returns the step of the best checkpoint; None for a run that is not fine-tuned."""
    path = directory / BEST
    return read_json(path, BestStep).step if exists(path) else None


def write_best_step(directory: Place, scores: Mapping[int, float]) -> BestStep:
    """Writes the scores and their best step.

    Args:
        directory: the run's directory.
        scores: score at each evaluated step.
    """
    step = max(sorted(scores), key=lambda one: scores[one])
    named = {str(one): scores[one] for one in sorted(scores)}
    write_json(directory / BEST, {"step": step, "score": scores[step], "scores": named})
    return BestStep(step, scores[step], named)
