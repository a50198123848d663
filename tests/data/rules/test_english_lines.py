from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading.page import Page
from data.rules import sentences
from data.rules.english_lines import clean, too_few_sentences_left

THREE = "This is the first good line.\nThis is the second good line?\nThis is the third good line!"


@pytest.mark.parametrize(
    "line, rule",
    [
        ("This line has no end mark", "line_without_end_mark"),
        ("This line is cut off here...", "line_without_end_mark"),
        ("This line ends in a quote”", "line_without_end_mark"),
        ("Only four words here.", "line_of_few_words"),
        ("Four words and[1] [edit] [citation needed].", "line_of_few_words"),
        (f"This line has {'x' * 1001} in it.", "line_with_long_word"),
        ("Please enable JavaScript to see this page.", "line_about_javascript"),
        ("This site uses cookies to know you better.", "line_about_policy"),
        ("A brace { in a line that is lost anyway", "line_without_end_mark"),
    ],
)
def test_a_line_goes_for_the_first_rule_it_breaks(line, rule):
    assert clean(f"{THREE}\n{line}") == (THREE, Counter([rule]), None)


@pytest.mark.parametrize(
    "line, kept",
    [
        ('He said "this one stays here."', 'He said "this one stays here."'),
        ("This one ends in a note.[12]", "This one ends in a note."),
        (f"This line has {'x' * 1000} in it.", f"This line has {'x' * 1000} in it."),
        ("One line of five words.\u2028And after it five more.",
         "One line of five words.\nAnd after it five more."),
    ],
)  # fmt: skip
def test_lines_that_stay(line, kept):
    assert clean(f"{THREE}\n {line} ").text == f"{THREE}\n{kept}"


@pytest.mark.parametrize(
    "text, reason",
    [
        (f"{THREE}\nHere it says Lorem Ipsum dolor sit.", "lorem_ipsum"),
        (f"{THREE}\nHere a function {'{'} opens its body.", "curly_bracket"),
        ("Mr. Smith went to the harbour early. The ferry had left.", "too_few_sentences"),
        ("One sentence of five words. Another one of five words. And the third of them.", None),
        ("", "too_few_sentences"),
    ],
)
def test_pages_that_go(text, reason):
    assert clean(text).reason == reason


def test_what_is_left_needs_three_sentences_in_all():
    assert too_few_sentences_left(Page("u", THREE)) is None
    assert (
        too_few_sentences_left(Page("u", "One is here. Two is here.")) == "too_few_sentences_left"
    )


@given(st.text(max_size=80))
def test_a_line_that_stays_has_a_sentence(text):
    """Pages of three such lines therefore need no counting."""
    for line in clean(text + " and then some more of it.").text.split("\n"):
        assert not line or sentences.count(line) >= 1
