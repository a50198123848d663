"""Identification of pages as columns of a table: the decision, its share of the page, each answer.

CLD3 is null where CLD2 decided without it, and both are null for text that is not a language. The
share compares the characters of the segments in the page's language with those of all segments that
CLD2 assigned to a language: 1 for a page in one language, 0.6 if two fifths are English. If CLD2
found no segment in the language that was decided, the segments in its first answer count instead.

`mswitch-web` asks all identifiers while it cleans, and keeps the decision with its probability.
What its corpus lacks is the share of each page that is in its language. CLD2 alone finds it in one
reading, in a quarter of the time that all columns take (`decided_columns`).
"""

import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from data.language_id import identifiers
from data.language_id.combined import CombinedIdentifier
from data.language_id.identifiers import CLD2Answer, LanguageSegment, Prediction
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


def share_of_page(
    language: str, answer: CLD2Answer, segments: Sequence[LanguageSegment]
) -> float | None:
    """Returns the share of a page's characters in its language; None if CLD2 saw no language."""
    characters: Counter[str] = Counter()
    for segment in segments:
        characters[segment.language] += segment.characters
    del characters[UNDETERMINED]
    if not characters.total():
        return None
    seen = language if characters[language] else answer.language
    return characters[seen] / characters.total()


def _row(identifier: CombinedIdentifier, text: str) -> dict[str, Any]:
    answer, segments = identifiers.segments(text)
    combined, by_cld2, by_cld3, by_model = identifier.answers(text, answer)
    return {
        "combined_language": combined.language,
        "combined_probability": combined.probability,
        "language_share": by_cld2 and share_of_page(combined.language, by_cld2, segments),
        "cld2_language": by_cld2 and by_cld2.language,
        **_columns("cld3", by_cld3),
        **_columns("fasttext", by_model),
    }


def _columns(identifier: str, answer: Prediction | None) -> dict[str, Any]:
    return {
        f"{identifier}_language": answer and answer.language,
        f"{identifier}_probability": answer and answer.probability,
    }


@functools.cache
def _identifier(model: str | None) -> CombinedIdentifier:
    return CombinedIdentifier(model)


def decided_columns(
    texts: Sequence[str], languages: Sequence[str], probabilities: Sequence[float]
) -> pa.RecordBatch:
    """Returns a row per text, with null for what CLD3 and a fastText model would answer.

    Args:
        texts: texts of pages.
        languages: decided language of each.
        probabilities: probability of each decision.
    """
    answers = [identifiers.identify_by_cld2(text) for text in texts]
    known = {
        "combined_language": list(languages),
        "combined_probability": list(probabilities),
        "language_share": list(map(share_of_bytes, languages, answers)),
        "cld2_language": [answer.language for answer in answers],
    }
    columns = [
        pa.array(known[field.name], field.type)
        if field.name in known
        else pa.nulls(len(texts), field.type)
        for field in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(columns, schema=COLUMNS)


def share_of_bytes(language: str, answer: CLD2Answer) -> float | None:
    """Returns the share of a page in its language; None if CLD2 saw no language.

    The share is in bytes, out of all bytes that CLD2 assigned to the languages that it named (at
    most three). If the page's language is not among them, the share of CLD2's answer is returned.
    """
    shares = dict(answer.shares)
    seen = math.fsum(shares.values())
    return shares.get(language, shares[answer.language]) / seen if seen else None
