"""What late rules cost each language: pages, characters and tokens, and which rule is uneven.

Tokens are those that the vocabulary would need: bytes of the rejected pages divided by the
language's bytes per token. They are not known where no tokens were made.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eval.funnel import Funnel, FunnelRow

FEWEST_PAGES = 20  # of a language that is named
LEAST_SHARE = 0.1  # of a language's pages
LEAST_RATIO = 5.0  # of this share and that in other languages
MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class LateCost:
    """One language.

    Attributes:
        row: its row of the funnel.
        pages: share of its pages that late rules rejected.
        characters: share of its characters.
        tokens: number of tokens that are gone; None if not known.
        by_reason: share of its characters that each reason took.
    """

    row: FunnelRow
    pages: float
    characters: float
    tokens: float | None
    by_reason: Mapping[str, float]


def late_costs(
    funnel: Funnel | None, bytes_per_token: Mapping[str, float | None]
) -> tuple[LateCost, ...]:
    """Returns the cost per language, the dearest first; none where no late rule applied."""
    rows = () if funnel is None else funnel.rows
    found = [_cost(row, bytes_per_token.get(row.code)) for row in rows if row.rejected_characters]
    return tuple(sorted(found, key=lambda one: (-one.characters, one.row.code)))


def _cost(row: FunnelRow, bytes_per_token: float | None) -> LateCost:
    whole = row.characters + sum(row.rejected_characters.values())
    return LateCost(
        row=row,
        pages=sum(row.rejected.values()) / max(row.pages, 1),
        characters=1 - row.characters / max(whole, 1),
        tokens=sum(row.rejected_bytes.values()) / bytes_per_token if bytes_per_token else None,
        by_reason={
            reason: lost / max(whole, 1) for reason, lost in row.rejected_characters.items()
        },
    )


def uneven(funnel: Funnel) -> Iterator[str]:
    """Yields a sentence per rule that hits one language far more than all, the worst first.

    A language needs 20 pages, a share of a tenth, and five times the share in other languages, of
    which there must be some.
    """
    found = []
    for reason in funnel.reasons:
        for row in (one for one in funnel.rows if one.pages < funnel.pages):
            here = row.rejected.get(reason.name, 0)
            share = here / max(row.pages, 1)
            elsewhere = (reason.pages - here) / max(funnel.pages - row.pages, 1)
            if row.pages >= FEWEST_PAGES and share >= max(LEAST_SHARE, LEAST_RATIO * elsewhere):
                found.append((share, elsewhere, reason, row))
    for share, elsewhere, reason, row in sorted(found, key=lambda one: -one[0])[:MOST_NAMED]:
        yield (
            f"{reason.name} takes {share:.0%} of the pages in {row.name} and {elsewhere:.1%} "
            "of those in other languages; look at its samples before training."
        )
