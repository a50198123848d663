import hashlib

import pytest

from data.urls import normalize, normalized_hash, number, url_hash


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
