"""What `pretrain` and `distill` share: from arguments to a finished run directory.

A command prepares a run (checks, then a claim of the directory), builds the loop's inputs, writes
checkpoint 0 if the first weights are not random, and trains (`loop.py`). The same command again
resumes from the last whole checkpoint. The step is the loader's whole state and randomness is a
function of (seed, step), so a resumed run computes what an uninterrupted run computes: bit for bit
on the same mesh (of GPUs with `--deterministic`), up to rounding on another.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import jax
from rich.console import Console

from data.examples.mixture import parse, weights_file
from data.examples.pretraining_examples import Examples
from data.examples.schedule import make_schedule
from data.stores.addresses import Place
from data.stores.digests import digest_of_contents
from data.tokens.blocks import TokenBlocks
from model.loss.distillation import Distillation
from model.sharding.mesh import make_mesh
from pipeline.arguments import Distill, Finetune, Pretrain, TrackerName
from pipeline.artifacts.claims import (
    Claim,
    claim,
    digest_of_manifest,
    finish,
)
from pipeline.artifacts.intent import Identity
from pipeline.artifacts.output_lock import output_lock
from pipeline.errors import PREEMPTED_STATUS, Preempted
from pipeline.hardware.compilation_cache import keep_compiled_programs
from pipeline.hardware.coordination import held_by_first_host, is_first, on_first_host
from pipeline.hardware.hosts import share_of
from pipeline.recipe.recipe import FREE, FREE_IN_FINETUNING, Recipe, recipe_to_json, with_rows
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.changes import changes_to_json, recorded_changes
from pipeline.terminal import Terminal, print_end
from pipeline.tokens.open_blocks import open_blocks, training_sizes
from pipeline.training.changes.allowed_changes import agreement_of
from pipeline.training.changes.later_tokens import (
    check_later,
    later_digests,
    later_mixtures,
    open_later,
)
from pipeline.training.checks import check_start
from pipeline.training.description import check_numerics, describe_data, describe_run
from pipeline.training.evaluation.evaluator import PageEvaluator
from pipeline.training.evaluation.filled_gaps import GapFiller
from pipeline.training.evaluation.held_out import HeldOut
from pipeline.training.log.run_summary import result as result_of
from pipeline.training.log.time_account import TimeAccount
from pipeline.training.log.tracking import Tracking, check_trackers
from pipeline.training.loop import Training, train
from pipeline.training.profiling import Profile, check_profile
from pipeline.training.save_errors import explain_save_errors


@dataclass(frozen=True, kw_only=True)
class PreparedRun:
    """A training command whose arguments passed all checks.

    Attributes:
        recipe: resolved recipe; its `stage` is the command.
        out: the run's directory.
        inputs: digest of each input, by name; other digests make another run.
        profile: first and last step to trace; None for no trace.
        track: trackers that also get the run's numbers.
        account: account of the run's time.
        console: console for messages.
        blocks: token blocks to train on; None for a run on tasks alone.
        later: token blocks of each later mixture.
    """

    recipe: Recipe
    out: Place
    inputs: Mapping[str, str]
    profile: tuple[int, int] | None
    track: tuple[TrackerName, ...]
    account: TimeAccount
    console: Console
    blocks: TokenBlocks | None = None
    later: tuple[TokenBlocks, ...] = ()

    def with_input(self, name: str, digest: str) -> "PreparedRun":
        """Returns the run with one more input."""
        return replace(self, inputs={**self.inputs, name: digest})

    @property
    def identity(self) -> Identity:
        """What the run's directory is claimed for."""
        return Identity(self.settings, self.inputs)

    def announce(self, text: str) -> None:
        """Prints a message of the run's command."""
        self.console.print(f"{self.recipe.stage}: {text}", highlight=False)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting that changes the run, as JSON values."""
        free = FREE if self.recipe.finetuning is None else FREE_IN_FINETUNING
        return {k: value for k, value in recipe_to_json(self.recipe).items() if k not in free}


def prepare(
    arguments: Pretrain | Distill,
    recipe: Recipe,
    more_checks: Sequence[Callable[[Recipe, TokenBlocks], None]] = (),
) -> PreparedRun:
    """Opens the tokens and makes every check that needs no compilation.

    Args:
        arguments: the command's arguments.
        recipe: recipe with its overrides; its vocabulary rows may be those of the tokens.
        more_checks: further checks, called with the resolved recipe and the opened token blocks.

    Raises:
        ArtifactError: if any check fails; the message lists all failures.
    """
    prepared = begin(arguments, recipe)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    later = open_later(recipe, blocks, arguments.cache)
    recipe = with_rows(recipe, blocks.manifest.vocabulary.vocabulary_rows)
    more = [functools.partial(check, recipe, blocks) for check in more_checks]
    traced = functools.partial(check_profile, arguments.profile, recipe.steps)
    changed = functools.partial(check_later, recipe, blocks, later)
    check_start(recipe, blocks, arguments.out, [changed, traced, *more])
    inputs = input_digests(recipe, blocks) | later_digests(recipe, later)
    return replace(prepared, recipe=recipe, blocks=blocks, later=later, inputs=inputs)


def begin(arguments: Pretrain | Distill | Finetune, recipe: Recipe) -> PreparedRun:
    """Returns a run without inputs, of which nothing is checked yet but its trackers.

    Raises:
        ArtifactError: if a tracker is not installed.
    """
    account, console = TimeAccount(), Terminal(stderr=True)
    on_first_host(lambda: check_trackers(arguments.track, arguments.out))
    keep_compiled_programs()
    return PreparedRun(
        recipe=recipe,
        out=arguments.out,
        inputs={},
        profile=arguments.profile,
        track=arguments.track if is_first() else (),
        account=account,
        console=console,
    )


@contextmanager
def locked_by_first_host(prepared: PreparedRun) -> Iterator[None]:
    """Holds the lock on the run's directory, on the first host, which writes for all.

    Raises:
        LockHeld: if another command works on the directory.
    """
    with held_by_first_host(lambda: output_lock(prepared.out, prepared.recipe.stage)):
        yield


def is_finished(prepared: PreparedRun) -> bool:
    """Claims the run's directory; returns whether the run in it is finished.

    Raises:
        ArtifactError: if the directory holds something else, or a run with other settings or
            another numerics version.
    """
    found = Claim(on_first_host(lambda: _claim(prepared).value))
    if found is Claim.FINISHED:
        prepared.console.print(f"{prepared.recipe.stage}: {prepared.out} is finished.")
    return found is Claim.FINISHED


def _claim(prepared: PreparedRun) -> Claim:
    out, stage = prepared.out, prepared.recipe.stage
    agreement = agreement_of(out, stage, prepared.identity)
    if agreement is not None and agreement.finished:
        return Claim.FINISHED
    if agreement is not None:
        check_numerics(out)
        agreement.record(out, stage, prepared.identity)
        for change in agreement.changes:
            prepared.announce(str(change))
    found = claim(out, stage, *prepared.identity)
    if found is Claim.UNFINISHED:
        check_numerics(out)
    return found


def make_training(prepared: PreparedRun, distillation: Distillation | None = None) -> Training:
    """Returns the loop's inputs; `distillation` is a student's teacher."""
    recipe = prepared.recipe
    assert prepared.blocks is not None  # pretraining and distillation read tokens
    mesh = make_mesh(recipe.mesh)
    share = share_of(mesh, recipe.rows, jax.process_index())
    held_out = HeldOut(prepared.blocks, recipe.lengths, recipe.rows, share, recipe.held_out_pages)
    return Training(
        recipe=recipe,
        trainer=trainer_on(recipe, mesh, distillation),
        examples=make_examples(recipe, prepared.blocks, prepared.later),
        evaluator=PageEvaluator(
            held_out, GapFiller(held_out, recipe), prepared.out, prepared.announce
        ),
        out=prepared.out,
        account=prepared.account,
        profile=Profile(prepared.profile, prepared.out / "profile"),
        console=prepared.console,
        tracking=make_tracking(prepared),
    )


def make_tracking(prepared: PreparedRun) -> Tracking:
    """Returns the trackers of the run, which its directory names and `RUN/tracking.json` keeps."""
    recipe = recipe_to_json(prepared.recipe)
    return Tracking(prepared.track, prepared.out, recipe, prepared.announce)


def carry_out(
    prepared: PreparedRun,
    training: Training,
    more: Mapping[str, Any] = {},
    last: Callable[[], None] = lambda: None,
) -> None:
    """Trains to the recipe's last step and finishes the directory.

    Args:
        prepared: the run whose directory is claimed.
        training: the loop's inputs.
        more: further fields of recipe.json and of the manifest.
        last: what is left to do after the last step; every host calls it.

    Raises:
        Preempted: if SIGTERM stopped the run; its state is saved.
        ArtifactError: if the run cannot be written, or too many updates in a row were skipped.
    """
    stage, steps, out = prepared.recipe.stage, prepared.recipe.steps, prepared.out
    with explain_save_errors(out):
        if is_first():
            describe_run(out, prepared.recipe, training.trainer, prepared.inputs, more)
            describe_data(out, prepared.recipe, training.examples, prepared.console)
        with training.tracking as tracking:
            result = train(training)
            tracking.state = "finished" if result.finished else "stopped"
    if not result.finished:
        raise Preempted(
            f"{stage}: stopped after step {result.step}, which is saved; the same command resumes "
            f"(exit status {PREEMPTED_STATUS})."
        )
    last()
    if is_first():
        changes = changes_to_json(recorded_changes(out))
        body = {"steps": steps, **more} | ({"changes": changes} if changes else {})
        finish(out, stage, *prepared.identity, body)
        print_end(stage, result_of(out), following=following(prepared.recipe, out))


def following(recipe: Recipe, out: Place) -> str:
    """Returns the words of the command that compares a finished run, or shows it."""
    if not recipe.evaluate_every or recipe.finetuning is not None:
        return f"inspect {out}"
    sides = ("RUN", out) if recipe.model.switch else (out, "RUN")
    return f"report --baseline {sides[0]} --candidate {sides[1]} --out report"


def input_digests(recipe: Recipe, blocks: TokenBlocks) -> dict[str, str]:
    """Returns the digest of each input of a run: tokens, vocabulary, a file of mixture weights."""
    inputs = {
        "tokens": digest_of_manifest(blocks.directory),
        "vocabulary": blocks.manifest.vocabulary.sha256,
    }
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    return inputs


def make_examples(
    recipe: Recipe, blocks: TokenBlocks, later: Sequence[TokenBlocks] = ()
) -> Examples:
    """Returns the training examples of a recipe on token blocks, and on those of its changes."""
    return Examples(
        blocks=blocks,
        schedule=make_schedule(parse(recipe.mixture, training_sizes(blocks)), recipe.seed),
        lengths=recipe.lengths,
        first_sentinel=blocks.manifest.vocabulary.first_sentinel,
        seed=recipe.seed,
        later=later_mixtures(recipe, later),
    )
