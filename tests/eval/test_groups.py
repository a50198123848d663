"""Models beside the two sides: losses with intervals, what pruning lost, what upcycling cost."""

import base64
import csv
import re
from dataclasses import replace

import numpy as np
import pytest
from small_reports import CODES, facts, group, made_of, make, side
from vl_convert import vegalite_to_vega

from eval.groups import Bill, Group, Pruning, pruned_models
from eval.losses import Unit
from eval.report.html import specs, to_html
from eval.sides import final_losses
from eval.verdict import further_sentences

DENSE, SPARSE = side("mT5", (3.0,) * 4, 1), side("Switch", (2.0, 2.5, 3.2, 1.0), 2)
WIDE = side("wide", (2.5, 2.8, 3.1, 2.0), 3)


def test_the_interval_of_a_loss_is_that_of_a_mean_over_pages_of_one_size():
    pages = DENSE.final_pages[0]
    amounts = pages.loss_nats[pages.held_out.language == "sw"] / 100
    half = 2.262157 * amounts.std(ddof=1) / len(amounts) ** 0.5  # Student's t, 9 degrees
    found, _ = final_losses(DENSE)["sw"]
    assert found.ends == pytest.approx(amounts.mean() + half * np.array([0, -1, 1]), rel=1e-5)


def test_a_further_model_has_a_sentence_and_the_candidates_way_of_comparing():
    report = made_of(DENSE, SPARSE, replace(SPARSE, name="again"), WIDE)
    again, wide = report.comparisons[1:]
    assert again.estimates == report.compared.estimates
    assert again.summary.mean_gain == report.summary.mean_gain
    mean, low, high = wide.mean.ends
    assert further_sentences(report)[1] == (
        f"wide: mean gain over mT5 {mean:+.3f} nats per token (95% interval {low:+.3f} to "
        f"{high:+.3f}); better beyond noise in 2 of 3 languages, worse in 1; one run: no verdict."
    )
    assert further_sentences(make()) == []


def test_models_are_drawn_in_the_unit_of_the_report_alone():
    report = made_of(DENSE, SPARSE, WIDE, side("@finer", (2.4, 2.7, 3.0, 2.1), 4, tokens=200))
    drawn, page = specs(report), to_html(report)
    for name in ("models-wide", "models-tall", "curves"):
        vegalite_to_vega(drawn[name])
    rows = drawn["models-tall"]["data"]["values"]
    assert {(row["code"], row["model"]) for row in rows} == {
        (code, name) for code in CODES[:3] for name in ("Switch", "wide")
    }
    assert "Gains of @finer are in bits per byte" in page
    (address,) = re.findall(r'download="models.csv" href="data:[^,]*,([^"]*)"', page)
    rows = list(csv.DictReader(base64.b64decode(address).decode().splitlines()))
    assert {row["model"]: row["unit"] for row in rows} == {
        "mT5": "",
        "Switch": "nats per token",
        "wide": "nats per token",
        "'@finer": "bits per byte",  # no formula of a spreadsheet
    }
    assert "models-wide" not in specs(make())
    assert 'id="models"' not in to_html(make())


def pruned(loss, languages=("sw",), sources=(0,), name="half", **counts) -> Group:
    """Returns a model of four experts of eight with these losses."""
    known = facts(name, experts=4)
    return replace(
        group(side(name, loss, 2, **counts), pruning=Pruning(languages, 8, "left out", sources)),
        facts=known,
    )


@pytest.mark.parametrize(
    "languages, own, others, made_for",
    [(("sw", "en", "ru"), 0.2, None, "all 3 languages"), (("sw",), 0.1, 0.25, "sw")],
)
def test_a_variant_counts_neither_among_its_languages_nor_among_the_others(
    languages, own, others, made_for
):
    model = pruned((2.1, 2.7, 3.5, 9.0), languages)  # 8 nats more in `ru-Latn`
    (found,) = pruned_models(SPARSE, [model])
    assert found.lost_nats["ru-Latn"] == pytest.approx(8.0)
    assert found.lost_in_own == pytest.approx(own)
    assert found.lost_in_others == (None if others is None else pytest.approx(others))
    assert found.made_for == made_for


def test_what_was_pruned_from_another_run_lost_nothing_that_is_known():
    model, trimmed = pruned((2.1,) * 4, sources=()), pruned((2.1,) * 4, name="trimmed", tokens=200)
    assert pruned_models(SPARSE, [model, trimmed]) == []
    report = made_of(DENSE, SPARSE, model, trimmed)
    assert report.pruned_otherwise == [
        "What half lost by pruning is not known: it was pruned from another run than Switch.",
        "What trimmed lost by pruning is not known: it has another vocabulary than Switch.",
    ]
    assert all(sentence in to_html(report) for sentence in report.pruned_otherwise)


def test_a_pruned_run_is_compared_with_the_run_that_it_was_pruned_from():
    """Seeds differ by more than pruning loses."""
    first, second = (side("Switch", (loss,) * 4, 2) for loss in (2.0, 2.4))
    candidate = replace(first, seeds=(0, 1), pages=first.pages + second.pages)
    for sources, lost in (((0,), 0.1), ((1,), -0.3)):
        (found,) = pruned_models(candidate, [pruned((2.1,) * 4, sources=sources)])
        assert found.lost_in_own == pytest.approx(lost)


def bill(**changes) -> str:
    """Returns what is said of an upcycled candidate."""
    flops = {"dense_flops": 10**15, "own_flops": 10**15, "baseline_flops": 4 * 10**15}
    steps = {"dense_steps": 1_000, "own_steps": 500, "baseline_steps": 4_000}
    cost = Bill(recipe="mt5-small", **(flops | steps | changes))
    return made_of(DENSE, group(SPARSE, bill=cost)).bills[0]


def test_the_bill_counts_the_dense_steps():
    said = bill()
    assert "Switch began as mt5-small at step 1,000 and took 500 steps more." in said
    assert "2e+15 training FLOPs, 0.50 times those of mT5's 4,000 steps: " in said
    assert "in the mean of 3 languages" in said
    assert make().bills == [""]
    imported = bill(dense_steps=0, dense_flops=None)
    assert "A part of what the runs cost is not known" in imported
    assert "FLOPs" not in imported


def test_a_gain_in_another_unit_has_its_own_interval():
    gain = make().gains["sw"]
    assert gain.gain_in(Unit.BITS_PER_BYTE).low is None
    assert gain.gain_in(Unit.NATS_PER_TOKEN) is gain.gain
