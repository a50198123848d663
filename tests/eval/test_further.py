"""Losses with intervals, and models beside the two sides."""

import base64
import csv
import re

import numpy as np
from small_reports import CODES, facts, made_of, make, side
from vl_convert import vegalite_to_vega

from eval.charts.specs import specs
from eval.further import further
from eval.language_loss import Unit
from eval.loss_intervals import loss_interval, losses_of
from eval.rendering.html import to_html
from eval.verdict import further_sentences


def model(baseline, name, final, seed, **counts):
    return further(
        baseline,
        side(name, final, seed, **counts),
        facts=facts(name),
        differences=(),
        directories=("runs/" + name,),
    )


def test_the_interval_is_that_of_a_mean_over_pages_of_one_size():
    one = side("mT5", (3.0,) * 4, 1)
    amounts = one.scores("sw", Unit.NATS_PER_TOKEN).amounts[0] / 100
    found = loss_interval(one, "sw", Unit.NATS_PER_TOKEN)
    half = 2.262157 * amounts.std(ddof=1) / len(amounts) ** 0.5  # Student's t, 9 degrees
    np.testing.assert_allclose(
        found, (amounts.mean(), *(amounts.mean() + half * np.array([-1, 1]))), rtol=1e-5
    )
    assert losses_of(one)["sw"].nats_per_token == found


def test_the_candidate_as_a_further_model_has_the_candidates_numbers():
    report = make()
    again = further(
        report.baseline, report.candidate, facts=facts("Switch"), differences=(), directories=()
    )
    assert again.summary.mean_gain == report.summary.mean_gain
    assert {code: one.gain for code, one in again.gains.items()} == {
        code: one.gain for code, one in report.gains.items()
    }


def test_a_further_model_has_a_sentence():
    report = make()
    wide = model(report.baseline, "wide", (2.5, 2.8, 3.1, 2.0), 3)
    (said,) = further_sentences(made_of(report.baseline, report.candidate, further=(wide,)))
    mean, low, high = (getattr(wide.summary, f"mean_gain{end}") for end in ("", "_low", "_high"))
    assert said == (
        f"wide: mean gain over mT5 {mean:+.3f} nats per token (95% interval {low:+.3f} to "
        f"{high:+.3f}); better beyond noise in 2 of 3 languages, worse in 1."
    )
    assert further_sentences(report) == []


def test_models_are_drawn_in_the_unit_of_the_report_alone():
    report = make()
    also = (
        model(report.baseline, "wide", (2.5, 2.8, 3.1, 2.0), 3),
        model(report.baseline, "@finer", (2.4, 2.7, 3.0, 2.1), 4, tokens=200),
    )
    assert [one.unit for one in also] == [Unit.NATS_PER_TOKEN, Unit.BITS_PER_BYTE]
    sides = report.baseline, report.candidate
    drawn = specs(made_of(*sides, further=also))
    for name in ("models-wide", "models-tall", "curves"):
        vegalite_to_vega(drawn[name])
    rows = drawn["models-tall"]["data"]["values"]
    counted = [code for code in CODES if not code.endswith("-Latn")]
    assert {(row["code"], row["model"]) for row in rows} == {
        (code, name) for code in counted for name in ("Switch", "wide")
    }
    page = to_html(made_of(*sides, further=also))
    assert "Gains of @finer are in bits per byte" in page
    (address,) = re.findall(r'download="models.csv" href="data:[^,]*,([^"]*)"', page)
    rows = list(csv.DictReader(base64.b64decode(address).decode().splitlines()))
    assert {row["model"]: row["unit"] for row in rows} == {
        "mT5": "",
        "Switch": "nats per token",
        "wide": "nats per token",
        "'@finer": "bits per byte",  # no formula of a spreadsheet
    }
    assert "models-wide" not in specs(report)
    assert 'id="models"' not in to_html(report)
