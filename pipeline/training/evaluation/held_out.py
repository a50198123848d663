"""Held-out pages of token blocks, scored with any weights of a run.

`HeldOut` is built once per run. Pages are cut and corrupted on first use, each row on the hosts
that have it on their devices, and all languages share one compiled program. `mswitch evaluate` and
the training loop score through it.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import jax
import numpy as np

from data.examples.held_out_batches import HeldOutBatch, batches, held_out_pages
from data.examples.span_corruption import Lengths
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, load
from eval.experts import Usage, added, columns
from eval.held_out_loss import ScoredBatch, hidden_bytes, page_losses
from model.loss.scoring import Scores
from model.trainer import Trainer
from pipeline.hardware.batch_rows import Share, sum_over_hosts, to_devices, whole
from pipeline.hardware.one_ahead import Stop, one_ahead
from pipeline.training.evaluation.evaluation_file import Evaluation


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
                    usage = added(usage, Usage(*jax.device_get(routing)))
        except Stop:
            return None
        pages = page_losses(self.pages, scored, self.text_bytes)
        switch = trainer.static.config.switch
        if switch is None or usage is None:
            return Evaluation(pages, None)
        return Evaluation(pages, columns(usage, self.languages, switch.every))

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
