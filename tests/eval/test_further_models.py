"""Losses with intervals, and models beside the two sides.

What pruned models lost, in means that leave script variants out.

The sentence on what upcycling gains and costs.
"""

import base64
import csv
import dataclasses
import re
from dataclasses import replace

import numpy as np
import pytest
from small_reports import CODES, facts, made_of, make, side
from vl_convert import vegalite_to_vega

from eval.further_models import Bill, FurtherModel, Pruning, further_model, pruned_models
from eval.losses import Unit
from eval.report.html import specs, to_html
from eval.sides import language_losses, loss_interval
from eval.verdict import further_sentences


def model(baseline, name, final, seed, **counts):
    return further_model(
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
    assert language_losses(one)["sw"].nats_per_token == found


def test_the_candidate_as_a_further_model_has_the_candidates_numbers():
    report = make()
    again = further_model(
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
        f"{high:+.3f}); better beyond noise in 2 of 3 languages, worse in 1; one run: no verdict."
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


def pruned_model(loss: tuple[float, ...], pruning: Pruning) -> FurtherModel:
    """Returns a model of four experts with these losses."""
    return further_model(
        side("mT5", (3.0,) * 4, 1),
        side("half", loss, 2),
        facts=dataclasses.replace(facts("half"), experts=4),
        differences=(),
        directories=("runs/half",),
        pruning=pruning,
    )


@pytest.mark.parametrize(
    "languages, own, others, made_for",
    [
        (("sw", "en", "ru"), 0.2, None, "all 3 languages"),
        (("sw",), 0.1, 0.25, "sw"),
    ],
)
def test_a_variant_counts_neither_among_its_languages_nor_among_the_others(
    languages, own, others, made_for
):
    candidate = side("Switch", (2.0, 2.5, 3.2, 1.0), 2)
    losses = 2.1, 2.7, 3.5, 9.0  # 8 nats more in `ru-Latn`
    model = pruned_model(losses, Pruning(languages, 8, "left out", (0,)))
    (found,) = pruned_models(candidate, [model])
    assert found.lost_nats["ru-Latn"] == pytest.approx(8.0)
    assert found.lost_in_own == pytest.approx(own)
    assert found.lost_in_others == (None if others is None else pytest.approx(others))
    assert found.made_for == made_for


def test_what_was_pruned_from_another_run_lost_nothing_that_is_known():
    candidate = side("Switch", (2.0,) * 4, 2)
    model = pruned_model((2.1,) * 4, Pruning(("sw",), 8, "left out", ()))
    assert pruned_models(candidate, [model]) == []
    trimmed = replace(
        pruned_model((2.1,) * 4, Pruning(("sw",), 8, "left out", (0,))),
        side=side("trimmed", (2.1,) * 4, 2, tokens=200),
    )
    report = made_of(side("mT5", (3.0,) * 4, 1), candidate, further=(model, trimmed))
    said = [
        "What half lost by pruning is not known: it was pruned from another run than Switch.",
        "What trimmed lost by pruning is not known: it has another vocabulary than Switch.",
    ]
    assert report.pruned_otherwise == said
    assert all(sentence in to_html(report) for sentence in said)


def test_a_pruned_run_is_compared_with_the_run_that_it_was_pruned_from():
    """Seeds differ by more than pruning loses."""
    first, second = (side("Switch", (loss,) * 4, 2) for loss in (2.0, 2.4))
    candidate = replace(first, pages=first.pages + second.pages)
    for sources, lost in (((0,), 0.1), ((1,), -0.3)):
        model = pruned_model((2.1,) * 4, Pruning(("sw",), 8, "left out", sources))
        (found,) = pruned_models(candidate, [model])
        assert found.lost_in_own == pytest.approx(lost)


BILL = Bill(
    recipe="mt5-small",
    dense_steps=1_000,
    dense_flops=10**15,
    own_steps=500,
    own_flops=10**15,
    baseline_steps=4_000,
    baseline_flops=4 * 10**15,
)


def sentence(**changes) -> str:
    return make(bill=replace(BILL, **changes)).bill_sentence


def test_the_bill_counts_the_dense_steps():
    said = sentence()
    assert "Switch began as mt5-small at step 1,000 and took 500 steps more." in said
    assert "2e+15 training FLOPs, 0.50 times those of mT5's 4,000 steps: " in said
    assert "in the mean of 3 languages" in said
    assert make().bill_sentence == ""


def test_an_imported_run_has_no_bill():
    said = sentence(dense_steps=0, dense_flops=None)
    assert "A part of what the runs cost is not known" in said
    assert "FLOPs" not in said
