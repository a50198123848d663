"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

The same command again resumes from the last whole checkpoint, to the same numbers; another recipe,
other tokens or another start are refused (`training/run.py`). Held-out pages are scored before the
first step, at intervals and at the end. SIGTERM saves and exits (`training/preemption.py`);
`time.json` accounts for the run's time (`training/time_account.py`).
"""

import functools

from pipeline.arguments import Pretrain
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.recipe import named
from pipeline.recipe.recipe import override
from pipeline.training.first_weights import check_weights, start_from
from pipeline.training.run import carry_out, is_finished, make_training, prepare


def run(arguments: Pretrain) -> None:
    """Trains to the recipe's last step; does nothing if the run is finished.

    Raises:
        Preempted: if SIGTERM stopped the run; its state is saved.
    """
    recipe, start = override(named.get(arguments.recipe), arguments.overrides), arguments.start
    checks = [] if start is None else [functools.partial(check_weights, start, recipe)]
    prepared = prepare(arguments, recipe, checks)
    if start is not None:
        prepared = prepared.with_input("start", digest_of_manifest(start))
    if is_finished(prepared):
        return
    training = make_training(prepared)
    if start is not None:
        start_from(start, arguments.out, training.trainer)
    carry_out(prepared, training)
