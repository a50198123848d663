"""What the corpus section says of the identifier, and its picture, against counts made by hand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.languages import all_languages
from eval import confidence
from eval.charts import corpus as corpus_charts
from eval.funnel import CONFIDENCE_STEPS, Funnel, funnel


def corpus(histograms: dict[str, dict[str, int]]) -> Funnel:
    languages = {
        code: {"kept": sum(steps.values()), "confidence": steps}
        for code, steps in histograms.items()
    }
    return funnel({"languages": languages}, {})


def test_languages_from_least_to_most_certain():
    rows = confidence.rows(
        corpus(
            {
                "en": {"0.95": 9},
                "sw": {"0.90": 1, "0.95": 1},
                "yo": {"0.00": 1, "0.95": 1},
                "ig": {"0.90": 3},
                "xh": {},
            }
        )
    )
    assert [row.code for row in rows] == ["ig", "yo", "sw", "en"]
    assert [confidence.certain_share(row) for row in rows] == [0, 0.5, 0.5, 1]


def test_the_sentence_counts_medians_of_languages_only():
    said = confidence.sentence(
        corpus(
            {
                "en": {"0.90": 499, "0.95": 501},
                "sw": {"0.90": 501, "0.95": 1499},
                "yo": {"0.00": 3, "0.95": 2},
                "ru": {"0.30": 700, "0.95": 700},
                "ru-Latn": {"0.50": 1},
                "und": {"0.20": 50},
            }
        )
    )
    assert said == (
        "In 2 of 4 languages the identifier gives the median kept page a probability below "
        "0.95: Russian (1,400 pages) and Yoruba (5). So it does in the script "
        "variants Russian (Latin) (1 page)."
    )
    assert confidence.sentence(corpus({"en": {"0.95": 1}})) == (
        "In 0 of 1 languages the identifier gives the median kept page a probability below 0.95."
    )


def test_the_sentence_names_a_dozen_and_counts_the_rest():
    some = [one.code for one in all_languages() if not one.is_script_variant][:30]
    said = confidence.sentence(corpus({code: {"0.50": 1} for code in some}))
    assert said.startswith("In 30 of 30 languages")
    assert said.endswith(" and 18 more.")


@given(
    st.dictionaries(
        st.sampled_from([one.code for one in all_languages()]),
        st.lists(st.integers(0, 10**7), min_size=CONFIDENCE_STEPS, max_size=CONFIDENCE_STEPS),
        min_size=1,
    )
)
def test_bars_are_whole_and_hold_every_page(counts):
    rows = confidence.rows(
        corpus({code: {f"{n / 20:.2f}": m for n, m in enumerate(c)} for code, c in counts.items()})
    )
    segments = corpus_charts.segments(rows)
    for row in rows:
        bar = [one for one in segments if one["name"] == row.name]
        assert (bar[0]["from"], bar[-1]["to"]) == (0, 1)
        assert all(one["to"] == other["from"] for one, other in pairwise(bar))
        assert sorted(bar, key=lambda one: one["step"]) == bar  # least certain first
        assert sum(one["pages"] for one in bar) == sum(counts[row.code])
    assert len({one["name"] for one in segments}) == sum(any(c) for c in counts.values())


@pytest.mark.parametrize("languages, columns", [(107, True), (5, False)])
def test_every_language_is_in_the_pictures(languages, columns):
    codes = [one.code for one in all_languages()][:languages]
    found = corpus({code: {"0.40": 1, "0.95": 3} for code in codes})
    pictures = corpus_charts.pictures(found)
    assert set(pictures) == {"confidence-wide", "confidence-tall"}
    specs = {name: chart.to_dict() for name, chart in pictures.items()}
    for spec in specs.values():
        values = spec["layer"][0]["data"]["values"]
        assert {one["name"] for one in values} == {row.name for row in found.rows}
        assert len(values) == 2 * languages
    assert (specs["confidence-wide"]["layer"][0]["encoding"]["x"]["field"] == "name") is columns


def test_no_picture_where_nothing_is_recorded():
    assert corpus_charts.pictures(None) == {}
    assert corpus_charts.pictures(corpus({"en": {}})) == {}
