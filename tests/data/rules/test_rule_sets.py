"""The rules one after the other, in memory; the job applies them to files."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from plain_shingles import shingle_set
from slow_choice import SlowPage, groups, slow_choice

from data.dedup import minhash, near_duplicates
from data.dedup.line_dedup import (
    as_numbers,
    keep_lines,
    rank_of,
    surviving_lines,
    unicode_line_hashes,
)
from data.errors import DataError
from data.language_id.combined import CombinedIdentifier
from data.language_id.thresholds import counts, decide
from data.reading.page import Page
from data.rules import web_lines
from data.rules.held_out import OneIn, share_of_each_language
from data.rules.rule_sets import (
    LongLines,
    c4_en,
    demo,
    differences_from_mc4,
    find_rule_set,
    mc4,
    mc4_3_0_1,
    mswitch_web,
    none,
    web_differences_from_mc4,
)
from data.urls import normalized_hash

SETS = {"mc4": mc4(), "mc4-3.0.1": mc4_3_0_1(), "c4-en": c4_en(), "demo": demo(), "none": none()}


def test_sets_are_found_by_name():
    assert {name: find_rule_set(name) for name in SETS} == SETS
    with pytest.raises(DataError, match="'c5' was asked for; there are mc4, "):
        find_rule_set("c5")


def test_the_numbers_of_the_sources():
    rules, web = mc4(), mswitch_web()
    assert rules.lines == web.long_lines == LongLines(3, 200)
    assert (rules.certain_probability, rules.held_out) == (0.95, OneIn(1000))
    assert (web.certainty.lowest, web.certainty.highest) == (0.3, 0.9)  # FineWeb2
    assert web.bad_words.removed_share == 0.999  # mC4
    assert web.line_hashes is unicode_line_hashes


def test_differences_from_mc4_are_sentences():
    assert differences_from_mc4(mc4()) == []
    assert differences_from_mc4(mc4_3_0_1()) == [
        "The answer counts from probability 0.70 (mC4: 0.95).",
        "Lists of bad words remove 100.0% of the pages with a word from the list of their language "
        "(mC4: 99.9% of the pages with a word from the list of their language).",
    ]
    of_demo, of_web = differences_from_mc4(demo()), web_differences_from_mc4(RULES)
    assert (len(of_demo), len(of_web)) == (4, 7)
    assert of_demo[0].startswith("A page needs 1 line of at least 10 characters (mC4: 3 lines of")
    assert of_web[-1].startswith("Held out are 20% of each language's pages, at least 1 ")


WORDS = {  # joined by, words
    "sw": (
        " ",
        "watu wote wamezaliwa huru hadhi na haki zao ni sawa wamejaliwa akili dhamiri hivyo yapasa "
        "watendeane kindugu kila mmoja anastahili kuwa ambazo zimeelezwa katika taarifa hii bila "
        "ya ubaguzi wowote rangi lugha dini siasa taifa mali uzazi hali nyingine",
    ),
    "th": (
        "",
        "มนุษย์ ทั้งปวง เกิดมา มีอิสระ และ เสมอภาค กัน ใน ศักดิ์ศรี สิทธิ ต่าง มีเหตุผล มโนธรรม ควร ปฏิบัติ ต่อกัน "
        "ด้วย เจตนารมณ์ แห่ง ภราดรภาพ ทุกคน ย่อม มีสิทธิ อิสรภาพ บรรดา ที่กำหนด ไว้ ปฏิญญา นี้ โดย ปราศจาก",
    ),
}
RULES = dataclasses.replace(
    mswitch_web(), long_lines=LongLines(2, 150), held_out=share_of_each_language(0.2, minimum=1)
)


def pages_of(language: str, count: int) -> list[Page]:
    """Pages of three lines of 40 words each, drawn at random."""
    joined_by, words = WORDS[language]
    generator = np.random.default_rng(1)

    def line() -> str:
        return joined_by.join(generator.choice(words.split(), 40)) + "."

    texts = ["\n".join(["Home | Contact", line(), line(), line()]) for _ in range(count)]
    return [Page(f"http://{language}{n}.example/", text) for n, text in enumerate(texts)]


def cleaned(pages: Sequence[Page]) -> tuple[list[Page], dict[str, str], dict[str, int]]:
    """Returns kept pages, the reasons of the others, and the sizes of clusters."""
    lines = {"lines": RULES.long_lines.lines, "characters": RULES.long_lines.characters}
    reasons: dict[str, str] = {}
    identifier = CombinedIdentifier()
    read = []
    for page in pages:
        text, _, reason = web_lines.clean(page.text)
        page = page._replace(text=text)
        reason = reason or web_lines.too_few_long_lines(page, **lines)
        if reason:
            reasons[page.url] = reason
        else:
            read.append((page, identifier.identify(text)))

    probabilities: dict[str, list[float]] = defaultdict(list)
    for _, answer in read:
        probabilities[answer.language].append(answer.probability)
    thresholds = {
        language: RULES.certainty.threshold(counts(found))
        for language, found in probabilities.items()
    }
    by_language = defaultdict(list)
    for page, (language, probability, _) in read:
        decided = decide(language, probability, thresholds)
        by_language[decided].append(page._replace(language=decided))

    kept, size = [], {}
    for language, some in by_language.items():
        stands = stands_for(some, language)
        stood_for = Counter(stands.values())
        for number, page in enumerate(some):
            if stands.get(number, number) != number:
                reasons[page.url] = "near_duplicate"
                continue
            kept.append(page)
            if stood_for[number] > 1:
                size[page.url] = stood_for[number]
    left = []
    for page in one_page_a_line(kept):
        reason = web_lines.too_few_long_lines_left(page, **lines)
        if reason:
            reasons[page.url] = reason if page.text else "only_duplicate_lines"
        else:
            left.append(page)
    return split(left), reasons, size


def stands_for(pages: list[Page], language: str) -> dict[int, int]:
    """Returns the page that stands for each page that shares a MinHash band with another."""
    length = minhash.shingle_length(language)
    bands = minhash.band_keys([page.text for page in pages], language).tolist()
    described = [
        SlowPage(number, shingle_set(page.text, length), len(page.text), rank_of(page.url), {*keys})
        for number, (page, keys) in enumerate(zip(pages, bands, strict=True))
    ]
    stands: dict[int, int] = {}
    for group in groups(described):
        stands |= slow_choice(group, near_duplicates.LISTED)
    return stands


def one_page_a_line(pages: list[Page]) -> list[Page]:
    hashes = [RULES.line_hashes(page.text) for page in pages]
    ranks = np.array([rank_of(page.url) for page in pages], np.uint64)
    every = as_numbers([line for lines in hashes for line in lines])
    numbers = np.arange(len(every), dtype=np.uint64)
    stays = surviving_lines(every, np.repeat(ranks, list(map(len, hashes))), numbers)
    of_pages = np.split(stays, np.cumsum(list(map(len, hashes)))[:-1])
    return [
        page._replace(text=keep_lines(page.text, mine))
        for page, mine in zip(pages, of_pages, strict=True)
    ]


def split(pages: list[Page]) -> list[Page]:
    hashes: dict[str, list[bytes]] = defaultdict(list)
    for page in pages:
        hashes[page.language].append(normalized_hash(page.url))
    last = {code: RULES.held_out.last_held_out(len(some), some) for code, some in hashes.items()}

    def split_of(page: Page) -> str:
        held_out = normalized_hash(page.url) <= last[page.language]
        return "validation" if held_out else "train"

    return sorted(page._replace(split=split_of(page)) for page in pages)


def test_the_whole_order():
    swahili, thai = pages_of("sw", 12), pages_of("th", 9)
    copied = swahili[3]
    copy = Page("http://copy.example/", copied.text.replace("watu", "WATU mtu", 1))
    lines = [line for page in swahili[:2] for line in page.text.split("\n")[1:3]]
    shared = Page("http://shared.example/", "\n".join(lines).upper())
    menu = Page("http://menu.example/", "Home | Contact\n" * 50)
    pages = [*swahili, *thai, copy, shared, menu]
    kept, reasons, sizes = cleaned(pages)
    assert cleaned(pages[::-1]) == (kept, reasons, sizes)

    rejected = set(reasons)
    assert {page.url for page in kept} | rejected == {page.url for page in pages}
    assert reasons[menu.url] == "no_sentences"
    (second,) = {copy.url, copied.url} & rejected
    assert reasons[second] == "near_duplicate"
    assert sizes == {url: 2 for url in (copy.url, copied.url) if url != second}
    # Four lines have two owners each: the shared page, or one of the two that it was made of.
    losers = rejected - {menu.url, second}
    assert losers
    assert losers <= {shared.url, swahili[0].url, swahili[1].url}
    assert {reasons[url] for url in losers} <= {"too_few_long_lines_left", "only_duplicate_lines"}

    assert {page.language for page in kept} == {"sw", "th"}
    for language in ("sw", "th"):
        splits = [page.split for page in kept if page.language == language]
        assert splits.count("validation") == RULES.held_out.count(len(splits)) > 0
    seen = [line for page in kept for line in unicode_line_hashes(page.text)]
    assert len(seen) == len(set(seen))
