import pytest

from data.reading.page import Page
from data.rules.text_rules import LONGEST_PAGE_CHARACTERS, too_few_long_lines, too_long


def page(text: str) -> Page:
    return Page(url="http://a.example/", text=text)


@pytest.mark.parametrize(
    "characters, reason", [(LONGEST_PAGE_CHARACTERS, None), (190_001, "too_long")]
)
def test_length_is_in_characters(characters, reason):
    assert too_long(page("ሰ" * characters)) == reason  # three bytes each


@pytest.mark.parametrize(
    "lengths, reason",
    [
        ([200, 200, 200], None),
        ([5, 300, 200, 7, 250], None),
        ([200, 200, 199], "too_few_long_lines"),
        ([1000, 1000], "too_few_long_lines"),
        ([600], "too_few_long_lines"),
    ],
)
def test_third_longest_line_decides(lengths, reason):
    text = "\n".join("語" * length for length in lengths)
    assert too_few_long_lines(page(text), lines=3, characters=200) == reason


@pytest.mark.parametrize("text, reason", [("Karibu sana", None), ("OK", "too_few_long_lines")])
def test_the_demo_needs_less(text, reason):
    assert too_few_long_lines(page(text), lines=1, characters=10) == reason
