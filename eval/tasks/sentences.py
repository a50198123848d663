"""Nats per sentence of a parallel text, for both sides of a report.

The sentences of all languages are translations of each other, so losses are not divided by tokens
or bytes, and are comparable across languages and vocabularies. A higher loss need not mean that a
language is understood worse: it may need more words for the same content. A sentence that any run
truncated is left out in its language, for all runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eval.tasks.compared import Scores, scores
from eval.tasks.metrics import Metric
from eval.tasks.predictions import Predictions, check_same_examples

SCHEMA = pa.schema(
    [
        ("language", pa.string()),
        ("identity", pa.string()),
        ("loss_nats", pa.float64()),
        ("tokens", pa.int32()),
        ("text_bytes", pa.int32()),
        ("cut", pa.bool_()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class SentenceComparison:
    """A parallel text as a report shows it.

    Attributes:
        name: name of the text.
        sentences: number of sentences in all languages.
        cut: number of those that are left out, because a run cut them.
        scores: nats per sentence.
    """

    name: str
    sentences: int
    cut: int
    scores: Scores


def sentence_comparison(
    name: str, baseline: Sequence[pa.Table], candidate: Sequence[pa.Table]
) -> SentenceComparison | None:
    """Returns both sides' nats per sentence; None where every sentence is cut.

    Args:
        name: name of the text.
        baseline, candidate: a table of `SCHEMA` per run.

    Raises:
        DataError: if the runs scored different sentences.
    """
    tables = [_ordered(table) for table in (*baseline, *candidate)]
    runs = [_sentences(table) for table in tables]
    check_same_examples(runs)
    whole = ~np.any([table["cut"].to_numpy() for table in tables], axis=0)
    if not whole.any():
        return None
    kept = [run.only(whole) for run in runs]
    losses = [table["loss_nats"].to_numpy()[whole] for table in tables]
    found = scores(
        _nats(kept, losses),
        kept[: len(baseline)],
        kept[len(baseline) :],
        less_is_better=True,
    )
    return SentenceComparison(
        name=name, sentences=whole.size, cut=int((~whole).sum()), scores=found
    )


def _nats(runs: Sequence[Predictions], losses: Sequence[np.ndarray]) -> Metric:
    """Returns the mean loss as a metric of these runs."""
    by_run = {
        id(run): np.stack([of_run, np.ones_like(of_run)], axis=1)
        for run, of_run in zip(runs, losses, strict=True)
    }
    return Metric(
        name="nats per sentence",
        statistics=lambda run: by_run[id(run)],
        score=lambda sums: float(sums[0] / sums[1]),
        gradient=lambda sums: np.array([1 / sums[1], -sums[0] / sums[1] ** 2]),
    )


def _ordered(table: pa.Table) -> pa.Table:
    keys = [("language", "ascending"), ("identity", "ascending")]
    order = pc.sort_indices(table, sort_keys=keys)  # pyright: ignore[reportAttributeAccessIssue]
    return table.take(order)


def _sentences(table: pa.Table) -> Predictions:
    """Returns the sentences, as examples without a prediction."""
    nothing = np.full(table.num_rows, None, object)
    return Predictions(
        language=table["language"].to_numpy(),
        identity=table["identity"].to_numpy(),
        answers=nothing,
        prediction=nothing,
        likeliest_label=nothing,
        overlaps=np.zeros(table.num_rows, bool),
        compared=np.zeros(table.num_rows, bool),
    )
