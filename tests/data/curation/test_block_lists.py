"""Entries of block lists: what a line names, what a page meets, and what is set aside."""

import gzip
import pickle
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.curation import block_lists
from data.curation.block_lists import (
    OPTED_OUT,
    BlockList,
    Entry,
    entries,
    entries_in,
    first_reasons,
)
from data.errors import DataError
from data.reading.records import address_of

LIST = """\
# a comment
example.org
*.foo.com
0.0.0.0 bad.net # of a hosts file
https://www.pages.org/forum/
pages.org/a?id=7
com
münchen.de
http://only.org/
owner@site0.com
pages.org/%7Ebob
pages.org/A b
"""
LABELS = st.lists(st.sampled_from(["a", "b", "ab", "org"]), min_size=2, max_size=5).map(".".join)


DOMAINS = {
    "example.org": "example.org", "Example.ORG.": "example.org", "*.example.org": "example.org",
    ".example.org": "example.org", "my_site-1.example.org  # why": "my_site-1.example.org",
    "münchen.de": "xn--mnchen-3ya.de", "example.org:8080": "example.org", "1.2.3.4": "1.2.3.4",
    "::1 a.org": "a.org",
}  # fmt: skip
DIGEST = address_of("Habari.")  # what a page without an address has instead
ADDRESSES = {
    "https://github.com/": "github.com", "https://github.com": "github.com",
    "github.com/": "github.com", "https://www.example.org/a/": "example.org/a",
    "example.org/A b": "example.org/A%20b", "example.org/%7Ebob": "example.org/~bob",
    "example.org/@bob": "example.org/@bob", "example.org/a#b": "example.org/a",
    "example.org?id=7": "example.org?id=7", DIGEST: DIGEST,
    # This machine's address was taken off the end, so that the whole host was named.
    "https://a.org/127.0.0.1": "a.org/127.0.0.1", "a.org/?ip=0.0.0.0": "a.org?ip=0.0.0.0",
    "a.org/wiki/C::": "a.org/wiki/C::", "a.org/::1": "a.org/::1",
    "a.org/127.0.0.1 b": "a.org/127.0.0.1%20b",
}  # fmt: skip
NO_ENTRIES = [  # what would never match, or match too much
    "owner@site0.com", "mailto:a@b.org", "https://user:word@example.org/", "a@b.org/x",
    "||example.org^", "@@||example.org^", "example.org##.banner", "example.org,spam",
    '"example.org"', "<a.org>", "<https://a.org/x>", "a.org;", "a..b", "a.org..",
    "example.org other.org", "example.org\tx", "example.org/a\tx", "https://example.org/*",
    "https://*.example.org/", "*.example.org/a", "ex*mple.org", "*", "*.", ".", "com",
    "ftp://example.org/", "https:/example.org", "http//example.org", "https://example.org/#/b",
    "http://[::1", "example.org:port", "ex%41mple.org", "\ufffd.org", "a.org/\ufffd",
    "a.org\\b", "255.255.255.255 broadcasthost",
    DIGEST[:-1],
]  # fmt: skip


def read(tmp_path, text, *reasons):
    path = tmp_path / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return BlockList.read([str(path)], *reasons)


def test_a_bare_host_is_a_domain_and_a_scheme_or_a_slash_makes_an_address():
    assert {line: list(entries(line)) for line in DOMAINS} == {
        line: [Entry(name, True)] for line, name in DOMAINS.items()
    }
    assert {line: list(entries(line)) for line in ADDRESSES} == {
        line: [Entry(name, False)] for line, name in ADDRESSES.items()
    }


def test_what_would_never_match_or_match_too_much_is_no_entry():
    assert [line for line in NO_ENTRIES if list(entries(line)) != [None]] == []


def test_a_comment_has_no_entries_and_a_line_of_a_hosts_file_several():
    for line in ("", "  ", "# a.org", "\t# a@b", "#", "0.0.0.0 # a.org", "127.0.0.1"):
        assert list(entries(line)) == []
    line = "127.0.0.1\tlocalhost a.org  B.org # c.org"
    assert list(entries(line)) == [None, Entry("a.org", True), Entry("b.org", True)]


@pytest.mark.parametrize(
    "text, reason, urls",
    [
        (LIST, "blocked_domain", [
            "https://example.org/", "https://a.b.EXAMPLE.org.:8080/x", "http://foo.com/x",
            "http://x.bad.net", "https://xn--mnchen-3ya.de/", "http://münchen.de/",
            "example.org/?to=http://other.com/",
        ]),
        (LIST, "blocked_url", [
            "http://pages.org/forum", "https://www.pages.org/forum/a/b?c=d",
            "http://pages.org/forum?x=1", "http://pages.org/a?id=7", "http://only.org/page",
            "http://www.only.org", "http://pages.org/~bob/x", "http://pages.org/A%20b",
            "http://pages.org/A b?c",
        ]),
        (LIST, None, [
            "https://anexample.org/", "https://example.org.evil.net/", "http://pages.org/forums",
            "http://x.pages.org/forum", "http://pages.org/a?id=77", "http://pages.org/a",
            "http://x.only.org/page", "http://site0.com/", "http://other.com/", "http://[::1", "",
        ]),
        # A domain with www names the host without it too.
        ("www.example.org", "blocked_domain", [
            "https://www.example.org/a", "https://example.org/a", "https://a.www.example.org/",
        ]),
        ("www.example.org", None, ["https://blog.example.org/", "https://org/"]),
    ],
)  # fmt: skip
def test_domains_match_by_labels_and_addresses_by_folders(tmp_path, text, reason, urls):
    assert dict(zip(urls, read(tmp_path, text).reasons_of(urls), strict=True)) == dict.fromkeys(
        urls, reason
    )


def test_the_pages_of_each_entry_are_counted(tmp_path):
    blocked = read(tmp_path, f"{LIST}0.0.0.0 x.foo.com other.org\n{DIGEST}")
    urls = [
        "http://x.foo.com/", "https://y.foo.com/a", "http://pages.org/a?id=7",
        "https://www.pages.org/forum/1", "http://pages.org/forum", "http://only.org/x",
        "https://free.org/", "http://pages.org/%7ebob/", DIGEST,
    ]  # fmt: skip
    named = {
        "foo.com": 2, "x.foo.com": 1, "pages.org/a?id=7": 1, "pages.org/forum": 2, "only.org/": 1,
        "pages.org/~bob": 1, DIGEST: 1,
    }  # fmt: skip
    assert blocked.entries_of(urls) == named
    assert blocked.entries_of([]) == blocked.entries_of(["https://free.org/"]) == {}
    others = ["example.org", "bad.net", "xn--mnchen-3ya.de", "pages.org/A%20b", "other.org"]
    assert [one for one in entries_in(str(tmp_path / "list.txt")) if one not in named] == others
    assert len(blocked.domains) + len(blocked.urls) == len(named) + len(others)


@given(st.lists(LABELS, min_size=1), st.lists(LABELS))
def test_domains_equal_a_plain_comparison(tmp_path_factory, domains, hosts):
    path = tmp_path_factory.getbasetemp() / "list.txt"
    path.write_text("\n".join(domains))
    found = BlockList.read([str(path)]).reasons_of([f"https://{host}/x" for host in hosts])
    assert [bool(reason) for reason in found] == [
        any(f".{host}".endswith(f".{domain}") for domain in domains) for host in hosts
    ]


@pytest.fixture
def hashed(monkeypatch):
    """Returns the pieces of text that are hashed from here on."""
    pieces, plain = [], block_lists._encoded_text
    monkeypatch.setattr(
        block_lists, "_encoded_text", lambda text: pieces.append(text) or plain(text)
    )
    return pieces


def test_no_more_is_compared_of_an_address_than_the_longest_entry_has(tmp_path, hashed):
    blocked = read(tmp_path, "https://a.org/x/y\nb.org\n")
    hashed.clear()
    urls = [f"https://a.org/x/y{'/z' * 999}", f"https://{'c.' * 999}b.org"]
    assert blocked.reasons_of(urls) == ["blocked_url", "blocked_domain"]
    assert sum(map(len, hashed)) < 99


def test_work_and_memory_are_linear_in_the_length_of_addresses(tmp_path, hashed):
    """All beginnings of an address were hashed from the start, and kept as text."""
    length = 4_000
    entry = f"a.org{'/x' * (length // 2)}"
    blocked = read(tmp_path, f"{entry}\nb.org\n")
    hashed.clear()
    tracemalloc.start()
    assert blocked.entries_of([f"https://{entry}/{number}" for number in range(3)]) == {entry: 3}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, hashed)) < 3 * 3 * length
    assert peak < 100 * 3 * length


def test_many_entries_take_eight_bytes_each_and_travel_between_processes(tmp_path):
    draw = random.Random(0)
    domains = list({f"{draw.getrandbits(64):x}.example" for _ in range(2000)})
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress("\n".join(domains[:1000] * 2).encode()))
    blocked = pickle.loads(pickle.dumps(BlockList.read([str(path)], OPTED_OUT)))
    assert blocked.domains.nbytes + blocked.urls.nbytes == 8 * 1000
    found = blocked.reasons_of([f"http://www.{domain}/" for domain in domains])
    assert found == ["opted_out"] * 1000 + [None] * (len(domains) - 1000)


def test_lines_that_are_set_aside_are_counted_and_the_first_shown(tmp_path):
    host, longer = (f"{'a.' * 125}{end}" for end in ("org", "orgs"))  # the DNS has no longer one
    odd = ["||a.org^", "b..c", "x" * 999, longer, f"https://{longer}/x"]
    blocked = read(tmp_path, "\n".join(["g.org", host, *odd, "0.0.0.0 localhost f.org"]))
    assert (len(host), blocked.set_aside) == (253, 6)
    assert blocked.samples == ("||a.org^", "b..c", "x" * 80)
    urls = ["http://f.org", "http://g.org", f"https://b.{host}/", "http://a.org", f"//{longer}/x"]
    assert blocked.reasons_of(urls) == ["blocked_domain"] * 3 + [None] * 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\n\r\n"])
def test_lines_end_in_every_way(tmp_path, end):
    blocked = read(tmp_path, end.join(["\ufeffa.org", "# b.org", "c.org "]))
    assert blocked.set_aside == 0
    urls = [f"http://{name}.org/" for name in "abc"]
    assert blocked.reasons_of(urls) == ["blocked_domain", None, "blocked_domain"]


@pytest.mark.parametrize(
    "text, reason",
    [
        *(("example.org\nother.org\n".encode(encoding), "should be text in UTF-8")
          for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")),
        *((text, "has none") for text in ("", "# nothing\n", "com\nlocalhost\n")),
        (gzip.compress(b"example.org\n" * 999)[:-20], "truncated"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_meant_is_refused(tmp_path, text, reason):
    with pytest.raises(DataError, match=reason):
        read(tmp_path, text)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist; name a file, with one"):
        BlockList.read([str(tmp_path / "list.txt")])


def test_the_first_of_several_reasons_counts():
    assert first_reasons(["a", None, None, "a"], [None, "b", None, "b"]) == ["a", "b", None, "a"]
