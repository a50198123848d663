"""The bill of upcycled runs, from their recipe.json."""

from collections.abc import Sequence

from eval.further_models import Bill
from pipeline.errors import ArtifactError
from pipeline.runs.finished import FinishedRun
from pipeline.runs.record import RecordedDense


def bill(baseline: Sequence[FinishedRun], candidate: Sequence[FinishedRun]) -> Bill | None:
    """Returns the cost of a candidate's run, or None if its runs were not upcycled.

    Args:
        baseline: runs of the baseline, of one length.
        candidate: runs of the candidate, of one length.

    Raises:
        ArtifactError: if runs of the candidate began in different ways.
    """
    ways = {_way(run.about.upcycled): run for run in candidate}
    if len(ways) > 1:
        raise ArtifactError(
            "Runs of one side began in different ways ("
            f"{'; '.join(f'{run.directory}: {way}' for way, run in ways.items())}); name runs that "
            "were upcycled alike."
        )
    dense = candidate[0].about.upcycled
    if dense is None:
        return None
    own = candidate[0].last_step - dense.begins_at
    return Bill(
        recipe=dense.recipe,
        dense_steps=dense.step,
        dense_flops=dense.flops,
        own_steps=own,
        own_flops=training_flops(candidate[0], own),
        baseline_steps=baseline[0].last_step,
        baseline_flops=training_flops(baseline[0], baseline[0].last_step),
    )


def training_flops(run: FinishedRun, steps: int) -> int | None:
    """Returns the training FLOPs of steps of a run; None if not recorded."""
    forward, rows = run.about.flops_per_sequence, run.recipe.get("rows")
    return None if forward is None or rows is None else 3 * forward * rows * steps


def _way(dense: RecordedDense | None) -> str:
    if dense is None:
        return "not upcycled"
    begun = f"{dense.recipe} at step {dense.step}, begins at {dense.begins_at}"
    return f"{begun}, logits {dense.logits}, noise {dense.noise}"
