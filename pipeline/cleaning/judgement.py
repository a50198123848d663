"""What is done to a page, one judgement after the other, until one turns it down.

A judgement gives the page on, perhaps changed, or rejects it. A rule (`Page -> reason | None`) is
the most common one. All are plain values that travel to the workers; what cannot travel, CLD3's
network, is made where it is first asked.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from data import english_id, english_lines
from data.language_id import LanguageIdentifier
from data.languages import UNDETERMINED, codes
from data.page import Page, Rejected, Rule

Judgement = Callable[[Page], Page | Rejected]


def judged(page: Page, judgements: Iterable[Judgement]) -> Page | Rejected:
    """Returns the page after all judgements, or the first rejection."""
    for judge in judgements:
        outcome = judge(page)
        if isinstance(outcome, Rejected):
            return outcome
        page = outcome
    return page


@dataclass(frozen=True)
class By:
    """Turns a page down if the rule gives a reason."""

    rule: Rule

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        reason = self.rule(page)
        return page if reason is None else Rejected(page, reason)


def clean_english_lines(page: Page) -> Page | Rejected:
    """Applies C4's English line rules: some lines go, and some pages."""
    text, removed, reason = english_lines.clean(page.text)
    if reason is not None:
        return Rejected(page, reason)
    return page._replace(text=text, removed_lines=(*page.removed_lines, *sorted(removed.items())))


@dataclass(frozen=True)
class IdentifyLanguage:
    """CLD3's answer counts; "und" stays, and languages that mC4 does not have go.

    They go here and no earlier: before line deduplication they may own lines of pages that stay.
    """

    certain_probability: float

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = _identifier().identify(page.text)
        language = answer.certain(self.certain_probability)
        page = page._replace(
            identified_language=language, language=language, language_probability=answer.probability
        )
        if language in _known():
            return page
        # Counted under "und": there is no such language in the manifest.
        return Rejected(page._replace(language=UNDETERMINED), "language_not_in_mc4")


@dataclass(frozen=True)
class KeepEnglish:
    """Pages that langdetect is certain are English stay."""

    certain_probability: float

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = english_id.identify(page.text)
        reason = english_id.not_certainly_english(answer, self.certain_probability)
        if reason is not None or answer is None:
            return Rejected(page, reason or "language_unidentifiable")
        return page._replace(
            identified_language="en", language="en", language_probability=answer.probability
        )


@dataclass(frozen=True)
class BelieveDeclarationBesideCld3:
    """The declared language counts; CLD3's answer is noted beside it."""

    certain_probability: float

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = _identifier().identify(page.text)
        identified = answer.certain(self.certain_probability)
        language = page.declared_language or UNDETERMINED
        return page._replace(
            identified_language=identified,
            language=language,
            language_probability=answer.probability if identified == language else 0.0,
        )


def believe_declaration(page: Page) -> Page:
    """Gives the page its declared language; nothing is identified."""
    language = page.declared_language or UNDETERMINED
    return page._replace(language=language, identified_language=language)


@dataclass(frozen=True)
class KeepAskedLanguages:
    """Pages of the languages that the user asked for stay."""

    languages: frozenset[str]

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        return page if page.language in self.languages else Rejected(page, "language_not_asked")


def asked_languages(languages: Sequence[str] | None) -> list[Judgement]:
    """Returns the judgement of the languages asked for, none if all were."""
    return [] if languages is None else [KeepAskedLanguages(frozenset(languages))]


@functools.cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier()


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(codes(None)) | {UNDETERMINED}
