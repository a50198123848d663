"""Predictions of one run on one split of one task: a table with a row per example.

Every score and interval follows from this table alone. `prediction` is generated text.
`likeliest_label` is the label of a classification with the smallest loss, null for other tasks;
`label_nats` has the loss of each label in the order of the description, summed over its tokens.
`overlaps` is null where overlap with the pretraining corpus was not looked for.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, Shaped

from data.errors import DataError, join_names
from data.tasks.description import Task
from data.tasks.examples import TaskExample

SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("split", pa.string()),
        ("language", pa.string()),
        ("identity", pa.string()),
        ("target", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("prediction", pa.string()),
        ("likeliest_label", pa.string()),
        ("label_nats", pa.list_(pa.float64())),
        ("overlaps", pa.bool_()),
    ]
)


MAY_BE_NULL = ("likeliest_label", "overlaps")


@dataclass(frozen=True)
class Predictions:
    """Predictions, ordered by language and identity.

    Attributes:
        language: mC4's codes.
        identity: key of the example, which all its translations share.
        answers: all right answers of each example.
        prediction: generated text.
        likeliest_label: label with the smallest loss; None for a task without labels.
        overlaps: whether the example shares an n-gram with the pretraining corpus.
        compared: whether that was looked for; where it was not, `overlaps` is False.
    """

    language: Shaped[np.ndarray, " examples"]
    identity: Shaped[np.ndarray, " examples"]
    answers: Shaped[np.ndarray, " examples"]
    prediction: Shaped[np.ndarray, " examples"]
    likeliest_label: Shaped[np.ndarray, " examples"]
    overlaps: Bool[np.ndarray, " examples"]
    compared: Bool[np.ndarray, " examples"]

    @cached_property
    def by_language(self) -> tuple[tuple[str, ...], Int[np.ndarray, " examples"]]:
        """Languages ordered by code, and for each example the index of its language."""
        languages, of_example = np.unique(self.language.astype(str), return_inverse=True)
        return tuple(languages.tolist()), of_example

    @property
    def has_labels(self) -> bool:
        """Whether every example has a likeliest label."""
        return all(label is not None for label in self.likeliest_label)

    def only(self, chosen: Bool[np.ndarray, " examples"]) -> "Predictions":
        """Returns some of the examples."""
        return replace(
            self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)}
        )


def table_of(
    task: Task,
    split: str,
    examples: Sequence[TaskExample],
    *,
    predictions: Sequence[str],
    label_nats: Float[np.ndarray, "examples labels"],
    overlaps: Collection[int] | None,
) -> pa.Table:
    """Returns predictions as a table of `SCHEMA`.

    Args:
        task: description of the task.
        split: name of the split.
        examples: the examples.
        predictions: generated text per example.
        label_nats: loss of each of the task's labels; no columns where there are none.
        overlaps: positions of examples that share an n-gram with the pretraining corpus;
            None if that was not looked for.
    """
    labels = task.labels if label_nats.shape[1] else ()
    likeliest = (
        [labels[at] for at in label_nats.argmin(axis=1)] if labels else [None] * len(examples)
    )
    columns = {
        "task": [task.name] * len(examples),
        "split": [split] * len(examples),
        "language": [example.language for example in examples],
        "identity": [example.identity for example in examples],
        "target": [example.target for example in examples],
        "answers": [list(example.answers) for example in examples],
        "prediction": list(predictions),
        "likeliest_label": likeliest,
        "label_nats": label_nats.tolist(),
        "overlaps": [None if overlaps is None else at in overlaps for at in range(len(examples))],
    }
    return pa.table(columns, SCHEMA)


def from_table(table: pa.Table, origin: str) -> Predictions:
    """Returns the predictions of a table.

    Args:
        table: a table of `SCHEMA`, of one task and split.
        origin: where it was found, for messages.

    Raises:
        DataError: if it has no row, or several tasks or splits, or two rows of one example.
    """
    for name in ("task", "split"):
        if len(values := table[name].unique()) != 1:
            raise DataError(
                f"{origin} should hold predictions of one {name} and holds "
                f"{join_names(values.to_pylist()) or 'none'}; give one {name} at a time."
            )
    columns = table.sort_by([("language", "ascending"), ("identity", "ascending")])
    overlaps = columns["overlaps"]
    predictions = Predictions(
        *(
            columns[field.name].to_numpy(zero_copy_only=False)
            for field in fields(Predictions)
            if field.name not in ("overlaps", "compared")
        ),
        overlaps=np.array(overlaps.to_pylist(), bool),
        compared=~np.array(overlaps.is_null().to_pylist(), bool),
    )
    language, identity = predictions.language, predictions.identity
    same = (language[1:] == language[:-1]) & (identity[1:] == identity[:-1])
    if same.any():
        first = int(np.flatnonzero(same)[0])
        raise DataError(
            f"{origin} holds two predictions for {join_names([identity[first]])!r} in "
            f"{join_names([language[first]])}; predict again, or correct `identity` of the "
            "description."
        )
    return predictions


def check_same_examples(runs: Sequence[Predictions]) -> None:
    """Checks that runs predicted the same examples.

    Raises:
        DataError: if they did not.
    """
    for run in runs[1:]:
        same = all(
            np.array_equal(getattr(run, name), getattr(runs[0], name))
            for name in ("language", "identity")
        )
        if same and not all(map(np.array_equal, run.answers, runs[0].answers)):
            raise DataError(
                "Runs should have predictions for the same examples and have other right answers "
                "for examples of one name; predict one version of the task."
            )
        if not same:
            raise DataError(
                "Runs should have predictions for the same examples and have "
                f"{len(run.language):,} and {len(runs[0].language):,} that differ; predict the "
                "same split of one task."
            )
