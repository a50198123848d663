"""A fastText model of words, trained by counting and written byte by byte.

A word's vector holds its centred log probabilities in each language, and the output matrix is the
identity, times the number of words for which it is certain. So the model is naive Bayes over the
mean of a line's words, and a word that it has not seen says nothing.
"""

import math
import struct
from collections import Counter
from collections.abc import Mapping

from raw_fasttext import arguments, counts, entries, model

CERTAIN = 12.0


def trained(lines: Mapping[str, str]) -> bytes:
    """Returns the model of the lines by label, whose words are what white space separates."""
    seen = {label: Counter(line.split()) for label, line in lines.items()}
    words = sorted(set().union(*seen.values()))
    vectors = [_vector(word, seen) for word in words]
    size, labels = len(seen), [label.encode() for label in seen]
    nothing = [0.0] * size  # the end of the line, which is the first word
    identity = [CERTAIN * (row == column) for row in range(size) for column in range(size)]
    return model(
        head=arguments(dim=size, maxn=0, minn=0, bucket=0, word_ngrams=1),
        declared=counts(len(words) + 1, size),
        words=entries([b"</s>", *(word.encode() for word in words)], 0),
        labels=entries(labels, 1),
        matrices=_dense([nothing, *vectors]) + _dense([identity], size),
    )


def _vector(word: str, seen: Mapping[str, Counter]) -> list[float]:
    logs = [math.log((some[word] + 0.1) / (some.total() + 1)) for some in seen.values()]
    mean = sum(logs) / len(logs)
    return [one - mean for one in logs]


def _dense(rows: list[list[float]], columns: int | None = None) -> bytes:
    numbers = [number for row in rows for number in row]
    wide = columns or len(rows[0])
    return struct.pack(f"<?qq{len(numbers)}f", False, len(numbers) // wide, wide, *numbers)
