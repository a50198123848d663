import pytest

from data.reading.page_record import defect_of
from data.reading.published_names import Published

NOTHING = Published()


@pytest.mark.parametrize("text", ["zzz", "2026-02-30", "2026-02-30T00:00:00Z", "yesterday"])
def test_a_date_that_does_not_exist_is_a_defect(text):
    assert defect_of({"text": "x", "timestamp": text}, NOTHING) == "invalid_timestamp"


@pytest.mark.parametrize("text", ["", None, "2026-02-28", "2026-02-28T00:00:00Z"])
def test_a_date_may_be_missing_or_real(text):
    assert defect_of({"text": "x", "timestamp": text}, NOTHING) is None
