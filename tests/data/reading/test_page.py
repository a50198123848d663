""" """

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.reading import page
from data.reading.page import Page, is_timestamp, sortable

TIMES = st.builds(
    lambda time, hours: time.replace(tzinfo=timezone(timedelta(hours=hours))),
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    st.integers(-12, 14),
)


@given(TIMES, TIMES)
def test_the_order_is_that_of_the_times_whatever_their_offset(first, second):
    texts = sortable(first.isoformat()), sortable(second.isoformat(" "))
    assert (texts[0] < texts[1], texts[0] == texts[1]) == (first < second, first == second)


@pytest.mark.parametrize(
    "text, time",
    [
        ("2026", datetime(2026, 1, 1)),
        ("2026-03", datetime(2026, 3, 1)),
        ("2026-03-01", datetime(2026, 3, 1)),
        ("2026-03-01 10:20", datetime(2026, 3, 1, 10, 20)),
        ("2026-03-01T10:20:30.5Z", datetime(2026, 3, 1, 10, 20, 30, 500_000)),
        ("2026-03-01T10:20:30+02:00", datetime(2026, 3, 1, 8, 20, 30)),
    ],
)
def test_parts_that_are_missing_count_as_the_first_moment_in_utc(text, time):
    assert is_timestamp(text)
    assert sortable(text) == sortable(time.replace(tzinfo=UTC).isoformat())


@pytest.mark.parametrize("text", ["", "zzzz", "2026-02-30", "20260301", "1" * 99, "2026-3-1"])
def test_what_is_no_time_sorts_before_all_times(text):
    assert not is_timestamp(text)
    assert sortable(text) == "" < sortable("0001")


def test_a_time_outside_the_calendar_of_utc_is_not_known():
    assert sortable("0001-01-01T00:00+05:00") == sortable("9999-12-31T23:59-05:00") == ""


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
PAGES = st.builds(
    Page,
    TEXT,
    TEXT,
    timestamp=TEXT,
    declared_language=st.none() | st.sampled_from(["sw", "und"]),
    removed_lines=st.lists(st.tuples(TEXT, st.integers(0, 99))).map(tuple),
    language=TEXT,
    language_probability=st.floats(0, 1),
    split=st.sampled_from(["", "train", "validation"]),
    cluster_size=st.integers(1, 2**31 - 1),
)


@given(st.lists(PAGES))
def test_nothing_is_lost_in_a_batch(pages):
    kept = [one._replace(declaration="") for one in pages]  # counted before batches are made
    assert list(page.batch_to_pages(page.pages_to_batch(pages))) == kept
