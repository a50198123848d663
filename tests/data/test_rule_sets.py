import pytest

from data.errors import DataError
from data.held_out import OneIn
from data.rule_sets import demo, differences_from_mc4, mc4, mc4_3_0_1, named


def test_mc4_is_the_reference():
    rules = named("mc4")
    assert (rules.long_lines, rules.long_line_characters) == (3, 200)
    assert (rules.certain_probability, rules.held_out) == (0.95, OneIn(1000))
    assert differences_from_mc4(rules) == []


def test_the_older_corpus_differs_in_certainty_only():
    assert named("mc4-3.0.1") == mc4_3_0_1()
    assert differences_from_mc4(mc4_3_0_1()) == [
        "CLD3's answer counts from probability 0.70 (mC4: 0.95)."
    ]


def test_the_demo_says_in_words_how_it_differs():
    sentences = differences_from_mc4(demo())
    assert len(sentences) == 3
    assert sentences[0] == (
        "A page needs 1 line of at least 10 characters (mC4: 3 lines of at least 200 characters)."
    )
    assert all(sentence.endswith(").") for sentence in sentences)


def test_unknown_name():
    with pytest.raises(DataError, match="'c5' was asked for; there are mc4, "):
        named("c5")


def test_names_are_those_of_the_functions():
    assert [rules().name for rules in (mc4, mc4_3_0_1, demo)] == ["mc4", "mc4-3.0.1", "demo"]
