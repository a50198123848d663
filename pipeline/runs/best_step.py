"""`RUN/best.json`: the scores of a fine-tuned run on development data, and its best step.

The best checkpoint is kept, and every command that opens the run without a step opens that one.
JAX is not imported.
"""

from msgspec import Struct

from data.files.json_files import Count, read_json, write_json
from data.files.paths import Place, exists

BEST = "best.json"


class BestStep(Struct, frozen=True):
    """best.json.

    Attributes:
        step: step of the best score; of equal ones the first.
        score: that score: the mean over tasks, in percent, each the mean over training languages.
        scores: score at each evaluated step.
    """

    step: Count
    score: float
    scores: dict[int, float]


def best_step(directory: Place) -> int | None:
    """Returns the step of the best checkpoint; None for a run that is not fine-tuned."""
    path = directory / BEST
    return read_json(path, BestStep).step if exists(path) else None


def recorded_scores(directory: Place) -> dict[int, float]:
    """Returns the score at each evaluated step; none before the first evaluation."""
    path = directory / BEST
    return read_json(path, BestStep).scores if exists(path) else {}


def record_score(directory: Place, step: int, score: float) -> None:
    """Adds the score of a step, which completes its evaluation."""
    scores = recorded_scores(directory) | {step: score}
    best = max(sorted(scores), key=lambda one: scores[one])
    ordered = dict(sorted(scores.items()))
    write_json(directory / BEST, {"step": best, "score": scores[best], "scores": ordered})
