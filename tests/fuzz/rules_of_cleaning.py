"""What cleaning does with a page outside the judgements, where a failure would end the job.

A judgement that fails rejects its page (`pipeline/corpus/judgements.py`). Versions of an address,
hashes of lines, MinHash keys and ranks have no such guard: they must hold for every page that a
reader yields.
"""

import json
from pathlib import Path

from family import Family, Read
from pages_of_corpora import LINES

from data.dedup import line_dedup
from data.dedup.minhash import band_keys
from data.dedup.newest_per_url import newest, version_of
from data.reading import records
from data.reading.page import Page
from data.rules import english_lines, web_lines

TEXTS = (
    "สวัสดี ชาวโลก 今日は。\u200b\u00a0x" * 9,
    "\u0130\u00df e\u0301 \ud7b0 \U0001f992\n\n \x85 \u2028 line" * 9,
    "http://[::1/a?b#c " * 9,
)
URLS = ("http://[::1/", "https://user@ümlaut.example:99999/%zz?#", "x", "//\u0000/\u202e")
SEEDS = (
    LINES,
    *(
        json.dumps({"text": text, "url": url}, ensure_ascii=False).encode() + b"\n"
        for text in TEXTS
        for url in URLS
    ),
)


def read(path: Path) -> Read:
    pages = [page for page in records.read_json_lines(path) if isinstance(page, Page)]
    newest([version_of(page) for page in pages])
    texts = [page.text for page in pages]
    work = sum(map(len, texts))
    for page in pages:
        line_dedup.rank_of(page.url)
        for clean in (english_lines.clean, web_lines.clean):
            clean(page.text)
        work += len(line_dedup.line_hashes(page.text) + line_dedup.unicode_line_hashes(page.text))
    for language in ("en", "th"):
        work += len(band_keys(texts, language))
    return Read(work, not pages)


FAMILIES = (Family(name="rules of cleaning", file="c4-sw.00000.json", seeds=SEEDS, read=read),)
