"""What several commands take is checked where it is used."""

import math
from pathlib import Path

import pytest

from model.config import ConfigurationError
from pipeline.command import check_fields
from pipeline.commands.pretrain import Pretrain
from pipeline.fields import CacheOptions


def test_gigabytes_are_bytes():
    assert CacheOptions(gigabytes=0.5).limit_bytes == 500_000_000


@pytest.mark.parametrize("gigabytes", [0, -1, math.inf, math.nan, 1e-12])
def test_a_cache_has_a_finite_size(gigabytes):
    cache = CacheOptions(gigabytes=gigabytes)
    with pytest.raises(ConfigurationError, match=r"--cache\.gigabytes was .*; give 1e-09 or more"):
        check_fields(Pretrain(recipe="mt5-demo", tokens="none", out=Path("run"), cache=cache))
