"""What a user should know about a finished corpus before the next command reads it.

Computed from the manifest's body alone: nothing kept, mostly broken, one reason for most pages,
requested languages without pages, nothing held out, or many pages held out together.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from data.languages import UNDETERMINED
from data.rules.held_out import ShareOfEachLanguage

MOST = 0.5  # share of the pages above which one reason, or damage, is named
NAMED = 10  # languages in a sentence
HOLD_OUT = (
    "clean into another directory with --validation-minimum 10, or, where text was published with "
    "a split (C4, mC4), with its validation files too"
)


def cautions(
    body: Mapping[str, Any],
    rule: object,
    requested: Sequence[str] | None = None,
    *,
    declared: bool = False,
) -> Iterator[str]:
    """Yields the cautions about a corpus, the gravest first.

    Args:
        body: body of the manifest.
        rule: rule of the held-out pages.
        requested: languages that the user named; None for all.
        declared: whether languages are those that pages declare.
    """
    languages = body["languages"]
    kept = {code: one["kept"] for code, one in languages.items() if one["kept"]}
    yield from _of_input(body, sum(kept.values()))
    yield from _of_reasons(body)
    if missing := [code for code in requested or () if code not in kept]:
        yield f"No page was kept in {_listed(missing)}, which --languages names."
    if kept and set(kept) == {UNDETERMINED}:
        yield (
            "No kept page has a language, and pages without one are not trained on; give records a "
            '"language" that is in data/languages.tsv, or choose rules that identify languages.'
        )
    elif declared and (without := kept.get(UNDETERMINED)):
        yield (
            f"{without:,} of {sum(kept.values()):,} kept pages declare no language or a code that "
            "is not in data/languages.tsv; they are in pages/und and are not trained on."
        )
    without = [c for c in kept if c != UNDETERMINED and not languages[c]["held_out"]]
    if without and len(without) == len(kept.keys() - {UNDETERMINED}):
        yield f"No page is held out ({rule}), so no run can be evaluated; {HOLD_OUT}."
    elif without:
        yield f"No page is held out in {_listed(without)} ({rule}); {HOLD_OUT}, or go on without."
    if isinstance(rule, ShareOfEachLanguage) and "addition" not in body:
        yield from _of_shared_addresses(languages, kept, rule)


def _of_shared_addresses(
    languages: Mapping[str, Any], kept: Mapping[str, int], rule: ShareOfEachLanguage
) -> Iterator[str]:
    """Yields where far more pages are held out than asked: those of one address go together."""
    asked = {code: rule.count(pages) for code, pages in kept.items()}
    more = [code for code, count in asked.items() if languages[code]["held_out"] > 2 * count]
    if more:
        code = max(more, key=lambda one: languages[one]["held_out"])
        found = f"{languages[code]['held_out']:,} pages for {asked[code]:,}"
        yield (
            f"Pages of {_listed(more)} share an address or a text and are held out together "
            f'({code}: {found}); give each document a "url" of its own, or none where it names a '
            "source."
        )


def _of_input(body: Mapping[str, Any], kept: int) -> Iterator[str]:
    pages = body["input"]["records"]
    broken = {reason: one["count"] for reason, one in body["broken_records"].items()}
    whole = pages + sum(broken.values())
    if not whole:
        yield "The input has no record."
    elif sum(broken.values()) > MOST * whole:
        reason = max(broken, key=lambda name: broken[name])
        yield (
            f"{sum(broken.values()):,} of {whole:,} records are broken, most as "
            f"{reason}{EXPECTED.get(reason, '')}; broken/records.parquet has the place of each."
        )
    if pages and not kept:
        yield f"None of {pages:,} pages was kept."


def _of_reasons(body: Mapping[str, Any]) -> Iterator[str]:
    pages = body["input"]["records"]
    counts = sum((Counter(one["rejected"]) for one in body["languages"].values()), Counter())
    for reason, count in counts.most_common(1):
        if count > MOST * pages:
            yield (
                f"{count / pages:.0%} of the pages were rejected for one reason, {reason}; "
                f"{REMEDIES.get(reason, 'rejected/ has their text')}."
            )


EXPECTED = {
    "no_text": ' (a record needs text in its field "text")',
    "no_url": ' (a "url" is text, or left out)',
    "invalid_timestamp": ' (a "timestamp" is text in ISO 8601, or left out)',
    "too_many_values": " (a record of more than 500,000 JSON values is not read as a page)",
    "not_json": " (each line is to be one JSON object)",
    "not_an_object": ' (each line is to be one JSON object, with text in its field "text")',
}
REMEDIES = {
    "duplicate_url": (
        'many pages share an address: only the newest of each is kept; remove "url" where it names '
        "a site instead of a page, and the text counts instead"
    ),
}


def _listed(codes: Sequence[str]) -> str:
    rest = f" and {len(codes) - NAMED} more languages" if len(codes) > NAMED else ""
    return ", ".join(codes[:NAMED]) + rest
