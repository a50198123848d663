"""The funnel of a small manifest.

What late rules cost: shares that add up, and a rule that is uneven is named.

The summary of the language identifier's probabilities, against counts made by hand.
"""

import re

import pyarrow as pa
import pytest
from small_reports import FUNNEL, make

from data.corpus_manifest import CorpusManifest, LanguagePages
from data.files.json_files import of_shape
from data.languages import all_languages
from eval.funnel import (
    SAMPLE_CHARACTERS,
    SAMPLES_PER_REASON,
    Funnel,
    certain_share,
    certainty_sentence,
    funnel,
    late_costs,
    rows_by_certainty,
    uneven_rules,
)
from eval.report.html import to_html

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


def corpus(**languages):
    """Returns the funnel of a corpus; pages of 10 characters, rejected ones of 20."""
    entries = {}
    for code, (kept, rejected) in languages.items():
        sizes = {reason: 20 * pages for reason, pages in rejected.items()}
        entries[code] = LanguagePages(
            kept=kept,
            characters=10 * kept,
            rejected=rejected,
            rejected_characters=sizes,
            rejected_bytes={reason: 3 * size for reason, size in sizes.items()},
            lines_gone=5,
        )
    return funnel(CorpusManifest(languages=entries), {})


def test_shares_of_reasons_add_up_to_the_languages_loss():
    found = corpus(my=(60, {"gopher_short_doc": 30, "robots_txt": 10}), en=(98, {"robots_txt": 2}))
    costs = late_costs(found, {"my": 6.0, "en": None})
    assert [one.row.code for one in costs] == ["my", "en"]  # the dearest first
    my, en = costs
    assert my.pages == 0.4
    assert my.characters == pytest.approx(800 / 1400)
    assert sum(my.by_reason.values()) == pytest.approx(my.characters)
    assert my.tokens == 2400 / 6
    assert en.tokens is None


def test_a_corpus_without_late_rules_has_no_costs():
    manifest = CorpusManifest(languages={"en": LanguagePages(kept=3, rejected={"too_short": 1})})
    assert late_costs(funnel(manifest, {}), {}) == ()
    assert late_costs(None, {}) == ()


@pytest.mark.parametrize(
    ("pages", "shares"),
    [
        ({"my": (60, {"short": 40}), "en": (980, {"short": 20, "robots": 30})}, "40%.* 1.9%"),
        # Half of the corpus does not hide its own loss.
        ({"my": (3000, {"short": 2000}), "en": (4900, {"short": 100})}, "40%.* 2.0%"),
        ({"my": (10, {"short": 9}), "en": (1000, {})}, None),  # few pages
        ({"my": (60, {"short": 40}), "en": (600, {"short": 400})}, None),  # alike in both
        ({"my": (70, {"short": 30})}, None),  # no others to differ from
    ],
)
def test_a_rule_that_takes_far_more_of_one_language_is_named(pages, shares):
    found = list(uneven_rules(corpus(**pages)))
    assert len(found) == (shares is not None)
    for sentence in found:
        first, others = shares.split(".* ")
        assert f"short takes {first} of the pages in Burmese and {others} of those in" in sentence


def test_the_page_shows_the_costs_the_dearest_first():
    page = to_html(make(funnel=corpus(my=(60, {"short": 40}), en=(980, {"short": 20}))))
    table = page.split('id="late-rules"')[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">(\w+)', table) == ["Burmese", "English"]
    assert "short takes 40% of the pages in Burmese" in page


def test_a_page_without_late_rules_has_no_such_table():
    assert 'id="late-rules"' not in to_html(make(funnel=FUNNEL))


def of_certainty(rules: str = "mc4", **histograms: dict[str, int]) -> Funnel:
    languages = {
        code.replace("_", "-"): {"kept": sum(steps.values()), "confidence": steps}
        for code, steps in histograms.items()
    }
    manifest = {"rules": {"name": rules}, "languages": languages}
    return funnel(of_shape(manifest, CorpusManifest, "here"), {})


def test_languages_from_least_to_most_certain():
    rows = rows_by_certainty(
        of_certainty(
            en={"0.95": 9},
            sw={"0.90": 1, "0.95": 1},
            yo={"0.00": 1, "0.95": 1},
            ig={"0.90": 3},
            xh={},
        )
    )
    assert [row.code for row in rows] == ["ig", "yo", "sw", "en"]
    assert [certain_share(row) for row in rows] == [0, 0.5, 0.5, 1]


def test_the_sentence_counts_medians_of_languages_only():
    found = of_certainty(
        en={"0.90": 499, "0.95": 501},
        sw={"0.90": 501, "0.95": 1499},
        yo={"0.00": 3, "0.95": 2},
        ru={"0.30": 700, "0.95": 700},
        ru_Latn={"0.50": 1},
        und={"0.20": 50},
    )
    assert certainty_sentence(found) == (
        "In 2 of 4 languages the identifier gives the median kept page a probability below "
        "0.95: Russian (1,400 pages) and Yoruba (5). So it does in the script "
        "variants Russian (Latin) (1 page)."
    )


def test_the_sentence_names_a_dozen_and_counts_the_rest():
    some = [one.code for one in all_languages() if not one.is_script_variant][:30]
    found = certainty_sentence(of_certainty(**{code: {"0.50": 1} for code in some}))
    assert found.startswith("In 30 of 30 languages")
    assert found.endswith(" and 18 more.")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (of_certainty(en={"0.95": 1}), "In 0 of 1 languages the identifier gives the median kept "
         "page a probability below 0.95."),
        (of_certainty("none", sw={"0.00": 9}, und={"0.00": 2}),
         "Languages are as declared; no identifier was asked."),
        (of_certainty(und={"0.40": 3}), "The identifier is sure of no kept page's language."),
    ],
)  # fmt: skip
def test_a_corpus_without_an_uncertain_language_says_so(found, said):
    assert certainty_sentence(found) == said
    assert bool(rows_by_certainty(found)) == found.identified
