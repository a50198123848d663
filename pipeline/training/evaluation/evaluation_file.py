"""`RUN/evaluation/step=N.parquet`: the loss of every held-out page, as sums and counts.

One row per page; every later number about a language is recomputed from these rows. For a sparse
network, `routing-step=N.parquet` holds one row per switch layer and language.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from data.files.atomic import atomic_write
from data.files.locks import check_held
from data.files.parquet_files import read_schema
from data.files.paths import Place, names_in, remove
from eval import experts as expert_sharing
from eval.losses import SCHEMA
from pipeline.runs.evaluation_paths import FOLDER, OF_STEP, evaluation_file, routing_beside

COLUMNS = SCHEMA.append(pa.field("windows", pa.int32()))
TOKENS = b"tokens"  # metadata key: digest of the manifest of the scored token blocks


class Evaluation(NamedTuple):
    """The columns of both files.

    Attributes:
        pages: columns of `step=N.parquet`.
        routing: columns of `routing-step=N.parquet`; None for a dense network.
    """

    pages: dict[str, list[Any]]
    routing: dict[str, list[Any]] | None

    @property
    def losses(self) -> dict[str, float]:
        """Nats per target token over all pages of a language, by language code."""
        sums: dict[str, list[float]] = {}
        names = ("language", "loss_nats", "target_tokens")
        for code, nats, tokens in zip(*(self.pages[name] for name in names), strict=True):
            total = sums.setdefault(code, [0.0, 0.0])
            total[0] += nats
            total[1] += tokens
        return {code: nats / tokens for code, (nats, tokens) in sums.items() if tokens}


def forget_evaluations(directory: Place, gone: Callable[[int], bool]) -> None:
    """Removes all files of the evaluations of some steps; of each one, the file of pages first."""
    check_held(directory)
    folder = directory / FOLDER
    found = [(name, OF_STEP.fullmatch(name)) for name in names_in(folder)]
    files = [name for name, of in found if of is not None and gone(int(of[2]))]
    for name in sorted(files, key=lambda one: not one.startswith("step=")):
        remove(folder / name)


def scored_tokens(path: Place) -> str | None:
    """Returns the digest of the tokens that an evaluation was made from; None if not recorded."""
    tokens = (read_schema(str(path)).metadata or {}).get(TOKENS)
    return None if tokens is None else tokens.decode()


def write_evaluation(
    directory: Place, step: int, evaluation: Evaluation, tokens: str | None = None
) -> Place:
    """Writes one evaluation with atomic renames.

    The file of pages is written last: its presence marks the evaluation as complete.

    Args:
        directory: the run's directory.
        step: step of the scored weights.
        evaluation: columns to write.
        tokens: digest of the scored tokens; None if they are the run's own.

    Returns:
        The path of the file of pages.
    """
    path = evaluation_file(directory, step)
    if evaluation.routing is not None:
        table = pa.Table.from_pydict(evaluation.routing, expert_sharing.WRITTEN)
        _write_table(table, routing_beside(path))
    schema = COLUMNS if tokens is None else COLUMNS.with_metadata({TOKENS: tokens})
    _write_table(pa.Table.from_pydict(evaluation.pages, schema), path)
    return path


def _write_table(table: pa.Table, path: Place) -> None:
    with atomic_write(path, path.parent.parent) as unfinished:
        pq.write_table(table, unfinished)
