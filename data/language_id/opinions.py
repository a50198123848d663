"""Opinions: the answers of identifiers, as far as they count for a page in some script.

An answer counts only if its language is written in the page's main scripts. CLD2, which names up to
three languages, may give its second or third. Where it has none left it says "und", which tells
something too, as it does so for languages that it does not know.
"""

from typing import NamedTuple

from data.language_id import confusions
from data.language_id.cld2 import CLD2Answer
from data.language_id.confusions import Confusions
from data.language_id.prediction import Prediction
from data.language_id.written_in import is_written_in
from data.languages import UNDETERMINED

SETTLED = 0.6  # share of a page in CLD2's language with which it can decide alone
UNRELIABLE = 0.5  # weight of CLD2's answer where it calls itself unreliable


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
            return Opinion(confusions.of_cld2(), language, weight * share)
    return Opinion(confusions.of_cld2(), UNDETERMINED, 1.0)


def opinions_of(
    confused: Confusions, said: Prediction, scripts: tuple[str, ...]
) -> tuple[Opinion, ...]:
    """Returns the opinion, or nothing where it has no language or one of another script."""
    if said.language == UNDETERMINED or not is_written_in(said.language, scripts):
        return ()
    return (Opinion(confused, said.language, said.probability),)


def is_settled(opinion: Opinion, answer: CLD2Answer) -> bool:
    """Returns whether CLD2's opinion decides alone."""
    return (
        answer.is_reliable
        and opinion.confidence >= SETTLED
        and opinion.confusions.settles(opinion.language)
    )
