import numpy as np

from data.splitmix64 import splitmix64


def test_outputs_of_the_published_generator_with_seed_0():
    states = np.uint64(0x9E3779B97F4A7C15) * np.arange(1, 4, dtype=np.uint64)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert splitmix64(states).tolist() == expected
