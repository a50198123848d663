"""Losses of parallel sentences: `RUN/tasks/NAME/sentences-step=N.parquet`. JAX is not imported."""

from collections.abc import Mapping, Sequence

from data.files.parquet_files import read_table
from data.files.paths import Place, directories_in, exists
from eval.tasks.comparison import SENTENCES_SCHEMA, SentenceComparison, sentence_comparison
from pipeline.runs.task_files import predictions_file

SENTENCES = "sentences"


def sentence_files(directory: Place, step: int) -> dict[str, Place]:
    """Returns the files of one step by the name of the text; none if it was not scored."""
    found = {
        name: predictions_file(directory, name, SENTENCES, step)
        for name in sorted(directories_in(directory / "tasks"))
    }
    return {name: path for name, path in found.items() if exists(path)}


def sentence_comparisons(
    baseline: Sequence[Mapping[str, Place]], candidate: Sequence[Mapping[str, Place]]
) -> tuple[SentenceComparison, ...]:
    """Returns the comparison on each text that every run was scored on.

    Args:
        baseline, candidate: files of each run.

    Raises:
        DataError: if a file is damaged, or the runs scored different sentences.
    """
    runs = [*baseline, *candidate]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    found = [
        sentence_comparison(
            name,
            *(
                [read_table(run[name], SENTENCES_SCHEMA) for run in side]
                for side in (baseline, candidate)
            ),
        )
        for name in names
    ]
    return tuple(one for one in found if one is not None)
