"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

It may begin with another run: --start, --trunk, --upcycle. The same command again resumes from the
last whole checkpoint and computes the same numbers. It may change settings that leave the steps
already made as they were, and the change is recorded (`training/changes.py`); another recipe, other
tokens or another start are refused. Held-out pages are scored before the first step, at intervals
and at the end. SIGTERM saves and exits (`training/loop.py`); `time.json` accounts for the run's
time (`training/log/time_account.py`).
"""

from dataclasses import replace

from data.files.paths import Place
from pipeline.arguments import Pretrain
from pipeline.artifacts import Claim
from pipeline.errors import ArtifactError
from pipeline.first_checks import requested_recipe
from pipeline.hardware.hosts import joined_hosts, on_first_host
from pipeline.recipe.overrides import check_seeds
from pipeline.runs.directory import directory_of_part, saved_steps
from pipeline.stage import Intent
from pipeline.tokens.opened_blocks import cached_nowhere
from pipeline.training.begin import PreparedRun, claimed_run, prepare
from pipeline.training.changes import with_later_settings
from pipeline.training.origins import Branch, Origin, RunWeights
from pipeline.training.run import carry_out, intent_of, make_training
from pipeline.training.upcycling import requested_upcycling


def requested_origin(arguments: Pretrain) -> Origin:
    """Returns the run's origin.

    Raises:
        ArtifactError: if the options contradict each other, or name no such run or checkpoint.
    """
    start = Origin() if arguments.start is None else RunWeights(arguments.start)
    branch = requested_branch(arguments)
    return requested_upcycling(arguments) or branch or start


def requested_branch(arguments: Pretrain) -> Branch | None:
    """Returns where the run branches off, or None if it is a run of its own.

    Raises:
        ArtifactError: if one of --trunk and --branch-at is missing, or --start is given too.
    """
    trunk, at, start = arguments.trunk, arguments.branch_at, arguments.start
    if trunk is None and at is None:
        return None
    if trunk is None or at is None or start is not None:
        options = {"trunk": trunk, "branch-at": at, "start": start}
        given = (f"--{name} {value}" for name, value in options.items() if value is not None)
        raise ArtifactError(
            f"{' '.join(given)} was given; a branch needs --trunk and --branch-at, and begins "
            "with the trunk's weights."
        )
    return Branch(trunk, at)


def run(arguments: Pretrain) -> None:
    """Trains to the recipe's last step, once per seed; repeats no run that is finished.

    Raises:
        Preempted: if a signal stopped a run; its state is saved.
        ArtifactError: if a run cannot start.
    """
    with joined_hosts(arguments.hosts, "pretrain"):
        for of_seed in one_per_seed(arguments):
            run_one(of_seed)


def intents(arguments: Pretrain) -> list[Intent]:
    """Returns the command's intent, once per seed."""
    with joined_hosts(arguments.hosts, "pretrain"), cached_nowhere(arguments) as uncached:
        return [requested_intent(of_seed) for of_seed in one_per_seed(uncached)]


def requested_intent(arguments: Pretrain) -> Intent:
    """Returns the intent of one run."""
    prepared, origin = checked_request(arguments)
    weights = () if has_begun(arguments.out) else origin.reads()
    return intent_of(prepared, arguments.tokens, weights, origin.first_step(prepared))


def one_per_seed(arguments: Pretrain) -> list[Pretrain]:
    """Returns the arguments of each run, in a directory of its own if seeds were given.

    Raises:
        ArtifactError: if a seed is given twice or as a setting too, several hosts would join for
            each, or the directory has no name.
    """
    seeds = arguments.seeds
    check_seeds(seeds, arguments.overrides)
    if seeds and arguments.hosts.count > 1:
        raise ArtifactError(
            f"--seeds {' '.join(map(str, seeds))} was given on {arguments.hosts.count} hosts; give "
            "one command per seed there, with --set seed=NUMBER."
        )
    return [
        replace(
            arguments,
            seeds=(),
            out=directory_of_part(arguments.out, str(seed)),
            overrides=(*arguments.overrides, f"seed={seed}"),
        )
        for seed in seeds
    ] or [arguments]


def checked_request(arguments: Pretrain) -> tuple[PreparedRun, Origin]:
    """Returns the run that the arguments name, and what it begins with.

    Raises:
        ArtifactError: if the run cannot start.
    """
    recipe = with_later_settings(requested_recipe(arguments), arguments)
    origin, begun = requested_origin(arguments), has_begun(arguments.out)
    prepared = prepare(arguments, origin.adapt(recipe), origin.checks(begun), origin.known_step)
    return origin.with_inputs(prepared, begun), origin


def has_begun(out: Place) -> bool:
    """Returns whether a run has a checkpoint to go on from. Every host must call this."""
    return on_first_host(lambda: bool(saved_steps(out)))


def run_one(arguments: Pretrain) -> None:
    """Trains one run to its last step; does nothing if it is finished."""
    prepared, origin = checked_request(arguments)
    with claimed_run(prepared) as there:
        if there is Claim.FINISHED:
            return
        training = make_training(prepared)
        carry_out(prepared, training, origin.begin(prepared, training.trainer))
