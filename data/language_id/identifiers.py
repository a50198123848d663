"""Language identifiers: their common interface; CLD2, for a page's languages; langdetect, for C4.

CLD2 (Sites 2013, package `pycld2`) scores quadgrams chunk by chunk, reads the whole page, and takes
a third of CLD3's time. It names up to three languages of a page and their shares. It knows 160
languages, 60 of which mC4 does not have, and no romanized ones. It answers nothing for repetitive
text, and for languages that are not among its own.

langdetect decides whether a page is English, with C4's seed: it draws random numbers, and seed 0
makes its predictions reproducible. `langdetect-rs` returns the same labels and probabilities 47
times as fast. It distinguishes 55 languages. langdetect's probabilities depend on the Python that
it runs on: since 3.12 `sum` has other last bits, and each version has its own letters. Here they
are those of Python 3.11 on every version.
"""

import functools
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import pycld2
import regex
from jaxtyping import Int64
from langdetect_rs import _core
from langdetect_rs._seed import seed_state

from data.languages import NO_LANGUAGE, UNDETERMINED, find

# What CLD2 refuses: control characters other than white space, and noncharacters.
REFUSED = regex.compile(r"[[\p{Cc}--[\t\n\r]]\p{Noncharacter_Code_Point}]", regex.V1)
NO_ANSWER = "un"
SCRIPT_ONLY = "xx-"  # prefix of its codes for scripts of which it knows no language
SEED = 0
UNICODE = "14.0.0"  # of Python 3.11


class Prediction(NamedTuple):
    """Language of a text according to an identifier.

    Attributes:
        language: mC4's code, the identifier's own for a language that mC4 does not have, "und" for
            an uncertain one, "zxx" for what is not a language.
        probability: probability of the language.
        is_reliable: CLD3's own judgement; True for the other identifiers.
    """

    language: str
    probability: float
    is_reliable: bool

    def language_above(self, threshold: float) -> str:
        """Returns the language, or "und" if it is none, not reliable, or below the threshold."""
        is_certain = self.is_reliable and self.probability >= threshold
        return self.language if is_certain and self.language != NO_LANGUAGE else UNDETERMINED


@runtime_checkable
class Identifier(Protocol):
    """An identifier; created in the worker process, as models cannot be pickled."""

    def identify(self, text: str) -> Prediction:
        """Returns the most probable language."""
        ...


class CLD2Answer(NamedTuple):
    """What CLD2 found in a page.

    Attributes:
        shares: mC4's codes, or CLD2's own, with their shares of the bytes of text, largest first.
        is_reliable: CLD2's own judgement of the first.
        score: CLD2's score of the first per kilobyte of its text; English prose has about 1,200.
    """

    shares: tuple[tuple[str, float], ...]
    is_reliable: bool
    score: float = 0.0

    @property
    def language(self) -> str:
        """The first language, or "und"."""
        return self.shares[0][0] if self.shares else UNDETERMINED


class LanguageSegment(NamedTuple):
    """A stretch of a page in one language, "und" where CLD2 found none.

    Attributes:
        language: mC4's code, or CLD2's own.
        characters: number of its characters.
    """

    language: str
    characters: int


def identify_by_cld2(text: str) -> CLD2Answer:
    """Returns the languages of a page."""
    is_reliable, _, details = _detect(text.encode("utf-8", "replace"))
    return _answer(is_reliable, details)


def segments(text: str) -> tuple[CLD2Answer, list[LanguageSegment]]:
    """Returns the languages of a page, and its segments in order, without a second reading."""
    encoded = text.encode("utf-8", "replace")
    is_reliable, _, details, stretches = _detect(encoded, returnVectors=True)
    begins = _characters_before(encoded)
    return _answer(is_reliable, details), [
        LanguageSegment(_code(code), int(begins[first + size] - begins[first]))
        for first, size, _, code in stretches
    ]


def _detect(text: bytes, **options: bool) -> tuple:
    try:
        return pycld2.detect(text, isPlainText=True, **options)
    except pycld2.error:  # one page in hundreds; to look for them first takes a third of the time
        # A space for each byte of what CLD2 refuses.
        blanked = REFUSED.sub(lambda match: " " * len(match[0].encode()), text.decode())
        return pycld2.detect(blanked.encode(), isPlainText=True, **options)


def _characters_before(text: bytes) -> Int64[np.ndarray, " bytes_and_end"]:
    """Returns the number of characters that begin before each byte."""
    is_first = (np.frombuffer(text, np.uint8) & 0xC0) != 0x80
    return np.concatenate(([0], np.cumsum(is_first, dtype=np.int64)))


def _answer(is_reliable: bool, details: tuple) -> CLD2Answer:
    shares: dict[str, float] = {}
    scores: dict[str, float] = {}
    for _, code, percent, score in details:
        if (language := _code(code)) != UNDETERMINED:
            shares[language] = shares.get(language, 0.0) + percent / 100
            scores.setdefault(language, score)
    largest_first = sorted(shares.items(), key=lambda item: -item[1])
    first = scores[largest_first[0][0]] if shares else 0.0
    return CLD2Answer(tuple(largest_first), is_reliable, first)


def _code(code: str) -> str:
    if code == NO_ANSWER or code.startswith(SCRIPT_ONLY):
        return UNDETERMINED
    language = find(code)
    return code if language is None else language.code


KNOWN = frozenset(
    _code(code) for name, code in pycld2.LANGUAGES if name in set(pycld2.DETECTED_LANGUAGES)
)


def identify_by_langdetect(text: str) -> Prediction | None:
    """Returns langdetect's prediction, or None if the text has no features that it can use."""
    answers = _detector().detect_langs(text, seed_state(SEED))
    return Prediction(*answers[0], is_reliable=True) if answers else None


def why_not_english(prediction: Prediction | None, threshold: float) -> str | None:
    """Returns the reason why a page with this prediction is not kept as English, or None."""
    if prediction is None:
        return "language_unidentifiable"
    if prediction.probability < threshold:
        return "language_uncertain"
    return None if prediction.language == "en" else "language_not_english"


@functools.cache
def _detector() -> _core.Factory:
    factory = _core.Factory(False, UNICODE)  # without the compensated sums of Python 3.12
    factory.load_builtin(_core.builtin_files())
    return factory
