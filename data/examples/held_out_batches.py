"""Held-out pages as padded batches: every page is scored on its own, each part of it once.

A page is cut into windows of the raw training length; the last one is shorter and padded. What is
hidden is a pure function of the page's address and the window's number, so that every model and
every evaluation sees the same gaps. A window of one token has nothing to hide and is left out; its
page says so by its count of windows.

The target's EOS is not scored. In training it stands at one place, for every window is full, so it
says nothing of a language there; at the end of a page's last, shorter window it comes where a model
has never seen it, and costs whoever learned the rule better 3 to 5 nats a window.

Windows of all languages are mixed in a fixed random order, as training mixes them. A sparse layer
gives each expert a share of a batch: batches of one language would crowd the experts that serve it
and drop what training never drops (30 % of a decoder layer's tokens were, against 2 %).
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
    """Rows of windows; `page` says whose each row is, -1 for rows that only fill the batch."""

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
    """Cuts a page and hides spans in each part."""
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
        yield _pad([parts[at] for at in order[start : start + rows]], lengths, rows)


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
