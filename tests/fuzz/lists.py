"""Lists of text lines: a crawl's paths, and bad words."""

import gzip
from pathlib import Path

from family import Family, Read

from data.reading import crawl
from data.reading.page import Page
from data.rules import bad_words

PATHS = b"".join(
    b"crawl-data/CC-MAIN-2026-05/segments/%d/wet/x.warc.wet.gz\n" % n for n in range(40)
)
WORDS = "zounds\na$$hat\n\n(tab|arnouche\nмат\n馬鹿\n".encode()


def read_paths(path: Path) -> Read:
    return Read(sum(map(len, crawl.read_paths(path))), False)


def read_words(path: Path) -> Read:
    words = bad_words.read(path.parent)
    rule = bad_words.BadWordRule(words, bad_words.soft())
    rule(Page("https://a.example/", "Habari zounds za leo " * 9, language="en"))
    return Read(sum(map(len, words["en"])), False)


FAMILIES = (
    Family(
        name="crawl's paths, gzipped",
        file="wet.paths.gz",
        seeds=(gzip.compress(PATHS),),
        read=read_paths,
    ),
    Family(name="crawl's paths", file="wet.paths", seeds=(PATHS, PATHS[:99]), read=read_paths),
    Family(name="bad words", file="en", seeds=(WORDS, WORDS * 30, b"\n"), read=read_words),
)
