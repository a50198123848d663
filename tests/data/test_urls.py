""" """

import hashlib
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import urls
from data.urls import (
    LONGEST,
    domains,
    folder_ends,
    host_and_page,
    host_of,
    key,
    normal,
    normalize,
    normalized_hash,
    number,
    url_hash,
)


@pytest.mark.parametrize(
    "url, normalized",
    [
        ("https://www.example.org/a/", "example.org/a"),
        ("http://example.org/a", "example.org/a"),
        ("http://example.org//", "example.org"),
        ("https://example.org/a?utm_source=x&id=3", "example.org/a"),
        ("https://example.org/a?ref=x", "example.org/a"),
        ("https://example.org/a?feedback=1", "example.org/a"),  # the reference cuts this, too
        ("https://example.org/a?id=3&utm_source=x", "example.org/a?id=3&utm_source=x"),
        ("https://example.org/?to=http://www.b.example", "example.org/?to=b.example"),
        ("https://пример.испытание/", "пример.испытание"),
    ],
)
def test_normalize(url, normalized):
    assert normalize(url) == normalized


def test_hash_is_the_reference_s_number():
    url = "http://пример.испытание/"
    reference = int(hashlib.md5(b"\xd0\xbf" + normalize(url).encode()[2:]).hexdigest(), 16)
    assert number(normalized_hash(url)) == reference
    assert url_hash(url) != normalized_hash(url)


@pytest.mark.parametrize(
    "url, host",
    [
        ("https://www.Example.ORG/a?b#c", "www.example.org"),
        ("http://example.org:80/", "example.org"),
        ("https://example.org:443", "example.org"),
        ("http://example.org:443/", "example.org:443"),
        ("https://user:word@example.org.:8443/", "example.org:8443"),
        ("https://münchen.de/", "xn--mnchen-3ya.de"),
        ("https://Faß.de/", "xn--fa-hia.de"),
        ("https://i❤.ws/", "xn--i-7iq.ws"),
        ("example.org/a", "example.org"),
        ("example.org/?to=https://b.example/", "example.org"),
        ("//example.org/a", "example.org"),
        (" \thttps://example.org/", "example.org"),
        ("ht\ntps://example.org/", "example.org"),
        ("http://[2001:db8::1]:8080/", "2001:db8::1:8080"),
        ("http://\ud800.example/", "?.example"),
        ("http://[::1", ""),
        ("http://example.org:port/", ""),
        ("https://xn--00000000000000000w.١/", "xn--00000000000000000w.xn--9hb"),
        ("", ""),
    ],
)
def test_host_of(url, host):
    assert host_of(url) == host


def test_a_label_whose_numbers_are_too_large_is_as_on_any_python(monkeypatch):
    """Python 3.13 raises OverflowError where it builds the error of a number above 2**63."""

    def overflow(host, uts46):
        raise OverflowError("Python int too large to convert to C ssize_t")

    monkeypatch.setattr(urls.idna, "encode", overflow)
    assert host_of("https://xn--00000000000000000w.١/") == "xn--00000000000000000w.xn--9hb"


def test_what_is_too_long_for_a_name_is_not_encoded(monkeypatch):
    encoded = []
    monkeypatch.setattr(urls.idna, "encode", lambda host, uts46: encoded.append(host) or b"x")
    assert host_of(f"http://{'ü' * (LONGEST + 1)}/") == "ü" * (LONGEST + 1)
    assert not encoded
    assert host_of(f"http://{'ü' * LONGEST}/") == "x"


PAGES = st.text('aZ5-._~/ é中"<>|^[]{}`\\', max_size=8)


@given(PAGES, st.data())
def test_encoding_what_needs_no_encoding_changes_nothing(page, data):
    encoded = "".join(
        f"%{ord(one):02{data.draw(st.sampled_from('xX'))}}" if one in "aZ5-._~" and way else
        quote(one) if way else one
        for one, way in zip(page, data.draw(st.lists(st.booleans(), min_size=len(page),
                                                     max_size=len(page))), strict=True)
    )  # fmt: skip
    assert normal(encoded) == normal(page)
    assert unquote(normal(page)) == page
    assert normal(normal(page)) == normal(page)


@pytest.mark.parametrize(
    "one, other, are_equal",
    [
        ("/%7Ebob", "/~bob", True),
        ("/A b", "/A%20b", True),
        ("/%c3%a9", "/é", True),
        ("/a%2Fb", "/a/b", False),
        ("/a%3Fb", "/a?b", False),
        ("/100%", "/100%", True),
        ("/100%", "/100%25", False),
        ("/A", "/a", False),
        ("/\ud800", "/\ud801", False),
    ],
)
def test_delimiters_keep_their_encoding(one, other, are_equal):
    assert (normal(one) == normal(other)) is are_equal


@pytest.mark.parametrize(
    "url, keys",
    [
        ("https://www.a.org/x/y/?q=/z", ["a.org/x/y?q=/z", "a.org/x/y", "a.org/x", "a.org"]),
        ("http://A.org./", ["a.org"]),
        ("http://a.org/x/./%2E%2e/y/..?q=/../z", ["a.org?q=/../z", "a.org"]),
        ("http://a.org/../../x/.y/...", ["a.org/x/.y/...", "a.org/x/.y", "a.org/x", "a.org"]),
        ("a.org?q", ["a.org?q", "a.org"]),
    ],
)
def test_a_page_is_in_its_folders_and_on_its_host(url, keys):
    for longest in range(max(map(len, keys)) + 2):
        expected = [one for one in keys if len(one) <= longest]
        address = key(*host_and_page(url))
        assert [address[:end] for end in reversed(folder_ends(address, longest))] == expected


def test_a_host_is_in_its_domains():
    names = ["www.a.b.org", "a.b.org", "b.org"]
    for longest in range(13):
        assert list(domains("a.b.org", longest)) == [one for one in names if len(one) <= longest]
    assert host_and_page("http://[::1") == ("", "")
    assert sum(map(len, domains("a." * 50_000 + "org", 100_000))) < 253 * 127
