"""Language identification by a fastText model of the user's: GlotLID, OpenLID, NLLB's, lid.176.

The runtime is `fasttext-predict` (the extra `mswitch[fasttext]`): it reads .bin and .ftz, needs no
NumPy, which the original binding breaks on since NumPy 2, and has wheels for every Python served.
The first 10,000 characters of a page are looked at, as one line. fastText says nothing of
reliability: every answer counts as reliable, its probability decides.
"""

from collections.abc import Callable
from pathlib import Path

from data.errors import DataError
from data.language_id.prediction import Prediction
from data.languages import UNDETERMINED

LONGEST_CHARACTERS = 10_000


class FastTextIdentifier:
    """A fastText model with its labels as mC4's codes; cannot be pickled."""

    def __init__(self, model: Path):
        """Loads the model.

        Raises:
            DataError: the file is no fastText classifier, or the extra is not installed.
        """
        self._predict, self._code = _load(model)

    def identify(self, text: str) -> Prediction:
        """Returns the model's best answer; lone surrogates count as "?"."""
        line = " ".join(text[:LONGEST_CHARACTERS].split())
        labels, probabilities = self._predict(line.encode("utf-8", "replace").decode("utf-8"))
        if not line or not labels:
            return Prediction(UNDETERMINED, 0.0, is_reliable=False)
        # Probabilities are single-precision sums and exceed 1 by some 1e-5.
        return Prediction(
            self._code(labels[0]), min(float(probabilities[0]), 1.0), is_reliable=True
        )


def _load(model: Path) -> tuple[Callable, Callable[[str], str]]:
    if not model.is_file():
        raise DataError(
            f"Language identifier {str(model)!r} was asked for and is no file; "
            "give a fastText model (.bin or .ftz), or leave the option out for CLD3."
        )
    try:
        import fasttext

        from data.language_id.labels import mc4_code
    except ImportError as error:
        raise DataError(
            f"Language identifier {str(model)!r} is a fastText model, which nothing installed here "
            "can read; install mswitch with the extra 'fasttext'."
        ) from error
    try:
        predict = fasttext.load_model(str(model)).predict
        predict("")  # a model of word vectors loads and cannot classify
    except (ValueError, RuntimeError) as error:
        raise DataError(
            f"Language identifier {str(model)!r} should be a fastText classifier and is not "
            f"({error}); give one such as GlotLID's model.bin."
        ) from error
    return predict, mc4_code
