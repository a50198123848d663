"""The common interface of language identifiers: CLD3, a fastText model, langdetect."""

from typing import NamedTuple, Protocol, runtime_checkable

from data.languages import NO_LANGUAGE, UNDETERMINED


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
