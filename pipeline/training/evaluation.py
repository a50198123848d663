"""Evaluation while a run trains: held-out pages scored as sums per page, and gaps that it fills.

`HeldOut` is built once per run. Pages are cut and corrupted on first use, each row on the hosts
that have it on their devices, and all languages share one compiled program. Batches mix languages
and have one shape. Each row's sums are added to the page that the row was cut from. `mswitch
evaluate` and the training loop score through it, with any weights.

Filled gaps are for people to read. Two short windows per evaluation, of languages in turn and then
of their next pages, so the choice is a function of the step. Of each window the first gap is shown,
with what the network writes there greedily and with what stood there. They lie in
`RUN/evaluation/gaps-step=N.parquet`, written before the losses, whose presence marks an evaluation
as complete. The cost is that of one encoded row of 64 tokens and 16 decoded tokens per device,
whatever the size of the evaluation.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
import pyarrow as pa
from jax.sharding import Mesh
from jaxtyping import Int, Num

from data.examples.held_out_batches import (
    HeldOutBatch,
    HeldOutPage,
    batches,
    held_out_pages,
    window,
    window_count,
)
from data.examples.span_corruption import EOS, PADDING, Example, Lengths, lengths_for_inputs
from data.files.parquet_files import write_table
from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, Tokenizer, load
from eval.experts import Usage, add_usage, routing_columns
from model.decoding.generation import write_greedily
from model.loss.scoring import LEAST_TOKENS, Scores
from model.sharding.layouts import batch_sharding, batch_shards, expert_shards, replicated_layout
from model.trainer import Trainer
from pipeline.errors import first_line, lacks_device_memory
from pipeline.hardware.batches import (
    Share,
    Stop,
    one_ahead,
    rows_on_devices,
    sum_over_hosts,
    to_devices,
    whole,
)
from pipeline.hardware.hosts import is_first
from pipeline.recipe.recipe import Recipe
from pipeline.runs.directory import evaluation_file, gaps_file
from pipeline.runs.finished import GAPS_SCHEMA, Evaluation, FilledGap, write_evaluation

# Each row's page (-1 for none), loss in nats, and number of target tokens.
ScoredBatch = tuple[Int[np.ndarray, " rows"], Num[np.ndarray, " rows"], Num[np.ndarray, " rows"]]


def page_losses(
    pages: Sequence[HeldOutPage],
    scored: Iterable[ScoredBatch],
    text_bytes: Int[np.ndarray, " pages"],
) -> dict[str, list[Any]]:
    """Returns the losses of every page.

    Args:
        pages: pages that the batches were cut from.
        scored: batches; row i belongs to the page of its number, or to none where that is -1.
        text_bytes: UTF-8 bytes of the hidden text of each page.

    Returns:
        The columns of `evaluation/step=N.parquet`, one row per page: language, url, loss_nats (sum
        over target tokens, sentinels included, EOS not), target_tokens, text_bytes (of the hidden
        text), windows.
    """
    loss, tokens, windows = (np.zeros(len(pages)) for _ in range(3))
    for owner, row_loss, row_tokens in scored:
        real = owner >= 0
        page = owner[real]
        np.add.at(loss, page, np.asarray(row_loss, np.float64)[real])
        np.add.at(tokens, page, np.asarray(row_tokens)[real])
        np.add.at(windows, page, 1)
    return {
        "language": [held_out.language for held_out in pages],
        "url": [held_out.page.url for held_out in pages],
        "loss_nats": loss.tolist(),
        "target_tokens": tokens.astype(np.int64).tolist(),
        "text_bytes": text_bytes.tolist(),
        "windows": windows.astype(np.int64).tolist(),
    }


def hidden_bytes(
    pages: int, batches: Iterable[HeldOutBatch], piece_bytes: Int[np.ndarray, " vocabulary"]
) -> Int[np.ndarray, " pages"]:
    """Returns the UTF-8 bytes of the hidden text of each page, in the rows that were cut.

    Args:
        pages: number of pages.
        batches: batches of windows.
        piece_bytes: UTF-8 bytes of text that each id stands for; 0 for sentinels, EOS and padding.
    """
    size = np.zeros(pages + 1, np.int64)  # the last is for rows of padding, -1
    for batch in batches:
        np.add.at(size, batch.page[batch.cut], piece_bytes[batch.targets].sum(axis=1))
    return size[:-1]


class HeldOut:
    """The held-out pages of token blocks, cut into rows of one shape.

    Args:
        blocks: token blocks with held-out pages.
        lengths: raw, input and target lengths of a row.
        rows: number of rows per batch.
        share: rows that this host cuts and puts on its devices; None for one host, which has all.
        most_pages: largest number of pages of a language, its first ones; 0 for all.
    """

    def __init__(
        self,
        blocks: TokenBlocks,
        lengths: Lengths,
        rows: int,
        share: Share | None = None,
        most_pages: int = 0,
    ):
        self.blocks = blocks
        self.lengths = lengths
        self.rows = rows
        self.share = share or whole(rows)
        self.pages = held_out_pages(blocks, most_pages)

    @cached_property
    def batches(self) -> list[HeldOutBatch]:
        """All windows of all pages, in batches of one shape; this host's rows of them are cut."""
        return list(
            batches(
                self.pages,
                self.lengths,
                first_sentinel=self.blocks.manifest.vocabulary.first_sentinel,
                rows=self.rows,
                cut=self.share.here,
            )
        )

    @cached_property
    def text_bytes(self) -> np.ndarray:
        """UTF-8 bytes of the hidden text of each page; first used by all hosts together."""
        here = hidden_bytes(len(self.pages), self.batches, self.piece_bytes)
        return sum_over_hosts(here) // self.share.readers

    @cached_property
    def piece_bytes(self) -> np.ndarray:
        """Number of UTF-8 bytes per token id."""
        return load(self.blocks.directory / MODEL_FILE).piece_bytes

    @cached_property
    def languages(self) -> list[str]:
        """Language codes of the pages, sorted."""
        return sorted({page.language for page in self.pages})

    @cached_property
    def language_of_page(self) -> np.ndarray:
        """Index into `languages` per page; the last entry, -1, is for rows of no page."""
        return np.array([self.languages.index(page.language) for page in self.pages] + [-1])

    def score(
        self, trainer: Trainer, arrays: Any, stop: Callable[[], bool] = lambda: False
    ) -> Evaluation | None:
        """Returns the evaluation of these weights, or None if it was stopped.

        Args:
            trainer: trainer of the run; its `score` is one program for all languages.
            arrays: weights to score.
            stop: called before every batch, on all hosts; True abandons the evaluation.
        """
        scored: list[ScoredBatch] = []
        usage: Usage | None = None
        try:
            for batch, (losses, routing) in one_ahead(self._scores(trainer, arrays, stop)):
                row_losses = np.asarray(losses.loss_nats), np.asarray(losses.target_tokens)
                scored.append((batch.page, *row_losses))
                if routing is not None:
                    usage = add_usage(usage, Usage(*jax.device_get(routing)))
        except Stop:
            return None
        pages = page_losses(self.pages, scored, self.text_bytes)
        switch = trainer.static.config.switch
        if switch is None or usage is None:
            return Evaluation(pages, None)
        return Evaluation(pages, routing_columns(usage, self.languages, switch.every))

    def _scores(
        self, trainer: Trainer, arrays: Any, stop: Callable[[], bool]
    ) -> Iterator[tuple[HeldOutBatch, Scores]]:
        """Yields each batch with its scores, which the devices may still compute."""
        for batch in self.batches:
            if stop():
                raise Stop
            yield batch, self._score(trainer, arrays, batch)

    def _score(self, trainer: Trainer, arrays: Any, batch: HeldOutBatch) -> Scores:
        language = self.language_of_page[batch.page[batch.cut]].astype(np.int32)
        held_out = {"inputs": batch.inputs, "targets": batch.targets, "language": language}
        rows = to_devices(held_out, trainer.mesh, self.rows, self.share)
        return trainer.score(arrays, rows, len(self.languages))


PER_EVALUATION = 2
INPUTS = 64  # tokens of a window as the encoder reads it; fewer where the recipe has fewer
WRITTEN = 16  # tokens of a gap that is shown; spans have 3 on average
MOST_BYTES = 2**30  # of a device's largest array while a sparse network drops no token


class GapFiller:
    """The gaps of a run's held-out pages.

    Args:
        held_out: the held-out pages.
        recipe: the run's recipe.
    """

    def __init__(self, held_out: HeldOut, recipe: Recipe):
        self.held_out, self.recipe = held_out, recipe
        self.lengths = lengths_for_inputs(min(recipe.inputs, INPUTS))
        self.tokenizer: Tokenizer | None = None
        self.programs: dict[Mesh, Callable[..., jax.Array]] = {}

    def fill(self, trainer: Trainer, arrays: Any, step: int) -> list[FilledGap]:
        """Returns the filled gaps of an evaluation; every host must call this.

        Args:
            trainer: trainer of the run.
            arrays: weights to fill with.
            step: step of the weights, which chooses the windows.
        """
        chosen = self.chosen(step)
        if not chosen or self.takes_too_much(trainer):
            return []
        tokenizer = self.tokenizer = self.tokenizer or load(
            self.held_out.blocks.directory / MODEL_FILE
        )
        mesh = trainer.mesh
        axes = batch_shards(mesh)
        rows = np.full((-(-PER_EVALUATION // axes) * axes, self.lengths.inputs), PADDING, np.int32)
        for row, (_, example) in zip(rows, chosen, strict=False):
            row[: len(example.inputs)] = example.inputs
        if mesh not in self.programs:
            self.programs[mesh] = greedy_program(trainer, tokenizer.size)
        written = np.asarray(self.programs[mesh](arrays, rows_on_devices(rows, mesh)))
        return [
            first_gap(self.held_out.pages[page].language, example, row, tokenizer)
            for (page, example), row in zip(chosen, written, strict=False)
        ]

    def takes_too_much(self, trainer: Trainer) -> bool:
        """Returns whether filling takes more memory than an evaluation should."""
        tokens = self.lengths.inputs * PER_EVALUATION
        return largest_array(self.recipe, trainer, tokens) > MOST_BYTES

    def chosen(self, step: int) -> list[tuple[int, Example]]:
        """Returns the number of the page and the window of each gap of a step's evaluation."""
        first = -(-step // self.recipe.evaluate_every) * PER_EVALUATION
        language_numbers, count = self.held_out.language_of_page[:-1], len(self.held_out.languages)
        pages_of = [np.flatnonzero(language_numbers == language) for language in range(count)]
        windows = []
        for turn in range(first, first + PER_EVALUATION if pages_of else first):
            round_, language = divmod(turn, len(pages_of))
            page = int(pages_of[language][round_ % len(pages_of[language])])
            sentinel = self.held_out.blocks.manifest.vocabulary.first_sentinel
            held_out_page = self.held_out.pages[page].page
            if window_count(len(held_out_page.tokens), self.lengths.raw):
                windows.append((page, window(held_out_page, 0, self.lengths, sentinel)))
        return windows


def greedy_program(trainer: Trainer, ids: int) -> Callable[..., jax.Array]:
    """Returns the function, compiled at its first call, that writes into the gaps of rows."""
    mesh = trainer.mesh
    return jax.jit(
        lambda arrays, inputs: write_greedily(
            trainer.model(arrays), inputs, length=WRITTEN, ids=ids, mesh=mesh
        ),
        in_shardings=(trainer.shardings.arrays, batch_sharding(mesh)),
        out_shardings=replicated_layout(mesh),
    )


def rows_without_capacity(recipe: Recipe, trainer: Trainer, tokens: int) -> int:
    """Returns how many rows are computed at one time where no token is dropped.

    Those of a microbatch, but at least one per device; or a half of them, a quarter and so on,
    until a device has no more tokens than one part of the scoring and the largest array is small
    enough, or it has one row.

    Args:
        recipe: the run's recipe.
        trainer: functions of its network.
        tokens: tokens per row of the larger stack.
    """
    shards = batch_shards(trainer.mesh)
    rows = -(-recipe.rows // recipe.accumulate // shards) * shards
    while rows % (2 * shards) == 0:
        on_a_device = rows // shards * tokens
        small = largest_array(recipe, trainer, on_a_device) <= MOST_BYTES
        if small and on_a_device <= LEAST_TOKENS:
            break
        rows //= 2
    return rows


def largest_array(recipe: Recipe, trainer: Trainer, tokens: int) -> int:
    """Returns the bytes of a sparse network's largest array where no token is dropped.

    Dropless dispatch pads to the worst case: each device has room for the tokens of all
    (`model/switch/dispatch.py`), and computes them in each of its own experts.

    Args:
        recipe: the run's recipe.
        trainer: functions of its network.
        tokens: tokens of one device.
    """
    switch = recipe.model.switch
    if switch is None:
        return 0
    experts = expert_shards(trainer.mesh)
    received = experts * tokens * switch.choices
    return 4 * received * (recipe.model.embed + recipe.model.mlp * (switch.experts // experts))


def first_gap(
    language: str, example: Example, written: Int[np.ndarray, " tokens"], tokenizer: Tokenizer
) -> FilledGap:
    """Returns the first gap of a window, with its words on both sides and both its fillings."""
    sentinel = tokenizer.first_sentinel
    before, after = _around(example.inputs, sentinel)
    after, filled, hidden = (
        _up_to_sentinel(ids, tokenizer)
        for ids in (after, _around(written, sentinel)[1], _around(example.targets, sentinel)[1])
    )
    return FilledGap(
        language=language,
        before=_text(before, tokenizer) + _space_before(hidden, tokenizer),
        filled=_text(filled, tokenizer),
        hidden=_text(hidden, tokenizer),
        after=_space_before(after, tokenizer) + _text(after, tokenizer),
    )


def _text(ids: np.ndarray, tokenizer: Tokenizer) -> str:
    return " ".join(tokenizer.decode(ids).split())


def _space_before(ids: np.ndarray, tokenizer: Tokenizer) -> str:
    """Returns the space that a text begins with, which decoding drops."""
    return (
        " " if ids.size and tokenizer.processor.IdToPiece(int(ids[0])).startswith("\u2581") else ""
    )


def _around(ids: np.ndarray, sentinel: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids before and after a sentinel; all are after one that is missing."""
    places = np.flatnonzero(ids == sentinel)
    return (ids[: places[0]], ids[places[0] + 1 :]) if places.size else (ids[:0], ids)


def _up_to_sentinel(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Returns the ids before the next sentinel, EOS or padding."""
    for at, token in enumerate(ids.tolist()):
        if token in (EOS, PADDING) or tokenizer.is_sentinel(token):
            return ids[:at]
    return ids


def write_gaps(directory: Place, step: int, gaps: Sequence[FilledGap]) -> None:
    """Writes the filled gaps of an evaluation with an atomic rename; nothing if there are none."""
    if not gaps:
        return
    path = gaps_file(directory, step)
    table = pa.Table.from_pylist([gap._asdict() for gap in gaps], GAPS_SCHEMA)
    write_table(table, path, directory)


class Scored(NamedTuple):
    """The numbers of an evaluation for the log.

    Attributes:
        measure: name of the number: loss_nats (nats per target token), or score (in percent).
        mean: number of the run; None if nothing was evaluated.
        by_language: number of each language.
        gaps: gaps that were filled.
    """

    measure: str
    mean: float | None
    by_language: Mapping[str, float]
    gaps: Sequence[FilledGap] = ()


@runtime_checkable
class Evaluator(Protocol):
    """Evaluates a run at some steps and writes the result to the run's directory."""

    def is_written(self, step: int) -> bool:
        """Returns whether the evaluation of a step is complete."""
        ...

    def best(self) -> Collection[int]:
        """Returns the evaluated steps whose checkpoints are kept: the best one, or none."""
        ...

    def evaluate(
        self, trainer: Trainer, arrays: Any, step: int, stop: Callable[[], bool]
    ) -> Scored | None:
        """Evaluates weights and writes the result; every host must call this.

        Args:
            trainer: functions of the network.
            arrays: weights to evaluate.
            step: step of the weights.
            stop: called before every batch; True abandons the evaluation.

        Returns:
            None if it was abandoned.
        """
        ...


class PageEvaluator(NamedTuple):
    """Losses of held-out pages, and some of their gaps, filled.

    Attributes:
        held_out: held-out pages.
        gaps: gaps of held-out pages.
        out: the run's directory.
        announce: prints a message.
    """

    held_out: HeldOut
    gaps: GapFiller
    out: Place
    announce: Callable[[str], None]

    def is_written(self, step: int) -> bool:
        """Returns whether the file of losses is there, which is written last."""
        return exists(evaluation_file(self.out, step))

    def best(self) -> Collection[int]:
        """Returns no step: a run's quality is that of its end."""
        return ()

    def evaluate(
        self, trainer: Trainer, arrays: Any, step: int, stop: Callable[[], bool]
    ) -> Scored | None:
        """Scores the pages and fills gaps; None if it was stopped."""
        evaluation = self.held_out.score(trainer, arrays, stop)
        if evaluation is None:
            return None
        gaps = self.fill_gaps(trainer, arrays, step)
        if is_first():
            write_gaps(self.out, step, gaps)
            write_evaluation(self.out, step, evaluation)
        losses = evaluation.losses
        mean = fmean(losses.values()) if losses else None
        return Scored("loss_nats", mean, losses, gaps)

    def fill_gaps(self, trainer: Trainer, arrays: Any, step: int) -> list[FilledGap]:
        """Returns some filled gaps; none, and a caution, where the devices cannot fill them.

        Of several hosts others may wait within the program that one cannot start, so all end.
        """
        try:
            return self.gaps.fill(trainer, arrays, step)
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() > 1 or not lacks_device_memory(error):
                raise
            self.announce(f"caution: no gaps are shown of step {step} ({first_line(error)}).")
            return []
