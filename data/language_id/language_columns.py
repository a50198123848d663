"""Identification of pages as columns: the decision, its share of the page, and each answer.

CLD3 is null where CLD2 decided without it, and both are null for text that is not a language. The
share compares the characters of the segments in the page's language with those of all segments that
CLD2 assigned to a language: 1 for a page in one language, 0.6 if two fifths are English. If CLD2
found no segment in the language that was decided, the segments in its first answer count instead.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from data.language_id import cld2
from data.language_id.cld2 import CLD2Answer, Segment
from data.language_id.combined import CombinedIdentifier
from data.language_id.prediction import Prediction
from data.languages import UNDETERMINED

COLUMNS = pa.schema(
    [
        ("combined_language", pa.string()),
        ("combined_probability", pa.float32()),
        ("language_share", pa.float32()),  # null where no segment has a language
        ("cld2_language", pa.string()),
        ("cld3_language", pa.string()),
        ("cld3_probability", pa.float32()),
        ("fasttext_language", pa.string()),
        ("fasttext_probability", pa.float32()),
    ]
)


def columns(texts: Sequence[str], model: str | None = None) -> pa.RecordBatch:
    """Returns a row per text, in their order; `model` is a fastText model that decides with CLD3.

    Raises:
        DataError: if the file is not a fastText classifier, or the extra is not installed.
    """
    identifier = _identifier(model)
    return pa.RecordBatch.from_pylist([_row(identifier, text) for text in texts], COLUMNS)


def share_of_page(language: str, answer: CLD2Answer, segments: Sequence[Segment]) -> float | None:
    """Returns the share of a page's characters in its language; None if CLD2 saw no language."""
    characters: Counter[str] = Counter()
    for one in segments:
        characters[one.language] += one.characters
    del characters[UNDETERMINED]
    if not characters.total():
        return None
    seen = language if characters[language] else answer.language
    return characters[seen] / characters.total()


def _row(identifier: CombinedIdentifier, text: str) -> dict[str, Any]:
    answer, segments = cld2.segments(text)
    combined, by_cld2, by_cld3, by_model = identifier.answers(text, answer)
    return {
        "combined_language": combined.language,
        "combined_probability": combined.probability,
        "language_share": by_cld2 and share_of_page(combined.language, by_cld2, segments),
        "cld2_language": by_cld2 and by_cld2.language,
        **_columns("cld3", by_cld3),
        **_columns("fasttext", by_model),
    }


def _columns(identifier: str, said: Prediction | None) -> dict[str, Any]:
    return {
        f"{identifier}_language": said and said.language,
        f"{identifier}_probability": said and said.probability,
    }


@functools.cache
def _identifier(model: str | None) -> CombinedIdentifier:
    return CombinedIdentifier(model)
