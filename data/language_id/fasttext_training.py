"""Infers from a fastText model's vocabulary how its training text was preprocessed.

A model is accurate on text that is preprocessed like its training text, and preprocessing differs
between authors. OpenLID lower-cases text and removes digits and all characters outside words (its
README; `NO_WORD` and `DIGIT`). On other text it fails, first for small languages. GlotLID reads
text unchanged (its README predicts "Hello, world!"), as does lid.176. The file does not name the
preprocessing, but its words reveal it: lid.176's 7,235 words include "Die", "2007" and "(UTC)",
none of which OpenLID's preprocessing leaves as it is.
"""

from pathlib import Path
from typing import NamedTuple

import regex

from data.language_id.fasttext_content import read_entries

END_OF_LINE = "</s>"  # fastText's own word
MOST_STRAYS = 0.001  # share of words that may break a rule of their text
DIGIT = regex.compile(r"\d")
NO_WORD = regex.compile(r"[^\p{Word}\p{Zs}]")
SPACES = regex.compile(r"\s+")


class TrainingText(NamedTuple):
    """How a model's training text was written.

    Attributes:
        labels: its labels, as they stand in the file.
        is_lower_case: whether it was lower-cased.
        has_digits: whether digits were left in.
        has_marks: whether punctuation and symbols were left in.
    """

    labels: tuple[str, ...]
    is_lower_case: bool
    has_digits: bool
    has_marks: bool

    def written(self, text: str) -> str:
        """Returns a text on one line, written as the training text was."""
        text = text.lower() if self.is_lower_case else text
        text = SPACES.sub(" ", text).strip()
        text = text if self.has_digits else DIGIT.sub("", text)
        return text if self.has_marks else NO_WORD.sub("", text)


def training_text(model: Path) -> TrainingText:
    """Returns how the training text of a model was written.

    Raises:
        DataError: if the file is not a fastText classifier.
    """
    return of_vocabulary(*read_entries(model))


def of_vocabulary(words: list[str], labels: tuple[str, ...]) -> TrainingText:
    """Returns how text of these words is written; as it is, if there are none."""
    words = [word for word in words if word != END_OF_LINE]
    strays = MOST_STRAYS * len(words)
    return TrainingText(
        labels=labels,
        is_lower_case=bool(words) and sum(word != word.lower() for word in words) <= strays,
        has_digits=not words or sum(map(bool, map(DIGIT.search, words))) > strays,
        has_marks=not words or sum(map(bool, map(NO_WORD.search, words))) > strays,
    )
