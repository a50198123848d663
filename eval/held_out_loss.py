"""Losses of held-out pages: sums and counts per page, from scored batches of windows.

Batches mix languages and have one shape, so that scoring compiles once. Each row's sums are added
to the page that the row was cut from.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from data.examples.held_out_batches import HeldOutBatch, HeldOutPage

# A batch, and each row's loss in nats and number of target tokens.
ScoredBatch = tuple[HeldOutBatch, Num[np.ndarray, " rows"], Num[np.ndarray, " rows"]]


def page_losses(
    pages: Sequence[HeldOutPage],
    scored: Iterable[ScoredBatch],
    piece_bytes: Int[np.ndarray, " vocabulary"],
) -> dict[str, list[Any]]:
    """Returns the losses of every page.

    Args:
        pages: pages that the batches were cut from.
        scored: batches with the scores of their rows; row i of a batch belongs to page `page[i]`,
            or to none where that is -1.
        piece_bytes: UTF-8 bytes of text that each id stands for; 0 for sentinels, EOS and padding.

    Returns:
        The columns of `evaluation/step=N.parquet`, one row per page: language, url, loss_nats (sum
        over target tokens, sentinels included, EOS not), target_tokens, text_bytes (of the hidden
        text), windows.
    """
    loss, tokens, size, windows = (np.zeros(len(pages)) for _ in range(4))
    for batch, row_loss, row_tokens in scored:
        real = batch.page >= 0
        page = batch.page[real]
        np.add.at(loss, page, np.asarray(row_loss, np.float64)[real])
        np.add.at(tokens, page, np.asarray(row_tokens)[real])
        np.add.at(size, page, piece_bytes[batch.targets].sum(axis=1)[real])
        np.add.at(windows, page, 1)
    return {
        "language": [held_out.language for held_out in pages],
        "url": [held_out.page.url for held_out in pages],
        "loss_nats": loss.tolist(),
        "target_tokens": tokens.astype(np.int64).tolist(),
        "text_bytes": size.astype(np.int64).tolist(),
        "windows": windows.astype(np.int64).tolist(),
    }
