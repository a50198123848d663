"""A trimmed vocabulary: the pieces that the text of some languages has, in their old order.

A piece of text stays if the training tokens of the languages have it often enough; or, if none has
to be there, all pieces that the characters of those tokens spell: more pieces, but other text in
these characters is cut as before, too. All that is not
a piece of text stays: padding, EOS, unknown, bytes, control pieces, and the sentinels as last ids.
The multiple of 128 that an embedding has leaves rows over. They go to the next pieces in count, so
no row is without a piece, unless the vocabulary has no more pieces.

**Text whose pieces all stay is cut as before.** Unigram segmentation takes the path with the
largest sum of scores. Every score stays, so the best path does, and no path gains: a character that
was a dropped piece becomes unknown, which scores less than any piece. SentencePiece
(`unigram_model.cc`) derives two scores from all pieces. Unknown scores the smallest one minus 10,
and a user-defined piece scores by the largest, so the pieces that have these two stay.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import regex
from jaxtyping import Int
from sentencepiece import sentencepiece_model_pb2

from data.errors import DataError
from data.tokens.blocks import TokenBlocks
from data.tokens.tokenizer import ROW_MULTIPLE, Tokenizer

ModelProto: Any = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue]
READ_TOKENS = 1 << 20  # at a time
LINE_END = regex.compile(r"\n|(?<=\p{Sentence_Terminal})\s+")  # NFKC makes line ends spaces


class Trimming(NamedTuple):
    """A vocabulary and what was kept of the one before.

    Attributes:
        kept: ids before of the pieces that stay, ascending; a piece's place is its new id.
        model: serialized SentencePiece model of these pieces.
    """

    kept: Int[np.ndarray, " kept"]
    model: bytes

    def rows(self, ids: int, rows: int) -> Int[np.ndarray, " rows"]:
        """Returns which rows of an embedding stay; those of padding only where pieces are used up.

        Args:
            ids: number of ids before.
            rows: number of rows before, a multiple of 128.
        """
        needed = -(-len(self.kept) // ROW_MULTIPLE) * ROW_MULTIPLE
        return np.concatenate([self.kept, np.arange(ids, rows)])[:needed]


def piece_counts(blocks: TokenBlocks, languages: Sequence[str]) -> Int[np.ndarray, " ids"]:
    """Returns how often the training tokens of the languages together have each id."""
    ids = blocks.manifest.vocabulary.vocabulary_size
    counts = np.zeros(ids, np.int64)
    for code in languages:
        stream = blocks.stream(code, "train")
        for start in range(0, len(stream), READ_TOKENS):
            tokens = stream.read(start, min(READ_TOKENS, len(stream) - start))
            counts += np.bincount(tokens, minlength=ids)
    return counts


def trim(model: bytes, counts: Int[np.ndarray, " ids"], least: int) -> Trimming:
    """Returns the vocabulary without rare pieces.

    Args:
        model: serialized SentencePiece model.
        counts: occurrences of each id.
        least: smallest number of occurrences of a piece that stays; 0 for all pieces in characters
            that occur.

    Raises:
        DataError: if the model does not choose its pieces by score (BPE, words, characters).
    """
    whole = ModelProto.FromString(model)
    if whole.trainer_spec.model_type != whole.trainer_spec.UNIGRAM:
        raise DataError(
            "The vocabulary was to be trimmed and is not a unigram model, of which alone the other "
            "pieces do not change; leave --trim out."
        )
    kept = _kept(whole, counts, least)
    proto = ModelProto()
    proto.CopyFrom(whole)
    del proto.pieces[:]
    proto.pieces.extend(whole.pieces[piece] for piece in kept.tolist())
    proto.trainer_spec.vocab_size = len(kept)
    proto.ClearField("self_test_data")  # texts with the ids that they had
    return Trimming(kept, proto.SerializeToString())


def _kept(whole: Any, counts: Int[np.ndarray, " ids"], least: int) -> Int[np.ndarray, " kept"]:
    is_text = np.array([piece.type == piece.NORMAL for piece in whole.pieces])
    scores = np.array([piece.score for piece in whole.pieces])
    stays = ~is_text | (counts >= max(least, 1))
    if least == 0:
        texts = [piece.piece for piece in whole.pieces]
        characters = set().union(*(texts[at] for at in np.flatnonzero(stays & is_text)))
        stays |= [characters.issuperset(text) for text in texts]
    stays[np.argmin(np.where(is_text, scores, np.inf))] = True
    stays[np.argmax(np.where(is_text, scores, -np.inf))] = True
    dropped = np.flatnonzero(~stays)
    by_count = dropped[np.argsort(-counts[dropped], kind="stable")]
    stays[by_count[: -int(stays.sum()) % ROW_MULTIPLE]] = True
    return np.flatnonzero(stays)


class ComparedLines(NamedTuple):
    """Lines of text cut by two vocabularies.

    Attributes:
        lines: number of lines; a sentence ends a line, as tokens keep no line ends.
        other: number of lines that the trimmed vocabulary cuts into other pieces.
    """

    lines: int
    other: int


def compared_lines(
    blocks: TokenBlocks, whole: Tokenizer, trimming: Trimming, language: str, most: int
) -> ComparedLines:
    """Returns how many lines of held-out text the trimmed vocabulary cuts into other pieces.

    Args:
        blocks: token blocks.
        whole: their vocabulary.
        trimming: the trimmed vocabulary.
        language: code of the language.
        most: largest number of pages; 0 for all.
    """
    small = Tokenizer(trimming.model)
    held_out = language in blocks.languages("validation")
    pages = blocks.pages(language, "validation", most) if held_out else []
    texts = (LINE_END.split(whole.decode(page.tokens)) for page in pages)
    lines = [line for text in texts for line in text if line.strip()]
    other = sum(
        not np.array_equal(whole.encode(line), trimming.kept[small.encode(line)]) for line in lines
    )
    return ComparedLines(len(lines), other)
