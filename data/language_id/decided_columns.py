"""Columns of languages for pages whose language is decided already, by CLD2 alone.

`mswitch-web` asks all identifiers while it cleans, and keeps the decision with its probability.
What its corpus lacks is the share of each page that is in its language. CLD2 tells it from one
reading without segments, in a quarter of the time that all columns take (`language_columns`).
"""

import math
from collections.abc import Sequence

import pyarrow as pa

from data.language_id import cld2
from data.language_id.cld2 import CLD2Answer
from data.language_id.language_columns import COLUMNS


def decided_columns(
    texts: Sequence[str], languages: Sequence[str], probabilities: Sequence[float]
) -> pa.RecordBatch:
    """Returns a row per text, with null for what CLD3 and a fastText model would answer.

    Args:
        texts: texts of pages.
        languages: decided language of each.
        probabilities: probability of each decision.
    """
    answers = [cld2.identify(text) for text in texts]
    known = {
        "combined_language": list(languages),
        "combined_probability": list(probabilities),
        "language_share": list(map(share_in, languages, answers)),
        "cld2_language": [answer.language for answer in answers],
    }
    columns = [
        pa.array(known[field.name], field.type)
        if field.name in known
        else pa.nulls(len(texts), field.type)
        for field in COLUMNS
    ]
    return pa.RecordBatch.from_arrays(columns, schema=COLUMNS)


def share_in(language: str, answer: CLD2Answer) -> float | None:
    """Returns the share of a page in its language; None if CLD2 saw no language.

    The share is in bytes, out of all bytes that CLD2 assigned to the languages that it named (at
    most three). If the page's language is not among them, the share of CLD2's answer is returned.
    """
    shares = dict(answer.shares)
    seen = math.fsum(shares.values())
    return shares.get(language, shares[answer.language]) / seen if seen else None
