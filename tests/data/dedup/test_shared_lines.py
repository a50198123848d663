"""Lines that held-out pages share with training pages, against sets of normalized lines."""

from hypothesis import given
from hypothesis import strategies as st

from data.dedup.shared_lines import SharedLines, shared_lines

LINES = st.lists(
    st.sampled_from(["Habari", "habari ", "Jambo  bwana", "jambo bwana", "", " ", "x"])
)
TEXTS = st.lists(LINES.map("\n".join), max_size=5)


def read(text: str) -> list[str]:
    return [" ".join(line.lower().split()) for line in text.split("\n") if line.strip()]


@given(TEXTS, TEXTS)
def test_agrees_with_sets_of_lines(held_out, training):
    known = {line for text in training for line in read(text)}
    found = shared_lines({"sw": held_out}, training)
    shared = [[line in known for line in read(text)] for text in held_out]
    assert len(found) == bool(held_out)
    for counts in found.values():
        assert counts.lines == sum(map(len, shared))
        assert counts.shared_lines == sum(map(sum, shared))
        assert counts.pages == len(held_out)
        assert counts.pages_sharing == sum(map(any, shared))
        assert set(counts.examples) == {line for text in held_out for line in read(text)} & known


def test_languages_are_compared_together_and_counted_separately():
    held_out = {"yo": ["Ka."], "sw": ["Read the manual.\nSoma."]}
    assert shared_lines(held_out, ["READ the\u00a0manual."]) == {
        "sw": SharedLines(2, 1, 1, 1, ("read the manual.",)),
        "yo": SharedLines(1, 0, 1, 0, ()),
    }
