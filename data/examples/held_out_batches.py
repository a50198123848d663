"""Held-out pages as padded batches: every page is scored separately, each of its windows once.

A page is cut into windows of the raw training length; the last one is shorter and padded. The
hidden spans are a pure function of the page's address and the window's number, so every model and
every evaluation has the same ones. A window of one token has nothing to hide and is left out.

The EOS of the targets is not scored. Training windows are full, so EOS is always at one position
there and carries no information about a language. At the end of a page's last, shorter window it is
at a position that a model has never seen, and costs 3 to 5 nats per window, most for the model that
learned the training position best.

Windows of all languages are mixed in a fixed random order, as in training. In a sparse layer each
expert has a capacity per batch: batches of one language would overflow its experts and drop tokens
that training does not drop (30% of a decoder layer's tokens, against 2%).
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from data.examples.span_corruption import PADDING, Example, Lengths, corrupt
from data.tokens.blocks import TokenBlocks
from data.tokens.shards import TokenizedPage

SHORTEST = 2
MIXED = 0  # seed of the order of windows


class HeldOutPage(NamedTuple):
    """A held-out page and its language."""

    language: str
    page: TokenizedPage


class HeldOutBatch(NamedTuple):
    """A batch of windows, of which a host cuts the rows that it reads.

    Attributes:
        inputs: padded inputs of the rows that were cut.
        targets: their padded targets, without EOS.
        page: index of each row's page, -1 for rows of padding; of all rows.
        cut: numbers of the rows that were cut.
    """

    inputs: Int[np.ndarray, "cut inputs"]
    targets: Int[np.ndarray, "cut targets"]
    page: Int[np.ndarray, " rows"]
    cut: Int[np.ndarray, " cut"]


def held_out_pages(blocks: TokenBlocks, most: int = 0) -> list[HeldOutPage]:
    """Returns the validation pages, language by language in the manifest's order.

    Args:
        blocks: token blocks.
        most: largest number of pages of a language, its first ones; 0 for all.
    """
    return [
        HeldOutPage(code, page)
        for code in blocks.languages("validation")
        for page in blocks.pages(code, "validation", most)
    ]


def window_count(tokens: int, raw: int) -> int:
    """Returns the number of windows of a page of this many tokens."""
    whole, rest = divmod(tokens, raw)
    return whole + (rest >= SHORTEST)


def window(page: TokenizedPage, number: int, lengths: Lengths, first_sentinel: int) -> Example:
    """Returns one corrupted window of a page."""
    part = page.tokens[number * lengths.raw : (number + 1) * lengths.raw]
    digest = hashlib.sha256(f"{number} {page.url}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
    return corrupt(part, first_sentinel=first_sentinel, generator=generator)


def batches(
    pages: Sequence[HeldOutPage],
    lengths: Lengths,
    *,
    first_sentinel: int,
    rows: int,
    cut: Int[np.ndarray, " cut"] | None = None,
) -> Iterator[HeldOutBatch]:
    """Yields batches of exactly `rows` windows, of all languages mixed.

    Args:
        pages: pages to cut.
        lengths: lengths of a window.
        first_sentinel: id of `<extra_id_0>`.
        rows: number of rows per batch.
        cut: numbers of the rows of each batch to cut, the others are those of other hosts; None
            for all.
    """
    cut = np.arange(rows) if cut is None else cut
    counts = [window_count(len(page.tokens), lengths.raw) for _, page in pages]
    page = np.repeat(np.arange(len(pages)), counts)
    number = np.concatenate([np.arange(count) for count in counts] or [page])
    order = np.random.Generator(np.random.Philox(MIXED)).permutation(len(page))
    for start in range(0, len(page), rows):
        places = order[start : start + rows]
        real = cut < len(places)
        inputs = np.full((len(cut), lengths.inputs), PADDING, np.int32)
        targets = np.full((len(cut), lengths.targets), PADDING, np.int32)
        for row, place in zip(np.flatnonzero(real), places[cut[real]].tolist(), strict=True):
            example = window(
                pages[int(page[place])].page, int(number[place]), lengths, first_sentinel
            )
            inputs[row, : len(example.inputs)] = example.inputs
            targets[row, : len(example.targets) - 1] = example.targets[:-1]  # but for EOS
        owners = np.full(rows, -1, np.int32)
        owners[: len(places)] = page[places]
        yield HeldOutBatch(inputs, targets, owners, cut)
