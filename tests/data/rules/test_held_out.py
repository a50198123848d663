"""Which pages are held out: as many as the rule counts, those with the smallest hashes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.rules.held_out import OneIn, ShareOfEachLanguage, share_of_each_language

SHARE = ShareOfEachLanguage(share=0.12, minimum=2, maximum=64)
COUNTS = {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 16: 2, 25: 3, 100: 12, 9999: 64}


def test_one_in_a_thousand_is_the_reference_s():
    digests = [hashlib.md5(f"example.org/{number}".encode()) for number in range(5000)]
    held_out = [one for one in digests if OneIn(1000).split(one.digest()) != "train"]
    assert held_out == [one for one in digests if int(one.hexdigest(), 16) % 1000 == 0]
    assert held_out


@given(st.lists(st.binary(min_size=16, max_size=16), unique=True, max_size=100))
def test_the_smallest_hashes_are_held_out(hashes):
    last = SHARE.last_held_out(len(hashes), sorted(hashes)[: SHARE.maximum])
    held_out = [one for one in hashes if one <= last]
    assert sorted(held_out) == sorted(hashes)[: SHARE.count(len(hashes))]
    assert len(hashes) < 2 or 0 < len(held_out) < len(hashes)


def test_counts_of_the_demo_and_of_a_user_s_settings():
    assert {pages: SHARE.count(pages) for pages in COUNTS} == COUNTS
    rule = share_of_each_language(0.001, minimum=10)
    assert [rule.count(pages) for pages in (15, 1000, 50_000, 10**8)] == [7, 10, 50, 10_000]
    assert str(rule) == "0.1% of each language's pages, at least 10 and at most 10000"


@pytest.mark.parametrize("share, minimum", [(-0.1, 2), (1.0, 2), (0.1, -1)])
def test_settings_that_make_no_sense(share, minimum):
    with pytest.raises(DataError, match="asked for; give"):
        share_of_each_language(share, minimum)
