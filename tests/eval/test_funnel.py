import pyarrow as pa

from eval.funnel import SAMPLE_CHARACTERS, SAMPLES_A_REASON, funnel

MANIFEST = {
    "languages": {
        "sw": {
            "kept": 6,
            "held_out": 2,
            "rejected": {"short": 3, "duplicate": 1},
            "cld3": {"disagrees": 2, "said": {"vi": 1, "zu": 4}},
        },
        "en": {"kept": 80, "held_out": 1, "rejected": {"short": 10}},
    },
    "rules": {"name": "demo", "differences_from_mc4": ["No line-length rule."]},
    "broken_records": {"not_utf8": {"count": 4, "samples": []}},
}


def pages(languages):
    return pa.Table.from_pylist(
        [{"language": code, "url": f"u{n}", "text": "x" * 999} for n, code in enumerate(languages)]
    )


def test_counts_add_up():
    found = funnel(MANIFEST, {})
    assert (found.pages, found.kept, found.held_out) == (100, 86, 3)
    assert found.kept + sum(reason.pages for reason in found.reasons) == found.pages
    assert [(one.name, one.pages, one.share) for one in found.reasons] == [
        ("short", 13, 0.13),
        ("duplicate", 1, 0.01),
    ]
    assert [row.code for row in found.rows] == ["en", "sw"]
    assert [row.cld3_said for row in found.cld3_rows] == [(("zu", 4), ("vi", 1))]
    assert found.broken_records == {"not_utf8": 4}


def test_samples_show_many_languages_before_one_again_and_are_cut():
    found = funnel(MANIFEST, {"short": pages(["en", "en", "en", "en", "sw", "yo"])})
    samples = found.reasons[0].samples
    assert [one.language for one in samples] == ["en", "sw", "yo", "en"]
    assert len(samples) == SAMPLES_A_REASON
    assert {len(one.text) for one in samples} == {SAMPLE_CHARACTERS}


def test_a_manifest_without_rules_or_languages_is_still_a_funnel():
    found = funnel({"languages": {}}, {})
    assert (found.pages, found.reasons, found.rules) == (0, (), "not recorded")
