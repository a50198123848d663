"""Checks that a fastText model's file holds what it declares, before the loader reads it.

The format is what `FastText::loadModel` of fastText 0.9.2 reads: arguments, dictionary, pairs of
pruned n-grams, and two matrices, dense or quantized. The loader checks none of these numbers: it
makes tables of any declared size, reads on behind the file's end, and uses indices as they are.
After this check each index is inside its table. The time and memory of loading are at most
proportional to the file's size, apart from the time for words whose hashes collide.
"""

from array import array
from pathlib import Path
from typing import NamedTuple

from data.language_id.fasttext_content import SHORTEST_ENTRY, ModelContent

MAGIC = 793712314
VERSIONS = (11, 12)
SUPERVISED = 3
HIERARCHICAL = 1
LOSSES = (HIERARCHICAL, 2, 3, 4)  # 2: negative sampling, 3: softmax, 4: one-vs-all
SIGMOIDS = (2, 4)  # losses whose predictions index a table by the output's value
LONGEST_NGRAM = 16  # characters or words; published identifiers have at most 6
HIGHEST_COUNT = 10**15  # the loader's mark of a tree node that is not yet built
CENTROIDS = 256 * 4  # bytes per dimension of a quantizer
LARGEST_INDEX = 2**31 - 1


class FastTextArguments(NamedTuple):
    """The file's arguments of training, in its order."""

    dim: int
    ws: int
    epoch: int
    min_count: int
    neg: int
    word_ngrams: int
    loss: int
    model: int
    bucket: int
    minn: int
    maxn: int
    lr_update_rate: int
    t: float


class DictionaryCounts(NamedTuple):
    """The dictionary's counts in the file's order; `pruned` is -1 where no n-gram was pruned."""

    size: int
    words: int
    labels: int
    tokens: int
    pruned: int


def memory_to_load(model: Path) -> int:
    """Returns the bytes of memory that loading takes at most, after a check of the whole file.

    Raises:
        DataError: if the file is not a classifier, or does not hold what it declares.
    """
    with model.open("rb") as file:
        content = ModelContent(model, file)
        arguments = read_arguments(content)
        counts = read_counts(content)
        before = content.left()
        _check_words(content, arguments, counts)
        dictionary = before - content.left()
        _check_pruned(content, counts)
        _check_matrices(content, arguments, counts)
    # Vectors grow by doubling. An entry has 72 bytes and 6 in the table of words. A label's path in
    # the tree of hierarchical softmax has at most 72 nodes.
    ngrams = dictionary * arguments.maxn
    tables = 256 * counts.size + 1024 * counts.labels + 64 * max(counts.pruned, 0)
    return content.size + 2 * 4 * ngrams + tables


def read_arguments(content: ModelContent) -> FastTextArguments:
    """Returns the arguments at the file's beginning, checked."""
    magic, version = content.numbers("<ii", "a header")
    content.require(magic == MAGIC, "it does not begin as one")
    content.require(version in VERSIONS, f"its version is {version} instead of 11 or 12")
    arguments = FastTextArguments(*content.numbers("<12id", "arguments"))
    require = content.require
    require(arguments.model == SUPERVISED, "it holds word vectors, which cannot classify")
    require(arguments.loss in LOSSES, f"its loss is {arguments.loss} instead of 1 to 4")
    require(arguments.dim > 0, f"its vectors have {arguments.dim} dimensions")
    if version == VERSIONS[0]:
        arguments = arguments._replace(maxn=0)  # as the loader reads it
    longest = max(arguments.maxn, arguments.word_ngrams)
    require(longest <= LONGEST_NGRAM, f"its n-grams have up to {longest:,} parts, over 16")
    require(arguments.maxn >= 0, f"its n-grams have up to {arguments.maxn:,} characters")
    hashes = arguments.maxn > 0 or arguments.word_ngrams > 1
    require(arguments.bucket >= hashes, f"it has {arguments.bucket:,} buckets for n-grams")
    return arguments


def read_counts(content: ModelContent) -> DictionaryCounts:
    """Returns the counts behind the arguments, checked."""
    counts = DictionaryCounts(*content.numbers("<iiiqq", "counts of the dictionary"))
    content.require(
        counts.words >= 0 < counts.labels and counts.size == counts.words + counts.labels,
        f"its {counts.size:,} entries should be {counts.words:,} words and {counts.labels:,} "
        "labels",
    )
    content.has(counts.size * SHORTEST_ENTRY, "a dictionary")
    content.require(counts.pruned >= -1, f"it has {counts.pruned:,} pruned n-grams")
    return counts


def _check_words(
    content: ModelContent, arguments: FastTextArguments, counts: DictionaryCounts
) -> None:
    """Checks that words come before labels, and that the labels' counts make a tree.

    The loader builds Huffman's tree from counts in descending order. Zeros make it a chain, which
    takes memory with the square of the number of labels, and too large ones make it a circle.
    """
    highest = HIGHEST_COUNT - 1
    for number, (word, count, kind) in enumerate(content.entries(counts.size)):
        is_label = number >= counts.words
        if kind != is_label:
            content.refuse(f"entry {number + 1:,} has the type {kind}")
        if not 0 <= count < HIGHEST_COUNT:
            content.refuse(f"entry {number + 1:,} has the count {count:,}")
        if is_label:
            content.require(_is_utf8(word), "a label is not UTF-8")
            is_sorted = arguments.loss != HIERARCHICAL or 0 < count <= highest
            content.require(is_sorted, "its labels' counts are not in descending order above 0")
            highest = count


def _is_utf8(label: bytes) -> bool:
    try:
        label.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _check_pruned(content: ModelContent, counts: DictionaryCounts) -> None:
    if counts.pruned <= 0:
        return
    pairs = array("i", content.read(8 * counts.pruned, "pairs of pruned n-grams"))
    rows = pairs[1::2]
    content.require(
        min(rows) >= 0 and max(rows) < counts.pruned, "a pruned n-gram has no row in its matrix"
    )


def _check_matrices(
    content: ModelContent, arguments: FastTextArguments, counts: DictionaryCounts
) -> None:
    ngrams = arguments.bucket if counts.pruned < 0 else counts.pruned
    is_quantized = content.flag("the mark of a quantized input matrix")
    _check_matrix(content, counts.words + ngrams, arguments.dim, is_quantized)
    is_output_quantized = content.flag("the mark of a quantized output matrix") and is_quantized
    # Only a dense matrix is checked for NaN, which would be an index far outside the table.
    content.require(
        not (is_output_quantized and arguments.loss in SIGMOIDS),
        f"its output matrix is quantized, which is unsafe with its loss, {arguments.loss}",
    )
    _check_matrix(content, counts.labels, arguments.dim, is_output_quantized)


def _check_matrix(content: ModelContent, rows: int, dim: int, is_quantized: bool) -> None:
    """Checks a matrix that needs so many rows."""
    has_norms = is_quantized and content.flag("the mark of norms")
    found, columns = content.numbers("<qq", "a matrix's shape")
    content.require(
        rows <= found <= LARGEST_INDEX and columns == dim,
        f"a matrix of {found:,} x {columns:,} numbers should be {rows:,} x {dim:,}",
    )
    if not is_quantized:
        content.skip(4 * found * columns, "a matrix")
        return
    (codes,) = content.numbers("<i", "a matrix's codes")
    content.skip(codes, "a matrix's codes")
    parts = _check_quantizer(content, dim)
    content.require(codes >= found * parts, f"a matrix of {found:,} rows has {codes:,} codes")
    if has_norms:
        content.skip(found, "a matrix's norms")
        _check_quantizer(content, 1)


def _check_quantizer(content: ModelContent, dim: int) -> int:
    """Returns the number of parts into which the quantizer cuts a vector."""
    found, parts, width, last = content.numbers("<iiii", "a quantizer")
    content.require(
        found == dim and 0 < last <= width and parts > 0 and (parts - 1) * width + last == dim,
        f"a quantizer cuts {found:,} dimensions into {parts:,} parts of {width:,} and {last:,}",
    )
    content.skip(CENTROIDS * dim, "a quantizer")
    return parts
