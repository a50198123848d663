"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

The same command again resumes from the last whole checkpoint: the step is the loader's whole state,
and randomness is a function of (seed, step), so the resumed run computes what the uninterrupted one
would have; on another mesh it does so up to rounding. Held-out pages are scored before the first
step, at intervals and at the end. SIGTERM saves and exits (`preemption.py`); where the time went
stands in `time.json` (`time_account.py`).
"""

import errno
import logging
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from data.loader import Examples
from data.mixture import TextSizes, parse, weights_file
from data.schedule import schedule
from data.token_blocks import TokenBlocks
from data.tokenizer import MODEL_FILE
from model.checkpoint import CheckpointError
from model.config import forward_flops
from model.sharding import make_mesh
from model.train_step import Trainer, make_trainer
from model.transformer import parameter_count
from pipeline import recipes
from pipeline.arguments import Pretrain
from pipeline.artifacts import (
    ArtifactError,
    Claim,
    claim,
    digest_of_contents,
    digest_of_manifest,
    finish,
    write_json,
)
from pipeline.compilation_cache import keep_compiled_programs
from pipeline.evaluate import HeldOut
from pipeline.exposure import exposure, print_exposure
from pipeline.hosts import connect, is_first, on_first_host
from pipeline.preemption import EXIT_STATUS
from pipeline.profiling import Profile
from pipeline.recipes import Recipe
from pipeline.start_from import check_start as check_start_from
from pipeline.start_from import start_from
from pipeline.start_up_checks import check_start
from pipeline.time_account import TimeAccount
from pipeline.token_artifact import open_blocks
from pipeline.training_loop import Training, train

CLAIMS = list(Claim)
# A step depends neither on its devices, nor on the parts it is computed in, nor on what it computes
# twice: a run may go on with others.
FREE = ("mesh", "accumulate", "remat")
FULL = (errno.ENOSPC, errno.EDQUOT)


def run(arguments: Pretrain) -> None:
    """Trains to the recipe's last step, or finds that done; SIGTERM ends it before, saved."""
    account, console = TimeAccount(), Console(stderr=True)
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax: pages of traces beside our words
    connect(arguments.hosts)
    keep_compiled_programs()
    recipe = recipes.override(recipes.get(arguments.recipe), arguments.overrides)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_start(recipe, blocks, arguments.out)
    settings = {key: value for key, value in recipes.to_json(recipe).items() if key not in FREE}
    inputs = digests(recipe, blocks)
    if arguments.start is not None:
        check_start_from(arguments.start, recipe, inputs["vocabulary"])
        inputs["start"] = digest_of_manifest(arguments.start)
    examples = make_examples(recipe, blocks)
    found = on_first_host(lambda: CLAIMS.index(claim(arguments.out, "pretrain", settings, inputs)))
    if CLAIMS[found] is Claim.FINISHED:
        console.print(f"pretrain: {arguments.out} is finished.")
        return
    trainer = make_trainer(
        recipe.model,
        recipe.optimizer,
        steps=recipe.steps,
        seed=recipe.seed,
        mesh=make_mesh(recipe.mesh),
        accumulate=recipe.accumulate,
        remat=recipe.remat,
    )
    if arguments.start is not None:
        start_from(arguments.start, arguments.out, trainer)
    if is_first():
        describe(arguments.out, recipe, trainer, inputs)
        describe_data(arguments.out, recipe, examples, console)
    training = Training(
        recipe=recipe,
        trainer=trainer,
        examples=examples,
        held_out=HeldOut(blocks, recipe.lengths, recipe.rows),
        out=arguments.out,
        account=account,
        profile=Profile(arguments.profile, arguments.out / "profile"),
        console=console,
    )
    with refusals_in_words(arguments.out):
        last = train(training)
    if last < recipe.steps:
        console.print(
            f"pretrain: stopped after step {last}, which is saved; the same command goes on "
            f"(exit status {EXIT_STATUS}).",
            soft_wrap=True,
        )
        sys.exit(EXIT_STATUS)
    if is_first():
        finish(arguments.out, "pretrain", settings, inputs, {"steps": recipe.steps})


def digests(recipe: Recipe, blocks: TokenBlocks) -> dict[str, str]:
    """Returns what the run is made from; another one of these is another run."""
    inputs = {
        "tokens": digest_of_manifest(blocks.directory),
        "vocabulary": blocks.manifest["vocabulary"]["sha256"],
    }
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    return inputs


def describe(out: Path, recipe: Recipe, trainer: Trainer, inputs: dict[str, str]) -> None:
    """Writes recipe.json: the resolved recipe and what follows from it."""
    lengths = recipe.lengths
    facts = {
        "recipe": recipes.to_json(recipe),
        "parameters": parameter_count(trainer.shapes),
        "flops_per_sequence": forward_flops(recipe.model, lengths.inputs, lengths.targets),
        "lengths": lengths._asdict(),
        "devices": [device.device_kind for device in trainer.mesh.devices.flat],
        "inputs": inputs,
    }
    write_json(out / "recipe.json", facts)


def describe_data(out: Path, recipe: Recipe, examples: Examples, console: Console) -> None:
    """Writes the vocabulary and the mixture, and prints the mixture's ends."""
    shutil.copy(examples.blocks.directory / MODEL_FILE, out / MODEL_FILE)
    languages = exposure(examples, recipe.steps * recipe.rows)
    write_json(out / "mixture.json", {"languages": languages})
    print_exposure(languages, console)


def make_examples(recipe: Recipe, blocks: TokenBlocks) -> Examples:
    """Returns the run's training examples."""
    sizes = TextSizes(blocks.counts("train", "pages"), blocks.counts("train", "characters"))
    return Examples(
        blocks=blocks,
        schedule=schedule(parse(recipe.mixture, sizes), recipe.seed),
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
        if error.errno not in FULL:
            raise
        raise ArtifactError(
            f"The disk of {out} is full ({error.strerror}: {error.filename}); make room: the same "
            "command then goes on from the last whole checkpoint."
        ) from error
