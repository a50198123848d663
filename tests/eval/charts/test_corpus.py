"""The bars of the language identifier's probabilities, against counts made by hand."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.corpus_manifest import CorpusManifest
from data.files.json_files import of_shape
from data.languages import all_languages
from eval.charts import corpus as chart
from eval.funnel import PROBABILITY_BINS, Funnel, funnel, rows_by_certainty


def corpus(histograms: dict[str, dict[str, int]]) -> Funnel:
    languages = {
        code: {"kept": sum(steps.values()), "confidence": steps}
        for code, steps in histograms.items()
    }
    return funnel(of_shape({"languages": languages}, CorpusManifest, "here"), {})


@given(
    st.dictionaries(
        st.sampled_from([one.code for one in all_languages()]),
        st.lists(st.integers(0, 10**7), min_size=PROBABILITY_BINS, max_size=PROBABILITY_BINS),
        min_size=1,
    )
)
def test_bars_are_whole_and_hold_every_page(counts):
    rows = rows_by_certainty(
        corpus({code: {f"{n / 20:.2f}": m for n, m in enumerate(c)} for code, c in counts.items()})
    )
    segments = chart.segments(rows)
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
    pictures = chart.probability_pictures(found)
    assert set(pictures) == {"language-probability-wide", "language-probability-tall"}
    specs = {name: chart.to_dict() for name, chart in pictures.items()}
    for spec in specs.values():
        values = spec["layer"][0]["data"]["values"]
        assert {one["name"] for one in values} == {row.name for row in found.rows}
        assert len(values) == 2 * languages
    assert (
        specs["language-probability-wide"]["layer"][0]["encoding"]["x"]["field"] == "name"
    ) is columns


def test_no_picture_where_nothing_is_recorded():
    assert chart.probability_pictures(None) == {}
    assert chart.probability_pictures(corpus({"en": {}})) == {}
