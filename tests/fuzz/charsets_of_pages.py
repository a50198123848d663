"""Decoders of charsets: each input is decoded as by the standard's steps, byte by byte."""

from pathlib import Path

import encoding_standard
from family import Family, Read

from data.reading import charsets

NAMES = sorted(encoding_standard.DECODERS)
TEXTS = {
    "big5": "臺灣位於亞洲東部／史蒂芬‧金".encode("big5hkscs", "replace") + b"\xa2\x41\x87\x7a",
    "euc-jp": "<p>日本語の〜ページ".encode("euc_jp") + b"\xad\xa1\x8e\xb1\x8f\xa2\xb7\xa0",
    "euc-kr": "<b>한강 주변 똠방각하".encode("cp949") + b"\x81[\xff",
    "gb18030": "<i>中国ᠮᠣᠩ".encode("gb18030") + b"\x80\xa8\xbc\x815\xf47\xe32\x9a6",
    "iso-2022-jp": b"a\x1b$BF|K\\\x1b(J\\~\x1b(I6@\x1b$A\x1b(B\x1b(J<",
    "shift_jis": "日本ｶﾅ①".encode("cp932") + b"\xa0\xf0\x40\xfd<",
    "utf-8": "é日\U0001f600".encode() + b"\xed\xa0\x80\xf4\x90",
    "utf-16le": "é日\U0001f600".encode("utf-16-le") + b"\x00\xd8",
    "utf-16be": "é日\U0001f600".encode("utf-16-be") + b"\xd8\x00",
}


def read(path: Path) -> Read:
    """Decodes bytes behind a first one, which chooses the charset.

    Raises:
        AssertionError: if the characters differ from the standard's.
    """
    chosen, *_ = path.read_bytes() or b"\0"
    name, content = NAMES[chosen % len(NAMES)], path.read_bytes()[1:]
    text = charsets.decode(content, name)
    for mark, marked in charsets.MARKS.items():
        if content.startswith(mark):
            name, content = marked, content[len(mark) :]
            break
    if text != encoding_standard.decode(name, content):
        raise AssertionError(f"{name} differs from the standard")
    return Read(len(text), "\ufffd" in text)


FAMILIES = (
    Family(
        name="charsets of pages", file="page.charset",
        seeds=[bytes((number,)) + TEXTS[name] for number, name in enumerate(NAMES)], read=read,
    ),
)  # fmt: skip
