import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from data.errors import DataError
from data.tokens.tokenizer import EOS, PADDING
from model.config import ConfigurationError
from pipeline.command import check_fields
from pipeline.commands.fill import Fill
from pipeline.errors import ArtifactError
from pipeline.runs.gaps import check_gaps, encode_with_gaps, with_fillings


@pytest.mark.parametrize(
    ("tokens", "seed", "sentence"),
    [(0, 0, "--tokens was 0"), (1, 2**32, "--seed was 4294967296"), (1, -1, "--seed was -1")],
)
def test_numbers_that_cannot_be_used_are_refused(tokens, seed, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        check_fields(Fill(text="", run=Path("run"), tokens=tokens, seed=seed))


def test_the_largest_seed_is_taken():
    with pytest.raises(ArtifactError, match="A run was expected in none"):
        check_fields(Fill(text="", run=Path("none"), tokens=1, seed=2**32 - 1))


@pytest.mark.parametrize("sampling", [{"temperature": -1.0}, {"top_k": 3}, {"top_p": 0.0}])
def test_a_sampling_that_cannot_be_meant_is_refused(sampling):
    with pytest.raises(ConfigurationError, match="Sampling was"):
        check_fields(Fill(text="", run=Path("run"), **sampling))


def test_more_gaps_than_sentinels_are_refused(tokenizer):
    text = "".join(f"<extra_id_{number}>" for number in range(101))
    with pytest.raises(DataError, match="has 101 gaps, and a vocabulary has 100 sentinels"):
        encode_with_gaps(text, tokenizer, 512)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a <extra_id_1> b", "Gap 1 of the text is <extra_id_1>, and <extra_id_0> was expected"),
        ("<extra_id_0> a <extra_id_2>", "Gap 2 of the text is <extra_id_2>, and <extra_id_1>"),
        ("<extra_id_1> a <extra_id_0>", "Gap 1 of the text is <extra_id_1>"),
        ("<extra_id_0> a <extra_id_0>", "Gap 2 of the text is <extra_id_0>"),
        ("<extra_id_0> a <extra_id_01>", "Gap 2 of the text is <extra_id_01>"),
    ],
)
def test_gaps_that_are_not_numbered_in_order_are_refused(tokenizer, text, sentence):
    with pytest.raises(DataError, match=sentence):
        encode_with_gaps(text, tokenizer, 64)


def test_text_that_is_not_utf8_is_one_sentence(tokenizer):
    """As an argument comes from a terminal of another encoding."""
    text = b"caf\xe9 <extra_id_0>".decode("utf-8", "surrogateescape")
    with pytest.raises(DataError, match="expected in UTF-8"):
        encode_with_gaps(text, tokenizer, 64)


@pytest.mark.parametrize(("stage", "answers"), [("pretrain", False), ("finetune", True)])
def test_a_text_without_a_gap_is_for_a_run_that_answers(tmp_path, stage, answers):
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": stage}))
    check_gaps("a <extra_id_0>", tmp_path)
    refused = pytest.raises(DataError, match=r"The text has no gap, and .* was not fine-tuned")
    with nullcontext() if answers else refused:
        check_gaps("topic: the dog sleeps", tmp_path)


def test_a_text_without_a_gap_is_its_tokens_and_an_end(tokenizer):
    ids = tokenizer.encode("habari ya leo").tolist()
    assert encode_with_gaps("habari ya leo", tokenizer, len(ids) + 1).tolist() == [*ids, EOS]
    with pytest.raises(DataError, match=f"has {len(ids)} tokens, and the run takes 1 to"):
        encode_with_gaps("habari ya leo", tokenizer, len(ids))
    with pytest.raises(DataError, match="has 0 tokens"):
        encode_with_gaps(" ", tokenizer, 64)


def test_all_that_is_generated_answers_a_text_without_a_gap():
    assert with_fillings("topic: the dog sleeps", " animal ") == "animal"
    assert with_fillings("topic: the dog sleeps", "") == "nothing"


def test_a_gap_is_its_sentinel_between_the_texts_around_it(tokenizer):
    found = encode_with_gaps("habari <extra_id_0> ya <extra_id_1>", tokenizer, 64)
    first = tokenizer.first_sentinel
    expected = [*tokenizer.encode("habari "), first, *tokenizer.encode(" ya "), first - 1, EOS]
    assert found.tolist() == expected + [PADDING] * (64 - len(expected))


@pytest.mark.parametrize(
    ("generated", "text"),
    [
        ("<extra_id_0> ya <extra_id_1> sana <extra_id_2> x", "Habari [ya] leo [sana]."),
        ("<extra_id_1> sana <extra_id_1> x", "Habari [nothing] leo [sana]."),
        ("<extra_id_0>  <extra_id_0> x", "Habari [nothing] leo [nothing]."),
        ("maneno", "Habari [nothing] leo [nothing]."),
        ("", "Habari [nothing] leo [nothing]."),
    ],
)
def test_fillings_stand_in_their_gaps_and_others_are_left_out(generated, text):
    assert with_fillings("Habari <extra_id_0> leo <extra_id_1>.", generated) == text
