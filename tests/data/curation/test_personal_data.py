"""Personal data are found exactly where they were planted, in 24 scripts."""

import itertools
import random
import re
import sys

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_data import SCRIPTS, planted

from data.curation import personal_numbers
from data.curation.personal_data import (
    KINDS,
    REPLACEMENTS,
    SPANS,
    email_addresses,
    find_spans,
    ip_addresses,
    mask,
    personal_data,
)


def found(search, text):
    return [text[span.begin : span.end] for span, is_personal in search(text) if is_personal]


@pytest.mark.parametrize(
    "text, addresses",
    [
        ("联系我们info@foo.com谢谢", ["info@foo.com"]),
        ("이메일은 info@foo.com으로 보내", ["info@foo.com"]),
        ("Пишите: почта@пример.рф.", ["почта@пример.рф"]),
        ("<a.b+c@x-y.co.ke>, 'd@foo.org'", ["a.b+c@x-y.co.ke", "d@foo.org"]),
        ("mailto:x@xn--e1afmkfd.xn--p1ai", ["x@xn--e1afmkfd.xn--p1ai"]),
        ("x@[88.8.44.1]", ["x@[88.8.44.1]"]),
        ("𞓐𞓑@𞓐𞓑.𞓑𞓐", ["𞓐𞓑@𞓐𞓑.𞓑𞓐"]),  # letters of Unicode 15, which Python 3.11 does not know
        ("a@b@c.de", ["b@c.de"]),
        ("icon@2x.png, user@example.com, me@localhost, a@foo.test, @foo.de, foo@, a@b.c1", []),
        ("x" * 70 + "@foo.de", []),
    ],
)
def test_email_addresses(text, addresses):
    assert found(email_addresses, text) == addresses


@pytest.mark.parametrize(
    "text, addresses",
    [
        ("IP:8.8.44.8, 77.1.2.3:80, 77.1.2.0/24.", ["8.8.44.8", "77.1.2.3", "77.1.2.0"]),
        ("地址77.1.2.3是", ["77.1.2.3"]),
        ("[2001:4860:4860::8888]", ["2001:4860:4860::8888"]),
        ("2001:4860:4860::8888: down", ["2001:4860:4860::8888"]),
        (
            "2a00:1450:4001:81b:0:0:0:200e:\n2600:1406:: down",
            ["2a00:1450:4001:81b:0:0:0:200e", "2600:1406::"],
        ),
        ("2001:4860:4860::8888::1 2001:4860:4860::8888:x", ["2001:4860:4860::8888"]),
        # Public or not by the patch of Python.
        ("192.0.0.50 192.0.0.9 2002:808:808::1 2001:20::1", ["192.0.0.9", "2001:20::1"]),
        ("10.0.0.77 192.168.1.77 127.0.0.77 fe80::1 2001:db8::1", []),
        ("6.3.4.2 v2.6.18.100 linux-2.6.18.100 1.2.3.4.55 77.1.2.300 256.1.1.1", []),
        ("188.8.131.52", []),  # written in place of others
        ("22:33:44:55 2000::x 12:30:45", []),
    ],
)
def test_public_ip_addresses(text, addresses):
    assert found(ip_addresses, text) == addresses


# What addresses and numbers consist of, and letters of scripts with and without spaces.
PIECES = st.sampled_from(
    [*"0123456789+-. ()/@:_x<>\n,'٣é用по", "8.8.8.", "info@", "foo.de", "пример.рф", "::",
     "2001:db", "+49 30 1234567", "030 901820", "44051401359", "email@example.com", "com",
     "22.214.171.124"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=30).map("".join)
LANGUAGES = st.sampled_from(["de", "pl", "en", "zh", "ar", "und"])


@pytest.mark.parametrize("language", SCRIPTS)
def test_planted_data_are_found_exactly_and_nothing_else(language):
    pages = planted(language, random.Random(language), 4)
    found = personal_data([page.text for page in pages], language)
    assert found.type == SPANS
    for page, spans in zip(pages, found.to_pylist(), strict=True):
        one = {"kind": page.kind, "begin": page.begin, "end": page.end}
        assert spans == ([one] if page.kind else []), page.text[page.begin : page.end]


@given(TEXTS, LANGUAGES)
def test_spans_are_in_order_and_never_overlap(text, language):
    (spans,) = personal_data([text], language).to_pylist()
    places = [place for span in spans for place in (span["begin"], span["end"])]
    assert places == sorted(places)
    assert all(0 <= span["begin"] < span["end"] <= len(text) for span in spans)
    assert all(left["end"] <= right["begin"] for left, right in itertools.pairwise(spans))


@given(TEXTS, LANGUAGES, st.sets(st.sampled_from(KINDS)))
def test_masked_pages_hold_nothing_of_the_masked_kinds(text, language, kinds):
    (once,) = mask([text], personal_data([text], language), kinds)
    again = personal_data([once], language)
    assert not kinds & {span["kind"] for span in again.to_pylist()[0]}, once
    assert mask([once], again, kinds) == [once]


@pytest.mark.parametrize("between", ["-", ".", "..", "-.-", " "])
@pytest.mark.parametrize(
    "language, after", [("de", ""), ("zh", "或电话"), ("ja", "まで"), ("de", "_")]
)
def test_replacements_side_by_side_are_no_address(between, language, after):
    text = between.join(f"{name}@foo.de" for name in "abc") + after
    (once,) = mask([text], personal_data([text], language))
    assert personal_data([once], language).to_pylist() == [[]]
    assert "foo" not in once
    if not after:
        (further,) = personal_data([f"{once}.br"], language).to_pylist()  # of another domain
        assert further


def test_replacements_are_those_of_datatrove_in_turn_from_the_first_in_each_page():
    texts = ["a@foo.de, b@foo.de, c@foo.de, 8.8.4.130 and 9.9.9.190", "d@foo.de", ""]
    first, second = REPLACEMENTS["email"]
    addresses = personal_data(texts, "de")
    assert mask(texts, addresses) == [
        f"{first}, {second}, {first}, 22.214.171.124 and 126.96.36.199", first, "",
    ]  # fmt: skip
    assert mask(texts, addresses, ["ip"])[0] == (
        "a@foo.de, b@foo.de, c@foo.de, 22.214.171.124 and 126.96.36.199"
    )


def test_national_forms_belong_to_the_language_and_international_ones_to_every_page():
    texts = ["Tel. 030 901820", "Tel. +49 30 901820"]
    kinds = [[span["kind"] for span in row] for row in personal_data(texts, "de").to_pylist()]
    assert kinds == [["phone"], ["phone"]]
    kinds = [[span["kind"] for span in row] for row in personal_data(texts, "und").to_pylist()]
    assert kinds == [[], ["phone"]]


@pytest.mark.parametrize(
    "language, number",
    [("en", "12345678901 "), ("en", "212-555-2368 "), ("id", "0812-3456-7890 "),
     ("en", r"650-253-0000\123-45-6789,"),
     ("id", "0812 3456 7890 "), ("sw", "0712 345 678 "), ("en", "123 4567 890 ")],
)  # fmt: skip
def test_twice_the_text_is_at_most_about_twice_the_work(language, number, monkeypatch):
    scanned = Scanned(personal_numbers.CANDIDATE)
    monkeypatch.setattr(personal_numbers, "CANDIDATE", scanned)
    find_spans(number * 2, language)  # reads tables and compiles patterns

    def work(times: int) -> tuple[int, int]:
        before = scanned.characters
        calls = calls_of(find_spans, number * times, language)
        return calls, scanned.characters - before

    for once, twice in zip(work(40), work(80), strict=True):
        assert 0 < twice < 2.3 * once


class Scanned:
    """A pattern that counts the characters which it reads."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        self.pattern, self.characters = pattern, 0

    def search(self, text: str, begin: int = 0, end: int | None = None) -> re.Match[str] | None:
        end = len(text) if end is None else end
        found = self.pattern.search(text, begin, end)
        self.characters += (found.end() if found else end) - begin
        return found


def test_numbers_side_by_side_are_found():
    text = "Call 0712 345 678 0722 123 456 or 0733 111 222."
    found = [text[span.begin : span.end] for span in find_spans(text, "sw")]
    assert found == ["0712 345 678", "0722 123 456", "0733 111 222"]


def calls_of(function, *arguments) -> int:
    """Returns how many functions are called, those in C too."""
    events = []
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return events.count("call") + events.count("c_call")


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "Jane Roe,+1 650-253-0000,123-45-6789,Austin", "Jane Roe,P,N,Austin"),
        ("pt", "+55 11 2345-6789,529.982.247-25", "P,N"),
        ("pl", "+48 22 123 45 67,44051401359", "P,N"),
        ("de", "Jane,030 901820,x", "Jane,P,x"),
        ("en", "John,1985,123-45-6789,x", "John,1985,N,x"),
        (
            "en",
            "sums of 1,123,456,789 and 12,650-253-0000",
            "sums of 1,123,456,789 and 12,650-253-0000",
        ),
    ],
)
def test_cells_of_a_table_are_found_and_grouped_digits_are_not(language, text, expected):
    """Some stand behind a number that hides them until it is masked."""
    (found,) = mask([text], personal_data([text], language))
    short = found.replace("<PHONE_NUMBER>", "P").replace("<NATIONAL_NUMBER>", "N")
    assert short == expected
    assert not find_spans(found, language)


def test_no_pages_have_no_data():
    assert personal_data([], "en").equals(pa.array([], SPANS))


@pytest.mark.parametrize(
    "text, found",
    [
        ("{0}.{0} ", []),  # two replacements on both sides of a dot
        ("{0}.{0}.{0}.x", ["{0}.email"]),  # no end of a domain in the row
        ("{0}.{0}..{0}x", ["{0}x"]),  # the last end that is one
    ],
)
def test_rows_of_replacements(text, found):
    text, found = (one.format("email@example.com") for one in (text, " ".join(found)))
    assert " ".join(text[slice(*span[:2])] for span in find_spans(text, "en")) == found
