"""`mswitch pretrain`: a recipe and token blocks in, a run with checkpoints and evaluations out.

The same command again resumes from the last checkpoint: the step is the loader's whole state, and
randomness is a function of (seed, step), so the resumed run computes what the uninterrupted one
would have; on another mesh it does so up to rounding. Held-out pages are scored before the first
step, at intervals and at the end.
"""

import shutil
from pathlib import Path

import jax
from rich.console import Console

from data.loader import Examples, batches
from data.mixture import TextSizes, parse, weights_file
from data.schedule import schedule
from data.token_blocks import TokenBlocks
from data.tokenizer import MODEL_FILE
from model.checkpoint import Checkpoints, with_shardings
from model.config import forward_flops
from model.sharding import check_fit, make_mesh
from model.train_step import Trainer, TrainState, make_trainer
from model.transformer import parameter_count
from pipeline import evaluate, recipes
from pipeline.arguments import Pretrain
from pipeline.artifacts import (
    Claim,
    claim,
    digest_of_contents,
    digest_of_manifest,
    finish,
    write_json,
)
from pipeline.evaluate import HeldOut
from pipeline.exposure import exposure, print_exposure
from pipeline.progress import Progress
from pipeline.recipes import Recipe
from pipeline.token_artifact import open_blocks
from pipeline.token_checks import check_blocks, check_vocabulary


def run(arguments: Pretrain) -> None:
    """Trains to the recipe's last step, or finds that done."""
    recipe = recipes.override(recipes.get(arguments.recipe), arguments.overrides)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_vocabulary(recipe, blocks.manifest["vocabulary"])
    check_blocks(blocks)
    mesh = make_mesh(recipe.mesh)
    check_fit(recipe.model, mesh, recipe.rows, recipe.lengths.inputs, recipe.lengths.targets)
    # A step does not depend on its devices, so a run may go on with others.
    settings = {key: value for key, value in recipes.to_json(recipe).items() if key != "mesh"}
    inputs = {"tokens": digest_of_manifest(blocks.directory)}
    if weights := weights_file(recipe.mixture):
        inputs["weights"] = digest_of_contents(weights)
    examples = make_examples(recipe, blocks)
    console = Console(stderr=True)
    if claim(arguments.out, "pretrain", settings, inputs) is Claim.FINISHED:
        console.print(f"pretrain: {arguments.out} is finished.")
        return
    trainer = make_trainer(
        recipe.model, recipe.optimizer, steps=recipe.steps, seed=recipe.seed, mesh=mesh
    )
    describe(arguments.out, recipe, trainer, inputs)
    shutil.copy(blocks.directory / MODEL_FILE, arguments.out / MODEL_FILE)
    languages = exposure(examples, recipe.steps * recipe.rows)
    write_json(arguments.out / "mixture.json", {"languages": languages})
    print_exposure(languages, console)
    held_out = HeldOut(blocks, recipe.lengths, recipe.rows)
    train(recipe, trainer, examples, held_out, arguments.out, console)
    finish(arguments.out, "pretrain", settings, inputs, {"steps": recipe.steps})


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


def train(
    recipe: Recipe,
    trainer: Trainer,
    examples: Examples,
    held_out: HeldOut,
    out: Path,
    console: Console,
) -> None:
    """Runs the loop from the last checkpoint, or from the start."""
    checkpoints = Checkpoints(out / "checkpoints")
    state, first = resume(checkpoints, trainer)
    host, hosts = jax.process_index(), jax.process_count()
    source = batches(examples, rows=recipe.rows, first_batch=first, host=host, hosts=hosts)
    with Progress(recipe, out, first, console) as progress:
        for step in range(first, recipe.steps):
            if step % recipe.evaluate_every == 0:
                with progress.pause("evaluate"):
                    evaluate.write(out, step, held_out.score(trainer, state.arrays))
            state, metrics = trainer.step(state, evaluate.to_devices(next(source), trainer.mesh))
            progress.step(step + 1, metrics)
            if (step + 1) % recipe.checkpoint_every == 0 or step + 1 == recipe.steps:
                with progress.pause("checkpoint"):
                    checkpoints.save(step + 1, state)
        with progress.pause("evaluate"):
            evaluate.write(out, recipe.steps, held_out.score(trainer, state.arrays))
    checkpoints.close()


def resume(checkpoints: Checkpoints, trainer: Trainer) -> tuple[TrainState, int]:
    """Returns the state to go on from and its step."""
    steps = checkpoints.steps()
    if not steps:
        return trainer.init(), 0
    shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
    return checkpoints.restore(steps[-1], shapes), steps[-1]
