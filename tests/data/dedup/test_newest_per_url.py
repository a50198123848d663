from hypothesis import given
from hypothesis import strategies as st

from data.dedup.newest_per_url import PageVersion, newest, version_of
from data.reading.page import Page

VERSION = st.builds(
    PageVersion,
    st.sampled_from([b"a", b"b"]),
    st.sampled_from(["", "2025", "2026-01-01T00:00:00Z"]),
    st.binary(min_size=1, max_size=1),
)


def test_the_newest_page_of_a_normalized_address_stays():
    """Published corpora write blanks and offsets in times; a crawl has one form."""
    times = (
        "2025-12-31T21:29:59Z", "2026-01-01T02:30:00+05:00", "2025-12-31T23:00:00Z",
        "2026-01-01 01:00:00", "2026-01-01T00:59:59.5Z",
    )  # fmt: skip
    addresses = ("https://www.a.example/", "http://a.example", "https://a.example/?utm_source=x")
    pages = [Page(addresses[n % 3], str(n), time) for n, time in enumerate(times)]
    for first in range(4):
        versions = [*map(version_of, pages[first:]), version_of(Page("b.example", "x", "2024"))]
        assert newest(versions).tolist() == [n == 3 for n in range(first, 5)] + [True]


def test_pages_that_differ_are_no_equal_versions():
    pages = [Page("a.example", "x", "2026", code) for code in ("sw", "yo", None)]
    pages += [Page("a.example", "y", "2026"), Page("http://a.example", "x", "2026")]
    assert len({version_of(page).content for page in pages}) == len(pages)


@given(st.lists(VERSION, max_size=9), st.integers(0, 9))
def test_one_version_per_address_stays_also_in_parts(versions, cut):
    def kept(some):
        return [one for one, stays in zip(some, newest(some), strict=True) if stays]

    latest = {}
    for one in sorted(versions, key=lambda one: one.content, reverse=True):
        if one.address not in latest or one.timestamp >= latest[one.address].timestamp:
            latest[one.address] = one  # of equally new ones the smallest content, which is last
    in_parts = kept([*kept(versions[:cut]), *kept(versions[cut:])])
    assert sorted(kept(versions)) == sorted(in_parts) == sorted(latest.values())
