from hypothesis import given
from hypothesis import strategies as st

from data.reading import page_table
from data.reading.page import Page

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
    assert list(page_table.pages(page_table.batch(pages))) == pages
