import pytest

from data.errors import DataError
from model.configuration_checks import ConfigurationError
from pipeline.fill import check_numbers, encode_with_gaps


@pytest.mark.parametrize(
    ("tokens", "seed", "sentence"),
    [(0, 0, "--tokens was 0"), (1, 2**63, "--seed was 9223372036854775808"), (1, -1, "was -1")],
)
def test_numbers_that_cannot_be_used_are_refused(tokens, seed, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        check_numbers(tokens, seed)


def test_the_largest_seed_is_taken():
    check_numbers(1, 2**32 - 1)


def test_more_gaps_than_sentinels_are_refused(tokenizer):
    text = "".join(f"<extra_id_{number}>" for number in range(101))
    with pytest.raises(DataError, match="has 101 gaps, and a vocabulary has 100 sentinels"):
        encode_with_gaps(text, tokenizer, 512)
