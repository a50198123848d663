"""`mswitch fill`: what text it takes, and where what is generated stands."""

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
    ("settings", "sentence"),
    [
        ({"tokens": 0}, "--tokens was 0"),
        ({"seed": 2**32}, "--seed was 4294967296"),
        ({"seed": -1}, "--seed was -1"),
        *(({name: bad}, "Sampling was") for name, bad in (("temperature", -1.0), ("top_k", 3))),
        ({"top_p": 0.0}, "Sampling was"),
        ({"seed": 2**32 - 1}, "A run was expected in none"),  # the largest seed is taken
    ],
)
def test_numbers_that_cannot_be_used_are_refused(settings, sentence):
    with pytest.raises((ConfigurationError, ArtifactError), match=sentence):
        check_fields(Fill(text="", run=Path("none"), **settings))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("".join(f"<extra_id_{n}>" for n in range(101)), "101 gaps, and a vocabulary has 100"),
        ("a <extra_id_1> b", "Gap 1 of the text is <extra_id_1>, and <extra_id_0> was expected"),
        ("<extra_id_0> a <extra_id_2>", "Gap 2 of the text is <extra_id_2>, and <extra_id_1>"),
        ("<extra_id_0> a <extra_id_0>", "Gap 2 of the text is <extra_id_0>"),
        ("<extra_id_0> a <extra_id_01>", "Gap 2 of the text is <extra_id_01>"),
        # As an argument comes from a terminal of another encoding.
        (b"caf\xe9 <extra_id_0>".decode("utf-8", "surrogateescape"), "expected in UTF-8"),
        (" ", "has 0 tokens"),
        ("habari ya leo", "tokens, and the run takes 1 to"),
    ],
)
def test_texts_that_cannot_be_read_are_one_sentence(tokenizer, text, sentence):
    length = 2 if text.startswith("habari") else 512
    with pytest.raises(DataError, match=sentence):
        encode_with_gaps(text, tokenizer, length)


@pytest.mark.parametrize(("stage", "answers"), [("pretrain", False), ("finetune", True)])
def test_a_text_without_a_gap_is_for_a_run_that_answers(tmp_path, stage, answers):
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": stage}))
    check_gaps("a <extra_id_0>", tmp_path)
    refused = pytest.raises(DataError, match=r"The text has no gap, and .* was not fine-tuned")
    with nullcontext() if answers else refused:
        check_gaps("topic: the dog sleeps", tmp_path)


def test_a_text_is_its_tokens_with_sentinels_for_gaps_and_an_end(tokenizer):
    ids = tokenizer.encode("habari ya leo").tolist()
    assert encode_with_gaps("habari ya leo", tokenizer, len(ids) + 1).tolist() == [*ids, EOS]
    found = encode_with_gaps("habari <extra_id_0> ya <extra_id_1>", tokenizer, 64)
    first = tokenizer.first_sentinel
    expected = [*tokenizer.encode("habari "), first, *tokenizer.encode(" ya "), first - 1, EOS]
    assert found.tolist() == expected + [PADDING] * (64 - len(expected))


GAPS = "Habari <extra_id_0> leo <extra_id_1>."


@pytest.mark.parametrize(
    ("given", "generated", "text"),
    [
        (GAPS, "<extra_id_0> ya <extra_id_1> sana <extra_id_2> x", "Habari [ya] leo [sana]."),
        (GAPS, "<extra_id_1> sana <extra_id_1> x", "Habari [nothing] leo [sana]."),
        (GAPS, "<extra_id_0>  <extra_id_0> x", "Habari [nothing] leo [nothing]."),
        (GAPS, "maneno", "Habari [nothing] leo [nothing]."),
        (GAPS, "", "Habari [nothing] leo [nothing]."),
        ("topic: the dog sleeps", " animal ", "animal"),
        ("topic: the dog sleeps", "", "nothing"),
    ],
)
def test_fillings_stand_in_their_gaps_and_others_are_left_out(given, generated, text):
    assert with_fillings(given, generated) == text
