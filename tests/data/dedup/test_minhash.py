"""MinHash keys against sets of shingles in plain Python."""

import itertools
import math
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_shingles import shingle_set

from data.dedup import hashed_words, minhash
from data.dedup.minhash import BANDS, ROWS, band_keys, shingle_length, shingles_of

ENGLISH = "All human beings are born free and equal in dignity and rights, all 30 articles say."
YORUBA = "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba."
TEXTS = st.text(alphabet=st.sampled_from("aBb é中かกา012 .-\n"), max_size=80)


def hashed_sets(texts: list[str], in_a_row: int) -> list[set[int]]:
    hashes, offsets = shingles_of(texts, in_a_row)
    ends = itertools.pairwise(offsets.tolist())
    return [set(hashes[first:last].tolist()) for first, last in ends]


@given(st.lists(TEXTS, min_size=1, max_size=6), st.sampled_from([1, 2, 5, 9]))
def test_hashes_are_equal_exactly_where_the_shingles_are(texts, in_a_row):
    plain = [shingle_set(text, in_a_row) for text in texts]
    hashed = hashed_sets(texts, in_a_row)
    assert list(map(len, plain)) == list(map(len, hashed))
    for i, j in itertools.combinations(range(len(texts)), 2):
        assert len(plain[i] & plain[j]) == len(hashed[i] & hashed[j])


def edited_pairs(pairs: int, words: int) -> tuple[list[str], list[str], np.ndarray]:
    """Pages, copies with up to 40 words changed, and the Jaccard similarity of their shingles."""
    generator = np.random.default_rng(7)
    vocabulary = np.array(["".join(word) for word in itertools.product("abcdefghij", repeat=4)])
    one, other = [], []
    for pair in range(pairs):
        page = generator.choice(vocabulary, words).astype("U9")
        copy = page.copy()
        places = generator.choice(words, pair % 40, replace=False)
        copy[places] = np.char.add("other", copy[places])
        one.append(" ".join(page))
        other.append(" ".join(copy))
    sets = zip(hashed_sets(one, 5), hashed_sets(other, 5), strict=True)
    return one, other, np.array([len(a & b) / len(a | b) for a, b in sets])


@pytest.fixture(scope="module")
def pairs() -> tuple[list[str], list[str], np.ndarray]:
    return edited_pairs(1600, 500)


def test_minima_estimate_similarity(pairs):
    one, other, similarity = pairs
    equal = minhash._minima(shingles_of(one, 5)) == minhash._minima(shingles_of(other, 5))
    error = equal.mean(axis=1) - similarity
    deviation = np.sqrt(similarity * (1 - similarity) / (BANDS * ROWS))
    assert abs(error.mean()) < 4 * np.sqrt((deviation**2).sum()) / len(error)
    assert np.sqrt((error**2).mean()) <= 1.05 * np.sqrt((deviation**2).mean())
    assert (equal[similarity == 1]).all()


def test_pairs_are_found_as_often_as_the_formula_says(pairs):
    one, other, similarity = pairs
    found = (band_keys(one, "en") == band_keys(other, "en")).any(axis=1)
    expected = 1 - (1 - similarity**ROWS) ** BANDS
    for low, high in ((0.4, 0.6), (0.6, 0.75), (0.75, 0.9), (0.4, 1.0)):
        some = (similarity >= low) & (similarity < high)
        sure = expected[some]
        deviation = math.sqrt((sure * (1 - sure)).sum())
        assert some.sum() > 100
        assert abs(found[some].sum() - sure.sum()) < 3 * deviation


def test_unrelated_pages_share_no_key(pairs):
    keys = band_keys(pairs[0], "en")
    assert len(np.unique(keys)) == keys.size


@pytest.mark.slow
@given(st.lists(TEXTS, min_size=2, max_size=8), st.data())
def test_keys_do_not_depend_on_the_order_or_the_other_pages(texts, data):
    order = data.draw(st.permutations(range(len(texts))))
    cut = data.draw(st.integers(0, len(texts)))
    keys = band_keys(texts, "ja")
    np.testing.assert_array_equal(band_keys([texts[i] for i in order], "ja"), keys[order])
    parts = [band_keys(texts[:cut], "ja"), band_keys(texts[cut:], "ja")]
    np.testing.assert_array_equal(np.concatenate(parts), keys)


def test_keys_do_not_depend_on_the_size_of_chunks(monkeypatch):
    texts = [ENGLISH, YORUBA, "", ENGLISH * 50]
    keys = band_keys(texts, "en")
    monkeypatch.setattr(hashed_words, "CHUNK_CHARACTERS", 16)
    np.testing.assert_array_equal(band_keys(texts, "en"), keys)


@pytest.mark.parametrize(
    "changed",
    [
        ENGLISH.upper(),
        ENGLISH.replace("30", "7"),
        ENGLISH.replace(",", " --").replace(" ", "\n"),
    ],
)
def test_case_digits_and_punctuation_do_not_count(changed):
    np.testing.assert_array_equal(*(band_keys([text], "en") for text in (ENGLISH, changed)))


def test_composition_does_not_count():
    forms = [unicodedata.normalize(form, YORUBA) for form in ("NFC", "NFD")]
    keys = band_keys(forms, "yo")
    assert forms[0] != forms[1]
    np.testing.assert_array_equal(keys[0], keys[1])


def test_pages_of_two_languages_share_no_key():
    keys = [band_keys([ENGLISH], language) for language in ("en", "cy", "und")]
    assert len(np.unique(keys)) == 3 * BANDS


@pytest.mark.parametrize("language, in_a_row", [("en", 5), ("zh", 9), ("th", 30), ("und", 5)])
def test_length_of_a_shingle(language, in_a_row):
    assert shingle_length(language) == in_a_row


def test_short_pages_are_compared_as_a_whole():
    keys = band_keys(["Two words", "two words.", "Other words", "", "-"], "en")
    same = [[bool((a == b).all()) for b in keys] for a in keys]
    assert same[0] == [True, True, False, False, False]
    assert same[3] == [False, False, False, True, True]
    assert not (keys[0] == keys[2]).any()


def test_no_pages():
    assert band_keys([], "en").shape == (0, BANDS)
