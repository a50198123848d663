"""What late rules cost: shares that add up, and a rule that is uneven is named."""

import re

import pytest
from small_reports import FUNNEL, make

from data.corpus_manifest import CorpusManifest, LanguagePages
from eval.funnel import funnel
from eval.late_costs import late_costs, uneven
from eval.rendering.html import to_html


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


def test_a_rule_that_takes_far_more_of_one_language_is_named():
    found = corpus(
        my=(60, {"gopher_short_doc": 40}), en=(980, {"gopher_short_doc": 20, "robots_txt": 30})
    )
    (sentence,) = uneven(found)
    assert "gopher_short_doc takes 40% of the pages in Burmese" in sentence


def test_half_of_the_corpus_does_not_hide_its_own_loss():
    found = corpus(my=(3000, {"gopher_short_doc": 2000}), en=(4900, {"gopher_short_doc": 100}))
    (sentence,) = uneven(found)
    assert "takes 40% of the pages in Burmese and 2.0% of those in other languages" in sentence


def test_small_languages_and_even_rules_are_not_named():
    few = corpus(my=(10, {"gopher_short_doc": 9}), en=(1000, {}))
    assert not list(uneven(few))
    even = corpus(my=(60, {"gopher_short_doc": 40}), en=(600, {"gopher_short_doc": 400}))
    assert not list(uneven(even))


def test_one_language_has_no_others_to_differ_from():
    assert not list(uneven(corpus(sw=(70, {"too_short": 30}))))


def test_the_page_shows_the_costs_the_dearest_first():
    found = corpus(my=(60, {"gopher_short_doc": 40}), en=(980, {"gopher_short_doc": 20}))
    page = to_html(make(funnel=found))
    table = page.split('id="late-rules"')[1].split("</table>")[0]
    assert re.findall(r'<th scope="row">(\w+)', table) == ["Burmese", "English"]
    assert "gopher_short_doc takes 40% of the pages in Burmese" in page


def test_a_page_without_late_rules_has_no_such_table():
    assert 'id="late-rules"' not in to_html(make(funnel=FUNNEL))
