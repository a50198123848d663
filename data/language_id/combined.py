"""The language of a page by CLD2, CLD3 and a fastText model together.

Each candidate language is rated by how likely the answers are for its pages, as if
identifiers erred independently (naive Bayes), with the same prior for each language:

    rating(language) = product over identifiers of
        confidence * share(answer | language) + (1 - confidence) / 100

`opinions` has the shares. A confident "vi" from CLD3 therefore loses to "yo" from CLD2, because
CLD3 usually answers "vi" for Yoruba. The confidence is CLD3's or fastText's probability, or the
share of the page that CLD2 assigns to its answer. The language's probability is its rating divided
by the sum of all candidates' ratings. One candidate is "und", a language that no identifier covers.

1. Text that is not a language (`is_no_language`) is "zxx", and no identifier runs.
2. An answer counts only if its language is written in the page's main scripts. If CLD2's first
   answer does not count, its second or third may.
3. CLD2 runs first. CLD3 is skipped if CLD2 is reliable, finds at least 0.6 of the page in one
   language, and is known to answer so for no other language; and if the page is clearly English.

**Not a language.** Identifiers answer for such pages too, and often with certainty. Three
properties of a page's characters tell them from prose. Their bounds were set on 36,509 texts of
about 1,000 characters in 107 languages (among them interface messages full of placeholders) of
which 0.03 % pass one of them:

    letters are less than half of what is printed      numbers, hexadecimal digits, drawings
    symbols are more than 15 %                         code, UTF-8 read as Latin-1
    most of it stands in runs of 30 ASCII characters   base64, lists of addresses, minified code

Code with comments, or random letters in words, passes; identifiers disagree on the latter.

**Scripts** are ISO 15924's, with Hiragana and Katakana as one; scripts in which no language of mC4
is written are "Zyyy". A main script has a third of the letters, weighted by the content of a letter
(`data.scripts.weights`): 40 Han characters are as much as 120 Latin letters. A page has one as a
rule, and two if it is Russian full of English terms. Japanese and Korean are mixtures: East Asian
letters of which one in twenty is kana are "Jpan", with more Hangul than Han "Kore". One table of
all code points is built once from Unicode's properties; a page is then counted in a few NumPy
calls, 5 microseconds per thousand characters.
"""

import functools
import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import regex
from jaxtyping import Int64, UInt8, UInt32

from data.language_id import identifiers
from data.language_id.cld3 import CLD3Identifier
from data.language_id.fasttext import load_identifier
from data.language_id.identifiers import CLD2Answer, Prediction
from data.language_id.opinions import (
    ANY,
    Opinion,
    alone_in,
    cld3_confusions,
    is_settled,
    is_usually_written_in,
    is_written_in,
    opinion_of_cld2,
    opinions_of,
)
from data.languages import NO_LANGUAGE, UNDETERMINED
from data.scripts import CODE_POINTS, characters_with, code_points, weights

SYMBOL, SPACE, DIGIT, MARK = range(4)
OTHER_SCRIPT = "Zyyy"
SCRIPTS = (
    *(OTHER_SCRIPT, "Latn", "Cyrl", "Arab", "Deva", "Hebr", "Thai", "Telu", "Taml", "Sinh", "Mymr"),
    *("Mlym", "Laoo", "Hang", "Knda", "Khmr", "Kana", "Hani", "Guru", "Gujr", "Grek", "Geor"),
    *("Ethi", "Beng", "Armn", "Java", "Sund", "Mong", "Hmng", "Hmnp", "Plrd"),
)
EAST_ASIAN = ("Hani", "Kana", "Hang")
FIRST_SCRIPT = MARK + 1
PATTERNS = {"Kana": r"[\p{sc=Hira}\p{sc=Kana}ー]"}
# Marks that prose has in every script. Brackets of code, signs and mojibake's Latin-1 are symbols.
MARKS = r"[\p{P}--[\[\]{}@#%&*/\\_\u0080-\u00bf]]|[«»¿¡·]"
LEAST_KANA = 0.05  # share of East Asian letters; Japanese has 0.3 to 0.6
FEWEST_LETTERS = 0.5  # share of the printed characters; prose has 0.8 or more
MOST_SYMBOLS = 0.15  # 0.095 in one prose text of a thousand
LONG_RUN = 30
MOST_IN_LONG_RUNS = 0.65
FEWEST_OTHERS = 0.08  # share of digits and symbols where long runs are looked for
RARE_SCRIPT = 0.05  # prior of "und" where one language alone has the page's script


class PageCharacters(NamedTuple):
    """The numbers of a page's characters by kind.

    Attributes:
        counts: number of symbols, spaces, digits, marks, and letters of each script.
    """

    counts: Int64[np.ndarray, " kinds"]

    @property
    def printed(self) -> int:
        """The number of characters that are not spaces."""
        return int(self.counts.sum() - self.counts[SPACE])

    @property
    def letters(self) -> int:
        """The number of letters."""
        return int(self.counts[FIRST_SCRIPT:].sum())

    @property
    def digits(self) -> int:
        """The number of digits and other numerals."""
        return int(self.counts[DIGIT])

    @property
    def symbols(self) -> int:
        """The number of characters that are neither letters, digits nor marks of prose."""
        return int(self.counts[SYMBOL])

    @property
    def scripts(self) -> tuple[str, ...]:
        """The scripts with a third of the weighted letters, largest first; none without letters."""
        weighted = dict(zip(SCRIPTS, self.counts[FIRST_SCRIPT:] * _script_weights(), strict=True))
        least = sum(weighted.values()) / 3
        weighted[self._east_asian_script()] = sum(weighted.pop(script) for script in EAST_ASIAN)
        main = [script for script, letters in weighted.items() if letters >= least > 0]
        return tuple(sorted(main, key=weighted.__getitem__, reverse=True))

    def _east_asian_script(self) -> str:
        places = [FIRST_SCRIPT + SCRIPTS.index(script) for script in EAST_ASIAN]
        han, kana, hangul = self.counts[places].tolist()
        if kana >= LEAST_KANA * (han + kana + hangul):
            return "Jpan"
        return "Kore" if hangul > han else "Hans"


class IdentifierAnswers(NamedTuple):
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
        self._fasttext = None if model is None else load_identifier(model)

    def identify(self, text: str) -> Prediction:
        """Returns the combined prediction; "zxx" for text that is not a language."""
        return self.answers(text, None).combined

    def answers(self, text: str, by_cld2: CLD2Answer | None) -> IdentifierAnswers:
        """Returns the decision and each identifier's answer; `by_cld2` if it is known already."""
        points = code_points(text)
        characters = page_characters(points)
        if is_no_language(points, characters):
            return IdentifierAnswers(Prediction(NO_LANGUAGE, 1.0, is_reliable=True))
        scripts = characters.scripts
        by_cld2 = identifiers.identify_by_cld2(text) if by_cld2 is None else by_cld2
        opinions = [first := opinion_of_cld2(by_cld2, scripts)]
        by_cld3 = None if is_settled(first, by_cld2) else self._cld3.identify(text)
        by_model = None if self._fasttext is None else self._fasttext.identify(text)
        if by_cld3 is not None:
            opinions += opinions_of(cld3_confusions(), by_cld3, scripts)
        if by_model is not None and self._fasttext is not None:
            opinions += opinions_of(self._fasttext.confusions, by_model, scripts)
        return IdentifierAnswers(combine(opinions, scripts), by_cld2, by_cld3, by_model)


def combine(opinions: Iterable[Opinion], scripts: tuple[str, ...]) -> Prediction:
    """Returns the most likely language of a page in these scripts by the identifiers' opinions."""
    opinions, alone = list(opinions), alone_in(scripts)
    candidates = {UNDETERMINED, *((alone,) if alone else ())}
    for opinion in opinions:
        candidates |= opinion.confusions.suspects(opinion.language)
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
    for opinion in opinions:
        share = opinion.confusions.share(opinion.language, language, is_usual_script=usual)
        rating *= opinion.confidence * share + (1 - opinion.confidence) * ANY
    return rating


def page_characters(points: UInt32[np.ndarray, " characters"]) -> PageCharacters:
    """Counts the characters of a text, given its code points."""
    return PageCharacters(np.bincount(_kinds()[points], minlength=FIRST_SCRIPT + len(SCRIPTS)))


@functools.cache
def _kinds() -> UInt8[np.ndarray, "1114112"]:
    table = np.full(CODE_POINTS, SYMBOL, np.uint8)
    table[characters_with(r"[\p{White_Space}\p{Cf}]")] = SPACE
    table[characters_with(r"\p{N}")] = DIGIT
    table[characters_with(MARKS)] = MARK
    letters = characters_with(r"[\p{L}\p{M}]")
    table[letters] = FIRST_SCRIPT
    written = letters.tobytes().decode("utf-32-le")  # an eighth of all code points, searched faster
    for number, script in enumerate(SCRIPTS[1:], FIRST_SCRIPT + 1):
        pattern = PATTERNS.get(script, rf"\p{{sc={script}}}")
        table[code_points("".join(regex.findall(pattern, written, flags=regex.V1)))] = number
    return table


@functools.cache
def _script_weights() -> Int64[np.ndarray, " scripts"]:
    kinds = _kinds()
    first = [int(np.argmax(kinds == FIRST_SCRIPT + number)) for number in range(len(SCRIPTS))]
    return weights()[first].astype(np.int64)


def is_no_language(points: UInt32[np.ndarray, " characters"], characters: PageCharacters) -> bool:
    """Returns whether a text, of which code points and counts are given, is not a language."""
    printed = characters.printed
    if printed == 0:
        return False
    if characters.letters < FEWEST_LETTERS * printed or characters.symbols > MOST_SYMBOLS * printed:
        return True
    others = characters.symbols + characters.digits
    return others > FEWEST_OTHERS * printed and _in_long_runs(points) > MOST_IN_LONG_RUNS * printed


def _in_long_runs(points: UInt32[np.ndarray, " characters"]) -> int:
    """Returns the number of ASCII characters in long runs without white space."""
    ends = np.flatnonzero((points <= 32) | (points > 126))
    runs = np.diff(ends, prepend=-1, append=len(points)) - 1
    return int(runs[runs > LONG_RUN].sum())
