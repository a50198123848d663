import numpy as np
import pytest

from data.errors import DataError
from data.tokens.tokenizer import EOS, PADDING, SENTINELS, Tokenizer, load, sentinel_pieces
from pipeline.vocabulary import append_control_pieces, train

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
