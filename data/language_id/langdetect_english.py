"""English or not, by langdetect with C4's seed.

langdetect draws random numbers; seed 0 makes its predictions reproducible. `langdetect-rs` returns
the same labels and probabilities 47 times as fast. It distinguishes 55 languages.

langdetect's probabilities depend on the Python that it runs on: since 3.12 `sum` has other last
bits, and each version has its own letters. Here they are those of Python 3.11 on every version.
"""

import functools

from langdetect_rs import _core
from langdetect_rs._seed import seed_state

from data.language_id.prediction import Prediction

SEED = 0
UNICODE = "14.0.0"  # of Python 3.11


def identify(text: str) -> Prediction | None:
    """Returns langdetect's prediction, or None if the text has no features that it can use."""
    found = _detector().detect_langs(text, seed_state(SEED))
    if not found:
        return None
    language, probability = found[0]
    return Prediction(language, probability, is_reliable=True)


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
