"""Pages made by hand for the rules that real web pages do not trigger, as one WET file.

Each page's address names its purpose. The bad words are invented; only their form matters: one with
special characters of regular expressions, one inside a longer word, lists of a language's region,
and words that the reference allows. CLD3 identifies the language of the text around them reliably.
"""

import gzip
import itertools
from collections.abc import Iterator
from pathlib import Path

from data import demo
from data.demo import member_of
from data.reading.page import Page
from data.rules.bad_words import soft
from data.urls import normalized_hash, number

BAD_WORDS = {
    "en": "zounds\na$$hat\n",
    "hi": "गड़बड़\n",
    "fr": "saperlipopette\n",
    "fr-CA-u-sd-caqc": "tabarnouche\n",
    "ja": "馬鹿\nグロ\n",
    "th": "บ้าบอ\n",
    "zh": "混蛋\n性\n",
    "kab": "argaz\n",
}
ENGLISH = (
    "The ferry to the northern island leaves the old harbour every morning at half past seven.",
    "Passengers should arrive about twenty minutes early, because the road is narrow and slow.",
    "On clear days you can see the lighthouse, the long beach and the hills behind the village.",
    "The crossing takes nearly two hours, and warm drinks are sold in the small upper cabin.",
)
TEXTS_A_PAGE = 16
CHARACTERS_A_LINE = 205  # a line counts from 200 on
# CLD3 gives no real text a language that mC4 lacks with 0.70; it does so for these Croatian words.
CROATIAN = (
    "glazbenika Hrvatske Splitu raspisalo iz Zagrebu polahko, svibanj studenata s dok kasni "
    "nogometne obitelj upis u svibanj jutro polahko, uz rahat to uz Centar Crnom vanrednu to "
    "raspisalo kako sljedeći njegovo kako odlučilo trgu su će su okupilo svibanj vodovodnoj "
    "to Tko",
    "svibanj kišovit, U sljedeći država priopćile obitelj mu rahat Republici suvremenih "
    "hrvatskih svibanj iz suvremenih Vlak iz Bosna sjednicu kolovozu iz šeće kišovit, "
    "općinsko željeznice mreži to Tko Ministarstvo financija uz će nogometne kolovozu "
    "općinsko za Kahva puta Splitu Hrvatskom, Bosna i",
    "Hercegovina s njegovo koja država Zagrebu koja Hrvatskom, glazbenika mreži općinsko "
    "preporučio a razmatrana mreži rahat radovi mreži kroz Bosne kišovit, mreži okoliša "
    "komšije Ministarstvo iz mreži studija majka raspisalo okupilo more sabor svibanj koja iz "
    "Bosna uz proslavili Tko izvoditi obitelj",
)


def write(directory: Path) -> Path:
    """Writes the WET file and the folder of lists; returns the file."""
    lists = directory / "bad_words"
    lists.mkdir(parents=True, exist_ok=True)
    for name, words in BAD_WORDS.items():
        (lists / name).write_text(words, encoding="utf-8")
    path = directory / "hand_made.warc.wet.gz"
    path.write_bytes(b"".join([*map(member_of, _pages()), _without_time()]))
    return path


def _pages() -> Iterator[Page]:
    yield from _of_any_rule_set()
    yield from _with_bad_words()
    yield from _with_english_lines()


def _without_time() -> bytes:
    """A record that no archive writer would produce."""
    body = b"A page without a time."
    headers = "WARC-Type: conversion\r\nWARC-Target-URI: https://a.example/\r\n"
    headers += f"Content-Length: {len(body)}"
    return gzip.compress(
        b"WARC/1.0\r\n" + headers.encode() + b"\r\n\r\n" + body + b"\r\n\r\n", mtime=0
    )


def _of_any_rule_set() -> Iterator[Page]:
    yield _page("too-long", ENGLISH[0] * 2200)
    yield _page("just-not-too-long", _paragraphs("length", ENGLISH[1] * 3).ljust(190_000, "."))
    yield _page(
        "fetched/twice", _paragraphs("old", ENGLISH[0] * 3), timestamp="2025-01-01T00:00:00Z"
    )
    yield _page("fetched/twice/?utm_source=x", _paragraphs("new", ENGLISH[0] * 3))
    yield _page("short-lines", "One line only, and it is short.")
    yield _page("mirrored", _paragraphs("mirror", ENGLISH[2] * 3))
    yield _page("mirror", _paragraphs("mirror", ENGLISH[2] * 3).upper())
    held_out = next(
        page for number_ in itertools.count()
        if number(normalized_hash((page := _page(f"held-out/{number_}", "")).url)) % 1000 == 0
    )  # fmt: skip
    yield held_out._replace(text=_paragraphs("held out", ENGLISH[3] * 3))
    yield _page(
        "headers", "WARC is a format.\nContent-Type: text\n" + _paragraphs("w", ENGLISH[1] * 3)
    )
    yield _page("separators", _paragraphs("s", (ENGLISH[0] + "\u2028" + ENGLISH[1] + "\x85") * 3))
    yield _page("croatian", "\n".join(CROATIAN))
    yield Page("", "A page without an address.", "2026-01-01T00:00:00Z")
    yield _page("no-text", " ")


def _with_bad_words() -> Iterator[Page]:
    spaced = {"en": ["zounds", "a$$hat", "zoundsy"], "fr": ["tabarnouche"], "hi": ["गड़बड़"]}
    for language, words in spaced.items():
        for number_, word in enumerate(words):
            yield _page(f"bad/{language}/{word}", _shipped(language, number_, f" ({word}) "))
    unspaced = {"ja": ["馬鹿", "グロ"], "th": ["บ้าบอ"], "zh": ["混蛋", "性"]}
    for language, words in unspaced.items():
        for number_, word in enumerate(words):
            yield _page(f"bad/{language}/{word}", _shipped(language, number_, word))
    removed, of = soft().removed_share.as_integer_ratio()
    kept = next(
        page for number_ in itertools.count()
        if number(normalized_hash((page := _page(f"bad/kept/{number_}", "")).url)) % of >= removed
    )  # fmt: skip
    yield kept._replace(text=_shipped("en", 3, " zounds "))


def _with_english_lines() -> Iterator[Page]:
    """Pages of short lines; mC4 rejects them all as having too few long ones."""
    yield _page("c4/kept", _lines("a"))
    yield _page("c4/lorem", _lines("b") + "\nHere the text says Lorem ipsum dolor sit amet.")
    yield _page("c4/brace", _lines("c") + "\nThe function begins with a { in it.")
    yield _page("c4/brace-in-lost-line", _lines("d") + "\nA line without end mark {")
    yield _page("c4/javascript", _lines("e") + "\nPlease enable JavaScript to see this page.")
    yield _page("c4/policy", _lines("f") + "\nBy going on you accept our Privacy Policy today.")
    yield _page("c4/citation", _lines("g") + "\nFour words of it[12] [edit] [citation needed].")
    yield _page("c4/citation-at-end", _lines("h") + "\nThis sentence ends in a citation here.[3]")
    yield _page("c4/ellipsis", _lines("i") + "\nThis line is cut off by its template...")
    yield _page("c4/curly-quote", _lines("j") + "\nThe sign over the door said “open all day”")
    yield _page("c4/long-word", _lines("k") + f"\nThis line has a word {'x' * 1001} in it.")
    yield _page("c4/long-word-kept", _lines("l") + f"\nThis line has a word {'y' * 1000} in it.")
    yield _page(
        "c4/two-sentences", f"{ENGLISH[0]}m\nDr. Smith waits at the ferry. {ENGLISH[1]}"[:210]
    )
    yield _page("c4/one-line", " ".join(ENGLISH))
    yield _page(
        "c4/left-over", _lines("n").upper() + "\nOnly this last line is its own, alone here."
    )
    yield _page("c4/left-over-too", _lines("n") + "\nAnd only this last line is its own here.")
    yield _page("c4/numbers", "\n".join(f"{i} 1234 5678 9012 3456 {i}." for i in range(5)))
    yield _page("c4/german", "Die Fähre fährt jeden Morgen um halb acht Uhr ab.\n"
                "Die Überfahrt dauert beinahe zwei Stunden bei gutem Wetter.\n"
                "Warme Getränke gibt es in der kleinen oberen Kajüte zu kaufen.")  # fmt: skip
    yield _page("c4/mixed", "Die Fähre fährt jeden Morgen früh um halb acht Uhr los.\n"
                "The crossing takes nearly two hours when the weather is good.\n"
                "La traversée dure presque deux heures quand il fait beau temps.\n"
                "Warm drinks are sold upstairs in the very small cabin.")  # fmt: skip


def _shipped(language: str, number_: int, word: str) -> str:
    """Returns lines of text that packages ship, one page's own, each with the word in its middle.

    Real text, because CLD3 identifies no language reliably where sentences repeat, and lists are
    per language.
    """
    first = TEXTS_A_PAGE * number_
    texts = [one.text for one in demo.shipped_pages() if one.declared_language == language]
    text = " ".join(" ".join(texts[first : first + TEXTS_A_PAGE]).split())
    starts = range(0, len(text) - CHARACTERS_A_LINE + 1, CHARACTERS_A_LINE)
    lines = (text[start : start + CHARACTERS_A_LINE] for start in starts)
    half = CHARACTERS_A_LINE // 2
    return "\n".join(f"{line[:half]}{word}{line[half:]}" for line in lines)


def _page(name: str, text: str, timestamp: str = "2026-01-01T00:00:00Z") -> Page:
    return Page(f"https://www.{name.replace('/', '.example/', 1)}", text, timestamp)


def _paragraphs(name: str, text: str, word: str = "") -> str:
    return "\n".join(f"{name} {number_}: {text}{word} {name}." for number_ in range(4))


def _lines(name: str) -> str:
    return "\n".join(f"{line[:-1]}, {name}." for line in ENGLISH)
