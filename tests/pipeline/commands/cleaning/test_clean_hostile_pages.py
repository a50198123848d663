"""One page never ends a job: hostile headers, and whatever a parser or a rule raises for a page."""

import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from damaged_archives import HTTP, member

from data.errors import DataError
from data.language_id import cld3
from data.reading import html
from data.reading.page import Page, Rejected
from pipeline.commands.clean import Clean
from pipeline.corpus import judgements

LABELS = (
    b"base64", b"hex", b"zlib", b"bz2", b"uu", b"quopri", b"rot13", b"undefined", b"punycode",
    b"unicode_escape", b"idna", b"a\0b", b"\xff\xfe", b"\xed\xa0\x80", b"x" * 20_000, b"utf-16",
)  # fmt: skip
GOOD = HTTP + b"\r\n<p>" + b"Karibu sana, rafiki yangu wa zamani. " * 20


def response(name: str, text: str, head: bytes = HTTP) -> bytes:
    return member(name, head + f"\r\n<p>{text}".encode(), "response")


def cleaned(tmp_path: Path, archive: bytes, rules: str = "none") -> dict:
    (tmp_path / "x.warc.gz").write_bytes(archive)
    with pytest.raises(DataError) as ended:
        Clean(input=(str(tmp_path / "x.warc.gz"),), rules=rules, out=tmp_path / "out").execute()
    if "No kept page has a language that is known" not in str(ended.value):
        raise ended.value
    return json.loads((tmp_path / "out/manifest.json").read_text(encoding="utf-8"))


def test_no_label_of_a_charset_ends_the_job(tmp_path):
    heads = [HTTP.replace(b"text/html", b"text/html; charset=" + label) for label in LABELS]
    pages = [response(f"p{n}", f"Habari {n} njema é", head) for n, head in enumerate(heads)]
    manifest = cleaned(tmp_path, b"".join(pages))
    assert manifest["broken_records"] == {}
    texts = pq.read_table(tmp_path / "out/pages")["text"].to_pylist()
    assert len(texts) == len(LABELS)
    assert sum("njema é" in text for text in texts) == len(LABELS) - 1  # UTF-16 is a true label


class Panic(BaseException):
    """What PyO3 raises when Rust code panics."""


Panic.__name__ = "PanicException"


@pytest.mark.parametrize("error", [ValueError("x" * 999), Panic("at lib.rs")])
def test_a_page_on_which_a_parser_fails_is_a_broken_record_with_its_place(
    tmp_path, monkeypatch, error
):
    def failing(html: bytes, label: str | None) -> str:
        if b"hostile" in html:
            raise error
        return text_of(html, label)

    text_of = html.text_of
    monkeypatch.setattr(html, "text_of", failing)
    good = member("good", GOOD, "response")
    manifest = cleaned(tmp_path, good + response("bad", "hostile") + good)
    assert manifest["broken_records"]["unreadable_page"]["count"] == 1
    (broken,) = pq.read_table(tmp_path / "out/broken").to_pylist()
    assert (broken["file"], broken["offset"]) == (f"{tmp_path.name}/x.warc.gz", len(good))
    assert broken["detail"].startswith(type(error).__name__)
    assert len(pq.read_table(tmp_path / "out/pages")) == 2


class Identifier:
    """CLD3, which fails on some pages."""

    def __init__(self, error: Exception):
        self._error, self._identify = error, cld3.identifier(None).identify

    def identify(self, text: str):
        if "hostile" in text:
            raise self._error
        return self._identify(text)


def archive_of_two() -> bytes:
    line = "Karibu sana, rafiki yangu wa zamani, tunakwenda sokoni leo asubuhi. " * 5
    lines = "".join(f"<p>{n} {line}" for n in range(3))
    return response("good", lines) + response("bad", lines.replace("sana", "hostile"))


def test_a_page_on_which_a_judgement_fails_is_rejected_with_its_address_text_and_exception(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(judgements, "_identifier", lambda model: Identifier(KeyError("a bug")))
    manifest = cleaned(tmp_path, archive_of_two(), "mc4")
    (rejected,) = pq.read_table(tmp_path / "out/rejected").to_pylist()
    assert rejected["reason"] == "judgement_failed_key_error"
    assert rejected["url"] == "http://bad.example/"
    assert "hostile" in rejected["text"]
    counts = [one["rejected"] for one in manifest["languages"].values() if one["rejected"]]
    assert counts == [{"judgement_failed_key_error": 1}]
    assert pq.read_table(tmp_path / "out/pages")["url"].to_pylist() == ["http://good.example/"]
    assert manifest["broken_records"] == {}
    error = DataError("no model")  # which concerns every page
    monkeypatch.setattr(judgements, "_identifier", lambda model: Identifier(error))
    asked = Clean(input=(str(tmp_path / "x.warc.gz"),), rules="mc4", out=tmp_path / "again")
    with pytest.raises(DataError, match="no model"):
        asked.execute()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("UnicodeDecodeError", "unicode_decode_error"),
        ("PanicException", "panic_exception"),
        ("\x1b[31m/..\nÜber" + "x" * 999, "31mber" + "x" * 54),
    ],
)
def test_the_name_of_an_exception_is_a_short_reason(name, reason):
    def failing(page: Page) -> Page:
        raise type(name, (Exception,), {})

    rejected = judgements.judge_page(Page("http://a.example/", "text"), [failing])
    assert rejected == Rejected(Page("http://a.example/", "text"), f"judgement_failed_{reason}")


def test_bodies_that_were_not_read_before(tmp_path):
    """An upper-case media type, an extension of a chunk, and a body of two gzip members."""
    half = GOOD.index(b"rafiki")
    html = GOOD.removeprefix(HTTP + b"\r\n")
    zipped = gzip.compress(GOOD[len(HTTP) + 2 : half]) + gzip.compress(GOOD[half:])
    chunked = b"%x;a=b\r\n%s\r\n0\r\n\r\n" % (len(html), html)
    bodies = [
        HTTP.replace(b"text/html", b"TEXT/HTML") + b"\r\n" + html,
        HTTP + b"Transfer-Encoding: chunked\r\n\r\n" + chunked,
        HTTP + b"Content-Encoding: gzip\r\n\r\n" + zipped,
    ]
    manifest = cleaned(tmp_path, b"".join(member("a", body, "response") for body in bodies))
    assert manifest["broken_records"] == {}
    (text,) = set(pq.read_table(tmp_path / "out/pages")["text"].to_pylist())
    assert text == html.removeprefix(b"<p>").decode().strip()
