"""What several commands take is checked where it is used."""

import math

import pytest

from data.errors import DataError
from pipeline.fields import CacheOptions


def test_gigabytes_are_bytes():
    assert CacheOptions(gigabytes=0.5).limit_bytes == 500_000_000


@pytest.mark.parametrize("gigabytes", [0, -1, math.inf, math.nan, 1e-12])
def test_a_cache_has_a_finite_size(gigabytes):
    with pytest.raises(DataError, match=r"--cache\.gigabytes was .*; give a finite number above 0"):
        _ = CacheOptions(gigabytes=gigabytes).limit_bytes
