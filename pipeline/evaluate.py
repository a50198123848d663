"""`mswitch evaluate`: the loss of every held-out page, written as sums and counts.

Pretraining evaluates the same way at intervals: `HeldOut` is made once and scores any weights. A
row a page in `RUN/evaluation/step=N.parquet`; everything that is later said about a language can be
recomputed from there. Of a sparse network also what routing did, a row a switch layer and language,
in `RUN/evaluation/routing-step=N.parquet`.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jax.sharding import Mesh
from rich.console import Console

from data.held_out_batches import HeldOutBatch, batches, held_out_pages
from data.span_corruption import Lengths
from data.token_blocks import TokenBlocks
from data.tokenizer import MODEL_FILE, load
from eval.expert_usage import Usage, by_language, columns, together
from eval.held_out_loss import page_losses
from model.batch import Batch
from model.checkpoint import Checkpoints, with_shardings
from model.sharding import batch_sharding, make_mesh
from model.train_step import Trainer, make_trainer
from pipeline import recipes
from pipeline.arguments import Evaluate
from pipeline.artifacts import (
    ArtifactError,
    digest_of_contents,
    digest_of_manifest,
    read_json,
    read_manifest,
)

COLUMNS = pa.schema(
    [
        ("language", pa.string()),
        ("url", pa.string()),
        ("loss_nats", pa.float64()),
        ("target_tokens", pa.int64()),
        ("text_bytes", pa.int64()),
        ("windows", pa.int32()),
    ]
)

ROUTING_COLUMNS = pa.schema(
    [
        ("stack", pa.string()),
        ("layer", pa.int32()),
        ("language", pa.string()),
        ("tokens", pa.int64()),
        ("choices", pa.int64()),
        ("dropped", pa.int64()),
        ("entropy_nats", pa.float64()),
        ("load", pa.list_(pa.int64())),
    ]
)


class Evaluation(NamedTuple):
    """The columns of both files; no routing of a dense network."""

    pages: dict[str, list[Any]]
    routing: dict[str, list[Any]] | None


class HeldOut:
    """The held-out pages of an artifact, cut and corrupted once, scored as often as wanted."""

    def __init__(self, blocks: TokenBlocks, lengths: Lengths, rows: int):
        self.blocks = blocks
        self.lengths = lengths
        self.rows = rows
        self.pages = held_out_pages(blocks)

    @cached_property
    def batches(self) -> list[HeldOutBatch]:
        """All windows, in batches of one shape."""
        first = self.blocks.manifest["vocabulary"]["first_sentinel"]
        return list(batches(self.pages, self.lengths, first_sentinel=first, rows=self.rows))

    def score(self, trainer: Trainer, arrays: Any) -> Evaluation:
        """Returns an evaluation with these weights."""
        piece_bytes = load(self.blocks.directory / MODEL_FILE).piece_bytes
        languages = sorted({page.language for page in self.pages})
        numbers = [languages.index(page.language) for page in self.pages]
        usage: list[Usage] = []

        def score(batch: HeldOutBatch) -> tuple[np.ndarray, np.ndarray]:
            held_out = {"inputs": batch.inputs, "targets": batch.targets, "language": batch.page}
            rows, routing = trainer.score(arrays, to_devices(held_out, trainer.mesh))
            if routing is not None:
                language = np.append(numbers, -1)[batch.page]  # page -1 is none
                usage.append(by_language(jax.device_get(routing), language, len(languages)))
            return np.asarray(rows.loss_nats), np.asarray(rows.target_tokens)

        pages = page_losses(self.pages, self.batches, score, piece_bytes)
        switch = trainer.rest.config.switch
        if switch is None:
            return Evaluation(pages, None)
        return Evaluation(pages, columns(together(usage), languages, switch.every))


def run(arguments: Evaluate) -> None:
    """Scores one checkpoint of a run."""
    recipe, trainer = load_run(arguments.run)
    tokens = read_manifest(arguments.tokens, "tokenize")
    check_tokens(arguments, tokens["vocabulary"]["sha256"])
    arrays, step = restore(arguments.run, trainer, arguments.step)
    held_out = HeldOut(TokenBlocks(arguments.tokens, tokens), recipe.lengths, recipe.rows)
    path = write(arguments.run, step, held_out.score(trainer, arrays))
    Console(stderr=True).print(f"evaluate: {len(held_out.pages)} held-out pages, {path}")


def check_tokens(arguments: Evaluate, vocabulary: str) -> None:
    """Checks that a run was trained on these tokens or, if imported, has their vocabulary.

    Raises:
        ArtifactError: it was not, or has not.
    """
    trained_on = read_json(arguments.run / "recipe.json")["inputs"].get("tokens")
    if trained_on is None and digest_of_contents(arguments.run / MODEL_FILE) != vocabulary:
        raise ArtifactError(
            f"{arguments.run} has another vocabulary than {arguments.tokens}; tokenize with "
            f"`mswitch vocabulary --model {arguments.run / MODEL_FILE} --out DIR` first."
        )
    if trained_on is not None and digest_of_manifest(arguments.tokens) != trained_on:
        raise ArtifactError(
            f"{arguments.run} was trained on other tokens than {arguments.tokens}; "
            "name the directory that it was trained on."
        )


def load_run(directory: Path) -> tuple[recipes.Recipe, Trainer]:
    """Returns a run's recipe and its functions, on the devices of this machine.

    Raises:
        ArtifactError: the directory is no run.
    """
    path = directory / "recipe.json"
    if not path.exists():
        raise ArtifactError(
            f"A run was expected in {directory}, which holds no recipe.json; pretrain first."
        )
    recipe = recipes.from_json(read_json(path)["recipe"])
    trainer = make_trainer(
        recipe.model,
        recipe.optimizer,
        steps=recipe.steps,
        seed=recipe.seed,
        mesh=make_mesh(recipe.mesh),
    )
    return recipe, trainer


def restore(directory: Path, trainer: Trainer, step: int | None) -> tuple[Any, int]:
    """Returns the weights of a checkpoint (the last one for None) and its step.

    Raises:
        ArtifactError: there is no such checkpoint.
    """
    checkpoints = Checkpoints(directory / "checkpoints")
    try:
        steps = checkpoints.steps()
        if not steps or (step is not None and step not in steps):
            raise ArtifactError(
                f"Checkpoint {'any' if step is None else step} of {directory} was asked; "
                f"there are {steps or 'none'}."
            )
        step = steps[-1] if step is None else step
        shapes = with_shardings(jax.eval_shape(trainer.init), trainer.shardings)
        return checkpoints.restore(step, shapes).arrays, step
    finally:
        checkpoints.close()


def write(directory: Path, step: int, evaluation: Evaluation) -> Path:
    """Writes one evaluation, each file whole; the pages' last, for it says that there is one."""
    path = directory / "evaluation" / f"step={step}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    if evaluation.routing is not None:
        table = pa.Table.from_pydict(evaluation.routing, ROUTING_COLUMNS)
        _write_whole(table, path.with_name(f"routing-{path.name}"))
    _write_whole(pa.Table.from_pydict(evaluation.pages, COLUMNS), path)
    return path


def _write_whole(table: pa.Table, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)


def to_devices(arrays: Mapping[str, np.ndarray], mesh: Mesh) -> Batch:
    """Turns a host's rows into its part of the global batch: where text and network meet."""
    sharding = batch_sharding(mesh)
    return Batch(
        **{
            name: jax.make_array_from_process_local_data(sharding, array)
            for name, array in arrays.items()
        }
    )
