"""How often each identifier gives each answer, right or wrong, for pages of each language.

`confusions.tsv` holds wrong answers on documents of known language: the share of each answer that
CLD2 or CLD3 gives for at least one page in 100 (`benchmarks/cleaning/language_confusions.py` writes
it). Its language "und" stands for all languages that neither of them covers. For a language that an
identifier covers, in its usual script, an error that is not listed has the share `RARE`. For any
other page, each wrong language has the same share, `ANY`.

    CLD3: toned Yoruba is "vi" in 94 pages of 100, Kurdish in Arabic script "fa" in 35
    CLD2: no romanized language has an answer, Serbian in Latin script is "hr" in 6
"""

import csv
import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources

from data.language_id import cld2
from data.languages import UNDETERMINED, codes

ANY = 0.01  # share of an answer for a page that the identifier does not know: one of 100 languages
RARE = 2e-4  # of an error that was not counted
RARE_NONE = 0.02  # of no answer, for one of the identifier's own languages
NONE_IF_UNKNOWN = 0.5  # of no answer, for any other language
OTHER_ERRORS = 0.02  # room for errors that were not counted

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
            return self._right(language)
        if known and is_usual_script:
            return RARE_NONE if answer == UNDETERMINED else RARE
        return NONE_IF_UNKNOWN if answer == UNDETERMINED else ANY

    def suspects(self, answer: str) -> set[str]:
        """Returns the languages whose pages have this answer."""
        own = {answer} if answer != UNDETERMINED else set()
        return own | set(self.shares.get(answer, ()))

    def settles(self, answer: str) -> bool:
        """Returns whether pages of no other language have this answer."""
        return self.suspects(answer) == {answer}

    def _right(self, language: str) -> float:
        wrong = math.fsum(languages.get(language, 0.0) for languages in self.shares.values())
        return max(OTHER_ERRORS, 1 - OTHER_ERRORS - wrong)


@functools.cache
def of_cld2() -> Confusions:
    """Returns what CLD2 confuses."""
    return Confusions(cld2.KNOWN, _counted("cld2"))


@functools.cache
def of_cld3() -> Confusions:
    """Returns what CLD3 confuses; it knows mC4's languages, Croatian and Bosnian."""
    return Confusions(frozenset(codes(None)) | {"hr", "bs"}, _counted("cld3"))


def of_fasttext(labels: Iterable[str]) -> Confusions:
    """Returns what a fastText model confuses: nothing is counted, its labels are all it knows."""
    return Confusions(frozenset(labels), {})


def _counted(identifier: str) -> Shares:
    text = resources.files("data.language_id").joinpath("confusions.tsv").read_text("utf-8")
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        if row["identifier"] == identifier:
            found[row["answer"]][row["language"]] = float(row["share"])
    return found
