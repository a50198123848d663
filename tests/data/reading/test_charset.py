import pytest
import webencodings
from hypothesis import given
from hypothesis import strategies as st
from web_pages import SMALL, pages_in

from data.reading.charset import decoded

OF_PYTHON_ALONE = (
    "base64", "hex", "zlib", "bz2", "uu", "quopri", "rot13", "undefined", "unicode_escape",
    "raw_unicode_escape", "punycode", "idna", "utf-7", "utf-32", "cp037", "a\0b", "\ud800", "",
    "\N{KELVIN SIGN}oi8-r", "x" * 100_000,
)  # fmt: skip
TAIWAN = "臺灣位於亞洲東部，島上人口大多使用中文，這裡的天氣溫暖而潮濕，適合種植稻米。"
KOREA = "서울은 대한민국의 수도이며, 많은 사람들이 한강 주변에서 살고 있습니다."
OTHER_WEB = {  # encodings of the fixture's languages, as their pages were served
    "ja": "shift_jis", "ru": "windows-1251", "el": "iso-8859-7", "ar": "windows-1256",
    "th": "windows-874", "cs": "windows-1250", "uk": "koi8-u", "fr": "windows-1252",
}  # fmt: skip


@pytest.mark.parametrize("label", OF_PYTHON_ALONE)
def test_only_labels_of_the_web_name_an_encoding(label):
    assert decoded("<p>Köszönöm".encode(), label) == "<p>Köszönöm"
    assert decoded(f"<meta charset='{label[:99]}'>é".encode("utf-8", "replace"), None)[-1] == "é"


@pytest.mark.parametrize(
    "label, content, text",
    [
        ("gb2312", "朱镕基".encode("gbk"), "朱镕基"),
        ("GBK", b"\x80", "€"),
        ("shift_jis", "①日本".encode("cp932"), "①日本"),
        ("euc-jp", b"\xad\xa1\xc6\xfc\xcb\xdc", "①日本"),
        ("euc-jp", b"\xad\xea\xfc\xe2", "㈱髙"),
        ("euc-kr", "똠방각하".encode("cp949"), "똠방각하"),
        ("big5", "着".encode("big5hkscs"), "着"),
        ("iso-8859-1", b"\x93a\x94 \x80 \x81", "“a” € \x81"),
        ("ascii", b"caf\xe9", "café"),
        ("tis-620", b"\xa1\x85", "ก…"),
        ("iso-8859-9", b"\xfe\x93", "ş“"),
        (" 'UTF-8'\n", "é".encode(), "é"),
        ("unicode", "é".encode("utf-16-le"), "é"),
        ("windows-1253", b"\xc1\xaa\x81", "Α\ufffd\x81"),
        ("hz-gb-2312", b"~{VPND~}", ""),
    ],
)
def test_encodings_are_those_of_the_standard(label, content, text):
    assert decoded(content, label) == text


@pytest.mark.parametrize(
    "label, content, text",
    [
        ("utf-8", b"caf\xe9 \xc3\xa9", "caf\ufffd é"),
        ("euc-kr", "가".encode("cp949") + b"\xff\xfe" + "나".encode("cp949"), "가\ufffd나"),
        ("shift_jis", "日".encode("cp932") + b"\xfc\xfc" + b"a", "日\ufffda"),
        ("big5", b"\xa4", "\ufffd"),
    ],
)
def test_bytes_without_a_meaning_cost_one_character(label, content, text):
    assert decoded(content, label) == text


@pytest.mark.parametrize(
    "html, label, text",
    [
        ("\ufeffé<meta charset=koi8-r>".encode(), "windows-1252", "é<meta charset=koi8-r>"),
        ("\ufeffé".encode("utf-16-le"), "utf-8", "é"),
        ("\ufeffé".encode("utf-16-be"), None, "é"),
        ("<meta charset=utf-8>П".encode("koi8-r"), "koi8-r", "П"),
        ("<meta charset=koi8-r>П".encode("koi8-r"), "base64", "П"),
        ("<META http-equiv='Content-Type' CONTENT='a; charset=koi8-r'>П".encode("koi8-r"), "", "П"),
        ("<meta content='a; charset=koi8-r'><meta charset=utf-8>é".encode(), None, "é"),
        ("<!-- <meta charset=koi8-r> --><meta charset=utf-8>é".encode(), None, "é"),
        (b"<x" * 2000 + "><meta charset=koi8-r>П".encode("koi8-r"), None, "П"),
        ("<meta charset=utf-16>é".encode(), None, "é"),
        ("<?xml version='1.0' encoding='koi8-r'?>П".encode("koi8-r"), None, "П"),
        ("<?xml encoding='koi8-r'?><meta charset=utf-8>é".encode(), None, "é"),
    ],
)
def test_mark_then_server_then_page(html, label, text):
    assert decoded(html, label).removesuffix(text) != decoded(html, label)


@pytest.mark.parametrize(
    "text, encoding",
    [(TAIWAN, "big5"), (KOREA, "euc-kr"), (KOREA, "cp949"), (TAIWAN, "gb18030"), (KOREA, "utf-8")],
)
def test_an_encoding_that_nobody_declared_is_found(text, encoding):
    assert decoded(f"<title>A</title><p class=a>{text}".encode(encoding), None).endswith(text)


def test_real_pages_without_a_declaration_are_read_in_the_encoding_of_their_language():
    pages = [one for one in pages_in(SMALL) if one.declared_language in OTHER_WEB]
    assert len({page.declared_language for page in pages}) > 4
    for page in pages:
        encoding = webencodings.lookup(OTHER_WEB[str(page.declared_language)])
        assert encoding is not None
        html = webencodings.encode(f"<p>{page.text}", encoding, "xmlcharrefreplace")
        assert decoded(html, None) == webencodings.decode(html, encoding)[0]


def test_a_damaged_byte_does_not_change_the_encoding_of_a_page():
    text = "Первый абзац о погоде. " * 9
    assert decoded(text.encode() + b"\xff" + text.encode(), None) == f"{text}\ufffd{text}"
    assert decoded(text.strip().encode()[:-2], None) == text.strip()[:-2] + "\ufffd"


@given(st.binary(max_size=60), st.none() | st.text(max_size=12) | st.sampled_from(OF_PYTHON_ALONE))
def test_any_bytes_are_text_under_any_label(html, label):
    decoded(html, label).encode("utf-8")


@given(st.lists(st.sampled_from(
    ["<meta", " charset", "=", '"', "'", ">", "<!--", "-->", "utf-8", "/", "<", "</", "\0", "é",
     " http-equiv", "content-type", " content", "<?xml encoding='", "<!", "charset=", ";", "a"]
)))  # fmt: skip
def test_any_markup_is_text(parts):
    decoded("".join(parts).encode("latin-1"), None).encode("utf-8")
