"""A character map that leads out of its own bytes is refused before SentencePiece follows it.



`tokenizer.json` of a model: the same pieces at the same ids, scores and settings.

`parity/hugging_face_files.py` compares the ids of text.
"""

import base64
import io

import numpy as np
import pytest
import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from data.errors import DataError
from data.tokens.tokenizer import (
    BLOCK,
    EOS,
    HAS_VALUE,
    IS_VALUE,
    PADDING,
    SENTINELS,
    Tokenizer,
    check_character_maps,
    is_closed,
    load,
    sentinel_pieces,
    tokenizer_json,
)
from pipeline.tokens.vocabulary import append_control_pieces, train

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


TEXTS = [
    "Watu wote wamezaliwa huru, hadhi na haki zao ni sawa.",
    "Alle mennesker er født frie og med samme menneskeverd.",
    "すべての人間は、生まれながらにして自由である。",
    "Všichni lidé rodí se svobodní a sobě rovní.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer(train(iter(TEXTS * 20), size=430, character_coverage=1.0))


def test_size_and_layout_are_t5s(tokenizer):
    pieces = [tokenizer.processor.IdToPiece(i) for i in range(tokenizer.size)]
    assert tokenizer.size == 430
    assert pieces[:3] == ["<pad>", "</s>", "<unk>"]
    assert pieces[-SENTINELS:] == sentinel_pieces()
    assert pieces[tokenizer.first_sentinel] == "<extra_id_0>"
    assert tokenizer.rows == 512


@pytest.mark.parametrize("text", [*TEXTS, "emoji 🦒 fall back to bytes"])
def test_text_survives(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert not any(tokenizer.is_sentinel(int(token)) for token in ids)


def test_text_cannot_forge_a_sentinel(tokenizer):
    ids = tokenizer.encode("<extra_id_0> </s> <pad>")
    assert not {EOS, PADDING, tokenizer.first_sentinel}.intersection(ids.tolist())


def test_sentinels_are_written_by_name(tokenizer):
    first = tokenizer.first_sentinel
    word = tokenizer.encode("huru").tolist()
    assert tokenizer.decode(np.array([first, *word, first - 1, EOS])) == (
        "<extra_id_0> huru <extra_id_1>"
    )


@pytest.mark.parametrize("text", [*TEXTS, "🦒"])
def test_bytes_of_pieces_add_up(tokenizer, text):
    # One more than the text: SentencePiece puts a space before the first word.
    assert tokenizer.piece_bytes[tokenizer.encode(text)].sum() == len(text.encode()) + 1


def test_control_ids_have_no_bytes(tokenizer):
    assert (
        tokenizer.piece_bytes[[PADDING, EOS, tokenizer.first_sentinel, tokenizer.size]].sum() == 0
    )


def test_training_is_repeatable():
    models = [train(iter(TEXTS * 20), size=430, character_coverage=1.0) for _ in range(2)]
    assert models[0] == models[1]


def test_appended_pieces_are_control_pieces(tokenizer):
    longer = Tokenizer(
        append_control_pieces(tokenizer.processor.serialized_model_proto(), ["<one>", "<two>"])
    )
    assert longer.size == tokenizer.size + 2
    assert longer.processor.IdToPiece(longer.size - 1) == "<two>"
    assert longer.processor.IsControl(longer.size - 1)


@pytest.mark.parametrize(
    ("size", "beyond", "named"), [(20_000, 1, "at most"), (360, -1, "characters alone need")]
)
def test_a_size_that_cannot_be_reached_is_an_error_that_names_one_that_can(size, beyond, named):
    with pytest.raises(DataError, match=rf"{named} [0-9]+: give --size [0-9]+ or") as error:
        train(iter(TEXTS), size=size, character_coverage=1.0)
    there = int(str(error.value).partition(named)[2].partition(":")[0])
    assert Tokenizer(train(iter(TEXTS), size=there, character_coverage=1.0)).size == there
    with pytest.raises(DataError, match=named):
        train(iter(TEXTS), size=there + beyond, character_coverage=1.0)


def test_a_missing_or_foreign_model_is_an_error(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "none.model")
    (tmp_path / "garbage.model").write_bytes(b"garbage")
    with pytest.raises(DataError, match=r"garbage\.model cannot be used\. .* not a SentencePiece"):
        load(tmp_path / "garbage.model")


def test_a_damaged_model_is_an_error_or_a_model(tmp_path):
    whole, path = train(iter(TEXTS), size=420, character_coverage=1.0), tmp_path / "cut.model"
    for length in (0, 1, 50, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.model"):
            load(path)


def test_a_model_with_pieces_that_are_no_text_is_refused(tokenizer):
    model = tokenizer.processor.serialized_model_proto()
    learned = range(tokenizer.byte_ids.stop, tokenizer.size - SENTINELS)
    piece = max(map(tokenizer.processor.IdToPiece, learned), key=len).encode()
    with pytest.raises(DataError, match="pieces in UTF-8"):
        Tokenizer(model.replace(piece, piece[:-1] + b"\xfd"))


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
    *joined, character_map, ends, doubled = both[1]["normalizer"]["normalizers"]
    for step in joined:  # the library takes graphemes apart before it looks them up
        assert both[0].Normalize(step["pattern"]["String"]) == "\u2581" + step["content"]
    assert {"type": "Replace", "pattern": {"String": "\u0cc6\u0cc2"}, "content": "\u0cca"} in joined
    assert len(base64.b64decode(character_map["precompiled_charsmap"])) > 100_000  # NFKC
    assert (ends["content"], doubled["content"]) == ("", " ")
