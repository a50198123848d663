"""A page's bytes never become another page, whatever they are and however its record is damaged."""

import gzip
import itertools
import zlib

import pytest
from damaged_archives import GOOD, HTTP, record
from hypothesis import given, settings
from hypothesis import strategies as st

from data.reading import web_archive
from data.reading.page import Page

FORGED = record("forged", b"Habari za uongo")
FORGED_HTML = record("forged", HTTP + b"\r\n<p>Habari za uongo", "response")
SMUGGLED = {
    "record": FORGED,
    "record_of_lf": FORGED.replace(b"\r\n", b"\n"),
    "record_1_1": FORGED.replace(b"WARC/1.0", b"WARC/1.1"),
    "member": gzip.compress(FORGED, mtime=0),
    "response": FORGED_HTML,
    "response_member": gzip.compress(FORGED_HTML, mtime=0),
    "two_members": gzip.compress(FORGED, mtime=0) + gzip.compress(FORGED_HTML, mtime=0),
    "cut_member": gzip.compress(b"x" * 999, mtime=0)[:-9] + gzip.compress(FORGED_HTML, mtime=0),
    "after_end": b"\r\n\r\n" + FORGED + b"\r\n\r\n" + FORGED_HTML,
}
KINDS = {"conversion": (web_archive.read, b""), "response": (web_archive.read_html, HTTP + b"\r\n")}
DAMAGE = ("none", "too_long", "far_too_long", "enormous", "no_length")


def hostile(kind: str, body: bytes, damage: str) -> bytes:
    """Returns a record around the body; what is wrong is its length."""
    longer = {"none": 0, "too_long": 40, "far_too_long": 20 << 20, "enormous": 1 << 50}
    whole = KINDS[kind][1] + b"<p>" + body
    made = record("hostile", whole, kind, len(whole) + longer.get(damage, 0))
    return made.replace(b"Content-Length", b"X-Length") if damage == "no_length" else made


def stored(content: bytes) -> bytes:
    """Returns a gzip member that holds its content uncompressed, as of random bytes."""
    packer = zlib.compressobj(0, wbits=31)
    return packer.compress(content) + packer.flush()


def urls(path, kind: str, content: bytes) -> list[str]:
    path.write_bytes(content)
    return [one.url for one in KINDS[kind][0](path) if isinstance(one, Page)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("smuggled", SMUGGLED)
def test_a_body_yields_no_page_of_its_own(tmp_path, kind, damage, smuggled):
    made = hostile(kind, b"Karibu\r\n" + SMUGGLED[smuggled], damage)
    good = record("good", KINDS[kind][1] + b"<p>Karibu", kind)
    for content in (
        made + good,
        stored(made) + gzip.compress(good),
        stored(made)[:-1],
        stored(made)[:-8] + b"\x00" * 8 + gzip.compress(good),
        made[: -len(SMUGGLED[smuggled]) // 9],
        gzip.compress(made + good),
    ):
        assert "http://forged.example/" not in urls(tmp_path / "x", kind, content)
    assert urls(tmp_path / "x", kind, stored(made) + gzip.compress(good))[-1:] == [
        "http://good.example/"
    ]


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([*SMUGGLED.values(), b"\r\n\r\n", b"\x00", b"Habari "]), max_size=6),
    st.sampled_from(DAMAGE), st.sampled_from(sorted(KINDS)), st.booleans(),
)  # fmt: skip
def test_no_mixture_of_them_does(tmp_path_factory, parts, damage, kind, pack):
    made = hostile(kind, b"".join(parts), damage)
    path = tmp_path_factory.getbasetemp() / "smuggled"
    content = stored(made) + GOOD[0] if pack else made
    assert set(urls(path, kind, content)) <= {"http://hostile.example/", "http://good0.example/"}


QUOTES = b"<p>Karibu\r\n" + FORGED
TWO = record("b", b"<p>Kwaheri") + record("c", b"<p>Habari")
ONE_PAGE, EMPTY = "one page", gzip.compress(b"\r\n\r\n")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("quoted", [QUOTES, b"<p>Mstari\nWARC/1.0\nwa faili", b"<p>x\n" + TWO])
@pytest.mark.parametrize(
    "written, outcome",
    [
        (lambda made: gzip.compress(made), ONE_PAGE),
        (lambda made: gzip.compress(made[:-4] + b"\n\n"), ONE_PAGE),
        (lambda made: gzip.compress(made[:-2]), "holds_another_record"),
        (lambda made: gzip.compress(made[:-4]), "holds_another_record"),
        (lambda made: gzip.compress(made + b"\r\n"), "holds_another_record"),
        (lambda made: gzip.compress(made + b" " * 99_999), "holds_another_record"),
        (lambda made: gzip.compress(made + made), "holds_another_record"),
        (lambda made: gzip.compress(made[:-4]) + EMPTY, "holds_another_record"),
        (lambda made: gzip.compress(made[:-9] + b"\r\n\r\n"), "truncated"),
        (lambda made: gzip.compress(made[:-4] + b"a bit more\r\n\r\n"), "longer_than_declared"),
        (lambda made: gzip.compress(made)[:-8] + bytes(8), "unreadable"),
        (lambda made: gzip.compress(made)[:-2], "truncated"),
    ],
)  # fmt: skip
def test_a_body_may_quote_a_record_if_length_and_member_agree(
    tmp_path, kind, quoted, written, outcome
):
    """Elsewhere it cannot be known whether it is one page, or two joined by a wrong length."""
    read, head = KINDS[kind]
    good = gzip.compress(record("good", head + b"<p>Karibu", kind))
    path = tmp_path / "x.gz"
    path.write_bytes(good + written(record("a", head + quoted, kind)))
    first, *found = read(path)
    assert first.url == "http://good.example/"
    if outcome == ONE_PAGE:
        assert [one.url for one in found] == ["http://a.example/"]
    else:
        assert outcome in [one.reason for one in found]
        assert not any(isinstance(one, Page) for one in found)


def test_every_order_of_hostile_and_good_members_keeps_the_good_ones(tmp_path):
    bad = [stored(hostile("conversion", SMUGGLED["member"], damage)) for damage in DAMAGE[1:]]
    for order in itertools.permutations(bad):
        content = b"".join(one + GOOD[number] for number, one in enumerate(order))
        wanted = [f"http://good{number}.example/" for number in range(len(order))]
        assert urls(tmp_path / "x.wet.gz", "conversion", content) == wanted
