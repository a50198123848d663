"""The cost of a trimmed vocabulary: losses before and after, where all pieces of a page stay.

Such a held-out page has the same tokens under other ids, so its gaps are the same. Its loss before
is that of the source's evaluation, so the source's network is not in memory.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from data.examples.held_out_batches import HeldOutBatch
from data.files.parquet_files import read_table
from data.files.paths import Place, exists
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import Tokenizer
from data.tokens.trimming import Trimming
from eval import losses
from model.trainer import Trainer
from pipeline.recipe.recipe import Recipe
from pipeline.terminal import print_message
from pipeline.training.evaluation import HeldOut


class TrimmedPages(HeldOut):
    """Held-out pages of some languages whose pieces all stay, in the ids of a trimmed vocabulary.

    Args:
        blocks: token blocks in the ids before.
        trimming: the trimmed vocabulary.
        languages: codes of the languages.
        recipe: recipe of the run.
    """

    def __init__(
        self, blocks: TokenBlocks, trimming: Trimming, languages: list[str], recipe: Recipe
    ):
        super().__init__(blocks, recipe.lengths, recipe.rows, most_pages=recipe.held_out_pages)
        self.trimming = trimming
        self.pages = [
            page
            for page in self.pages
            if page.language in languages and np.isin(page.page.tokens, trimming.kept).all()
        ]

    @cached_property
    def batches(self) -> list[HeldOutBatch]:
        """All windows with their gaps as before, in the new ids."""
        ids = np.searchsorted(self.trimming.kept, np.arange(self.trimming.kept[-1] + 1))
        ids = ids.astype(np.int32)
        return [
            batch._replace(inputs=ids[batch.inputs], targets=ids[batch.targets])
            for batch in super().batches
        ]

    @cached_property
    def piece_bytes(self) -> np.ndarray:
        """Number of UTF-8 bytes per new id."""
        return Tokenizer(self.trimming.model).piece_bytes


def nats_per_byte(
    evaluation: Place, held_out: TrimmedPages, trainer: Trainer, arrays: Any
) -> dict[str, dict[str, float]]:
    """Returns nats per byte of hidden text before and after, by language; none without pages.

    Args:
        evaluation: file of the source's evaluation.
        held_out: pages to score.
        trainer: functions of the pruned network.
        arrays: its weights.
    """
    if not held_out.pages or not exists(evaluation):
        return {}
    rows = read_table(evaluation, losses.SCHEMA).to_pylist()
    before = {(row["language"], row["url"], row["target_tokens"]): row["loss_nats"] for row in rows}
    scored = held_out.score(trainer, arrays)
    assert scored is not None  # no `stop` was passed
    sums: dict[str, np.ndarray] = {}
    names = ("language", "url", "target_tokens", "loss_nats", "text_bytes")
    for code, url, tokens, nats, size in zip(*(scored.pages[name] for name in names), strict=True):
        if (code, url, tokens) in before:
            page = np.array([before[code, url, tokens], nats, size])
            sums[code] = sums.get(code, 0) + page
    return {
        code: {"before": float(whole / size), "after": float(trimmed / size)}
        for code, (whole, trimmed, size) in sums.items()
        if size
    }


def print_costs(body: Mapping[str, Any]) -> None:
    """Prints what a trimmed vocabulary costs each language."""
    for code, lines in body.get("lines", {}).items():
        nats = body.get("nats_per_byte", {}).get(code)
        losses = (
            "; {before:.4f} nats per byte before, {after:.4f} after".format(**nats) if nats else ""
        )
        share = lines["other"] / max(lines["lines"], 1)
        print_message(
            f"prune: {code}: {lines['other']:,} of {lines['lines']:,} held-out lines have other "
            f"pieces ({share:.2%}){losses}"
        )
