"""What `pretrain` and `distill` have in common: from arguments to a finished run directory.

A command prepares a job (checks, claim), makes its trainer, gives the run its first weights if they
are not drawn at random, and carries it out; the loop is `training_loop.py`. The same command again
resumes from the last whole checkpoint: the step is the loader's whole state, and randomness is a
function of (seed, step), so the resumed run computes what the uninterrupted one would have; on
another mesh it does so up to rounding.
"""

import functools
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from data.examples.loader import Examples
from data.examples.mixture import parse, weights_file
from data.examples.schedule import make_schedule
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE
from model.checkpoint import DISK_FULL, CheckpointError
from model.config import forward_flops
from model.distillation import Lesson
from model.sharding import make_mesh
from model.train_step import Trainer, make_trainer
from model.transformer import parameter_count
from pipeline.arguments import Distill, Pretrain
from pipeline.artifacts.claims import Claim, claim, digest_of_manifest, finish
from pipeline.artifacts.digests import digest_of_contents
from pipeline.errors import ArtifactError
from pipeline.evaluate import HeldOut
from pipeline.hardware.compilation_cache import keep_compiled_programs
from pipeline.hardware.hosts import connect, is_first, on_first_host
from pipeline.json_files import write_json
from pipeline.recipe.recipe import Recipe, recipe_to_json
from pipeline.tokens.open_blocks import open_blocks, training_sizes
from pipeline.training.checks import check_start
from pipeline.training.language_exposure import exposure, print_exposure
from pipeline.training.loop import Training, train
from pipeline.training.preemption import EXIT_STATUS
from pipeline.training.profiling import Profile, check_profile
from pipeline.training.time_account import TimeAccount

CLAIMS = list(Claim)
# A step depends neither on its devices, nor on the parts it is computed in, nor on what it computes
# twice: a run may go on with others.
FREE = ("mesh", "accumulate", "remat")


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command that trains, checked.

    Attributes:
        recipe: resolved; its `stage` is the command.
        blocks: what it trains on.
        out: the run's directory.
        inputs: digest of each thing that the run is made from; another one is another run.
        profile: which steps are traced.
        account: of its time.
        console: for what it says.
    """

    recipe: Recipe
    blocks: TokenBlocks
    out: Path
    inputs: dict[str, str]
    profile: tuple[int, int] | None
    account: TimeAccount
    console: Console

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that changes the run, as JSON values."""
        return {k: value for k, value in recipe_to_json(self.recipe).items() if k not in FREE}


def prepare(
    arguments: Pretrain | Distill,
    recipe: Recipe,
    also: Sequence[Callable[[TokenBlocks], None]] = (),
) -> Job:
    """Opens the tokens and checks all that can be known to be wrong, `also` included.

    Raises:
        ArtifactError: one sentence, or a list of them.
    """
    account, console = TimeAccount(), Console(stderr=True)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax: pages of traces beside our words
    connect(**vars(arguments.hosts))
    keep_compiled_programs()
    blocks = open_blocks(arguments.tokens, arguments.cache)
    more = [functools.partial(check, blocks) for check in also]
    traced = functools.partial(check_profile, arguments.profile, recipe.steps)
    check_start(recipe, blocks, arguments.out, [traced, *more])
    return Job(
        recipe=recipe,
        blocks=blocks,
        out=arguments.out,
        inputs=digests(recipe, blocks),
        profile=arguments.profile,
        account=account,
        console=console,
    )


def is_finished(job: Job) -> bool:
    """Claims the job's directory; says so and returns True where there is nothing left to do."""
    asked = job.out, job.recipe.stage, job.settings, job.inputs
    found = on_first_host(lambda: CLAIMS.index(claim(*asked)))
    if CLAIMS[found] is Claim.FINISHED:
        job.console.print(f"{job.recipe.stage}: {job.out} is finished.")
    return CLAIMS[found] is Claim.FINISHED


def training_of(job: Job, lesson: Lesson | None = None) -> Training:
    """Returns everything that the loop needs; a student's with its lesson."""
    recipe = job.recipe
    trainer = make_trainer(
        recipe.model,
        recipe.optimizer,
        steps=recipe.steps,
        seed=recipe.seed,
        mesh=make_mesh(recipe.mesh),
        accumulate=recipe.accumulate,
        remat=recipe.remat,
        lesson=lesson,
    )
    return Training(
        recipe=recipe,
        trainer=trainer,
        examples=make_examples(recipe, job.blocks),
        held_out=HeldOut(job.blocks, recipe.lengths, recipe.rows),
        out=job.out,
        account=job.account,
        profile=Profile(job.profile, job.out / "profile"),
        console=job.console,
    )


def carry_out(job: Job, training: Training, facts: Mapping[str, Any] = {}) -> None:
    """Trains to the recipe's last step; SIGTERM ends it before, saved.

    Args:
        job: whose directory is claimed.
        training: its loop's.
        facts: what recipe.json says besides.
    """
    stage, steps = job.recipe.stage, job.recipe.steps
    with refusals_in_words(job.out):
        if is_first():
            describe(job.out, job.recipe, training.trainer, job.inputs, facts)
            describe_data(job.out, job.recipe, training.examples, job.console)
        ended = train(training)
    if not ended.whole:
        job.console.print(
            f"{stage}: stopped after step {ended.step}, which is saved; the same command goes on "
            f"(exit status {EXIT_STATUS}).",
            soft_wrap=True,
        )
        sys.exit(EXIT_STATUS)
    if is_first():
        finish(job.out, stage, job.settings, job.inputs, {"steps": steps})


def digests(recipe: Recipe, blocks: TokenBlocks) -> dict[str, str]:
    """Returns what the run is made from; another one of these is another run."""
    inputs = {
        "tokens": digest_of_manifest(blocks.directory),
        "vocabulary": blocks.manifest["vocabulary"]["sha256"],
    }
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    return inputs


def describe(
    out: Path,
    recipe: Recipe,
    trainer: Trainer,
    inputs: Mapping[str, str],
    more: Mapping[str, Any] = {},
) -> None:
    """Writes recipe.json: the resolved recipe and what follows from it."""
    lengths = recipe.lengths
    facts = {
        "recipe": recipe_to_json(recipe),
        "parameters": parameter_count(trainer.shapes),
        "flops_per_sequence": forward_flops(recipe.model, lengths.inputs, lengths.targets),
        "lengths": lengths._asdict(),
        "devices": [device.device_kind for device in trainer.mesh.devices.flat],
        "inputs": inputs,
    }
    write_json(out / "recipe.json", facts | dict(more))


def describe_data(out: Path, recipe: Recipe, examples: Examples, console: Console) -> None:
    """Writes the vocabulary and the mixture, and prints the mixture's ends."""
    shutil.copy(examples.blocks.directory / MODEL_FILE, out / MODEL_FILE)
    languages = exposure(examples, recipe.steps * recipe.rows)
    write_json(out / "mixture.json", {"languages": languages})
    print_exposure(languages, console)


def make_examples(recipe: Recipe, blocks: TokenBlocks) -> Examples:
    """Returns the run's training examples."""
    return Examples(
        blocks=blocks,
        schedule=make_schedule(parse(recipe.mixture, training_sizes(blocks)), recipe.seed),
        lengths=recipe.lengths,
        first_sentinel=blocks.manifest["vocabulary"]["first_sentinel"],
        seed=recipe.seed,
    )


@contextmanager
def refusals_in_words(out: Path) -> Iterator[None]:
    """Turns a broken checkpoint or a full disk into one sentence."""
    try:
        yield
    except CheckpointError as error:
        raise ArtifactError(str(error)) from error
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise ArtifactError(
            f"The disk of {out} is full ({error.strerror}: {error.filename}); make room: the same "
            "command then goes on from the last whole checkpoint."
        ) from error
