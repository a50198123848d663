"""Judgements: functions of a page, applied one after the other until one drops it.

A judgement returns the page, perhaps changed; or `Rejected`, with a reason; or `NotAsked`, if its
language was not requested. It is a rule (`Page -> reason | None`), a cleaner of lines, or a
decision on the language. Judgements are pickled for the workers. Identifiers cannot be pickled, so
each process loads them at their first use.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from data.errors import concerns_one_page
from data.language_id import combined, identifiers
from data.language_id.combined import CombinedIdentifier
from data.language_id.identifiers import Identifier, Prediction
from data.language_id.thresholds import decide
from data.languages import NO_LANGUAGE, UNDETERMINED, codes
from data.reading.page import Dropped, NotAsked, Page, Rejected, Rule
from data.rules import english_lines, web_lines
from data.rules.english_lines import Cleaned
from pipeline.cleaning.identification_time import identification_timed

Judgement = Callable[[Page], Page | Dropped]
JUDGEMENT_FAILED = "judgement_failed"
LONGEST_CLASS_NAME = 60  # characters of it in a reason


def judged(page: Page, judgements: Iterable[Judgement]) -> Page | Dropped:
    """Returns the page after all judgements, or the result of the first that drops it.

    A page on which a judgement fails is rejected as it was read, so `rejected/` has its address and
    text. The reason has the class of the exception: `judgement_failed_key_error`.
    """
    for judge in judgements:
        try:
            outcome = judge(page)
        except BaseException as error:
            if not concerns_one_page(error):
                raise
            return Rejected(page, _reason_of(error))
        if not isinstance(outcome, Page):
            return outcome
        page = outcome
    return page


def _reason_of(error: BaseException) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(error).__name__).lower()
    return f"{JUDGEMENT_FAILED}_{re.sub('[^a-z0-9_]', '', words)[:LONGEST_CLASS_NAME]}"


@dataclass(frozen=True)
class RejectByRule:
    """Rejects a page if the rule returns a reason."""

    rule: Rule

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        reason = self.rule(page)
        return page if reason is None else Rejected(page, reason)


def clean_english_lines(page: Page) -> Page | Rejected:
    """Applies C4's English line rules, which remove lines and reject pages."""
    return _cleaned(page, english_lines.clean(page.text))


@dataclass(frozen=True)
class IdentifyLanguage:
    """Sets the identified language; keeps "und", and rejects languages that mC4 does not have.

    Applied after line deduplication, as in the reference: until then such a page can keep a line
    that other pages lose.
    """

    certain_probability: float
    model: str | None

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = _identified(self.model, page.text)
        language = answer.language_above(self.certain_probability)
        return _in_mc4(
            page._replace(
                identified_language=language,
                language=language,
                language_probability=answer.probability,
            )
        )


@dataclass(frozen=True)
class KeepEnglish:
    """Keeps pages that langdetect identifies as English with enough probability."""

    certain_probability: float

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        with identification_timed():
            answer = identifiers.identify_by_langdetect(page.text)
        reason = identifiers.why_not_english(answer, self.certain_probability)
        if reason is not None or answer is None:
            return Rejected(page, reason or "language_unidentifiable")
        return page._replace(
            identified_language="en", language="en", language_probability=answer.probability
        )


@dataclass(frozen=True)
class CheckDeclaredLanguage:
    """Sets the declared language; records the identified one for comparison."""

    certain_probability: float
    model: str | None

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer = _identified(self.model, page.text)
        identified = answer.language_above(self.certain_probability)
        language = page.declared_language or UNDETERMINED
        return page._replace(
            identified_language=identified,
            language=language,
            language_probability=answer.probability if identified == language else 0.0,
        )


@dataclass(frozen=True)
class RecordLanguage:
    """Records the combined identification and its probability, from which thresholds follow.

    Text that is not a language is rejected before, as it would count for some language's threshold.
    """

    model: str | None

    def __call__(self, page: Page) -> Page | Rejected:
        """Identifies one page."""
        with identification_timed():
            answer = _combined_identifier(self.model).identify(page.text)
        if answer.language == NO_LANGUAGE:
            return Rejected(page, "not_a_language")
        return page._replace(
            identified_language=answer.language, language_probability=answer.probability
        )


@dataclass(frozen=True)
class ApplyThresholds:
    """Sets the recorded language if it reaches its threshold; otherwise the page is "und"."""

    thresholds: Mapping[str, float]

    def __call__(self, page: Page) -> Page | Rejected:
        """Judges one page."""
        answer, probability = page.identified_language, page.language_probability
        language = decide(answer, probability, self.thresholds)
        return _in_mc4(page._replace(identified_language=language, language=language))


def clean_web_lines(page: Page) -> Page | Rejected:
    """Applies `mswitch-web`'s line rules, which remove lines and reject pages."""
    return _cleaned(page, web_lines.clean(page.text))


def use_declared_language(page: Page) -> Page:
    """Sets the page's declared language, without identification."""
    language = page.declared_language or UNDETERMINED
    return page._replace(language=language, identified_language=language)


@dataclass(frozen=True)
class KeepRequestedLanguages:
    """Keeps pages of the requested languages.

    Applied as soon as the language is known: at reading, where the declared language counts.
    """

    languages: frozenset[str]

    def __call__(self, page: Page) -> Page | NotAsked:
        """Judges one page."""
        return page if page.counted_language in self.languages else NotAsked(page)


def _in_mc4(page: Page) -> Page | Rejected:
    if page.language in mc4_languages():
        return page
    # Counted under "und", as the manifest has no such language.
    return Rejected(page._replace(language=UNDETERMINED), "language_not_in_mc4")


def _cleaned(page: Page, cleaned: Cleaned) -> Page | Rejected:
    text, removed, reason = cleaned
    if reason is not None:
        return Rejected(page, reason)
    return page._replace(text=text, removed_lines=(*page.removed_lines, *sorted(removed.items())))


def _identified(model: str | None, text: str) -> Prediction:
    with identification_timed():
        return _identifier(model).identify(text)


@functools.cache
def _identifier(model: str | None) -> Identifier:
    return combined.identifier(model)


@functools.cache
def _combined_identifier(model: str | None) -> CombinedIdentifier:
    return CombinedIdentifier(model)


@functools.cache
def mc4_languages() -> frozenset[str]:
    """Returns mC4's languages, and "und"."""
    return frozenset(codes(None)) | {UNDETERMINED}
