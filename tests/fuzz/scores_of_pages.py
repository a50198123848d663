"""What `score` does with pages, benchmarks and thresholds; nothing there guards a page."""

import gzip
import json
from pathlib import Path

from family import Family, Read
from pages_of_corpora import LINES, parquet
from rules_of_cleaning import TEXTS

from data.curation.leakage import Benchmarks
from data.curation.personal_data import mask, personal_data
from data.curation.signals import signals
from data.curation.thresholds import fineweb2, histograms
from data.reading import records
from data.reading.page import Page

NUMBERS = (
    "a.b@example.com, 10.0.0.1 or 8.8.8.8, +255 754 123 456, 2001:db8::1, (020) 7946 0018",
    "2234 5678 9012, 123.456.789-09, 12345678Z, ٠١٢٣ ٤٥٦ ٧٨٩, 110101199003078515",
    "a@b.example" + "@" * 99 + " 1.2.3.4" * 30 + " +1 " * 30 + "0" * 99,
)
PAGES = [
    json.dumps({"text": text, "url": "https://a.example/"}, ensure_ascii=False).encode() + b"\n"
    for text in (*TEXTS, *NUMBERS)
]
LANGUAGES = ("en", "th", "es", "hi", "zh")
WORDS = " ".join(f"neno{number}" for number in range(40)).encode()
ROWS = [
    {"text": "Habari za leo " * 9, "n": [{"deep": [f"ndiyo {number} " * 20]}]} for number in (1, 2)
]
ROWS_AS_LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
THRESHOLDS = b"""dup_line_frac: 0.2
top_n_grams: [[2, 0.2], [3, 0.18]]
dup_n_grams: [[5, 0.15], [10, 0.1]]
line_punct_thr: 0.1
new_line_ratio: 0.3
min_avg_word_length: 3
max_avg_word_length: 12
max_non_alpha_words_ratio: 0.8
stopwords: [na, ya, wa]
language_score: 0.7
"""


def scored(path: Path) -> Read:
    pages = [page for page in records.read_json_lines(path) if isinstance(page, Page)]
    texts = [page.text for page in pages]
    work = sum(map(len, texts))
    language = LANGUAGES[work % len(LANGUAGES)]
    histograms(signals(texts, language)).without_rare_words()
    found = personal_data(texts, language)
    assert all(0 <= one["begin"] < one["end"] for row in found.to_pylist() for one in row)
    mask(texts, found)
    return Read(work, not pages)


def benchmark(path: Path) -> Read:
    found = Benchmarks.read([str(path)])
    for language in ("en", "zh"):
        found.overlaps([WORDS.decode(), *TEXTS], language)
    return Read(sum(found.ngrams), False)


def thresholds(path: Path) -> Read:
    return Read(len(fineweb2(path).stop_words), False)


FAMILIES = (
    Family(name="scores of pages", file="c4-sw.00000.json", seeds=(LINES, *PAGES), read=scored),
    Family(
        name="benchmark, lines of text", file="b.txt", read=benchmark,
        seeds=(WORDS + b"\n" + WORDS, "今日は良い天気です。" .encode() * 9),
    ),
    Family(
        name="benchmark, JSON lines", file="b.jsonl", read=benchmark,
        seeds=(ROWS_AS_LINES, gzip.compress(ROWS_AS_LINES)),
    ),
    Family(
        name="benchmark, table", file="b.tsv", read=benchmark,
        seeds=(b"a\tb\n" + WORDS + b"\t" + WORDS + b"\n",),
    ),
    Family(name="benchmark, Parquet", file="b.parquet", seeds=(parquet(ROWS),), read=benchmark),
    Family(name="thresholds", file="swh_Latn.yml", seeds=(THRESHOLDS,), read=thresholds),
)  # fmt: skip
