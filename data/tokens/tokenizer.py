"""The tokenizer: a SentencePiece model in mT5's layout, with 100 sentinels as its last ids.

The layout is T5's: 0 padding, 1 EOS, 2 unknown, then 256 byte pieces and the learned pieces, then
the sentinels in descending order, so that `<extra_id_0>` is the *last* id. The embedding is padded
to a multiple of 128 rows; a padding row is never a sentinel and never a target. Encoding text never
produces control pieces (padding, EOS, sentinels), so a page with the text "<extra_id_0>" cannot
forge one.

Character maps are checked before SentencePiece follows them. A map normalizes text before it is cut
into pieces. It is the number of bytes of a trie, the trie as a double array of 32-bit units, and
the strings that it leads to, each ended by a NUL (`normalizer.cc` of SentencePiece, `darts.h` of
darts-clone). SentencePiece follows the offsets without a check, so a hostile or damaged map ended
the process by SIGSEGV.

`tokenizer.json`, of Hugging Face's tokenizers library, is what Transformers loads unchanged. From
`spiece.model` it would rebuild a T5 tokenizer without byte fallback that splits on every white
space. Written are the model's own settings: character map, spaces, pieces and scores, byte
fallback, the sentinels as special tokens, EOS. The implementations differ. The library breaks ties
of equal scores differently ("....", "1.000"): in 13 of 10,000 lines in 101 languages. It normalizes
one grapheme at a time, so that a vowel sign in two parts would stay so; those of Indic scripts are
joined before. It has no types of pieces: a literal "<0x0A>" in a text becomes a byte.
"""

import base64
import sys
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from google.protobuf.message import DecodeError
from jaxtyping import Int, UInt32

from data.errors import DataError
from data.files.paths import exists, read_at_most

MODEL_FILE = "sentencepiece.model"  # in every directory with a vocabulary
MOST_BYTES = 256 << 20  # mT5's has 4 MB
SENTINELS = 100
PADDING, EOS, UNKNOWN = 0, 1, 2
BYTES = 256  # pieces of the byte fallback
WITHOUT_PIECES = SENTINELS + BYTES + len((PADDING, EOS, UNKNOWN))  # ids beside those of pieces
LEAST_IDS = WITHOUT_PIECES + 1
MOST_SEEDS = 1_000_000  # beside characters, from which SentencePiece begins (`seed_pieces`)
MOST_IDS = WITHOUT_PIECES + sys.maxunicode + 1 + MOST_SEEDS
ROW_MULTIPLE = 128  # T5X pads 250,100 ids to 250,112 rows, for the matrix units
SPACE = "\u2581"  # SentencePiece's visible space, before a word
CONTROL_PIECE, UNKNOWN_PIECE = 3, 2  # kinds of pieces in sentencepiece_model.proto
SIZE_BYTES = 4
UNIT = np.dtype("<u4")
BLOCK = 256  # the children of a unit lie in one block of the array, one per byte
IS_VALUE = 1 << 31
HAS_VALUE = 1 << 8
IS_FAR = 1 << 9  # the offset counts blocks
INDIC = (0x900, 0xE00)  # Devanagari to Sinhala


def _empty_proto() -> Any:
    """Returns a model without content; protobuf is loaded where a model is read."""
    from sentencepiece import sentencepiece_model_pb2

    return sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]


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
        ids = [token for token in range(self.size) if self.processor.IsByte(token)]
        return range(ids[0], ids[-1] + 1) if ids else range(0)

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
                piece = self.processor.IdToPiece(token).replace(SPACE, " ")
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
    processor = tokenizer.processor
    padding, eos, unknown = processor.pad_id(), processor.eos_id(), processor.unk_id()
    if (padding, eos, unknown) != (PADDING, EOS, UNKNOWN):
        raise DataError(
            f"{path} should have padding, EOS and unknown as ids 0, 1 and 2, as T5 has, and has "
            f"them as {padding}, {eos} and {unknown}; name another model or train one."
        )
    return tokenizer


def has_sentinels(tokenizer: Tokenizer) -> bool:
    """Returns whether the last 100 pieces are sentinels in T5's order."""
    names = [
        tokenizer.processor.IdToPiece(token).removeprefix(SPACE)  # as some converters write
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


def check_character_maps(model: bytes, name: str = "The vocabulary") -> None:
    """Checks that no text leads out of a model's character maps.

    Args:
        model: serialized model.
        name: name of the model, for the message.

    Raises:
        DataError: if it is not a model, or an offset leads out of its array or strings.
    """
    proto = _empty_proto()
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise DataError(f"{name} is not a SentencePiece model; train it again.") from error
    for spec in (proto.normalizer_spec, proto.denormalizer_spec):
        if spec.precompiled_charsmap and not is_closed(spec.precompiled_charsmap):
            raise DataError(
                f"{name} has a character map that leads out of its own bytes; train it again."
            )


def is_closed(character_map: bytes) -> bool:
    """Returns whether every offset of a map stays within the map."""
    trie_bytes = int.from_bytes(character_map[:SIZE_BYTES], "little")
    strings = character_map[SIZE_BYTES + trie_bytes :]
    if not trie_bytes or trie_bytes % (BLOCK * UNIT.itemsize) or not strings.endswith(b"\0"):
        return False
    units = np.frombuffer(character_map, UNIT, trie_bytes // UNIT.itemsize, SIZE_BYTES)
    return _stays_within(units, len(strings))


def _stays_within(units: UInt32[np.ndarray, " units"], string_bytes: int) -> bool:
    """Returns whether children lie in the array and values in the strings."""
    inner = (units & IS_VALUE) == 0
    offsets = (units >> 10) << np.where(units & IS_FAR, 8, 0).astype(UNIT)
    children = np.arange(len(units), dtype=UNIT) ^ offsets
    if (children[inner] >= len(units)).any():  # a whole number of blocks, so none reaches beyond
        return False
    values = units[children[inner & ((units & HAS_VALUE) != 0)]] & (IS_VALUE - 1)
    return bool((values < string_bytes).all())


def check_kind(model: bytes) -> None:
    """Checks that a serialised model is of the kind whose ids `tokenizer_json` gives: T5's.

    Raises:
        DataError: if it is not a unigram model, or adds no space before the first word.
    """
    proto = _empty_proto()
    proto.ParseFromString(model)
    kind = proto.trainer_spec.ModelType.Name(proto.trainer_spec.model_type).lower()
    spaced = proto.normalizer_spec.add_dummy_prefix
    if kind != "unigram" or not spaced:
        instead = f"a {kind} model" if kind != "unigram" else "one without a space before the text"
        raise DataError(
            f"The vocabulary should be a unigram model with a space before the text, as T5's, and "
            f"is {instead}, whose ids an exported tokenizer would not give; take or train another."
        )


def tokenizer_json(model: bytes) -> dict[str, Any]:
    """Returns the JSON object of a serialised unigram model in T5's layout.

    Raises:
        DataError: if it is of another kind.
    """
    check_kind(model)
    proto = _empty_proto()
    proto.ParseFromString(model)
    pieces = [(piece.piece.removeprefix(SPACE) if "<extra_id_" in piece.piece else piece.piece,
               piece.score, piece.type) for piece in proto.pieces]  # fmt: skip
    eos = pieces[1][0]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            special_token(number, piece)
            for number, (piece, _, kind) in enumerate(pieces)
            if kind in (CONTROL_PIECE, UNKNOWN_PIECE) or "<extra_id_" in piece
        ],
        "normalizer": {"type": "Sequence", "normalizers": normalizers(proto.normalizer_spec)},
        "pre_tokenizer": {
            "type": "Metaspace",
            "replacement": SPACE,
            "prepend_scheme": "always",
            "split": False,
        },
        "post_processor": ends_with(eos, 1),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        "model": {
            "type": "Unigram",
            "unk_id": proto.trainer_spec.unk_id,
            "vocab": [[piece, score] for piece, score, _ in pieces],
            "byte_fallback": proto.trainer_spec.byte_fallback,
        },
    }


def special_token(number: int, piece: str) -> dict[str, Any]:
    """Returns the entry of a token that is matched in text without normalization."""
    return {
        "id": number,
        "content": piece,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def normalizers(spec: Any) -> list[dict[str, Any]]:
    """Returns SentencePiece's steps in order: characters, spaces at the ends, doubled ones."""
    steps: list[dict[str, Any]] = []
    if "nfk" in spec.name:
        steps += (
            {"type": "Replace", "pattern": {"String": parts}, "content": sign}
            for parts, sign in parted_signs()
        )
    if spec.precompiled_charsmap:
        encoded = base64.b64encode(spec.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if spec.remove_extra_whitespaces:
        for pattern, content in ((r"\A +| +\z", ""), (" {2,}", " ")):
            steps.append({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
    return steps


def parted_signs() -> list[tuple[str, str]]:
    """Returns the vowel signs of Indic scripts that have parts, after these; longest first."""
    signs = ((unicodedata.normalize("NFD", sign), sign) for sign in map(chr, range(*INDIC)))
    parted = [
        (parts, sign)
        for parts, sign in signs
        if len(parts) > 1 and all(unicodedata.category(part)[0] == "M" for part in parts)
    ]
    return sorted(parted, key=lambda both: -len(both[0]))


def ends_with(eos: str, number: int) -> dict[str, Any]:
    """Returns the step that appends EOS to each text."""
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    end = {"SpecialToken": {"id": eos, "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, end],
        "pair": [first, end, second, end],
        "special_tokens": {eos: {"id": eos, "ids": [number], "tokens": [eos]}},
    }
