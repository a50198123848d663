"""Losses of held-out pages: sums and counts per page, from scored batches of windows.

Batches mix languages and have one shape, so that scoring compiles once. Each row's sums are added
to the page that the row was cut from.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, Num

from data.examples.held_out_batches import HeldOutBatch, HeldOutPage

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
