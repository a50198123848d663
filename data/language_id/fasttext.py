"""Language identification by the user's fastText model: GlotLID, OpenLID, NLLB, lid.176.

The runtime is `fasttext-predict` (the extra `mswitch[fasttext]`): it reads .bin and .ftz, has
wheels for every supported Python, and does not need NumPy (the original binding breaks on NumPy 2).
The model reads the first 10,000 characters of a page as one line, preprocessed like its training
text (`fasttext_training`). fastText has no notion of reliability: every prediction counts
as reliable, and its probability decides.
"""

from collections.abc import Callable
from pathlib import Path

from data.errors import DataError
from data.language_id.confusions import of_fasttext
from data.language_id.fasttext_content import not_a_classifier
from data.language_id.fasttext_training import training_text
from data.language_id.prediction import Prediction
from data.languages import UNDETERMINED
from data.stores.files import local_copy

LONGEST_CHARACTERS = 10_000


class FastTextIdentifier:
    """A fastText model with its labels as mC4's codes; cannot be pickled.

    Attributes:
        confusions: what it can answer with.
    """

    def __init__(self, model: Path):
        """Loads the model.

        Raises:
            DataError: if the file is not a fastText classifier, or the extra is not installed.
        """
        self._training_text = training_text(existing_file(model))
        self._predict, self._code = _load(model)
        self.confusions = of_fasttext(map(self._code, self._training_text.labels))

    def identify(self, text: str) -> Prediction:
        """Returns the model's prediction; lone surrogates are replaced by "?"."""
        line = self._training_text.written(text[:LONGEST_CHARACTERS])
        labels, probabilities = self._predict(line.encode("utf-8", "replace").decode("utf-8"))
        if not line or not labels:
            return Prediction(UNDETERMINED, 0.0, is_reliable=False)
        # Probabilities are float32 sums and can exceed 1 by about 1e-5.
        return Prediction(
            self._code(labels[0]), min(float(probabilities[0]), 1.0), is_reliable=True
        )


def loaded(model: str) -> FastTextIdentifier:
    """Returns the identifier of a model that may be on an object store.

    Raises:
        DataError: if the file cannot be read or is not a classifier, or the extra is not installed.
    """
    with local_copy(model) as here:  # the loader keeps nothing of the file open
        return FastTextIdentifier(here)


def existing_file(model: Path) -> Path:
    """Returns the model's path.

    Raises:
        DataError: if there is no such file.
    """
    if not model.is_file():
        raise DataError(
            f"Language identifier {str(model)!r} was asked for and is not a file; "
            "give a fastText model (.bin or .ftz), or leave the option out for CLD3."
        )
    return model


def _load(model: Path) -> tuple[Callable, Callable[[str], str]]:
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
        predict("")
    except (ValueError, RuntimeError) as error:
        raise not_a_classifier(model, str(error)) from error
    return predict, mc4_code
