"""The character maps of a SentencePiece model, checked before SentencePiece follows them.

A map normalizes text before it is cut into pieces. It is the number of bytes of a trie, the trie as
a double array of 32-bit units, and the strings that it leads to, each ended by a NUL
(`normalizer.cc` of SentencePiece, `darts.h` of darts-clone). SentencePiece follows the offsets
without a check, so a hostile or damaged map ended the process by SIGSEGV.
"""

import numpy as np
from google.protobuf.message import DecodeError
from jaxtyping import UInt32
from sentencepiece import sentencepiece_model_pb2

from data.errors import DataError

SIZE_BYTES = 4
UNIT = np.dtype("<u4")
BLOCK = 256  # the children of a unit lie in one block of the array, one per byte
IS_VALUE = 1 << 31
HAS_VALUE = 1 << 8
IS_FAR = 1 << 9  # the offset counts blocks


def check_character_maps(model: bytes, name: str = "The vocabulary") -> None:
    """Checks that no text leads out of a model's character maps.

    Args:
        model: serialized model.
        name: name of the model, for the message.

    Raises:
        DataError: if it is not a model, or an offset leads out of its array or strings.
    """
    proto = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
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
