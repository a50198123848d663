""""""

from pipeline.corpus.counts import Tally
from pipeline.curation.manifest import manifest_without


def test_counts_that_no_row_repeats_leave_with_the_pages_and_hosts_are_all_counted():
    entry = {"kept": 10, "held_out": 0, "characters": 99, "rejected": {}, "confidence": {}}
    entry |= {"cld3": {"disagrees": 8, "said": {"en": 8}}, "masked": {"email": 7}}
    gone = Tally()
    gone.add("kept", "sw", "train", 9)
    for number in range(1500):
        gone.add("hosts", "", f"{number}.example", 1)
    body = manifest_without({"languages": {"sw": entry, "yo": entry}}, gone, {"key": "0"})
    assert body["languages"]["yo"] == entry
    assert body["languages"]["sw"]["kept"] == 1
    assert not {"cld3", "masked"} & set(body["languages"]["sw"])
    (told,) = body["withdrawals"]
    assert told["hosts_number"] == 1500
    assert len(told["hosts"]) == 1000


def test_sizes_that_were_counted_of_other_text_leave_a_manifest_that_can_be_read():
    """An earlier `select` counted 90 characters before masks made 95 of them."""
    entry = {
        "kept": 5,
        "held_out": 1,
        "characters": 900,
        "rejected": {"blocked_domain": 2, "robots_txt": 1},
        "rejected_characters": {"blocked_domain": 90, "robots_txt": 70},
        "rejected_bytes": {"blocked_domain": 180, "robots_txt": 140},
    }
    gone = Tally()
    for reason, characters in (("blocked_domain", 95), ("robots_txt", 0)):
        gone.add("rejected", "sw", reason)
        gone.add("rejected_characters", "sw", reason, characters)
        gone.add("rejected_bytes", "sw", reason, characters)
    left = manifest_without({"languages": {"sw": entry}}, gone, {"key": "0"})["languages"]["sw"]
    assert left == entry | {
        "rejected": {"blocked_domain": 1},
        "rejected_characters": {},
        "rejected_bytes": {"blocked_domain": 85},
    }
