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
from data.tokens.blocks import TokenBlocks, TokenizedPage

SHORTEST = 2
MIXED = 0  # seed of the order of windows


class HeldOutPage(NamedTuple):
    """A held-out page and its language."""

    language: str
    page: TokenizedPage


class HeldOutBatch(NamedTuple):
    """A batch of windows.

    Attributes:
        inputs: padded inputs.
        targets: padded targets, without EOS.
        page: index of each row's page, -1 for rows of padding.
    """

    inputs: Int[np.ndarray, "rows inputs"]
    targets: Int[np.ndarray, "rows targets"]
    page: Int[np.ndarray, " rows"]


def held_out_pages(blocks: TokenBlocks) -> list[HeldOutPage]:
    """Returns all validation pages, language by language in the manifest's order."""
    return [
        HeldOutPage(code, page)
        for code in blocks.languages("validation")
        for page in blocks.pages(code, "validation")
    ]


def windows(page: TokenizedPage, lengths: Lengths, first_sentinel: int) -> list[Example]:
    """Returns the corrupted windows of a page."""
    parts = [
        page.tokens[start : start + lengths.raw]
        for start in range(0, len(page.tokens), lengths.raw)
    ]
    return [
        corrupt(part, first_sentinel=first_sentinel, generator=_generator(page.url, number))
        for number, part in enumerate(parts)
        if len(part) >= SHORTEST
    ]


def batches(
    pages: Sequence[HeldOutPage], lengths: Lengths, *, first_sentinel: int, rows: int
) -> Iterator[HeldOutBatch]:
    """Yields batches of exactly `rows` windows, of all languages mixed."""
    parts = [
        (number, part)
        for number, held_out in enumerate(pages)
        for part in windows(held_out.page, lengths, first_sentinel)
    ]
    order = np.random.Generator(np.random.Philox(MIXED)).permutation(len(parts))
    for start in range(0, len(parts), rows):
        yield _pad([parts[index] for index in order[start : start + rows]], lengths, rows)


def _pad(parts: list[tuple[int, Example]], lengths: Lengths, rows: int) -> HeldOutBatch:
    inputs = np.full((rows, lengths.inputs), PADDING, np.int32)
    targets = np.full((rows, lengths.targets), PADDING, np.int32)
    page = np.full(rows, -1, np.int32)
    for row, (number, example) in enumerate(parts):
        inputs[row, : len(example.inputs)] = example.inputs
        targets[row, : len(example.targets) - 1] = example.targets[:-1]  # but for EOS
        page[row] = number
    return HeldOutBatch(inputs, targets, page)


def _generator(url: str, number: int) -> np.random.Generator:
    digest = hashlib.sha256(f"{number} {url}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:16], "little")))
