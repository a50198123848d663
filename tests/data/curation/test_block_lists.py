""""""

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
PAGE_WITHOUT_ADDRESS = address_of("Habari.")
LABELS = st.lists(st.sampled_from(["a", "b", "ab", "org"]), min_size=2, max_size=5).map(".".join)


def read(tmp_path, text, *reasons):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return BlockList.read([str(path)], *reasons)


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
    assert list(entries("127.0.0.1")) == []


@pytest.mark.parametrize(
    "line, name",
    [
        ("https://a.org/127.0.0.1", "a.org/127.0.0.1"),
        ("a.org/?ip=0.0.0.0", "a.org?ip=0.0.0.0"),
        ("a.org/wiki/C::", "a.org/wiki/C::"),
        ("a.org/::1", "a.org/::1"),
        ("a.org/127.0.0.1 b", "a.org/127.0.0.1%20b"),
    ],
)
def test_an_address_of_this_machine_at_the_end_is_a_part_of_an_address(line, name):
    """It was taken off, so that the whole host was named."""
    assert list(entries(line)) == [Entry(name, False)]


@pytest.mark.parametrize(
    "url, reason",
    [
        ("https://example.org/", "blocked_domain"),
        ("https://a.b.EXAMPLE.org.:8080/x", "blocked_domain"),
        ("https://anexample.org/", None),
        ("https://example.org.evil.net/", None),
        ("http://foo.com/x", "blocked_domain"),
        ("http://x.bad.net", "blocked_domain"),
        ("http://pages.org/forum", "blocked_url"),
        ("https://www.pages.org/forum/a/b?c=d", "blocked_url"),
        ("http://pages.org/forum?x=1", "blocked_url"),
        ("http://pages.org/forums", None),
        ("http://x.pages.org/forum", None),
        ("http://pages.org/a?id=7", "blocked_url"),
        ("http://pages.org/a?id=77", None),
        ("http://pages.org/a", None),
        ("https://xn--mnchen-3ya.de/", "blocked_domain"),
        ("http://münchen.de/", "blocked_domain"),
        ("http://only.org/page", "blocked_url"),
        ("http://www.only.org", "blocked_url"),
        ("http://x.only.org/page", None),
        ("http://site0.com/", None),
        ("http://pages.org/~bob/x", "blocked_url"),
        ("http://pages.org/A%20b", "blocked_url"),
        ("http://pages.org/A b?c", "blocked_url"),
        ("http://other.com/", None),
        ("example.org/?to=http://other.com/", "blocked_domain"),
        ("http://[::1", None),
        ("", None),
    ],
)
def test_domains_match_by_labels_and_addresses_by_folders(tmp_path, url, reason):
    blocked = read(tmp_path, LIST)
    assert blocked.reasons_of([url]) == [reason]
    assert (blocked.set_aside, blocked.samples) == (2, ("com", "owner@site0.com"))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://www.example.org/a", "blocked_domain"),
        ("https://example.org/a", "blocked_domain"),
        ("https://a.www.example.org/", "blocked_domain"),
        ("https://blog.example.org/", None),
        ("https://org/", None),
    ],
)
def test_a_domain_with_www_names_the_host_without_it_too(tmp_path, url, reason):
    assert read(tmp_path, "www.example.org\n").reasons_of([url]) == [reason]


def test_the_pages_of_each_entry_are_counted(tmp_path):
    blocked = read(tmp_path, f"{LIST}0.0.0.0 x.foo.com other.org\n{PAGE_WITHOUT_ADDRESS}")
    urls = [
        "http://x.foo.com/", "https://y.foo.com/a", "http://pages.org/a?id=7",
        "https://www.pages.org/forum/1", "http://pages.org/forum", "http://only.org/x",
        "https://free.org/", "http://pages.org/%7ebob/", PAGE_WITHOUT_ADDRESS,
    ]  # fmt: skip
    named = {
        "foo.com": 2, "x.foo.com": 1, "pages.org/a?id=7": 1, "pages.org/forum": 2, "only.org/": 1,
        "pages.org/~bob": 1, PAGE_WITHOUT_ADDRESS: 1,
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


@pytest.mark.parametrize("length", [25_000, 100_000])
def test_work_and_memory_are_linear_in_the_length_of_addresses(tmp_path, hashed, length):
    """All beginnings of an address were hashed from the start, and kept as text."""
    entry = f"a.org{'/x' * (length // 2)}"
    blocked = read(tmp_path, f"{entry}\nb.org\n")
    hashed.clear()
    urls = [f"https://{entry}/{number}" for number in range(3)]
    tracemalloc.start()
    assert blocked.entries_of(urls) == {entry: 3}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, hashed)) < 3 * len(urls) * length
    assert peak < 100 * len(urls) * length


def test_a_host_that_the_dns_cannot_have_is_set_aside(tmp_path):
    host, longer = (f"{'a.' * 125}{end}" for end in ("org", "orgs"))
    blocked = read(tmp_path, f"{host}\n{longer}\nhttps://{longer}/x\n")
    assert (len(host), blocked.set_aside) == (253, 2)
    assert blocked.reasons_of([f"https://b.{host}/", f"https://{longer}/x"]) == [
        "blocked_domain",
        None,
    ]


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
    odd = ["||a.org^", "b..c", "x" * 999, "d,e", "0.0.0.0 localhost ip6-localhost f.org"]
    blocked = read(tmp_path, "\n".join(["g.org", *odd]))
    assert blocked.set_aside == 6
    assert blocked.samples == ("||a.org^", "b..c", "x" * 80)
    assert blocked.reasons_of(["http://f.org", "http://g.org", "http://a.org"]) == [
        "blocked_domain",
        "blocked_domain",
        None,
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\n\r\n"])
def test_lines_end_in_every_way(tmp_path, end):
    (tmp_path / "list.txt").write_bytes(end.join(["\ufeffa.org", "# b.org", "c.org "]).encode())
    blocked = BlockList.read([str(tmp_path / "list.txt")])
    assert blocked.set_aside == 0
    found = blocked.reasons_of([f"http://{name}.org/" for name in "abc"])
    assert [bool(one) for one in found] == [True, False, True]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused(tmp_path, encoding):
    (tmp_path / "list.txt").write_bytes("example.org\nother.org\n".encode(encoding))
    with pytest.raises(DataError, match="should be text in UTF-8"):
        BlockList.read([str(tmp_path / "list.txt")])


@pytest.mark.parametrize("text", ["", "# nothing\n", "com\nlocalhost\n"])
def test_a_list_without_entries_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="has none"):
        read(tmp_path, text)


def test_a_missing_or_damaged_list_is_refused(tmp_path):
    with pytest.raises(DataError, match="does not exist; name a file, with one"):
        BlockList.read([str(tmp_path / "list.txt")])
    (tmp_path / "list.gz").write_bytes(gzip.compress(b"example.org\n" * 999)[:-20])
    with pytest.raises(DataError, match="truncated"):
        BlockList.read([str(tmp_path / "list.gz")])


def test_the_first_of_several_reasons_counts():
    assert first_reasons(["a", None, None], [None, "b", None]) == ["a", "b", None]
    assert first_reasons(["a"], ["b"]) == ["a"]
