"""Language identification by CLD3, the network behind mC4, or by a fastText model.

CLD3 runs with mC4's settings: it reads at least 100 and at most 10,000 bytes of a page. A
prediction counts only if CLD3 marks it as reliable and its probability reaches the rule set's
threshold; otherwise the page is "und". Known weaknesses, visible in the reports: toned Yoruba is
classified as Vietnamese with probability 1, Indonesian and Malay are confused, and repetitive text
shrinks below 100 bytes and is classified as "und".

gcld3 must be loaded before TensorFlow. In the other order the process crashes without a message.
"""

import sys

from data.language_id.fasttext import load_identifier
from data.language_id.identifiers import Identifier, Prediction

if "tensorflow" in sys.modules and "gcld3" not in sys.modules:
    raise ImportError(
        "gcld3 was to be loaded after TensorFlow, which crashes the process; "
        "identify languages in a process that does not import TensorFlow."
    )

import gcld3

SHORTEST_BYTES = 100
LONGEST_BYTES = 10_000


def identifier(model: str | None) -> Identifier:
    """Returns CLD3, or the fastText model at this path or address.

    Raises:
        DataError: if the file is not a fastText classifier, or its runtime is not installed.
    """
    return CLD3Identifier() if model is None else load_identifier(model)


class CLD3Identifier:
    """CLD3's network; takes about 0.4 ms per page, cannot be pickled, and holds the GIL."""

    def __init__(self):
        self._network = gcld3.NNetLanguageIdentifier(SHORTEST_BYTES, LONGEST_BYTES)

    def identify(self, text: str) -> Prediction:
        """Returns CLD3's prediction; lone surrogates, which it rejects, are replaced by "?"."""
        answer = self._network.FindLanguage(text.encode("utf-8", "replace").decode("utf-8"))
        return Prediction(answer.language, answer.probability, answer.is_reliable)
