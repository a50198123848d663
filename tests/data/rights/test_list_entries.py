import pytest

from data.reading.page_record import address_of
from data.rights.list_entries import Entry, entries


@pytest.mark.parametrize(
    "line, name",
    [
        ("example.org", "example.org"),
        ("Example.ORG.", "example.org"),
        ("*.example.org", "example.org"),
        (".example.org", "example.org"),
        ("my_site-1.example.org  # why", "my_site-1.example.org"),
        ("münchen.de", "xn--mnchen-3ya.de"),
        ("example.org:8080", "example.org"),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_a_bare_host_is_a_domain(line, name):
    assert list(entries(line)) == [Entry(name, True)]


@pytest.mark.parametrize(
    "line, name",
    [
        ("https://github.com/", "github.com"),
        ("https://github.com", "github.com"),
        ("github.com/", "github.com"),
        ("https://www.example.org/a/", "example.org/a"),
        ("example.org/A b", "example.org/A%20b"),
        ("example.org/%7Ebob", "example.org/~bob"),
        ("example.org/@bob", "example.org/@bob"),
        ("example.org/a#b", "example.org/a"),
        ("example.org?id=7", "example.org?id=7"),
    ],
)
def test_a_scheme_or_a_slash_makes_an_address(line, name):
    assert list(entries(line)) == [Entry(name, False)]


@pytest.mark.parametrize(
    "line",
    [
        "owner@site0.com", "mailto:a@b.org", "https://user:word@example.org/", "a@b.org/x",
        "||example.org^", "@@||example.org^", "example.org##.banner", "example.org,spam",
        '"example.org"', "<a.org>", "<https://a.org/x>", "a.org;", "a..b", "a.org..",
        "example.org other.org", "example.org\tx", "example.org/a\tx", "https://example.org/*",
        "https://*.example.org/", "*.example.org/a", "ex*mple.org", "*", "*.", ".", "com",
        "ftp://example.org/", "https:/example.org", "http//example.org", "https://example.org/#/b",
        "http://[::1", "example.org:port", "ex%41mple.org", "\ufffd.org", "a.org/\ufffd",
        "a.org\\b", "255.255.255.255 broadcasthost",
    ],
)  # fmt: skip
def test_what_would_never_match_or_match_too_much_is_no_entry(line):
    assert list(entries(line)) == [None]


def test_a_page_without_an_address_is_named_by_the_digest_of_its_text():
    digest = address_of("Habari.")
    assert list(entries(digest)) == [Entry(digest, False)]
    assert list(entries(digest[:-1])) == [None]


@pytest.mark.parametrize("line", ["", "  ", "# a.org", "\t# a@b", "#", "0.0.0.0 # a.org"])
def test_comments_have_no_entries(line):
    assert [one for one in entries(line) if one is not None] == []


def test_a_line_of_a_hosts_file_has_several():
    line = "127.0.0.1\tlocalhost a.org  B.org # c.org"
    assert list(entries(line)) == [None, Entry("a.org", True), Entry("b.org", True)]
    assert list(entries("::1 a.org")) == [Entry("a.org", True)]
