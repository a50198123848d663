"""Opinions of identifiers: how often each gives each answer, right or wrong, for each language.

    CLD3: toned Yoruba is "vi" in 94 pages of 100, Kurdish in Arabic script "fa" in 35
    CLD2: no romanized language has an answer, Serbian in Latin script is "hr" in 6

`confusions.tsv` holds wrong answers on documents of known language: the share of each answer that
CLD2 or CLD3 gives for at least one page in 100 (`benchmarks/cleaning/language_confusions.py` writes
it). Its language "und" stands for all languages that neither of them covers. For a language that an
identifier covers, in its usual script, an error that is not listed has the share `RARE`. For any
other page, each wrong language has the same share, `ANY`.

The usual script is `languages.tsv`'s; others in use are CLDR's (its data on languages), for
languages of mC4. A language that mC4 does not have may be written in any script.

An answer counts only if its language is written in the page's main scripts. CLD2, which names up to
three languages, may give its second or third. Where it has none left it counts as "und", which is
evidence too, as it answers so for languages that it does not know.
"""

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from data.language_id import identifiers
from data.language_id.identifiers import CLD2Answer, Prediction
from data.languages import UNDETERMINED, all_languages, find, table_rows

ANY = 0.01  # share of an answer for a page that the identifier does not know: one of 100 languages
RARE = 2e-4  # of an error that was not counted
RARE_NONE = 0.02  # of no answer, for one of the identifier's own languages
NONE_IF_UNKNOWN = 0.5  # of no answer, for any other language
OTHER_ERRORS = 0.02  # room for errors that were not counted
SETTLED = 0.6  # share of a page in CLD2's language with which it can decide alone
UNRELIABLE = 0.5  # weight of CLD2's answer where it calls itself unreliable
# CLD2 says "en" of Hindi in Latin script, but with a score of 644 at most. Of 28,693 labelled texts
# 548 pass these bounds, and CLD2 and CLD3 together call all of them English.
CLEAR_SHARE, CLEAR_SCORE = 0.97, 800.0
ALSO = {
    "az": ("Cyrl", "Arab"),
    "ha": ("Arab",),
    "hmn": ("Hmng", "Hmnp", "Plrd"),
    "jv": ("Java", "Arab"),
    "kk": ("Latn", "Arab"),
    "ku": ("Arab", "Cyrl"),
    "ky": ("Latn", "Arab"),
    "mn": ("Mong",),
    "ms": ("Arab",),
    "pa": ("Arab",),
    "ro": ("Cyrl",),
    "sd": ("Deva",),
    "so": ("Arab",),
    "sr": ("Latn",),
    "su": ("Sund",),
    "tg": ("Latn", "Arab"),
    "uz": ("Cyrl", "Arab"),
}
Shares = Mapping[str, Mapping[str, float]]  # answer -> language -> share


@dataclass(frozen=True)
class Confusions:
    """What an identifier answers.

    Attributes:
        knows: languages that it can answer with.
        shares: share of an answer among the pages of a language, by answer and language.
    """

    knows: Collection[str]
    shares: Shares

    def share(self, answer: str, language: str, *, is_usual_script: bool) -> float:
        """Returns how often pages of a language have this answer ("und": none)."""
        listed = self.shares.get(answer, {}).get(language)
        if listed is not None:
            return listed
        known = language in self.knows
        if answer == language:
            wrong = math.fsum(languages.get(language, 0.0) for languages in self.shares.values())
            return max(OTHER_ERRORS, 1 - OTHER_ERRORS - wrong)
        if known and is_usual_script:
            return RARE_NONE if answer == UNDETERMINED else RARE
        return NONE_IF_UNKNOWN if answer == UNDETERMINED else ANY

    def suspects(self, answer: str) -> set[str]:
        """Returns the languages whose pages have this answer."""
        own = {answer} if answer != UNDETERMINED else set()
        return own | set(self.shares.get(answer, ()))


@functools.cache
def cld2_confusions() -> Confusions:
    """Returns the confusions of CLD2."""
    return Confusions(identifiers.KNOWN, _counted_shares("cld2"))


@functools.cache
def cld2_without_confusions() -> Confusions:
    """Returns what CLD2 confuses where its score leaves no doubt: nothing."""
    return Confusions(identifiers.KNOWN, {})


@functools.cache
def cld3_confusions() -> Confusions:
    """Returns the confusions of CLD3; it knows mC4's languages, Croatian and Bosnian.

    Languages of mC4 have a page count in the table; a row that a user adds has 0.
    """
    known = {language.code for language in all_languages() if language.pages_millions}
    return Confusions(frozenset(known) | {"hr", "bs"}, _counted_shares("cld3"))


def fasttext_confusions(labels: Iterable[str]) -> Confusions:
    """Returns the confusions of a fastText model: none is counted, its labels are all it knows."""
    return Confusions(frozenset(labels), {})


def _counted_shares(identifier: str) -> Shares:
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for row in table_rows("data.language_id", "confusions.tsv"):
        if row["identifier"] == identifier:
            shares[row["answer"]][row["language"]] = float(row["share"])
    return shares


@functools.cache
def is_usually_written_in(code: str, scripts: tuple[str, ...]) -> bool:
    """Returns whether a script is a language's usual one; any is, where nothing is known."""
    language = find(code)
    return language is None or not scripts or language.script in scripts


@functools.cache
def is_written_in(code: str, scripts: tuple[str, ...]) -> bool:
    """Returns whether a language may be written in one of the scripts, or if there are none."""
    return is_usually_written_in(code, scripts) or not {*ALSO.get(code, ())}.isdisjoint(scripts)


@functools.cache
def alone_in(scripts: tuple[str, ...]) -> str | None:
    """Returns the language of mC4 that is the only one written in the scripts, or None."""
    codes = [language.code for language in all_languages() if is_written_in(language.code, scripts)]
    return codes[0] if len(codes) == 1 else None


class Opinion(NamedTuple):
    """An identifier's answer about a page.

    Attributes:
        confusions: what the identifier confuses.
        language: language of the answer, "und" for none.
        confidence: weight of the answer, at most 1.
    """

    confusions: Confusions
    language: str
    confidence: float


def opinion_of_cld2(answer: CLD2Answer, scripts: tuple[str, ...]) -> Opinion:
    """Returns CLD2's opinion, whose confidence is the share of the page in its language."""
    weight = 1.0 if answer.is_reliable else UNRELIABLE
    for language, share in answer.shares:
        if is_written_in(language, scripts):
            is_clear = language == "en" and share >= CLEAR_SHARE and answer.score >= CLEAR_SCORE
            confusions = cld2_without_confusions() if is_clear else cld2_confusions()
            return Opinion(confusions, language, weight * share)
    return Opinion(cld2_confusions(), UNDETERMINED, 1.0)


def opinions_of(
    confusions: Confusions, answer: Prediction, scripts: tuple[str, ...]
) -> tuple[Opinion, ...]:
    """Returns the opinion, or nothing where it has no language or one of another script."""
    if answer.language == UNDETERMINED or not is_written_in(answer.language, scripts):
        return ()
    return (Opinion(confusions, answer.language, answer.probability),)


def is_settled(opinion: Opinion, answer: CLD2Answer) -> bool:
    """Returns whether CLD2's opinion decides alone."""
    return (
        answer.is_reliable
        and opinion.confidence >= SETTLED
        and opinion.confusions.suspects(opinion.language) == {opinion.language}
    )
