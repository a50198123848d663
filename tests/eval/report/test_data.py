"""`report.json` of a small report."""

import json

from small_reports import make

from eval.report.data import to_json


def test_json_is_strict_and_has_the_contracted_fields():
    written = to_json(make())
    read = json.loads(json.dumps(written, allow_nan=False))
    assert read["languages"]["ru"]["step_speedup"] < 1
    assert read["intervals_over"] == "pages only"
    assert {
        "languages",
        "languages_improved",
        "languages_improved_significantly",
        "languages_worse_significantly",
        "languages_not_reached",
        "median_step_speedup",
        "mean_step_speedup",
        "share_step_speedup_at_least_4",
        "mean_step_speedup_low",
        "mean_step_speedup_high",
    } <= read["summary"].keys()
    assert {
        "loss_nats_baseline",
        "loss_nats_candidate",
        "gain_nats",
        "gain_nats_low",
        "gain_nats_high",
        "bits_per_byte_baseline",
        "bits_per_byte_candidate",
        "step_speedup",
        "step_speedup_is_bound",
        "training_tokens",
        "held_out_pages",
    } <= read["languages"]["sw"].keys()
