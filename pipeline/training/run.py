"""What `pretrain`, `distill` and `finetune` share: from a prepared run to a finished directory.

A command prepares a run (`prepared.py`), builds the loop's inputs, writes checkpoint 0 if the first
weights are not random, and trains (`loop.py`). The same command again resumes from the last whole
checkpoint. The step is the loader's whole state and randomness is a function of (seed, step), so a
resumed run computes what an uninterrupted run computes: bit for bit on the same mesh (of GPUs with
`--deterministic`), up to rounding on another.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax

from data.examples.mixture import make_schedule, parse
from data.examples.pretraining_examples import Examples
from data.files.paths import Place
from data.tokens.blocks import TokenBlocks
from model.loss.training_loss import Distillation
from model.sharding.mesh import make_mesh
from pipeline.artifacts.claims import finish
from pipeline.errors import PREEMPTED_STATUS, Preempted
from pipeline.hardware.batch_rows import share_of
from pipeline.hardware.coordination import is_first
from pipeline.recipe import named
from pipeline.recipe.recipe import Recipe, recipe_to_json, with_rows
from pipeline.recipe.trainer import trainer_on
from pipeline.runs.changes import changes_to_json, recorded_changes
from pipeline.terminal import print_end
from pipeline.tokens.open_blocks import training_sizes
from pipeline.training.changes.later_tokens import later_mixtures
from pipeline.training.description import describe_data, describe_run
from pipeline.training.evaluation.evaluator import PageEvaluator
from pipeline.training.evaluation.filled_gaps import GapFiller
from pipeline.training.evaluation.held_out import HeldOut
from pipeline.training.log.run_summary import result as result_of
from pipeline.training.log.tracking import Tracking
from pipeline.training.loop import Training, record_time, train
from pipeline.training.prepared import PreparedRun
from pipeline.training.profiling import Profile
from pipeline.training.save_errors import explain_save_errors


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
        record_time(training, result)
        changes = changes_to_json(recorded_changes(out))
        tokens = prepared.blocks and prepared.blocks.address
        body = {"steps": steps, **more} | ({"changes": changes} if changes else {})
        finish(out, stage, *prepared.identity, body)
        print_end(stage, result_of(out), following=following(prepared.recipe, out, tokens))


def counterpart(recipe: Recipe) -> str:
    """Returns the named recipe that differs in its experts alone; "" if there is none."""
    rows = recipe.model.vocabulary_rows
    for name in named.names():
        sparse = with_rows(named.get(name), rows)
        dense = replace(sparse, name=recipe.name, model=replace(sparse.model, switch=None))
        if sparse.model.switch is not None and dense == recipe:
            return name
    return ""


def following(recipe: Recipe, out: Place, tokens: object | None = None) -> tuple[object, ...]:
    """Returns the words of the command that makes or compares the other side of a finished run.

    Args:
        recipe: the run's recipe.
        out: its directory.
        tokens: its token blocks, as the user named them; None for a run on tasks.
    """
    if not recipe.evaluate_every or recipe.finetuning is not None:
        return "inspect", out
    if tokens is not None and (sparse := counterpart(recipe)):
        place = out.parent / sparse
        return "pretrain", "--recipe", sparse, "--tokens", tokens, "--out", place
    sides = ("RUN", out) if recipe.model.switch else (out, "RUN")
    return "report", "--baseline", sides[0], "--candidate", sides[1], "--out", "report"


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
