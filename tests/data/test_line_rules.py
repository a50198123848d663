import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.line_rules import (
    distinct_lines,
    keep_lines,
    line_hash,
    same_line,
    unicode_line_hash,
)
from data.urls import url_hash

TEXTS = st.lists(
    st.lists(
        st.sampled_from(["Home", "home ", "HABARI", "habari", "Ἀθῆναι", "", "x"]), min_size=1
    ).map("\n".join),
    max_size=6,
)


def test_lines_are_equal_without_case_and_margins():
    assert line_hash(" Ἀθῆναι\t") == line_hash("ἀθῆναι")
    assert line_hash("a b") != line_hash("a  b")


@pytest.mark.parametrize(
    "one, other",
    [
        ("ẹ̀tọ́", "e\u0323\u0300to\u0323\u0301"),
        ("Bonjour\u00a0!", " bonjour  !"),
        ("STRASSE", "straße"),
    ],
)
def test_lines_that_read_the_same_are_the_same(one, other):
    assert unicode_line_hash(one) == unicode_line_hash(other)
    assert line_hash(one) != line_hash(other)


@given(st.text(max_size=40))
def test_how_a_line_is_composed_does_not_matter(line):
    forms = {same_line(unicodedata.normalize(form, line)) for form in ("NFC", "NFD")}
    assert forms == {same_line(line)}
    assert same_line(same_line(line)) == same_line(line)


def test_the_first_of_equal_lines_stays_as_it_was_written():
    text = "Home\nhome\nHabari za leo\nHOME"
    assert keep_lines(text, distinct_lines(text)) == "Home\nHabari za leo"
    assert keep_lines(text, []) == ""


@given(TEXTS)
def test_every_line_survives_in_exactly_one_page_once(texts):
    pages = {f"http://{number}.example/": text for number, text in enumerate(texts)}
    owner: dict[bytes, str] = {}
    for url in sorted(pages, key=url_hash):
        for line in distinct_lines(pages[url]):
            owner.setdefault(line, url)
    left = [
        keep_lines(text, [line for line in owner if owner[line] == url])
        for url, text in pages.items()
    ]
    survived = Counter(line_hash(line) for text in left if text for line in text.split("\n"))
    blank = {line_hash("")}  # a page of one blank line is empty text, and rejected
    assert set(survived) | blank == set(owner) | blank
    assert set(survived.values()) <= {1}
