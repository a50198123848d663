""" """

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.examples.mixture import BLOCK, LANES, Draws, make_schedule
from data.examples.window_order import WindowOrder, parts_of, permute, reversed_bits


def permutation(size: int, seed: int) -> np.ndarray:
    """The whole permutation."""
    return permute(np.arange(size), np.full(size, size), np.full(size, seed, np.uint64))


@given(st.integers(1, 700), st.integers(0, 2**64 - 1))
def test_every_index_appears_once(size, seed):
    assert sorted(permutation(size, seed).tolist()) == list(range(size))


def test_seeds_give_unrelated_orders():
    first, second = permutation(5000, 1), permutation(5000, 2)
    assert np.mean(first == second) < 0.01
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.06
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.06


def one(index: int, size: int, seed: int) -> int:
    return int(permute(np.array([index]), np.array([size]), np.array([seed], np.uint64))[0])


def test_large_sizes_cost_no_memory():
    assert 0 <= one(10**15, 2**60, 3) < 2**60


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 2**64 - 1)), min_size=1))
def test_an_element_does_not_depend_on_the_others(asked):
    sizes = np.array([size for size, _ in asked])
    seeds = np.array([seed for _, seed in asked], np.uint64)
    indices = np.array([size // 3 for size in sizes.tolist()])
    together = permute(indices, sizes, seeds)
    alone = [one(index, *each) for index, each in zip(indices.tolist(), asked, strict=True)]
    assert together.tolist() == alone


def test_outside_is_an_error():
    with pytest.raises(ValueError, match="not all in"):
        one(5, 5, 0)


RAW = 100
TOKENS = np.array([801_234, 160_000, 40_000, 30])
WEIGHTS = {"en": 0.6, "sw": 0.25, "yo": 0.1, "zu": 0.05}
PARTS = (64, 16, 4, 1)


@pytest.fixture
def order(monkeypatch):
    """Languages of 64, 16, 4 and 1 parts; a section of `en` has 25 windows, a part 5 of them."""
    monkeypatch.setattr("data.examples.window_order.SECTION_TOKENS", 10_000)
    schedule = make_schedule(WEIGHTS, seed=3)
    parts = tuple(map(parts_of, TOKENS.tolist(), schedule.quotas))
    found = WindowOrder(TOKENS, RAW, replace(schedule, parts=parts), seed=3)
    monkeypatch.setattr("data.examples.window_order.SECTION_TOKENS", 2500)
    assert found.schedule.parts == PARTS
    return found


def draws_of(order, count: int):
    draws = order.schedule.draw(np.arange(count))
    return draws, order.starts(draws)


def test_an_epoch_of_each_part_shows_each_of_its_windows_once(order):
    draws, starts = draws_of(order, 3 * BLOCK)
    for language in range(len(TOKENS)):
        whole: Counter[int] = Counter()
        for part in range(PARTS[language]):
            mine = (draws.languages == language) & (draws.parts == part)
            count = _count(order, language, part)
            epoch = np.flatnonzero(mine)[count : 2 * count]  # the second
            offset = starts[epoch].min() % RAW
            windows = (starts[epoch] - offset) // RAW
            assert len(set(windows.tolist())) == count
            assert windows.max() - windows.min() == count - 1  # a region without gaps
            whole.update((windows % order.windows[language]).tolist())
        assert sorted(whole) == list(range(order.windows[language]))
        assert set(whole.values()) == {1}


def _count(order, language: int, part: int) -> int:
    region = order.regions[language, part]
    return int(np.diff(order.bounds[language])[region])


def test_a_part_has_windows_in_proportion_to_its_draws(order):
    """All parts of a language are then in the same epoch, up to rounding."""
    for language, parts in enumerate(PARTS):
        quotas = order.schedule.part_quotas[language, :parts]
        counts = np.array([_count(order, language, part) for part in range(parts)])
        assert np.all(np.abs(counts - order.windows[language] * quotas / quotas.sum()) <= 1)


@pytest.mark.parametrize("hosts", [2, 4, 8, 16])
def test_a_host_reads_its_share_of_a_divided_language(order, hosts):
    """In every epoch one host's windows are in one region of 1/hosts of the language."""
    draws, starts = draws_of(order, BLOCK)
    for language, parts in enumerate(PARTS):
        if parts < hosts:  # some hosts may have none of 20 examples
            continue
        mine = (np.arange(BLOCK) % hosts == hosts - 1) & (draws.languages == language)
        first_epoch = mine & (draws.ordinals < 20)
        reached = starts[first_epoch].max() - starts[first_epoch].min() + RAW
        assert reached <= TOKENS[language] / hosts * 1.2 + 2 * RAW


def test_a_part_is_read_section_by_section(order):
    """Of the 125 windows of a part, 25 adjacent ones precede the next 25, each 25 permuted."""
    draws, starts = draws_of(order, BLOCK)
    mine = np.flatnonzero((draws.languages == 0) & (draws.parts == 5))
    count = _count(order, 0, 5)
    windows = (starts[mine[:count]] - starts[mine[:count]].min()) // RAW
    sections = count * RAW // 2500
    size = count // sections
    assert sections >= 4
    groups = [windows[n * size : (n + 1) * size] for n in range(sections)]
    for group in groups:
        assert group.max() - group.min() == size - 1
        assert group.tolist() != sorted(group.tolist())
    order_of_sections = [int(group.min()) for group in groups]
    assert order_of_sections != sorted(order_of_sections)


def test_epochs_have_different_orders(order):
    draws, starts = draws_of(order, 8 * BLOCK)
    mine = np.flatnonzero((draws.languages == 2) & (draws.parts == 0))
    count = _count(order, 2, 0)
    epochs = [starts[mine[n * count : (n + 1) * count]] for n in range(3)]
    relative = [tuple((epoch - epoch.min()).tolist()) for epoch in epochs]
    assert len(set(relative)) == 3
    assert len({int(epoch.min()) % RAW for epoch in epochs}) > 1


def test_each_seed_language_and_part_has_an_order_of_its_own():
    schedule = make_schedule({"en": 1.0, "sw": 1.0}, seed=3)
    tokens = np.array([100_000, 100_000])
    drawn = Draws(np.repeat([0, 1], 500), np.zeros(1000, np.int64), np.tile(np.arange(500), 2))
    starts = [
        WindowOrder(tokens, RAW, schedule, seed=seed).starts(drawn).reshape(2, 500) // RAW
        for seed in (3, 4)
    ]
    orders = [*starts[0], *starts[1]]
    for one, other in itertools.combinations(orders, 2):
        assert np.mean(np.diff(one) == np.diff(other)) < 0.1


def test_small_languages_are_not_divided():
    assert parts_of(2**25 - 1, quota=BLOCK) == 1
    assert parts_of(2**25, quota=BLOCK) == 2
    assert parts_of(10**12, quota=31) == 1
    assert parts_of(10**12, quota=BLOCK) == LANES


def test_reversing_bits_twice_is_nothing():
    for count in (1, 2, 8, 256):
        order = reversed_bits(count)
        assert order[order].tolist() == list(range(count))
    assert reversed_bits(8).tolist() == [0, 4, 2, 6, 1, 5, 3, 7]
