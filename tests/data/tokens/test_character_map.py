"""A character map that leads out of its own bytes is refused before SentencePiece follows it."""

import io

import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from data.errors import DataError
from data.tokens.character_map import BLOCK, HAS_VALUE, IS_VALUE, check_character_maps, is_closed
from data.tokens.tokenizer import Tokenizer

NAMES = ("nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf")
FAR_OUT = (0x1FFFFF << 10) | (1 << 9)


def character_map(units: dict[int, int], strings: bytes = b"x\0") -> bytes:
    array = np.zeros(BLOCK, "<u4")
    for at, unit in units.items():
        array[at] = unit
    return len(array.tobytes()).to_bytes(4, "little") + array.tobytes() + strings


def trained(normalization: str) -> sentencepiece_model_pb2.ModelProto:
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(["hello world, foo and bar"] * 50), model_writer=file, vocab_size=30,
        normalization_rule_name=normalization, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    return sentencepiece_model_pb2.ModelProto.FromString(file.getvalue())


@pytest.mark.parametrize("name", NAMES)
def test_the_maps_that_sentencepiece_ships_pass(name):
    model = trained(name)
    assert is_closed(model.normalizer_spec.precompiled_charsmap)
    assert Tokenizer(model.SerializeToString()).size


@pytest.mark.parametrize(
    ("found", "closed"),
    [
        (character_map({}), True),
        (character_map({0: HAS_VALUE | 1 << 10, 1: IS_VALUE | 1}), True),
        (character_map({0: HAS_VALUE | 1 << 10, 1: IS_VALUE | 2}), False),  # behind the strings
        (character_map({7: FAR_OUT}), False),
        (character_map({7: BLOCK << 10}), False),  # one unit behind the array
        (character_map({7: FAR_OUT | IS_VALUE}), True),  # a value has no children
        (character_map({}, b"x"), False),  # a string without an end
        (character_map({})[:-3], False),
        (b"", False),
        (b"\0\4\0\0", False),
        (b"\xff" * 40, False),
    ],
)
def test_what_leads_out_is_refused(found, closed):
    assert is_closed(found) is closed


@pytest.mark.parametrize("spec", ["normalizer_spec", "denormalizer_spec"])
def test_a_model_is_refused_before_it_is_loaded(spec):
    model = trained("identity")
    getattr(model, spec).precompiled_charsmap = character_map({0: FAR_OUT})
    with pytest.raises(DataError, match="character map that leads out of its own bytes"):
        Tokenizer(model.SerializeToString())


def test_what_is_no_model_is_one_sentence():
    with pytest.raises(DataError, match=r"^here is not a SentencePiece model"):
        check_character_maps(b"\xff" * 9, "here")
