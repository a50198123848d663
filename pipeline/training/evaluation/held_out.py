"""Held-out pages of token blocks, scored with any weights of a run.

`HeldOut` is built once per run. Pages are cut and corrupted on first use, each row on the hosts
that have it on their devices, and all languages share one compiled program. `mswitch evaluate` and
the training loop score through it.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import jax
import numpy as np

from data.examples.held_out_batches import HeldOutBatch, batches, held_out_pages
from data.examples.span_corruption import Lengths
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import MODEL_FILE, load
from eval.experts.usage import Usage, columns, together
from eval.held_out_loss import ScoredBatch, hidden_bytes, page_losses
from model.loss.scoring import Scores
from model.trainer import Trainer
from pipeline.hardware.batch_rows import Share, sum_over_hosts, to_devices, whole
from pipeline.training.evaluation.evaluation_file import Evaluation

Dispatched = tuple[HeldOutBatch, Scores]


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

        One batch is computed on the devices while the results of the one before are fetched.

        Args:
            trainer: trainer of the run; its `score` is one program for all languages.
            arrays: weights to score.
            stop: called before every batch, on all hosts; True abandons the evaluation.
        """
        scored: list[ScoredBatch] = []
        usage: list[Usage] = []
        ahead: Dispatched | None = None
        for batch in self.batches:
            if stop():
                return None
            dispatched = batch, self._score(trainer, arrays, batch)
            if ahead is not None:
                scored.append(self._fetch(ahead, usage))
            ahead = dispatched
        if ahead is not None:
            scored.append(self._fetch(ahead, usage))
        pages = page_losses(self.pages, scored, self.text_bytes)
        switch = trainer.static.config.switch
        if switch is None:
            return Evaluation(pages, None)
        return Evaluation(pages, columns(together(usage), self.languages, switch.every))

    def _fetch(self, dispatched: Dispatched, usage: list[Usage]) -> ScoredBatch:
        """Returns the row losses of a batch on the host; appends its routing sums to `usage`."""
        batch, (losses, routing) = dispatched
        if routing is not None:
            sums = jax.device_get(routing)
            usage.append(Usage(*(np.asarray(part, np.float64) for part in sums)))
        return batch.page, np.asarray(losses.loss_nats), np.asarray(losses.target_tokens)

    def _score(self, trainer: Trainer, arrays: Any, batch: HeldOutBatch) -> Scores:
        language = self.language_of_page[batch.page[batch.cut]].astype(np.int32)
        held_out = {"inputs": batch.inputs, "targets": batch.targets, "language": language}
        rows = to_devices(held_out, trainer.mesh, self.rows, self.share)
        return trainer.score(arrays, rows, len(self.languages))
