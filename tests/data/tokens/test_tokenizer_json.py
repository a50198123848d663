"""`tokenizer.json` of a model: the same pieces at the same ids, scores and settings.

`parity/hugging_face_files.py` compares the ids of text.
"""

import base64

import pytest

from data.tokens.tokenizer import SENTINELS, Tokenizer
from data.tokens.tokenizer_json import tokenizer_json
from pipeline.vocabulary import train

TEXT = "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa; alle mennesker er født frie."


@pytest.fixture(scope="module")
def both():
    model = train(iter([TEXT] * 20), size=385, character_coverage=1.0)
    return Tokenizer(model).processor, tokenizer_json(model)


def test_pieces_keep_ids_and_scores(both):
    processor, written = both
    vocabulary = written["model"]["vocab"]
    assert len(vocabulary) == processor.GetPieceSize()
    for number, (piece, score) in enumerate(vocabulary):
        assert piece == processor.IdToPiece(number)
        assert score == processor.GetScore(number)
    assert written["model"]["byte_fallback"]
    assert vocabulary[written["model"]["unk_id"]][0] == "<unk>"


def test_control_pieces_are_matched_without_normalization(both):
    processor, written = both
    tokens = {token["id"]: token["content"] for token in written["added_tokens"]}
    last = processor.GetPieceSize() - 1
    assert len(tokens) == 3 + SENTINELS
    assert tokens[last] == "<extra_id_0>"
    assert all(processor.IdToPiece(number) == piece for number, piece in tokens.items())
    assert written["post_processor"]["special_tokens"]["</s>"]["ids"] == [processor.eos_id()]


def test_characters_and_spaces_are_normalized_as_in_the_model(both):
    character_map, ends, doubled = both[1]["normalizer"]["normalizers"]
    assert len(base64.b64decode(character_map["precompiled_charsmap"])) > 100_000  # NFKC
    assert (ends["content"], doubled["content"]) == ("", " ")
