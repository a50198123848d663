"""MinHash keys against sets of shingles, and rounds of contraction against SciPy's components."""

import itertools
import math
import unicodedata

import numpy as np
import pytest
from clusters_in_memory import clusters
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_shingles import shingle_set
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.dedup import hashed_words
from data.dedup.minhash import (
    BANDS,
    ROWS,
    Moves,
    band_keys,
    contract_edges,
    edges,
    move_labels,
    pointers,
    proposals,
    shingle_length,
    shingles_of,
)
from data.numbers import splitmix64

YORUBA = "Gbogbo ènìyàn ni a bí ní òmìnira, articles 30; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba."
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


def test_pairs_are_found_as_often_as_the_formula_says():
    one, other, similarity = edited_pairs(1600, 500)
    keys = band_keys(one, "en")
    assert len(np.unique(keys)) == keys.size  # unrelated pages share none
    found = (keys == band_keys(other, "en")).any(axis=1)
    expected = 1 - (1 - similarity**ROWS) ** BANDS
    for low, high in ((0.4, 0.6), (0.6, 0.75), (0.75, 0.9), (0.4, 1.0)):
        some = (similarity >= low) & (similarity < high)
        sure = expected[some]
        deviation = math.sqrt((sure * (1 - sure)).sum())
        assert some.sum() > 100
        assert abs(found[some].sum() - sure.sum()) < 3 * deviation


@settings(max_examples=30)
@given(st.lists(TEXTS, min_size=2, max_size=8), st.data())
def test_keys_do_not_depend_on_the_order_or_the_other_pages_or_chunks(texts, data):
    order = data.draw(st.permutations(range(len(texts))))
    cut = data.draw(st.integers(0, len(texts)))
    keys = band_keys(texts, "ja")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashed_words, "CHUNK_CHARACTERS", 16)
        np.testing.assert_array_equal(band_keys([texts[i] for i in order], "ja"), keys[order])
    parts = [band_keys(texts[:cut], "ja"), band_keys(texts[cut:], "ja")]
    np.testing.assert_array_equal(np.concatenate(parts), keys)


@pytest.mark.parametrize(
    "changed",
    [
        YORUBA.upper(),
        YORUBA.replace("30", "7"),
        YORUBA.replace(",", " --").replace(" ", "\n"),
        unicodedata.normalize("NFD", YORUBA),
    ],
)
def test_case_digits_punctuation_and_composition_do_not_count(changed):
    assert changed != YORUBA
    np.testing.assert_array_equal(*(band_keys([text], "yo") for text in (YORUBA, changed)))


def test_pages_of_two_languages_share_no_key():
    keys = [band_keys([YORUBA], language) for language in ("en", "cy", "und")]
    assert len(np.unique(keys)) == 3 * BANDS


def test_length_of_a_shingle():
    lengths = {"en": 5, "zh": 9, "th": 30, "und": 5}
    assert {code: shingle_length(code) for code in lengths} == lengths


def test_short_pages_are_compared_as_a_whole():
    keys = band_keys(["Two words", "two words.", "Other words", "", "-"], "en")
    same = [[bool((a == b).all()) for b in keys] for a in keys]
    assert same[0] == [True, True, False, False, False]
    assert same[3] == [False, False, False, True, True]
    assert not (keys[0] == keys[2]).any()
    assert band_keys([], "en").shape == (0, BANDS)


def arrays(entries: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(entries, np.uint64).reshape(-1, 2)
    return both[:, 0] * np.uint64(2**60), both[:, 1] * np.uint64(2**58)


def slow_clusters(entries: list[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Merges sets of pages until nothing changes."""
    sets = [frozenset(page for k, page in entries if k == key) for key, _ in entries]
    found: list[frozenset[int]] = []
    for one in sets:
        meeting = [other for other in found if other & one]
        found = [other for other in found if not other & one] + [one.union(*meeting)]
    return {page << 58: cluster for cluster in found for page in cluster if len(cluster) > 1}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 25)), max_size=60), st.data())
def test_edges_connect_the_pages_that_keys_connect_in_any_order_and_partition(entries, data):
    whole = edges(*arrays(entries + entries))
    found, expected = clusters(whole), slow_clusters(entries)
    assert found.page.tolist() == sorted(expected)
    for page, representative, size in zip(*map(np.ndarray.tolist, found), strict=True):
        assert representative == min(expected[page]) << 58
        assert size == len(expected[page])
    pairs = [tuple(pair) for pair in whole.tolist()]
    assert pairs == sorted(set(pairs))
    assert all(representative < page for page, representative in pairs)
    mixed = data.draw(st.permutations(entries))
    parts = [edges(*arrays([one for one in mixed if one[0] % 3 == part])) for part in (1, 0, 2)]
    for one, other in zip(found, clusters(np.concatenate(parts)), strict=True):
        np.testing.assert_array_equal(one, other)


PAIRS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)


def in_rounds(parts, holders=3, most=100):
    """Returns all nodes, their labels, and the edges in each partition before each round."""
    nodes = np.unique(np.concatenate(parts))
    labels, sizes = nodes, [list(map(len, parts))]
    while any(sizes[-1]):
        assert len(sizes) <= most
        number = len(sizes)
        proposed = [proposals(part, number) for part in parts]
        assert all(len(np.unique(one.node)) == len(one.node) for one in proposed)
        moves = [
            pointers([of_holder(one, holder, holders) for one in proposed], number)
            for holder in range(holders)
        ]
        known = [only(moves, one.node) for one in proposed]
        parts = [contract_edges(part, some) for part, some in zip(parts, known, strict=True)]
        labels = move_labels(labels, only(moves, np.unique(labels)))
        sizes.append(list(map(len, parts)))
    return nodes, labels, sizes


def of_holder(moves, holder, holders):
    mine = moves.node % np.uint64(holders) == holder
    return Moves(moves.node[mine], moves.to[mine])


def only(parts, nodes):
    """Returns the pointers of some nodes, as they are sent to who asked for them."""
    node, to = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    order = np.argsort(node)
    order = order[np.isin(node[order], nodes)]
    return Moves(node[order], to[order])


def scipys(pairs, nodes):
    ends = np.searchsorted(nodes, pairs)
    graph = coo_array((np.ones(len(ends)), tuple(ends.T)), shape=(len(nodes), len(nodes)))
    return connected_components(graph, directed=False)[1]


def same_parts(one, other):
    both = len(np.unique(np.stack((one, other)), axis=1).T)
    return both == len(np.unique(one)) == len(np.unique(other))


def array(pairs):
    return splitmix64(np.array(pairs, np.uint64).reshape(-1, 2))


@given(PAIRS, st.integers(1, 4), st.integers(1, 4))
def test_labels_are_those_of_the_components_in_any_partitions(pairs, partitions, holders):
    pairs = array(pairs)
    nodes, labels, _ = in_rounds([pairs[i::partitions] for i in range(partitions)], holders)
    assert same_parts(labels.astype(np.int64), scipys(pairs, nodes))
    assert np.isin(labels, nodes).all()
    np.testing.assert_array_equal(labels, in_rounds([pairs])[1])


def chain(count):
    return np.stack((np.arange(count - 1), np.arange(1, count)), axis=1)


def star(count):
    return np.stack((np.zeros(count - 1, int), np.arange(1, count)), axis=1)


def random_graph(count):
    return np.random.default_rng(1).integers(0, count, (count // 2, 2))


@pytest.mark.parametrize("shape", [chain, star, random_graph])
@pytest.mark.parametrize("ordered", [True, False])
def test_rounds_are_few_and_partitions_do_not_grow(shape, ordered):
    pairs = shape(20_000).astype(np.uint64)
    pairs = pairs if ordered else splitmix64(pairs)
    parts = [pairs[i::5] for i in range(5)]
    nodes, labels, sizes = in_rounds(parts)
    assert same_parts(labels, scipys(pairs, nodes).astype(np.uint64))
    # About half of a chain's nodes are left by each round; 2^14 < 20,000 < 2^15.
    assert len(sizes) <= 20
    assert all(
        after <= before
        for one in zip(*sizes, strict=True)
        for before, after in itertools.pairwise(one)
    )
