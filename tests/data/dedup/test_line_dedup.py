"""The page that keeps a line, against one loop over all lines."""

import unicodedata

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

PIECES = ("Home", "home ", "HABARI", "habari", "Ἀθῆναι", "", "x")
PAGE = st.lists(st.sampled_from(PIECES), min_size=1).map("\n".join)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.just("\n"), max_size=40)


def decided(texts: dict[str, str]) -> dict[str, list[bool]]:
    """Returns which lines of each page are kept, from numbers and all at once, as in the job."""
    hashes = [line_hashes(text) for text in texts.values()]
    ranks = np.repeat(np.array([rank_of(url) for url in texts], np.uint64), list(map(len, hashes)))
    every = as_numbers([digest for digests in hashes for digest in digests])
    stays = iter(surviving_lines(every, ranks, np.arange(len(every), dtype=np.uint64)).tolist())
    return {url: [next(stays) for _ in digests] for url, digests in zip(texts, hashes, strict=True)}


@pytest.mark.parametrize(
    "one, other",
    [
        ("ẹ̀tọ́", "e\u0323\u0300to\u0323\u0301"),
        ("Bonjour\u00a0!", " bonjour  !"),
        ("STRASSE", "straße"),
        ("a b", "a  b"),
    ],
)
def test_lines_that_look_the_same_are_the_same_for_the_web_rules_alone(one, other):
    assert unicode_line_hashes(one) == unicode_line_hashes(other)
    assert line_hashes(one) != line_hashes(other)
    assert line_hashes(f" {one}\t") == line_hashes(one.upper().lower())


@given(ANY_TEXT)
def test_lines_are_read_one_by_one_however_they_are_composed(text):
    lines, by_line = text.split("\n"), lines_as_read(text)
    assert line_hashes(text) == [line_hashes(line.strip())[0] for line in lines]
    assert by_line == [lines_as_read(line)[0] for line in lines]
    assert len(unicode_line_hashes(text)) == len(lines)
    for form in ("NFC", "NFD"):
        assert lines_as_read(unicodedata.normalize(form, text)) == by_line


def test_the_first_of_equal_lines_stays_as_it_was_written():
    texts = {"u": "Home\nhome\nHabari za leo\nHOME"}
    assert keep_lines(texts["u"], decided(texts)["u"]) == "Home\nHabari za leo"
    assert keep_lines("a\nb", [False, False]) == ""


@given(st.lists(PAGE, max_size=6))
def test_the_page_of_the_smallest_address_hash_keeps_a_line(texts):
    pages = {f"http://{number}.example/": text for number, text in enumerate(texts)}
    owner: dict[str, tuple[str, int]] = {}
    for url in sorted(pages, key=url_hash):
        for at, line in enumerate(pages[url].split("\n")):
            owner.setdefault(line.strip().lower(), (url, at))
    assert decided(pages) == {
        url: [owner[line.strip().lower()] == (url, at) for at, line in enumerate(text.split("\n"))]
        for url, text in pages.items()
    }


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 3))), st.data())
def test_chunks_keep_their_local_minima(claims, data):
    first, second, ranks = (np.array([c[at] for c in claims], np.uint64) for at in range(3))
    hashes = np.stack([first << np.uint64(62), second], axis=1)
    numbers = np.arange(len(claims), dtype=np.uint64)
    at_once = surviving_lines(hashes, ranks, numbers)
    chunks = st.lists(st.integers(0, 2), min_size=len(claims), max_size=len(claims))
    part, stays = np.array(data.draw(chunks)), np.zeros(len(claims), dtype=bool)
    for one in range(3):
        chosen = np.flatnonzero(part == one)
        stays[chosen[surviving_lines(hashes[chosen], ranks[chosen], numbers[chosen])]] = True
    order = np.array(data.draw(st.permutations(np.flatnonzero(stays).tolist())), int)
    stays[order] = surviving_lines(hashes[order], ranks[order], numbers[order])
    assert (stays == at_once).all()
