"""Decides each page's language: CLD3's or langdetect's answer, or the declared one beside CLD3's.

Pages of a language that mC4 does not have, or that was not asked for, are rejected here and no
earlier: before line deduplication they may own lines of pages that stay, so a run for one language
gives the same pages as that language's part of a run for all.
"""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from data import english_id
from data.language_id import LanguageIdentifier
from data.languages import UNDETERMINED, codes
from data.page import Page
from data.rule_sets import LanguageBy, RuleSet
from pipeline.transforms.judge import REJECTED, Judge, rejected


class IdentifyLanguage(beam.PTransform):
    """Gives (kept, rejected) pages with their language decided."""

    def __init__(self, rules: RuleSet):
        super().__init__()
        self._rules = rules

    def expand(self, input_or_inputs):
        decide = {
            LanguageBy.CLD3: _Identify,
            LanguageBy.LANGDETECT: _KeepEnglish,
            LanguageBy.DECLARATION: _BelieveDeclaration,
        }
        step = decide[self._rules.language_by](self._rules.certain_probability)
        return input_or_inputs | beam.ParDo(step).with_outputs(REJECTED, main="kept")


class BelieveDeclaration(beam.PTransform):
    """Gives the pages with their declared language; nothing is identified."""

    def expand(self, input_or_inputs):
        return input_or_inputs | beam.Map(_with_declared_language)


class KeepAskedLanguages(beam.PTransform):
    """Gives (kept, rejected): pages of the languages that the user asked for."""

    def __init__(self, languages: tuple[str, ...]):
        super().__init__()
        self._languages = frozenset(languages)

    def expand(self, input_or_inputs):
        languages = self._languages
        return input_or_inputs | Judge(
            lambda page: None if page.language in languages else "language_not_asked"
        )


class _Ask(beam.DoFn):
    """Asks CLD3; the network is made where the work is done, since it cannot be pickled."""

    def __init__(self, certain_probability: float):
        self._certain_probability = certain_probability

    def setup(self):
        self._identifier = LanguageIdentifier()
        self._known = frozenset(codes(None)) | {UNDETERMINED}

    def ask(self, page: Page) -> tuple[str, float]:
        """Returns CLD3's language, "und" if it is not certain, and its probability."""
        answer = self._identifier.identify(page.text)
        return answer.certain(self._certain_probability), answer.probability


class _Identify(_Ask):
    def process(self, element: Any, *args, **kwargs) -> Iterator[Any]:
        language, probability = self.ask(element)
        page = element._replace(
            identified_language=language, language=language, language_probability=probability
        )
        if language in self._known:
            yield page
        else:  # counted under "und": there is no such language in the manifest
            yield rejected(page._replace(language=UNDETERMINED), "language_not_in_mc4")


class _KeepEnglish(beam.DoFn):
    def __init__(self, certain_probability: float):
        self._certain_probability = certain_probability

    def process(self, element: Any, *args, **kwargs) -> Iterator[Any]:
        answer = english_id.identify(element.text)
        reason = english_id.not_certainly_english(answer, self._certain_probability)
        if reason is not None or answer is None:
            yield rejected(element, reason or "language_unidentifiable")
        else:
            yield element._replace(
                identified_language="en", language="en", language_probability=answer.probability
            )


class _BelieveDeclaration(_Ask):
    def process(self, element: Any, *args, **kwargs) -> Iterator[Any]:
        identified, probability = self.ask(element)
        language = element.declared_language or UNDETERMINED
        yield element._replace(
            identified_language=identified,
            language=language,
            language_probability=probability if identified == language else 0.0,
        )


def _with_declared_language(page: Any) -> Any:
    language = page.declared_language or UNDETERMINED
    return page._replace(language=language, identified_language=language)
