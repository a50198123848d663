from pipeline.beam.counted import HOSTS, Counts, CountsRecord


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
