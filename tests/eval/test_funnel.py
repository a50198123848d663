"""The funnel of a small manifest."""

import pyarrow as pa

from data.corpus_manifest import CorpusManifest
from data.files.json_files import of_shape
from eval.funnel import SAMPLE_CHARACTERS, SAMPLES_PER_REASON, funnel

MANIFEST = of_shape({
    "languages": {
        "sw": {
            "kept": 6,
            "held_out": 2,
            "rejected": {"short": 3, "duplicate": 1},
            "characters": 700,
            "removed_lines_by_rule": {"duplicate_line": 5, "line_of_few_words": 9},
            "confidence": {"0.00": 2, "0.15": 1, "0.95": 3},
            "cld3": {"disagrees": 2, "said": {"vi": 1, "zu": 4}},
        },
        "en": {
            "kept": 80,
            "held_out": 1,
            "rejected": {"short": 10},
            "removed_lines_by_rule": {"duplicate_line": 1},
        },
    },
    "rules": {"name": "demo", "differences_from_mc4": ["No line-length rule."]},
    "broken_records": {"not_utf8": {"count": 4, "samples": []}},
}, CorpusManifest, "here")  # fmt: skip


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
    assert found.removed_lines == {"line_of_few_words": 9, "duplicate_line": 6}
    assert [row.characters for row in found.rows] == [0, 700]
    assert [row.cld3_said for row in found.cld3_rows] == [(("zu", 4), ("vi", 1))]
    assert found.broken_records == {"not_utf8": 4}


def test_confidence_is_by_step_and_empty_where_it_was_not_recorded():
    english, swahili = funnel(MANIFEST, {}).rows
    assert english.confidence == ()
    assert swahili.confidence == (2, 0, 0, 1, *[0] * 15, 3)
    assert sum(swahili.confidence) == swahili.kept


def test_samples_show_many_languages_before_one_again_and_are_cut():
    found = funnel(MANIFEST, {"short": pages(["en", "en", "en", "en", "en", "sw", "yo"])})
    samples = found.reasons[0].samples
    assert [one.language for one in samples] == ["en", "sw", "yo", "en", "en", "en"]
    assert len(samples) == SAMPLES_PER_REASON
    assert {len(one.text) for one in samples} == {SAMPLE_CHARACTERS}
    assert all(one.text.endswith("x…") for one in samples)


def test_a_manifest_without_rules_or_languages_is_still_a_funnel():
    found = funnel(CorpusManifest(languages={}), {})
    assert (found.pages, found.reasons, found.rules) == (0, (), "not recorded")
    assert found.declared is False
