"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

The same command again resumes from the last whole checkpoint and computes the same numbers. It may
change settings that leave the steps already made as they were, and the change is recorded
(`training/changes/`); another recipe, other tokens or another start are refused. Held-out pages are
scored before the first step, at intervals and at the end. SIGTERM saves and exits
(`training/preemption.py`); `time.json` accounts for the run's time
(`training/log/time_account.py`).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from msgspec.structs import asdict

from data.stores.addresses import Place
from data.stores.files import exists
from data.tokens.blocks import TokenBlocks
from model.trainer import Trainer
from pipeline.arguments import Pretrain
from pipeline.artifacts.claims import Claim, digest_of_manifest, head_in
from pipeline.artifacts.intent import Intent, Reading
from pipeline.errors import ArtifactError
from pipeline.hardware.coordination import on_first_host
from pipeline.hardware.host_watch import joined
from pipeline.recipe import named
from pipeline.recipe.overrides import check_seeds, override
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import RECIPE, checkpoint_read, find_run, saved_steps
from pipeline.runs.record import UPCYCLED
from pipeline.tokens.open_blocks import cached_nowhere
from pipeline.training.changes.later_settings import with_later_settings
from pipeline.training.from_runs.branch import Branch
from pipeline.training.from_runs.first_weights import check_weights, start_from
from pipeline.training.from_runs.upcycle import Upcycling, requested_upcycling
from pipeline.training.intent import intent_of
from pipeline.training.prepared import PreparedRun, claim_run, locked_by_first_host, prepare
from pipeline.training.run import carry_out, make_training


def run(arguments: Pretrain) -> None:
    """Trains to the recipe's last step, once per seed; repeats no run that is finished.

    Raises:
        Preempted: if a signal stopped a run; its state is saved.
        ArtifactError: if a run cannot start.
    """
    with joined(arguments.hosts, "pretrain"):
        for one in one_per_seed(arguments):
            run_one(one)


def intents(arguments: Pretrain) -> list[Intent]:
    """Returns what the command would do, once per seed."""
    with joined(arguments.hosts, "pretrain"), cached_nowhere(arguments) as uncached:
        return [requested_intent(one) for one in one_per_seed(uncached)]


def requested_intent(arguments: Pretrain) -> Intent:
    """Returns what one run would do."""
    prepared, origin = resolved(arguments)
    weights = [] if has_begun(arguments.out) else first_weights_read(arguments, origin)
    return intent_of(prepared, arguments.tokens, weights, first_step(origin, prepared))


def first_step(origin: Branch | Upcycling | None, prepared: PreparedRun) -> int:
    """Returns the step of a run's first state."""
    if isinstance(origin, Branch):
        return origin.at
    return 0 if origin is None else origin.begins_at(prepared)


def first_weights_read(arguments: Pretrain, origin: Branch | Upcycling | None) -> list[Reading]:
    """Returns the checkpoint that a run begins with, if it is another run's."""
    if isinstance(origin, Upcycling):
        return [checkpoint_read("dense run", origin.parent, origin.at)]
    if isinstance(origin, Branch):
        return [checkpoint_read("trunk", origin.trunk, origin.at)]
    if arguments.start is not None:
        return [checkpoint_read("first weights", arguments.start, None)]
    return []


def one_per_seed(arguments: Pretrain) -> list[Pretrain]:
    """Returns the arguments of each run, in a directory of its own if seeds were given.

    Raises:
        ArtifactError: if a seed is given twice or as a setting too, or several hosts would join
            for each.
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
            out=arguments.out.with_name(f"{arguments.out.name}-{seed}"),
            overrides=(*arguments.overrides, f"seed={seed}"),
        )
        for seed in seeds
    ] or [arguments]


def resolved(arguments: Pretrain) -> tuple[PreparedRun, Branch | Upcycling | None]:
    """Returns the run that the arguments name, and the run that it goes on from, if it does.

    Raises:
        ArtifactError: if the run cannot start.
    """
    recipe = replace(named.requested(arguments.recipe, arguments.config), distillation=None)
    recipe = with_later_settings(override(recipe, arguments.overrides), arguments)
    start = arguments.start
    checks: list[Callable[[Recipe, TokenBlocks], None]] = []
    if start is not None:
        checks.append(partial(check_weights, start))
    origin = requested_upcycling(arguments) or requested_branch(arguments)
    begun = has_begun(arguments.out)
    if isinstance(origin, Upcycling) or (origin is not None and not begun):
        checks.append(origin.check)
    if isinstance(origin, Branch):
        recipe = origin.decayed(recipe)
    first = origin.at if isinstance(origin, Branch) else 0
    prepared = prepare(arguments, recipe, checks, first)
    if start is not None:
        prepared = prepared.with_input("start", digest_of_manifest(start))
    if isinstance(origin, Branch):
        own = prepared.inputs
        inputs = {**claimed_inputs(prepared.out), **own} if begun else origin.inputs(own)
        prepared = replace(prepared, inputs=inputs)
    if isinstance(origin, Upcycling):
        origin.begins_at(prepared)  # or refuses
        prepared = prepared.with_input(UPCYCLED, origin.identity())
    return prepared, origin


def has_begun(out: Place) -> bool:
    """Returns whether a run has a checkpoint to go on from. Every host must call this."""
    return on_first_host(lambda: bool(saved_steps(out)))


def claimed_inputs(out: Place) -> dict[str, str]:
    """Returns the inputs that a run was begun with; none if the directory has no claim."""
    head = head_in(out)
    return {} if head is None else head.inputs


def run_one(arguments: Pretrain) -> None:
    """Trains one run to its last step; does nothing if it is finished."""
    prepared, origin = resolved(arguments)
    with locked_by_first_host(prepared):
        if claim_run(prepared) is Claim.FINISHED:
            return
        training = make_training(prepared)
        if arguments.start is not None:
            start_from(arguments.start, arguments.out, training.trainer, prepared.recipe)
        carry_out(prepared, training, begin_as(origin, prepared, training.trainer))


def begin_as(
    origin: Branch | Upcycling | None, prepared: PreparedRun, trainer: Trainer
) -> dict[str, Any]:
    """Writes the first checkpoint of a run that goes on from another; returns its record."""
    if isinstance(origin, Branch):
        origin.write_first_state(prepared.out, trainer)
        described = exists(prepared.out / RECIPE)  # then the trunk may be gone
        upcycled = find_run(prepared.out if described else origin.trunk).upcycled
        more = {} if upcycled is None else {UPCYCLED: asdict(upcycled)}
        return {"branch": origin.to_json(), **more}
    if isinstance(origin, Upcycling):
        origin.write_first_state(prepared, trainer)
        return {UPCYCLED: origin.to_json(prepared)}
    return {}


def requested_branch(arguments: Pretrain) -> Branch | None:
    """Returns where the run branches off, or None if it is a run of its own.

    Raises:
        ArtifactError: if one of --trunk and --branch-at is missing, or --start is given too.
    """
    trunk, at = arguments.trunk, arguments.branch_at
    if trunk is None and at is None:
        return None
    if trunk is None or at is None or arguments.start is not None:
        raise ArtifactError(
            f"--trunk {trunk} and --branch-at {at} were given with --start {arguments.start}; a "
            "branch needs the first two, and begins with the trunk's weights."
        )
    return Branch(trunk, at)
