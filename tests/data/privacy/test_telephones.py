import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import languages
from data.privacy.regions import regions_of
from data.privacy.spans import blanked
from data.privacy.telephones import telephone_numbers

PIECES = st.sampled_from(
    [*"0123456789+-. ()/x<,", "0712 345 678", "0722 123 456 ", "+254 712 345 678", "030/901820",
     "(212) 736-5000", "212-736-5001 ", "6222 0212", "1234567", "2024-11-27"]
)  # fmt: skip


def found(text, language):
    return [text[span.begin : span.end] for span in telephone_numbers(text, language)]


@pytest.mark.parametrize(
    "language, text, numbers",
    [
        ("en", "call (212) 736-5000, or +44 20 7946 0018", ["(212) 736-5000", "+44 20 7946 0018"]),
        ("de", "Tel. 030/901820 - 040 428280", ["030/901820", "040 428280"]),
        ("fr", "au 01 40 20 50 50.", ["01 40 20 50 50"]),
        ("ja", "電話03-3224-9999まで", ["03-3224-9999"]),
        ("sw", "0712 345 678 0722 123 456,", ["0712 345 678", "0722 123 456"]),
        ("sw", "+254 712 345 678 0722 123 456", ["+254 712 345 678", "0722 123 456"]),
        ("id", "0812 3456 7890  0813 1111 2222", ["0812 3456 7890", "0813 1111 2222"]),
        (
            "en",
            "212 736 5000 212 736 5001 (212) 736-5002",
            ["212 736 5000", "212 736 5001", "(212) 736-5002"],
        ),
        ("fr", "01 40 20 50 50 01 40 20 50 51 " * 2, ["01 40 20 50 50", "01 40 20 50 51"] * 2),
        ("sw", "0712 345 678 901 234, 0712 345 678 1234567, 100 200 300 400 500 600 700", []),
        ("zh", "6222 0212 6222 0213, 6222-0212-3456-7890", []),  # payment cards
        ("und", "+3611 +1 555", []),
        ("en", "2124567890 2024-11-27 1999-2004 02110-1301 1,234,567 978-3-16-148410-0", []),
        ("en", "text/shared/01/04140000.xhp $212 736 5000 40.712776 212 736 5000%", []),
        ("de", "30901820 0309018", []),  # no trunk prefix; too short without separators
    ],
)
def test_telephone_numbers(language, text, numbers):
    assert found(text, language) == numbers


@pytest.mark.parametrize("language", [one.code for one in languages.all_languages()])
def test_regions_have_numbers_which_are_found_in_pages_of_the_language(language):
    for region in regions_of(language):
        example = phonenumbers.example_number(region)
        written = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        assert found(f"tel. {written}.", language) == [written]


def test_unknown_languages_have_no_region():
    assert regions_of("und") == regions_of("eo") == regions_of("tlh") == ()


@given(st.lists(PIECES, max_size=25).map("".join), st.sampled_from(["sw", "en", "de", "id", "und"]))
def test_no_number_appears_beside_found_ones(text, language):
    spans = list(telephone_numbers(text, language))
    assert spans == sorted(spans)
    assert not list(telephone_numbers(blanked(text, spans), language))
