"""Verified near-duplicates, from text to verdict, against sets and fractions in plain Python."""

import errno
import functools
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
    LISTED,
    Candidates,
    Similarity,
    candidates_of,
    chosen,
    common_needed,
    headers_of,
    join,
    pack,
    unpack,
)
from data.numbers import splitmix64

TEXTS = st.lists(st.text(alphabet="aBb é中かกา012 .-\n", max_size=60), max_size=6)


def made(texts):
    numbers = np.arange(len(texts), dtype=np.uint64)
    return candidates_of(texts, "en", numbers // np.uint64(2), numbers, ~numbers)


def same(one, other):
    np.testing.assert_array_equal(one.headers, other.headers)
    np.testing.assert_array_equal(one.shingles, other.shingles)


def sets(candidates):
    return [part.tolist() for part in np.split(candidates.shingles, candidates.offsets[1:-1])]


@given(TEXTS, st.sampled_from([16, 1 << 18]))
def test_candidates_have_the_shingles_of_the_pages_and_a_digest_of_them(texts, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashed_words, "CHUNK_CHARACTERS", chunk)
        found = made(texts)
    plain, digests = [shingle_set(text, 5) for text in texts], found.headers[["first", "second"]]
    assert found.headers["shingles"].tolist() == list(map(len, plain))
    ours = sets(found) if texts else []
    assert ours == [sorted(set(shingles)) for shingles in ours]
    for i, j in itertools.product(range(len(texts)), repeat=2):
        assert len(plain[i] & plain[j]) == len(set(ours[i]) & set(ours[j]))
        assert (plain[i] == plain[j]) == (digests[i] == digests[j])


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


def compared(some):
    """Returns all pairs of sets, whether each may be similar, is found similar, and is."""
    arrays = [np.sort(splitmix64(np.array(sorted(one), np.uint64))) for one in some]
    arrays.sort(key=len, reverse=True)
    headers = np.zeros(len(some), HEADER)
    headers["shingles"] = list(map(len, arrays))
    compare = Similarity(Candidates(headers, np.concatenate(arrays)))
    plain = [set(one.tolist()) for one in arrays]
    larger, smaller = (
        np.array(list(itertools.combinations(range(len(some)), 2)), int).reshape(-1, 2).T
    )
    pairs = list(zip(smaller.tolist(), larger.tolist(), strict=True))
    found = [compare.similar(*pair) for pair in pairs]
    is_true = [is_similar(plain[one], plain[other]) for one, other in pairs]
    return compare.possible(smaller, larger), np.array(found, bool), np.array(is_true, bool)


@given(
    st.lists(st.sets(st.integers(0, 40)), min_size=1, max_size=5), st.sampled_from([64, 128, 2048])
)
def test_similarity_is_that_of_fractions_and_the_filter_drops_no_similar_pair(some, bits):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "BITS", bits)
        possible, found, is_true = compared(some)
    np.testing.assert_array_equal(found, is_true)
    assert (possible | ~is_true).all()


def test_the_filter_drops_most_pairs_below_the_threshold():
    base = np.arange(400)
    changed = [np.append(base[: 400 - k], 1000 * k + np.arange(k)) for k in range(40, 200, 4)]
    possible, found, is_true = compared([base, *changed])
    np.testing.assert_array_equal(found, is_true)
    assert is_true.sum() <= possible.sum() < is_true.sum() + 0.1 * len(is_true)


@pytest.mark.parametrize(
    "smaller, larger, needed", [(90, 90, 80), (9, 9, 8), (100, 1000, 95), (1, 1, 1), (0, 5, 1)]
)
def test_what_is_needed(smaller, larger, needed):
    assert common_needed(smaller, larger) == needed
    assert common_needed(np.array([smaller]), np.array([larger])).tolist() == [needed]


def address(number):
    return rank_of(f"https://{number}.example/")


def plain_pages(texts, language):
    """Returns each page as the reference takes it; only the bands come from the code."""
    length, bands = shingle_length(language), band_keys(texts, language).tolist()
    return [
        SlowPage(number, shingle_set(text, length), len(text), address(number), set(keys))
        for number, (text, keys) in enumerate(zip(texts, bands, strict=True))
    ]


def plain_choice(texts, language, listed=LISTED):
    """Returns the page that stands for each page which shares a band with another."""
    connected = (group for group in groups(plain_pages(texts, language)) if len(group) > 1)
    return {page: by for group in connected for page, by in slow_choice(group, listed).items()}


def candidates(texts, language="sw"):
    """Returns the pages that share a band with another, with their groups."""
    numbers = np.arange(len(texts), dtype=np.uint64)
    keys = band_keys(texts, language).ravel()
    found = clusters(edges(keys, np.repeat(numbers, BANDS)))
    some = [texts[page] for page in found.page.tolist()]
    addresses = np.array([address(page) for page in found.page.tolist()], np.uint64)
    return candidates_of(some, language, found.representative, found.page, addresses)


@functools.cache
def many(seed=0):
    """Returns a chain and templates of one language that are large groups to a small limit."""
    pages = PlantedPages("sw", seed)
    texts = [*pages.chain(60, step=3), *pages.template(30, content=8), *pages.copies(30)]
    return texts + texts[::7]


@functools.cache
def many_candidates(seed=0):
    return candidates(many(seed))


def choice(*elements):
    found = near_duplicates.representatives(elements)
    return dict(zip(found.page.tolist(), found.representative.tolist(), strict=True))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_choice_is_the_greedy_one(language):
    texts = PlantedPages(language).all_families()
    found = choice(pack(candidates(texts, language)))
    assert found == plain_choice(texts, language)
    assert any(page != kept for page, kept in found.items())


@pytest.mark.parametrize("listed", [1, 2, 4, 16])
def test_large_groups_are_compared_by_band(listed, monkeypatch):
    monkeypatch.setattr(near_duplicates, "LISTED", listed)
    assert choice(pack(many_candidates())) == plain_choice(many(), "sw", listed)


@settings(max_examples=15)
@given(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1), st.randoms())
def test_neither_order_nor_cut_of_elements_matters(seed, sizes, random):
    whole = many_candidates(seed)
    rows = list(range(len(whole.headers)))
    random.shuffle(rows)
    cuts = np.cumsum([size * len(rows) // sum([*sizes, 1]) for size in sizes])
    elements = [pack(chosen(whole, part)) for part in np.split(np.array(rows), cuts)]
    assert choice(*elements) == choice(pack(whole))


@pytest.mark.parametrize("part", [100, 700, 5000])
def test_a_group_larger_than_memory_loses_no_page_falsely(part, monkeypatch):
    plain, element = plain_pages(many(), "sw"), pack(many_candidates())
    at_once = choice(element)
    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", part)
    in_parts = choice(element)
    for page, kept in in_parts.items():
        assert in_parts[kept] == kept
        one, other = plain[page].shingles, plain[kept].shingles
        assert page == kept or one == other or is_similar(one, other)
    kept = [sum(page == by for page, by in one.items()) for one in (at_once, in_parts)]
    assert kept[0] <= kept[1] < len(in_parts)


def test_slices_of_one_group_are_as_good_as_the_whole_while_kept_pages_fit(monkeypatch):
    element = pack(candidates(PlantedPages("sw").copies(60, most=0.006)))
    at_once = choice(element)
    assert sum(page == kept for page, kept in at_once.items()) < 10
    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", 2000)  # about 14 of the pages
    assert choice(element) == at_once


def test_other_groups_in_the_element_do_not_matter(monkeypatch):
    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", 2000)
    one, other = (candidates(PlantedPages(code).all_families(), code) for code in ("sw", "th"))
    other.headers["page"] += np.uint64(1000)
    other.headers["group"] += np.uint64(1000)
    assert choice(pack(one), pack(other)) == choice(pack(one)) | choice(pack(other))


def test_sizes_count_the_pages_that_a_kept_page_stands_for():
    found = near_duplicates.representatives([pack(many_candidates())])
    kept = found.representative.tolist()
    assert found.size.tolist() == [kept.count(page) for page in kept]
    assert found.page.tolist() == sorted(found.page.tolist())


def test_a_full_disk_is_an_error_and_not_a_signal(monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(near_duplicates, "PART_SHINGLES", 100)
    monkeypatch.setattr(near_duplicates.os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        choice(pack(many_candidates()))


def test_no_pages():
    for elements in ([], [pack(candidates([]))]):
        assert [len(column) for column in near_duplicates.representatives(elements)] == [0, 0, 0]
