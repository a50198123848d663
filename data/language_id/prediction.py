"""What an identifier says of a text, whichever it is: CLD3, a fastText model, langdetect."""

from typing import NamedTuple, Protocol, runtime_checkable

from data.languages import UNDETERMINED


class Prediction(NamedTuple):
    """What an identifier says of a text: an mC4 code, or one that mC4 does not have."""

    language: str
    probability: float
    is_reliable: bool

    def language_above(self, probability: float) -> str:
        """Returns the language, or "und" if it is not reliable or below the probability."""
        if self.is_reliable and self.probability >= probability:
            return self.language
        return UNDETERMINED


@runtime_checkable
class Identifier(Protocol):
    """Says a text's language; made where the work is done, since models cannot be pickled."""

    def identify(self, text: str) -> Prediction:
        """Returns the best answer."""
        ...
