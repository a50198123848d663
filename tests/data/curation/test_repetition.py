""""""

import numpy as np
import pytest

from data.curation.repetition import order_by_frequency
from data.curation.words import Words


def words_of(pages: np.ndarray) -> Words:
    """Returns words of these pages, of which nothing else is read."""
    number = len(pages)
    return Words(
        codes=np.zeros(number, np.uint32),
        flags=np.zeros(number, np.uint16),
        positions=np.arange(number),
        marks=np.empty(0, np.int64),
        begins=np.arange(number + 1),
        offsets=np.searchsorted(pages, np.arange(pages[-1] + 2)),
        pages=pages,
        kinds=np.zeros(number, np.uint16),
        weights=np.ones(number),
    )


@pytest.mark.parametrize("more", [0, 2**40])
def test_the_order_is_the_same_where_64_bits_do_not_hold_it(more):
    """Counts beyond 2 ** 40, as of a page of millions of words beside a thousand others."""
    draw = np.random.default_rng(0)
    pages = np.sort(draw.integers(0, 1024, 5000))
    words = words_of(pages)
    first, lengths = np.arange(5000), draw.integers(1, 64, 5000)
    counts = draw.integers(1, 9, 5000) * (1 + more)
    expected = sorted(range(5000), key=lambda n: (pages[n], -counts[n], lengths[n], first[n]))
    assert order_by_frequency(words, first, counts, lengths).tolist() == expected
    assert order_by_frequency(words, first, counts).tolist() == sorted(
        range(5000), key=lambda n: (pages[n], -counts[n], first[n])
    )
