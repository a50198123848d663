"""Similarity and its filter, against sets and fractions.

Verified near-duplicates, from text to verdict, against sets in plain Python.
"""

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

from data.dedup import hashed_words, near_duplicates
from data.dedup.line_dedup import rank_of
from data.dedup.minhash import BANDS, band_keys, edges, shingle_length
from data.dedup.near_duplicates import (
    HEADER,
    Candidates,
    Similarity,
    candidates_of,
    chosen,
    common_needed,
    headers_of,
    join,
    overlap,
    pack,
    unpack,
)
from data.numbers import splitmix64

TEXTS = st.lists(st.text(alphabet="aBb é中かกา012 .-\n", max_size=60), max_size=6)


def made(texts, language="en"):
    numbers = np.arange(len(texts), dtype=np.uint64)
    return candidates_of(texts, language, numbers // np.uint64(2), numbers, ~numbers)


def same(one, other):
    np.testing.assert_array_equal(one.headers, other.headers)
    np.testing.assert_array_equal(one.shingles, other.shingles)


def sets(candidates):
    ends = candidates.offsets[1:-1]
    return [part.tolist() for part in np.split(candidates.shingles, ends)]


@given(TEXTS)
def test_shingles_are_those_of_the_page_once_and_ascending(texts):
    found = made(texts)
    plain = [shingle_set(text, 5) for text in texts]
    assert found.headers["shingles"].tolist() == list(map(len, plain))
    for ours in sets(found) if texts else []:
        assert ours == sorted(set(ours))
    for i, one in enumerate(plain):
        for j, other in enumerate(plain):
            assert len(one & other) == len(set(sets(found)[i]) & set(sets(found)[j]))


@given(TEXTS)
def test_digests_are_equal_exactly_where_the_shingles_are(texts):
    found = made(texts).headers[["first", "second"]].tolist()
    plain = [shingle_set(text, 5) for text in texts]
    for i, one in enumerate(plain):
        assert [one == other for other in plain] == [found[i] == other for other in found]


@given(TEXTS, st.data())
def test_pages_travel_and_are_chosen_and_joined_as_they_are(texts, data):
    whole = made(texts)
    same(unpack(pack(whole)), whole)
    np.testing.assert_array_equal(headers_of(pack(whole)), whole.headers)
    cut = data.draw(st.integers(0, len(texts)))
    rows = np.arange(len(texts))
    same(join([chosen(whole, rows[:cut]), chosen(whole, rows[cut:])]), whole)
    backwards = chosen(whole, rows[::-1])
    assert sets(backwards) == sets(whole)[::-1] or not texts
    assert len(pack(whole)) == 8 + 56 * len(texts) + 8 * len(whole.shingles)


def test_chunks_do_not_matter(monkeypatch):
    texts = ["all human beings are born free and equal", "", "in dignity and rights they are"]
    whole = made(texts)
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", 16)
    same(made(texts), whole)


SETS = st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=5)


def candidates(sets):
    """Returns sets as pages, largest first, and the sets in this order."""
    arrays = [np.sort(splitmix64(np.array(sorted(one), np.uint64))) for one in sets]
    arrays.sort(key=len, reverse=True)
    headers = np.zeros(len(sets), HEADER)
    headers["shingles"] = list(map(len, arrays))
    return Candidates(headers, np.concatenate(arrays)), [set(one.tolist()) for one in arrays]


def pairs(count):
    larger, smaller = np.array(list(itertools.combinations(range(count), 2)), int).reshape(-1, 2).T
    return smaller, larger


@given(SETS)
def test_agrees_with_fractions(sets):
    pages, plain = candidates(sets)
    compare = Similarity(pages)
    for smaller, larger in zip(*(some.tolist() for some in pairs(len(sets))), strict=True):
        expected = is_similar(plain[smaller], plain[larger])
        assert compare.similar(smaller, larger) == expected


@given(SETS, st.sampled_from([64, 128, 2048]))
def test_the_filter_drops_no_similar_pair(sets, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "BITS", bits)
        pages, plain = candidates(sets)
        smaller, larger = pairs(len(sets))
        possible = Similarity(pages).possible(smaller, larger)
    for maybe, one, other in zip(possible, smaller, larger, strict=True):
        assert maybe or not is_similar(plain[one], plain[other])


def test_the_filter_drops_most_pairs_below_the_threshold():
    base = np.arange(400)
    changed = [np.append(base[: 400 - k], 1000 * k + np.arange(k)) for k in range(40, 200, 4)]
    pages, plain = candidates([set(one.tolist()) for one in [base, *changed]])
    smaller, larger = pairs(len(plain))
    possible = Similarity(pages).possible(smaller, larger)
    true = [
        is_similar(plain[one], plain[other]) for one, other in zip(smaller, larger, strict=True)
    ]
    assert sum(true) <= possible.sum() < sum(true) + 0.1 * len(true)


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_overlap_is_the_size_of_the_intersection(one, other):
    arrays = [np.array(sorted(some), np.uint64) for some in (one, other)]
    assert overlap(*arrays) == len(one & other)


@pytest.mark.parametrize(
    "smaller, larger, needed", [(90, 90, 80), (9, 9, 8), (100, 1000, 95), (1, 1, 1), (0, 5, 1)]
)
def test_what_is_needed(smaller, larger, needed):
    assert common_needed(smaller, larger) == needed
    assert common_needed(np.array([smaller]), np.array([larger])).tolist() == [needed]


def slow_pages(texts, language):
    """Returns each page as the reference takes it; only the bands come from the code."""
    length, bands = shingle_length(language), band_keys(texts, language).tolist()
    return [
        SlowPage(number, shingle_set(text, length), len(text), address(number), set(keys))
        for number, (text, keys) in enumerate(zip(texts, bands, strict=True))
    ]


def address(number):
    return rank_of(f"https://{number}.example/")


def candidates_representatives(texts, language):
    """Returns the pages that share a band with another, with their groups."""
    numbers = np.arange(len(texts), dtype=np.uint64)
    keys = band_keys(texts, language).ravel()
    found = clusters(edges(keys, np.repeat(numbers, BANDS)))
    some = [texts[page] for page in found.page.tolist()]
    addresses = np.array([address(page) for page in found.page.tolist()], np.uint64)
    return candidates_of(some, language, found.representative, found.page, addresses)


def choice(*elements):
    found = near_duplicates.representatives(elements)
    return dict(zip(found.page.tolist(), found.representative.tolist(), strict=True))


@pytest.fixture(scope="module", params=LANGUAGES)
def planted(request):
    texts = PlantedPages(request.param).all_families()
    return slow_pages(texts, request.param), candidates_representatives(texts, request.param)


def test_only_duplicates_of_what_is_kept_leave(planted):
    pages, found = planted
    stands = choice(pack(found))
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
            expected |= slow_choice(group, near_duplicates.LISTED)
    assert choice(pack(found)) == expected


def test_of_pages_with_a_band_in_common_no_kept_one_is_similar_to_another(planted):
    pages, found = planted
    stands = choice(pack(found))
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
    monkeypatch.setattr(near_duplicates, "LISTED", listed)
    texts = many()
    expected = {}
    for group in groups(slow_pages(texts, "sw")):
        if len(group) > 1:
            expected |= slow_choice(group, listed)
    assert choice(pack(candidates_representatives(texts, "sw"))) == expected


@settings(max_examples=15)
@given(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1), st.randoms())
def test_neither_order_nor_cut_of_elements_matters(seed, sizes, random):
    whole = candidates_representatives(many(seed), "sw")
    rows = list(range(len(whole.headers)))
    random.shuffle(rows)
    cuts = np.cumsum([size * len(rows) // sum([*sizes, 1]) for size in sizes])
    elements = [pack(chosen(whole, part)) for part in np.split(np.array(rows), cuts)]
    assert choice(*elements) == choice(pack(whole))


@pytest.mark.parametrize("part", [100, 700, 5000])
def test_a_group_larger_than_memory_loses_no_page_falsely(part, monkeypatch):
    texts = many()
    pages, element = slow_pages(texts, "sw"), pack(candidates_representatives(texts, "sw"))
    at_once = choice(element)
    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", part)
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
    element = pack(candidates_representatives(pages.copies(60, most=0.006), "sw"))
    at_once = choice(element)
    assert sum(page == kept for page, kept in at_once.items()) < 10
    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", 2000)  # about 14 of the pages
    assert choice(element) == at_once


def test_other_groups_in_the_element_do_not_matter(monkeypatch):
    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", 2000)
    one, other = (
        candidates_representatives(PlantedPages(code).all_families(), code) for code in ("sw", "th")
    )
    other.headers["page"] += np.uint64(1000)
    other.headers["group"] += np.uint64(1000)
    assert choice(pack(one), pack(other)) == choice(pack(one)) | choice(pack(other))


def test_sizes_count_the_pages_that_a_kept_page_stands_for():
    found = near_duplicates.representatives([pack(candidates_representatives(many(), "sw"))])
    kept = found.representative.tolist()
    assert found.size.tolist() == [kept.count(page) for page in kept]
    assert found.page.tolist() == sorted(found.page.tolist())


def test_a_full_disk_is_an_error_and_not_a_signal(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", 100)
    monkeypatch.setattr(near_duplicates.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        choice(pack(candidates_representatives(many(), "sw")))


def test_no_pages():
    for elements in ([], [pack(candidates_representatives([], "sw"))]):
        assert [len(column) for column in near_duplicates.representatives(elements)] == [0, 0, 0]
