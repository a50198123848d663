"""What pruned models lost, in means that leave script variants out."""

import dataclasses

import pytest
from small_reports import facts, side

from eval.further import Further, Pruning, further
from eval.pruned import pruned_models


def pruned_model(loss: tuple[float, ...], pruning: Pruning) -> Further:
    """Returns a model of four experts with these losses."""
    return further(
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
    model = pruned_model(losses, Pruning(languages=languages, experts=8))
    (found,) = pruned_models(candidate, [model])
    assert found.lost_nats["ru-Latn"] == pytest.approx(8.0)
    assert found.lost_in_own == pytest.approx(own)
    assert found.lost_in_others == (None if others is None else pytest.approx(others))
    assert found.made_for == made_for


@pytest.mark.parametrize("of_candidate", [True, False])
def test_what_was_pruned_from_another_run_lost_nothing_that_is_known(of_candidate):
    candidate = side("Switch", (2.0,) * 4, 2)
    model = pruned_model((2.1,) * 4, Pruning(("sw",), 8, "left out", of_candidate))
    assert len(pruned_models(candidate, [model])) == of_candidate
