"""A SentencePiece model as the `tokenizer.json` of Hugging Face's tokenizers library.

Transformers loads a `tokenizer.json` unchanged. From `spiece.model` it would rebuild a T5 tokenizer
without byte fallback that splits on every white space. This module writes the model's own settings:
character map, spaces, pieces and scores, byte fallback, the sentinels as special tokens, EOS.

The implementations differ: of 10,592 texts in 103 codes, `parity/hugging_face_files.py` finds
different ids in 85. The library breaks ties of equal scores differently ("...."). It normalizes one
grapheme at a time, so that some vowel signs of Indic scripts stay in two parts. It has no types of
pieces: a literal "<0x0A>" in a text becomes a byte.
"""

import base64
from typing import Any

from sentencepiece import sentencepiece_model_pb2

CONTROL, UNKNOWN = 3, 2  # kinds of pieces in sentencepiece_model.proto
SPACE = "\u2581"


def tokenizer_json(model: bytes) -> dict[str, Any]:
    """Returns the JSON object of a serialised unigram model in T5's layout."""
    proto = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
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
            if kind in (CONTROL, UNKNOWN) or "<extra_id_" in piece
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
    """Returns SentencePiece's steps in order: characters, spaces at the ends, doubled spaces."""
    steps: list[dict[str, Any]] = []
    if spec.precompiled_charsmap:
        encoded = base64.b64encode(spec.precompiled_charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": encoded})
    if spec.remove_extra_whitespaces:
        for pattern, content in ((r"\A +| +\z", ""), (" {2,}", " ")):
            steps.append({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
    return steps


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
