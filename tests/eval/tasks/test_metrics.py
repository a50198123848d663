"""Words of answers, beside cases worked out by hand from the rules of both papers' scripts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.tasks.metrics import as_decoded, best_exact_match, best_f1, mlqa_words, squad_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The cat's  An-swer, a.", ["cats", "answer"]),
        ("theatre and a “quote”", ["theatre", "and", "“quote”"]),
        ("a an the", []),
    ],
)
def test_squad(text, words):
    assert squad_words(text) == words


@pytest.mark.parametrize(
    ("language", "text", "words"),
    [
        ("en", "the theatre and a “quote”", ["theatre", "and", "quote"]),
        ("de", "Der Hund und die Katze eines Mannes", ["hund", "und", "katze", "mannes"]),
        ("es", "¿El perro o las casas?", ["perro", "o", "casas"]),
        ("vi", "những con mèo của tôi", ["con", "mèo", "tôi"]),
        ("ar", "القط والبيت", ["قط", "و", "بيت"]),
        ("hi", "एक घर। बड़ा", ["एक", "घर", "बड़ा"]),
        ("zh", "在2008年，北京 the", ["在", "2008", "年", "北", "京", "the"]),
        ("zh", "龥龦龦", ["龥", "龦龦"]),
        ("ja", "東京タワー the 2", ["東", "京", "タ", "ワ", "ー", "the", "2"]),
        ("th", "กรุง 12", ["ก", "ร", "ุ", "ง", "12"]),
        ("th", "น้ำ 10 km²", ["น", "้", "\u0e4d", "า", "10", "km2"]),  # as a vocabulary has it
        ("en", "10 km²", ["10", "km²"]),  # to the letter
        ("sw", "The Mtu, a mmoja!", ["the", "mtu", "a", "mmoja"]),
        ("de", "東京", ["東京"]),
    ],
)
def test_mlqa(language, text, words):
    assert mlqa_words(text, language) == words


@given(st.lists(st.sampled_from("abc"), max_size=5), st.lists(st.sampled_from("abc"), max_size=5))
def test_f1_is_the_harmonic_mean_of_precision_and_recall(one, other):
    rest, common = list(other), 0
    for word in one:
        if word in rest:
            rest.remove(word)
            common += 1
    expected = 0.0
    if common:
        precision, recall = common / len(one), common / len(other)
        expected = 2 * precision * recall / (precision + recall)
    assert best_f1(one, [other]) == pytest.approx(expected)


def test_the_best_answer_counts():
    assert best_f1(["a", "b"], [["c"], ["a", "b", "c", "d"], ["a", "x"]]) == pytest.approx(2 / 3)
    assert best_exact_match(["a"], [["b"], ["a"]]) == 1
    assert best_exact_match(["a"], [["b"], ["a", "a"]]) == 0


def test_a_text_is_compared_as_the_vocabulary_gives_it_back(tokenizer):
    for text in ("ทำงาน น้ำ", "10 km²  2½", "你好，世界！…", "ﬁn"):
        assert as_decoded(text) == as_decoded(tokenizer.decode(tokenizer.encode(text)))


def test_no_answer_of_marks_is_sorted():
    many = "\u0300" * 100_000 + "\u0316" * 100_000  # 17 minutes to sort by insertion
    assert as_decoded(f"a{many} b") == "à" + "\u0300" * 29 + " b"
