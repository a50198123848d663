"""`mswitch evaluate`: scores the held-out pages with one checkpoint of a run.

Writes `RUN/evaluation/step=N.parquet` (`training/evaluation_file.py`), as pretraining does at
intervals.
"""

from statistics import fmean

from data.tokens.blocks import TokenBlocks
from pipeline.arguments import Evaluate
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.artifacts.output_lock import output_lock
from pipeline.errors import ArtifactError
from pipeline.runs.directory import check_same_vocabulary, find_run
from pipeline.runs.open import load_run, restore
from pipeline.terminal import print_end
from pipeline.tokens.checks import check_held_out
from pipeline.tokens.open_blocks import open_blocks
from pipeline.training.evaluation_file import evaluation_file, scored_tokens, write_evaluation
from pipeline.training.held_out import HeldOut


def run(arguments: Evaluate) -> None:
    """Scores one checkpoint of a run, which no other command may write to meanwhile."""
    find_run(arguments.run)
    with output_lock(arguments.run, "evaluate"):
        score(arguments)


def score(arguments: Evaluate) -> None:
    """Scores one checkpoint and writes the evaluation."""
    recipe, trainer = load_run(arguments.run)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_tokens(arguments, blocks)
    check_held_out(blocks)
    arrays, step = restore(arguments.run, trainer, arguments.step)
    tokens = digest_of_manifest(blocks.directory)
    check_replaces(arguments, step, tokens)
    held_out = HeldOut(blocks, recipe.lengths, recipe.rows)
    evaluation = held_out.score(trainer, arrays)
    assert evaluation is not None  # no `stop` was passed
    path = write_evaluation(arguments.run, step, evaluation, tokens)
    losses = evaluation.losses.values()
    loss = f"held-out loss {fmean(losses):.4f} nats, " if losses else ""
    made = f"{loss}{len(held_out.pages):,} held-out pages, in {path}"
    print_end("evaluate", made, following=f"inspect {arguments.run}")


def check_tokens(arguments: Evaluate, blocks: TokenBlocks) -> None:
    """Checks that a run was trained on these tokens or, if imported, has their vocabulary.

    Raises:
        ArtifactError: if the tokens, or an imported run's vocabulary, differ.
    """
    trained_on = find_run(arguments.run).inputs.get("tokens")
    if trained_on is None:
        check_same_vocabulary(arguments.run, blocks)
    elif digest_of_manifest(blocks.directory) != trained_on:
        raise ArtifactError(
            f"{arguments.run} was trained on other tokens than {arguments.tokens}; "
            "name the directory that it was trained on."
        )


def check_replaces(arguments: Evaluate, step: int, tokens: str) -> None:
    """Checks that an existing evaluation of this step was made from the same tokens.

    A trained run records its tokens in recipe.json; for an imported run the evaluation file does.

    Raises:
        ArtifactError: if the existing evaluation was made from other or unrecorded tokens.
    """
    path = evaluation_file(arguments.run, step)
    if not path.exists():
        return
    trained_on = find_run(arguments.run).inputs.get("tokens", "")
    scored = scored_tokens(path)
    if (trained_on if scored is None else scored) != tokens:
        raise ArtifactError(
            f"{path} is there and was not made from {arguments.tokens}; move it out of the run, "
            "or import the model to another --out for these tokens."
        )
