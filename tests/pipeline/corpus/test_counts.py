""" """

import json

from data.files.json_files import decode_json
from data.reading.page import BrokenRecord, NotAsked, Page, Rejected
from pipeline.corpus.counts import (
    HOSTS,
    SAMPLES,
    Counts,
    CountsRecord,
    SortedRun,
    Tally,
    TallyRecord,
    total,
)


def test_counters_have_no_name_per_host_and_records_have():
    """A crawl has millions of hosts; an engine holds every counter's name."""
    counts = Counts()
    for number in range(500):
        counts.add(HOSTS, "", f"site{number}.example", 2)
    counts.add("rejected", "sw", "line_filters")
    counts.add("rejected", "en", "line_filters")
    counts.add("files", "")
    assert counts.counters() == {HOSTS: 1000, "rejected/line_filters": 2, "files": 1}
    record = CountsRecord([tuple(one) for one in counts.as_json()["counts"]])
    assert Counts.total([record]).details(HOSTS, "") == {
        f"site{number}.example": 2 for number in sorted(range(500), key=str)
    }


PAGE = Page("https://a.example/", "text", language="sw", identified_language="en", split="train")


def tally_of(file: str) -> Tally:
    tally = Tally(identification_seconds=1.5)
    tally.counts["read", "", ""] = 3 + SAMPLES
    tally.count_kept(PAGE)
    tally.count_dropped(Rejected(PAGE, "too_long"))
    tally.count_dropped(NotAsked(PAGE))
    tally.count_broken(BrokenRecord(file, offset, "damaged") for offset in range(SAMPLES + 2))
    tally.smallest = {"sw": [f"{file}0", f"{file}1"]}
    tally.runs = [SortedRun(file, 0, "pages/sw/train", "00", "ff", 1, 100)]
    tally.groups = {"pages/sw/train"}
    return tally


def test_a_tally_is_read_as_it_was_written_apart_from_its_time():
    tally = tally_of("a")
    found = Tally.of_record(decode_json(json.dumps(tally.as_json()).encode(), TallyRecord, "here"))
    tally.identification_seconds = 0.0
    assert found == tally


def test_counters_have_the_documented_names():
    assert tally_of("a").counters() == {
        "pages_read": 3 + SAMPLES,
        "pages_kept": 1,
        "pages_not_asked": 1,
        "rejected/too_long": 1,
        "broken/damaged": SAMPLES + 2,
        "language_milliseconds": 1500,
    }


def test_the_sum_keeps_the_first_broken_records_and_the_groups():
    tallies = [tally_of("a"), tally_of("b")]
    one, other = total(tallies), total(tallies[::-1])
    assert one.counts == other.counts
    assert one.counts["kept", "sw", "train"] == 2
    assert one.broken == other.broken == {"damaged": [("a", offset) for offset in range(SAMPLES)]}
    assert one.groups == other.groups == {"pages/sw/train"}
    assert one.runs == []
