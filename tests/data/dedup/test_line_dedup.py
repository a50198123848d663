"""The page that keeps a line, against one loop over all lines."""

import unicodedata
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.dedup.line_dedup import (
    as_numbers,
    keep_lines,
    line_hashes,
    lines_as_read,
    rank_of,
    surviving_lines,
    unicode_line_hashes,
)
from data.urls import url_hash

TEXTS = st.lists(
    st.lists(
        st.sampled_from(["Home", "home ", "HABARI", "habari", "Ἀθῆναι", "", "x"]), min_size=1
    ).map("\n".join),
    max_size=6,
)


def decided(texts: dict[str, str]) -> dict[str, list[bool]]:
    """Returns which lines of each page are kept, from numbers and all at once, as in the job."""
    hashes = [line_hashes(text) for text in texts.values()]
    ranks = np.repeat(np.array([rank_of(url) for url in texts], np.uint64), list(map(len, hashes)))
    every = as_numbers([digest for digests in hashes for digest in digests])
    stays = iter(surviving_lines(every, ranks, np.arange(len(every), dtype=np.uint64)).tolist())
    return {url: [next(stays) for _ in digests] for url, digests in zip(texts, hashes, strict=True)}


def named(texts: list[str]) -> dict[str, str]:
    return {f"http://{number}.example/": text for number, text in enumerate(texts)}


def test_lines_are_equal_without_case_and_margins():
    assert line_hashes(" Ἀθῆναι\t") == line_hashes("ἀθῆναι")
    assert line_hashes("a b") != line_hashes("a  b")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_hashing_a_text_is_hashing_its_lines(text):
    one_by_one = [line_hashes(line.strip())[0] for line in text.split("\n")]
    assert line_hashes(text) == one_by_one


@pytest.mark.parametrize(
    "one, other",
    [
        ("ẹ̀tọ́", "e\u0323\u0300to\u0323\u0301"),
        ("Bonjour\u00a0!", " bonjour  !"),
        ("STRASSE", "straße"),
    ],
)
def test_lines_that_look_the_same_are_the_same(one, other):
    assert unicode_line_hashes(one) == unicode_line_hashes(other)
    assert line_hashes(one) != line_hashes(other)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.just("\n"), max_size=40))
def test_how_a_text_is_composed_does_not_matter(text):
    lines = lines_as_read(text)
    for form in ("NFC", "NFD"):
        assert lines_as_read(unicodedata.normalize(form, text)) == lines
    assert [lines_as_read(line)[0] for line in text.split("\n")] == lines
    assert len(unicode_line_hashes(text)) == text.count("\n") + 1


def test_the_first_of_equal_lines_stays_as_it_was_written():
    texts = {"u": "Home\nhome\nHabari za leo\nHOME"}
    assert keep_lines(texts["u"], decided(texts)["u"]) == "Home\nHabari za leo"
    assert keep_lines("a\nb", [False, False]) == ""


@given(TEXTS)
def test_every_line_survives_in_exactly_one_page_once(texts):
    pages = named(texts)
    left = [keep_lines(pages[url], stays) for url, stays in decided(pages).items()]
    survived = Counter(digest for text in left if text for digest in line_hashes(text))
    every = {digest for text in texts for digest in line_hashes(text)}
    blank = set(line_hashes(""))  # a page of one blank line is empty text, and rejected
    assert set(survived) | blank == every | blank
    assert set(survived.values()) <= {1}


@given(TEXTS)
def test_the_page_of_the_smallest_address_hash_keeps_a_line(texts):
    pages = named(texts)
    owner: dict[bytes, tuple[str, int]] = {}
    for url in sorted(pages, key=url_hash):
        for at, digest in enumerate(line_hashes(pages[url])):
            owner.setdefault(digest, (url, at))
    expected: dict[str, list[bool]] = defaultdict(list)
    for url, text in pages.items():
        for at, digest in enumerate(line_hashes(text)):
            expected[url].append(owner[digest] == (url, at))
    assert decided(pages) == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 3))), st.data())
def test_chunks_keep_their_local_minima(claims, data):
    first, second, ranks = (np.array([c[at] for c in claims], np.uint64) for at in range(3))
    hashes = np.stack([first << np.uint64(62), second], axis=1)
    numbers = np.arange(len(claims), dtype=np.uint64)
    at_once = surviving_lines(hashes, ranks, numbers)
    part = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(claims), max_size=len(claims)))
    )
    stays = np.zeros(len(claims), dtype=bool)
    for one in range(3):
        chosen = np.flatnonzero(part == one)
        stays[chosen[surviving_lines(hashes[chosen], ranks[chosen], numbers[chosen])]] = True
    left = np.flatnonzero(stays)
    order = np.array(data.draw(st.permutations(left.tolist())), int)
    stays[order] = surviving_lines(hashes[order], ranks[order], numbers[order])
    assert (stays == at_once).all()
