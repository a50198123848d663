"""The tasks and parallel texts of `report.json`."""

from dataclasses import asdict
from typing import Any

from eval.experts.rows import experts_to_json
from eval.tasks.compared import Scores, TaskComparison
from eval.tasks.sentences import SentenceComparison


def task_to_json(task: TaskComparison) -> dict[str, Any]:
    """Returns a task."""
    modes = [
        asdict(mode) | {"scores": [scores_to_json(one) for one in mode.scores]}
        for mode in task.modes
    ]
    experts = None if task.experts is None else experts_to_json(task.experts)
    return {"name": task.name, "split": task.split, "modes": modes, "experts": experts}


def sentences_to_json(text: SentenceComparison) -> dict[str, Any]:
    """Returns a parallel text; its gain is the baseline's nats minus the candidate's."""
    return asdict(text) | {"scores": scores_to_json(text.scores)}


def scores_to_json(one: Scores) -> dict[str, Any]:
    """Returns scores with the counts of languages."""
    return asdict(one) | one.counts
