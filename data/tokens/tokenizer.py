"""Text to ids and back: a SentencePiece model as mT5's, with 100 sentinels as its last real ids.

Layout, as T5 has it: 0 padding, 1 EOS, 2 unknown, then 256 byte pieces and the learned pieces, then
the sentinels, `<extra_id_0>` being the *last* id and the others descending from it. The embedding
is padded to a multiple of 128 rows beyond them; a padding row is never a sentinel and never a
target.

Control pieces (padding, EOS, sentinels) are never produced by encoding text, so a page that
contains "<extra_id_0>" literally cannot forge one.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Int

from data.errors import DataError

MODEL_FILE = "sentencepiece.model"  # in every directory that needs the vocabulary
SENTINELS = 100
PADDING, EOS, UNKNOWN = 0, 1, 2
ROW_MULTIPLE = 128  # T5X pads 250,100 ids to 250,112 rows: matrix units want round shapes
_WORD_START = "\u2581"  # SentencePiece's visible space


class Tokenizer:
    """One loaded SentencePiece model."""

    def __init__(self, model: bytes):
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(model)
        except RuntimeError as error:
            raise DataError(
                "The vocabulary is not a SentencePiece model; train it again."
            ) from error

    @property
    def size(self) -> int:
        """Ids in all, sentinels included, padding rows not."""
        return self.processor.GetPieceSize()

    @property
    def rows(self) -> int:
        """Rows of the embedding: the size, rounded up to a multiple of 128."""
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
        """True for the last 100 ids."""
        return self.size - SENTINELS <= token < self.size

    @cached_property
    def piece_bytes(self) -> Int[np.ndarray, " rows"]:
        """UTF-8 bytes of text that each id stands for; 0 for control ids and padding rows.

        A byte piece stands for 1, an unknown id for 1 at least (its text is lost). The space before
        a word counts with the word.
        """
        sizes = np.zeros(self.rows, dtype=np.int64)
        for token in range(self.size):
            if self.processor.IsByte(token) or self.processor.IsUnknown(token):
                sizes[token] = 1
            elif not self.processor.IsControl(token):
                piece = self.processor.IdToPiece(token).replace(_WORD_START, " ")
                sizes[token] = len(piece.encode())
        return sizes


def load(path: Path) -> Tokenizer:
    """Loads a `.model` file.

    Raises:
        DataError: missing, or not a model in T5's layout with 100 sentinels as its last ids.
    """
    tokenizer = load_any(path)
    last = tokenizer.processor.IdToPiece(tokenizer.first_sentinel)
    if not has_sentinels(tokenizer):
        raise DataError(
            f"{path} should end with the sentinel <extra_id_0> and ends with {last!r}; "
            f"let `mswitch vocabulary --model {path} --out DIR` add the sentinels."
        )
    return tokenizer


def load_any(path: Path) -> Tokenizer:
    """Loads a `.model` file in T5's layout, which may end with sentinels or not.

    Raises:
        DataError: missing, no SentencePiece model, or padding, EOS and unknown lie elsewhere.
    """
    if not path.exists():
        raise DataError(
            f"A vocabulary was expected at {path}, which does not exist; train one first."
        )
    tokenizer = Tokenizer(path.read_bytes())
    found = tokenizer.processor
    if (found.pad_id(), found.eos_id(), found.unk_id()) != (PADDING, EOS, UNKNOWN):
        raise DataError(
            f"{path} should have padding, EOS and unknown as ids 0, 1 and 2, as T5 has, and has "
            f"them as {found.pad_id()}, {found.eos_id()} and {found.unk_id()}; name another model "
            "or train one."
        )
    return tokenizer


def has_sentinels(tokenizer: Tokenizer) -> bool:
    """True if the last 100 pieces are sentinels in T5's order."""
    names = [
        tokenizer.processor.IdToPiece(token).removeprefix(_WORD_START)  # as some converters write
        for token in range(max(tokenizer.size - SENTINELS, 0), tokenizer.size)
    ]
    return names == sentinel_pieces()


def sentinel_pieces() -> list[str]:
    """Returns the sentinels in the order of their ids: 99 first, 0 last."""
    return [f"<extra_id_{number}>" for number in reversed(range(SENTINELS))]
