"""Held-out loss per language: sums and counts over pages, combined once, at the end.

The unit of `loss_nats` is the nat (natural logarithm). Two numbers describe a language:

* nats per target token = loss_nats ÷ target_tokens, the mean negative log likelihood. The papers
  of Switch and mT5 give it with a minus sign, as "negative log perplexity". It compares models of
  one vocabulary only.
* bits per byte = loss_nats ÷ ln 2 ÷ text_bytes. It also compares models of different vocabularies.
  The numerator includes the sentinels of the targets; the denominator counts only the UTF-8 bytes
  of the hidden text. So it is a little above the compression rate of the text, by the same amount
  for all models that hide the same spans. Different vocabularies hide different spans of the same
  pages, so their hidden bytes are similar in number only.

A page that is cut into windows is still one row: its sums and counts run over all windows. A window
of a single token hides nothing and is not counted. Pages, runs and steps are combined as sums and
counts: never a mean of means.
"""

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int, Shaped

from data.errors import DataError

SCHEMA = pa.schema(
    [
        ("language", pa.string()),
        ("url", pa.string()),
        ("loss_nats", pa.float64()),
        ("target_tokens", pa.int64()),
        ("text_bytes", pa.int64()),
    ]
)  # what a report reads of an evaluation file
COLUMNS = SCHEMA.names
NATS_PER_BIT = float(np.log(2))


class Unit(enum.Enum):
    """Unit of a loss or a gain; the value is its name in the report."""

    NATS_PER_TOKEN = "nats per token"
    BITS_PER_BYTE = "bits per byte"


def signed_number(difference: float) -> str:
    """Returns a difference of losses as sentences write it."""
    return f"{difference:+.3f}".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class HeldOutPages:
    """The pages that an evaluation scored, ordered by language and address."""

    language: Shaped[np.ndarray, " pages"]
    url: Shaped[np.ndarray, " pages"]

    @cached_property
    def by_language(self) -> tuple[tuple[str, ...], Int[np.ndarray, " pages"]]:
        """Languages ordered by code, and for each page the index of its language."""
        languages, of_page = np.unique(self.language.astype(str), return_inverse=True)
        return tuple(languages.tolist()), of_page


@dataclass(frozen=True)
class PageLosses:
    """One evaluation, one row per held-out page; evaluations of equal pages share `held_out`."""

    held_out: HeldOutPages
    loss_nats: Float[np.ndarray, " pages"]
    target_tokens: Int[np.ndarray, " pages"]
    text_bytes: Int[np.ndarray, " pages"]

    def amounts(self, unit: Unit) -> Float[np.ndarray, " pages"]:
        """Returns the summed loss of each page, in nats or bits."""
        return self.loss_nats / (NATS_PER_BIT if unit is Unit.BITS_PER_BYTE else 1.0)

    def sizes(self, unit: Unit) -> Int[np.ndarray, " pages"]:
        """Returns the divisor of each page's loss: its target tokens or hidden bytes."""
        return self.text_bytes if unit is Unit.BITS_PER_BYTE else self.target_tokens


@dataclass(frozen=True)
class LanguageLosses:
    """Sums over the pages of each language, ordered by code."""

    languages: tuple[str, ...]
    loss_nats: Float[np.ndarray, " languages"]
    target_tokens: Int[np.ndarray, " languages"]
    text_bytes: Int[np.ndarray, " languages"]
    pages: Int[np.ndarray, " languages"]

    def losses(self, unit: Unit) -> Float[np.ndarray, " languages"]:
        """Returns the loss in a unit: lower is better."""
        if unit is Unit.BITS_PER_BYTE:
            return self.loss_nats / NATS_PER_BIT / self.text_bytes
        return self.loss_nats / self.target_tokens


def from_table(table: pa.Table, origin: str) -> PageLosses:
    """Returns the pages of one evaluation file; see `from_tables`."""
    return next(from_tables([(table, origin)]))


def from_tables(tables: Iterable[tuple[pa.Table, str]]) -> Iterator[PageLosses]:
    """Yields the pages of each evaluation file, sorted once per order of rows.

    Args:
        tables: tables of `SCHEMA`, and the name of each file.

    Raises:
        DataError: if there is no page, or a loss is nonfinite.
    """
    before: tuple[pa.Table, HeldOutPages, pa.Array] | None = None
    for table, origin in tables:
        if table.num_rows == 0:
            raise DataError(
                f"An evaluation was expected in {origin}, which holds no page; evaluate again."
            )
        if before is None or any(not table[name].equals(before[0][name]) for name in COLUMNS[:2]):
            before = table, *_ordered_pages(table)
        _, held_out, order = before
        loss_nats, target_tokens, text_bytes = (
            table[name].take(order).to_numpy() for name in COLUMNS[2:]
        )
        if not np.isfinite(loss_nats).all():
            raise DataError(
                f"{origin} holds nonfinite losses: the run diverged; "
                "leave it out of the report, or train it again at a lower learning rate."
            )
        yield PageLosses(held_out, loss_nats, target_tokens, text_bytes)


def _ordered_pages(table: pa.Table) -> tuple[HeldOutPages, pa.Array]:
    """Returns the ordered pages of a table, and the indices of their rows."""
    keys = [(name, "ascending") for name in COLUMNS[:2]]
    order = pc.sort_indices(table, sort_keys=keys)  # pyright: ignore[reportAttributeAccessIssue]
    language, url = (table[name].take(order).to_numpy() for name in COLUMNS[:2])
    return HeldOutPages(language, url), order


def same_pages(first: PageLosses, other: PageLosses) -> bool:
    """Returns whether two evaluations scored the same pages, with any targets."""
    return first.held_out is other.held_out or all(
        np.array_equal(getattr(first.held_out, name), getattr(other.held_out, name))
        for name in ("language", "url")
    )


def same_targets(first: PageLosses, other: PageLosses) -> bool:
    """Returns whether two evaluations scored the same pages with the same targets."""
    return same_pages(first, other) and all(
        np.array_equal(getattr(first, name), getattr(other, name))
        for name in ("target_tokens", "text_bytes")
    )


def by_language(pages: PageLosses) -> LanguageLosses:
    """Returns the sums per language.

    Raises:
        DataError: if a language has no target token or no hidden byte.
    """
    languages, of_page = pages.held_out.by_language
    target_tokens = np.bincount(of_page, pages.target_tokens).astype(np.int64)
    text_bytes = np.bincount(of_page, pages.text_bytes).astype(np.int64)
    empty = np.flatnonzero((target_tokens == 0) | (text_bytes == 0))
    if empty.size:
        raise DataError(
            f"The held-out pages of {', '.join(languages[n] for n in empty)} hold no target "
            "token or no hidden byte; evaluate with pages that are long enough, or leave the "
            "language out."
        )
    return LanguageLosses(
        languages,
        np.bincount(of_page, pages.loss_nats),
        target_tokens,
        text_bytes,
        np.bincount(of_page).astype(np.int64),
    )


def total(losses: LanguageLosses) -> LanguageLosses:
    """Returns the sums over all languages, as one language named `all`.

    This is a sum, not a mean over languages: languages with more held-out tokens weigh more.
    """
    parts = losses.loss_nats, losses.target_tokens, losses.text_bytes, losses.pages
    return LanguageLosses(("all",), *(part.sum(keepdims=True) for part in parts))


def mean_of_runs(runs: tuple[LanguageLosses, ...]) -> LanguageLosses:
    """Returns the mean loss over runs (seeds), whose pages and counts are equal."""
    return replace(runs[0], loss_nats=np.mean([run.loss_nats for run in runs], axis=0))
