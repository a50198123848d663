"""`mswitch evaluate`: the loss of every held-out page, written as sums and counts.

Pretraining evaluates the same way at intervals: `HeldOut` is made once and scores any weights. A
row a page in `RUN/evaluation/step=N.parquet`; everything that is later said about a language can be
recomputed from there. Of a sparse network also what routing did, a row a switch layer and language,
in `RUN/evaluation/routing-step=N.parquet`.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from data.examples.held_out_batches import HeldOutBatch, batches, held_out_pages
from data.examples.span_corruption import Lengths
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, load
from eval.expert_usage import Usage, by_language, columns, together
from eval.held_out_loss import page_losses
from model.batch import Batch
from model.loss import RowLosses
from model.switch.routing_sums import RowRouting
from model.train_step import Trainer
from pipeline.arguments import Evaluate
from pipeline.artifacts.claims import digest_of_manifest
from pipeline.errors import ArtifactError
from pipeline.hardware.hosts import to_devices
from pipeline.runs.directory import check_same_vocabulary, find_run
from pipeline.runs.open import load_run, restore
from pipeline.tokens.open_blocks import open_blocks

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

TOKENS = b"tokens"  # in a file's metadata: digest of the manifest that its pages came from

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

    @property
    def losses(self) -> dict[str, float]:
        """Nats per target token of all pages of a language, by its code."""
        sums: dict[str, list[float]] = {}
        names = ("language", "loss_nats", "target_tokens")
        for code, nats, tokens in zip(*(self.pages[name] for name in names), strict=True):
            total = sums.setdefault(code, [0.0, 0.0])
            total[0] += nats
            total[1] += tokens
        return {code: nats / tokens for code, (nats, tokens) in sums.items() if tokens}


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

    @cached_property
    def piece_bytes(self) -> np.ndarray:
        """UTF-8 bytes that each id stands for."""
        return load(self.blocks.directory / MODEL_FILE).piece_bytes

    @cached_property
    def languages(self) -> list[str]:
        """Codes of the languages, sorted."""
        return sorted({page.language for page in self.pages})

    @cached_property
    def language_of_page(self) -> np.ndarray:
        """Number of each page's language; the last entry is for no page, -1."""
        return np.array([self.languages.index(page.language) for page in self.pages] + [-1])

    def score(
        self, trainer: Trainer, arrays: Any, stop: Callable[[], bool] = lambda: False
    ) -> Evaluation | None:
        """Returns an evaluation with these weights; None if it was stopped.

        Args:
            trainer: whose `score` is used, one program for all languages.
            arrays: the weights.
            stop: asked before every batch.
        """
        usage: list[Usage] = []
        scores = self._scores(trainer, arrays, stop, usage)
        try:
            pages = page_losses(self.pages, self.batches, lambda _: next(scores), self.piece_bytes)
        except StopIteration:
            return None
        switch = trainer.rest.config.switch
        if switch is None:
            return Evaluation(pages, None)
        return Evaluation(pages, columns(together(usage), self.languages, switch.every))

    def _scores(
        self, trainer: Trainer, arrays: Any, stop: Callable[[], bool], usage: list[Usage]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields each batch's row losses and adds to `usage` what routing did with its rows; the
        next batch is under way while one is added up."""
        ahead: tuple[HeldOutBatch, tuple[RowLosses, RowRouting | None]] | None = None
        for batch in self.batches:
            if stop():
                return
            here = batch, trainer.score(arrays, self._on_devices(batch, trainer))
            if ahead is not None:
                yield self._fetched(*ahead, usage)
            ahead = here
        if ahead is not None:
            yield self._fetched(*ahead, usage)

    def _fetched(
        self,
        batch: HeldOutBatch,
        scores: tuple[RowLosses, RowRouting | None],
        usage: list[Usage],
    ) -> tuple[np.ndarray, np.ndarray]:
        losses, routing = scores
        if routing is not None:
            language = self.language_of_page[batch.page]
            usage.append(by_language(jax.device_get(routing), language, len(self.languages)))
        return np.asarray(losses.loss_nats), np.asarray(losses.target_tokens)

    def _on_devices(self, batch: HeldOutBatch, trainer: Trainer) -> Batch:
        held_out = {"inputs": batch.inputs, "targets": batch.targets, "language": batch.page}
        return to_devices(held_out, trainer.mesh, self.rows)


def run(arguments: Evaluate) -> None:
    """Scores one checkpoint of a run."""
    recipe, trainer = load_run(arguments.run)
    blocks = open_blocks(arguments.tokens, arguments.cache)
    check_tokens(arguments, blocks)
    arrays, step = restore(arguments.run, trainer, arguments.step)
    tokens = digest_of_manifest(blocks.directory)
    check_replaces(arguments, step, tokens)
    held_out = HeldOut(blocks, recipe.lengths, recipe.rows)
    evaluation = held_out.score(trainer, arrays)
    assert evaluation is not None  # nothing stops it
    path = write(arguments.run, step, evaluation, tokens)
    Console(stderr=True).print(f"evaluate: {len(held_out.pages)} held-out pages, {path}")


def check_tokens(arguments: Evaluate, blocks: TokenBlocks) -> None:
    """Checks that a run was trained on these tokens or, if imported, has their vocabulary.

    Raises:
        ArtifactError: it was not, or has not.
    """
    trained_on = find_run(arguments.run)["inputs"].get("tokens")
    if trained_on is None:
        check_same_vocabulary(arguments.run, blocks)
    elif digest_of_manifest(blocks.directory) != trained_on:
        raise ArtifactError(
            f"{arguments.run} was trained on other tokens than {arguments.tokens}; "
            "name the directory that it was trained on."
        )


def check_replaces(arguments: Evaluate, step: int, tokens: str) -> None:
    """Checks that an evaluation that is there already was made from the same tokens.

    A trained run says which those are; of an imported one its evaluations do.

    Raises:
        ArtifactError: it was made from others, or does not say from which.
    """
    path = evaluation_file(arguments.run, step)
    if not path.exists():
        return
    trained_on = find_run(arguments.run)["inputs"].get("tokens", "")
    if (pq.read_schema(path).metadata or {}).get(TOKENS, trained_on.encode()) != tokens.encode():
        raise ArtifactError(
            f"{path} is there and was not made from {arguments.tokens}; move it out of the run, "
            "or import the model to another --out for these tokens."
        )


def evaluation_file(directory: Path, step: int) -> Path:
    """Returns where the evaluation of a step is or will be."""
    return directory / "evaluation" / f"step={step}.parquet"


def write(directory: Path, step: int, evaluation: Evaluation, tokens: str | None = None) -> Path:
    """Writes one evaluation, each file whole; the pages' last, for it says that there is one.

    Args:
        directory: the run's.
        step: of its weights.
        evaluation: what is written.
        tokens: digest of those it was made from; None where they are the run's own.
    """
    path = evaluation_file(directory, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    if evaluation.routing is not None:
        table = pa.Table.from_pydict(evaluation.routing, ROUTING_COLUMNS)
        _write_whole(table, path.with_name(f"routing-{path.name}"))
    schema = COLUMNS if tokens is None else COLUMNS.with_metadata({TOKENS: tokens})
    _write_whole(pa.Table.from_pydict(evaluation.pages, schema), path)
    return path


def _write_whole(table: pa.Table, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)
