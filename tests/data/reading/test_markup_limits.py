import pytest
from damaged_archives import HTTP, member
from hypothesis import given
from hypothesis import strategies as st

from data.reading import markup_limits
from data.reading.markup_limits import is_too_complex
from data.reading.web_archive import read_html

COSTLY = {  # each took 5 s or more at 512 kB, and four times as long at 1 MB
    "attributes of one tag": "<p " + "a{}=1 " * 60_000 + ">",
    "attributes of a script": "<script " + "a{}=1 " * 60_000 + ">",
    "attributes of many bodies": "<body a{}=1>" * 40_000,
    "end tags without a start": "<i>" * 50_000 + "</b>" * 80_000,
    "unclosed formatting": "<font a={}><p>x" * 30_000,
    "different formatting": "<b a{}>x" * 60_000,
    "nested elements": "<optgroup>x" * 46_000,
    "names of elements": "<t{0}></t{0}>" * 30_000,
    "names of attributes": "<p a{}>x" * 60_000,
    "after comments that end at once": "<!--><!--->x<!-- --!><p " + "a{}=1 " * 60_000 + ">",
    "a style that is no raw text": "<svg><style><p " + "a{}=1 " * 60_000 + ">",
    "a drawing in an attribute": '<p a="<svg>" ' + "a{}=1 " * 60_000 + ">",
    "a quote in a comment": '<svg></svg><!-- <b a=" --><p ' + "a{}=1 " * 60_000 + ">",
    "a quote in a program": '<svg></svg><script>x<y a="</script><p ' + "a{}=1 " * 60_000 + ">",
    "a title and a comment that hide it": (
        "<title><!--</title><math><title><p " + "a{}=1 " * 60_000 + ">"
    ),
}
ORDINARY = {
    "links": '<p class="a b"><a href="/x?{}"><b>x</b></a></p>' * 5_000,
    "paragraphs that nobody closes": "<p>a<br>b<li>" * 12_000,
    "cells": "<table>" + "<tr><td><font size=2>x" * 5_000 + "</table>",
    "anchors that nobody closes": "<a name=n{}>x<p>" * 6_000,
    "text": "a word < b & " * 12_000,
    "a comment": "<!--" + "<i a{}>" * 60_000 + "-->",
    "a program": "<script>" + "x<y{};" * 60_000 + "</script>",
    "a program after a drawing": "<svg></svg><script>" + "if (x < y) f(`<p>{}</p>`);" * 20_000,
}


def numbered(pattern: str) -> bytes:
    """Returns the pattern with a number in each place of one."""
    parts = pattern.replace("{0}", "{}").split("{}")
    pairs = pattern.count("{0}") > 0
    return "".join(f"{part}{n // 2 if pairs else n}" for n, part in enumerate(parts)).encode()


@pytest.mark.parametrize("name", COSTLY)
def test_markup_that_takes_a_parser_long_is_refused(name):
    assert is_too_complex(numbered(COSTLY[name]))


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_markup_of_any_length_is_read(name):
    assert not is_too_complex(numbered(ORDINARY[name]))


def test_a_page_that_is_too_complex_is_a_broken_record(tmp_path):
    page = HTTP + b"\r\n" + numbered(COSTLY["attributes of one tag"])
    (tmp_path / "x.warc.gz").write_bytes(member("a", page, "response"))
    (broken,) = read_html(tmp_path / "x.warc.gz")
    assert broken[2:] == ("too_complex", "http://a.example/")


@given(st.lists(st.sampled_from(["<", "a", "/", ">", " ", "=", '"', "'", "b", "<!--", "-->",
                                 "<script", "</script>", "</", "\0", "font", "p"])))  # fmt: skip
def test_each_start_of_a_tag_is_counted_once_at_most(parts):
    html = "".join(parts).encode()
    found = [tag for tag in markup_limits.TAG.findall(html) if tag[0] or tag[2]]
    assert len(found) <= html.count(b"<")
