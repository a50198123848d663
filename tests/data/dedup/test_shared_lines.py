"""Lines that held-out pages share with training pages, against sets of normalized lines."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from data.dedup.shared_lines import shared_lines

LINES = st.lists(
    st.sampled_from(["Habari", "habari ", "Jambo  bwana", "jambo bwana", "", " ", "x"])
)
TEXTS = st.lists(LINES.map("\n".join), max_size=5)


def read(line):
    return " ".join(line.lower().split())


@given(TEXTS, TEXTS)
def test_agrees_with_sets_of_lines(held_out, training):
    known = {read(line) for text in training for line in text.split("\n")}
    found = shared_lines({"sw": held_out}, training)
    lines = [[read(line) for line in text.split("\n") if line.strip()] for text in held_out]
    if not held_out:
        assert found == {}
        return
    assert found["sw"].lines == sum(map(len, lines))
    assert found["sw"].shared_lines == sum(line in known for page in lines for line in page)
    assert found["sw"].pages == len(held_out)
    assert found["sw"].pages_sharing == sum(any(l in known for l in page) for page in lines)  # noqa: E741


def test_languages_are_compared_together_and_counted_separately():
    held_out = {"yo": ["Ka."], "sw": ["Read the manual.\nSoma."]}
    found = shared_lines(held_out, ["READ the\u00a0manual."])
    assert (found["sw"].shared_lines, found["sw"].lines) == (1, 2)
    assert found["sw"].examples == ("read the manual.",)
    assert (found["yo"].shared_lines, found["yo"].examples) == (0, ())


def test_a_letter_in_another_composition_is_the_same_letter():
    line = "Ẹ kú àárọ̀, gbogbo yín."
    held_out = {"yo": [unicodedata.normalize("NFC", line)]}
    assert shared_lines(held_out, [unicodedata.normalize("NFD", line)])["yo"].shared_lines == 1
