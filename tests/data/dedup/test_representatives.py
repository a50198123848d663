"""Verified near-duplicates, from text to verdict, against sets in plain Python."""

import errno
import itertools

import numpy as np
import pytest
from clusters_in_memory import clusters
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_shingles import shingle_set
from planted_pages import LANGUAGES, PlantedPages
from slow_choice import SlowPage, groups, is_similar, slow_choice

from data.dedup import greedy_choice, representatives
from data.dedup.candidates import candidates_of, chosen, packed
from data.dedup.edges import edges
from data.dedup.line_dedup import rank_of
from data.dedup.minhash import BANDS, band_keys, shingle_length


def slow_pages(texts, language):
    """Returns each page as the reference takes it; only the bands come from the code."""
    length, bands = shingle_length(language), band_keys(texts, language).tolist()
    return [
        SlowPage(number, shingle_set(text, length), len(text), address(number), set(keys))
        for number, (text, keys) in enumerate(zip(texts, bands, strict=True))
    ]


def address(number):
    return rank_of(f"https://{number}.example/")


def candidates(texts, language):
    """Returns the pages that share a band with another, with their groups."""
    numbers = np.arange(len(texts), dtype=np.uint64)
    keys = band_keys(texts, language).ravel()
    found = clusters(edges(keys, np.repeat(numbers, BANDS)))
    some = [texts[page] for page in found.page.tolist()]
    addresses = np.array([address(page) for page in found.page.tolist()], np.uint64)
    return candidates_of(some, language, found.representative, found.page, addresses)


def choice(*elements):
    found = representatives.representatives(elements)
    return dict(zip(found.page.tolist(), found.representative.tolist(), strict=True))


@pytest.fixture(scope="module", params=LANGUAGES)
def planted(request):
    texts = PlantedPages(request.param).all_families()
    return slow_pages(texts, request.param), candidates(texts, request.param)


def test_only_duplicates_of_what_is_kept_leave(planted):
    pages, found = planted
    stands = choice(packed(found))
    removed = {page: kept for page, kept in stands.items() if page != kept}
    assert removed
    for page, kept in removed.items():
        assert stands[kept] == kept
        assert pages[page].shingles == pages[kept].shingles or is_similar(
            pages[page].shingles, pages[kept].shingles
        )


def test_the_choice_is_the_greedy_one(planted):
    pages, found = planted
    expected = {}
    for group in groups(pages):
        if len(group) > 1:
            expected |= slow_choice(group, greedy_choice.LISTED)
    assert choice(packed(found)) == expected


def test_of_pages_with_a_band_in_common_no_kept_one_is_similar_to_another(planted):
    pages, found = planted
    stands = choice(packed(found))
    kept = [pages[page] for page in stands if stands[page] == page]
    for one, other in itertools.combinations(kept, 2):
        if one.bands & other.bands:
            smaller, larger = sorted((one.shingles, other.shingles), key=len)
            assert not is_similar(smaller, larger)


def many(seed=0):
    """Returns a chain and templates of one language that are large groups to a small limit."""
    pages = PlantedPages("sw", seed)
    texts = [*pages.chain(60, step=3), *pages.template(30, content=8), *pages.copies(30)]
    return texts + texts[::7]


@pytest.mark.parametrize("listed", [1, 2, 4, 16])
def test_large_groups_are_compared_by_band(listed, monkeypatch):
    monkeypatch.setattr(greedy_choice, "LISTED", listed)
    texts = many()
    expected = {}
    for group in groups(slow_pages(texts, "sw")):
        if len(group) > 1:
            expected |= slow_choice(group, listed)
    assert choice(packed(candidates(texts, "sw"))) == expected


@settings(max_examples=15)
@given(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1), st.randoms())
def test_neither_order_nor_cut_of_elements_matters(seed, sizes, random):
    whole = candidates(many(seed), "sw")
    rows = list(range(len(whole.headers)))
    random.shuffle(rows)
    cuts = np.cumsum([size * len(rows) // sum([*sizes, 1]) for size in sizes])
    elements = [packed(chosen(whole, part)) for part in np.split(np.array(rows), cuts)]
    assert choice(*elements) == choice(packed(whole))


@pytest.mark.parametrize("part", [100, 700, 5000])
def test_a_group_larger_than_memory_loses_no_page_falsely(part, monkeypatch):
    texts = many()
    pages, element = slow_pages(texts, "sw"), packed(candidates(texts, "sw"))
    at_once = choice(element)
    monkeypatch.setattr(representatives, "PART_SHINGLES", part)
    in_parts = choice(element)
    for page, kept in in_parts.items():
        assert in_parts[kept] == kept
        assert page == kept or (
            pages[page].shingles == pages[kept].shingles
            or is_similar(pages[page].shingles, pages[kept].shingles)
        )
    kept = [sum(page == by for page, by in one.items()) for one in (at_once, in_parts)]
    assert kept[0] <= kept[1] < len(in_parts)


def test_slices_of_one_group_are_as_good_as_the_whole_while_kept_pages_fit(monkeypatch):
    pages = PlantedPages("sw")
    element = packed(candidates(pages.copies(60, most=0.006), "sw"))
    at_once = choice(element)
    assert sum(page == kept for page, kept in at_once.items()) < 10
    monkeypatch.setattr(representatives, "PART_SHINGLES", 2000)  # about 14 of the pages
    assert choice(element) == at_once


def test_other_groups_in_the_element_do_not_matter(monkeypatch):
    monkeypatch.setattr(representatives, "PART_SHINGLES", 2000)
    one, other = (candidates(PlantedPages(code).all_families(), code) for code in ("sw", "th"))
    other.headers["page"] += np.uint64(1000)
    other.headers["group"] += np.uint64(1000)
    assert choice(packed(one), packed(other)) == choice(packed(one)) | choice(packed(other))


def test_sizes_count_the_pages_that_a_kept_page_stands_for():
    found = representatives.representatives([packed(candidates(many(), "sw"))])
    kept = found.representative.tolist()
    assert found.size.tolist() == [kept.count(page) for page in kept]
    assert found.page.tolist() == sorted(found.page.tolist())


def test_a_full_disk_is_an_error_and_not_a_signal(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(representatives, "PART_SHINGLES", 100)
    monkeypatch.setattr(representatives.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        choice(packed(candidates(many(), "sw")))


def test_no_pages():
    for elements in ([], [packed(candidates([], "sw"))]):
        assert [len(column) for column in representatives.representatives(elements)] == [0, 0, 0]
