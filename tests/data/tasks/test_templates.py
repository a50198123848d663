import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.tasks.templates import BadRow, Blank, parsed

VALUE = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


@given(st.lists(st.text("ab {}:"), max_size=4), VALUE)
def test_equals_str_format(literals, value):
    escaped = [one.replace("{", "{{").replace("}", "}}") for one in literals]
    template = "{a field}".join(escaped)
    expected = template.replace("{a field}", "{a}").format(a=value.strip())
    assert parsed(template, "here").filled({"a field": value}) == expected


def test_values_are_inserted_as_they_are():
    assert parsed("{a} {b}", "here").filled({"a": "{b}", "b": 3}) == "{b} 3"


@pytest.mark.parametrize(
    ("row", "reason", "kind"),
    [
        ({}, "no_a", BadRow),
        ({"a": None}, "no_a", Blank),
        ({"a": " \n"}, "no_a", Blank),
        ({"a": ["x"]}, "a_is_no_text", BadRow),
        ({"a": "\ud800"}, "invalid_utf8", BadRow),
    ],
)
def test_a_row_without_text_has_a_reason(row, reason, kind):
    with pytest.raises(kind, match=f"^{reason}$"):
        parsed("{a}", "here").filled(row)
