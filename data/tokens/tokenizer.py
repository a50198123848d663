"""The tokenizer: a SentencePiece model in mT5's layout, with 100 sentinels as its last ids.

T5's layout: 0 padding, 1 EOS, 2 unknown, then 256 byte pieces and the learned pieces, then the
sentinels in descending order, so that `<extra_id_0>` is the *last* id. The embedding is padded to a
multiple of 128 rows; a padding row is never a sentinel and never a target.

Encoding text never produces control pieces (padding, EOS, sentinels), so a page with the text
"<extra_id_0>" cannot forge one.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Int

from data.errors import DataError
from data.stores.files import exists, read_at_most
from data.tokens.character_map import check_character_maps

MODEL_FILE = "sentencepiece.model"  # in every directory with a vocabulary
MOST_BYTES = 256 << 20  # mT5's has 4 MB
SENTINELS = 100
PADDING, EOS, UNKNOWN = 0, 1, 2
ROW_MULTIPLE = 128  # T5X pads 250,100 ids to 250,112 rows, for the matrix units
_WORD_START = "\u2581"  # SentencePiece's visible space


class Tokenizer:
    """One loaded SentencePiece model."""

    def __init__(self, model: bytes):
        check_character_maps(model)
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(model)
            _ = [self.processor.IdToPiece(token) for token in range(self.size)]
        except (RuntimeError, UnicodeDecodeError) as error:  # of a message or a piece
            raise DataError(
                "The vocabulary is not a SentencePiece model with pieces in UTF-8; train it again."
            ) from error

    @property
    def size(self) -> int:
        """Number of ids, with sentinels and without padding rows."""
        return self.processor.GetPieceSize()

    @property
    def rows(self) -> int:
        """Number of rows of the embedding: the size, rounded up to a multiple of 128."""
        return -(-self.size // ROW_MULTIPLE) * ROW_MULTIPLE

    @property
    def first_sentinel(self) -> int:
        """Id of `<extra_id_0>`, the highest id."""
        return self.size - 1

    @cached_property
    def byte_ids(self) -> range:
        """Ids of the 256 byte pieces, empty for a model without byte fallback."""
        found = [token for token in range(self.size) if self.processor.IsByte(token)]
        return range(found[0], found[-1] + 1) if found else range(0)

    def encode(self, text: str) -> Int[np.ndarray, " tokens"]:
        """Returns the ids of a text, without EOS."""
        return np.asarray(self.processor.EncodeAsIds(text), dtype=np.int32)

    def decode(self, ids: Int[np.ndarray, " tokens"]) -> str:
        """Returns the text of ids; sentinels are written as `<extra_id_N>`."""
        parts: list[str] = []
        ordinary: list[int] = []
        for token in (int(token) for token in ids):
            if self.is_sentinel(token):
                parts += [
                    self.processor.DecodeIds(ordinary),
                    f" <extra_id_{self.first_sentinel - token}> ",
                ]
                ordinary = []
            elif token not in (PADDING, EOS):
                ordinary.append(token)
        return "".join([*parts, self.processor.DecodeIds(ordinary)]).strip()

    def is_sentinel(self, token: int) -> bool:
        """Returns whether an id is one of the last 100."""
        return self.size - SENTINELS <= token < self.size

    @cached_property
    def piece_bytes(self) -> Int[np.ndarray, " rows"]:
        """Number of UTF-8 bytes of text per id; 0 for control ids, sentinels and padding rows.

        A byte piece has 1 byte. An unknown id has at least 1, as its text is lost, and counts as 1.
        The space before a word belongs to the word.
        """
        sizes = np.zeros(self.rows, dtype=np.int64)
        for token in range(self.size):
            if self.processor.IsByte(token) or self.processor.IsUnknown(token):
                sizes[token] = 1
            elif not self.processor.IsControl(token) and not self.is_sentinel(token):
                piece = self.processor.IdToPiece(token).replace(_WORD_START, " ")
                sizes[token] = len(piece.encode())
        return sizes


def load(path: str | Path) -> Tokenizer:
    """Loads a `.model` file.

    Raises:
        DataError: if the file is missing, or not a model in T5's layout with 100 sentinels at its
            end, which are control pieces.
    """
    tokenizer = load_any(path)
    if not (has_sentinels(tokenizer) and ends_in_control_pieces(tokenizer)):
        last = tokenizer.processor.IdToPiece(tokenizer.first_sentinel)
        kind = "as a piece of text" if has_sentinels(tokenizer) else ""
        raise DataError(
            f"{path} should end with the sentinel <extra_id_0>, which no text can forge, and ends "
            f"with {last!r}{kind and f' {kind}'}; let `mswitch vocabulary --model {path} --out "
            "DIR` make the sentinels."
        )
    return tokenizer


def load_any(path: str | Path) -> Tokenizer:
    """Loads a `.model` file in T5's layout, with or without sentinels.

    Raises:
        DataError: if the file is missing, is not a SentencePiece model, or has other ids for
            padding, EOS and unknown.
    """
    if not exists(path):
        raise DataError(
            f"A vocabulary was expected at {path}, which does not exist; train one first."
        )
    content = read_at_most(path, MOST_BYTES)
    if content is None:
        raise DataError(
            f"{path} should be a SentencePiece model of at most {MOST_BYTES:,} bytes and is "
            "larger; name another."
        )
    try:
        tokenizer = Tokenizer(content)
    except DataError as error:
        raise DataError(f"{path} cannot be used. {error}") from error
    found = tokenizer.processor
    if (found.pad_id(), found.eos_id(), found.unk_id()) != (PADDING, EOS, UNKNOWN):
        raise DataError(
            f"{path} should have padding, EOS and unknown as ids 0, 1 and 2, as T5 has, and has "
            f"them as {found.pad_id()}, {found.eos_id()} and {found.unk_id()}; name another model "
            "or train one."
        )
    return tokenizer


def has_sentinels(tokenizer: Tokenizer) -> bool:
    """Returns whether the last 100 pieces are sentinels in T5's order."""
    names = [
        tokenizer.processor.IdToPiece(token).removeprefix(_WORD_START)  # as some converters write
        for token in range(max(tokenizer.size - SENTINELS, 0), tokenizer.size)
    ]
    return names == sentinel_pieces()


def ends_in_control_pieces(tokenizer: Tokenizer) -> bool:
    """Returns whether the last 100 pieces are control pieces: no text is encoded as one."""
    last = range(tokenizer.size - SENTINELS, tokenizer.size)
    return all(tokenizer.processor.IsControl(token) for token in last)


def sentinel_pieces() -> list[str]:
    """Returns the sentinels in the order of their ids, from 99 down to 0."""
    return [f"<extra_id_{number}>" for number in reversed(range(SENTINELS))]
