import numpy as np

from data.examples.seeds import hash_seed, hash_seeds


def test_many_seeds_are_those_of_each_tuple_and_single_numbers_are_broadcast():
    parts = np.arange(100)
    seeds = hash_seeds(7, parts, 3).tolist()
    assert seeds == [hash_seed(7, part, 3) for part in range(100)]
    assert len(set(seeds)) == 100


def test_the_order_of_numbers_counts():
    assert hash_seed(1, 2) != hash_seed(2, 1)
    assert hash_seed(0) != hash_seed(0, 0)
