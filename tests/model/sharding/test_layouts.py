"""The table from dimension names to mesh axes."""

import pytest

from model.sharding.layouts import spec


def test_an_unknown_dimension_never_replicates_silently():
    with pytest.raises(KeyError):
        spec("embed surprise")
