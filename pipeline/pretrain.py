"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

The same command again resumes from the last whole checkpoint, to the same numbers; another recipe,
other tokens or another start are refused (`training_run.py`). Held-out pages are scored before the
first step, at intervals and at the end. SIGTERM saves and exits (`preemption.py`); where the time
went stands in `time.json` (`time_account.py`).
"""

from pipeline import recipes
from pipeline.arguments import Pretrain
from pipeline.artifacts import digest_of_manifest
from pipeline.recipe import override
from pipeline.start_from import check_start, start_from
from pipeline.training_run import carry_out, is_finished, prepare, training_of


def run(arguments: Pretrain) -> None:
    """Trains to the recipe's last step, or finds that done; SIGTERM ends it before, saved."""
    job = prepare(arguments, override(recipes.get(arguments.recipe), arguments.overrides))
    if arguments.start is not None:
        check_start(arguments.start, job.recipe, job.inputs["vocabulary"])
        job.inputs["start"] = digest_of_manifest(arguments.start)
    if is_finished(job):
        return
    training = training_of(job)
    if arguments.start is not None:
        start_from(arguments.start, arguments.out, training.trainer)
    carry_out(job, training)
