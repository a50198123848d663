"""Times of a crawl: which text counts as one.

WARC 1.0 writes `2026-01-31T12:00:00Z`; 1.1 allows fewer parts and fractions of a second (W3C's
profile of ISO 8601, ISO 28500:2017, annex B). Published corpora also write a blank for the T, an
offset for the Z, or neither. Text that is not a date of the calendar would still sort after every
year, so that it would win against the real dates of the same address.
"""

import re
from datetime import UTC, datetime

LONGEST_CHARACTERS = 40
PARTS = re.compile(
    r"\d{4}(-\d\d(-\d\d([T ]\d\d:\d\d(:\d\d([.]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)


def is_timestamp(text: str) -> bool:
    """Returns whether the text is a date of the calendar, with or without a time of day."""
    return _time(text) is not None


def sortable(text: str) -> str:
    """Returns a time in UTC as text that sorts by time; "" if it is none, or outside the calendar.

    A time without an offset counts as UTC, a date without a time of day as its first moment.
    """
    time = _time(text)
    if time is None:
        return ""
    try:
        in_utc = time.astimezone(UTC) if time.tzinfo else time
    except OverflowError:
        return ""
    return in_utc.replace(tzinfo=None).isoformat(timespec="microseconds")


def _time(text: str) -> datetime | None:
    if len(text) > LONGEST_CHARACTERS or not PARTS.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text + "-01-01"[: 10 - len(text)] if len(text) < 10 else text)
    except ValueError:
        return None
