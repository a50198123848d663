"""A vocabulary made of given pieces and scores, in T5's layout; any size without training."""

from collections.abc import Iterable, Mapping
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from data.tokens.tokenizer import sentinel_pieces
from pipeline.tokens.vocabulary import append_control_pieces

ModelProto: Any = sentencepiece_model_pb2.ModelProto  # pyright: ignore[reportAttributeAccessIssue]
CONTROL, UNKNOWN, NORMAL, BYTE = 3, 2, 1, 6
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def unigram(pieces: Mapping[str, float]) -> bytes:
    """Returns a serialized model with byte fallback: bytes, these pieces, sentinels."""
    proto = ModelProto()
    proto.trainer_spec.model_type = proto.trainer_spec.UNIGRAM
    proto.trainer_spec.byte_fallback = True
    proto.trainer_spec.pad_id, proto.trainer_spec.eos_id = 0, 1
    proto.trainer_spec.unk_id, proto.trainer_spec.bos_id = 2, -1
    _add(proto, ["<pad>", "</s>"], CONTROL)
    _add(proto, ["<unk>"], UNKNOWN)
    _add(proto, BYTES, BYTE)
    for name, score in pieces.items():
        proto.pieces.add(piece=name, score=score, type=NORMAL)
    return append_control_pieces(proto.SerializeToString(), sentinel_pieces())


def _add(proto: Any, names: Iterable[str], kind: int) -> None:
    for name in names:
        proto.pieces.add(piece=name, score=0.0, type=kind)
