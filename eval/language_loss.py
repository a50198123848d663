"""Held-out loss per language: sums and counts over pages, combined once, at the end.

The unit of `loss_nats` is the nat (natural logarithm). Two numbers describe a language:

* nats per target token = loss_nats ÷ target_tokens, the negated *negative log perplexity* of the
  Switch and mT5 papers. It compares models of one vocabulary only.
* bits per byte = loss_nats ÷ ln 2 ÷ text_bytes, which also compares models of different
  vocabularies. The numerator includes the targets' sentinels; the denominator counts only
  the UTF-8 bytes of the hidden text. So it is a little above the text's own compression rate, by
  the same amount for all models that hide the same spans.

A page that is cut into windows counts by its windows: sums and counts run over all of them, and the
page stays one row. Never a mean of means: pages, runs and steps are combined as sums and counts.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped

from data.errors import DataError

COLUMNS = ("language", "url", "loss_nats", "target_tokens", "text_bytes")


@dataclass(frozen=True)
class PageLosses:
    """One evaluation: a row a held-out page, in order of language and address."""

    language: Shaped[np.ndarray, " pages"]
    url: Shaped[np.ndarray, " pages"]
    loss_nats: Float[np.ndarray, " pages"]
    target_tokens: Int[np.ndarray, " pages"]
    text_bytes: Int[np.ndarray, " pages"]


@dataclass(frozen=True)
class LanguageLosses:
    """Sums over the pages of each language, in order of code."""

    languages: tuple[str, ...]
    loss_nats: Float[np.ndarray, " languages"]
    target_tokens: Int[np.ndarray, " languages"]
    text_bytes: Int[np.ndarray, " languages"]
    pages: Int[np.ndarray, " languages"]

    def nats_per_token(self) -> Float[np.ndarray, " languages"]:
        """Returns the loss per target token: lower is better."""
        return self.loss_nats / self.target_tokens

    def bits_per_byte(self) -> Float[np.ndarray, " languages"]:
        """Returns bits per UTF-8 byte of hidden text: lower is better."""
        return self.loss_nats / np.log(2) / self.text_bytes


def from_table(table: pa.Table, origin: str) -> PageLosses:
    """Returns the pages of an evaluation file.

    Args:
        table: an evaluation as `mswitch evaluate` writes it.
        origin: where it comes from, for messages.

    Raises:
        DataError: columns are missing, there is no page, or a loss is not a finite number.
    """
    missing = [name for name in COLUMNS if name not in table.column_names]
    if missing or table.num_rows == 0:
        found = f"lacks the columns {', '.join(missing)}" if missing else "holds no page"
        raise DataError(f"An evaluation was expected in {origin}, which {found}; evaluate again.")
    table = table.select(COLUMNS).sort_by([("language", "ascending"), ("url", "ascending")])
    language, url, loss_nats, target_tokens, text_bytes = (
        table[name].to_numpy() for name in COLUMNS
    )
    if not np.isfinite(loss_nats).all():
        raise DataError(
            f"{origin} holds losses that are not finite numbers: the run diverged; "
            "leave it out of the report, or train it again at a lower learning rate."
        )
    return PageLosses(language, url, loss_nats, target_tokens, text_bytes)


def same_pages(one: PageLosses, other: PageLosses) -> bool:
    """Returns whether two evaluations scored the same pages, cut into the same targets."""
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in COLUMNS
        if name != "loss_nats"
    )


def by_language(pages: PageLosses) -> LanguageLosses:
    """Returns each language's sums.

    Raises:
        DataError: a language has no target token or no hidden byte.
    """
    languages, of_page = np.unique(pages.language.astype(str), return_inverse=True)
    target_tokens = np.bincount(of_page, pages.target_tokens).astype(np.int64)
    text_bytes = np.bincount(of_page, pages.text_bytes).astype(np.int64)
    empty = languages[(target_tokens == 0) | (text_bytes == 0)]
    if empty.size:
        raise DataError(
            f"The held-out pages of {', '.join(empty)} hold no target token or no hidden byte; "
            "evaluate with pages that are long enough, or leave the language out."
        )
    return LanguageLosses(
        tuple(languages.tolist()),
        np.bincount(of_page, pages.loss_nats),
        target_tokens,
        text_bytes,
        np.bincount(of_page).astype(np.int64),
    )


def total(losses: LanguageLosses) -> LanguageLosses:
    """Returns the sums over all languages, as one language called `all`.

    Languages with more held-out tokens weigh more: this is a sum, not a mean over languages.
    """
    return LanguageLosses(
        ("all",),
        losses.loss_nats.sum(keepdims=True),
        losses.target_tokens.sum(keepdims=True),
        losses.text_bytes.sum(keepdims=True),
        losses.pages.sum(keepdims=True),
    )


def mean_of_runs(runs: tuple[LanguageLosses, ...]) -> LanguageLosses:
    """Returns the loss averaged over runs of the same pages (seeds), where counts are equal."""
    first = runs[0]
    loss_nats = np.mean([run.loss_nats for run in runs], axis=0)
    return LanguageLosses(
        first.languages, loss_nats, first.target_tokens, first.text_bytes, first.pages
    )
