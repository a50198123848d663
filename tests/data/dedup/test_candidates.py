import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from plain_shingles import shingle_set

from data.dedup import hashed_words
from data.dedup.candidates import candidates_of, chosen, headers_of, joined, packed, unpacked

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
    same(unpacked(packed(whole)), whole)
    np.testing.assert_array_equal(headers_of(packed(whole)), whole.headers)
    cut = data.draw(st.integers(0, len(texts)))
    rows = np.arange(len(texts))
    same(joined([chosen(whole, rows[:cut]), chosen(whole, rows[cut:])]), whole)
    backwards = chosen(whole, rows[::-1])
    assert sets(backwards) == sets(whole)[::-1] or not texts
    assert len(packed(whole)) == 8 + 56 * len(texts) + 8 * len(whole.shingles)


def test_chunks_do_not_matter(monkeypatch):
    texts = ["all human beings are born free and equal", "", "in dignity and rights they are"]
    whole = made(texts)
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", 16)
    same(made(texts), whole)
