"""The line rules of C4 and the lengths of mC4, example by example."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading.page import Page
from data.rules import english_lines
from data.rules.english_lines import (
    LONGEST_PAGE_CHARACTERS,
    clean,
    count_sentences,
    too_few_long_lines,
    too_few_sentences_left,
    too_long,
)

THREE = "This is the first good line.\nThis is the second good line?\nThis is the third good line!"
LONG = f"This line has {'x' * 1000} in it."


def test_length_is_in_characters():
    page = Page("a.example", "ሰ" * LONGEST_PAGE_CHARACTERS)  # three bytes each
    assert LONGEST_PAGE_CHARACTERS == 190_000
    assert too_long(page) is None
    assert too_long(page._replace(text=page.text + "ሰ")) == "too_long"


@pytest.mark.parametrize(
    "lengths, lines, characters, stays",
    [
        ([5, 300, 200, 7, 200], 3, 200, True),
        ([200, 200, 199], 3, 200, False),
        ([1000, 1000], 3, 200, False),
        ([11], 1, 10, True),
        ([2], 1, 10, False),
    ],
)
def test_the_third_longest_line_decides_and_the_demo_needs_less(lengths, lines, characters, stays):
    page = Page("a.example", "\n".join("語" * length for length in lengths))
    reason = too_few_long_lines(page, lines=lines, characters=characters)
    assert reason == (None if stays else "too_few_long_lines")


def test_abbreviations_end_no_sentence_and_nothing_is_remembered():
    text = "Dr. Smith met Mrs. Jones at 5 p.m. on Friday. They talked."
    assert count_sentences(text) == 2
    context = english_lines._tokenizer()._params.ortho_context
    before = len(context)
    assert not english_lines.sentences_are_fewer_than(2, "Zyxxle. Then qwortz zyxxle. Wuffle.")
    assert len(context) == before


@pytest.mark.parametrize(
    "line, rule",
    [
        ("This line has no end mark", "line_without_end_mark"),
        ("This line is cut off here...", "line_without_end_mark"),
        ("This line ends in a quote”", "line_without_end_mark"),
        ("Only four words here.", "line_of_few_words"),
        ("Four words and[1] [edit] [citation needed].", "line_of_few_words"),
        (LONG.replace("x ", "xx "), "line_with_long_word"),
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
        (LONG, LONG),
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
    reasons = [too_few_sentences_left(Page("u", text)) for text in (THREE, "One is. Two is here.")]
    assert reasons == [None, "too_few_sentences_left"]


@given(st.text(max_size=80))
def test_a_line_that_stays_has_a_sentence(text):
    """Pages of three such lines therefore need no counting."""
    for line in clean(text + " and then some more of it.").text.split("\n"):
        assert not line or count_sentences(line) >= 1
