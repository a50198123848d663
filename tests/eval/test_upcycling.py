"""The sentence on what upcycling gains and costs."""

from dataclasses import replace

from small_reports import make

from eval.upcycling import Bill

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
