"""The words and labels in a fastText model's file, which its loader does not tell.

The format is what `FastText::loadModel` of fastText 0.9.2 reads: arguments, dictionary, pairs of
pruned n-grams, and two matrices, dense or quantized. The loader does not notice where a file ends,
and gives all labels of one that was cut the same probability. So the file's length is compared with
what it declares. No other number is checked here: `fasttext_trial` loads a model under limits.
"""

import mmap
import struct
from pathlib import Path

from data.errors import DataError

ARGUMENTS = struct.Struct("<14id")  # magic number, version, and arguments, of which dim is first
MAGIC = 793712314
COUNTS = struct.Struct("<iiiqq")  # entries, words, labels, tokens; pruned n-grams, or -1
BEHIND_WORD = len(b"\0") + struct.calcsize("<qb")  # its count and type
PAIR = struct.calcsize("<2i")
CENTROIDS = struct.calcsize("<256f")  # per dimension of a quantizer
QUANTIZER = struct.calcsize("<4i")


def read_entries(model: Path) -> tuple[list[str], tuple[str, ...]]:
    """Returns the words and the labels of a model.

    Raises:
        DataError: if the file is not a model, or ends before what it declares.
    """
    try:
        with (
            model.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        ):
            return _entries(model, content)
    except (struct.error, ValueError, OverflowError) as error:  # ValueError: empty, or not UTF-8
        raise not_a_classifier(model, str(error)) from error


def _entries(model: Path, content: mmap.mmap) -> tuple[list[str], tuple[str, ...]]:
    magic, _, dim, *_ = ARGUMENTS.unpack_from(content)
    size, words, _, _, pruned = COUNTS.unpack_from(content, ARGUMENTS.size)
    if magic != MAGIC:
        raise not_a_classifier(model, "it does not begin as one")
    entries, at = [], ARGUMENTS.size + COUNTS.size
    for number in range(size):
        end = content.find(b"\0", at)
        if end < 0:
            raise not_a_classifier(model, f"word {number + 1:,} of {size:,} has no end")
        entries.append(content[at:end])
        at = end + BEHIND_WORD
    if _end_of_matrices(content, at + PAIR * max(pruned, 0), dim) > len(content):
        raise not_a_classifier(model, "its matrices are cut")
    return (
        [word.decode("utf-8", "replace") for word in entries[:words]],
        tuple(label.decode("utf-8") for label in entries[words:]),
    )


def _end_of_matrices(content: mmap.mmap, at: int, dim: int) -> int:
    """Returns the place behind both matrices, the first of which begins at a place."""
    for _ in ("input", "output"):
        is_quantized = content[at : at + 1] == b"\1"
        if not is_quantized:
            rows, columns = struct.unpack_from("<qq", content, at + 1)
            at += struct.calcsize("<?qq") + 4 * rows * columns
            continue
        has_norms, rows, _, codes = struct.unpack_from("<?qqi", content, at + 1)
        at += struct.calcsize("<??qqi") + codes + QUANTIZER + CENTROIDS * dim
        at += (rows + QUANTIZER + CENTROIDS) * has_norms
    return at


def not_a_classifier(model: Path, reason: str) -> DataError:
    """Returns the error for a file that is not what the user called it."""
    return DataError(
        f"Language identifier {str(model)!r} should be a fastText classifier and is not "
        f"({reason}); give one such as GlotLID's model.bin."
    )
