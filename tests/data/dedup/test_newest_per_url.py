import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from data.dedup.newest_per_url import PageVersion, newest, version_of
from data.reading.page import Page

CLAIMS = st.lists(
    st.builds(
        PageVersion,
        st.sampled_from([b"a", b"b"]),
        st.sampled_from(["", "2025", "2026-01-01T00:00:00Z"]),
        st.binary(min_size=1, max_size=1),
    ),
    max_size=9,
)


def test_the_newest_page_of_a_normalized_address_stays():
    pages = [
        Page("https://www.a.example/", "x", "2025"),
        Page("http://a.example", "x", "2026"),
        Page("https://b.example/?utm_source=x", "x", "2024"),
    ]
    assert newest(list(map(version_of, pages))).tolist() == [False, True, True]


def test_times_are_compared_in_utc_however_they_are_written():
    """Published corpora write blanks and offsets; a crawl has one form."""
    times = (
        "2026-01-01T02:30:00+05:00",
        "2025-12-31T23:00:00Z",
        "2026-01-01 01:00:00",
        "2026-01-01T00:59:59.5Z",
    )
    pages = [Page("https://a.example/", str(number), time) for number, time in enumerate(times)]
    for number in range(3):
        assert newest(list(map(version_of, pages[number:])))[2 - number]


def test_ties_do_not_depend_on_the_order():
    pages = [Page("https://a.example/", text, "2026") for text in "xyz"]
    for some in (pages, pages[::-1]):
        (stays,) = np.flatnonzero(newest(list(map(version_of, some))))
        assert version_of(some[stays]).content == min(version_of(page).content for page in pages)


def test_what_was_declared_breaks_the_last_tie():
    pages = [Page("https://a.example/", "x", "2026", code) for code in ("sw", "yo", None)]
    assert len({version_of(page).content for page in pages}) == 3


@given(CLAIMS, st.integers(0, 9))
def test_one_version_per_address_stays_also_in_parts(claims, cut):
    at_once = newest(claims)
    kept = [claim for claim, stays in zip(claims, at_once, strict=True) if stays]
    assert sorted(claim.address for claim in kept) == sorted({claim.address for claim in claims})
    parts = [claims[:cut], claims[cut:]]
    left = [c for part in parts for c, stays in zip(part, newest(part), strict=True) if stays]
    in_parts = [claim for claim, stays in zip(left, newest(left), strict=True) if stays]
    assert sorted(in_parts) == sorted(kept)
