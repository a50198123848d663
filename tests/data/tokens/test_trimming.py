"""A trimmed vocabulary cuts text as before where all pieces stay, and keeps what is not text."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_vocabulary import ModelProto, unigram

from data.errors import DataError
from data.tokens.tokenizer import ROW_MULTIPLE, SENTINELS, Tokenizer, load, sentinel_pieces
from data.tokens.trimming import compared_lines, piece_counts, trim

SYLLABLES = ["".join(pair) for pair in itertools.product("bdfgklmnprstwz", "aeiou")]
WORDS = ["".join(pair) for pair in itertools.product(SYLLABLES, SYLLABLES[::7])]
OURS = WORDS[: len(WORDS) // 3]


@pytest.fixture(scope="module")
def model():
    """Letters, syllables and every second word; the more letters, the better per letter."""
    pieces = [
        "\u2581",
        *"abdefgiklmnoprstuwz",
        *SYLLABLES,
        *(f"\u2581{word}" for word in WORDS[::2]),
    ]
    return unigram({name: -6 - len(name) - number / 512 for number, name in enumerate(pieces)})


def counted(whole, texts):
    ids = np.concatenate([whole.encode(text) for text in texts])
    return np.bincount(ids, minlength=whole.size)


@pytest.fixture(scope="module")
def ours(model):
    """The vocabulary, trimmed by a third of its words."""
    return trim(model, counted(Tokenizer(model), OURS), 1)


TEXT = st.one_of(
    st.lists(st.sampled_from(OURS), max_size=8).map(" ".join),
    st.lists(st.sampled_from(WORDS), max_size=3).map("".join),
    st.text(alphabet="abdkz \u00e9\u4e2d", max_size=12),
)


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_text_whose_pieces_all_stay_is_cut_as_before(model, ours, text):
    whole, small = Tokenizer(model), Tokenizer(ours.model)
    before, after = whole.encode(text), ours.kept[small.encode(text)]
    assert np.array_equal(before, after) == bool(np.isin(before, ours.kept).all())
    assert small.decode(small.encode(text)) == whole.decode(before)


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=[*sorted(set("".join(OURS[:3]))), " "], max_size=30))
def test_all_text_in_characters_that_occur_is_cut_as_before_if_no_piece_has_to_occur(model, text):
    whole = Tokenizer(model)
    by_count, by_character = (trim(model, counted(whole, OURS[:3]), least) for least in (1, 0))
    ids = by_character.kept[Tokenizer(by_character.model).encode(text)]
    assert np.array_equal(whole.encode(text), ids)
    assert set(by_count.kept) < set(by_character.kept) < set(range(whole.size))


def test_what_is_no_text_stays_in_its_order_and_rows_are_full(model, ours, tmp_path):
    (tmp_path / "small.model").write_bytes(ours.model)
    whole, small = Tokenizer(model), load(tmp_path / "small.model")
    assert small.size < whole.size
    assert small.size == small.rows  # no row is without a piece
    assert [small.processor.IdToPiece(token) for token in range(3)] == ["<pad>", "</s>", "<unk>"]
    last = range(small.size - SENTINELS, small.size)
    assert [small.processor.IdToPiece(token) for token in last] == sentinel_pieces()
    assert len(small.byte_ids) == 256
    one, other = ModelProto.FromString(model), ModelProto.FromString(ours.model)
    assert other.normalizer_spec == one.normalizer_spec
    assert other.trainer_spec.vocab_size == len(other.pieces) == small.size
    assert list(other.pieces) == [one.pieces[token] for token in ours.kept]
    names = [piece.piece for piece in other.pieces]
    assert len(set(names)) == len(names)
    rows = ours.rows(whole.size, whole.rows)
    np.testing.assert_array_equal(rows, ours.kept)


def test_rows_of_padding_stay_where_all_pieces_do(model):
    whole = Tokenizer(model)
    everything = trim(model, np.ones(whole.size, np.int64), 1)
    np.testing.assert_array_equal(everything.kept, np.arange(whole.size))
    rows = everything.rows(whole.size, whole.rows + ROW_MULTIPLE)  # as an imported network may have
    np.testing.assert_array_equal(rows, np.arange(whole.rows))


def test_an_unknown_character_gains_nothing_when_rare_pieces_leave():
    """Without z, unknown would score -30 in place of -110, and b + cd more than bc + d."""
    rare = {chr(0x4E00 + number): -2.0 for number in range(ROW_MULTIPLE)}  # these fill the rows
    pieces = {
        "\u2581": -9.0,
        "bc": -20.0,
        "d": -20.0,
        "cd": -1.0,
        "c": -9.0,
        **rare,
        "b": -50.0,
        "z": -100.0,
    }
    model = unigram(pieces)
    whole = Tokenizer(model)
    small = trim(model, counted(whole, ["bcd", "cd", "c"]), 1)
    kept = [whole.processor.IdToPiece(int(token)) for token in small.kept]
    assert "b" not in kept
    assert "z" in kept
    ids = Tokenizer(small.model).encode("bcd")
    assert [kept[token] for token in ids] == ["\u2581", "bc", "d"]


def test_other_models_than_unigram_are_refused(model):
    proto = ModelProto.FromString(model)
    proto.trainer_spec.model_type = proto.trainer_spec.BPE
    with pytest.raises(DataError, match="not a unigram model"):
        trim(proto.SerializeToString(), np.ones(len(proto.pieces), np.int64), 1)


def test_pieces_are_counted_and_held_out_lines_compared_by_language(model, make_blocks, tmp_path):
    ids = 600  # ordinary pieces among them
    blocks = make_blocks(tmp_path, {"sw": 2_000, "yo": 700}, ids=ids)
    expected = np.bincount(blocks.stream("sw", "train").read(0, 2_000), minlength=1024)
    np.testing.assert_array_equal(piece_counts(blocks, ["sw"]), expected)
    both = expected + np.bincount(blocks.stream("yo", "train").read(0, 700), minlength=1024)
    np.testing.assert_array_equal(piece_counts(blocks, ["sw", "yo"]), both)
    counts = np.zeros(Tokenizer(model).size, np.int64)
    nothing_kept = trim(model, counts, 1)
    all_kept = trim(model, counts + 1, 1)
    lines = compared_lines(blocks, Tokenizer(model), all_kept, "sw", 0)
    assert lines.lines > 0
    assert lines.other == 0
    assert compared_lines(blocks, Tokenizer(model), nothing_kept, "sw", 0).other > 0
    assert compared_lines(blocks, Tokenizer(model), all_kept, "ha", 0).lines == 0
