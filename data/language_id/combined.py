"""Language identification by CLD2, CLD3 and, if given, a fastText model, which decide together.

Each candidate language is rated by how likely the answers are for its pages, as if identifiers
erred independently (naive Bayes), with the same prior for each language:

    rating(language) = product over identifiers of
        confidence * share(answer | language) + (1 - confidence) / 100

`confusions` has the shares. A confident "vi" from CLD3 therefore loses to "yo" from CLD2, because
CLD3 usually answers "vi" for Yoruba. The confidence is CLD3's or fastText's probability, or the
share of the page that CLD2 assigns to its answer. The language's probability is its rating divided
by the sum of all candidates' ratings. One candidate is "und", a language that no identifier covers.

1. Text that is not a language (`no_language`) is "zxx", and no identifier runs.
2. An answer counts only if its language is written in the page's main scripts (`written_in`). If
   CLD2's first answer does not count, its second or third may.
3. CLD2 runs first. CLD3 is skipped if CLD2 is reliable, finds at least 0.6 of the page in one
   language, and is not known to answer so for any other language. The time saved pays for CLD2.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from data.language_id import cld2, confusions
from data.language_id.cld2 import CLD2Answer
from data.language_id.cld3 import CLD3Identifier
from data.language_id.confusions import ANY
from data.language_id.fasttext import loaded
from data.language_id.no_language import is_no_language
from data.language_id.opinions import Opinion, is_settled, opinion_of_cld2, opinions_of
from data.language_id.page_characters import page_characters
from data.language_id.prediction import Prediction
from data.language_id.written_in import alone_in, is_usually_written_in, is_written_in
from data.languages import NO_LANGUAGE, UNDETERMINED
from data.scripts import code_points

RARE_SCRIPT = 0.05  # prior of "und" where one language alone has the page's script


class Answers(NamedTuple):
    """All answers about a page, as the identifiers gave them.

    Attributes:
        combined: decision.
        cld2: CLD2's answer; None for text that is not a language.
        cld3: CLD3's answer; None if it was not asked.
        fasttext: the fastText model's answer; None without one.
    """

    combined: Prediction
    cld2: CLD2Answer | None = None
    cld3: Prediction | None = None
    fasttext: Prediction | None = None


class CombinedIdentifier:
    """CLD2 and CLD3, and a fastText model if one is given; cannot be pickled."""

    def __init__(self, model: str | None = None):
        """Loads the identifiers.

        Raises:
            DataError: if the file is not a fastText classifier, or the extra is not installed.
        """
        self._cld3 = CLD3Identifier()
        self._fasttext = None if model is None else loaded(model)

    def identify(self, text: str) -> Prediction:
        """Returns the combined prediction; "zxx" for text that is not a language."""
        return self.answers(text, None).combined

    def answers(self, text: str, by_cld2: CLD2Answer | None) -> Answers:
        """Returns the decision and each identifier's answer; `by_cld2` if it is known already."""
        points = code_points(text)
        characters = page_characters(points)
        if is_no_language(points, characters):
            return Answers(Prediction(NO_LANGUAGE, 1.0, is_reliable=True))
        scripts = characters.scripts
        by_cld2 = cld2.identify(text) if by_cld2 is None else by_cld2
        opinions = [first := opinion_of_cld2(by_cld2, scripts)]
        by_cld3 = None if is_settled(first, by_cld2) else self._cld3.identify(text)
        by_model = None if self._fasttext is None else self._fasttext.identify(text)
        if by_cld3 is not None:
            opinions += opinions_of(confusions.of_cld3(), by_cld3, scripts)
        if by_model is not None and self._fasttext is not None:
            opinions += opinions_of(self._fasttext.confusions, by_model, scripts)
        return Answers(decided(opinions, scripts), by_cld2, by_cld3, by_model)


def decided(opinions: Iterable[Opinion], scripts: tuple[str, ...]) -> Prediction:
    """Returns the most likely language of a page in these scripts by the identifiers' opinions."""
    opinions, alone = list(opinions), alone_in(scripts)
    candidates = {UNDETERMINED, *((alone,) if alone else ())}
    for one in opinions:
        candidates |= one.confusions.suspects(one.language)
    ratings = {
        language: _rating(language, opinions, scripts)
        for language in sorted(candidates)  # of equal ratings the first is chosen
        if language == UNDETERMINED or is_written_in(language, scripts)
    }
    if alone:
        ratings[UNDETERMINED] *= RARE_SCRIPT
    best = max(ratings, key=ratings.__getitem__)
    return Prediction(best, ratings[best] / math.fsum(ratings.values()), best != UNDETERMINED)


def _rating(language: str, opinions: Iterable[Opinion], scripts: tuple[str, ...]) -> float:
    rating, usual = 1.0, is_usually_written_in(language, scripts)
    for one in opinions:
        share = one.confusions.share(one.language, language, is_usual_script=usual)
        rating *= one.confidence * share + (1 - one.confidence) * ANY
    return rating
