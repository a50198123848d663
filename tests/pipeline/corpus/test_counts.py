""" """

import json

from data.files.json_files import decode_json
from data.reading.page import BrokenRecord, NotAsked, Page, Rejected
from pipeline.corpus.counts import (
    HOSTS,
    MOST_DECLARATIONS,
    SAMPLES,
    SortedRun,
    Tally,
    total,
)


def test_counters_have_the_documented_names_and_none_per_host():
    """A crawl has millions of hosts; an engine holds every counter's name."""
    tally, hosts = tally_of("a"), {f"site{number}.example": 2 for number in range(500)}
    for host, number in hosts.items():
        tally.add(HOSTS, detail=host, number=number)
    for code in ("sw", "en"):
        tally.add("rejected", code, "line_filters")
    assert +tally.counters() == {
        "pages_read": 3 + SAMPLES,
        "pages_kept": 1,
        "pages_not_asked": 1,
        "rejected/too_long": 1,
        "rejected/line_filters": 2,
        "broken/damaged": SAMPLES + 2,
    }
    assert read_again(tally) == tally
    assert total([read_again(tally)]).details(HOSTS) == hosts


def read_again(tally: Tally) -> Tally:
    content = json.dumps(tally.as_json()).encode()
    return decode_json(content, Tally, "here")


PAGE = Page("https://a.example/", "text", language="sw", identified_language="en", split="train")


def tally_of(file: str) -> Tally:
    tally = Tally()
    tally.add("read", number=3 + SAMPLES)
    for outcome in (PAGE, Rejected(PAGE, "too_long"), NotAsked(PAGE)):
        tally.count_outcome(outcome)
    tally.count_broken(BrokenRecord(file, offset, "damaged") for offset in range(SAMPLES + 2))
    tally.smallest = {"sw": [f"{file}0", f"{file}1"]}
    tally.runs = [SortedRun(file, 0, "pages/sw/train", "00", "ff", 1, 100)]
    return tally


def test_declarations_are_counted_and_few_are_named():
    tally = Tally()
    known = PAGE._replace(declared_language="zh", declaration="zh-CN")
    strange = [PAGE._replace(declaration=f"x-{number}") for number in range(1000)]
    tally.count_read([PAGE, known, *strange, known])
    assert (tally.number("read"), tally.number("text_bytes")) == (1003, 4 * 1003)
    assert tally.details("declared", "zh") == {"zh-CN": 2}
    unknown = tally.details("declared", "und")
    assert unknown.total() == 1000
    assert unknown["others"] == 1000 - (MOST_DECLARATIONS - 1)


def test_the_sum_keeps_the_first_broken_records_and_the_groups():
    tallies = [tally_of("a"), tally_of("b")]
    one, other = total(tallies), total(tallies[::-1])
    assert one.counts == other.counts
    assert one.counts["kept"]["sw"] == {"train": 2}
    assert one.broken == other.broken == {"damaged": [("a", offset) for offset in range(SAMPLES)]}
    assert one.groups == other.groups == {"pages/sw/train"}
    assert one.runs == []
