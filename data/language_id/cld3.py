"""Language identification: by CLD3, the network that mC4 was made with, or by a fastText model.

CLD3 is asked as mC4 asks it. At least 100 and at most 10,000 bytes of a page are looked at. An
answer counts only if CLD3 calls it reliable and its probability reaches the rule set's threshold;
else the page is "und". Known weaknesses, which the reports show: toned Yoruba is called Vietnamese
with probability 1, Indonesian and Malay are confused, and repetitive text shrinks below 100 bytes
and comes out as "und".

gcld3 must be loaded before TensorFlow: the other way round the process dies without a word.
"""

import sys
from pathlib import Path

from data.language_id.fasttext import FastTextIdentifier
from data.language_id.prediction import Identifier, Prediction

if "tensorflow" in sys.modules and "gcld3" not in sys.modules:
    raise ImportError(
        "gcld3 was to be loaded after TensorFlow, which crashes the process; "
        "identify languages in a process that does not import TensorFlow."
    )

import gcld3

SHORTEST_BYTES = 100
LONGEST_BYTES = 10_000


def identifier(model: Path | None) -> Identifier:
    """Returns CLD3, or the fastText model at this path.

    Raises:
        DataError: the file is no fastText classifier, or its runtime is not installed.
    """
    if model is None:
        return CLD3Identifier()
    return FastTextIdentifier(model)


class CLD3Identifier:
    """CLD3's network; costs about 0.4 ms a page, cannot be pickled, and holds the GIL."""

    def __init__(self):
        self._network = gcld3.NNetLanguageIdentifier(SHORTEST_BYTES, LONGEST_BYTES)

    def identify(self, text: str) -> Prediction:
        """Returns CLD3's best answer; lone surrogates, which it cannot take, count as "?"."""
        answer = self._network.FindLanguage(text.encode("utf-8", "replace").decode("utf-8"))
        return Prediction(answer.language, answer.probability, answer.is_reliable)
