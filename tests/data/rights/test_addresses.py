from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.rights.addresses import domains, folders, host_and_page, normal

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
        assert list(folders(*host_and_page(url), longest)) == expected


def test_a_host_is_in_its_domains():
    names = ["a.b.org", "b.org"]
    for longest in range(9):
        assert list(domains("a.b.org", longest)) == [one for one in names if len(one) <= longest]
    assert host_and_page("http://[::1") == ("", "")
