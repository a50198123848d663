import pytest

from data.errors import DataError
from data.rules.held_out import OneIn
from data.rules.rule_sets import (
    LongLines,
    RuleSet,
    c4_en,
    demo,
    differences_from_mc4,
    mc4,
    mc4_3_0_1,
    named,
    none,
)


def test_mc4_is_the_reference():
    rules = named("mc4")
    assert isinstance(rules, RuleSet)
    assert rules.lines == LongLines(3, 200)
    assert (rules.certain_probability, rules.held_out) == (0.95, OneIn(1000))
    assert differences_from_mc4(rules) == []


def test_the_older_corpus_differs_in_certainty_only():
    assert named("mc4-3.0.1") == mc4_3_0_1()
    assert differences_from_mc4(mc4_3_0_1()) == [
        "The answer counts from probability 0.70 (mC4: 0.95).",
        "Lists of bad words remove 100.0% of the pages with a word from the list of their language "
        "(mC4: 99.9% of the pages with a word from the list of their language).",
    ]


def test_the_demo_s_differences_are_sentences():
    sentences = differences_from_mc4(demo())
    assert len(sentences) == 4
    assert sentences[0] == (
        "A page needs 1 line of at least 10 characters (mC4: 3 lines of at least 200 characters)."
    )
    assert all(sentence.endswith(").") for sentence in sentences)


def test_unknown_name():
    with pytest.raises(DataError, match="'c5' was asked for; there are mc4, "):
        named("c5")


def test_names_are_those_of_the_functions():
    names = [rules().name for rules in (mc4, mc4_3_0_1, c4_en, demo, none)]
    assert names == ["mc4", "mc4-3.0.1", "c4-en", "demo", "none"]
